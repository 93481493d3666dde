"""How many tokens a text has for the model in use: what a prompt template's budget is counted in.

Templates know no tokenizer; conf/prompt/*.yaml gives them this. Nothing is loaded until a budget asks for a count.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from gapo_cli.config.model import ModelConfig
from gapo_cli.errors import CheckpointError


@dataclass(frozen=True)
class TokenCounter:
    """`path`: as `model.path`. Raises CheckpointError at the first count where there is no tokenizer."""

    path: str
    trust_remote_code: bool = False

    def __call__(self, text: str) -> int:
        try:
            tokenizer = _tokenizer(self.path, self.trust_remote_code)
        except CheckpointError as error:
            raise CheckpointError(
                f"{error}; prompt.budget counts its tokens, or characters with prompt.counter=null"
            ) from error
        return len(tokenizer.encode(text, add_special_tokens=False))


@lru_cache(maxsize=2)
def _tokenizer(path: str, trust_remote_code: bool) -> Any:
    from gapo_cli.models.folders import TOKENIZER_FILES, find_folder
    from gapo_cli.models.tokenizer_files import load_tokenizer

    config = ModelConfig(name=path, path=path, context_length=1, trust_remote_code=trust_remote_code)
    return load_tokenizer(config, find_folder(config, TOKENIZER_FILES))
