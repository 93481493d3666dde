"""data=zeta: Zed's edit-prediction data set, from a folder or from the Hugging Face hub (`zed-industries/zeta`).

A row's `input` is a fenced excerpt with region and cursor markers, `output` the same after the edit, `events` what the
developer did before, `rejected` (dpo) an answer that lost, `assertions` (eval) what a right answer does. `render_row` gives
the row back byte for byte. What the task's fields do not say is kept under `raw["zeta"]`: `opening` and `closing` where the
fence is not the usual one; `events`, the words around paths and diffs, where they are not today's; `rejected`, which marker
lines it lacks; and, as the last resort, the whole text of a field that cannot be written from the task at all.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gapo_cli.errors import DataError, UserError
from gapo_cli.interfaces import Progress
from gapo_cli.prompts.parts.region_lines import RegionLines
from gapo_cli.prompts.parts.zed_text import (
    CURSOR,
    FENCE,
    REGION_END,
    REGION_START,
    START_OF_FILE,
    event_words,
    render_events,
    render_excerpt,
    render_input,
    render_output,
    zeta_raw,
)
from gapo_cli.records import EditTask, HistoryEvent, Source, TaskSet
from gapo_cli.storage.files import file_hash, read_jsonl
from gapo_cli.tasks.languages import EXTENSIONS, UNKNOWN, language_of
from gapo_cli.tasks.row_schema import text as check_text

HUB_NAME = "zed-industries/zeta"
SPLITS = ("train", "eval", "dpo")
LICENCE = "Apache-2.0"
TEXT_FIELDS = ("events", "input", "output", "rejected", "assertions")
NEEDED_FIELDS = ("input", "output")

HEADER = re.compile(
    r'^User (?:(?P<verb>edited|opened)(?: file:)? "(?P<path>[^\n]*)"|renamed "(?P<old>[^"\n]*)" to "(?P<new>[^\n]*)"):?$',
    re.MULTILINE,
)
DIFF_START = re.compile(r"\n+```diff\n")
DIFF_END = re.compile(r"^```$", re.MULTILINE)


@dataclass(frozen=True)
class Zeta:
    """`path`: a folder with train.jsonl, eval.jsonl and dpo.jsonl, or those of them that there are; None: the hub.
    `revision`: the hub's commit, branch or tag (None: the newest)."""

    path: str | None = None
    revision: str | None = None

    def files(self) -> dict[str, Path]:
        """Split → file. Raises DataError where the folder has none of them."""
        folder = Path(str(self.path)).expanduser()
        found = {split: folder / f"{split}.jsonl" for split in SPLITS if (folder / f"{split}.jsonl").is_file()}
        if not found:
            what = "has no train.jsonl, eval.jsonl or dpo.jsonl" if folder.is_dir() else "is not a folder"
            raise DataError(f"data.path={self.path}: {what}; name a folder with the zeta data set, or null for the hub")
        return found

    def fingerprint(self) -> Mapping[str, Any]:
        if self.path is None:
            return {"source": "zeta", "hub": HUB_NAME, "revision": self.revision}
        return {"source": "zeta", "files": {split: file_hash(path) for split, path in self.files().items()}}

    def build(self, progress: Progress) -> TaskSet:
        """Raises DataError naming file and line (or split and row) for a row that cannot be read, UserError where the hub
        cannot be reached."""
        splits: dict[str, tuple[EditTask, ...]] = {}
        for done, (split, rows) in enumerate(self._rows()):
            progress(f"reading zeta ({split})", done, len(SPLITS))
            splits[split] = tuple(_named(place, row, split, index) for index, (place, row) in enumerate(rows))
        progress("reading zeta", len(SPLITS), len(SPLITS))
        kept = {split: dict(Counter(name for task in tasks for name in zeta_raw(task))) for split, tasks in splits.items()}
        return TaskSet(splits, {"origin": self.path or HUB_NAME, "revision": self.revision, "not_as_usual": kept})

    def _rows(self) -> Iterator[tuple[str, Iterable[tuple[str, Mapping[str, Any]]]]]:
        """(split, (place, row) of each row)."""
        if self.path is None:
            for split, rows in load_from_hub(self.revision).items():
                yield split, ((f"{HUB_NAME} {split}, row {index}", row) for index, row in enumerate(rows))
        else:
            for split, path in self.files().items():
                yield split, ((f"{path}:{line}", row) for line, row in read_jsonl(path))


