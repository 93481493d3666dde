"""A task's editable region widened to whole lines, which is what prompts show and answers repeat.

Most regions are whole lines already. One that begins or ends inside a line is shown with the rest of these lines, and an
answer must leave that rest as it is. Text that ends without a line break (the end of a file) is shown with one.
"""

from __future__ import annotations

from dataclasses import dataclass

from gapo_cli.records import EditTask


@dataclass(frozen=True, slots=True)
class RegionLines:
    """`before` + `head` + region + `tail` + `after` is the excerpt; `before` and `after` are whole lines. `closing` is the
    line break that the region's last line lacks, or ""."""

    before: str
    head: str
    region: str
    tail: str
    after: str
    closing: str

    @classmethod
    def of(cls, task: EditTask) -> RegionLines:
        start, end = task.editable
        text = task.excerpt
        line_start = text.rfind("\n", 0, start) + 1
        line_end = end
        # an end at the start of a line needs nothing of that line
        if end > 0 and text[end - 1] != "\n":
            following = text.find("\n", end)
            line_end = len(text) if following < 0 else following + 1
        shown = text[line_start:line_end]
        closing = "\n" if shown and not shown.endswith("\n") else ""
        return cls(text[:line_start], text[line_start:start], text[start:end], text[end:line_end], text[line_end:], closing)

    def write(self, region: str) -> str:
        """The lines with `region` in its place."""
        return self.head + region + self.tail + self.closing

    def read(self, lines: str) -> str | None:
        """The region in lines that somebody wrote, or None where they changed the rest of its first or last line.
        The inverse of `write`."""
        if self.closing:
            lines = lines.removesuffix(self.closing)
        whole = len(lines) >= len(self.head) + len(self.tail)
        if not (whole and lines.startswith(self.head) and lines.endswith(self.tail)):
            return None
        return lines[len(self.head) : len(lines) - len(self.tail)]
