"""Learning from one whole line that was added or removed beside another, and repeating it elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gapo_cli.edits.rules.substitutions import Edit, Template
from gapo_cli.edits.rules.tokens import FLAT_TOKENS, is_blank, is_word, tokenise

FEWEST_WORDS = 2
"""A removed line of fewer words (`else:`, `}`) says nothing about other lines like it."""


@dataclass(frozen=True, slots=True)
class Line:
    """Tokens [start, end) of a text, the newline included where there is one."""

    start: int
    end: int
    indent: str
    words: tuple[str, ...]
    first: str
    last: str


def lines_of(tokens: Sequence[str]) -> Iterator[Line]:
    start = 0
    while start < len(tokens):
        end = start
        while end < len(tokens) and tokens[end] != "\n":
            end += 1
        body = [token for token in tokens[start:end] if not is_blank(token)]
        indent = tokens[start] if body and is_blank(tokens[start]) else ""
        end = min(end + 1, len(tokens))
        if body:
            yield Line(start, end, indent, tuple(filter(is_word, body)), body[0], body[-1])
        start = end


@dataclass(frozen=True, slots=True)
class AddedLine:
    """A line is added below (or above) every line that begins with `first` and ends with `last`. An int in `parts` is a
    word of that line, by its place. `indent` is added to that line's own."""

    first: str
    last: str
    below: bool
    indent: str
    parts: tuple[str | int, ...]

    def edits(self, tokens: Sequence[str]) -> list[Edit]:
        found = []
        text = "".join(tokens)
        for line in lines_of(tokens):
            if (line.first, line.last) != (self.first, self.last):
                continue
            if any(isinstance(part, int) and part >= len(line.words) for part in self.parts):
                continue
            added = "".join(part if isinstance(part, str) else line.words[part] for part in self.parts)
            if added in text:
                continue
            added = f"{line.indent}{self.indent}{added}"
            if not self.below:
                found.append(Edit(line.start, line.start, added + "\n"))
            else:
                ended = tokens[line.end - 1] == "\n"
                found.append(Edit(line.end, line.end, f"{added}\n" if ended else f"\n{added}"))
        return found


@dataclass(frozen=True, slots=True)
class RemovedLine:
    """Every line that is all of `pattern`, whatever its indentation, is removed."""

    pattern: Template

    def edits(self, tokens: Sequence[str]) -> list[Edit]:
        found = []
        for line in lines_of(tokens):
            body = [token for token in tokens[line.start : line.end] if token != "\n"][1 if line.indent else 0 :]
            if any(edit.start == 0 and edit.end == len(body) for edit in self.pattern.edits(body)):
                found.append(Edit(line.start, line.end, ""))
        return found


def added_line_rules(added: str, above: str | None, below: str | None) -> list[AddedLine]:
    """The rules of a line that was added between two lines (None: there is none): first as an addition to the one above
    it, then to the one below. A word that both have is taken from the other line."""
    rules = []
    for neighbour, is_below in ((above, True), (below, False)):
        line = next(lines_of(tokenise(neighbour, FLAT_TOKENS)), None) if neighbour is not None else None
        if line is None:
            continue
        indent = added[: len(added) - len(added.lstrip())]
        if not indent.startswith(line.indent):
            continue
        # the first word is what the kind of line is told by: it is not a name
        names = {word: place for place, word in enumerate(line.words) if place > 0}
        parts = tuple(names.get(token, token) for token in tokenise(added.strip(), FLAT_TOKENS))
        rules.append(AddedLine(line.first, line.last, is_below, indent.removeprefix(line.indent), parts))
    return rules


def removed_line_rules(removed: str, above: str | None, below: str | None) -> list[RemovedLine]:
    """The rules of a line that was removed from between two lines: the same line wherever it stands, or with other names
    for those that it shared with a neighbour."""
    tokens = tokenise(removed.strip(), FLAT_TOKENS)
    if sum(map(is_word, tokens)) < FEWEST_WORDS:
        return []
    rules = [RemovedLine(Template(tuple(tokens), (), frozenset(), after_word=False))]
    for neighbour in (above, below):
        shared = set(filter(is_word, tokenise(neighbour or "", FLAT_TOKENS)))
        parts = _with_names(tokens, shared)
        if any(isinstance(part, int) for part in parts) and any(isinstance(part, str) and is_word(part) for part in parts):
            names = frozenset(part for part in parts if isinstance(part, int))
            rules.append(RemovedLine(Template(parts, (), names, after_word=False)))
    return rules


def _with_names(tokens: Sequence[str], shared: set[str]) -> tuple[str | int, ...]:
    """Dotted names made of shared words become holes, the same hole for the same name."""
    parts: list[str | int] = []
    holes: dict[str, int] = {}
    position = 0
    while position < len(tokens):
        end = next(Template.name_ends(tokens, position), position)
        name = tokens[position:end]
        if name and all(token in shared for token in name if is_word(token)):
            parts.append(holes.setdefault("".join(name), len(holes)))
            position = end
        else:
            parts.append(tokens[position])
            position += 1
    return tuple(parts)
