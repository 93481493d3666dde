import pytest

from gapo_cli.tasks.languages import EXTENSIONS, UNKNOWN, language_of


@pytest.mark.parametrize(
    ("path", "language"),
    [
        ("cmd/main.go", "go"), ("a/b.py", "python"), ("A.java", "java"), ("x.cpp", "cpp"), ("x.hpp", "cpp"), ("B.kt", "kotlin"),
        ("ui/App.tsx", "typescript"), ("i.js", "javascript"), ("i.jsx", "javascript"), ("m.c", "c"), ("m.h", "c"),
        ("src/lib.rs", "rust"), ("init.lua", "lua"),
        ("grammar.y", "yacc"), ("boot.asm", "assembly"), ("a.gleam", "gleam"), ("A.svelte", "svelte"), ("q.graphql", "graphql"),
        ("READ.ME.MD", "markdown"), ("Makefile", "make"), ("deploy/Dockerfile", "dockerfile"), ("CMakeLists.txt", "cmake"),
        ("C:\\work\\a.PY", "python"),
    ],
)  # fmt: skip
def test_a_files_name_tells_its_language(path, language):
    assert language_of(path) == language


@pytest.mark.parametrize("path", ["", "untitled", "script/linux", ".gitignore", "a.b/c", "trailing.", "x.unheardof"])
def test_a_name_that_tells_nothing_gives_unknown(path):
    assert language_of(path) == UNKNOWN


def test_no_extension_belongs_to_two_languages():
    extensions = [extension for extensions in EXTENSIONS.values() for extension in extensions]
    assert len(extensions) == len(set(extensions))
