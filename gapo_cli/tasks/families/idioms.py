"""Idioms brought up to date: `== None`, `not x in y`, quotes, %-formatting, `super(C, self)`, subscripts, a literal."""

from __future__ import annotations

import random
import re
import tokenize

from gapo_cli.tasks.families import ChangeSet
from gapo_cli.tasks.families.source_file import NOT_NAMES, SourceFile, splice
from gapo_cli.tasks.families.vocabulary import NAMES

_SAMPLED = 8
_NUMBERS = (0, 1, 2, 3, 4, 5, 8, 10, 16, 20, 32, 64, 100, 128, 255, 256, 512, 1000, 1024)
_STRINGS = ("utf-8", "ascii", "rb", "r", "w", ".txt", ".tmp", "latin-1", "error", "unknown")


def compare_with_none(file: SourceFile, generator: random.Random) -> list[ChangeSet]:
    """`x == None` becomes `x is None`, `x != None` becomes `x is not None`."""
    found: ChangeSet = {}
    for line in {line for line, _ in file.names.get("None", ()) if file.is_usable(line)}:
        new = file.lines[line]
        old = new.replace(" is not None", " != None").replace(" is None", " == None")
        if old != new:
            found[line] = (old, new)
    return [found]


def not_in(file: SourceFile, generator: random.Random) -> list[ChangeSet]:
    """`not x in y` becomes `x not in y`."""
    found: ChangeSet = {}
    for line in {line for line, _ in file.names.get("not", ()) if file.is_usable(line)}:
        new = file.lines[line]
        old = re.sub(r"\b(if|elif|while|and|or|return|assert) ([\w.]+(?:\[\w+\])?) not in ", r"\1 not \2 in ", new)
        if old != new:
            found[line] = (old, new)
    return [found]


def double_quotes(file: SourceFile, generator: random.Random) -> list[ChangeSet]:
    """Every single-quoted string of a line gets double quotes."""
    found: ChangeSet = {}
    for line, tokens in enumerate(file.tokens):
        if not file.is_usable(line):
            continue
        spans = [
            (token.start, token.end, f'"{token.text[1:-1]}"')
            for token in tokens
            if token.kind == tokenize.STRING and token.text[0] == "'" and not set('"\\') & set(token.text)
        ]
        if spans and len(spans) <= 3:
            found[line] = (file.lines[line], splice(file.lines[line], spans))
    return [found]


_FORMAT = re.compile(r"""(?<![\w])('[^'\\{}]*'|"[^"\\{}]*") % (\(([^()\[\]{}'"]*)\)|[A-Za-z_][\w.]*(?![\w.(\[]))""")


def percent_to_fstring(file: SourceFile, generator: random.Random) -> list[ChangeSet]:
    """`'%s is %r' % (a, b)` becomes `f'{a} is {b!r}'`, where the arguments are plain expressions."""
    found: ChangeSet = {}
    for line, text in enumerate(file.lines):
        match = _FORMAT.search(text) if file.is_usable(line) and " % " in text else None
        if match is None:
            continue
        literal = match[1]
        specifiers = re.findall(r"%[srd]", literal)
        arguments = [part.strip() for part in match[3].split(",") if part.strip()] if match[3] is not None else [match[2]]
        if not specifiers or literal.count("%") != len(specifiers) or len(arguments) != len(specifiers):
            continue
        body = literal
        for specifier, argument in zip(specifiers, arguments, strict=True):
            body = body.replace(specifier, "{" + argument + ("!r" if specifier == "%r" else "") + "}", 1)
        found[line] = (text, text[: match.start()] + "f" + body + text[match.end() :])
    return [found]


def change_literal(file: SourceFile, generator: random.Random) -> list[ChangeSet]:
    """A number or short string that stands in several places gets another value in each."""
    places: dict[str, list[tuple[int, int, int]]] = {}
    for line, tokens in enumerate(file.tokens):
        for token in tokens:
            short_string = token.kind == tokenize.STRING and re.fullmatch(r"'[\w .:/-]{1,14}'", token.text)
            if file.is_usable(line) and (short_string or (token.kind == tokenize.NUMBER and token.text.isdigit())):
                places.setdefault(token.text, []).append((line, token.start, token.end))
    candidates = sorted(text for text, where in places.items() if len({line for line, _, _ in where}) > 1)
    found = []
    for text in generator.sample(candidates, min(len(candidates), _SAMPLED)):
        if text[0] == "'":
            new = "'" + generator.choice(_STRINGS if generator.random() < 0.4 else NAMES) + "'"
        else:
            new = str(generator.choice(_NUMBERS))
        spans: dict[int, list[tuple[int, int, str]]] = {}
        for line, start, end in places[text]:
            spans.setdefault(line, []).append((start, end, new))
        if new != text:
            found.append({line: (file.lines[line], splice(file.lines[line], here)) for line, here in spans.items()})
    return found


def plain_super(file: SourceFile, generator: random.Random) -> list[ChangeSet]:
    """`super(Name, self).method(` becomes `super().method(`."""
    found: ChangeSet = {}
    for node in file.classes:
        for line, index in file.names.get("super", ()):
            inside = node.lineno - 1 < line < (node.end_lineno or node.lineno)
            if (
                inside
                and file.is_usable(line)
                and [token.text for token in file.tokens[line][index + 1 : index + 3]] == ["(", ")"]
            ):
                column = file.tokens[line][index + 1].end
                found[line] = (splice(file.lines[line], [(column, column, f"{node.name}, self")]), file.lines[line])
    return [found]


def subscript_to_get(file: SourceFile, generator: random.Random) -> list[ChangeSet]:
    """`d[key]`, where it is read, becomes `d.get(key)`."""
    found: ChangeSet = {}
    pattern = re.compile(r"(?<![\w.])([\w.]+)\[('\w+'|[A-Za-z_]\w*)\](?! *[-+*/|&]?= |\w|\[|,.*[^=]= |\()")
    for line, text in enumerate(file.lines):
        if not file.is_usable(line) or "[" not in text or re.match(r"\s*(del|for|async for|def|class) ", text):
            continue
        if any(found_[1] in NOT_NAMES or found_[1].split(".")[-1][:1].isupper() for found_ in pattern.finditer(text)):
            continue
        new = pattern.sub(r"\1.get(\2)", text)
        if new != text:
            found[line] = (text, new)
    return [found]