def load_from_hub(revision: str | None) -> Mapping[str, Iterable[Mapping[str, Any]]]:
    """Split → rows. Raises UserError where the hub gives no data set."""
    from datasets import disable_progress_bars, load_dataset

    disable_progress_bars()  # the display shows its own
    log = logging.getLogger("huggingface_hub")
    level = log.level
    log.setLevel(logging.ERROR)  # a line for each of its retries says nothing that the sentence below does not
    try:
        return load_dataset(HUB_NAME, revision=revision)
    # datasets and its HTTP client raise dozens of kinds when there is no network, no such revision or no room
    except Exception as error:
        raise UserError(
            f"data=zeta: {HUB_NAME} could not be fetched from the hub ({type(error).__name__}); "
            "check the network and data.source.revision, or name a folder that has it: data.path=FOLDER"
        ) from error
    finally:
        log.setLevel(level)


def _named(place: str, row: Mapping[str, Any], split: str, index: int) -> EditTask:
    try:
        return parse_row(row, split, index)
    except DataError as error:
        raise DataError(f"{place}: {error}") from error


def parse_row(row: Mapping[str, Any], split: str, index: int) -> EditTask:
    """The task of one row; `index` is its place in the split, from 0. Raises DataError for a row without a text, or
    without a region between two marker lines."""
    for name in NEEDED_FIELDS:
        if row.get(name) is None:
            raise DataError(f"field '{name}' is missing")
    texts = {name: "" if row.get(name) is None else row[name] for name in TEXT_FIELDS}
    for name, value in texts.items():
        check_text(name, value)
    task, raw = _parse_input(texts["input"], f"zeta/{split}/{index}", Source("zeta", split, index, licence=LICENCE))
    history, words = parse_events(texts["events"])
    if words is not None:
        raw["events"] = words
    task = replace(task, history=history, assertions=texts["assertions"] or None, raw={"zeta": raw} if raw else None)
    target = _region_in(texts["output"], task)
    if target is None:
        raise DataError("field 'output' has no region between its markers")
    task = replace(task, target=target)
    if texts["rejected"]:
        rejected, missing = read_rejected(texts["rejected"], task)
        raw |= {"rejected": missing} if missing else {}
        task = replace(task, rejected=(rejected,), raw={"zeta": raw} if raw else None)
    return _faithful(task, texts)


def render_row(task: EditTask) -> dict[str, str]:
    """The row that `parse_row` made the task of."""
    raw = zeta_raw(task)
    rejected = ""
    if task.rejected:
        lines = RegionLines.of(task)
        rejected = render_excerpt(task, lines.write(task.rejected[0]), lines.before, lines.after)
        for missing in raw.get("rejected", ()):
            rejected = rejected.replace(f"{missing}\n", "", 1)
    rendered = {
        "events": render_events(task),
        "input": render_input(task),
        "output": render_output(task),
        "rejected": rejected,
        "assertions": task.assertions or "",
    }
    return rendered | raw.get("verbatim", {})


def parse_events(text: str) -> tuple[tuple[HistoryEvent, ...], list[list[str]] | str | None]:
    """The events, oldest first, and the words around their paths and diffs where these are not the usual ones: one list an
    event (see `zed_text.event_fields`), or the text itself where it holds no event. No text fails."""
    events: list[HistoryEvent] = []
    written: list[list[str]] = []
    position = 0
    while (header := HEADER.search(text, position)) is not None:
        if header["verb"] is None:
            events.append(HistoryEvent("rename", header["new"], old_path=header["old"]))
            words = [text[position : header.start("old")], text[header.end("old") : header.start("new")]]
            spoken = header.end("new")
        else:
            words = [text[position : header.start("path")]]
            spoken = header.end("path")
        position = header.end()
        start = DIFF_START.match(text, position) if header["verb"] == "edited" else None
        if start is not None:
            ending = DIFF_END.search(text, start.end())
            diff_end, position = (ending.start(), ending.end()) if ending else (len(text), len(text))
            events.append(HistoryEvent("edit", header["path"], text[start.end() : diff_end]))
            words.append(text[spoken : start.end()])
            spoken = diff_end
        elif header["verb"] is not None:
            events.append(HistoryEvent("edit" if header["verb"] == "edited" else "open", header["path"]))
            if header["verb"] == "edited":
                words.append(text[spoken:position])
                spoken = position
        words.append(text[spoken:position])
        written.append(words)
    if not events:
        return (), text or None
    written[-1][-1] += text[position:]
    usual = [list(event_words(event, index == 0)) for index, event in enumerate(events)]
    return tuple(events), None if written == usual else written


