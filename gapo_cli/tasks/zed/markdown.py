"""The Markdown form of an example: TOML front matter, one section a field, the content in fences.

Only fenced blocks count as content. The word behind a fence matters in one place, the cursor's section, where it is the file's
path. A second block of Edit History goes on with the history, one of Expected Patch is one more right answer, of any
other section the last block counts. A paragraph that says that the user accepted a prediction marks the block after it.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from gapo_cli.errors import DataError
from gapo_cli.tasks.zed.example import OURS, Example, meant_by

FRONT = "+++"
ACCEPTED = "// User accepted prediction:"
NO_HISTORY = "(No edit history)"
SECTIONS = HISTORY, CURSOR, EXPECTED, REJECTED, UNCOMMITTED = (
    "edit history", "cursor position", "expected patch", "rejected patch", "uncommitted diff",
)  # fmt: skip
FILE_LISTS = {"recently opened files": "recently_opened_files", "recently viewed files": "recently_viewed_files"}
ROLLBACK = "uncommitted_diff_requires_edit_history_rollback"
HEADING = re.compile(r"(#{1,6})[ \t]+(.*?)(?:[ \t]+#+)?[ \t]*$")
OPENING = re.compile(r" {0,3}(`{3,}|~{3,})[ \t]*(.*?)[ \t]*$")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: the section that it stands in (lower case), the words behind the fence, the text inside. `accepted`:
    the paragraph right before says that it was a prediction."""

    section: str
    info: str
    text: str
    accepted: bool


def read_markdown(text: str) -> Example:
    """Raises DataError for a text that is no example."""
    front, lines = _front_matter(text)
    name = ""
    blocks: list[Block] = []
    for found in _blocks(lines):
        if isinstance(found, str):
            name = found
        else:
            blocks.append(found)
    last = {block.section: block for block in blocks}
    for section in last:
        if meant := meant_by(section, (*SECTIONS, *FILE_LISTS, OURS), last):
            raise DataError(f"section '{section}' is unknown; did you mean {meant}?")
    if CURSOR not in last or not last[CURSOR].text.strip():
        raise DataError("has no section 'Cursor Position' with a fenced block in it")
    ours = _ours(last[OURS].text) if OURS in last else {}
    rest = {key: value for key, value in front.items() if key not in ("repository_url", "revision", ROLLBACK)}
    rest |= {key: _file_list(last[section].text) for section, key in FILE_LISTS.items() if section in last}
    history = "".join((f"{ACCEPTED}\n" if block.accepted else "") + block.text for block in blocks if block.section == HISTORY)
    return Example.from_json(
        {
            "name": name,
            "repository_url": front.get("repository_url", ""),
            "revision": front.get("revision", ""),
            "cursor_path": last[CURSOR].info,
            "cursor_position": last[CURSOR].text,
            "edit_history": history,
            "expected_patches": [block.text for block in blocks if block.section == EXPECTED],
            "rejected_patch": last[REJECTED].text if REJECTED in last else None,
            "uncommitted_diff": last[UNCOMMITTED].text if UNCOMMITTED in last else "",
            "uncommitted_diff_contains_edit_history": front.get(ROLLBACK, False),
            **rest,
            OURS: ours,
        }
    )


def is_example(text: str) -> bool:
    """A Markdown file may also be somebody's notes: an example has a section for the cursor."""
    return re.search(rf"^##[ \t]+{CURSOR}[ \t#]*$", text, re.MULTILINE | re.IGNORECASE) is not None


def _front_matter(text: str) -> tuple[dict[str, Any], list[str]]:
    lines = text.split("\n")
    if lines[0].rstrip() != FRONT:
        return {}, lines
    end = next((place for place, line in enumerate(lines[1:], start=1) if line.rstrip() == FRONT), None)
    if end is None:
        raise DataError(f"its front matter has no end (a line {FRONT})")
    try:
        return tomllib.loads("\n".join(line.rstrip("\r") for line in lines[1:end])), lines[end + 1 :]
    except tomllib.TOMLDecodeError as error:
        raise DataError(f"its front matter is no TOML: {error}") from error


