"""An example as a task: in the excerpt that the file holds, or in the whole file of a clone of its repository.

The excerpt of a file shows less than its patches may need. Where a patch's context overlaps with the excerpt's first or last
lines, what it shows of the file beyond is added to the excerpt.

A task edits one region of the cursor's file. A patch may edit other files too: as in Zed's own scoring, where a change of a file
that is not shown does not count, its part in the cursor's file is the answer, and `raw` says what was left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gapo_cli.edits.patches import (
    Applied,
    Hunk,
    apply_hunks,
    is_file_header,
    join_lines,
    occurrences,
    read_patch,
    split_lines,
)
from gapo_cli.edits.paths import same_file, without_first
from gapo_cli.errors import DataError
from gapo_cli.records import EditTask, Hint, HistoryEvent, Source
from gapo_cli.tasks.languages import language_of
from gapo_cli.tasks.row_schema import check_row, offsets
from gapo_cli.tasks.zed.cursor import read_cursor
from gapo_cli.tasks.zed.example import Example
from gapo_cli.tasks.zed.markdown import ACCEPTED, NO_HISTORY
from gapo_cli.tasks.zed.region import changed_rows, rows_around

LEFT_OUT = "left_out"
"""Under this name a task's `raw` says which of its patches edit other files."""
ReadFile = Callable[[str], str | None]
"""The text of a file of the example's repository by its path, None where it has no such file. Raises DataError."""


@dataclass(frozen=True, slots=True)
class Shown:
    """The text that a task shows, the cursor in it, and whether it is the file's beginning."""

    text: str
    cursor: int
    at_file_start: bool


def read_task(example: Example, name: str, split: str, row: int, region_tokens: int, read_file: ReadFile | None) -> EditTask:
    """`name` and `row` where the example does not say them. Raises DataError with the reason why it is no task."""
    ours = example.ours
    patches = {f"expected patch {number}": patch for number, patch in enumerate(example.expected_patches, 1)}
    expected, elsewhere = _here(patches, example.cursor_path)
    if patches and not expected:
        raise DataError(f"{elsewhere[0]} and not the cursor's file, {example.cursor_path}, the only one that a task edits")
    rejected, of_rejected = _here({"the rejected patch": example.rejected_patch or ""}, example.cursor_path)
    rejected = {what: hunks for what, hunks in rejected.items() if hunks}
    left_out = [*elsewhere, *of_rejected]
    history = read_history(example.edit_history)
    # offsets that stand under `ours` are those of the excerpt
    shown = (
        _from_excerpt(example, [*expected.values(), *rejected.values()])
        if read_file is None or ours
        else _from_file(example, read_file)
    )
    made = [_applied(shown.text, hunks, what) for what, hunks in expected.items()]
    worse = [_applied(shown.text, hunks, what) for what, hunks in rejected.items()]
    start, end = _editable(shown, [*made, *worse], region_tokens, ours)
    regions = [_region(one.text, shown.text, start, end) for one in (*made, *worse)]
    still = shown.text[start:end]
    targets = regions[: len(made)] or [still]
    after = made[0].cursor if made else None
    in_target = after is not None and start <= after <= start + len(targets[0])
    zed = {key: value for key, value in example.rest.items() if key != "prompt_inputs"}
    tags = example.rest.get("tags") or ()
    task = EditTask(
        id=example.name or name,
        source=Source("zed", split, row, repo=example.repository_url or None, revision=example.revision or None),
        language=language_of(example.cursor_path),
        path=example.cursor_path,
        excerpt=shown.text,
        editable=(start, end),
        target=targets[0],
        cursor=(shown.cursor, shown.cursor),
        at_file_start=shown.at_file_start,
        history=history,
        hints=_hints(example),
        alternatives=tuple(dict.fromkeys(one for one in targets[1:] if one != targets[0])),
        rejected=tuple(regions[len(made) :]),
        labels={"family": str(tags[0])} if tags else {},
        raw={name: value for name, value in (("zed", zed), (LEFT_OUT, left_out)) if value} or None,
        cursor_after=after - start if in_target else None,
        no_edit=all(one == still for one in targets),
    )
    return with_fields(task, ours) if ours else task


