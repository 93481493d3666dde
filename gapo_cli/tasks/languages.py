"""The language of a file by its name: the extension, else the whole name (Makefile). Pure.

The ten languages of the data of arXiv:2510.21830, those of the zeta data set and the usual company of both.
Nothing in the name of a header `.h` tells C from C++: it counts as C, unless the caller knows better, as a repository's other
files tell (`header_language`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from types import MappingProxyType

UNKNOWN = "unknown"
HEADER = "h"

EXTENSIONS: Mapping[str, tuple[str, ...]] = MappingProxyType({
    "assembly": ("asm", "s"),
    "c": ("c", "h"),
    "clojure": ("clj", "cljc", "cljs", "edn"),
    "cmake": ("cmake",),
    "cpp": ("cc", "cpp", "cxx", "c++", "hh", "hpp", "hxx", "h++", "ipp", "inl", "tpp"),
    "csharp": ("cs",),
    "css": ("css", "less", "sass", "scss"),
    "dart": ("dart",),
    "elixir": ("ex", "exs", "heex"),
    "elm": ("elm",),
    "erlang": ("erl", "hrl"),
    "fortran": ("f", "f90", "f95", "for"),
    "fsharp": ("fs", "fsi", "fsx"),
    "gleam": ("gleam",),
    "go": ("go",),
    "graphql": ("gql", "graphql"),
    "groovy": ("gradle", "groovy"),
    "haskell": ("hs",),
    "html": ("htm", "html", "xhtml"),
    "ini": ("cfg", "ini", "properties"),
    "java": ("java",),
    "javascript": ("cjs", "js", "jsx", "mjs"),
    "json": ("json", "json5", "jsonc"),
    "julia": ("jl",),
    "kotlin": ("kt", "kts"),
    "lua": ("lua",),
    "make": ("mak", "mk"),
    "markdown": ("markdown", "md", "mdx"),
    "nim": ("nim",),
    "nix": ("nix",),
    "objective-c": ("m", "mm"),
    "ocaml": ("ml", "mli"),
    "perl": ("pl", "pm"),
    "php": ("php",),
    "proto": ("proto",),
    "python": ("py", "pyi", "pyx"),
    "r": ("r",),
    "ruby": ("gemspec", "rake", "rb"),
    "rust": ("rs",),
    "scala": ("sbt", "sc", "scala"),
    "shell": ("bash", "fish", "sh", "zsh"),
    "sql": ("sql",),
    "starlark": ("bazel", "bzl", "star"),
    "svelte": ("svelte",),
    "swift": ("swift",),
    "terraform": ("hcl", "tf"),
    "text": ("adoc", "rst", "tex", "txt"),
    "toml": ("toml",),
    "typescript": ("cts", "mts", "ts", "tsx"),
    "vim": ("vim",),
    "vue": ("vue",),
    "xml": ("svg", "xml", "xsd", "xsl"),
    "yacc": ("l", "y", "yy"),
    "yaml": ("yaml", "yml"),
    "zig": ("zig",),
})  # fmt: skip

FILE_NAMES: Mapping[str, str] = MappingProxyType({
    "build": "starlark",
    "cmakelists.txt": "cmake",
    "dockerfile": "dockerfile",
    "gemfile": "ruby",
    "gnumakefile": "make",
    "jenkinsfile": "groovy",
    "makefile": "make",
    "rakefile": "ruby",
    "workspace": "starlark",
})  # fmt: skip

_BY_EXTENSION = {extension: language for language, extensions in EXTENSIONS.items() for extension in extensions}


def language_of(path: str, headers: str = "c") -> str:
    """The language of a file by its path, `UNKNOWN` where the name does not tell. Case does not matter. `headers`: the
    language of `.h` files, c or cpp."""
    name = _name(path)
    if name in FILE_NAMES:
        return FILE_NAMES[name]
    extension = extension_of(path)
    return headers if extension == HEADER else _BY_EXTENSION.get(extension, UNKNOWN)


def extension_of(path: str) -> str:
    """In small letters and without its dot; "" where a name has none, or is nothing else."""
    stem, dot, extension = _name(path).rpartition(".")
    return extension if dot and stem else ""


def header_language(paths: Iterable[str]) -> str:
    """The language of a repository's `.h` files: cpp where it has more C++ than C files, headers `.h` left out of account."""
    counts = Counter(_BY_EXTENSION.get(extension) for extension in map(extension_of, paths) if extension != HEADER)
    return "cpp" if counts["cpp"] > counts["c"] else "c"


def _name(path: str) -> str:
    return path.replace("\\", "/").rsplit("/", 1)[-1].strip().lower()
