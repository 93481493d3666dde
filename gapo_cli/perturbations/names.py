"""The words that identifiers are made of, and which of them may be replaced throughout a task without changing what it asks for.

A word, not an identifier, is what is replaced: a history that makes `account_name` of `user_name` asks for `account_id` elsewhere,
and still does so when `account` is `ledger` everywhere.
"""

from __future__ import annotations

import builtins
import keyword
import re
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

from gapo_cli.edits.diffs import hunks_of, sides_of
from gapo_cli.perturbations.quotes import quoted
from gapo_cli.perturbations.texts import words_of
from gapo_cli.records import EditTask

LANGUAGES = frozenset({
    "c", "cpp", "csharp", "dart", "go", "java", "javascript", "julia", "kotlin", "lua", "php", "python", "ruby", "rust",
    "scala", "swift", "typescript", "zig",
})  # fmt: skip
"""Whose strings and comments are known, and in which names are what their programmers call them."""
IDENTIFIER = re.compile(r"[^\W\d]\w*")
PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
SHORTEST = 3
"""Letters of a word that may be replaced. A shorter one is a word by chance too often."""
OWN_OBJECTS = ("self.", "this.", "cls.", "this->")
"""A member of these is the task's own; of anything else it may be a library's."""
IMPORT = re.compile(r"^\s*(?:(?:import|from|use|using|package|require|extern|mod|module|namespace)\s|#\s*(?:include|define)\b)")
THEIRS = """
    abstract alignas any array as asm assert async atomic auto await base bool boolean box break byte case cast catch chan char
    class clone close cmp collections companion complex concat console const constexpr consteval constructor continue copy crate
    data debug debugger declare decltype def default defer defined defmodule del delegate delete deriving desc df do document double
    dyn each echo elif else elseif elsif embed end ensure enum eprintln equals err error event exception explicit export extends extern
    extension false fallthrough fi field file filter final finally fixed float fmt fn for foreach format friend fun func function
    future get global go goto guard hash hashmap hashset if impl implements import in indexof infer infix init inline inout insert
    instance instanceof int integer interface internal io is isize iter iterator items join json keys keyof lambda language lateinit
    lazy len length let library list local lock log logger long loop macro main make map match math max member message min mixin mod
    module move mut mutable name namespace native never new next nil none nonlocal not null number object observable of ok on open
    operator option optional or out override package panic parent part partial pass path pop print printf println private promise
    property protected protocol prototype pub public push puts raise range read readonly record ref register reject remove repeat
    replace request require required rescue resolve response rest result retry return reverse root rust sealed select self selected
    set shared short signed size sizeof slice some sort source split sprintf static std stdin stdout stderr step str strictfp string
    strip struct sub subscript super switch symbol synchronized system table tasks template test text then this thread throw throws
    time to trait transient trim true try tuple type typealias typedef typeid typename typeof uint ulong undef undefined union unit
    unless unsafe unsigned until unwrap update use user using usize ushort value values var vec vector virtual void volatile wchar
    when where while window with write yield
"""
KEYWORDS = frozenset(THEIRS.split())
"""Words that languages and their libraries have names for, in small letters: too many rather than too few."""
PYTHON = frozenset({*keyword.kwlist, *keyword.softkwlist, *dir(builtins), "self", "cls"})


def parts_of(identifier: str) -> list[str]:
    return [part.lower() for part in PART.findall(identifier)]


def parts_in(text: str) -> set[str]:
    """The words of everything that looks like an identifier in the text, in small letters."""
    return {part for identifier in IDENTIFIER.findall(text) for part in parts_of(identifier)}


def replaceable(task: EditTask) -> list[str]:
    """Words that the region or an answer has, in alphabetical order; of a task in one of LANGUAGES. Left out are the words of
    strings and comments, of prose and paths, of imports, of keywords and what libraries may own, and words that begin like another:
    one may be the other half typed, or its plural."""
    code = list(_code(task))
    found: set[str] = set()
    fixed = {part for text in _fixed(task) for part in parts_in(text)}
    for text in code:
        quotes = quoted(text, task.language)
        bare = quotes.code_of(text)
        found |= parts_in(bare)
        fixed |= (
            parts_in(text) if quotes.ambiguous else {part for start, end in quotes.spans for part in parts_in(text[start:end])}
        )
        fixed |= _of_others(bare, task.language)
    answers = parts_in(" ".join((task.region, *task.targets)))
    every = found | fixed
    return sorted(
        part
        for part in (found & answers) - fixed
        if len(part) >= SHORTEST
        and part not in KEYWORDS
        and not any(other != part and len(other) >= SHORTEST and _one_begins_the_other(part, other) for other in every)
    )


def _one_begins_the_other(first: str, second: str) -> bool:
    return first.startswith(second) or second.startswith(first)


def _code(task: EditTask) -> Iterator[str]:
    """The pieces of code that a renaming changes, each as far as it hangs together."""
    yield task.excerpt
    for region in (*task.targets, *task.rejected):
        yield task.before + region + task.after
    for event in task.history:
        if _same_kind(event.path, task.path):
            for hunk in hunks_of(event.diff):
                for side in sides_of(hunk):
                    yield "\n".join(side)
    for hint in task.hints:
        if hint.kind == "related_file" and _same_kind(hint.path or "", task.path):
            yield hint.text


def _fixed(task: EditTask) -> Iterator[str]:
    """Texts in which nothing may be renamed: they are no code of the task's language, or are read by somebody else."""
    yield from (task.path, task.instruction or "", task.system or "", task.assertions or "", task.tests or "")
    for event in task.history:
        yield from (event.path, event.old_path or "")
        if not _same_kind(event.path, task.path):
            yield event.diff
    for hint in task.hints:
        yield from (hint.path or "", hint.snippet or "")
        if hint.kind != "related_file" or not _same_kind(hint.path or "", task.path):
            yield hint.text


def _same_kind(path: str, other: str) -> bool:
    return PurePosixPath(path).suffix == PurePosixPath(other).suffix


def _of_others(code: str, language: str) -> set[str]:
    """The words of identifiers that are a language's or may be a library's."""
    found: set[str] = set()
    for line in code.split("\n"):
        if IMPORT.match(line):
            found |= parts_in(line)
            continue
        for one in IDENTIFIER.finditer(line):
            before, after = line[: one.start()], line[one.end() :].lstrip()
            member = before.endswith((".", "::", "->")) and not before.endswith(OWN_OBJECTS)
            named_argument = before.rstrip().endswith(("(", ",")) and re.match(r"[=:](?![=:])", after) is not None
            theirs = one[0] in PYTHON if language == "python" else one[0].lower() in KEYWORDS
            if member or named_argument or theirs or before.endswith("@") or one[0].startswith("__") or after.startswith("!("):
                found |= set(parts_of(one[0]))
    return found


def unknown_to(texts: Iterable[str], words: tuple[str, ...]) -> list[str]:
    """Those of `words` that no word of the texts contains or is contained in."""
    taken = {word.lower() for word in words_of(texts)}
    return [word for word in words if not any(word in other for other in taken)]