def with_fields(task: EditTask, fields: Mapping[str, Any]) -> EditTask:
    """The task with other fields as JSON has them; null is what stands there by default. Raises DataError."""
    row = {**task.to_dict(), **fields}
    row = {name: value for name, value in row.items() if value is not None}
    check_row(row)
    return EditTask.from_dict(row)


def read_history(text: str) -> tuple[HistoryEvent, ...]:
    """One event a file header, its diff as it stands. Raises DataError for what belongs to no diff."""
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    starts = [place for place in range(len(lines)) if is_file_header(lines, place)]
    if not starts and text.strip() not in ("", NO_HISTORY):
        raise DataError("its edit history holds no diff with --- and +++ and @@ lines")
    events = []
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=False):
        predicted = start > 0 and lines[start - 1] == ACCEPTED
        body = lines[start + 2 : end]
        while body and body[-1].startswith("//"):
            body.pop()
        diff = "".join(f"{line}\n" for line in body)
        try:
            first = read_patch("\n".join(lines[start : start + 2]) + f"\n{diff}")[0]
        except DataError as error:
            raise DataError(f"its edit history, {error}") from error
        renamed = first.old_path not in (None, first.path)
        path = first.path or first.old_path or ""
        events.append(HistoryEvent("edit", path, diff, first.old_path if renamed and first.path else None, predicted))
    return tuple(events)


def _here(patches: Mapping[str, str], path: str) -> tuple[dict[str, list[Hunk]], list[str]]:
    """The hunks of each patch in the file at `path`, without the patches that edit only other files; and a sentence for each patch
    that edits others. A patch without hunks is kept: it edits nothing. Raises DataError for what is no patch."""
    kept, elsewhere = {}, []
    for what, patch in patches.items():
        try:
            hunks = read_patch(patch)
        except DataError as error:
            raise DataError(f"{what}, {error}") from error
        here = [hunk for hunk in hunks if same_file(hunk.path, path)]
        if here or not hunks:
            kept[what] = here
        others = dict.fromkeys(hunk.path or f"{hunk.old_path} away" for hunk in hunks if not same_file(hunk.path, path))
        if others:
            elsewhere.append(f"{what} edits {', '.join(others)}")
    return kept, elsewhere


def _applied(text: str, hunks: Sequence[Hunk], what: str) -> Applied:
    try:
        return apply_hunks(text, hunks)
    except DataError as error:
        raise DataError(f"{what}: {error}") from error


def _from_excerpt(example: Example, patches: Sequence[Sequence[Hunk]]) -> Shown:
    text, cursor = read_cursor(example.cursor_position)
    if text.endswith("\r"):
        text += "\n"  # a line end is there whole or not at all
    lines, ended = split_lines(text)
    added = 0
    for hunk in (hunk for hunks in patches for hunk in hunks):
        lines, above = extended(lines, hunk)
        added += sum(len(line) + 1 for line in lines[:above])
    text = join_lines(lines, ended)
    return Shown(text, min(cursor + added, len(text)), False)


def extended(lines: list[str], hunk: Hunk) -> tuple[list[str], int]:
    """The lines with what the hunk shows of the file before and after them, and how many were added above. As they are
    where the hunk lies in them, or nowhere near."""
    for old in dict.fromkeys((tuple(hunk.old), tuple(hunk.without_tail().old))):
        if not old or next(occurrences(lines, old), None) is not None:
            return lines, 0
        if lines and (at := next(occurrences(old, lines), None)) is not None:
            return list(old), at
        for shared in range(min(len(old), len(lines)) - 1, 0, -1):
            if tuple(lines[-shared:]) == old[:shared] and any(map(str.strip, old[:shared])):
                return [*lines, *old[shared:]], 0
            if tuple(lines[:shared]) == old[-shared:] and any(map(str.strip, old[-shared:])):
                return [*old[:-shared], *lines], len(old) - shared
    return lines, 0


