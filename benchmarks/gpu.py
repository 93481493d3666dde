"""What only a GPU can say, in one run of under 8 minutes: for the day that one is there.

    python benchmarks/gpu.py                         # cuda, results/gpu.json
    python benchmarks/gpu.py --tiny --device cpu     # the same parts on next to nothing, on any machine

It needs torch, transformers and this package (the steps with adapters also peft), no network and no weights: models are random, in the
shapes of Qwen2.5-Coder-0.5B, 1.5B and 7B. Each part has a budget of seconds, and the file is written after each. In order:

agreement       log-probabilities and gradients of packed rows (flex_attention) and masked rows (a dense mask) against padded ones
recompilations  how many kinds of rows torch compiled flex_attention for, over rows of many lengths (torch stops at 8)
doctor          `gapo doctor` with the smallest model, in float32 and bfloat16
then for each size
passes          a forward and backward pass of a group of 8 answers of 256 tokens to a prompt of 4,096: packed, masked, padded; time,
                peak memory, tokens a second
memory          the peak of a training update beside `gapo plan`'s
steps           ten whole steps (7B: of adapters): sampling, update; seconds and tokens a second
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import io
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from measure import machine
from our_step import OurStep
from random_qwen import SIZES, TINY, Size, prompts_and_completions, random_groups, random_model, random_policy, tokenizer_of
from timed_parts import TimedParts

from gapo_cli.cli.entry import run_command
from gapo_cli.config.algorithm import AlgorithmConfig
from gapo_cli.config.sampling import SamplingConfig
from gapo_cli.config.trainer import OptimizerConfig, TrainerConfig
from gapo_cli.models.loaded import LoadedModel
from gapo_cli.models.packing.layout import LAY_OUT, TokenBatch
from gapo_cli.models.packing.logprobs import completion_logprobs
from gapo_cli.planning.footprint import Settings, memory
from gapo_cli.training.learners.optimizer import Optimizer
from gapo_cli.training.learners.planned_rollouts import at_limit
from gapo_cli.training.learners.policy_update import PolicyUpdate

MINUTES = 7.75
UPDATES = 3
OPTIMIZER = OptimizerConfig(1e-5)
DTYPES = ("float32", "bfloat16")


@dataclass(frozen=True)
class Scale:
    """Tokens of prompts and answers. `rows`: padded rows of one pass; `steps`: whole steps a size;
    `examined`: by gapo doctor."""

    sizes: tuple[Size, ...] = SIZES
    prompt: int = 4096
    answer: int = 256
    group_size: int = 8
    rows: int = 2
    repeats: int = 5
    steps: int = 10
    step_answer: int = 64
    examined: tuple[str, ...] = DTYPES
    lengths: tuple[int, ...] = (1, 60, 128, 129, 200, 256, 300, 511, 700, 1025, 1900, 3000)


TINY_SCALE = Scale(
    TINY, prompt=150, answer=8, group_size=3, repeats=1, steps=2, step_answer=4, examined=DTYPES[:1], lengths=(1, 60, 129)
)


def synchronize(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


def peak_of(device: str, call: Callable[[], object]) -> tuple[float, int | None]:
    """Seconds of the call, and the bytes that were allocated at its peak, weights included; None on a CPU."""
    synchronize(device)
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats()
    started = time.perf_counter()
    call()
    synchronize(device)
    return time.perf_counter() - started, None if device == "cpu" else torch.cuda.max_memory_allocated()


def learn(policy: LoadedModel, batches: list[TokenBatch]) -> torch.Tensor:
    """Forward and backward of the sum of log-probabilities (N,), which are returned."""
    policy.model.zero_grad(set_to_none=True)
    found = []
    for batch in batches:
        with policy.autocast():
            logprobs = completion_logprobs(policy.model, batch).logprobs
        (logprobs.sum() / 1000).backward()
        found.append(logprobs.detach())
    return torch.cat(found)


def gradient_of(policy: LoadedModel) -> torch.Tensor:
    return torch.cat([one.grad.flatten().float() for one in policy.model.parameters() if one.grad is not None])


def apart(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


def agreement(scale: Scale, device: str, found: dict[str, Any]) -> None:
    """Relative distances to padded rows in float32: the layouts of a precision should be as far from it as each other."""
    size = scale.sizes[0]
    long, short = (
        random_groups(size.shape.vocabulary, 1, length, scale.answer // 4 + 1, scale.group_size, seed=length)
        for length in (scale.prompt // 3, 20)
    )
    prompts, completions = prompts_and_completions([*long, *short])
    expected = None
    for dtype in DTYPES:
        policy = random_policy(size, device, dtype)
        for layout in ("padded", "masked", "packed"):
            logprobs = learn(policy, [LAY_OUT[layout](prompts, completions, 0).to(device)])
            gradient = gradient_of(policy)
            expected = expected or (logprobs, gradient)
            found[f"{dtype}, {layout}"] = {
                "logprobs_max": float((logprobs - expected[0]).abs().max()),
                "logprobs_apart": apart(logprobs, expected[0]),
                "gradient_apart": apart(gradient, expected[1]),
            }


def recompilations(scale: Scale, device: str, found: dict[str, Any]) -> None:
    from torch._dynamo.utils import counters

    size = scale.sizes[0]
    policy = random_policy(size, device, "bfloat16")
    before = counters["stats"]["unique_graphs"]
    for length in scale.lengths:
        prompts, completions = prompts_and_completions(random_groups(size.shape.vocabulary, 2, length, 9, 3, seed=length))
        batch = LAY_OUT["packed"](prompts, completions, 0).to(device)
        learn(policy, [batch])
        with torch.no_grad(), policy.autocast():
            completion_logprobs(policy.model, batch)
    found["compiled"] = counters["stats"]["unique_graphs"] - before
    found["rows"] = len(scale.lengths)


def doctor(scale: Scale, device: str, found: dict[str, Any]) -> None:
    size = scale.sizes[0]
    with tempfile.TemporaryDirectory() as folder:
        random_model(size, device).to(torch.bfloat16).save_pretrained(folder)
        tokenizer_of(size.shape.vocabulary).save_pretrained(folder)
        for dtype in scale.examined:
            said = io.StringIO()
            words = [
                "model=hf",
                f"model.path={folder}",
                "model.context_length=512",
                "prompt=nano",
                f"sampling.max_new_tokens={scale.step_answer}",
            ]
            words += [
                f"trainer.device={device}",
                f"trainer.dtype={dtype}",
                "engine.kv_cache_gib=1",
                f"trainer.threads={torch.get_num_threads()}",
                "--json",
            ]
            with contextlib.redirect_stdout(said):
                found[dtype] = {"exit": run_command(["doctor", *words])}
            found[dtype]["checks"] = json.loads(said.getvalue())["checks"]


def passes(size: Size, scale: Scale, device: str, found: dict[str, Any]) -> None:
    policy = random_policy(size, device, "bfloat16")
    groups = random_groups(size.shape.vocabulary, 1, scale.prompt, scale.answer, scale.group_size)
    (prompt,), (answers,) = prompts_and_completions(groups)
    cut = [answers[start : start + scale.rows] for start in range(0, scale.group_size, scale.rows)]
    ways = {
        "packed": [LAY_OUT["packed"]([prompt], [answers], 0)],
        "padded": [LAY_OUT["padded"]([prompt], [some], 0) for some in cut],
        "masked": [LAY_OUT["masked"]([prompt], [answers], 0)],
    }
    for batches in ways.values():
        batches[:] = [one.to(device) for one in batches]
    for name, batches in ways.items():
        started = time.perf_counter()
        learn(policy, batches)
        found[name] = {"first": time.perf_counter() - started, "seconds": [], "peak_bytes": []}
    for _ in range(scale.repeats):
        for name, batches in ways.items():
            seconds, peak = peak_of(device, partial(learn, policy, batches))
            found[name]["seconds"].append(seconds)
            found[name]["peak_bytes"].append(peak)
    answered = scale.group_size * scale.answer
    for name in ways:
        median = statistics.median(found[name]["seconds"])
        found[name] |= {"median": median, "answer_tokens_per_second": answered / median}
        found[name]["times_packed"] = median / found["packed"]["median"]


def trainer_of(size: Size, device: str, prompts: int) -> TrainerConfig:
    return TrainerConfig(
        steps=1, prompts_per_step=prompts, prompts_per_mini_batch=prompts, optimizer=OPTIMIZER, max_tokens_per_microbatch=12_288,
        device=device, dtype="bfloat16", gradient_checkpointing=size.checkpointing,
    )  # fmt: skip


def planned_and_measured(size: Size, scale: Scale, device: str, found: dict[str, Any]) -> None:
    trainer, sampling = trainer_of(size, device, 2), SamplingConfig(scale.group_size, scale.answer)
    algorithm = AlgorithmConfig("grpo")
    settings = Settings(size.shape, size.config("bfloat16"), trainer, algorithm, sampling, engine=None)
    parts = memory(settings, at_limit(sampling, [scale.prompt] * 2)).update
    found["planned_bytes"], found["planned_parts"] = sum(parts.values()), dict(parts)
    policy = random_policy(size, device, "bfloat16")
    update = PolicyUpdate(policy, None, Optimizer(policy.model.parameters(), OPTIMIZER, UPDATES), algorithm, trainer, 1.0)
    for number in range(UPDATES):
        groups = random_groups(size.shape.vocabulary, 2, scale.prompt, scale.answer, scale.group_size, seed=number)
        found["update_seconds"], found["measured_bytes"] = peak_of(device, partial(update.update, groups, [True] * 2))
    if found["measured_bytes"]:
        found["planned_over_measured"] = found["planned_bytes"] / found["measured_bytes"]


def steps(size: Size, scale: Scale, device: str, found: dict[str, Any]) -> None:
    """Of the product's parts: sampling by engine=torch, rewards, advantages, update."""
    policy = random_policy(size, device, "bfloat16")
    prompts = [one.prompt_token_ids for one in random_groups(size.shape.vocabulary, 1, scale.prompt, 1, 1)]
    sampling = SamplingConfig(scale.group_size, scale.step_answer)
    tokens = scale.group_size * (scale.prompt + scale.step_answer)
    found |= {"seconds": [], "tokens_per_second": []}
    with tempfile.TemporaryDirectory() as folder:
        ours = OurStep(policy, policy.config, prompts, sampling, AlgorithmConfig("grpo"), OPTIMIZER, Path(folder))
        for number in range(1, scale.steps + 1):
            seconds, found["peak_bytes"] = peak_of(device, partial(ours.step, number))
            found["seconds"].append(seconds)
            found["tokens_per_second"].append(tokens / seconds)


