"""Learning a textual substitution from one changed line, and repeating it elsewhere.

A line before and after a change is cut into tokens; what differs is the substitution, and tokens around it say where it
may be repeated. Several rules are made of one change, from the plainest to the most daring, and a rule counts only if it
turns the old line into exactly the new one. There is no parser and no knowledge of any language beyond words, quotes,
brackets and commas.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Protocol

STRING = r"""[rbufRBUF]{0,2}(?:"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')"""
OPERATOR = r"""[-+*/%&|^<>=!]=|->|=>|::|&&|\|\||\*\*|//|<<|>>"""
FLAT_TOKENS = re.compile(rf"\w+|[^\S\n]+|{OPERATOR}|[\s\S]")
CODE_TOKENS = re.compile(rf"{STRING}|\w+|[^\S\n]+|{OPERATOR}|[\s\S]")
"""As FLAT_TOKENS, with a quoted string as one token."""
LONGEST_HOLE = 40
"""Tokens that a hole of a template may stand for: more would be another expression, and slow to look for."""

OPENING, CLOSING = "([{", ")]}"


@dataclass(frozen=True, slots=True, order=True)
class Edit:
    """Tokens [start, end) are replaced by `text`."""

    start: int
    end: int
    text: str


class Rule(Protocol):
    """Finds where it applies in a list of tokens; edits do not overlap."""

    def edits(self, tokens: Sequence[str]) -> list[Edit]: ...


def tokenise(text: str, pattern: re.Pattern[str]) -> list[str]:
    return pattern.findall(text)


def apply_edits(tokens: Sequence[str], edits: Sequence[Edit]) -> str:
    pieces, position = [], 0
    for edit in sorted(edits):
        pieces += [*tokens[position : edit.start], edit.text]
        position = edit.end
    return "".join([*pieces, *tokens[position:]])


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
        return any(offset <= start and tuple(tokens[start - offset : start - offset + len(self.new)]) == self.new for offset in offsets)

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

    def _fill(self, tokens: Sequence[str], position: int, parts: tuple[str | int, ...],
              holes: dict[int, tuple[str, ...]]) -> tuple[int, dict[int, tuple[str, ...]]] | None:
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
            opening, content, closing = _string_parts(token)
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


def overlaps(edit: Edit, others: Sequence[Edit]) -> bool:
    """Whether two edits touch the same tokens; insertions at the same place do."""
    return any(edit.start < max(other.end, other.start + 1) and other.start < max(edit.end, edit.start + 1) for other in others)


def rules_of(old_line: str, new_line: str, pattern: re.Pattern[str]) -> list[Rule]:
    """The rules that turn `old_line` into `new_line`, the plainest first."""
    old, new = tokenise(old_line, pattern), tokenise(new_line, pattern)
    return [rule for rule in _ladder(old, new) if rule is not None and apply_edits(old, rule.edits(old)) == new_line]


def _ladder(old: list[str], new: list[str]) -> Iterator[Rule | None]:
    hunks = _hunks(old, new)
    texts = {(tuple(old[i1:i2]), tuple(new[j1:j2])) for i1, i2, j1, j2 in hunks}
    middle = (hunks[0][0], hunks[-1][1], hunks[0][2], hunks[-1][3])
    yield from _contexts(old, new, hunks[0] if len(texts) == 1 else middle)
    yield _requoted(texts)
    yield _emptied_call(old, new, middle)
    yield _template(old, new, middle, moved_words=False)
    yield _template(old, new, middle, moved_words=True)
    if all(any(map(is_word, text[0])) for text in texts):
        yield Together(tuple(Substitution(*text) for text in sorted(texts)))


def _hunks(old: list[str], new: list[str]) -> list[tuple[int, int, int, int]]:
    """What differs: old [i1, i2) became new [j1, j2). Hunks with nothing but blanks between them are one."""
    hunks: list[tuple[int, int, int, int]] = []
    # the common ends first: without them an inserted ", x" may be aligned as "x, "
    head = 0
    while head < min(len(old), len(new)) and old[head] == new[head]:
        head += 1
    tail = 0
    while tail < min(len(old), len(new)) - head and old[-1 - tail] == new[-1 - tail]:
        tail += 1
    middle = SequenceMatcher(None, old[head : len(old) - tail], new[head : len(new) - tail], autojunk=False)
    for tag, i1, i2, j1, j2 in middle.get_opcodes():
        if tag == "equal":
            continue
        if hunks and all(map(is_blank, old[hunks[-1][1] : i1 + head])):
            hunks[-1] = (hunks[-1][0], i2 + head, hunks[-1][2], j2 + head)
        else:
            hunks.append((i1 + head, i2 + head, j1 + head, j2 + head))
    return hunks


def _contexts(old: list[str], new: list[str], hunk: tuple[int, int, int, int]) -> Iterator[Rule | None]:
    """What was replaced, with less or more around it."""
    i1, i2, j1, j2 = hunk
    before, after = tuple(old[i1:i2]), tuple(new[j1:j2])
    left, right = left_context(old, i1), right_context(old, i2)
    if any(map(is_word, before)):
        attribute, called = i1 > 0 and old[i1 - 1] == ".", i2 < len(old) and old[i2] == "("
        # a name that something is put around is often an argument, and rarely wrapped wherever it stands
        if is_argument(old, i1, i2) and len(after) > len(before):
            yield Substitution(before, after, attribute=attribute, called=called, argument=True)
        yield Substitution(before, after, attribute=attribute, called=called)
        yield Substitution(before, after)
    if not before:
        yield _added_argument(old, after, i1)
        head = line_head(old, i1)
        if left and right:
            yield Substitution(before, after, left, right, head)
        if left and is_word(left[0]):
            yield Substitution(before, after, left, (), head)
        if right:
            yield Substitution(before, after, (), right, head)
    if left and right:
        yield Substitution(before, after, left, right)
    if right and is_word(right[-1]):
        yield Substitution(before, after, (), right)
    if left and is_word(left[0]):
        yield Substitution(before, after, left, ())


def _added_argument(old: list[str], inserted: tuple[str, ...], position: int) -> Rule | None:
    """The insertion as an argument of the call around it, if that is what it looks like."""
    depth, opening = 0, position
    while opening > 0:
        opening -= 1
        depth += (old[opening] in CLOSING) - (old[opening] in OPENING)
        if depth < 0:
            break
    else:
        return None
    closing = matching_bracket(old, opening)
    if old[opening] != "(" or opening == 0 or not is_word(old[opening - 1]) or closing is None:
        return None
    text = "".join(inserted).strip()
    alone = not "".join(old[opening + 1 : closing]).strip()
    if position == closing and (alone or text.startswith(",")):
        return AddedArgument(old[opening - 1], text.lstrip(",").strip(), last=True)
    if position == opening + 1 and text.endswith(","):
        return AddedArgument(old[opening - 1], text.rstrip(",").strip(), last=False)
    return None


def _requoted(texts: set[tuple[tuple[str, ...], tuple[str, ...]]]) -> Rule | None:
    """Strings that kept their content and changed their quotes, all in the same way."""
    ways = set()
    for before, after in texts:
        if len(before) != 1 or len(after) != 1 or not (is_string(before[0]) and is_string(after[0])):
            return None
        (old_open, content, old_close), (new_open, new_content, new_close) = _string_parts(before[0]), _string_parts(after[0])
        if content != new_content:
            return None
        ways.add((old_open, old_close, new_open, new_close))
    return Requoted(*ways.pop()) if len(ways) == 1 else None


def _string_parts(token: str) -> tuple[str, str, str]:
    """Prefix and opening quote, content, closing quote of a string of one line."""
    opening = token.index(token[-1]) + 1
    return token[:opening], token[opening:-1], token[-1]


def _emptied_call(old: list[str], new: list[str], middle: tuple[int, int, int, int]) -> Rule | None:
    """All arguments of a call removed: whatever they are elsewhere."""
    i1, i2, j1, j2 = middle
    if j1 != j2 or i1 < 2 or not is_word(old[i1 - 2]) or old[i1 - 1] != "(" or i2 == len(old) or old[i2] != ")":
        return None
    callee = old[i1 - 2]
    after_word = i1 > 2 and (is_word(old[i1 - 3]) or old[i1 - 3] in CLOSING)
    return Template((callee, "(", 0, ")"), (callee, "(", ")"), frozenset(), after_word)


def _template(old: list[str], new: list[str], middle: tuple[int, int, int, int], moved_words: bool) -> Rule | None:
    """What was kept between two changes becomes a hole, and so does, with `moved_words`, a word that was moved."""
    i1, i2, j1, j2 = middle
    before, after = old[i1:i2], new[j1:j2]
    old_parts: list[str | int] = []
    new_parts: list[str | int] = []
    holes = 0
    for tag, a1, a2, b1, b2 in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if tag == "equal" and not all(map(is_blank, before[a1:a2])):
            old_parts.append(holes)
            new_parts.append(holes)
            holes += 1
        else:
            old_parts += before[a1:a2]
            new_parts += after[b1:b2]
    moved = [part for part in dict.fromkeys(old_parts) if isinstance(part, str) and is_word(part) and part in new_parts]
    names = {word: holes + number for number, word in enumerate(moved)} if moved_words else {}
    old_parts = [names.get(part, part) if isinstance(part, str) else part for part in old_parts]
    new_parts = [names.get(part, part) if isinstance(part, str) else part for part in new_parts]
    # without a hole it is a plain substitution; without a literal it would match anything
    if all(isinstance(part, str) for part in old_parts) or all(isinstance(part, int) or is_blank(part) for part in old_parts):
        return None
    # a hole at an end has nothing to end at: the neighbouring token holds it
    if isinstance(old_parts[0], int):
        held = left_context(old, i1)
        old_parts, new_parts, i1 = [*held, *old_parts], [*held, *new_parts], i1 - len(held)
    if isinstance(old_parts[-1], int):
        held = right_context(old, i2)
        old_parts, new_parts = [*old_parts, *held], [*new_parts, *held]
    if isinstance(old_parts[0], int) or isinstance(old_parts[-1], int):
        return None
    after_word = i1 > 0 and (is_word(old[i1 - 1]) or old[i1 - 1] in CLOSING)
    return Template(tuple(old_parts), tuple(new_parts), frozenset(names.values()), after_word)
