"""What the terms of robustness cost: an update with `jacobian` and `smoothness` against one without, and their share of a step.

The groups are those of benchmarks/zero_advantages.py: the lengths and rewards of a recorded step of the nano model, and SmolLM2 with
prompts of 512 tokens. Every update computes every completion, as with the KL term of algorithm=grpo, whose reference pass is left out
here, and makes two optimizer steps, for smoothness begins with the second. A step is an update and the rollouts before it: answers of
the groups' mean length from engine=torch. All are called one after the other, repeat by repeat.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from measure import Costs, Rival, cost_row, costs, machine
from tables import between, command_of, publish, seconds, table_line, times
from zero_advantages import MODELS, in_three_ways, sampling_again, sizes

from gapo_cli.config.algorithm import AlgorithmConfig
from gapo_cli.training.learners.optimizer import Optimizer
from gapo_cli.training.learners.policy_update import PolicyUpdate
from gapo_cli.training.objectives.jacobian import Jacobian
from gapo_cli.training.objectives.smoothness import Smoothness

TERMS: Mapping[str, Callable[[], Mapping[str, Any]]] = {
    "none": dict,
    "jacobian, a quarter of the prompts": lambda: {"jacobian": Jacobian(1.0, share=0.25)},
    "jacobian, every prompt": lambda: {"jacobian": Jacobian(1.0, share=1.0)},
    "smoothness": lambda: {"smoothness": Smoothness(1.0)},
    "jacobian, a quarter, and smoothness": lambda: {"jacobian": Jacobian(1.0, share=0.25), "smoothness": Smoothness(1.0)},
}
"""Built for each model: smoothness keeps a copy of its weights."""


def compare(name: str, given: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each of TERMS but the first, which is what they stand against."""
    policy, trainer, groups = MODELS[name](given)
    groups, _, _ = in_three_ways(groups)
    trainer = replace(trainer, prompts_per_mini_batch=-(-len(groups) // 2))
    fresh = [True] * len(groups)
    rivals = []
    for terms, built in TERMS.items():
        optimizer = Optimizer(policy.model.parameters(), trainer.optimizer, trainer.steps)
        updater = PolicyUpdate(policy, None, optimizer, AlgorithmConfig("grpo", terms=built()), trainer, 1.0)
        rivals.append(Rival(terms, partial(updater.update, groups, fresh)))
    rivals.append(sampling_again(policy, groups))
    for rival in rivals:
        rival.call()
    plain, *others, rollouts = costs(rivals, given.repeats)
    return [row_of(name, plain, one, rollouts) for one in others]


def row_of(name: str, plain: Costs, ours: Costs, rollouts: Costs) -> dict[str, Any]:
    """`share_of_step`: what the term adds to a step, of that step."""
    shares = [
        (with_term - without) / (with_term + sampled)
        for with_term, without, sampled in zip(ours.cpu_seconds, plain.cpu_seconds, rollouts.cpu_seconds, strict=True)
    ]
    of_update = [1 - without / with_term for with_term, without in zip(ours.cpu_seconds, plain.cpu_seconds, strict=True)]
    return cost_row(name, plain, ours) | {
        "share_of_update": of_update,
        "share_of_step": shares,
        "rollout_seconds": list(rollouts.cpu_seconds),
    }


def line_of(row: dict[str, Any]) -> str:
    cpu = row["cpu_seconds"]
    return table_line([
        row["setting"], row["rival"], seconds(cpu["ours"]), seconds(cpu["rival"]), times(cpu["ratio_median"]), between(cpu),
        seconds(row["rollout_seconds"]), f"{statistics.median(row['share_of_update']):.0%}",
        f"**{statistics.median(row['share_of_step']):.0%}**",
    ])  # fmt: skip


def main() -> None:
    arguments = sizes(__doc__)
    given = arguments.parse_args()
    torch.set_num_threads(given.threads)
    rows = []
    for name in given.models:
        rows += compare(name, given)
        print("\n".join(line_of(row) for row in rows[1 - len(TERMS) :]), flush=True)
    publish(
        Path(__file__).stem,
        "What the terms of robustness cost",
        ["update of", "terms", "CPU, without", "with", "ratio", "lowest to highest", "rollouts",
         "of an update", "of a step"],
        [line_of(row) for row in rows],
        f"An update of two optimizer steps in float32 that computes every completion. \"Of a step\": what the terms add, as a share of "
        f"the update with them and the rollouts. Medians of {given.repeats} interleaved repeats.",
        machine("torch", "transformers") | {"threads used": str(given.threads)},
        rows,
        command_of(__file__, arguments, given),
    )  # fmt: skip


if __name__ == "__main__":
    main()
