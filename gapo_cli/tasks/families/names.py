"""Renames that are carried on: a local variable, an attribute, a function at its calls."""

from __future__ import annotations

import ast
import builtins
import random
import tokenize

from gapo_cli.tasks.families import ChangeSet
from gapo_cli.tasks.families.source_file import NOT_NAMES, SourceFile, splice
from gapo_cli.tasks.families.vocabulary import fresh_name

_BUILTINS = frozenset(dir(builtins))
_SAMPLED = 8  # names tried in a file: enough to choose from, and the time stays linear


def _replaced(file: SourceFile, places: list[tuple[int, int]], new: str) -> ChangeSet:
    by_line: dict[int, list[tuple[int, int, str]]] = {}
    for line, index in places:
        token = file.tokens[line][index]
        by_line.setdefault(line, []).append((token.start, token.end, new))
    return {
        line: (file.lines[line], splice(file.lines[line], spans)) for line, spans in by_line.items() if file.is_usable(line)
    }


def rename_variable(file: SourceFile, generator: random.Random) -> list[ChangeSet]:
    """A parameter or local variable of one function. Names that an f-string mentions are left alone: their uses inside
    the string would have to follow."""
    found = []
    for function in generator.sample(file.functions, min(len(file.functions), _SAMPLED)):
        first, last = function.lineno - 1, (function.end_lineno or function.lineno) - 1
        local = {argument.arg for argument in function.args.args + function.args.kwonlyargs}
        local |= {node.id for node in ast.walk(function) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
        formatted = " ".join(
            token.text
            for tokens in file.tokens[first : last + 1]
            for token in tokens
            if token.kind == tokenize.STRING and "f" in token.text.split("'")[0].split('"')[0].lower()
        )
        candidates = sorted(local - NOT_NAMES - _BUILTINS)
        for name in generator.sample(candidates, min(len(candidates), 2)):
            new = fresh_name(name, generator)
            taken = any(first <= line <= last for line, _ in file.names.get(new, ()))
            if taken or name in formatted:
                continue
            places = [
                (line, index)
                for line, index in file.names[name]
                if first <= line <= last
                and file.before(line, index) != "."
                # `f(name=...)` names the parameter of f, not this variable
                and not (line > first and file.after(line, index) == "=" and file.tokens[line][index].depth > 0)
            ]
            found.append(_replaced(file, places, new))
    return found


def rename_attribute(file: SourceFile, generator: random.Random) -> list[ChangeSet]:
    """`self.x` becomes `self.y` (or `self._x`) throughout a class."""
    found = []
    for node in file.classes:
        first, last = node.lineno - 1, (node.end_lineno or node.lineno) - 1
        places: dict[str, list[tuple[int, int]]] = {}
        for line, index in file.names.get("self", ()):
            tokens = file.tokens[line]
            is_attribute = first <= line <= last and index + 2 < len(tokens) and tokens[index + 1].text == "."
            if is_attribute and file.after(line, index + 2) != "(":
                places.setdefault(tokens[index + 2].text, []).append((line, index + 2))
        candidates = sorted(name for name, where in places.items() if len(where) > 1)
        for name in generator.sample(candidates, min(len(candidates), 2)):
            new = "_" + name if generator.random() < 0.3 and not name.startswith("_") else fresh_name(name, generator)
            if new not in places:
                found.append(_replaced(file, places[name], new))
    return found


def rename_function(file: SourceFile, generator: random.Random) -> list[ChangeSet]:
    """A function got another name; its calls follow."""
    candidates = file.called_names(at_least=2)
    return [
        _replaced(file, file.calls(name), fresh_name(name, generator))
        for name in generator.sample(candidates, min(len(candidates), _SAMPLED))
    ]
