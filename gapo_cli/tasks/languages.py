"""The language of a file by its name: the extension, else the whole name (Makefile). Pure.

The ten languages of the data of arXiv:2510.21830, those of the zeta data set and the usual company of both.
A header `.h` counts as C, since nothing in its name tells C from C++.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

UNKNOWN = "unknown"

PAPER_LANGUAGES = ("go", "python", "java", "cpp", "kotlin", "typescript", "javascript", "c", "rust", "lua")

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


def language_of(path: str) -> str:
    """The language of a file by its path, `UNKNOWN` where the name does not tell. Case does not matter."""
    name = path.replace("\\", "/").rsplit("/", 1)[-1].strip().lower()
    if name in FILE_NAMES:
        return FILE_NAMES[name]
    stem, dot, extension = name.rpartition(".")
    return _BY_EXTENSION.get(extension, UNKNOWN) if dot and stem else UNKNOWN
