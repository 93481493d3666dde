"""Evaluations as tables: the model's greedy and sampled answers beside the baselines, overall and by family or language."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gapo_cli.evaluation.summary import Breakdown, Metrics, Summary
from gapo_cli.statistics.intervals import Measure

NOTHING = "–"
WITH_INTERVAL = ("edits_unwanted", "silence_where_wanted")
BASELINE_NAMES = {"copy": "copy the region", "replace": "repeat the replacement"}


@dataclass(frozen=True)
class Table:
    """Cells as text; the first column is names, the others are numbers. `note` says what they are."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""

    def to_text(self) -> str:
        """For a terminal: columns padded to their widest cell, the numbers on the right."""
        widths = [max(map(len, column)) for column in zip(self.columns, *self.rows, strict=True)]
        lines = [self.title] if self.title else []
        for cells in (self.columns, *self.rows):
            numbers = (cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True))
            lines.append("  ".join([cells[0].ljust(widths[0]), *numbers]).rstrip())
        return "\n".join([*lines, *([self.note] if self.note else [])])

    def to_markdown(self) -> str:
        lines = [f"### {self.title}", ""] if self.title else []
        lines.append("| " + " | ".join(map(_escaped, self.columns)) + " |")
        lines.append("|---|" + "---:|" * (len(self.columns) - 1))
        lines += ["| " + " | ".join(map(_escaped, row)) + " |" for row in self.rows]
        return "\n".join([*lines, *(["", self.note] if self.note else [])]) + "\n"


def _escaped(cell: str) -> str:
    return cell.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")


def answers_of(summary: Summary, baselines: Mapping[str, Breakdown], model: str = "model") -> dict[str, Breakdown]:
    """What stands side by side in a table: the model's modes, then the baselines, by their names there."""
    found = {f"{model}, {mode}": breakdown for mode, breakdown in summary.by_mode().items() if breakdown is not None}
    return found | {BASELINE_NAMES.get(name, name): breakdown for name, breakdown in baselines.items()}


def overall_table(answers: Mapping[str, Breakdown], title: str = "") -> Table:
    """One row a kind of answer, every metric a column: exact match where something changes if some tasks change nothing,
    pass@k for what was sampled more than once."""
    ks = sorted({k for breakdown in answers.values() for k in breakdown.overall.pass_at if k > 1})
    all_change = all(breakdown.overall.changing_tasks == breakdown.overall.tasks for breakdown in answers.values())
    columns = (
        "%", "exact match", *(() if all_change else ("where something changes",)), "strict", "edit similarity", "BLEU", "no-op",
        "malformed", "truncated", *(f"pass@{k}" for k in ks), "tokens",
    )  # fmt: skip
    rows = []
    for name, breakdown in answers.items():
        one = breakdown.overall
        rows.append((
            name,
            with_interval(one.exact_match),
            *(() if all_change else (with_interval(one.exact_match_on_changes),)),
            *(percent(measure) for measure in (one.strict_match, one.edit_similarity, one.bleu)),
            *(percent(measure) for measure in (one.noop_rate, one.malformed_rate, one.truncated_rate)),
            *(percent(one.pass_at.get(k, Measure())) for k in ks),
            NOTHING if one.response_tokens is None else f"{one.response_tokens:.1f}",
        ))  # fmt: skip
    return Table(title, columns, tuple(rows), sizes_note(answers))


def breakdown_table(answers: Mapping[str, Breakdown], by: str, title: str = "") -> Table:
    """Exact match of each kind of answer, one row for each of the tasks' families (by="families") or languages."""
    parts: dict[str, dict[str, Metrics]] = {name: dict(getattr(breakdown, by)) for name, breakdown in answers.items()}
    names = sorted({name for part in parts.values() for name in part})
    rows = []
    for name in names:
        sizes = [part[name].tasks for part in parts.values() if name in part]
        cells = (with_interval(part[name].exact_match) if name in part else NOTHING for part in parts.values())
        rows.append((name or "none", str(max(sizes)), *cells))
    return Table(title, (f"exact match, % by {'family' if by == 'families' else 'language'}", "tasks", *parts), tuple(rows))


def change_table(answers: Mapping[str, Breakdown], title: str = "") -> Table:
    """How well the change itself was met, one row a kind of answer: on all tasks, and, if some of them change nothing, on
    those that change something. The reversal rate is over the tasks whose last edit can be undone."""
    measures = {
        "chrF": "chrf",
        "delta-chrF": "delta_chrf",
        "lines, precision": "changed_lines_precision",
        "lines, recall": "changed_lines_recall",
    }
    all_change = all(breakdown.overall.changing_tasks == breakdown.overall.tasks for breakdown in answers.values())
    columns = ("the change, %", *measures, "undoes the last edit")
    rows = []
    for name, breakdown in answers.items():
        one = breakdown.overall
        values = (percent(getattr(one, measure)) for measure in measures.values())
        rows.append((name, *values, with_interval(one.reversal_rate)))
        if not all_change:
            picked = {**dict.fromkeys(measures.values(), Measure()), **one.on_changes}
            rows.append((f"{name}, where something changes", *(percent(picked[measure]) for measure in measures.values()), ""))
    sizes = sorted({breakdown.overall.reversible_tasks for breakdown in answers.values()})
    return Table(title, columns, tuple(rows), f"Of {_listed(sizes)} tasks the last edit can be undone.")