def _from_file(example: Example, read_file: ReadFile) -> Shown:
    """The whole file as it is after what was done before."""
    excerpt, cursor = read_cursor(example.cursor_position)
    files: dict[str, str | None] = {}

    def text_of(path: str) -> tuple[str, str | None]:
        for tried in (path, without_first(path)):
            if tried and tried not in files:
                files[tried] = read_file(tried)
            if tried and files[tried] is not None:
                return tried, files[tried]
        return path, None

    def make(diff: str, what: str) -> None:
        for old_path, path, hunks in _by_file(read_patch(diff)):
            place, text = text_of(old_path or path or "")
            if text is None and old_path is not None and any(hunk.old for hunk in hunks):
                raise DataError(f"{what} edits {old_path}, which the repository does not have at this revision")
            done = _applied(text or "", hunks, f"{what}, {path}").text
            files[place] = None
            files[place if path in (old_path, None) else path] = None if path is None else done

    if example.uncommitted_diff:
        make(example.uncommitted_diff, "the uncommitted diff")
    if not (example.uncommitted_diff and example.uncommitted_diff_contains_edit_history):
        make(example.edit_history, "the edit history")
    _, text = text_of(example.cursor_path)
    if text is None:
        raise DataError(f"the cursor's file {example.cursor_path} is not in the repository at this revision")
    places = text.count(excerpt)
    if places != 1:
        raise DataError(f"the excerpt around the cursor stands {places} times in {example.cursor_path}; need once")
    return Shown(text, text.index(excerpt) + min(cursor, len(excerpt)), True)


def _by_file(hunks: Iterable[Hunk]) -> list[tuple[str | None, str | None, list[Hunk]]]:
    groups: list[tuple[str | None, str | None, list[Hunk]]] = []
    for hunk in hunks:
        if hunk.leads or not groups:
            groups.append((hunk.old_path, hunk.path, []))
        groups[-1][2].append(hunk)
    return groups


def _editable(shown: Shown, made: Sequence[Applied], tokens: int, ours: Mapping[str, Any]) -> tuple[int, int]:
    """The region: as `ours` has it, else the rows around the cursor and all that any of the patches changes."""
    if "editable" in ours:
        offsets("editable", ours["editable"])
        return tuple(ours["editable"])
    lines = split_lines(shown.text)[0]
    row = min(shown.text.count("\n", 0, shown.cursor), max(0, len(lines) - 1))
    start, end = rows_around(lines, row, tokens)
    for one in made:
        if changed := changed_rows(lines, split_lines(one.text)[0]):
            start, end = min(start, changed[0]), max(end, changed[1])
    if end == len(lines):
        return sum(len(line) + 1 for line in lines[:start]), len(shown.text)
    return sum(len(line) + 1 for line in lines[:start]), sum(len(line) + 1 for line in lines[:end])


def _region(edited: str, text: str, start: int, end: int) -> str:
    behind = len(text) - end
    return edited[start : max(start, len(edited) - behind)]


def _hints(example: Example) -> tuple[Hint, ...]:
    """The related files and diagnostics of `prompt_inputs`, where the file holds what a prompt was made of."""
    inputs = example.rest.get("prompt_inputs") or {}
    try:
        related = [
            Hint(
                "related_file", file["path"], part["text"], _rows(part["row_range"]), part.get("order", 0),
                part.get("context_source", "lsp"), file.get("max_row"),
            )
            for file in inputs.get("related_files") or ()
            for part in file["excerpts"]
        ]  # fmt: skip
        diagnostics = [
            Hint(
                "diagnostic",
                example.cursor_path,
                one["message"],
                _rows(one["snippet_buffer_row_range"]),
                snippet=one["snippet"],
            )
            for one in inputs.get("active_buffer_diagnostics") or ()
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"field 'prompt_inputs' is not as Zed writes it ({type(error).__name__}: {error})") from error
    return (*related, *diagnostics)


def _rows(given: Mapping[str, int]) -> tuple[int, int]:
    return given["start"], given["end"]
