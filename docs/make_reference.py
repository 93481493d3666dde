"""Writes the reference pages that follow from the code: docs/reference/settings.md and docs/reference/files.md.

    python docs/make_reference.py

tests/test_docs.py fails when a page is not what this script writes. Settings come from conf/: a key's meaning is the comment
beside it, an option's the comment at the top of its file. The names of files come from gapo_cli/runs/layout.py; their meaning is the
sentence in FILES.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
CONF = ROOT / "conf"
PAGES = ROOT / "docs" / "reference"

MOST_VALUES_IN_A_CELL = 3
TARGET, DEFAULTS, GLOBAL = "_target_", "defaults", "# @package _global_"
NOT_SETTINGS = {"hydra", "verb"}
"""Of config.yaml: Hydra's section and what the command fills in."""
OWN_MEANINGS = {"data", "engine"}
"""Groups whose options give a key of the same name meanings of their own."""

WHOLE = {"experiment", "study", "evolve"}
"""Groups whose options are chosen as they are: their keys are not settings of their own."""

FILES: dict[str, dict[str, str]] = {
    "Every run": {
        "CONFIG": "all settings, with every choice and default applied",
        "HYDRA": "what was typed, and which yaml of each group was chosen; a folder",
        "ENVIRONMENT": "the command, versions, git revision, machine and seed, and the id of the run, by which its checkpoints are known as its own",
        "LEARNER": "of a training run: the stage, its title, its number of steps, and whether it samples",
        "INPUTS": "SHA-256 of the data and of the starting model",
        "OUTCOME": "how the run ended",
        "LOCK": "keeps a second process out while the run works",
    },
    "`gapo train`": {
        "METRICS": "one row of metrics per step",
        "ROLLOUTS": "`step-NNNNN.parquet`: every sampled answer of a step, with reward and advantage",
        "EVALUATIONS": "`step-NNNNN.json` and `.parquet`: the numbers of an evaluation, and every answer",
        "CHECKPOINTS": "`step-NNNNN/`: the newest checkpoints; `best/`: the best model; `best-NNNNN/`: the best model as an "
        "earlier checkpoint that is still kept knows it; of a supervised run also `final/`",
        "INSPECTION": "`step-NNNNN.parquet`: the batch at which a guard, or a part that failed, stopped the run",
        "SUPERVISED": "of a supervised run: its settings and its result",
        "RANKS": "`rank-NNNNN.log`: of a run on several processes, what those above rank 0 have said",
        "REPORT": "the report, one self-contained page; `gapo report` writes it too",
        "RERUN": "with `--rerun`: whether the run matched, and what differs",
    },
    "A checkpoint": {
        "MODEL": "`config.json`, `model.safetensors` and the tokenizer in Hugging Face format, or an adapter as peft writes it",
        "STATE_TENSORS": "the optimizer's moments and the states of the random generators",
        "STATE_VALUES": "the step, the position in the data, the learning-rate schedule, guards and waiting rollouts",
        "BEST_RECORD": "in `best/`: the step of the best model and its evaluation",
        "CHECKPOINT_MANIFEST": "size and SHA-256 of every file; written last",
    },
    "`gapo eval`": {
        "EVALUATIONS": "`step-00000.json` and `.parquet`: the numbers with their intervals, and every answer",
        "EVALUATION_TABLE": "the tables as markdown",
        "SCORES": "the measures of every answer",
        "CASES": "every task with history, target and answer, one self-contained page",
        "ROBUSTNESS": "with `robustness=`: exact match under each perturbation, the worst case, and how often answers stay the same",
        "ROBUSTNESS_ANSWERS": "with `robustness=`: every answer to a perturbed task",
        "COMPARISON": "with `against=`: the comparison task by task",
        "ANSWERS": "the answers of a served model so far; an interrupted evaluation continues from it",
    },
    "`gapo rollout`": {
        "ROLLOUT_FILE": "every sampled answer with reward and advantage",
        "ROLLOUT_PARTS": "the finished parts of a rollout under way, from which it is resumed; a folder",
        "PARTS_PLAN": "in the folder of parts: what the answers depend on",
    },
    "`gapo sweep`": {
        "SWEEP_PLAN": "the jobs and their settings, from which a sweep is resumed",
        "SWEEP_TABLE": "the comparison as markdown",
        "SWEEP_VALUES": "the same as comma-separated values",
        "SWEEP_PLOT": "the same as a plot",
        "JOBS": "a folder per job: a training run",
    },
    "`gapo study`": {
        "STUDY": "the settings, comparisons and numbers of the study",
        "STUDY_VERDICTS": "the verdict of each comparison",
        "STUDY_TABLE": "the results as markdown",
        "STUDY_PAGE": "the results as a self-contained page",
    },
    "`gapo evolve`": {
        "SEARCH": "the space, objectives and budget of the search",
        "FAMILY": "the individuals with their parents, the survivors of each generation, and the runs beside them",
        "SEARCH_PAGE": "the front, fitness by generation, the family tree and the tables, one self-contained page",
        "SEARCH_TABLE": "the results as markdown",
        "SEARCH_VALUES": "the same as JSON",
        "AVERAGED": "with `evolve.inherit=average`: the models that individuals start from; a folder per individual",
    },
    "`gapo lab`": {
        "LAB_PAGE": "plots, tables and a browser of groups, one self-contained page",
        "LAB_TABLE": "the tables as markdown",
        "LAB_ROWS": "one measure per row, as comma-separated values",
        "LAB_VALUES": "one measure per row, as JSON",
        "GRADIENTS_TABLE": "`gapo lab gradients`: its table",
        "GRADIENTS_ROWS": "`gapo lab gradients`: one measure per row, as comma-separated values",
        "GRADIENTS_VALUES": "`gapo lab gradients`: one measure per row, and the settings, as JSON",
    },
    "A task set": {
        "SPLITS": "one file per split, one task per line",
        "SET_MANIFEST": "counts, hashes, overlaps between splits, and the report of the source",
        "STATISTICS": "what the set is made of, with `gapo prepare`",
        "STATISTICS_TABLE": "the same as markdown",
        "STATISTICS_PLOT": "the same as plots",
    },
}
"""Heading → a name of `file_names` → what the file holds."""


