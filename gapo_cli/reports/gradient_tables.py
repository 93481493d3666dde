"""What `gapo lab gradients` found, as a table and as long rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from gapo_cli.lab.gradients import MEASURES, GradientFindings
from gapo_cli.reports.lab_tables import interval, number, percent
from gapo_cli.reports.tables import Table


def gradient_table(findings: Sequence[GradientFindings], prompts: int, completions: int) -> Table:
    rows = tuple(
        (
            one.variant.name,
            str(one.group_size),
            interval(one.measures["agreement"]),
            interval(one.measures["update_cosine"]),
            interval(one.difference, "+"),
            number(one.measures["noise"]),
            percent(one.measures["zero"].value),
            number(one.measures["per_computed"]),
        )
        for one in findings
    )
    return Table(
        "Estimated against true gradients",
        ("estimator", "G", "agreement", "update", "difference", "noise", "zero, %", "per computed"),
        rows,
        f"{prompts} prompts, pools of {completions}. Agreement: cosine between the gradient of a group of G and that of its prompt's pool "
        f"with the true advantages, over all prompts and trials; update: cosine between the mean gradient of {prompts} groups, one a "
        "prompt, and the true one, mean over trials; difference: of the update's cosine, from the first estimator at the same size, paired; "
        "noise: variance of the update over the square of its mean; per computed: the update's cosine squared over the share of "
        "advantages that are not 0. Brackets: 95 % intervals, bootstrap over prompts.",
    )


def gradient_rows(findings: Sequence[GradientFindings]) -> Iterator[dict[str, Any]]:
    """One measure a row."""
    for one in findings:
        about = {"estimator": one.variant.name, "group_size": one.group_size}
        for name in MEASURES:
            yield {**about, "measure": name, **one.measures[name].to_dict()}
        yield {**about, "measure": "update_cosine_difference", **one.difference.to_dict()}
