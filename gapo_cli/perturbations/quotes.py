"""Where strings and comments are in a piece of code, by the language's quotes and comment signs. No parser: excerpts and hunks
begin and end anywhere, so a text that leaves a quote open is called ambiguous, and nobody should rely on its spans."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

HASH = frozenset({
    "cmake", "dockerfile", "elixir", "graphql", "julia", "make", "nim", "nix", "perl", "python", "r", "ruby", "shell",
    "starlark", "terraform", "toml", "yaml",
})  # fmt: skip
SLASHES = frozenset({
    "c", "cpp", "csharp", "dart", "go", "groovy", "java", "javascript", "kotlin", "objective-c", "php", "proto", "rust",
    "scala", "swift", "typescript", "zig",
})  # fmt: skip
DASHES = frozenset({"elm", "haskell", "lua", "sql"})
SIGNS = {**dict.fromkeys(HASH, "#"), **dict.fromkeys(SLASHES, "//"), **dict.fromkeys(DASHES, "--")}
"""Language → what begins a comment that ends with its line."""
TRIPLE = frozenset({"dart", "elixir", "groovy", "java", "julia", "kotlin", "nim", "python", "scala", "starlark", "swift"})
BACKTICK = frozenset({"go", "javascript", "typescript"})
ONE_CHARACTER = frozenset({"rust", "c", "cpp", "java", "csharp", "go", "kotlin", "scala", "zig", "swift", "haskell", "elm"})
"""Where a single quote encloses one character, or stands for something else, as a lifetime does."""


@dataclass(frozen=True, slots=True)
class Quoted:
    """`spans`: [start, end) of each string and comment, in order. `ambiguous`: a quote is left open, or stands alone."""

    spans: tuple[tuple[int, int], ...]
    ambiguous: bool

    def inside(self, offset: int) -> bool:
        return any(start < offset < end for start, end in self.spans)

    def code_of(self, text: str) -> str:
        """The text with blanks for strings and comments, line ends kept."""
        pieces, position = [], 0
        for start, end in self.spans:
            pieces += [text[position:start], re.sub(r"[^\n]", " ", text[start:end])]
            position = end
        return "".join([*pieces, text[position:]])


def quoted(text: str, language: str) -> Quoted:
    """Of a language in SIGNS; in another one nothing is known to be quoted."""
    if language not in SIGNS:
        return Quoted((), False)
    spans = tuple(found.span() for found in _pattern(language).finditer(text))
    found = Quoted(spans, False)
    alone = {'"', "`"} if language in ONE_CHARACTER else {'"', "`", "'"}
    is_open = any(_is_open(text[start:end]) for start, end in spans)
    return Quoted(spans, is_open or not alone.isdisjoint(found.code_of(text)))


def _is_open(piece: str) -> bool:
    for opening, closing in (('"""', '"""'), ("'''", "'''"), ("/*", "*/"), ("`", "`")):
        if piece.startswith(opening):
            return len(piece) < len(opening) + len(closing) or not piece.endswith(closing)
    return False


@cache
def _pattern(language: str) -> re.Pattern[str]:
    parts = []
    if language in SLASHES or language == "sql":
        parts.append(r"/\*[\s\S]*?(?:\*/|\Z)")
    parts.append(re.escape(SIGNS[language]) + r"[^\n]*")
    if language in TRIPLE:
        parts += [r'"""[\s\S]*?(?:"""|\Z)', r"'''[\s\S]*?(?:'''|\Z)"]
    if language in BACKTICK:
        parts.append(r"`(?:[^`\\]|\\[\s\S])*(?:`|\Z)")
    parts.append(r'"(?:[^"\\\n]|\\.)*"')
    parts.append(r"'(?:[^'\\\n]|\\.[^'\n]{0,8})'" if language in ONE_CHARACTER else r"'(?:[^'\\\n]|\\.)*'")
    return re.compile("|".join(parts))