@dataclass(frozen=True)
class Setting:
    """One key of a yaml file: its value as written, and the comment beside it."""

    key: str
    value: str
    meaning: str


@dataclass(frozen=True)
class Option:
    """One yaml file of a group. `target`: the class it builds, or "". `chooses`: what it overrides outside its group."""

    name: str
    meaning: str
    settings: tuple[Setting, ...]
    target: str = ""
    chooses: tuple[str, ...] = ()


@dataclass
class Row:
    """One key of a group over all its options: option → value."""

    key: str
    meaning: str = ""
    values: dict[str, str] = field(default_factory=dict)


def settings_of(path: Path, prefix: str = "") -> Iterator[Setting]:
    """The leaves of a yaml file, in order. A mapping in braces is one leaf, and so is one with a comment on nothing but itself."""
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    root = yaml.compose(text)

    def walk(node: yaml.MappingNode, key: str) -> Iterator[Setting]:
        for name, value in node.value:
            inner = f"{key}.{name.value}" if key else name.value
            meaning = comment_of(lines[name.start_mark.line])
            if isinstance(value, yaml.MappingNode) and not value.flow_style:
                inside = list(walk(value, inner))
                if meaning and not any(one.meaning for one in inside):
                    yield Setting(inner, f"{{{', '.join(one.key.rsplit('.', 1)[-1] for one in inside)}}}", meaning)
                else:
                    yield from inside
            elif name.value != DEFAULTS:
                written = text[value.start_mark.index : value.end_mark.index]
                yield Setting(inner, " ".join(written.split()), meaning)

    return walk(root, prefix)


def comment_of(line: str) -> str:
    found = re.search(r"\s#\s(.*)$", line)
    return found[1].strip() if found else ""


