"""Edit families: each finds, in one source file, sets of like changes that a developer would make one after another.

A family is called with a SourceFile and a random.Random and returns change sets. A ChangeSet maps a line number to
the (before, after) texts of that place, each one line or several joined by a newline; the file itself holds one of
the two. Families whose edits lead to the real code (`== None` to `is None`) invent the before; those that lead away
from it (a rename) invent the after.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from gapo_cli.tasks.families.source_file import SourceFile

ChangeSet = dict[int, tuple[str, str]]
Family = Callable[[SourceFile, random.Random], list[ChangeSet]]
