"""A task as an example file, from which the same task is read again.

The excerpt, the cursor, the history, the right and the rejected regions stand in the format's own fields. What the format has
no place for, and what it would give back differently, stands under `gapo`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from types import MappingProxyType

from gapo_cli.edits.patches import write_patch
from gapo_cli.errors import DataError
from gapo_cli.records import EditTask
from gapo_cli.tasks.zed.cursor import write_cursor
from gapo_cli.tasks.zed.example import Example
from gapo_cli.tasks.zed.markdown import ACCEPTED, read_markdown, write_markdown
from gapo_cli.tasks.zed.reading import read_task

NO_PATH = "untitled"
"""The format asks for a path."""
Form = Callable[[Example], str]


def write_json(example: Example) -> str:
    return json.dumps(example.to_json(), ensure_ascii=False)


def read_json(text: str) -> Example:
    return Example.from_json(json.loads(text))


FORMS: Mapping[str, tuple[Form, Callable[[str], Example]]] = MappingProxyType(
    {"md": (write_markdown, read_markdown), "json": (write_json, read_json), "jsonl": (write_json, read_json)}
)
"""A form's writer and reader, by the ending of its files."""


def write_task(task: EditTask, form: str, repository: str | None = None) -> str:
    """The text of the task's file, of a `jsonl` file its line. `repository`: the address where the task's revision is found,
    if it is not what the task calls it. Raises DataError for a task that the form cannot hold."""
    plain = example_of(task, repository)
    # what a reader would refuse is left out, and then stands under `gapo` with the rest
    for example in (
        plain,
        replace(plain, edit_history=""),
        replace(plain, edit_history="", expected_patches=(), rejected_patch=None),
    ):
        try:
            return _with_ours(task, example, form)
        except DataError as error:
            refused = error
    raise DataError(f"task {task.id}: cannot be written as {form} ({refused})")


def _with_ours(task: EditTask, example: Example, form: str) -> str:
    """The example's text, with what it would not give back under `gapo`. Raises DataError where it cannot be read."""
    write, read = FORMS[form]
    # offsets first: the regions are read by them
    example = replace(example, ours={"editable": list(task.editable)})
    row = task.to_dict()
    for _ in range(3):  # what is put right once may show what else is wrong
        text = write(example)
        back = read_task(read(text), task.id, task.source.split, 0, 0, None)
        wrong = [one.name for one in fields(EditTask) if getattr(back, one.name) != getattr(task, one.name)]
        if not wrong:
            return text
        example = replace(example, ours={**example.ours, **{name: row.get(name) for name in wrong}})
    raise DataError(f"another {', '.join(wrong)} would be read")


def example_of(task: EditTask, repository: str | None = None) -> Example:
    """The task in the format's own fields."""
    revision = task.source.revision or ""
    if revision and task.source.dataset == "git":
        revision += "~1"  # a mined task names the commit that it is taken from
    position = task.cursor[0] if task.cursor else task.editable[0]

    def patch(region: str, cursor: int | None = None) -> str:
        after = task.before + region + task.after
        return write_patch(task.path, task.excerpt, after, None if cursor is None else len(task.before) + cursor)

    still = all(target == task.region for target in task.targets)
    return Example(
        cursor_path=task.path or NO_PATH,
        cursor_position=write_cursor(task.excerpt, position),
        name=task.id,
        repository_url=repository or task.source.repo or "",
        revision=revision,
        edit_history="".join(
            f"{f'{ACCEPTED}{chr(10)}' if event.predicted else ''}--- a/{event.old_path or event.path}\n+++ b/{event.path}\n{event.diff}"
            for event in task.history
            if event.kind == "edit"
        ),
        expected_patches=() if still else (patch(task.target, task.cursor_after), *map(patch, task.alternatives)),
        rejected_patch=patch(task.rejected[0]) if task.rejected else None,
        rest=(task.raw or {}).get("zed", {}),
    )
