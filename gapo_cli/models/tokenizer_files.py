"""A model's tokenizer from its files. No weights are read, and torch, whose import takes longer than all this, is not imported."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gapo_cli.config.model import ModelConfig
from gapo_cli.errors import CheckpointError, first_line


def load_tokenizer(config: ModelConfig, folder: Path) -> Any:
    """The tokenizer as its tokenizer.json says. AutoTokenizer would rebuild it for some model types (transformers 5.19
    gives every Qwen2 folder Qwen's own pre-tokenizer), which a tokenizer of one's own does not survive."""
    damaged = (
        f"model.path={config.path}: {folder} has no tokenizer that loads; copy tokenizer.json and tokenizer_config.json into it"
    )
    try:
        with quiet():
            if (folder / "tokenizer.json").is_file() and not config.trust_remote_code:
                from transformers import PreTrainedTokenizerFast

                tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
            else:
                from transformers import AutoTokenizer  # imports torch

                tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=config.trust_remote_code)
    except Exception as error:  # the tokenizers library raises bare Exception for a damaged tokenizer.json
        raise CheckpointError(f"{damaged} ({first_line(error)})") from error
    if set(tokenizer.get_vocab()) <= set(tokenizer.all_special_tokens):  # what AutoTokenizer makes of no files at all
        raise CheckpointError(damaged)
    return tokenizer


SERVED_TOKENIZER = "tokenizer"
"""The folder, inside a model's, from which servers read a tokenizer that they would not read right from the model's own."""
SAMPLE = 'def load_all(paths: list[str]) -> int:\n\tfor a_path in paths:\n    if a_path == None or x2 >= 10:\n        print("né", -1)\n'


def save_tokenizer(tokenizer: Any, folder: Path) -> None:
    """Writes its files into a folder. Raises OSError for what cannot be written, for which the tokenizers library has a bare Exception."""
    try:
        tokenizer.save_pretrained(folder)
    except Exception as error:
        if type(error) is not Exception:
            raise
        raise OSError(None, str(error), str(folder)) from error


def save_for_servers(tokenizer: Any, folder: Path) -> None:
    """Writes SERVED_TOKENIZER into a saved model's folder where it is needed: where AutoTokenizer, which servers use, splits
    text otherwise than the tokenizer does, as of every Qwen2 folder with a tokenizer of its own (see `load_tokenizer`). Beside
    a config that names no model it takes tokenizer.json as it stands."""
    from transformers import AutoTokenizer

    with quiet():
        theirs = AutoTokenizer.from_pretrained(folder)
        if theirs(SAMPLE)["input_ids"] == tokenizer(SAMPLE)["input_ids"]:
            return
        save_tokenizer(tokenizer, folder / SERVED_TOKENIZER)
    (folder / SERVED_TOKENIZER / "config.json").write_text("{}\n", encoding="utf-8")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without transformers' own progress bars and reports: what matters is raised, and the terminal has its own display."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
