"""The JSON answer of an OpenAI-compatible server, checked, and read as Completions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gapo_cli.config.checks import is_integer
from gapo_cli.errors import UserError
from gapo_cli.records import Completion

CONTENT_FILTER = "content_filter"
"""The finish reason, and the reason why there is no region, of an answer that the server held back."""


def kept_choices(answer: Any, count: int, url: str) -> list[dict[str, Any]]:
    """What is kept of an answer, one dict a choice in their order: text, finish_reason, and, where the server gives them,
    tokens (their number), token_ids and logprobs. Raises UserError for an answer of another shape or size."""
    try:
        choices = sorted(answer["choices"], key=lambda choice: choice.get("index", 0))
        usage = (answer.get("usage") or {}).get("completion_tokens") if len(choices) == 1 else None
        kept = [_kept(choice, usage) for choice in choices]
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{url}: the answer is no completion but begins with {str(answer)[:200]!r}; engine.base_url must be that of an "
            "OpenAI-compatible server"
        ) from error
    if len(kept) != count:
        hint = "; for a server that knows no n set engine.many_per_request=false" if count > 1 else ""
        raise UserError(f"{url}: the server gave {len(kept)} of n={count} answers{hint}")
    return kept


def completions_of(choices: Sequence[Mapping[str, Any]]) -> tuple[Completion, ...]:
    """Completions with regions not yet parsed, from what `kept_choices` made."""
    return tuple(
        Completion(
            token_ids=tuple(choice.get("token_ids", ())),
            logprobs=tuple(choice.get("logprobs", ())),
            text=choice["text"],
            finish_reason="length" if choice["finish_reason"] == "length" else "stop",
            malformed=CONTENT_FILTER if choice["finish_reason"] == CONTENT_FILTER else None,
            counted=choice.get("tokens", 0),
        )
        for choice in choices
    )


def _kept(choice: Mapping[str, Any], usage: Any) -> dict[str, Any]:
    """Raises KeyError, TypeError or AttributeError for a choice without a text. What else is of another type is as if it
    were not there."""
    message = choice.get("message")
    text = choice["text"] if message is None else message.get("content")
    if not isinstance(text, str | None):
        raise TypeError(f"a text is {type(text).__name__}")
    kept: dict[str, Any] = {"text": text or "", "finish_reason": choice.get("finish_reason")}
    logprobs = _logprobs(choice.get("logprobs"))
    token_ids = choice.get("token_ids")  # vLLM, asked by engine.extra={return_token_ids: true}
    if isinstance(token_ids, list) and all(map(is_integer, token_ids)):
        kept["token_ids"] = token_ids
    if logprobs:
        kept["logprobs"] = logprobs
    counts = (usage, len(kept.get("token_ids", ())), len(logprobs))
    known = next((count for count in counts if is_integer(count) and count > 0), None)
    return kept if known is None else kept | {"tokens": known}


def _logprobs(given: Mapping[str, Any] | None) -> list[float]:
    """The drawn tokens' log-probabilities; chat answers have them in `content`, others in `token_logprobs`. None at all
    where one is missing."""
    if not given:
        return []
    if given.get("content") is not None:
        values = [token.get("logprob") for token in given["content"]]
    else:
        values = list(given.get("token_logprobs") or ())
    return values if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values) else []
