"""Templates of editors' formats, tasks and texts for their tests."""

import random
import re
from collections import Counter
from collections.abc import Iterable

from hypothesis import strategies as st
from prompt_parts import make_task

from gapo_cli.prompts.copilot import Copilot
from gapo_cli.prompts.instinct import MARKERS as INSTINCT
from gapo_cli.prompts.instinct import Instinct
from gapo_cli.prompts.mercury import MARKERS as MERCURY
from gapo_cli.prompts.mercury import Mercury
from gapo_cli.prompts.parts.copilot_sections import MARKERS as COPILOT
from gapo_cli.prompts.parts.rows import RegionRows
from gapo_cli.prompts.parts.special_text import TEACHER_WORDS, has_marker
from gapo_cli.prompts.sweep import Sweep
from gapo_cli.prompts.sweep_v2 import SweepV2
from gapo_cli.prompts.zeta2 import Zeta2
from gapo_cli.prompts.zeta2_1 import Zeta21
from gapo_cli.prompts.zeta2_qwen import Zeta2Qwen
from gapo_cli.records import Completion, EditTask, Hint, HistoryEvent
from gapo_cli.rollouts.sampling import read_answer

FORMATS = {
    "zeta2": Zeta2(),
    "zeta2_1": Zeta21(),
    "zeta2_qwen": Zeta2Qwen(),
    "sweep": Sweep(),
    "sweep_v2": SweepV2(),
    "instinct": Instinct(),
    "mercury": Mercury(),
    "copilot": Copilot(),
    "copilot, patch": Copilot(answer_as="patch"),
}
RAW = ("zeta2", "zeta2_1", "zeta2_qwen", "sweep", "sweep_v2")
MARKERS = {
    **{name: FORMATS[name].markers for name in RAW},
    "zeta2": (*Zeta2.markers, Zeta2.stop[0]),
    "instinct": INSTINCT,
    "mercury": MERCURY,
    "copilot": COPILOT,
    "copilot, patch": COPILOT,
}
LINES = (
    "import math", "", "", "def area(r):", "    return math.pi * r * r", "}", "  }", "    return", "break;", "# größer → ü", "x = '```'",
    "```", "```python", "None", "-a", "+b", "src/a.py:3", "@@ -1 +1 @@", "\tif x:", "é", " ", "a = 1", "end", "])", "=======x", "--- a/x",
)  # fmt: skip


def can_be_said(name: str, task: EditTask, region: str) -> str | None:
    """Why a format has no way to say this region, or None where it has one."""
    if any(has_marker(text, marker) for marker in MARKERS[name] for text in (region, task.region)):
        return "has a marker"
    if any(word in region.split("\n") or region.strip() == word for word in TEACHER_WORDS):
        return "is a teacher's word"
    rows = rows_of(name, task)
    lines = rows.head + region + rows.tail
    if rows.after and lines and not lines.endswith("\n"):
        return "joins the line below"
    if name in ("sweep", "sweep_v2") and not lines:
        return "is empty"
    if name == "instinct" and not lines.strip("\n") and len(lines) <= bool(rows.after):
        return "is empty"
    return None


def rows_of(name: str, task: EditTask) -> RegionRows:
    template = FORMATS[name]
    if name == "sweep":
        return RegionRows.of(task, template.above, template.below)
    if name == "sweep_v2":
        return RegionRows.of(task, 2, 5).without_blank_ends()
    if name == "instinct":
        return RegionRows.of(task, template.region_rows, template.region_rows)
    if name.startswith("copilot"):
        return RegionRows.of(task, template.above, template.below)
    return RegionRows.of(task)


LINE = st.one_of(
    st.sampled_from(LINES), st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\n"), max_size=12)
)
CODE = st.lists(LINE, max_size=40).flatmap(
    lambda lines: st.sampled_from(("\n".join(lines), "\n".join(lines) + ("\n" if lines else "")))
)


@st.composite
def tasks(draw) -> tuple[EditTask, str]:
    """A task made of lines, its region not always whole lines, and another region."""
    before, region, after, target = (draw(CODE) for _ in range(4))
    cursor = draw(st.none() | st.integers(0, len(region)))
    events = draw(st.lists(st.sampled_from(EVENTS), max_size=3))
    return make_task(before, region, after, target, cursor, history=tuple(events), hints=HINTS), target