def behaviour_table(answers: Mapping[str, Breakdown], title: str = "") -> Table:
    """How each kind of answer edits: what of it is kept, what it takes back, where it fires and where it is silent."""
    columns = {
        "kept": "kept_rate", "kept, recall": "kept_recall", "reversal ratio": "reversal_ratio", "lines, F1": "exact_lines_f1",
        "wrong region": "wrong_region", "lone blanks": "isolated_blanks", "edits unwanted": "edits_unwanted",
        "silence where wanted": "silence_where_wanted", "cursor exact": "cursor_exact",
    }  # fmt: skip
    shown = {name: breakdown.overall.behaviour for name, breakdown in answers.items() if breakdown.overall.behaviour}
    columns = {head: name for head, name in columns.items() if any(one[name].value is not None for one in shown.values())}
    rows = [
        (kind, *((with_interval if name in WITH_INTERVAL else percent)(measures[name]) for name in columns.values()))
        for kind, measures in shown.items()
    ]
    sizes = next((breakdown.overall.sizes for breakdown in answers.values() if breakdown.overall.sizes), {})
    note = (
        f"{sizes.get('tasks_that_want_an_edit', 0)} tasks want an edit, {sizes.get('tasks_that_want_silence', 0)} want none. "
        "docs/reference/edit-measures.md defines each."
    )
    return Table(title, ("how it edits, %", *columns), tuple(rows), note)


def malformed_table(answers: Mapping[str, Breakdown], title: str = "") -> Table:
    """Why answers stand for no region, one row a reason, the share of all answers of its kind; kinds without any are left out."""
    reasons = {
        name: breakdown.overall.malformed_reasons for name, breakdown in answers.items() if breakdown.overall.malformed_reasons
    }
    names = sorted(
        {reason for of_kind in reasons.values() for reason in of_kind},
        key=lambda one: (-max(of.get(one, 0) for of in reasons.values()), one),
    )
    rows = [
        (name, *(f"{100 * of_kind[name]:.1f}" if name in of_kind else NOTHING for of_kind in reasons.values()))
        for name in names
    ]
    return Table(
        title,
        ("malformed, % of the answers", *reasons),
        tuple(rows),
        "They count as wrong; docs/reference/prompts.md says what the names mean.",
    )


def evaluation_tables(answers: Mapping[str, Breakdown]) -> list[Table]:
    """The overall table, those of the malformed answers and of the change where there are any, and those by family and language where
    there is more than one of them."""
    tables = [overall_table(answers)]
    if any(breakdown.overall.malformed_reasons for breakdown in answers.values()):
        tables.append(malformed_table(answers))
    if any(breakdown.overall.delta_chrf.value is not None for breakdown in answers.values()):
        tables.append(change_table(answers))
    if any(breakdown.overall.behaviour for breakdown in answers.values()):
        tables.append(behaviour_table(answers))
    for by in ("families", "languages"):
        if any(len(getattr(breakdown, by)) > 1 for breakdown in answers.values()):
            tables.append(breakdown_table(answers, by))
    return tables


def sizes_note(answers: Mapping[str, Breakdown]) -> str:
    """How many tasks, what the brackets mean, and plainly so if a baseline is ahead."""
    sizes = sorted({breakdown.overall.tasks for breakdown in answers.values()})
    changing = sorted({breakdown.overall.changing_tasks for breakdown in answers.values()})
    samples = sorted(
        {
            breakdown.overall.predictions / breakdown.overall.tasks
            for breakdown in answers.values()
            if breakdown.overall.predictions > breakdown.overall.tasks
        }
    )
    methods = sorted({breakdown.overall.exact_match.method or "" for breakdown in answers.values()} - {""})
    note = f"{_listed(sizes)} tasks, {'all' if sizes == changing else _listed(changing)} of which change something"
    if samples:
        note += f"; {_listed(samples)} samples a task"
    note += f". In brackets: 95 % intervals ({', '.join(methods)})."
    values = {name: breakdown.overall.exact_match.value or 0.0 for name, breakdown in answers.items()}
    by_rule = max((values[name] for name in BASELINE_NAMES.values() if name in values), default=0.0)
    by_model = [value for name, value in values.items() if name not in BASELINE_NAMES.values()]
    if by_model and by_rule > max(by_model):
        note += " A rule without a model does better on these tasks than the model."
    return note


def _listed(numbers: Sequence[float]) -> str:
    return " or ".join(f"{number:g}" for number in numbers)


def percent(measure: Measure) -> str:
    return NOTHING if measure.value is None else f"{100 * measure.value:.1f}"


def with_interval(measure: Measure) -> str:
    """As "53.2 [49.1, 57.3]", in percent."""
    if measure.value is None or measure.low is None or measure.high is None:
        return percent(measure)
    # a lower end of -1e-18 is 0
    return f"{100 * measure.value:.1f} [{abs(100 * measure.low):.1f}, {100 * measure.high:.1f}]"