def heading_of(path: Path) -> str:
    """The comment at the top of a yaml file, as one text."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line == GLOBAL:
            continue
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("# "))
    return " ".join(lines)


def option_of(path: Path, group: str) -> Option:
    text = path.read_text(encoding="utf-8")
    is_global = text.startswith(GLOBAL)
    found = list(settings_of(path, "" if is_global else group))
    overrides = [entry for entry in yaml.safe_load(text).get(DEFAULTS, []) if isinstance(entry, Mapping)]
    chosen = [f"{key.split()[-1].split('@')[0].lstrip('/')}={value}" for entry in overrides for key, value in entry.items()]
    own = tuple(one for one in found if one.key.startswith(f"{group}.") and not one.key.endswith(TARGET))
    others = [f"{one.key}={one.value}" for one in found if not one.key.startswith(f"{group}.")]
    # a perturbation's part lies under its own name, for several are chosen at once
    targets = (f"{group}.{TARGET}", f"{group}.{path.stem}.{TARGET}")
    target = next((one.value for one in found if one.key in targets), "")
    return Option(path.stem, heading_of(path), own, target, tuple(chosen + others))


def options_of(group: str, default: str | None) -> list[Option]:
    """The default option first, then the others by name."""
    found = [option_of(path, group) for path in sorted((CONF / group).glob("*.yaml"))]
    return sorted(found, key=lambda one: one.name != default)


def rows_of(options: list[Option], own_meanings: bool) -> list[Row]:
    """The keys in order; without a comment anywhere only those that follow another setting, which are left out."""
    rows: dict[str, Row] = {}
    meanings: dict[str, dict[str, str]] = {}
    for option in options:
        for setting in option.settings:
            rows.setdefault(setting.key, Row(setting.key)).values[option.name] = setting.value
            if setting.meaning:
                meanings.setdefault(setting.key, {})[option.name] = setting.meaning
    for key, said in meanings.items():
        if own_meanings and len(set(said.values())) > 1:
            rows[key].meaning = "; ".join(f"**{name}** {meaning}" for name, meaning in said.items())
        else:
            rows[key].meaning = next(iter(said.values()))
    return [row for row in rows.values() if row.meaning or not all(is_reference(value) for value in row.values.values())]


def is_reference(value: str) -> bool:
    return value.startswith("${")


def value_cell(row: Row, options: list[Option]) -> str:
    """One value where all options agree; else each option's, or the first one's where they are many."""
    where = [option.name for option in options if option.name in row.values]
    written = {name: f"`{row.values[name]}`" for name in where}
    if len(set(written.values())) == 1:
        only = "" if len(where) == len(options) or len(where) > MOST_VALUES_IN_A_CELL else f" ({', '.join(where)})"
        return written[where[0]] + only
    if len(where) <= MOST_VALUES_IN_A_CELL:
        return ", ".join(f"{written[name]} ({name})" for name in where)
    return f"{written[where[0]]} ({where[0]}); differs"


def settings_page() -> str:
    top = list(settings_of(CONF / "config.yaml"))
    sections = [one for one in top if one.key.split(".")[0] not in NOT_SETTINGS]
    defaults = yaml.safe_load((CONF / "config.yaml").read_text(encoding="utf-8"))[DEFAULTS]
    chosen = {key: value for entry in defaults if isinstance(entry, dict) for key, value in entry.items()}
    groups = sorted(path.name for path in CONF.iterdir() if path.is_dir() and any(path.glob("*.yaml")))
    how_to_set = (
        "Every setting is `KEY=VALUE` on the command line. `gapo train --print-config` shows the settings of a command, with every "
        "choice applied. A value such as `${trainer.dtype}` follows another setting, and `???` means that you must give one."
    )
    short_forms = (
        "Short forms: `tau=` is `estimator.tau=`, `samples=` is `evaluation.samples=`, `estimator=dapo` is `algorithm=dapo "
        "estimator=grpo`. For `gapo eval`, `on NAME` is `data=NAME`, and `baseline=` and `against=` are keys of `evaluation`."
    )
    parts = [
        "# Settings",
        "*Made from the yaml files in [conf/](../../conf) by `python docs/make_reference.py`.*",
        how_to_set,
        short_forms,
        "## General",
        table(["key", "default", "meaning"], [[f"`{one.key}`", f"`{one.value}`", one.meaning] for one in sections]),
        "## Groups",
        "A group chooses one yaml file, such as `model=nano`. The files below come with gapo; `--config-dir` adds your own.",
    ]
    for group in groups:
        default = chosen.get(group)
        options = options_of(group, default)
        parts += [f"### `{group}=`" + (f" (default: `{default}`)" if default else ""), option_table(options)]
        rows = [] if group in WHOLE else rows_of(options, group in OWN_MEANINGS)
        if rows:
            cells = [[f"`{row.key}`", value_cell(row, options), row.meaning] for row in rows]
            parts.append(table(["key", "value", "meaning"], cells))
    return "\n\n".join(parts) + "\n"


def option_table(options: list[Option]) -> str:
    cells = [
        [f"`{one.name}`", one.meaning, f"`{one.target}`" if one.target else "", ", ".join(f"`{word}`" for word in one.chooses)]
        for one in options
    ]
    head = ["option", "meaning", "class", "also sets"]
    used = [index for index in range(len(head)) if any(row[index] for row in cells)]
    return table([head[index] for index in used], [[row[index] for index in used] for row in cells])


def file_names() -> dict[str, str]:
    """Every name of a run's file that the code gives, and the few that stand for several files."""
    from gapo_cli.runs import layout
    from gapo_cli.storage.locks import LOCK

    named = {key: value for key, value in vars(layout).items() if key.isupper() and isinstance(value, str)}
    several = {"MODEL": "model files", "JOBS": "0, 1, 2, ...", "SPLITS": "SPLIT.jsonl", "SET_MANIFEST": "manifest.json"}
    return {**named, **several, "LOCK": LOCK}


def files_page() -> str:
    names = file_names()
    parts = [
        "# Files of a run",
        "*Made from the names in the code by `python docs/make_reference.py`.*",
        "A run writes to `outputs/VERB/TIME/`, or to `hydra.run.dir`. The files are JSON, YAML, parquet, safetensors and HTML.",
        "[Rollouts](rollouts.md#the-file) explains the columns of a rollout file, [training metrics](metrics.md) those of `metrics.jsonl`.",
    ]
    for heading, files in FILES.items():
        rows = [[f"`{names[key]}`", meaning] for key, meaning in files.items()]
        parts += [f"## {heading}", table(["file", "content"], rows)]
    return "\n\n".join(parts) + "\n"


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def pages() -> dict[Path, str]:
    return {PAGES / "settings.md": settings_page(), PAGES / "files.md": files_page()}


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
        print(path.relative_to(ROOT))
