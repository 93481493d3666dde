"""Prompts and other texts as token ids, many in one call: the tokenizers library then works on all cores.

A raw prompt begins with the tokenizer's begin token where the tokenizer says so (`add_bos_token`), once. A chat prompt has what
its chat template writes, an answer nothing but its text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jinja2 import TemplateError

from gapo_cli.config.model import ModelConfig
from gapo_cli.errors import UserError
from gapo_cli.models.special_tokens import begin_tokens
from gapo_cli.records import Prompt


def prompt_text(tokenizer: Any, config: ModelConfig, prompt: Prompt) -> str:
    """What the model reads. A raw prompt is its text and nothing more; a chat prompt goes through the tokenizer's chat
    template, and `prompt.text` begins the answer. Raises UserError where model.chat and the kind of prompt do not go
    together."""
    if config.chat != bool(prompt.messages):
        kind = "chat" if prompt.messages else "raw"
        raise UserError(
            f"model.chat={str(config.chat).lower()}: this prompt template makes {kind} prompts; "
            f"set model.chat={str(bool(prompt.messages)).lower()} or choose another prompt="
        )
    if not prompt.messages:
        return prompt.text
    if not tokenizer.chat_template:
        raise UserError(f"model.chat=true: the tokenizer of {config.path} has no chat template; choose a chat model")
    messages = [{"role": message.role, "content": message.content} for message in prompt.messages]
    options = {} if config.thinking is None else {"enable_thinking": config.thinking}
    try:
        return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True, **options) + prompt.text
    except TemplateError as error:  # what raise_exception in a chat template comes to
        raise UserError(
            f"model.chat=true: the chat template of {config.path} refuses the prompt ({error}); choose another prompt="
        ) from error


def encode_prompt_texts(tokenizer: Any, config: ModelConfig, texts: Sequence[str]) -> list[tuple[int, ...]]:
    """The token ids of prompts as `prompt_text` wrote them, with the begin token before raw ones."""
    begin = () if config.chat else begin_tokens(tokenizer)
    encoded = encode_texts(tokenizer, texts)
    return [ids if ids[: len(begin)] == begin else begin + ids for ids in encoded] if begin else encoded


def encode_texts(tokenizer: Any, texts: Sequence[str]) -> list[tuple[int, ...]]:
    """The token ids of each text, each as it has them alone."""
    if not texts:
        return []
    encoded = tokenizer(
        list(texts), add_special_tokens=False, return_attention_mask=False, return_token_type_ids=False, verbose=False
    )
    return [tuple(ids) for ids in encoded["input_ids"]]
