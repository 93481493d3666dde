"""Every perturbation that ships, as its yaml builds it, and tasks to try them on."""

import importlib
from pathlib import Path

import yaml
from hypothesis import strategies as st

import gapo_cli.conf
from gapo_cli.edits.rules.replacement import replace_baseline
from gapo_cli.records import EditTask, Hint, HistoryEvent, Source

CONF = Path(gapo_cli.conf.__path__[0]) / "perturbation"


def shipped(name: str):
    """The perturbation of conf/perturbation/NAME.yaml."""
    ((key, settings),) = yaml.safe_load((CONF / f"{name}.yaml").read_text()).items()
    assert key == name  # several are chosen at once, so each lies under its own name
    module, _, kind = settings.pop("_target_").rpartition(".")
    return getattr(importlib.import_module(module), kind)(**settings)


NAMES = sorted(path.stem for path in CONF.glob("*.yaml"))
SHIPPED = {name: shipped(name) for name in NAMES}

LINES = (
    "import os", "def load(account, limit=3):", "    total = account.balance(limit)", "    # the balance of accountants",
    "    return fetch(account, limit)", "", "    for entry in entries:", "        push(entry, 'entry point')",
    "class AccountStore:", "    MAX_ACCOUNT = 7", '    """Keeps', "    accounts.", '    """', "    store_account(MAX_ACCOUNT)",
    "    value = rows[0] \\", "        + rows[1]", "    if limit is None:", "\tlimit = widget_size",
)  # fmt: skip
RENAMES = (
    ("account", "customer"),
    ("limit", "bound"),
    ("fetch", "fetch_all"),
    ("entry", "row"),
    ("widget_size", "widget_width"),
)


@st.composite
def tasks(draw) -> EditTask:
    """Lines of Python, cut anywhere, one of whose names was renamed in the history; the answer carries that on in the region."""
    lines = draw(st.lists(st.sampled_from(LINES), min_size=1, max_size=14))
    first = draw(st.integers(0, len(lines)))
    last = draw(st.integers(first, len(lines)))
    texts = ["".join(f"{line}\n" for line in part) for part in (lines[:first], lines[first:last], lines[last:])]
    changes = draw(st.lists(st.sampled_from(RENAMES), max_size=3))
    history = tuple(
        HistoryEvent(
            "edit", draw(st.sampled_from(["a.py", "lib/b.py"])), f"@@ -1,2 +1,2 @@\n pass\n-use({old}, 1)\n+use({new}, 1)\n"
        )
        for old, new in changes
    )
    excerpt = "".join(texts)
    editable = (len(texts[0]), len(texts[0]) + len(texts[1]))
    place = draw(st.none() | st.integers(0, len(excerpt)))
    hints = tuple(
        Hint("related_file", f"lib/{name}.py", f"def {name}(limit): ...\n", order=number)
        for number, name in enumerate(draw(st.lists(st.sampled_from(["fetch", "push", "store"]), unique=True)))
    )
    task = EditTask(
        "t", Source("made", "train"), "python", "a.py", excerpt, editable, texts[1], cursor=None if place is None else (place, place),
        at_file_start=draw(st.booleans()), history=history, hints=hints,
    )  # fmt: skip
    target = replace_baseline(task)
    return EditTask(
        **{name: getattr(task, name) for name in task.__slots__} | {"target": target, "alternatives": (task.region,)}
    )
