"""Type annotations, given to one function as the previous one got them."""

from __future__ import annotations

import random

from gapo_cli.tasks.families import ChangeSet
from gapo_cli.tasks.families.source_file import NOT_NAMES, SourceFile, splice
from gapo_cli.tasks.families.vocabulary import TYPES


def annotate_return(file: SourceFile, generator: random.Random) -> list[ChangeSet]:
    """`def f(...):` becomes `def f(...) -> T:` with the same T."""
    annotation = generator.choice(TYPES)
    found: ChangeSet = {}
    for function in file.functions:
        line = function.lineno - 1
        text = file.lines[line]
        if function.returns is None and file.is_usable(line) and text.endswith("):"):
            found[line] = (text, f"{text[:-1]} -> {annotation}:")
    return [found]


def annotate_parameter(file: SourceFile, generator: random.Random) -> list[ChangeSet]:
    """A parameter's name gets the same annotation in every function that has it."""
    places: dict[str, list[tuple[int, int]]] = {}
    for function in file.functions:
        for argument in function.args.args:
            line = argument.lineno - 1
            if argument.annotation is None and argument.arg not in NOT_NAMES and file.is_usable(line):
                places.setdefault(argument.arg, []).append((line, argument.end_col_offset or 0))
    candidates = sorted(name for name, where in places.items() if len({line for line, _ in where}) > 1)
    found = []
    for name in generator.sample(candidates, min(len(candidates), 6)):
        annotation = generator.choice(TYPES)
        changes: ChangeSet = {}
        for line, column in places[name]:
            if line in changes:
                continue
            text = file.lines[line]
            # PEP 8: blanks around the = of an annotated default
            tail = f" = {text[column + 1 :]}" if text[column : column + 1] == "=" else text[column:]
            changes[line] = (text, splice(text, [(column, len(text), f": {annotation}{tail}")]))
        found.append(changes)
    return found
