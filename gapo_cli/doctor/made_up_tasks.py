"""A few made-up edit tasks to try a model, an engine and a trainer with: no task set need be prepared for them."""

from __future__ import annotations

from collections.abc import Sequence

from gapo_cli.records import EditTask, HistoryEvent, Source

RENAMED = (("total", "amount"), ("name", "title"), ("rows", "lines"), ("value", "number"), ("path", "file"), ("count", "size"))
"""In each task the first word became the second: the history shows it once, the region has it still."""


def probe_tasks(count: int) -> list[EditTask]:
    """At most `len(RENAMED)` renames, the later ones in longer functions: prompts of different lengths."""
    return [_rename(number, old, new) for number, (old, new) in enumerate(RENAMED[:count])]


def _rename(number: int, old: str, new: str) -> EditTask:
    body = "".join(f"    result.append({new} + {line})\n" for line in range(number + 1))
    before = f"def collect_{number}({new}):\n    result = []\n{body}"
    region = f"    result.append({old})\n"
    return EditTask(
        id=f"probe-{number}",
        source=Source("probes", "train", number),
        language="python",
        path=f"probe_{number}.py",
        excerpt=f"{before}{region}    return result\n",
        editable=(len(before), len(before) + len(region)),
        target=region.replace(old, new),
        cursor=(len(before), len(before)),
        history=(
            HistoryEvent(
                "edit", f"probe_{number}.py", _diff([f"def collect_{number}({old}):"], [f"def collect_{number}({new}):"])
            ),
        ),
    )


def _diff(old: Sequence[str], new: Sequence[str]) -> str:
    lines = [*(f"-{line}" for line in old), *(f"+{line}" for line in new)]
    return "\n".join([f"@@ -1,{len(old)} +1,{len(new)} @@", *lines, ""])
