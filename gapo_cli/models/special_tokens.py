"""What a tokenizer and a model's files say about tokens that are not text: where a prompt begins, where an answer ends, and
which rows of the vocabulary stand for no token at all."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

ANSWER = "gapo"
"""Stands for an answer where a chat template is asked what follows one."""


def end_tokens(tokenizer: Any, *configs: Any) -> tuple[int, ...]:
    """All tokens that end an answer, each once: the tokenizer's own first (the one that supervised training writes), then
    those that the model's config and generation config name, then the one that closes a turn of the chat template."""
    named = [tokenizer.eos_token_id]
    for config in configs:
        ends = getattr(config, "eos_token_id", None)
        named += ends if isinstance(ends, (list, tuple)) else [ends]
    named.append(turn_end(tokenizer))
    return tuple(dict.fromkeys(token for token in named if token is not None))


def turn_end(tokenizer: Any) -> int | None:
    """The special token with which the chat template closes an answer; None where there is no template, or none such."""
    from jinja2 import TemplateError

    if not getattr(tokenizer, "chat_template", None):
        return None
    turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": ANSWER}]
    try:
        text = tokenizer.apply_chat_template(turns, tokenize=False)
    except (TemplateError, TypeError, ValueError, KeyError):  # a template that wants other turns
        return None
    _, _, after = text.rpartition(ANSWER)
    ids = tokenizer(after.lstrip(), add_special_tokens=False)["input_ids"] if after.strip() else []
    return ids[0] if ids and ids[0] in tokenizer.all_special_ids else None


def begin_tokens(tokenizer: Any) -> tuple[int, ...]:
    """What the tokenizer puts before a text: its begin token, or nothing."""
    bare = tokenizer(ANSWER, add_special_tokens=False)["input_ids"]
    whole = tokenizer(ANSWER)["input_ids"]
    for start in range(len(whole) - len(bare) + 1):
        if whole[start : start + len(bare)] == bare:
            return tuple(whole[:start])
    return ()


def ids_without_token(tokenizer: Any, vocabulary: int) -> tuple[int, ...]:
    """The rows of a vocabulary of that size that no token of the tokenizer has, ascending: padding to a round size."""
    return tuple(sorted(set(range(vocabulary)) - set(tokenizer.get_vocab().values())))


def hide_rows(head: Any, rows: tuple[int, ...]) -> None:
    """From now on the head gives no logits for these rows: nothing draws them, and probabilities are over real tokens in
    sampling and training alike. Padding at the end is cut off; rows before it become minus a billion."""
    import torch

    size = head.weight.shape[0]
    last = max(set(range(size)) - set(rows)) + 1
    between = torch.tensor([row for row in rows if row < last])

    def without(module: Any, inputs: Any, logits: torch.Tensor) -> torch.Tensor:
        real = logits[..., :last]
        return real.index_fill(-1, between.to(logits.device), -1e9) if len(between) else real

    head.register_forward_hook(without)


def in_words(tokenizer: Any, tokens: Iterable[int]) -> str:
    """Tokens as `name (id)`, joined by commas; "none" where there are none."""
    return ", ".join(f"{tokenizer.convert_ids_to_tokens(token)} ({token})" for token in tokens) or "none"
