"""A task's editable region as the rows that an editor shows, and as an answer's text, for formats of editors.

Our regions are whole lines, final line break included. An editor's region runs to the end of its last row without that
row's line break, and what follows it begins with the break. Formats write a region as its text and a line break where it
has none, so a region whose last row is blank is written like one without that row. `write` and `read` follow them wherever
the text reads back as what was meant; where it would not (an edit that makes the last row blank, or no longer blank), one
line break more or less tells the two apart. A region that reaches the excerpt's end has nothing behind it to break from:
its text is taken as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

from gapo_cli.records import EditTask


@dataclass(frozen=True, slots=True)
class RegionRows:
    """`before` + `shown` + `after` is the excerpt; `before` is whole lines, `after` is "" or begins with a line break.
    `head` and `tail`: what stands before and behind `region` in its rows, the last row's line break included; an answer
    must leave them as they are. `first`: the number of the first row, from 0, and `cursor_row` of the cursor's (of the
    first row of the region where the cursor is unknown), both in the excerpt."""

    before: str
    head: str
    region: str
    tail: str
    after: str
    first: int
    cursor_row: int

    @classmethod
    def of(cls, task: EditTask, above: int | None = None, below: int = 0) -> RegionRows:
        """`above`, `below`: the rows reach so far from the cursor's row too (None: the region's rows alone)."""
        text, (start, end) = task.excerpt, task.editable
        first, last = text.count("\n", 0, start), text.count("\n", 0, end)
        # an end at the start of a row has nothing of it, except at the excerpt's end, where the row is all that follows
        if first < last and end < len(text) and text[end - 1] == "\n":
            last -= 1
        cursor_row = first if task.cursor is None else text.count("\n", 0, task.cursor[0])
        if above is not None:
            first, last = min(first, max(0, cursor_row - above)), max(last, cursor_row + below)
        return cls._between(task, first, min(last, text.count("\n")), cursor_row)

    @classmethod
    def _between(cls, task: EditTask, first: int, last: int, cursor_row: int) -> RegionRows:
        text, (start, end) = task.excerpt, task.editable
        rows = text.split("\n")
        opening = sum(len(row) + 1 for row in rows[:first])
        closing = opening + sum(len(row) + 1 for row in rows[first : last + 1]) - 1
        behind = min(closing + 1, len(text))
        return cls(text[:opening], text[opening:start], text[start:end], text[end:behind], text[closing:], first, cursor_row)

    @property
    def shown(self) -> str:
        """The rows without the last one's line break."""
        lines = self.head + self.region + self.tail
        return lines[:-1] if self.after else lines

    @property
    def last(self) -> int:
        """The number of the last row, in the excerpt."""
        return self.first + self.shown.count("\n")

    def without_blank_ends(self) -> RegionRows:
        """Blank rows above and below the region itself left out, and as many rows more below as are left out above."""
        lines = self.head.split("\n")
        blank = next((place for place, line in enumerate(lines[:-1]) if line.strip()), len(lines) - 1)
        dropped = sum(len(line) + 1 for line in lines[:blank])
        before, head, tail, after = self.before + self.head[:dropped], self.head[dropped:], self.tail, self.after
        for _ in range(blank):
            if after:
                end = after.find("\n", 1)
                row = after[1:] if end < 0 else after[1 : end + 1]
                tail, after = tail + row, "" if end < 0 else after[end:]
        if not after and tail.endswith("\n"):
            after = "\n"  # the empty row behind the excerpt's last line break
        while after and (tail == "\n" or tail.endswith("\n\n")) and (tail != "\n" or self.region.endswith("\n")):
            tail, after = tail[:-1], "\n" + after
        return RegionRows(before, head, self.region, tail, after, self.first + blank, self.cursor_row)

    def marked(self, task: EditTask, cursor: str) -> str:
        """`shown` with `cursor` where the task's stands in it."""
        offset = self.cursor_offset(task)
        return self.shown if offset is None else self.shown[:offset] + cursor + self.shown[offset:]

    def cursor_offset(self, task: EditTask) -> int | None:
        """Where the task's cursor stands in `shown`; None where it does not."""
        if task.cursor is None:
            return None
        offset = task.cursor[0] - len(self.before)
        return offset if 0 <= offset <= len(self.shown) else None

    def cursor_after(self, task: EditTask, region: str) -> int | None:
        """Where the cursor goes in the text that `write` gives `region`; None where the task does not say."""
        if task.cursor_after is None or region != task.target:
            return None
        return min(len(self.head) + task.cursor_after, len(self.write(region)))

    def write(self, region: str) -> str:
        """The rows with `region` in its place as a format writes them: ending in a line break, unless all are gone."""
        lines = self.head + region + self.tail
        if not lines.strip("\n"):
            return lines
        if self.after:
            if self.shown.endswith("\n"):
                return lines.removesuffix("\n")
            return lines if lines.endswith("\n") else lines + "\n"
        return lines if self.is_open else lines + "\n"

    def read(self, text: str) -> str | None:
        """The region in what an answer writes, or None where that changes the rest of its rows. The inverse of `write` for
        every region that ends in a line break where a row follows."""
        if text.strip("\n"):
            if self.after:
                text = text + "\n" if self.shown.endswith("\n") or not text.endswith("\n") else text
            elif not self.is_open:
                text = text.removesuffix("\n")
        return self.region_in(text)

    def write_rows(self, region: str) -> list[str]:
        """The rows with `region` in its place, one by one."""
        lines = self.head + region + self.tail
        if not self.after:
            return lines.split("\n")
        return lines.removesuffix("\n").split("\n") if lines else []

    def read_rows(self, rows: list[str]) -> str | None:
        """The inverse of `write_rows`, with the exceptions of `read`."""
        return self.region_in("\n".join(rows) + ("\n" if self.after and rows else ""))

    def region_in(self, lines: str) -> str | None:
        """The region in the rows' new lines, or None where they change what stands around it."""
        whole = len(lines) >= len(self.head) + len(self.tail)
        if not (whole and lines.startswith(self.head) and lines.endswith(self.tail)):
            return None
        return lines[len(self.head) : len(lines) - len(self.tail)]

    @property
    def is_open(self) -> bool:
        """At the excerpt's end: nothing, or a last row that is blank, to which a line break more would add a row."""
        return not self.shown or self.shown.endswith("\n")
