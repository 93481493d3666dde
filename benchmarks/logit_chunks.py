"""Log-probabilities in chunks (gapo_cli/models/packing/chunked_logprobs.py): what they save in memory and cost in time.

Head, softmax and backward of random hidden states, with the sizes of Qwen2.5-0.5B. Before the timing every chunk size must give
the log-probabilities and gradients of the whole.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import torch
from measure import Rival, cost_row, costs, machine
from tables import between, command_of, publish, seconds, size, table_line, times

from gapo_cli.models.linear import use_onednn
from gapo_cli.models.packing.chunked_logprobs import chunked_distribution, token_distribution

TOLERANCE = 1e-4


def learn(head: torch.nn.Linear, hidden: torch.Tensor, labels: torch.Tensor, chunk: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The log-probabilities (N,) and the gradient of `hidden`; the head's is added to its own."""
    states = hidden.detach().requires_grad_()
    if chunk:
        logprobs, _ = chunked_distribution(head, states, labels, 1.0, "none", chunk)
    else:
        logprobs, _ = token_distribution(head, states, labels, 1.0, "none")
    logprobs.mean().backward()
    return logprobs.detach(), states.grad


def check_equal(head: torch.nn.Linear, hidden: torch.Tensor, labels: torch.Tensor, chunk: int) -> None:
    """Raises AssertionError unless chunks give what the whole gives. Warms both up."""
    found = []
    for tokens in (0, chunk):
        head.weight.grad.zero_()
        found.append((*learn(head, hidden, labels, tokens), head.weight.grad.clone()))
    for whole, chunked in zip(*found, strict=True):
        error = ((whole - chunked).norm() / whole.norm()).item()
        if not error < TOLERANCE:
            raise AssertionError(f"chunks of {chunk}: {error} from the whole, relative")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=1024)
    parser.add_argument("--width", type=int, default=896, help="of the hidden states")
    parser.add_argument("--vocabulary", type=int, default=151_936)
    parser.add_argument("--chunks", type=int, nargs="+", default=[512, 256, 128, 64], help="tokens a chunk")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    holder = torch.nn.Sequential(torch.nn.Linear(given.width, given.vocabulary, bias=False))
    use_onednn(holder)
    (head,) = holder
    head.weight.grad = torch.zeros_like(head.weight)
    hidden = torch.randn(given.tokens, given.width)
    labels = torch.randint(given.vocabulary, (given.tokens,))
    for chunk in given.chunks:
        check_equal(head, hidden, labels, chunk)
    rivals = [Rival(str(chunk), partial(learn, head, hidden, labels, chunk)) for chunk in [0, *given.chunks]]
    whole, *chunked = costs(rivals, given.repeats)
    rows = [cost_row(one.name, whole, one) for one in chunked]  # how many times the whole's
    lines = [table_line(["all (`0`)", size(whole.peak_bytes), seconds(whole.cpu_seconds), "", "", seconds(whole.wall_seconds)])]
    for row in rows:
        cpu, wall, peak = row["cpu_seconds"], row["wall_seconds"], row["peak_bytes"]
        lines.append(table_line([
            row["setting"], size(peak["rival"]), seconds(cpu["rival"]), times(cpu["ratio_median"]), between(cpu), seconds(wall["rival"]),
        ]))  # fmt: skip
    publish(
        Path(__file__).stem,
        "Log-probabilities in chunks",
        ["tokens a chunk", "peak memory", "CPU", "to all at once", "lowest to highest", "wall"],
        lines,
        f"Head, softmax and backward of {given.tokens:,} tokens, width {given.width}, vocabulary {given.vocabulary:,}, float32. Peak memory "
        f"beyond the head and its gradient. Log-probabilities and gradients within {TOLERANCE} (relative) of the whole's, checked "
        f"before the timing. Medians of {given.repeats} interleaved repeats.",
        machine("torch") | {"threads used": str(given.threads)},
        rows,
        command_of(__file__, parser, given),
    )


if __name__ == "__main__":
    main()
