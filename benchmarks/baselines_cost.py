"""What the baselines' updates cost: DPO's packed against padded, and PPO's, with either critic, against GRPO's.

Models, prompts, answers and rewards are those of benchmarks/zero_advantages.py. A pair is the best and the worst answer of a group,
and DPO's update is a batch of one pair a group: a pass of the reference, one that learns, an optimizer step. Before anything is
timed, both layouts must give the same loss and gradient. PPO and GRPO learn from the same groups as `algorithm=ppo` and
`algorithm=grpo` do, with a KL term, so that no answer is left out of either: PPO's update is GRPO's with values, advantages of
tokens and the critic's own update. Sampling is the same in both; a step is an update and the rollouts before it.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from measure import Costs, Rival, cost_row, costs, machine
from tables import between, command_of, publish, seconds, size, table_line, times
from zero_advantages import MODELS, TASK, sampling_again, sizes

from gapo_cli.config.algorithm import CRITICS, AlgorithmConfig, PPOConfig
from gapo_cli.config.preference import PreferenceConfig
from gapo_cli.config.sampling import EvaluationConfig
from gapo_cli.config.trainer import TrainerConfig
from gapo_cli.interfaces import QuietDisplay
from gapo_cli.models.critic import make_critic
from gapo_cli.models.loaded import LoadedModel
from gapo_cli.models.reference import make_reference
from gapo_cli.processes.ranks import ALONE
from gapo_cli.records import Group
from gapo_cli.training.batches.pair_sources import Pairs
from gapo_cli.training.batches.pairs import Pair
from gapo_cli.training.guards import SkipGuard
from gapo_cli.training.learners.actor_critic import ActorCriticUpdate
from gapo_cli.training.learners.optimizer import Optimizer
from gapo_cli.training.learners.policy_update import PolicyUpdate
from gapo_cli.training.learners.preference import PreferenceLearning
from gapo_cli.training.objectives.kl import LowVarKL
from gapo_cli.training.out_of_memory import no_advice
from gapo_cli.training.run_context import Clock

GRADIENT_TOLERANCE = 1e-4
KL = {"kl": LowVarKL(0.01)}


def best_and_worst(group: Group) -> Pair:
    chosen, rejected = (
        group.completions[int(place)].token_ids for place in (np.argmax(group.rewards), np.argmin(group.rewards))
    )
    return Pair(group.prompt_token_ids, chosen, rejected)


def preference(
    policy: LoadedModel, reference: Any, trainer: TrainerConfig, pairs: list[Pair], layout: str
) -> PreferenceLearning:
    """The learner of stage=dpo with what it asks of a run, and no run."""
    experiment = SimpleNamespace(
        dpo=PreferenceConfig(pairs_per_batch=len(pairs), optimizer=trainer.optimizer),
        trainer=replace(trainer, layout=layout), seed=0, evaluation=EvaluationConfig(),
    )  # fmt: skip
    run = SimpleNamespace(experiment=experiment, display=QuietDisplay(), guard=SkipGuard(), clock=Clock(), ranks=ALONE)
    return PreferenceLearning(run, policy, reference, Pairs((TASK,) * len(pairs), tuple(pairs), 0), (), None, None, no_advice)


def gradient(learning: PreferenceLearning) -> torch.Tensor:
    learning.accumulate(learning.pairs)
    found = torch.cat([parameter.grad.flatten() for parameter in learning.optimizer.parameters if parameter.grad is not None])
    for parameter in learning.optimizer.parameters:
        parameter.grad = None
    return found


def compare_layouts(name: str, given: argparse.Namespace) -> list[dict[str, Any]]:
    """Raises AssertionError unless both layouts give one gradient."""
    policy, trainer, groups = MODELS[name](given)
    reference = make_reference(policy, policy.config, "float32", at_start=True)
    pairs = [best_and_worst(group) for group in groups]
    ours, rival = (preference(policy, reference, trainer, pairs, layout) for layout in ("packed", "padded"))
    expected = gradient(rival)
    error = float((gradient(ours) - expected).norm() / expected.norm())
    if not error < GRADIENT_TOLERANCE:
        raise AssertionError(f"{name}: the gradient differs by {error} relative")
    batch = range(len(pairs))
    found = costs(
        [Rival("DPO, packed", partial(ours.learn, 1, batch)), Rival("DPO, padded", partial(rival.learn, 1, batch))],
        given.repeats,
    )
    return [cost_row(f"{name}: {found[0].name}", *found)]


def updates(policy: LoadedModel, trainer: TrainerConfig, groups: list[Group]) -> list[Rival]:
    """One with each critic, and one without."""
    reference, fresh = make_reference(policy, policy.config, "float32", at_start=True), [True] * len(groups)
    steps = trainer.steps

    def policy_update(algorithm: AlgorithmConfig) -> PolicyUpdate:
        optimizer = Optimizer(policy.model.parameters(), trainer.optimizer, steps)
        return PolicyUpdate(policy, reference, optimizer, algorithm, trainer, 1.0)

    rivals = []
    ppo = PPOConfig(replace(trainer.optimizer, learning_rate=10 * trainer.optimizer.learning_rate))
    for kind in CRITICS:
        critic = make_critic(policy, kind)
        actor = policy_update(AlgorithmConfig("ppo", critic=kind, ppo=ppo, terms=KL))
        update = ActorCriticUpdate(actor, critic, Optimizer(critic.weights().values(), ppo.optimizer, steps), ppo)
        rivals.append(Rival(f"PPO, critic={kind}", partial(update.update, groups, fresh, warming=False)))
    grpo = policy_update(AlgorithmConfig("grpo", terms=KL))
    return [*rivals, Rival("GRPO", partial(grpo.update, groups, fresh))]


def compare_critics(name: str, given: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each critic: how many times GRPO's its update takes, and its step."""
    policy, trainer, groups = MODELS[name](given)
    sampling = sampling_again(policy, groups)
    sampling.call()  # warms up
    *critics, grpo, rollouts = costs([*updates(policy, trainer, groups), sampling], given.repeats)
    return [cost_row(f"{name}: {grpo.name}", grpo, one) | in_a_step(grpo, one, rollouts) for one in critics]


