"""The laboratory's numbers as tables, and as long rows for JSON and CSV."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from gapo_cli.lab.comparison import MEASURES, Findings
from gapo_cli.lab.laboratory import PoolResult, SourceResult
from gapo_cli.lab.replay import main_variants
from gapo_cli.lab.without_pool import GroupFindings, ShapesAtStep
from gapo_cli.quantities import decimals
from gapo_cli.reports.tables import NOTHING, Table
from gapo_cli.statistics.intervals import Measure
from gapo_cli.statistics.reward_shapes import SHAPES

SHAPE_NAMES = {
    "normal": "normal",
    "left": "left-skewed",
    "right": "right-skewed",
    "symmetric": "symmetric",
    "zero": "no spread",
}
AGREEMENT_NOTE = (
    "Agreement: cosine between estimated and true advantages, of all prompts and trials, with 95 % intervals by a bootstrap over "
    "prompts; right way: its square; per computed: that over the share of advantages that are not 0. Difference: of the agreement, "
    "from the first estimator at the same group size, paired."
)


def lab_tables(source: SourceResult) -> Iterator[Table]:
    """Shapes, what needs no pool, and, of a pool, agreement, corruption and shares by shape."""
    yield shape_table(source.shapes)
    if source.groups:
        yield groups_table(source.groups)
        yield negative_table(source.groups)
    if source.pool is not None:
        yield agreement_table(source.pool)
        if any(cell.corruption for cell in source.pool.cells):
            yield from corruption_tables(source.pool)
        yield by_shape_table(source.pool)


def shape_table(shapes: Sequence[ShapesAtStep], most: int = 12) -> Table:
    """Shares of the reward shapes at the first step, the last, and evenly between; the first is before training."""
    chosen = shapes if len(shapes) <= most else [shapes[round(at * (len(shapes) - 1) / (most - 1))] for at in range(most)]
    rows = tuple((str(one.step), str(one.groups), *(percent(one.shares.get(name)) for name in SHAPES)) for one in chosen)
    notes = ["Groups of the first step are sampled before anything is learnt."] if len(shapes) > 1 else []
    unknown = sum(one.unknown for one in shapes)
    if unknown:
        notes.append(
            f"{unknown} of {sum(one.groups for one in shapes)} groups have fewer than two rewards and are in no share."
        )
    return Table("Reward shapes, %", ("step", "groups", *SHAPE_NAMES.values()), rows, " ".join(notes))


def groups_table(groups: Sequence[GroupFindings]) -> Table:
    rows = tuple(
        (
            one.variant,
            percent(one.zero),
            percent(one.negative),
            percent(one.sign_changes),
            NOTHING if one.q_minus_mean is None else decimals(one.q_minus_mean, 4, "+"),
        )
        for one in groups
    )
    return Table(
        "Estimators on the saved groups",
        ("estimator", "zero, %", "negative, %", "other sign than the first, %", "Q - mean"),
        rows,
        "Each group as it was saved, whole; groups that dynamic sampling dropped are left out.",
    )


def negative_table(groups: Sequence[GroupFindings]) -> Table:
    """The share of negative advantages by the group's shape, an estimator a row."""
    shapes = [shape for shape in SHAPES if shape != "zero" and any(shape in one.negative_by_shape for one in groups)]
    rows = tuple(
        (
            one.variant,
            *(percent(one.negative_by_shape[shape]) if shape in one.negative_by_shape else NOTHING for shape in shapes),
        )
        for one in groups
    )
    return Table("Negative advantages by reward shape, %", ("estimator", *(SHAPE_NAMES[shape] for shape in shapes)), rows)


def overall(pool: PoolResult) -> list[Findings]:
    """The findings over all prompts, in the order of the cells."""
    return [one for one in pool.findings if one.part == "all"]


def agreement_table(pool: PoolResult) -> Table:
    rows = []
    for one, difference in zip(overall(pool), pool.differences, strict=True):
        if one.cell.corruption is not None:
            continue
        found = one.measures
        rows.append((
            one.cell.variant.name,
            str(one.cell.group_size),
            interval(found["agreement"]),
            interval(difference, "+"),
            *(number(found[name]) for name in ("right_way", "per_computed")),
            *(percent(found[name].value) for name in ("zero", "negative", "wrong_sign")),
            number(found["mean"], "+"),
            number(found["kurtosis"], digits=1),
        ))  # fmt: skip
    columns = (
        "estimator", "G", "agreement", "difference", "right way", "per computed", "zero, %", "negative, %", "wrong sign, %", "mean",
        "kurtosis",
    )  # fmt: skip
    return Table("Estimated against true advantages", columns, tuple(rows), AGREEMENT_NOTE)


