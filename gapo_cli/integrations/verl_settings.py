"""gapo's settings as verl's, for verl 0.9.1: one override a line, as `python -m verl.trainer.main_ppo` takes them.

Overrides and no yaml file: verl then refuses a key that its version does not have. `$FOLDER` stands for the folder of the handover,
which run.sh writes out.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gapo_cli.config.checks import positive
from gapo_cli.experiment import Experiment
from gapo_cli.training.objectives.entropy import EntropyBonus
from gapo_cli.training.objectives.kl import LowVarKL

VERL = "0.9.1"
ESTIMATOR_PREFIX = "gapo_cli."
OWN_ESTIMATOR = "own"
"""The estimator whose class is none of those that ship with gapo: its `_target_` is among its settings."""
AGENT_LOOP = "gapo_cli"
PLAIN_SCORE = "gapo_score"
"""The score before the length penalty; dynamic sampling drops groups in which it is the same for all."""
PLUGIN = "gapo_cli.integrations.verl"
FOLDER = "$FOLDER"
TRAIN_FILE, VALIDATION_FILE, PARTS_FILE, TOKENIZER_FOLDER = "train.parquet", "val.parquet", "parts.json", "tokenizer"
CHECKPOINTS = "checkpoints"
AGGREGATIONS = {
    "token-mean": "token-mean",
    "seq-mean-token-mean": "seq-mean-token-mean",
    "seq-mean-token-sum": "seq-mean-token-sum",
    "constant": "seq-mean-token-sum-norm",
}
PRECISIONS = {"float32": "fp32", "bfloat16": "bf16"}
PLAIN = re.compile(r"[\w./:\-]+", re.ASCII)
"""Texts that Hydra's grammar reads as they are."""


@dataclass(frozen=True)
class Cluster:
    """Where verl runs: `gpus` of each of `nodes` machines."""

    nodes: int = 1
    gpus: int = 8

    def __post_init__(self) -> None:
        positive("gapo handover verl: --", nodes=self.nodes, gpus=self.gpus)

    @property
    def world(self) -> int:
        return self.nodes * self.gpus


@dataclass(frozen=True)
class Handed:
    """What the settings say of the rest of the folder. `model`: a folder or a hub name; `estimator`: its name, as
    `shipped_estimators` has it or OWN_ESTIMATOR, and `estimator_settings`; `rows`: of the training file; `longest_prompt`: tokens."""

    model: str
    estimator: str
    estimator_settings: Mapping[str, Any]
    rows: int
    longest_prompt: int


def settings_lines(experiment: Experiment, cluster: Cluster, handed: Handed) -> list[str]:
    """The settings file: overrides under a line of comment that says which part of gapo's settings they are from."""
    lines: list[str] = []
    for title, overrides in sections(experiment, cluster, handed):
        lines += [f"# {title}", *(f"{key}={written(value)}" for key, value in overrides.items()), ""]
    return lines[:-1]


def sections(experiment: Experiment, cluster: Cluster, handed: Handed) -> Iterator[tuple[str, dict[str, Any]]]:
    yield "data", of_data(experiment, handed)
    yield "model", of_model(experiment, handed)
    yield "estimator and reward", of_parts(handed)
    yield "algorithm", of_algorithm(experiment)
    yield "sampling and evaluation", of_sampling(experiment)
    yield "trainer.optimizer", of_optimizer(experiment)
    yield "trainer", of_trainer(experiment, cluster, handed)


def of_data(experiment: Experiment, handed: Handed) -> dict[str, Any]:
    return {
        "data.train_files": f"{FOLDER}/{TRAIN_FILE}",
        "data.val_files": f"{FOLDER}/{VALIDATION_FILE}",
        "data.shuffle": False,  # the rows are in gapo's order
        "data.seed": experiment.seed,
        "data.filter_overlong_prompts": False,
        "data.train_batch_size": experiment.trainer.prompts_per_step,
        "data.max_prompt_length": handed.longest_prompt,
        "data.max_response_length": experiment.sampling.max_new_tokens,
    }