def read_rejected(text: str, task: EditTask) -> tuple[str, list[str]]:
    """The rejected region and the marker lines that the text lacks. Where the start marker is missing, the region begins
    after the lines above it, or with the text; where the end marker is missing, it ends before the lines below it, or
    before the closing fence, or with the text."""
    lines = RegionLines.of(task)
    above, rest = _split_marker(render_excerpt(task, "", lines.before, lines.after), REGION_START)
    below = _split_marker(rest, REGION_END)[1]
    start, end = text.find(f"{REGION_START}\n"), text.rfind(REGION_END)
    begins = start + len(REGION_START) + 1 if start >= 0 else (len(above) if text.startswith(above) else 0)
    if end >= begins:
        ends = end
    elif below and len(text) - len(below) >= begins and text.endswith(below):
        ends = len(text) - len(below)
    else:
        ends = len(text.removesuffix(FENCE)) if len(text.removesuffix(FENCE)) >= begins else len(text)
    region = lines.read(text[begins:ends])
    missing = [marker for marker, there in ((REGION_START, start >= 0), (REGION_END, end >= begins)) if not there]
    return (text[begins:ends] if region is None else region), missing


def _parse_input(text: str, name: str, source: Source) -> tuple[EditTask, dict[str, Any]]:
    """The task without history and target, and what of the text is not as usual."""
    for marker, most in ((REGION_START, 1), (REGION_END, 1), (CURSOR, 1), (f"\n{START_OF_FILE}\n", 1)):
        if text.count(marker) > most:
            raise DataError(f"field 'input' has {marker.strip()} {text.count(marker)} times")
    raw: dict[str, Any] = {}
    cursor = text.find(CURSOR)
    text = text.replace(CURSOR, "")
    text += "\n" if text.endswith(REGION_END) else ""
    opening = text[: text.find("\n") + 1] if text.startswith(FENCE) else ""
    path = opening[len(FENCE) :].rstrip("\n")
    if not opening:
        raw["opening"] = ""
    at_file_start = text.startswith(f"{START_OF_FILE}\n", len(opening))
    body_start = len(opening) + (len(START_OF_FILE) + 1 if at_file_start else 0)
    start, end = text.find(f"{REGION_START}\n"), text.find(f"{REGION_END}\n")
    region_start = start + len(REGION_START) + 1
    if start < body_start or end < region_start:
        raise DataError("field 'input' has no region between a start and an end marker, each on a line of its own")
    before, region, after = text[body_start:start], text[region_start:end], text[end + len(REGION_END) + 1 :]
    if after == FENCE or after.endswith(f"\n{FENCE}"):
        after = after.removesuffix(FENCE)
    else:
        raw["closing"] = ""
    excerpt = before + region + after
    offset = cursor - region_start + len(before)
    in_region = cursor >= 0 and len(before) <= offset <= len(before) + len(region)
    language = language_of(path)
    return EditTask(
        id=name,
        source=source,
        # some excerpts carry a language in the place of the path
        language=path if language == UNKNOWN and path in EXTENSIONS else language,
        path=path,
        excerpt=excerpt,
        editable=(len(before), len(before) + len(region)),
        target=region,
        cursor=(offset, offset) if in_region else None,
        at_file_start=at_file_start,
    ), raw


def _region_in(text: str, task: EditTask) -> str | None:
    """The region of an excerpt with both markers, None where one is missing."""
    _, rest = _split_marker(text, REGION_START)
    lines, end, _ = rest.partition(REGION_END)
    return RegionLines.of(task).read(lines) if end else None


def _split_marker(text: str, marker: str) -> tuple[str, str]:
    """What stands before a marker's line and after it; ("", "") where there is none."""
    before, found, after = text.partition(f"{marker}\n")
    return (before, after) if found else ("", "")


def _faithful(task: EditTask, texts: Mapping[str, str]) -> EditTask:
    """The task, with the whole text of each field that it would not give back otherwise."""
    rendered = render_row(task)
    verbatim = {name: text for name, text in texts.items() if rendered[name] != text}
    return replace(task, raw={"zeta": {**zeta_raw(task), "verbatim": verbatim}}) if verbatim else task
