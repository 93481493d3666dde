"""The laboratory's page: plots and tables, and a browser of groups that computes advantages itself. Nothing is fetched."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gapo_cli.lab.laboratory import LabSettings, SourceResult
from gapo_cli.reports.charts import HEIGHT, LEFT, RIGHT, WIDTH
from gapo_cli.reports.groups import evenly_over_shapes
from gapo_cli.reports.lab_charts import advantage_curves, pool_charts, shapes_chart, share_charts
from gapo_cli.reports.tables import Table
from gapo_cli.reports.templates import filled, unescaped
from gapo_cli.statistics.reward_shapes import group_shapes

TEMPLATE = "lab.html.j2"
SCRIPTS = ("lab_estimators.js", "lab_browser.js")
MOST_REWARDS = 60_000
"""Of all sources together, in the group browser (about 1 MB)."""


def render_lab(sources: Sequence[SourceResult], settings: LabSettings, tables: Sequence[tuple[str, Sequence[Table]]]) -> str:
    return filled(
        TEMPLATE,
        scripts=unescaped(*SCRIPTS),
        sources=[
            {
                "name": name,
                "notes": source.notes,
                "groups": len(source.saved.rewards),
                "completions": source.saved.rewards.shape[1],
                "charts": pool_charts(source.pool) if source.pool else [],
                "shares": share_charts(source, settings.variants),
                "curves": advantage_curves(source.saved, settings.variants),
                "shapes": shapes_chart(source),
                "tables": own,
            }
            for source, (name, own) in zip(sources, tables, strict=True)
        ],
        estimators=[variant.name for variant in settings.variants],
        browsed=browsed(sources),
        size={"width": WIDTH, "height": HEIGHT, "left": LEFT, "right": WIDTH - RIGHT},
    )


def browsed(sources: Sequence[SourceResult]) -> list[dict[str, Any]]:
    """JSON-ready groups, evenly over their shapes; rewards with every digit, or ties would not be ties in the browser."""
    share = MOST_REWARDS // max(1, len(sources))
    shown = []
    for source in sources:
        saved = source.saved
        shapes = group_shapes(saved.rewards)
        fit = max(1, share // saved.rewards.shape[1])
        groups = []
        rewarded = [place for place in evenly_over_shapes(shapes.tolist()) if saved.present[place]]
        for place in sorted(rewarded[:fit]):
            here = ~np.isnan(saved.rewards[place])
            groups.append({
                "task": saved.tasks[place],
                "step": int(saved.steps[place]),
                "shape": str(shapes[place]),
                "rewards": saved.rewards[place][here].tolist(),
                "lengths": saved.lengths[place][here].tolist(),
            })  # fmt: skip
        without = len(saved.rewards) - len(rewarded)
        shown.append({"source": saved.name, "of": len(saved.rewards), "without_rewards": without, "groups": groups})
    return shown
