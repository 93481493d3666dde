"""What the worker can be asked to do. Every job runs the package as it is; only the compiled kernel of flex_attention is replaced
(block_kernel.py), and files are loaded outside of the pretence."""

from __future__ import annotations

import contextlib
import io
import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any
from unittest import mock

import block_kernel
import numpy as np
import torch
from deliberate_faults import REFUSED, WRONG, planted
from parts import edit_task
from pretended_device import Counts, outside, pretended_cuda

from gapo_cli.cli.entry import run_command
from gapo_cli.config.algorithm import AlgorithmConfig
from gapo_cli.config.model import LoraConfig, ModelConfig
from gapo_cli.config.sampling import SamplingConfig
from gapo_cli.config.trainer import OptimizerConfig, TrainerConfig
from gapo_cli.engines.torch_engine import TorchEngine
from gapo_cli.models import load
from gapo_cli.models.loaded import LoadedModel
from gapo_cli.models.packing import flex_attention
from gapo_cli.models.packing.layout import LAY_OUT
from gapo_cli.models.packing.logprobs import completion_logprobs
from gapo_cli.models.policy import load_policy
from gapo_cli.models.reference import make_reference
from gapo_cli.records import Completion, Group
from gapo_cli.training.learners.optimizer import Optimizer
from gapo_cli.training.learners.policy_update import PolicyUpdate
from gapo_cli.training.objectives.entropy import EntropyBonus
from gapo_cli.training.objectives.kl import LowVarKL

NANO = ModelConfig("nano", "asset:nano-noisy", context_length=512)
# the second prompt and its first completion are longer than a block of 128 tokens; a completion of one token has no inputs
PROMPTS = [[5, 6, 7, 8, 9], [2 + number % 250 for number in range(420)]]
COMPLETIONS = [[[10, 11, 12], [13]], [[30 + number for number in range(140)], [19, 20], [21] * 9]]


def warm_up() -> None:
    """transformers and peft look once, when they first load something, at what device there is."""
    torch.set_num_threads(1)
    load_policy(replace(NANO, lora=LoraConfig(rank=2)), trainer("cpu"))
    load._load_weights = outside(load._load_weights)


def trainer(device: str, dtype: str = "float32") -> TrainerConfig:
    return TrainerConfig(1, 2, 2, OptimizerConfig(1e-3), device=device, dtype=dtype)


@contextlib.contextmanager
def on(device: str) -> Iterator[None]:
    if device == "cpu":
        yield
        return
    with pretended_cuda(), mock.patch.object(flex_attention, "_compiled", lambda: block_kernel.attend):
        yield


def tiny(folder: str) -> ModelConfig:
    return ModelConfig("tiny", folder, context_length=256)


def passes(model: str, device: str, dtype: str = "float32", layouts: Sequence[str] = tuple(LAY_OUT)) -> dict[str, Any]:
    """By layout the log-probabilities and the gradient of the model in the folder `model`, loaded on the device."""
    with on(device):
        policy = load_policy(tiny(model), trainer(device, dtype))
        return {layout: of_layout(policy, layout) for layout in layouts}


def of_layout(policy: LoadedModel, layout: str) -> dict[str, list[float]]:
    batch = LAY_OUT[layout](PROMPTS, COMPLETIONS, 0).to(policy.device)
    policy.model.zero_grad()
    with policy.autocast():
        logprobs = completion_logprobs(policy.model, batch, entropy="value").logprobs
    weights = torch.linspace(-1, 2, len(logprobs)).to(logprobs.device)
    (logprobs * weights).sum().backward()
    gradient = torch.cat([one.grad.flatten().cpu() for one in policy.model.parameters()])
    return {"logprobs": logprobs.detach().cpu().tolist(), "gradient": gradient.tolist()}


def tokens(model: str, device: str) -> list[list[list[int]]]:
    """What the engine samples for a few prompts, token by token."""
    with on(device):
        engine = TorchEngine(load_policy(tiny(model), trainer(device)), max_rows=64, kv_cache_gib=0.1)
        prompts = [[5 + number * 7 % 250 for number in range(length)] for length in (9, 30, 30, 170)]
        found = engine.generate(prompts, SamplingConfig(group_size=3, max_new_tokens=12), [11, 12, 13, 14])
        return [[list(one.token_ids) for one in group] for group in found]


def update(model: str, device: str, dtype: str = "float32") -> dict[str, Any]:
    """Two optimizer steps of one rollout batch, with KL, entropy and importance weights: the metrics and the weights after."""
    with on(device):
        settings = replace(trainer(device, dtype), prompts_per_mini_batch=1, max_tokens_per_microbatch=600)
        policy = load_policy(tiny(model), settings)
        reference = make_reference(policy, tiny(model), "float32", at_start=True)
        optimizer = Optimizer(policy.model.parameters(), settings.optimizer, total_updates=2)
        algorithm = AlgorithmConfig("grpo", importance_cap=2.0, terms={"kl": LowVarKL(0.1), "entropy": EntropyBonus(0.01)})
        metrics = PolicyUpdate(policy, reference, optimizer, algorithm, settings, 1.0).update(groups(), [True, True])
        weights = torch.cat([one.detach().flatten().cpu() for one in policy.model.parameters()])
        return {"metrics": metrics, "weights": weights.tolist()}


def groups() -> list[Group]:
    return [
        Group(edit_task(number), tuple(prompt), tuple(map(completion, found)), {}, *[np.linspace(-1, 1, len(found))] * 3)
        for number, (prompt, found) in enumerate(zip(PROMPTS, COMPLETIONS, strict=True))
    ]


def completion(tokens: list[int]) -> Completion:
    return Completion(tuple(tokens), (-5.0,) * len(tokens), "", "stop")


def with_fault(name: str, call: str, **arguments: Any) -> Any:
    """Another job by a package that has one of the faults in it."""
    with planted((REFUSED | WRONG)[name]):
        return globals()[call](**arguments)


def evaluate(expression: str) -> str:
    """What Python makes of it, where `there` is [0, 1, 2, 3] on the device, and `here` on the CPU; `autocast` calls a function in
    bfloat16."""

    def autocast(compute: Callable[[], Any]) -> Any:
        with torch.autocast("cuda", torch.bfloat16):
            return compute()

    with on("cuda"):
        here = torch.arange(4.0)
        names = {"torch": torch, "pickle": pickle, "autocast": autocast, "here": here, "there": here.to("cuda")}
        return repr(eval(expression, names))


def command(words: list[str], device: str) -> dict[str, Any]:
    """`gapo WORDS`, its exit code, what it said and how many operations ran on the device."""
    before, said = Counts.operations, io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said), on(device):
        code = run_command(words)
    return {"code": code, "said": said.getvalue(), "operations": Counts.operations - before}
