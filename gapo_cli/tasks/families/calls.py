"""Edits of calls: an argument added or removed, another method, logging for print, another exception, a wrapped value."""

from __future__ import annotations

import builtins
import random

from gapo_cli.tasks.families import ChangeSet
from gapo_cli.tasks.families.source_file import NOT_NAMES, SourceFile, splice
from gapo_cli.tasks.families.vocabulary import NAMES, VALUES

_SAMPLED = 8
_METHODS = {
    "append": ("add", "push", "put", "appendleft"),
    "get": ("pop", "setdefault", "lookup"),
    "keys": ("items", "values"),
    "write": ("send", "writelines", "emit"),
    "read": ("readline", "recv", "load"),
    "join": ("joinpath", "combine"),
    "startswith": ("endswith",),
    "strip": ("rstrip", "lstrip"),
    "split": ("rsplit", "partition"),
    "format": ("substitute", "render"),
    "close": ("shutdown", "release"),
}
_LOGGERS = ("logger.info", "log.debug", "logging.info", "self.log", "logger.debug")
_EXCEPTIONS = ("ValueError", "TypeError", "RuntimeError", "KeyError", "AttributeError", "NotImplementedError", "OSError")
_OTHER_EXCEPTIONS = ("ConfigError", "ParseError", "UserError", "InputError", "LookupError", "TypeError", "ValueError")
_WRAPPERS = ("str", "int", "list", "len", "tuple", "bytes", "repr", "bool", "set", "sorted")


def _with_argument(file: SourceFile, name: str, argument: str) -> ChangeSet:
    """Each call of `name` that closes on its own line, without and with `argument` as its last one."""
    found: ChangeSet = {}
    for line, index in file.calls(name):
        bracket = file.tokens[line][index + 1]
        closing = file.closing.get((line, bracket.start))
        if line in found or not file.is_usable(line) or closing is None or closing[0] != line:
            continue
        inside = file.lines[line][bracket.end : closing[1]].strip()
        if inside.endswith(",") or " for " in inside or inside.startswith("*"):
            continue
        text = f", {argument}" if inside else argument
        found[line] = (file.lines[line], splice(file.lines[line], [(closing[1], closing[1], text)]))
    return found


def _argument(generator: random.Random) -> str:
    name = generator.choice(NAMES)
    return name if generator.random() < 0.3 else f"{name}={generator.choice(VALUES)}"


def add_argument(file: SourceFile, generator: random.Random) -> list[ChangeSet]:
    """A function takes one more argument; its calls pass it."""
    candidates = file.called_names(at_least=2)
    chosen = generator.sample(candidates, min(len(candidates), _SAMPLED))
    return [_with_argument(file, name, _argument(generator)) for name in chosen]


def remove_argument(file: SourceFile, generator: random.Random) -> list[ChangeSet]:
    """The other way round: the argument goes, and the real code is what remains."""
    return [{line: (new, old) for line, (old, new) in found.items()} for found in add_argument(file, generator)]


def _callee_replaced(file: SourceFile, name: str, new: str, after_dot: bool) -> ChangeSet:
    """Each line whose first call of `name(` becomes a call of `new(`."""
    found: ChangeSet = {}
    for line, index in file.names.get(name, ()):
        token = file.tokens[line][index]
        if line in found or not file.is_usable(line) or file.after(line, index) != "(":
            continue
        if (file.before(line, index) == ".") != after_dot or file.before(line, index) == "def":
            continue
        found[line] = (file.lines[line], splice(file.lines[line], [(token.start, token.end, new)]))
    return found


def change_method(file: SourceFile, generator: random.Random) -> list[ChangeSet]:
    """A container or stream changed its kind, so its method has another name: `.append(` to `.add(`."""
    return [
        _callee_replaced(file, name, generator.choice(others), after_dot=True)
        for name, others in _METHODS.items()
        if name in file.names
    ]


def print_to_logging(file: SourceFile, generator: random.Random) -> list[ChangeSet]:
    """`print(...)` becomes a logger's call; so do warnings.warn and sys.stderr.write."""
    found = [_callee_replaced(file, "print", generator.choice(_LOGGERS), after_dot=False)]
    for owner, method, new in (("warnings", "warn", "logger.warning"), ("stderr", "write", "logger.error")):
        changes: ChangeSet = {}
        for line, index in file.names.get(method, ()):
            tokens = file.tokens[line]
            if index < 2 or tokens[index - 2].text != owner or file.after(line, index) != "(" or not file.is_usable(line):
                continue
            first = index - 4 if index >= 4 and tokens[index - 4].text == "sys" else index - 2
            span = (tokens[first].start, tokens[index].end, new)
            changes[line] = (file.lines[line], splice(file.lines[line], [span]))
        found.append(changes)
    return found


def raise_other_exception(file: SourceFile, generator: random.Random) -> list[ChangeSet]:
    """`raise ValueError(` becomes `raise ConfigError(`."""
    found = []
    for name in _EXCEPTIONS:
        new = generator.choice([other for other in _OTHER_EXCEPTIONS if other != name])
        found.append({
            line: (file.lines[line], splice(file.lines[line], [(token.start, token.end, new)]))
            for line, index in file.names.get(name, ())
            for token in [file.tokens[line][index]]
            if file.before(line, index) == "raise" and file.is_usable(line)
        })  # fmt: skip
    return found


def wrap_in_call(file: SourceFile, generator: random.Random) -> list[ChangeSet]:
    """A name that is handed on as a call's argument gets converted first: `f(x)` to `f(str(x))`."""
    places: dict[str, list[tuple[int, int]]] = {}
    for name, where in file.names.items():
        if name in NOT_NAMES or hasattr(builtins, name):
            continue
        places[name] = [
            (line, index)
            for line, index in where
            if file.before(line, index) in ("(", ",") and file.after(line, index) in (")", ",")
            and file.is_usable(line) and file.tokens[line][0].text not in ("def", "class", "import", "from", "for", "except")
        ]  # fmt: skip
    candidates = sorted(name for name, where in places.items() if len({line for line, _ in where}) > 1)
    found = []
    for name in generator.sample(candidates, min(len(candidates), _SAMPLED)):
        wrapper = generator.choice(_WRAPPERS)
        spans: dict[int, list[tuple[int, int, str]]] = {}
        for line, index in places[name]:
            token = file.tokens[line][index]
            spans.setdefault(line, []).append((token.start, token.end, f"{wrapper}({name})"))
        found.append({line: (file.lines[line], splice(file.lines[line], found_here)) for line, found_here in spans.items()})
    return found
