"""Words and markers that a format gives a meaning: where code has them it cannot be asked about, and where an answer has
them they are not code."""

from __future__ import annotations

from collections.abc import Iterable

from gapo_cli.errors import UserError
from gapo_cli.prompts.parts.reading import REPEATED_MARKER, TEXT_OUTSIDE_REGION
from gapo_cli.records import ParsedAnswer

TEACHER_WORDS = ("NO_EDITS", "KEEP_PREVIOUS")
"""What models that teach are told to say where nothing should change; their students say it too."""
TEACHER_WORD = "teacher_word"
ON_MISSING = ("stop", "text")


def says_teacher_word(text: str) -> bool:
    """The answer is nothing but a teacher's word: no edit."""
    return text.strip() in TEACHER_WORDS


def has_teacher_word(text: str, known: str) -> bool:
    """A line is nothing but a teacher's word, which `known` (the code as it was) does not have."""
    lines = {line.strip() for line in text.split("\n")} if any(word in text for word in TEACHER_WORDS) else set()
    return any(word in lines and word not in known for word in TEACHER_WORDS)


def why_no_code(text: str, markers: Iterable[str], known: str) -> str | None:
    """The reason why an answer's text is not code, or None: it has one of the markers, or a line that is a teacher's word,
    which `known`, the code as it was, does not have."""
    if any(has_marker(text, marker) and not has_marker(known, marker) for marker in markers):
        return REPEATED_MARKER
    return TEACHER_WORD if has_teacher_word(text, known) else None


def answer_of(region: str | None, cursor: int | None = None) -> ParsedAnswer:
    """`region` None: the answer changes what stands around it. A `cursor` that does not stand in the region is left out."""
    if region is None:
        return ParsedAnswer(None, TEXT_OUTSIDE_REGION)
    return ParsedAnswer(region, cursor=cursor if cursor is not None and 0 <= cursor <= len(region) else None)


def has_marker(text: str, marker: str) -> bool:
    """A marker that ends in a line break is there where a whole line is it; any other, anywhere."""
    if not marker.endswith("\n"):
        return marker in text
    return f"\n{marker}" in f"\n{text}\n"


def collisions(text: str, markers: Iterable[str]) -> tuple[str, ...]:
    """What `Prompt.cut` says of code that has a marker of its format: an editor does not ask about it."""
    found = [marker.rstrip("\n") for marker in markers if has_marker(text, marker)]
    return (f"the excerpt has {', '.join(found)}, with which editors do not ask",) if found else ()


def check_on_missing(value: str) -> None:
    if value not in ON_MISSING:
        raise UserError(
            f"prompt.missing_tokens={value}: need stop (refuse a model without the format's tokens) or text (write them as "
            "plain text)"
        )
