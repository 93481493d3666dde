"""What Zed's prompts from 2026 on are made of: sections for related files and history, context grown around the region, all
within a budget that is measured in Zed's own estimate (a token is three bytes) or by a counter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gapo_cli.prompts.parts.rows import RegionRows
from gapo_cli.prompts.parts.shown_parts import with_line_end
from gapo_cli.records import EditTask, Hint, HistoryEvent

HISTORY_NAME = "edit_history"
ACCEPTED = "// User accepted prediction:\n"
GAP = "...\n"
BYTES_A_TOKEN = 3

Counter = Callable[[str], int]


def estimated_tokens(text: str) -> int:
    """Zed's estimate: UTF-8 bytes / 3, rounded down."""
    return len(text.encode("utf-8", "surrogatepass")) // BYTES_A_TOKEN


def line_ended(text: str) -> str:
    """With a line break where the last one is missing; an empty text gets one too."""
    return text if text.endswith("\n") else text + "\n"


def event_text(event: HistoryEvent) -> str:
    """Header and hunks of an edit; "" for a file that was only opened, and no hunks for a renaming."""
    if event.kind == "open":
        return ""
    accepted = ACCEPTED if event.predicted else ""
    return f"{accepted}--- a/{event.old_path or event.path}\n+++ b/{event.path}\n{with_line_end(event.diff)}"


@dataclass(frozen=True, slots=True)
class Section:
    """`text` is "" where nothing is shown; `left_out` says what was."""

    text: str
    left_out: tuple[str, ...] = ()


def history_section(events: Sequence[HistoryEvent], file_marker: str, most: int, budget: int, count: Counter) -> Section:
    """The newest `most` events or as many of them as `budget` allows, oldest first, under a header that counts too."""
    texts = [text for text in map(event_text, events) if text]
    header = f"{file_marker}{HISTORY_NAME}\n"
    left, shown = budget - count(header), []
    for text in reversed(texts[max(0, len(texts) - most) :]):
        if left <= 0 or count(text) > left:
            break
        left -= count(text)
        shown.append(text)
    missing = len(texts) - len(shown)
    left_out = (f"history: {missing} oldest events",) if missing else ()
    return Section(header + "".join(reversed(shown)) if shown else "", left_out)


def related_section(hints: Sequence[Hint], file_marker: str, budget: int, count: Counter) -> Section:
    """Excerpts of related files, chosen by their order until one does not fit, shown file by file."""
    places = {path: index for index, path in enumerate(dict.fromkeys(hint.path for hint in hints))}
    ranked = sorted(range(len(hints)), key=lambda index: (hints[index].order, places[hints[index].path], index))
    left, chosen = budget, set()
    for index in ranked:
        hint = hints[index]
        first_of_file = all(hints[other].path != hint.path for other in chosen)
        cost = count(line_ended(hint.text) + (GAP if ends_early(hint) else ""))
        cost += count(f"{file_marker}{hint.path}\n") if first_of_file else 0
        if cost > left:
            break
        left -= cost
        chosen.add(index)
    text = ""
    for path in places:
        of_file = [hints[index] for index in range(len(hints)) if index in chosen and hints[index].path == path]
        if of_file:
            text += f"{file_marker}{path}\n" + "".join(map(_excerpt_text, of_file, [*of_file[1:], None]))
    missing = len(hints) - len(chosen)
    return Section(text, (f"hints: {missing} related excerpts",) if missing else ())


def related_hints(task: EditTask, shown: str) -> tuple[Hint, ...]:
    """The related files that are not in the prompt already; `shown`: what it shows of the task's own file."""
    related = (hint for hint in task.hints if hint.kind == "related_file")
    return tuple(hint for hint in related if hint.path != task.path or hint.text.strip("\n") not in shown)


def without_place(task: EditTask) -> tuple[str, ...]:
    """What these formats have no place for."""
    kinds = dict.fromkeys(hint.kind for hint in task.hints if hint.kind != "related_file")
    names = [*(["instruction"] if task.instruction or task.system else []), *kinds]
    return tuple(f"{name}: this template has no place for it" for name in names)


def context(rows: RegionRows, budget: int | None, count: Counter) -> tuple[str, str, tuple[str, ...]]:
    """(`before`, `after`, what is left out): the rows next to the region, one up, one down, as long as one of them fits. A
    row costs at least one token and its line break nothing. `budget` None: all."""
    if budget is None:
        return rows.before, rows.after, ()
    above = rows.before.split("\n")[:-1]
    below = rows.after.split("\n")[1:]
    up = down = 0
    upwards, left = True, budget
    while True:
        fits_up = up < len(above) and max(1, count(above[-1 - up])) <= left
        fits_down = down < len(below) and max(1, count(below[down])) <= left
        if not (fits_up or fits_down):
            break
        if fits_up and (upwards or not fits_down):
            left -= max(1, count(above[-1 - up]))
            up += 1
        else:
            left -= max(1, count(below[down]))
            down += 1
        upwards = not upwards
    before = "".join(f"{row}\n" for row in above[len(above) - up :])
    after = "".join(f"\n{row}" for row in below[:down])
    if rows.after and not after:
        after = "\n"  # of the region's last row
    lost = below[down:]
    numbers = ((len(above) - up, "first lines"), (len(lost) - (lost[-1:] == [""]), "last lines"))
    return before, after, tuple(f"excerpt: {number} {which}" for number, which in numbers if number)


def ends_early(hint: Hint) -> bool:
    """The file is known to go on below this excerpt."""
    return hint.rows is not None and hint.file_rows is not None and hint.rows[1] < hint.file_rows


def _excerpt_text(hint: Hint, following: Hint | None) -> str:
    if following is None:
        gap = ends_early(hint)
    else:
        gap = hint.rows is None or following.rows is None or hint.rows[1] < following.rows[0]
    return line_ended(hint.text) + (GAP if gap else "")
