"""The JSON answer of an OpenAI-compatible server, checked, and read as Completions."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gapo_cli.config.checks import is_integer
from gapo_cli.engines.stop_texts import up_to_stop
from gapo_cli.errors import UserError
from gapo_cli.records import Completion

CUT = "length"
"""The finish reason of an answer that the token limit cut."""
AT_TEXT, AT_TOKEN = ("stop", "stop_sequence"), ("eos", "eos_token")
"""The finish reasons of whole answers: OpenAI's, and those of servers that tell a stop text from an end token. Every other
one (content_filter, abort, tool_calls, ...) is the reason why an answer stands for no region."""
NO_REASON = "no finish_reason"
"""Why an answer without a finish reason stands for no region: nobody knows whether it is whole."""
LONGEST_REASON = 60
"""Characters of a server's own finish reason that are kept; those in use are much shorter."""
SURROGATES = re.compile("[\ud800-\udfff]")
"""Half a character: JSON can write it (`"\\ud800"`), UTF-8 cannot."""
STOPPED_BY = ("stop_reason", "matched_stop")
"""Where vLLM and SGLang say which text, or nothing but the end token, ended an answer."""


def kept_choices(answer: Any, count: int, url: str) -> list[dict[str, Any]]:
    """What is kept of an answer, one dict a choice in their order: text, finish_reason, and, where the server gives them,
    stopped_by (the text that ended it, None for an end token), tokens (their number), token_ids and logprobs. Raises UserError for an answer of another shape or size."""
    try:
        choices = sorted(answer["choices"], key=lambda choice: choice.get("index", 0))
        usage = (answer.get("usage") or {}).get("completion_tokens") if len(choices) == 1 else None
        kept = [_kept(choice, usage) for choice in choices]
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{url}: the answer is not a completion; it begins with {str(answer)[:200]!r}; engine.base_url must be that of an "
            "OpenAI-compatible server"
        ) from error
    if len(kept) != count:
        hint = "; for a server without n, set engine.many_per_request=false" if count > 1 else ""
        raise UserError(f"{url}: the server gave {len(kept)} of n={count} answers{hint}")
    return kept


def completions_of(choices: Sequence[Mapping[str, Any]], stops: Sequence[str] = ()) -> tuple[Completion, ...]:
    """Completions with regions not yet parsed, from what `kept_choices` made; log-probabilities rounded to float32, as other engines
    give them and as they are stored. Servers cut off the text of `stops` that ended an
    answer: it is put back. Where a server does not say which it was, it is taken to be the first. An answer that the server
    does not call finished is malformed for the reason that it gives: what is there may be the beginning of another answer."""
    return tuple(
        Completion(
            token_ids=tuple(choice.get("token_ids", ())),
            logprobs=tuple(float(np.float32(one)) for one in choice.get("logprobs", ())),
            text=_with_stop(choice, stops),
            finish_reason=CUT if choice["finish_reason"] == CUT else "stop",
            malformed=_unfinished(choice["finish_reason"]),
            counted=choice.get("tokens", 0),
        )
        for choice in choices
    )


def _unfinished(reason: Any) -> str | None:
    """Why an answer that ended for this reason stands for no region; None for a whole one, and for one that the token limit
    cut, which its finish reason says."""
    if reason in (*AT_TEXT, *AT_TOKEN, CUT):
        return None
    return str(reason)[:LONGEST_REASON] if reason else NO_REASON


def without_surrogates(text: str) -> str:
    """The text with each half of a character replaced by U+FFFD, so that it can be written as UTF-8."""
    return SURROGATES.sub("\ufffd", text)


def _with_stop(choice: Mapping[str, Any], stops: Sequence[str]) -> str:
    text = up_to_stop(choice["text"], stops)
    if not stops or choice["finish_reason"] not in AT_TEXT or text.endswith(tuple(stops)):
        return text
    stop = choice.get("stopped_by", stops[0])
    return text + stop if stop in stops else text


def _kept(choice: Mapping[str, Any], usage: Any) -> dict[str, Any]:
    """Raises KeyError, TypeError or AttributeError for a choice without a text. What else is of another type is as if it
    were not there."""
    message = choice.get("message")
    text = choice["text"] if message is None else message.get("content")
    if not isinstance(text, str | None):
        raise TypeError(f"a text is {type(text).__name__}")
    reason = choice.get("finish_reason")
    kept: dict[str, Any] = {
        "text": without_surrogates(text or ""),
        "finish_reason": None if reason is None else without_surrogates(str(reason)),
    }
    for name in STOPPED_BY:
        if name in choice:
            kept["stopped_by"] = without_surrogates(choice[name]) if isinstance(choice[name], str) else None
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
