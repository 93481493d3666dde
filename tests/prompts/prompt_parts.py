"""Tasks and texts for the tests of templates and of reading answers."""

from pathlib import Path

from hydra.utils import instantiate
from hypothesis import strategies as st
from omegaconf import OmegaConf

from gapo_cli.prompts.five_part import FivePart
from gapo_cli.prompts.instruct_rewrite import InstructRewrite
from gapo_cli.prompts.merge_markers import CURRENT, UPDATED
from gapo_cli.prompts.merge_markers import CURSOR as MERGE_CURSOR
from gapo_cli.prompts.parts.reading import NO_CHANGE_TOKENS
from gapo_cli.prompts.parts.zed_text import CURSOR, REGION_END, REGION_START
from gapo_cli.prompts.sections import DIFFS, MARKS, Sections
from gapo_cli.prompts.zeta1 import Zeta1
from gapo_cli.records import EditTask, Hint, HistoryEvent, Source

BEFORE, REGION, AFTER = "import a\n\n", "def f():\n    g(\n", "\nf()\n"
EDITS = tuple(HistoryEvent("edit", "m.py", f"@@ -{n},1 +{n},1 @@\n-old{n}\n+new{n}\n") for n in (1, 2, 3))

HINTS = {"hints": (Hint("diagnostic", "m.py", "missing )"), Hint("note", None, "call g"))}


def make_task(before=BEFORE, region=REGION, after=AFTER, target="", cursor_in_region: int | None = None, **fields) -> EditTask:
    start = len(before)
    cursor = None if cursor_in_region is None else (start + cursor_in_region,) * 2
    values = {"id": "t", "source": Source("made", "eval"), "language": "python", "path": "m.py", "history": EDITS} | fields
    return EditTask(
        excerpt=before + region + after, editable=(start, start + len(region)), target=target, cursor=cursor, **values
    )


TASKS = {
    "whole lines": make_task(cursor_in_region=len(REGION) - 1),
    "empty region": make_task(region=""),
    "empty file": make_task("", "", ""),
    "no last line break": make_task(region="return 1", after=""),
    "inside a line": make_task("x = ", "g(1)", " + 2\ny\n"),
    "from inside a line to its end": make_task("x = ", "g(1)\nh\n", "y\n"),
    "inside the last line": make_task("a\nx = ", "g(1)", ";"),
    "a point in a line": make_task("g(", "", ")\n"),
    "code with fences": make_task("# A\n", "```sh\nls\n```\n", "text\n", language="markdown", path="a.md"),
}
CONF = Path(__file__).parents[2] / "conf" / "prompt"


def template_of_conf(name: str, **settings):
    """The template of a yaml as it stands there, for a raw model of unknown context."""
    model = {"chat": False, "prompt_tokens": None, "path": None, "trust_remote_code": False}
    config = OmegaConf.create({"model": model, "prompt": OmegaConf.load(CONF / f"{name}.yaml")})
    return instantiate(config.prompt, **({"counter": None} if "counter" in config.prompt else {}), **settings)


ALL = {path.stem: template_of_conf(path.stem) for path in sorted(CONF.glob("*.yaml"))}
"""Every template there is."""
WITH_HISTORY_ORDER = {name: template for name, template in ALL.items() if hasattr(template, "history_order")}
"""Those that are made of the shared parts: history in either order, a budget, an excerpt with its region marked."""
KINDS = tuple(type(template) for template in WITH_HISTORY_ORDER.values())
TEMPLATES = WITH_HISTORY_ORDER | {
    "zeta1, begun": Zeta1(begin_answer=True),
    "zeta1, chat": Zeta1(chat=True),
    "five_part, no change taught": FivePart(teach_no_change=True),
    "instruct_rewrite, chat": InstructRewrite(chat=True),
    **{
        f"sections, {marks}, {diffs}": Sections(marks=marks, diffs=diffs)
        for marks, diffs in zip(MARKS, (*DIFFS, "sides"), strict=True)
    },
}
SECTION_MARKERS = tuple(
    mark for marks in MARKS.values() for one in (marks.start, marks.end, marks.cursor) if (mark := one.strip())
)
MARKERS = (REGION_START, REGION_END, CURSOR, CURRENT, UPDATED, MERGE_CURSOR, *SECTION_MARKERS)

CURSORS = (CURSOR, MERGE_CURSOR, *(marks.cursor for marks in MARKS.values() if marks.cursor))

PIECES = (
    "x = 1", "\n", "    ", "`", "```", "```\n", "````\n", "```python\n", "\n```\n", "no change", "=======\n", "\r", "é\u2028\x0b", "```sh\nls\n```\n",
    "<|editable_region", "end|>", ">>>>>>>",
)  # fmt: skip
REGIONS = st.one_of(st.text(max_size=40), st.lists(st.sampled_from(PIECES), max_size=8).map("".join)).filter(
    lambda text: not any(marker in text for marker in MARKERS) and text.strip() not in NO_CHANGE_TOKENS
)
"""Any text that can be a region: all but those that hold a template's own markers."""

ANSWERS = st.one_of(
    st.text(max_size=80),
    st.lists(st.sampled_from((*PIECES, *MARKERS, *NO_CHANGE_TOKENS, BEFORE, REGION, AFTER)), max_size=14).map("".join),
)
"""Any text that a model may say, markers in any order included."""
