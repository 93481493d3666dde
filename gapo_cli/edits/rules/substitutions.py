"""Rules that find places in a list of tokens and say what becomes of them: what the replacement baseline repeats."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from gapo_cli.edits.rules.tokens import (
    CLOSING,
    OPENING,
    is_argument,
    is_blank,
    is_string,
    is_word,
    line_head,
    matching_bracket,
    string_parts,
)

LONGEST_HOLE = 40
"""Tokens that a hole of a template may stand for: more would be another expression, and slow to look for."""


@dataclass(frozen=True, slots=True, order=True)
class Edit:
    """Tokens [start, end) are replaced by `text`."""

    start: int
    end: int
    text: str


class Rule(Protocol):
    """Finds where it applies in a list of tokens; edits do not overlap."""

    def edits(self, tokens: Sequence[str]) -> list[Edit]: ...


def apply_edits(tokens: Sequence[str], edits: Sequence[Edit]) -> str:
    pieces, position = [], 0
    for edit in sorted(edits):
        pieces += [*tokens[position : edit.start], edit.text]
        position = edit.end
    return "".join([*pieces, *tokens[position:]])


def overlaps(edit: Edit, others: Sequence[Edit]) -> bool:
    """Whether two edits touch the same tokens; insertions at the same place do."""
    return any(edit.start < max(other.end, other.start + 1) and other.start < max(edit.end, edit.start + 1) for other in others)


@dataclass(frozen=True, slots=True)
class Substitution:
    """`old` becomes `new` between `left` and `right`; an empty `old` is an insertion. `head`: only in lines that begin
    with it. `attribute`, `called`: whether a dot stands before, a bracket behind; `argument`: whether it stands alone
    between brackets and commas (None: no matter)."""

    old: tuple[str, ...]
    new: tuple[str, ...]
    left: tuple[str, ...] = ()
    right: tuple[str, ...] = ()
    head: str | None = None
    attribute: bool | None = None
    called: bool | None = None
    argument: bool | None = None

    def edits(self, tokens: Sequence[str]) -> list[Edit]:
        pattern = [*self.left, *self.old, *self.right]
        found, free = [], 0
        for position in range(len(tokens) - len(pattern) + 1):
            start = position + len(self.left)
            end = start + len(self.old)
            if start < free or list(tokens[position : position + len(pattern)]) != pattern:
                continue
            if self.head is not None and line_head(tokens, start) != self.head:
                continue
            if self.attribute is not None and (start > 0 and tokens[start - 1] == ".") != self.attribute:
                continue
            if self.called is not None and (end < len(tokens) and tokens[end] == "(") != self.called:
                continue
            if self.argument is not None and is_argument(tokens, start, end) != self.argument:
                continue
            if not self._done_already(tokens, start):
                found.append(self._with_comma(tokens, start, end))
                free = max(end, start + 1)
        return found

    def _done_already(self, tokens: Sequence[str], start: int) -> bool:
        """The text here is the new one: the old one is a part of it."""
        size = len(self.old)
        offsets = [offset for offset in range(len(self.new) - size + 1) if self.new[offset : offset + size] == self.old]
        return any(
            offset <= start and tuple(tokens[start - offset : start - offset + len(self.new)]) == self.new for offset in offsets
        )

    def _with_comma(self, tokens: Sequence[str], start: int, end: int) -> Edit:
        """An argument that is removed takes one of its commas along."""
        edit = Edit(start, end, "".join(self.new))
        if self.new or start == 0 or end == len(tokens) or "," in (self.old[0], self.old[-1]):
            return edit
        before = start - 1
        while before > 0 and is_blank(tokens[before]):
            before -= 1
        if tokens[before] == "," and tokens[end] in (*CLOSING, ","):
            return Edit(before, end, "")
        if tokens[before] in OPENING and tokens[end] == ",":
            after = end + 1
            while after < len(tokens) and is_blank(tokens[after]):
                after += 1
            return Edit(start, after, "")
        return edit


@dataclass(frozen=True, slots=True)
class AddedArgument:
    """`argument` (no commas around it) is added to calls of `callee`, as the first or the last."""

    callee: str
    argument: str
    last: bool

    def edits(self, tokens: Sequence[str]) -> list[Edit]:
        found = []
        for position in range(len(tokens) - 1):
            if tokens[position] != self.callee or tokens[position + 1] != "(":
                continue
            closing = matching_bracket(tokens, position + 1)
            if closing is None:
                continue
            inside = "".join(tokens[position + 2 : closing])
            if self.argument in inside:
                continue
            place = closing if self.last else position + 2
            text = self.argument
            if inside.strip():
                text = f", {text}" if self.last else f"{text}, "
            found.append(Edit(place, place, text))
        return found


@dataclass(frozen=True, slots=True)
class Template:
    """`old` becomes `new`, where an int is a hole: any run of tokens of one line with its brackets closed, the shortest
    that fits, equal where the same hole stands twice. A hole in `names` is one word or dotted name."""

    old: tuple[str | int, ...]
    new: tuple[str | int, ...]
    names: frozenset[int]
    after_word: bool

    def edits(self, tokens: Sequence[str]) -> list[Edit]:
        found, position = [], 0
        while position < len(tokens):
            after_word = position > 0 and (is_word(tokens[position - 1]) or tokens[position - 1] in CLOSING)
            filled = self._fill(tokens, position, self.old, {}) if after_word == self.after_word else None
            if filled is None:
                position += 1
                continue
            end, holes = filled
            text = "".join(part if isinstance(part, str) else "".join(holes[part]) for part in self.new)
            found.append(Edit(position, end, text))
            position = max(end, position + 1)
        return found

    def _fill(
        self, tokens: Sequence[str], position: int, parts: tuple[str | int, ...], holes: dict[int, tuple[str, ...]]
    ) -> tuple[int, dict[int, tuple[str, ...]]] | None:
        while parts and isinstance(parts[0], str):
            if position >= len(tokens) or tokens[position] != parts[0]:
                return None
            position, parts = position + 1, parts[1:]
        if not parts:
            return position, holes
        hole, rest = parts[0], parts[1:]
        if hole in holes:
            end = position + len(holes[hole])
            return self._fill(tokens, end, rest, holes) if tuple(tokens[position:end]) == holes[hole] else None
        for end in (self.name_ends if hole in self.names else self._run_ends)(tokens, position):
            filled = self._fill(tokens, end, rest, {**holes, hole: tuple(tokens[position:end])})
            if filled is not None:
                return filled
        return None

    @staticmethod
    def name_ends(tokens: Sequence[str], position: int) -> Iterator[int]:
        """The end of the whole dotted name that stands here."""
        end = position
        while end < len(tokens) and is_word(tokens[end]):
            end += 1
            if end + 1 < len(tokens) and tokens[end] == "." and is_word(tokens[end + 1]):
                end += 1
            else:
                yield end
                return

    @staticmethod
    def _run_ends(tokens: Sequence[str], position: int) -> Iterator[int]:
        depth = 0
        yield position
        for end in range(position, min(position + LONGEST_HOLE, len(tokens))):
            depth += (tokens[end] in OPENING) - (tokens[end] in CLOSING)
            if depth < 0 or tokens[end] == "\n":
                return
            if depth == 0:
                yield end + 1


@dataclass(frozen=True, slots=True)
class Requoted:
    """Strings between one pair of quotes get another, unless their content has the new quote in it."""

    old_open: str
    old_close: str
    new_open: str
    new_close: str

    def edits(self, tokens: Sequence[str]) -> list[Edit]:
        found = []
        for position, token in enumerate(tokens):
            if not is_string(token):
                continue
            opening, content, closing = string_parts(token)
            if (opening, closing) == (self.old_open, self.old_close) and self.new_close not in content:
                found.append(Edit(position, position + 1, f"{self.new_open}{content}{self.new_close}"))
        return found


@dataclass(frozen=True, slots=True)
class Together:
    """Several rules at once; where two would change the same tokens, the first does."""

    rules: tuple[Rule, ...]

    def edits(self, tokens: Sequence[str]) -> list[Edit]:
        accepted: list[Edit] = []
        for rule in self.rules:
            accepted += [edit for edit in rule.edits(tokens) if not overlaps(edit, accepted)]
        return accepted