def _blocks(lines: Sequence[str]) -> Iterator[Block | str]:
    """Every fenced block of a section, and the text of each heading of the first level."""
    section, paragraph, place = "", "", 0
    while place < len(lines):
        line = lines[place].rstrip("\r")
        place += 1
        if opening := OPENING.match(line):
            fence, info = opening.groups()
            closing = re.compile(rf" {{0,3}}{re.escape(fence[0])}{{{len(fence)},}}[ \t\r]*$")
            start = place
            while place < len(lines) and not closing.match(lines[place]):
                place += 1
            if place == len(lines):
                raise DataError(f"line {start}: the block that begins here has no end")
            yield Block(section, info, "".join(f"{row}\n" for row in lines[start:place]), paragraph.strip() == ACCEPTED)
            paragraph = ""
            place += 1
        elif heading := HEADING.match(line):
            level, title = len(heading[1]), heading[2].strip()
            if level > 4:
                raise DataError(f"line {place}: headings of level 5 and 6 are not allowed")
            if level == 1:
                yield title
            elif level == 2:
                section = title.lower()
            paragraph = ""
        elif line.strip():
            if not paragraph and re.match(r" {4}|\t", line):
                raise DataError(f"line {place}: an indented block; need a fenced one")
            paragraph += f"{line}\n"
        else:
            paragraph = paragraph if paragraph.strip() == ACCEPTED else ""


def _ours(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise DataError(f"its section '{OURS}' is no JSON") from error


def _file_list(text: str) -> list[dict[str, Any]]:
    """One path a line, behind a tab perhaps the cursor's byte."""
    found = []
    for line in text.splitlines():
        path, _, offset = line.partition("\t")
        if path:
            found.append({"path": path} | ({"cursor_position": int(offset)} if offset.strip().isdecimal() else {}))
    return found


def write_markdown(example: Example) -> str:
    """The inverse of `read_markdown`, but that texts in fences end in a line break."""
    front: dict[str, Any] = {"repository_url": example.repository_url, "revision": example.revision}
    front |= {key: value for key, value in example.rest.items() if key == "tags"}
    front |= {ROLLBACK: True} if example.uncommitted_diff_contains_edit_history else {}
    parts = [FRONT, *(f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in front.items()), FRONT, ""]
    parts += [f"# {example.name}", ""] if example.name else []
    if example.uncommitted_diff:
        parts += ["## Uncommitted Diff", "", fenced(example.uncommitted_diff, "diff"), ""]
    for section, key in FILE_LISTS.items():
        if example.rest.get(key):
            rows = [f"{one['path']}\t{one.get('cursor_position', '')}".rstrip("\t") for one in example.rest[key]]
            parts += [f"## {section.title()}", "", fenced("\n".join(rows), ""), ""]
    parts += ["## Edit History", ""]
    blocks = history_blocks(example.edit_history)
    parts += [part for marked, block in blocks for part in ((ACCEPTED,) if marked else ()) + (fenced(block, "diff"), "")]
    parts += [] if blocks else [NO_HISTORY, ""]
    parts += ["## Cursor Position", "", fenced(example.cursor_position, example.cursor_path), ""]
    for patch in example.expected_patches:
        parts += ["## Expected Patch", "", fenced(patch, "diff"), ""]
    if example.rejected_patch is not None:
        parts += ["## Rejected Patch", "", fenced(example.rejected_patch, "diff"), ""]
    if example.ours:
        parts += [f"## {OURS}", "", fenced(json.dumps(example.ours, ensure_ascii=False), "json"), ""]
    return "\n".join(parts)


def history_blocks(history: str) -> list[tuple[bool, str]]:
    """The history as (was an accepted prediction, its diffs), cut before every accepted prediction and behind it."""
    blocks: list[tuple[bool, str]] = []
    for number, piece in enumerate(re.split(rf"^{re.escape(ACCEPTED)}\n", history, flags=re.MULTILINE)):
        if number == 0:
            blocks.append((False, piece))
        else:
            # the prediction's own diff ends where the next file header begins
            second = re.search(r"\n(?=--- [^\n]*\n\+\+\+ [^\n]*\n@@)", piece)
            end = second.end() if second else len(piece)
            blocks += [(True, piece[:end]), (False, piece[end:])]
    return [(marked, block) for marked, block in blocks if block]


def fenced(text: str, info: str) -> str:
    """The text in a fence that is longer than any in it."""
    longest = max((len(run) for run in re.findall(r"`{3,}", text)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{info}\n{text}{'' if text.endswith(chr(10)) or not text else chr(10)}{fence}"
