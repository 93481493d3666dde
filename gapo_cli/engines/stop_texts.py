"""Texts that end an answer: found in what is decoded, while it is written and afterwards.

The text that ended an answer stays part of it, so that who reads it sees that it is whole; what comes behind it in its last
token does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gapo_cli.engines.token_answers import answer_text

UNDECODED = "\ufffd"
"""What bytes of a character that a token does not hold whole are decoded as."""


def up_to_stop(text: str, stops: Sequence[str]) -> str:
    """The text up to the end of the stop text that is over first; all of it where there is none."""
    ends = [place + len(stop) for stop in stops if (place := text.find(stop)) >= 0]
    return text[: min(ends)] if ends else text


class StopTexts:
    """Finds the token with which one of `stops` is over. Only the last tokens are decoded, and these only behind a token that
    may be the last of a stop text."""

    def __init__(self, tokenizer: Any, stops: Sequence[str]) -> None:
        self.tokenizer, self.stops = tokenizer, tuple(stops)
        # a token has at least one byte
        self.reach = max((len(stop.encode()) for stop in stops), default=0)
        self.last_characters = {stop[-1] for stop in stops}
        self.ends_blank = any(character.isspace() for character in self.last_characters)
        self.may_end: dict[int, bool] = {}

    def over(self, tokens: Sequence[int]) -> bool:
        """The last of the tokens ends a stop text, or one stands in what the last tokens say."""
        if not self._may_end(int(tokens[-1])):
            return False
        tail = [int(token) for token in tokens[-self.reach :]]
        text = self.tokenizer.decode(tail, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return any(stop in text for stop in self.stops)

    def first_end(self, tokens: Sequence[int]) -> int | None:
        """How many of the tokens there are up to the first that ends a stop text; None where none does."""
        return next((count for count in range(1, len(tokens) + 1) if self.over(tokens[:count])), None)

    def _may_end(self, token: int) -> bool:
        if token not in self.may_end:
            text = self.tokenizer.decode([token], skip_special_tokens=False, clean_up_tokenization_spaces=False)
            # decoders of the SentencePiece kind drop a first token's blank
            self.may_end[token] = self.ends_blank or UNDECODED in text or not self.last_characters.isdisjoint(text)
        return self.may_end[token]


def whole_text(tokenizer: Any, before: int, tokens: Sequence[int], end_tokens: Sequence[int], stops: Sequence[str]) -> str:
    """The text of an answer's tokens: without an end token, unless that is a stop text itself, and up to its stop text."""
    ended = bool(tokens) and tokens[-1] in end_tokens
    text = answer_text(tokenizer, before, tokens[:-1] if ended else tokens)
    if not stops:
        return text
    if ended:
        end = tokenizer.decode([tokens[-1]], skip_special_tokens=False, clean_up_tokenization_spaces=False)
        text += end if end in stops else ""
    return up_to_stop(text, stops)
