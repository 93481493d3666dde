"""Paths that imports may mean."""

import pytest

from gapo_cli.tasks.git.imports import imported_paths


@pytest.mark.parametrize(
    ("language", "path", "line", "meant"),
    [
        ("python", "src/pkg/a.py", "from pkg.tools import trim, cut as c", "src/pkg/tools.py"),
        ("python", "src/pkg/a.py", "from pkg import tools", "src/pkg/tools.py"),
        ("python", "src/pkg/sub/a.py", "from ..tools import trim", "src/pkg/tools.py"),
        ("python", "src/pkg/a.py", "from . import tools", "src/pkg/tools.py"),
        ("python", "a.py", "import x, pkg.tools as t", "pkg/tools.py"),
        ("python", "src/a.py", "from pkg import thing", "src/pkg/__init__.py"),
        ("typescript", "web/a.ts", 'import { x } from "../lib/tools";', "lib/tools.ts"),
        ("typescript", "web/a.ts", 'export * from "./tools.js";', "web/tools.ts"),
        ("javascript", "web/a.js", 'const t = require("./tools")', "web/tools/index.js"),
        ("javascript", "web/a.js", '} from "./tools";', "web/tools.js"),
        ("cpp", "src/a.cc", '#include "util/tools.h"', "include/util/tools.h"),
        ("c", "src/a.c", '#include "tools.h"', "src/tools.h"),
        ("c", "src/a.c", '#include "../lib/tools.h"', "lib/tools.h"),
        ("rust", "src/main.rs", "mod tools;", "src/tools.rs"),
        ("rust", "src/a.rs", "pub mod tools;", "src/a/tools.rs"),
        ("rust", "crates/x/src/a/b.rs", "use crate::deep::tools::trim;", "crates/x/src/deep/tools.rs"),
        ("rust", "src/a/b.rs", "use super::tools::trim;", "src/a/tools.rs"),
        ("java", "app/src/org/x/A.java", "package org.x;\nimport org.y.Tools;", "app/src/org/y/Tools.java"),
        ("ruby", "lib/a.rb", 'require_relative "x/tools"', "lib/x/tools.rb"),
    ],
)
def test_an_import_names_the_file_that_it_may_mean(language, path, line, meant):
    assert meant in imported_paths(language, path, line.split("\n"))


@pytest.mark.parametrize(("language", "line"), [("c", '#include "../../lib/tools.h"'), ("javascript", 'import "../../tools"')])
def test_nothing_above_the_repository_is_meant(language, line):
    found = imported_paths(language, "src/a.x", [line])
    assert not [path for path in found if path.startswith("..")]


def test_other_lines_and_other_languages_import_nothing():
    assert imported_paths("python", "a.py", ["x = 'import y'", "# from y import x", "important = 1"]) == []
    assert imported_paths("go", "a.go", ['import "x/y"']) == []