def generated_task(seed: int) -> EditTask:
    """A task of a seeded generator: lines at random, and a target that is the region after a few edits of whole lines."""
    source = random.Random(seed)

    def lines(most: int) -> list[str]:
        return [
            f"{line}{source.choice(('', '', str(source.randrange(9))))}"
            for line in source.choices(LINES, k=source.randrange(most))
        ]

    before, region, after = lines(12), lines(45), lines(12)
    target = list(region)
    for _ in range(source.randrange(4)):
        place = source.randrange(len(target) + 1)
        target[place : place + source.randrange(4)] = lines(4)
    at_end = source.random() < 0.15
    ended = [
        text + "\n" if lines else ""
        for lines in (before, region, [] if at_end else after, target)
        for text in ["\n".join(lines)]
    ]
    if at_end and source.random() < 0.5:
        ended[1], ended[3] = ended[1].removesuffix("\n"), ended[3].removesuffix("\n")
    cursor = source.randrange(len(ended[1]) + 1) if source.random() < 0.8 else None
    cursor_after = source.randrange(len(ended[3]) + 1) if source.random() < 0.3 else None
    events = tuple(source.choices(EVENTS, k=source.randrange(4)))
    return make_task(
        ended[0], ended[1], ended[2], ended[3], cursor, history=events, cursor_after=cursor_after, id=f"made/{seed}"
    )


EVENTS = (
    HistoryEvent("edit", "m.py", "@@ -1,3 +1,3 @@\n import math\n \n-def area(x):\n+def area(r):\n"),
    HistoryEvent("edit", "m.py", "@@ -4 +4 @@\n-    return 0\n+    return math.pi * r * r\n", predicted=True),
    HistoryEvent("edit", "n.py", "@@ -1 +1,2 @@\n+\n a = 1\n"),
    HistoryEvent("rename", "b.py", old_path="a.py"),
    HistoryEvent("open", "q.py"),
)
HINTS = (Hint("related_file", "n.py", "a = 1\n"), Hint("related_file", "m.py", "import math\n"))


def comes_back(name: str, of_split: Iterable[EditTask]) -> Counter[str]:
    """Renders each task and reads back what the format writes for each of its targets, as it stands now, and as it should be. Counts
    "whole" ones and, by reason, those that the format cannot say; asserts that no other text comes back."""
    template, counts = FORMATS[name], Counter()
    for task in of_split:
        template.render(task)
        for region in dict.fromkeys((task.region, *task.targets)):
            why = can_be_said(name, task, region)
            counts[why or "whole"] += 1
            if why is None:
                answer = template.parse(task, template.answer(task, region))
                assert (answer.region, answer.malformed) == (region, None), task.id
    return counts


def fuzz(name: str, answers: int, tasks: int) -> Counter[str]:
    """Reads mutated answers of so many generated tasks, and counts what they are: "unchanged", "edit", or why none. Asserts that each
    is a region or has a named reason, that a cursor stands in its region, and that one which the token limit cut is never an edit."""
    source, template, counts = random.Random(0), FORMATS[name], Counter()
    for number in range(tasks):
        task = generated_task(number)
        whole = template.answer(task, task.target)
        for _ in range(answers // tasks):
            text = mutated(source, whole)
            answer = template.parse(task, text)
            assert (answer.region is None) == (answer.malformed is not None), text
            assert answer.cursor is None or 0 <= answer.cursor <= len(answer.region), text
            cut = read_answer(template, task, Completion((), (), text, "length"))
            assert (cut.region, cut.malformed) == (None, "truncated"), text
            counts[answer.malformed or ("unchanged" if answer.region == task.region else "edit")] += 1
    return counts


MUTATION_PIECES = (
    "", "\n", "\n\n", "x", "    ", "```", "```\n", "None", "NO_EDITS", "KEEP_PREVIOUS\n", "<|user_cursor|>", "<|cursor|>", "<|marker_1|>",
    "<|marker_2|>", "<|marker_9|>", "<|marker_-1|>", "<|marker_99999999999999999999|>", "<|im_end|>", "<[end▁of▁sentence]>", ">>>>>>> UPDATED\n",
    "<<<<<<< CURRENT\n", "=======\n", "<|file_sep|>", "</s>", "<|endoftext|>", "<NO_EDIT>", "m.py:0\n", "m.py:999999999\n", "-a\n", "+b\n", "\r", "\u2028",
    "<|editable_region_start|>", "<|/code_to_edit|>", "<[fim-suffix]>", "<|fim_prefix|>", "\ufeff", "é",
)  # fmt: skip
PIECE = re.compile(r"<[|\[][^>\n]{1,40}[|\]]>|\n|[^\n<]+|<")


def mutated(source: random.Random, answer: str) -> str:
    """An answer with one to four things done to it: cut, a piece dropped, doubled, moved or put in."""
    pieces = PIECE.findall(answer)
    for _ in range(source.randrange(1, 5)):
        kind = source.randrange(6)
        place = source.randrange(len(pieces) + 1)
        if kind == 0:
            pieces.insert(place, source.choice(MUTATION_PIECES))
        elif kind == 1:
            pieces[place : place + source.randrange(1, 6)] = []
        elif kind == 2:
            pieces[place:place] = pieces[place : place + source.randrange(1, 4)]
        elif kind == 3 and pieces:
            pieces.insert(place, pieces.pop(source.randrange(len(pieces))))
        elif kind == 4:
            pieces = PIECE.findall("".join(pieces)[: source.randrange(len("".join(pieces)) + 1)])
        elif pieces:
            pieces[min(place, len(pieces) - 1)] = source.choice(MUTATION_PIECES)
    return "".join(pieces)