def of_model(experiment: Experiment, handed: Handed) -> dict[str, Any]:
    model, trainer = experiment.model, experiment.trainer
    settings: dict[str, Any] = {
        "actor_rollout_ref.model.path": handed.model,
        "actor_rollout_ref.model.tokenizer_path": f"{FOLDER}/{TOKENIZER_FOLDER}",
        "actor_rollout_ref.model.external_lib": PLUGIN,
        "actor_rollout_ref.model.trust_remote_code": model.trust_remote_code,
        "actor_rollout_ref.model.enable_gradient_checkpointing": trainer.gradient_checkpointing,
    }
    if trainer.device == "cpu":  # flash attention, which rows without padding need, has no kernels there
        settings["actor_rollout_ref.model.use_remove_padding"] = False
        settings["+actor_rollout_ref.model.override_config.attn_implementation"] = "sdpa"
    if model.lora.rank:
        settings["actor_rollout_ref.model.lora_rank"] = model.lora.rank
        settings["actor_rollout_ref.model.lora_alpha"] = int(model.lora.rank if model.lora.alpha is None else model.lora.alpha)
        settings["actor_rollout_ref.model.target_modules"] = model.lora.targets
        settings["actor_rollout_ref.model.lora.merge"] = True  # the engine gets whole weights
    return settings


def of_parts(handed: Handed) -> dict[str, Any]:
    settings: dict[str, Any] = {"algorithm.adv_estimator": f"{ESTIMATOR_PREFIX}{handed.estimator}"}
    settings |= {f"+algorithm.gapo.{name}": value for name, value in handed.estimator_settings.items()}
    return settings | {
        "reward.custom_reward_function.path": f"pkg://{PLUGIN}",
        "reward.custom_reward_function.name": "compute_score",
        "+reward.custom_reward_function.reward_kwargs.parts": f"{FOLDER}/{PARTS_FILE}",
        "actor_rollout_ref.rollout.agent.default_agent_loop": AGENT_LOOP,
    }


def of_algorithm(experiment: Experiment) -> dict[str, Any]:
    algorithm = experiment.algorithm
    settings: dict[str, Any] = {
        "algorithm.use_kl_in_reward": False,
        "actor_rollout_ref.actor.clip_ratio": algorithm.clip_low,
        "actor_rollout_ref.actor.clip_ratio_low": algorithm.clip_low,
        "actor_rollout_ref.actor.clip_ratio_high": algorithm.clip_high,
        "actor_rollout_ref.actor.clip_ratio_c": algorithm.dual_clip,
        "actor_rollout_ref.actor.loss_agg_mode": AGGREGATIONS[algorithm.aggregation],
        "actor_rollout_ref.actor.use_kl_loss": False,
        "actor_rollout_ref.actor.entropy_coeff": 0,
        "algorithm.filter_groups.enable": algorithm.dynamic_sampling,
    }
    if algorithm.aggregation == "constant":
        settings["actor_rollout_ref.actor.loss_scale_factor"] = algorithm.constant_divisor
    for term in algorithm.terms.values():
        if isinstance(term, LowVarKL):
            settings["actor_rollout_ref.actor.use_kl_loss"] = True
            settings["actor_rollout_ref.actor.kl_loss_coef"] = term.coefficient
            settings["actor_rollout_ref.actor.kl_loss_type"] = "low_var_kl"
        elif isinstance(term, EntropyBonus):
            settings["actor_rollout_ref.actor.entropy_coeff"] = term.coefficient
    if algorithm.dynamic_sampling:
        settings["algorithm.filter_groups.metric"] = PLAIN_SCORE
    if algorithm.importance_cap is not None:
        settings["algorithm.rollout_correction.rollout_is"] = "token"
        settings["algorithm.rollout_correction.rollout_is_threshold"] = algorithm.importance_cap
    return settings


def of_sampling(experiment: Experiment) -> dict[str, Any]:
    sampling, evaluation, rollout = experiment.sampling, experiment.evaluation, "actor_rollout_ref.rollout"
    return {
        f"{rollout}.name": "vllm",
        f"{rollout}.dtype": experiment.trainer.dtype,
        f"{rollout}.seed": experiment.seed,
        f"{rollout}.max_model_len": experiment.model.context_length,
        f"{rollout}.tensor_model_parallel_size": 1,
        f"{rollout}.n": sampling.group_size,
        f"{rollout}.temperature": sampling.temperature,
        f"{rollout}.top_p": sampling.top_p,
        f"{rollout}.top_k": sampling.top_k or -1,
        f"{rollout}.val_kwargs.n": 1 if evaluation.greedy else evaluation.samples,
        f"{rollout}.val_kwargs.do_sample": not evaluation.greedy,
        f"{rollout}.val_kwargs.temperature": 0 if evaluation.greedy else evaluation.temperature,
        # without steps between them there is an evaluation before and one after training
        "trainer.test_freq": evaluation.every_steps or experiment.trainer.steps,
        "trainer.val_before_train": True,
    }