def emptied(part: Callable[[dict[str, Any]], None], found: dict[str, Any]) -> None:
    """A part that leaves nothing on the device to the next."""
    try:
        part(found)
    finally:
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="shapes that say nothing, to see that all parts run")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="of all parts together")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "gpu.json")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of the CPU")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if given.device != "cpu" and not torch.cuda.is_available():
        parser.error(f"--device={given.device}: torch finds no CUDA device here; try --tiny --device cpu")
    scale, device = TINY_SCALE if given.tiny else Scale(), given.device
    about = machine("torch", "transformers") | {"device": device if device == "cpu" else torch.cuda.get_device_name()}
    parts = TimedParts(given.output, 60 * given.minutes, about)
    whole = {"agreement": (agreement, 60), "recompilations": (recompilations, 30), "doctor": (doctor, 60)}
    for name, (part, budget) in whole.items():
        parts.run(name, budget, partial(emptied, partial(part, scale, device)))
    of_size = {"passes": (passes, 45), "memory": (planned_and_measured, 25), "steps": (steps, 35)}
    for size in scale.sizes:
        for name, (part, budget) in of_size.items():
            parts.run(f"{name}, {size.name}", budget, partial(emptied, partial(part, size, scale, device)))
    print(f"written to {given.output}")


if __name__ == "__main__":
    main()
