"""Exact match under perturbations of the base, GRPO and GAPO, with and without the terms jacobian and smoothness, paired by seed.

Runs `gapo study robustness` (or what is left of it), then `gapo eval robustness=all` on the last checkpoint of each of its jobs and
on the model that they started from, where that was not done before. Settings have the same steps, rollouts and seeds, not the same
seconds: benchmarks/robustness_terms.py says what a term adds to a step.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from measure import machine
from tables import command_of, table_line, write

from gapo_cli.interfaces import QuietDisplay
from gapo_cli.launching.launch import run
from gapo_cli.launching.studies import study
from gapo_cli.runs.layout import CHECKPOINTS, ROBUSTNESS, SWEEP_PLAN, steps_in
from gapo_cli.runs.study_definition import read_definition
from gapo_cli.runs.sweep_plan import JobsByState, folder_of, read_plan
from gapo_cli.statistics.seed_differences import SeedDifference, seed_difference

STUDY = "robustness"
BASE = "base"
MEASURES = ("clean", "worst", "consistency")


def trained(folder: Path, given: argparse.Namespace) -> None:
    """Every job of the study has ended well, or this raises what the study does."""
    if not (folder / SWEEP_PLAN).is_file():
        words = [STUDY, f"study.seeds={given.seeds}", f"trainer.threads={given.threads}", f"hydra.sweep.dir={folder}"]
        study([*words, *given.overrides], QuietDisplay(), quiet=True)
    elif JobsByState.of(folder, read_plan(folder)).unfinished:
        study([f"resume={folder}"], QuietDisplay(), quiet=True)


def evaluated(out: Path, model: str, given: argparse.Namespace) -> Mapping[str, Any]:
    """The numbers of `gapo eval robustness=all` of a model, which lie in `out`."""
    if not (out / ROBUSTNESS).is_file():
        words = [model, "robustness=all", "evaluation.samples=1", f"trainer.threads={given.threads}", f"hydra.run.dir={out}"]
        run("eval", [*words, *(word for word in given.overrides if word.startswith(("evaluation.", "data")))], QuietDisplay())
    return json.loads((out / ROBUSTNESS).read_text(encoding="utf-8"))


def numbers_of(found: Mapping[str, Any]) -> dict[str, float]:
    """One evaluation's numbers by what the table calls them."""
    worst = found["worst"]
    row = {"clean": found["clean"]["value"], "worst": worst["exact_match"]["value"], "consistency": worst["same"]["value"]}
    row |= {f"drop under {name}": one["drop"]["value"] for name, one in found["under"].items()}
    return row | ({"drop when sampled": found["sampled"]["drop"]["value"]} if found["sampled"] else {})


def collect(folder: Path, given: argparse.Namespace) -> dict[str, dict[str, dict[str, float]]]:
    """Setting → seed → numbers. Jobs that failed are left out."""
    plan = read_plan(folder)
    found = {BASE: {"": numbers_of(evaluated(folder / "base_robustness", given.base, given))}}
    for job in JobsByState.of(folder, plan).done:
        home = folder_of(folder, job)
        last = list(steps_in(home / CHECKPOINTS).values())[-1]
        found.setdefault(job.setting, {})[job.seed] = numbers_of(evaluated(home / "robustness", f"run={last}", given))
        print(f"{job.label}: {found[job.setting][job.seed]}", flush=True)
    return found


def difference(found: Mapping[str, Any], pair: Sequence[str], measure: str) -> SeedDifference:
    first, second = (found.get(name, {}) for name in pair)
    return seed_difference([first[seed][measure] - second[seed][measure] for seed in first if seed in second])


def points(one: SeedDifference) -> str:
    if one.mean is None:
        return "no pair"
    interval = "" if one.low is None else f" [{100 * one.low:+.1f}, {100 * one.high:+.1f}]"
    return f"{100 * one.mean:+.1f}{interval}"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument(
        "--folder", type=Path, default=Path("outputs/study/robustness"), help="of the study, there or not yet"
    )
    arguments.add_argument("--base", default="model=nano", help="what the study's jobs start from, as gapo eval takes it")
    arguments.add_argument("--seeds", type=int, default=5)
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--overrides", nargs="*", default=[], help="KEY=VALUE of the study")
    given = arguments.parse_args()
    trained(given.folder, given)
    found = collect(given.folder, given)
    names = list(dict.fromkeys(name for seeds in found.values() for row in seeds.values() for name in row))
    means = {
        setting: {name: statistics.mean(row[name] for row in seeds.values() if name in row) for name in names}
        for setting, seeds in found.items()
    }
    pairs = read_definition(given.folder).comparisons
    lines = [
        table_line(["mean over seeds, %", "seeds", *names]),
        "|" + "---|" * (len(names) + 2),
        *(table_line([one, str(len(found[one])), *(f"{100 * row[name]:.1f}" for name in names)]) for one, row in means.items()),
        "",
        table_line(["difference, points", *MEASURES]),
        "|" + "---|" * (len(MEASURES) + 1),
        *(
            table_line([" against ".join(pair), *(points(difference(found, pair, name)) for name in MEASURES)])
            for pair in pairs
        ),
    ]
    text = (
        "Exact match of greedy answers; worst: right as it is and under each perturbation; consistency: the same answer under all. "
        "Differences are paired by seed, in brackets their 95 % t intervals."
    )
    title = ["# Robustness with and without the terms jacobian and smoothness", ""]
    rows = [{"setting": one, "seeds": found[one]} for one in found]
    again = f"Run it again: `{command_of(__file__, arguments, given)}`"
    write(Path(__file__).stem, [*title, *lines, "", text, "", again], machine("torch", "transformers"), rows)


if __name__ == "__main__":
    main()
