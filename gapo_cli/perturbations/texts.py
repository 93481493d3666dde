"""All texts of a task, and the words in them: what a perturbation may not lose, and what it may not repeat by chance."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from gapo_cli.records import EditTask

WORD = re.compile(r"\w+")


def words_of(texts: Iterable[str]) -> set[str]:
    return {word for text in texts for word in WORD.findall(text)}


def shown_beside_the_excerpt(task: EditTask) -> Iterator[str]:
    """What else of the task a prompt can show."""
    yield from (event.diff for event in task.history)
    for hint in task.hints:
        yield hint.text
        yield hint.snippet or ""
    yield task.instruction or ""
    yield task.system or ""


def all_texts(task: EditTask) -> Iterator[str]:
    """Every text of the task, its paths and its answers."""
    yield task.excerpt
    yield from task.targets
    yield from task.rejected
    yield from shown_beside_the_excerpt(task)
    yield task.assertions or ""
    yield task.tests or ""
    yield task.path
    for event in task.history:
        yield event.path
        yield event.old_path or ""
    for hint in task.hints:
        yield hint.path or ""


def lost_words(task: EditTask, changed: EditTask) -> set[str]:
    """Words of the answers that the task shows somewhere and the changed one nowhere."""
    needed = words_of(task.targets)
    shown = words_of([task.excerpt, *shown_beside_the_excerpt(task)])
    left = words_of([changed.excerpt, *shown_beside_the_excerpt(changed)])
    return (needed & shown) - left
