"""Code as tokens that join up to the same text again: words, blanks, operators, brackets, and strings if one likes."""

from __future__ import annotations

import re
from collections.abc import Sequence

STRING = r"""[rbufRBUF]{0,2}(?:"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')"""
OPERATOR = r"""[-+*/%&|^<>=!]=|->|=>|::|&&|\|\||\*\*|//|<<|>>"""
FLAT_TOKENS = re.compile(rf"\w+|[^\S\n]+|{OPERATOR}|[\s\S]")
CODE_TOKENS = re.compile(rf"{STRING}|\w+|[^\S\n]+|{OPERATOR}|[\s\S]")
"""As FLAT_TOKENS, with a quoted string as one token."""
OPENING, CLOSING = "([{", ")]}"


def tokenise(text: str, pattern: re.Pattern[str]) -> list[str]:
    return pattern.findall(text)


def is_word(token: str) -> bool:
    return token[0].isalnum() or token[0] == "_" or is_string(token)


def is_string(token: str) -> bool:
    return len(token) > 1 and token[-1] in "'\""


def is_blank(token: str) -> bool:
    return token.isspace()


def line_head(tokens: Sequence[str], position: int) -> str:
    """The first token of the line that `position` stands in."""
    start = position
    while start > 0 and tokens[start - 1] != "\n":
        start -= 1
    return next((token for token in tokens[start:] if token == "\n" or not is_blank(token)), "")


def is_argument(tokens: Sequence[str], start: int, end: int) -> bool:
    """Whether tokens [start, end) stand alone between brackets and commas."""
    left, right = left_context(tokens, start), right_context(tokens, end)
    return bool(left) and left[0] in (*OPENING, ",") and bool(right) and right[-1] in (*CLOSING, ",")


def left_context(tokens: Sequence[str], position: int) -> tuple[str, ...]:
    """The nearest token before `position` that is not blank, and the blanks between; () at the text's start."""
    for start in range(position - 1, -1, -1):
        if not is_blank(tokens[start]):
            return tuple(tokens[start:position])
    return ()


def right_context(tokens: Sequence[str], position: int) -> tuple[str, ...]:
    """The blanks from `position` on and the nearest token that is none; () at the text's end."""
    for end in range(position, len(tokens)):
        if not is_blank(tokens[end]):
            return tuple(tokens[position : end + 1])
    return ()


def matching_bracket(tokens: Sequence[str], opening: int) -> int | None:
    depth = 0
    for position in range(opening, len(tokens)):
        depth += (tokens[position] in OPENING) - (tokens[position] in CLOSING)
        if depth == 0:
            return position
    return None


def string_parts(token: str) -> tuple[str, str, str]:
    """Prefix and opening quote, content, closing quote of a string of one line."""
    opening = token.index(token[-1]) + 1
    return token[:opening], token[opening:-1], token[-1]