def in_a_step(grpo: Costs, ppo: Costs, rollouts: Costs) -> dict[str, list[float]]:
    """`step_ratio`: PPO's update and the rollouts by GRPO's update and the rollouts, repeat by repeat."""
    triples = zip(grpo.cpu_seconds, ppo.cpu_seconds, rollouts.cpu_seconds, strict=True)
    return {"rollout_seconds": list(rollouts.cpu_seconds), "step_ratio": [(b + r) / (a + r) for a, b, r in triples]}


def line_of(row: dict[str, Any]) -> str:
    cpu, wall, peak = row["cpu_seconds"], row["wall_seconds"], row["peak_bytes"]
    return table_line([
        row["setting"], row["rival"], seconds(cpu["ours"]), seconds(cpu["rival"]), f"**{times(cpu['ratio_median'])}**", between(cpu),
        times(wall["ratio_median"]), *in_a_step_in_words(row), *(size(peak[whose]) for whose in ("ours", "rival")),
    ])  # fmt: skip


def in_a_step_in_words(row: dict[str, Any]) -> list[str]:
    if "step_ratio" not in row:
        return ["", ""]
    return [seconds(row["rollout_seconds"]), f"**{times(statistics.median(row['step_ratio']))}**"]


def main() -> None:
    arguments = sizes(__doc__)
    given = arguments.parse_args()
    torch.set_num_threads(given.threads)
    rows = []
    for name in given.models:
        for compare in (compare_layouts, compare_critics):
            found = compare(name, given)
            rows += found
            print("\n".join(line_of(row) for row in found), flush=True)
    publish(
        Path(__file__).stem,
        "Updates of DPO and PPO",
        ["update", "against", "CPU, the first", "CPU, the second", "the second takes", "lowest to highest", "wall ratio",
         "rollouts", "a step takes", "peak memory, the first", "the second"],
        [line_of(row) for row in rows],
        "Whole updates in float32. A step: the update and the rollouts, of PPO by those of GRPO. Both layouts' gradients within "
        f"{GRADIENT_TOLERANCE} (relative) of each other, "
        f"checked before the timing. Medians of {given.repeats} interleaved repeats.",
        machine("torch", "transformers") | {"threads used": str(given.threads)},
        rows,
        command_of(__file__, arguments, given),
    )  # fmt: skip


if __name__ == "__main__":
    main()