def corruption_tables(pool: PoolResult) -> Iterator[Table]:
    """Agreement under corrupted rewards, one table a kind, at each group size."""
    kinds = list(dict.fromkeys(cell.corruption.kind for cell in pool.cells if cell.corruption))
    for kind in kinds:
        noises = sorted({cell.noise for cell in pool.cells if cell.corruption is None or cell.corruption.kind == kind})
        rows: dict[tuple[str, int], dict[float, str]] = {}
        for one in overall(pool):
            if one.cell.corruption is None or one.cell.corruption.kind == kind:
                key = (one.cell.variant.name, one.cell.group_size)
                rows.setdefault(key, {})[one.cell.noise] = interval(one.measures["agreement"])
        yield Table(
            f"Agreement under corrupted rewards ({kind})",
            ("estimator", "G", *(f"{100 * noise:g} %" for noise in noises)),
            tuple((name, str(size), *(cells[noise] for noise in noises)) for (name, size), cells in rows.items()),
            "The estimator sees rewards of which this share is replaced; the truth stays clean.",
        )


def by_shape_table(pool: PoolResult) -> Table:
    """Agreement, zero and negative by the shape and the mean of the prompt's pool, without corruption, at the middle size."""
    size = middle_size(pool)
    shown = main_variants([cell.variant for cell in pool.cells])
    rows = tuple(
        (
            one.cell.variant.name,
            SHAPE_NAMES.get(one.part, one.part),
            str(one.prompts),
            interval(one.measures["agreement"]),
            *(percent(one.measures[name].value) for name in ("zero", "negative", "wrong_sign")),
        )
        for one in sorted(pool.findings, key=lambda one: pool.cells.index(one.cell))
        if one.part != "all" and one.cell.corruption is None and one.cell.group_size == size and one.cell.variant in shown
    )
    return Table(
        f"By the pool's shape and mean, G = {size}",
        ("estimator", "prompts that are", "prompts", "agreement", "zero, %", "negative, %", "wrong sign, %"),
        rows,
        "Hard: mean reward of the pool below 1/3; easy: above 2/3.",
    )


def middle_size(pool: PoolResult) -> int:
    sizes = sorted({cell.group_size for cell in pool.cells})
    return sizes[len(sizes) // 2] if len(sizes) != 2 else sizes[0]


def long_rows(source: SourceResult) -> Iterator[dict[str, Any]]:
    """One measure a row: where it comes from, its value and its interval."""
    for shapes in source.shapes:
        for name, share in shapes.shares.items():
            yield long_row(source, f"shape_{name}", Measure(share), step=shapes.step)
    for one in source.groups:
        for name in ("zero", "negative", "sign_changes", "q_minus_mean"):
            yield long_row(source, f"groups_{name}", Measure(getattr(one, name)), estimator=one.variant)
        for shape, share in one.negative_by_shape.items():
            yield long_row(source, "groups_negative", Measure(share), estimator=one.variant, part=shape)
        for shape, share in one.zero_by_shape.items():
            yield long_row(source, "groups_zero", Measure(share), estimator=one.variant, part=shape)
    for one in source.pool.findings if source.pool else ():
        corruption = one.cell.corruption
        for name in MEASURES:
            yield long_row(
                source,
                name,
                one.measures[name],
                estimator=one.cell.variant.name,
                part=one.part,
                prompts=one.prompts,
                group_size=one.cell.group_size,
                corruption=corruption.kind if corruption else None,
                probability=one.cell.noise,
            )
    for cell, difference in zip(source.pool.cells, source.pool.differences, strict=True) if source.pool else ():
        yield long_row(
            source,
            "agreement_difference",
            difference,
            estimator=cell.variant.name,
            part="all",
            prompts=len(cell.sums),
            group_size=cell.group_size,
            corruption=cell.corruption.kind if cell.corruption else None,
            probability=cell.noise,
        )


def long_row(source: SourceResult, measure: str, value: Measure, **about: Any) -> dict[str, Any]:
    keys = ("estimator", "part", "prompts", "step", "group_size", "corruption", "probability")
    return {"rollouts": source.saved.name, **{key: about.get(key) for key in keys}, "measure": measure, **value.to_dict()}


def sections_markdown(sources: Sequence[SourceResult], tables: Sequence[tuple[str, Sequence[Table]]]) -> str:
    parts = ["# Laboratory\n"]
    for source, (name, own) in zip(sources, tables, strict=True):
        parts += [f"## {name}\n", *(f"- {note}\n" for note in source.notes), *(table.to_markdown() for table in own)]
    return "\n".join(parts)


def number(measure: Measure, sign: str = "", digits: int = 3) -> str:
    return NOTHING if measure.value is None else decimals(measure.value, digits, sign)


def interval(measure: Measure, sign: str = "") -> str:
    if measure.value is None:
        return NOTHING
    if measure.low is None or measure.high is None:
        return number(measure, sign)
    low, high = (decimals(end, 3, sign) for end in (measure.low, measure.high))
    return f"{number(measure, sign)} [{low}, {high}]"


def percent(share: float | None) -> str:
    return NOTHING if share is None else f"{100 * share:.1f}"
