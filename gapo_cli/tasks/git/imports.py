"""Which files of a repository a file imports, as far as its text and paths tell. Pure; nothing is resolved on a machine.

Names of packages from elsewhere give paths that the repository does not have. Go is left out: it imports folders.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType

PYTHON = re.compile(r"\s*(?:from\s+(\.*)([\w.]*)\s+import\s+\(?([\w ,]*)|import\s+([\w., ]+))")
SCRIPT = re.compile(
    r"""\s*(?:import|export)\b.*?["'](\.{1,2}/[^"']+)["']|.*\brequire\(\s*["'](\.{1,2}/[^"']+)["']|.*\bfrom\s+["'](\.{1,2}/[^"']+)["']"""
)
INCLUDE = re.compile(r'\s*#\s*include\s*"([^"]+)"')
RUST = re.compile(r"\s*(?:pub(?:\([^)]*\))?\s+)?(?:mod\s+(\w+)\s*;|use\s+(crate|super|self)::([\w:]+))")
JAVA = re.compile(r"\s*import\s+(?:static\s+)?([\w.]+)")
PACKAGE = re.compile(r"\s*package\s+([\w.]+)")
RUBY = re.compile(r"""\s*require_relative\s+["']([^"']+)["']""")
SCRIPT_ENDINGS = ("", ".ts", ".tsx", ".js", ".jsx", ".mjs", "/index.ts", "/index.tsx", "/index.js")
MOST_LINES = 400
"""Imports stand at the beginning; further down only a few do."""


def imported_paths(language: str, path: str, lines: Sequence[str]) -> list[str]:
    """Paths that the imports of a file may mean, in the order of the imports, each once; not all exist.
    What would lie above the repository is left out."""
    find = READERS.get(language)
    if find is None:
        return []
    found = map(posixpath.normpath, find(path, lines[:MOST_LINES]))
    return [one for one in dict.fromkeys(found) if one != ".." and not one.startswith(("../", "/"))]


def _python(path: str, lines: Sequence[str]) -> Iterator[str]:
    folder = posixpath.dirname(path)
    for line in lines:
        found = PYTHON.match(line)
        if found is None:
            continue
        dots, module, names, plain = found.groups()
        if plain is not None:
            for name in plain.split(","):
                yield from _modules(_bases(folder, ""), name.split(" as ")[0].strip())
            continue
        bases = _bases(folder, dots)
        for name in (names or "").split(","):
            yield from _modules(bases, ".".join(filter(None, (module, name.split(" as ")[0].strip()))))
        yield from _modules(bases, module)


def _bases(folder: str, dots: str) -> list[str]:
    """Where a module's name may begin: for a relative import its folder, else every folder above the file."""
    if dots:
        for _ in dots[1:]:
            folder = posixpath.dirname(folder)
        return [folder]
    above = [folder]
    while above[-1]:
        above.append(posixpath.dirname(above[-1]))
    return above


def _modules(bases: Sequence[str], module: str) -> Iterator[str]:
    if module:
        for base in bases:
            stem = posixpath.join(base, module.replace(".", "/"))
            yield f"{stem}.py"
            yield f"{stem}/__init__.py"


def _script(path: str, lines: Sequence[str]) -> Iterator[str]:
    for line in lines:
        if found := SCRIPT.match(line):
            stem = _beside(path, next(filter(None, found.groups())))
            yield from (stem + ending for ending in SCRIPT_ENDINGS)
            if stem.endswith(".js"):  # TypeScript names the file that it will become
                yield f"{stem[:-3]}.ts"


def _include(path: str, lines: Sequence[str]) -> Iterator[str]:
    for line in lines:
        if found := INCLUDE.match(line):
            yield _beside(path, found[1])
            yield from (posixpath.join(base, found[1]) for base in ("include", "src", ""))


def _rust(path: str, lines: Sequence[str]) -> Iterator[str]:
    folder, name = posixpath.split(path)
    own = folder if name in ("mod.rs", "lib.rs", "main.rs") else posixpath.join(folder, name.removesuffix(".rs"))
    root = path[: path.rindex("src/") + 3] if "src/" in path else folder
    for line in lines:
        found = RUST.match(line)
        if found is None:
            continue
        module, base, rest = found.groups()
        parts = [module] if module else [part for part in rest.split("::") if part]
        start = own if module or base == "self" else root if base == "crate" else posixpath.dirname(own)
        # the last names of a path are of things inside a module
        for length in range(len(parts), 0, -1):
            stem = posixpath.join(start, *parts[:length])
            yield f"{stem}.rs"
            yield f"{stem}/mod.rs"


def _java(path: str, lines: Sequence[str]) -> Iterator[str]:
    folder, ending = posixpath.dirname(path), posixpath.splitext(path)[1]
    package = next((found[1] for line in lines if (found := PACKAGE.match(line))), "")
    inside = package.replace(".", "/")
    root = folder.removesuffix(inside).rstrip("/") if folder.endswith(inside) else folder
    for line in lines:
        if found := JAVA.match(line):
            yield posixpath.join(root, found[1].replace(".", "/") + ending)


def _ruby(path: str, lines: Sequence[str]) -> Iterator[str]:
    for line in lines:
        if found := RUBY.match(line):
            yield _beside(path, f"{found[1].removesuffix('.rb')}.rb")


def _beside(path: str, relative: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(path), relative))


READERS: Mapping[str, Callable[[str, Sequence[str]], Iterator[str]]] = MappingProxyType({
    "python": _python, "javascript": _script, "typescript": _script, "vue": _script, "svelte": _script, "c": _include,
    "cpp": _include, "rust": _rust, "java": _java, "kotlin": _java, "scala": _java, "ruby": _ruby,
})  # fmt: skip
