"""Whole lines that come or go: debug prints, decorators, log calls; and exceptions that get a name."""

from __future__ import annotations

import random

from gapo_cli.tasks.families import ChangeSet
from gapo_cli.tasks.families.source_file import SourceFile
from gapo_cli.tasks.families.vocabulary import NAMES

_DECORATORS = ("override", "final", "cached", "abstractmethod", "typechecked", "deprecated", "trace", "profile", "synchronized")
_EXCEPTION_NAMES = ("e", "error", "exc", "err", "exception")


def _indent(text: str) -> str:
    return text[: len(text) - len(text.lstrip())]


def name_the_exception(file: SourceFile, generator: random.Random) -> list[ChangeSet]:
    """`except KeyError:` becomes `except KeyError as error:`."""
    name = generator.choice(_EXCEPTION_NAMES)
    found: ChangeSet = {}
    for line, index in file.names.get("except", ()):
        text = file.lines[line]
        if index == 0 and file.is_usable(line) and text.endswith(":") and len(file.tokens[line]) > 2 and " as " not in text:
            found[line] = (text, f"{text[:-1]} as {name}:")
    return [found]


def remove_debug_print(file: SourceFile, generator: random.Random) -> list[ChangeSet]:
    """Prints that were put behind assignments to find a bug are taken out again."""
    label = generator.choice(["", f"'{generator.choice(NAMES)}', ", "'DEBUG', ", "'>>>', "])
    found: ChangeSet = {}
    for line, tokens in enumerate(file.tokens):
        text = file.lines[line]
        assigns = len(tokens) > 3 and tokens[0].depth == 0 and tokens[1].text == "=" and tokens[0].text.isidentifier()
        if assigns and file.is_usable(line) and not text.endswith(("\\", "(", "[", "{", ",")):
            found[line] = (f"{text}\n{_indent(text)}print({label}{tokens[0].text})", text)
    return [found]


def add_decorator(file: SourceFile, generator: random.Random) -> list[ChangeSet]:
    """The same decorator is put on one method after the other."""
    decorator = generator.choice(_DECORATORS)
    found: ChangeSet = {}
    for function in file.functions:
        line = function.lineno - 1
        if not function.decorator_list and file.is_usable(line):
            text = file.lines[line]
            found[line] = (text, f"{_indent(text)}@{decorator}\n{text}")
    return [found]


def log_function_entry(file: SourceFile, generator: random.Random) -> list[ChangeSet]:
    """Each function logs its own name when it is entered."""
    call = generator.choice(("logger.debug", "log.info", "trace", "logging.debug"))
    found: ChangeSet = {}
    for function in file.functions:
        line = function.lineno - 1
        text = file.lines[line]
        if file.is_usable(line) and text.endswith("):"):
            found[line] = (text, f"{text}\n{_indent(text)}    {call}('{function.name}')")
    return [found]
