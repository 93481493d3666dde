"""Borders between blocks of a region, numbered by tags, and answers that rewrite only from one border to another.

Zed's format of March 2026 (Zeta 2.1) and its relatives. Offsets are bytes of UTF-8, as the editor counts them: only the tag
nearest to the cursor and the place of inner tags depend on that.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from itertools import pairwise

from gapo_cli.prompts.parts.reading import (
    EMPTY_ANSWER,
    MISSING_END_MARKER,
    MISSING_START_MARKER,
)
from gapo_cli.prompts.parts.rows import RegionRows
from gapo_cli.prompts.parts.special_text import answer_of, says_teacher_word, why_no_code
from gapo_cli.records import EditTask, ParsedAnswer

LEAST_LINES, MOST_LINES = 6, 16
"""Of a block in V0318, V0327, V0420 and V0608."""
LOOK_AHEAD = 5
"""A border looks for a good line among so many."""
CLOSERS = ("}", "]", ")")
LAST_WORDS = frozenset({"break", "continue", "return", "throw", "end"})
TAG_START = "<|marker_"
TAG = re.compile(r"<\|marker_([0-9]{1,9})\|>")
UNKNOWN_TAG = "unknown_marker"
WRONG_TAGS = "markers_in_wrong_order"


def tag(number: int) -> str:
    return f"{TAG_START}{number}|>"


def borders(text: bytes, least: int = LEAST_LINES, most: int = MOST_LINES) -> list[int]:
    """Byte offsets of the borders, 0 and the length included; an empty text has two of them, both 0."""
    lines = text.split(b"\n")
    if not lines[-1]:
        lines.pop()
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line) + 1)
    words = [line.decode("utf-8", "surrogatepass").strip() for line in lines]
    found, last, place = [0], 0, 0
    while place < len(lines):
        gap = place - last
        if gap >= least and words[place] and place > 0 and not words[place - 1]:
            there = _good_line(words, place)
            if len(lines) - there >= least and starts[there] > found[-1]:
                found.append(starts[there])
                last, place = there, place + 1
                continue
        if gap >= most:
            there = _good_line(words, place)
            if starts[there] > found[-1]:
                found.append(starts[there])
                last, place = there, place + 1
                continue
        place += 1
    return found if len(found) > 1 and found[-1] == len(text) else [*found, len(text)]


def tagged(shown: str, cursor: int | None, cursor_marker: str) -> str:
    """The region with a tag at each border and the cursor (code points) marked; on a border it belongs to the block before."""
    text = to_bytes(shown)
    found = borders(text)
    at = None if cursor is None else len(to_bytes(shown[:cursor]))
    parts = []
    for number, (start, end) in enumerate(pairwise(found), 1):
        block = text[start:end]
        if at is not None and start <= at <= end:
            block = text[start:at] + cursor_marker.encode() + text[at:end]
            at = None
        parts.append(tag(number).encode() + block)
    return to_text(b"".join(parts)) + tag(len(found))


def written(task: EditTask, rows: RegionRows, region: str, cursor_marker: str) -> str:
    """The answer without its end marker."""
    old, new = to_bytes(rows.write(rows.region)), to_bytes(rows.write(region))
    places = [*borders(to_bytes(rows.shown))[:-1], len(old)]
    after = rows.cursor_after(task, region)
    cursor = None if after is None else len(to_bytes(rows.write(region)[:after]))
    if old == new:
        if cursor is None:
            before = rows.cursor_offset(task)
            cursor = 0 if before is None else len(to_bytes(rows.shown[:before]))
        nearest = min(range(len(places)), key=lambda index: (abs(places[index] - cursor), index))
        return tag(nearest + 1) * 2
    prefix = _shared(old, new)
    suffix = _shared(old[prefix:][::-1], new[prefix:][::-1])
    first = bisect_right(places, prefix) - 1
    last = bisect_left(places, len(old) - suffix)
    if last <= first:  # the change lies on one border (of an empty region both are 0): the block behind it, or the last one
        last = min(first + 1, len(places) - 1)
        first = last - 1
    stops = _moved(places[first : last + 1], old, new, prefix, suffix)
    parts = [tag(first + 1)]
    for number, (start, end) in enumerate(pairwise(stops), first + 2):
        block = new[start:end]
        if cursor is not None and start <= cursor <= end:
            block = new[start:cursor] + cursor_marker.encode() + new[cursor:end]
            cursor = None
        parts += [to_text(block), tag(number)]
    return "".join(parts)


def read(task: EditTask, text: str, end_marker: str, echoes: tuple[str, ...], cursor_marker: str) -> ParsedAnswer:
    """The region of an answer, and where it puts the cursor. Its end marker may be missing, its last tag may not; what stands
    before the first tag and behind the last is dropped, and tags in between are only passed over."""
    body = text.partition(end_marker)[0]
    if says_teacher_word(body):
        return ParsedAnswer(task.region)
    tags = list(TAG.finditer(body))
    if len(tags) < 2:
        why = MISSING_END_MARKER if tags else MISSING_START_MARKER if body.strip() else EMPTY_ANSWER
        return ParsedAnswer(None, why)
    first, last = int(tags[0][1]), int(tags[-1][1])
    rows = RegionRows.of(task)
    found = borders(to_bytes(rows.shown))
    if not (1 <= first <= len(found) and 1 <= last <= len(found)):
        return ParsedAnswer(None, UNKNOWN_TAG)
    if first == last:
        return ParsedAnswer(task.region)
    if first > last:
        return ParsedAnswer(None, WRONG_TAGS)
    marked = TAG.sub("", body[tags[0].end() : tags[-1].start()])
    span, in_span = marked.replace(cursor_marker, "", 1), marked.find(cursor_marker)
    why = why_no_code(span, (TAG_START, cursor_marker, *echoes), rows.shown)
    if why:
        return ParsedAnswer(None, why)
    old = to_bytes(rows.write(rows.region))
    places = [*found[:-1], len(old)]
    kept = to_text(old[: places[first - 1]])
    new = kept + span + to_text(old[places[last - 1] :])
    return answer_of(rows.read(new), None if in_span < 0 else len(kept) + in_span - len(rows.head))


def to_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def to_text(text: bytes) -> str:
    return text.decode("utf-8", "surrogatepass")


def _good_line(words: list[str], place: int) -> int:
    """The first of the next lines that may begin a block; `place` where there is none."""
    among = range(place, min(place + LOOK_AHEAD, len(words)))
    return next((index for index in among if _is_good(words[index])), place)


def _is_good(word: str) -> bool:
    return bool(word) and not word.startswith(CLOSERS) and word.rstrip(";") not in LAST_WORDS


def _shared(one: bytes, other: bytes) -> int:
    """The length of the common beginning."""
    short = min(len(one), len(other))
    low, high = 0, short
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _moved(places: list[int], old: bytes, new: bytes, prefix: int, suffix: int) -> list[int]:
    """Where borders of the old text fall in the new one: the outer two keep their distance from the text's ends, inner ones
    in what changed are scaled and put at the start of a line."""
    stop = len(new) - (len(old) - places[-1])
    moved = [places[0]]
    for place in places[1:-1]:
        if place <= prefix:
            there = place
        elif place >= len(old) - suffix:
            there = place + len(new) - len(old)
        else:
            there = prefix + (place - prefix) * (len(new) - suffix - prefix) // (len(old) - suffix - prefix)
        moved.append(max(moved[-1], _line_start(new, there, stop)))
    return [*moved, stop]


def _line_start(text: bytes, place: int, stop: int) -> int:
    if place == 0 or text[place - 1 : place] == b"\n":
        return place
    following = text.find(b"\n", place, stop)
    return following + 1 if following >= 0 else text.rfind(b"\n", 0, place) + 1
