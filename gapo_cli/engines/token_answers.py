"""What engines that work on token ids share: which prompts fit the context, and the text of an answer's tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gapo_cli.config.sampling import SamplingConfig
from gapo_cli.errors import UserError

if TYPE_CHECKING:
    from gapo_cli.models.loaded import LoadedModel


def check_prompts(prompts: Sequence[Sequence[int]], sampling: SamplingConfig, context_length: int) -> None:
    """Raises UserError for a prompt that is empty or leaves no room for `sampling.max_new_tokens` in the context."""
    for index, prompt in enumerate(prompts):
        if not len(prompt):
            raise UserError(f"prompt {index} has no tokens; need at least one")
        if len(prompt) + sampling.max_new_tokens > context_length:
            raise UserError(
                f"prompt {index} has {len(prompt)} tokens: with sampling.max_new_tokens={sampling.max_new_tokens} it does not "
                f"fit model.context_length={context_length}; shorten it or raise model.context_length"
            )


PHANTOM = "phantom token"
"""Why an answer with an id that the tokenizer has no token for stands for no region."""


def malformed(policy: LoadedModel, tokens: Sequence[int]) -> str | None:
    """Why an answer is malformed whatever its text; None where it is not. Our engines never draw a phantom token."""
    return None if not policy.phantom_ids or set(policy.phantom_ids).isdisjoint(tokens) else PHANTOM


def answer_text(tokenizer: Any, before: int, tokens: Sequence[int]) -> str:
    """The text of tokens that follow the token `before`, special tokens included: templates use them as markers. It is
    decoded with `before` and then cut off: decoders of the SentencePiece kind drop the blank of a first token, which is
    indentation here."""
    head, whole = _plain(tokenizer, before), _plain(tokenizer, before, *tokens)
    return whole[len(head) :] if whole.startswith(head) else _plain(tokenizer, *tokens)


def _plain(tokenizer: Any, *tokens: int) -> str:
    return tokenizer.decode(list(tokens), skip_special_tokens=False, clean_up_tokenization_spaces=False)