def of_optimizer(experiment: Experiment) -> dict[str, Any]:
    optimizer, optim = experiment.trainer.optimizer, "actor_rollout_ref.actor.optim"
    return {
        f"{optim}.lr": optimizer.learning_rate,
        f"{optim}.betas": optimizer.betas,
        f"{optim}.weight_decay": optimizer.weight_decay,
        f"{optim}.clip_grad": optimizer.max_grad_norm,
        f"{optim}.lr_scheduler_type": "constant",
        # verl's rate rises once a rollout batch, gapo's with each optimizer step
        f"{optim}.lr_warmup_steps": math.ceil(optimizer.warmup_steps / experiment.trainer.updates_per_step),
    }


def of_trainer(experiment: Experiment, cluster: Cluster, handed: Handed) -> dict[str, Any]:
    trainer, actor, ref = experiment.trainer, "actor_rollout_ref.actor", "actor_rollout_ref.ref"
    precision, of_reference = PRECISIONS[trainer.dtype], PRECISIONS[trainer.reference_dtype]
    settings: dict[str, Any] = {
        "trainer.nnodes": cluster.nodes,
        "trainer.n_gpus_per_node": cluster.gpus,
        "trainer.device": trainer.device,
        f"{actor}.strategy": "fsdp2",
        f"{actor}.ppo_mini_batch_size": trainer.prompts_per_mini_batch,
        f"{actor}.ppo_epochs": trainer.epochs_per_step,
        f"{actor}.use_dynamic_bsz": True,
        f"{actor}.ppo_max_token_len_per_gpu": tokens_at_once(experiment, handed),
        f"{actor}.data_loader_seed": experiment.seed,
        f"{actor}.fsdp_config.seed": experiment.seed,
        f"{actor}.fsdp_config.model_dtype": "fp32",  # trained weights are float32, as gapo's
        f"+{actor}.fsdp_config.mixed_precision.param_dtype": precision,
        f"+{actor}.fsdp_config.mixed_precision.reduce_dtype": "fp32",
        f"{ref}.fsdp_config.model_dtype": of_reference,
        f"+{ref}.fsdp_config.mixed_precision.param_dtype": precision,
        f"+{ref}.fsdp_config.mixed_precision.reduce_dtype": "fp32",
        "trainer.total_training_steps": trainer.steps,
        "trainer.total_epochs": epochs_needed(experiment, handed.rows),
        "trainer.save_freq": trainer.checkpoint_every,
        "trainer.max_actor_ckpt_to_keep": trainer.keep_checkpoints,
        "trainer.default_local_dir": f"{FOLDER}/{CHECKPOINTS}",
        "trainer.resume_mode": "auto",
        "trainer.logger": ["console"],
        "trainer.project_name": "gapo",
        "trainer.experiment_name": experiment.model.name,
    }
    if trainer.device == "cpu":
        for key in (f"{actor}.use_torch_compile", f"{actor}.fsdp_config.use_torch_compile", f"{ref}.use_torch_compile"):
            settings[key] = False
    return settings


def tokens_at_once(experiment: Experiment, handed: Handed) -> int:
    """verl's limit of a micro-batch, which must hold the longest answer with its prompt."""
    trainer, sampling = experiment.trainer, experiment.sampling
    longest = handed.longest_prompt + sampling.max_new_tokens
    whole = longest * trainer.prompts_per_mini_batch * sampling.group_size
    return max(longest, trainer.max_tokens_per_microbatch or whole)


def epochs_needed(experiment: Experiment, rows: int) -> int:
    """Passes over the training file that give all steps their prompts; with dynamic sampling each may need several batches."""
    trainer, algorithm = experiment.trainer, experiment.algorithm
    rounds = algorithm.max_generation_rounds if algorithm.dynamic_sampling else 1
    return math.ceil(trainer.steps * rounds / (rows // trainer.prompts_per_step))


def written(value: Any) -> str:
    """A value as Hydra's grammar has it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "True", False: "False"}[value]
    if isinstance(value, list | tuple):
        return f"[{','.join(map(written, value))}]"
    if isinstance(value, str) and not PLAIN.fullmatch(value):
        escaped = value.replace("\\", "\\\\").replace("'", "\\'")
        return f"'{escaped}'"
    return str(value)
