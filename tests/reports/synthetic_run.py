"""Writes a small run by hand, with the trainer's own writers, so that the report reads what training writes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from parts import small_task

from gapo_cli.evaluation.baselines import measure_baselines
from gapo_cli.evaluation.predictions import Prediction
from gapo_cli.evaluation.summary import summarise
from gapo_cli.records import Completion, EditTask, Group
from gapo_cli.runs.group_files import write_groups
from gapo_cli.runs.run_files import RunFiles
from gapo_cli.storage.files import append_jsonl

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>&amp;\u2028"
CONFIG = """\
seed: {seed}
stage: {{_target_: gapo_cli.training.learners.policy_gradient.PolicyGradient}}
verb: train
model: {{base: noisy, name: nano, path: 'asset:nano-noisy'}}
estimator: {{_target_: gapo_cli.estimators.gapo.GAPO, tau: {tau}}}
algorithm: {{name: grpo}}
reward: {{_target_: gapo_cli.rewards.edem.ExactMatchAndSimilarity}}
data: {{name: stdlib}}
trainer: {{steps: {steps}}}
"""


def task(number: int, family: str = "log") -> EditTask:
    return small_task(
        f"t{number}",
        f"    print(x{number})\n",
        f"    log(x{number})\n",
        before="def f(x):\n",
        after="    return x\n",
        diffs=("@@ -1 +1 @@\n-print(y)\n+log(y)\n",),
        split="eval",
        family=family,
    )


def group(number: int, answers: list[tuple[str | None, float]], low: float = 0.25, high: float = 0.5) -> Group:
    """A group from (predicted region, reward) pairs; a region None is a malformed answer with hostile text."""
    rewards = np.array([reward for _, reward in answers])
    completions = tuple(
        Completion((1, 2, 3), (-0.5, -0.5, -0.5), HOSTILE, "stop", None, "no_marker")
        if region is None
        else Completion((1, 2, 3), (-0.5, -0.5, -0.5), region, "stop", region)
        for region, _ in answers
    )
    centred = rewards - np.nanmean(rewards)
    return Group(
        task(number), (1, 2), completions, {"score": rewards, "em": (rewards == 1).astype(float)}, rewards, rewards,
        np.nan_to_num(centred), float(np.nanmean(rewards)), low, high,
    )  # fmt: skip


def groups() -> list[Group]:
    right, wrong = "    log(x{})\n", "    print(x{})\n"
    return [
        group(0, [(right.format(0), 1.0)] * 4),
        group(1, [(right.format(1), 1.0), (wrong.format(1), 0.25), (wrong.format(1), 0.25), (None, 0.0)]),
        group(
            2,
            [(HOSTILE, 0.125), (wrong.format(2), 0.25), (right.format(2), 1.0), (wrong.format(2), float("nan"))],
            np.nan,
            np.nan,
        ),
    ]


def evaluation(right: int, samples: int = 2) -> list[Prediction]:
    """Forty tasks, the first `right` of which are answered rightly, greedily and in every sample."""
    found = []
    for number in range(40):
        one = task(number, "log" if number % 2 else "other")
        region = one.target if number < right else one.region
        for mode, count in (("greedy", 1), ("sampled", samples)):
            found += [
                Prediction(
                    one.id,
                    one.labels["family"],
                    "python",
                    mode,
                    sample,
                    region,
                    region,
                    None,
                    "stop",
                    4,
                    one.region,
                    one.target,
                )
                for sample in range(count)
            ]
    return found


def write_run(folder: Path, steps: int = 3, planned: int | None = None, tau: float = 0.5, seed: int = 0) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.resolved.yaml").write_text(CONFIG.format(tau=tau, seed=seed, steps=planned or steps))
    environment = {"python": "3.11.0", "git": "abc", "packages": {"torch": "2.13.0"}, "hardware": {"cores": 2}, "threads": 2}
    (folder / "environment.json").write_text(json.dumps(environment))
    from gapo_cli.training.learners.policy_gradient import PolicyGradient  # it imports torch

    files = RunFiles(folder)
    files.write_learner(PolicyGradient(), planned or steps)
    baselines = measure_baselines([task(number) for number in range(40)])
    for step in range(steps + 1):
        row = {"step": step, "time_s": 70.0 * step}
        if step:
            row |= {
                "critic/score/mean": 0.5 + step / 10,
                "actor/pg_clipfrac": 0.01 * step,
                "actor/entropy": 0.4,
                "actor/grad_norm": 0.3,
            }
            row |= {f"group/{name}_frac": 0.2 for name in ("normal", "left", "right", "symmetric")} | {
                "group/zero_std_frac": 0.2
            }
            write_groups(folder / "rollouts" / f"step-{step:05d}.parquet", step, groups(), lambda group: f"<prompt> {HOSTILE}")
        if step in (0, steps):
            summary = summarise(answers := evaluation(10 if step == 0 else 20))
            files.write_evaluation(step, answers, summary, baselines)
            row |= summary.metrics()
        append_jsonl(files.metrics, row)
    best = folder / "checkpoints" / "best" / "best.json"
    best.parent.mkdir(parents=True)
    best.write_text(json.dumps({"step": steps, "metric": "val/exact_match", "value": 0.5}))
    return folder
