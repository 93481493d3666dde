"""A Python file as edit families see it: its lines, which of them may be edited, and where every name and bracket is."""

from __future__ import annotations

import ast
import io
import keyword
import tokenize
from collections import defaultdict
from dataclasses import dataclass, field

MAX_LINE = 76  # characters: longer lines make answers that a small model cannot finish
NOT_NAMES = frozenset(keyword.kwlist) | {"self", "cls"}
_SKIPPED = {tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING, tokenize.ENDMARKER}


@dataclass(frozen=True, slots=True)
class Token:
    """One token of a line. `start`, `end`: columns. `depth`: how many brackets are open around it."""

    kind: int
    text: str
    line: int
    start: int
    end: int
    depth: int


@dataclass
class SourceFile:
    """`tokens[i]` are the tokens that start on line i (from 0). `usable[i]`: line i is plain ASCII code of at most
    MAX_LINE characters, not blank, without a comment and not part of a multi-line string. `closing` maps the position
    (line, column) of an opening bracket to that of its partner."""

    path: str
    lines: list[str]
    tree: ast.Module
    usable: list[bool]
    tokens: list[list[Token]]
    closing: dict[tuple[int, int], tuple[int, int]]
    names: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    """NAME → its places as (line, index into tokens[line])."""
    functions: list[ast.FunctionDef | ast.AsyncFunctionDef] = field(default_factory=list)
    classes: list[ast.ClassDef] = field(default_factory=list)

    @classmethod
    def parse(cls, path: str, text: str) -> SourceFile:
        """Raises SyntaxError (or tokenize.TokenError, ValueError) where `text` is not Python that this version reads."""
        tree = ast.parse(text)
        lines = text.split("\n")
        usable = [len(line) <= MAX_LINE and line.isascii() and bool(line.strip()) and "\t" not in line for line in lines]
        tokens: list[list[Token]] = [[] for _ in lines]
        closing: dict[tuple[int, int], tuple[int, int]] = {}
        names: dict[str, list[tuple[int, int]]] = defaultdict(list)
        opened: list[tuple[int, int]] = []
        for item in tokenize.generate_tokens(io.StringIO(text).readline):
            if item.type in _SKIPPED:
                continue
            line, start = item.start[0] - 1, item.start[1]
            if item.type == tokenize.COMMENT:
                usable[line] = False
                continue
            if item.end[0] - 1 > line:  # a string over several lines
                for number in range(line, item.end[0]):
                    usable[number] = False
                continue
            if item.type == tokenize.OP and item.string in ")]}" and opened:
                closing[opened.pop()] = (line, start)
            if item.type == tokenize.NAME:
                names[item.string].append((line, len(tokens[line])))
            tokens[line].append(Token(item.type, item.string, line, start, item.end[1], len(opened)))
            if item.type == tokenize.OP and item.string in "([{":
                opened.append((line, start))
        for number, found in enumerate(tokens):  # a line that is only a string is documentation
            if found and all(token.kind == tokenize.STRING for token in found):
                usable[number] = False
        nodes = list(ast.walk(tree))
        return cls(
            path, lines, tree, usable, tokens, closing, dict(names),
            [node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)],
            [node for node in nodes if isinstance(node, ast.ClassDef)],
        )  # fmt: skip

    def is_usable(self, line: int) -> bool:
        return 0 <= line < len(self.lines) and self.usable[line]

    def before(self, line: int, index: int) -> str:
        """The text of the token before tokens[line][index] on the same line, "" for none."""
        return self.tokens[line][index - 1].text if index > 0 else ""

    def after(self, line: int, index: int) -> str:
        return self.tokens[line][index + 1].text if index + 1 < len(self.tokens[line]) else ""

    def calls(self, name: str) -> list[tuple[int, int]]:
        """Where `name(` is called by that bare name: (line, token index of the name)."""
        return [
            (line, index)
            for line, index in self.names.get(name, ())
            if self.after(line, index) == "(" and self.before(line, index) not in ("def", "class", ".")
        ]

    def called_names(self, at_least: int) -> list[str]:
        """Bare names called on `at_least` usable lines or more, sorted."""
        return sorted(
            name
            for name in self.names
            if name not in NOT_NAMES and len({line for line, _ in self.calls(name) if self.usable[line]}) >= at_least
        )


def splice(line: str, replacements: list[tuple[int, int, str]]) -> str:
    """`line` with each [start, end) replaced; the spans must not overlap."""
    for start, end, text in sorted(replacements, reverse=True):
        line = line[:start] + text + line[end:]
    return line
