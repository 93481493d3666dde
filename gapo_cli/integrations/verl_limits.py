"""What verl 0.9.1 has no counterpart for: what changes the results is refused, the rest is named in the folder's README."""

from __future__ import annotations

from collections.abc import Iterator

from gapo_cli.config.checks import require
from gapo_cli.errors import UserError
from gapo_cli.experiment import Experiment, check_settings
from gapo_cli.integrations.verl_settings import VERL, Cluster
from gapo_cli.interfaces import UnboundedReward
from gapo_cli.training.learners.policy_gradient import PolicyGradient
from gapo_cli.training.objectives.entropy import EntropyBonus
from gapo_cli.training.objectives.kl import LowVarKL


def check(experiment: Experiment, cluster: Cluster) -> None:
    """Raises UserError, one sentence for the first setting that verl cannot follow."""
    check_settings(experiment)
    require(
        experiment.algorithm.critic is None,
        f"algorithm={experiment.algorithm.name}: has a critic, and gapo's is not handed over; choose algorithm=grpo or dapo",
    )
    for said, refused, instead in refusals(experiment):
        require(not refused, f"{said}: has no counterpart in verl {VERL}; {instead}")
    check_batches(experiment, cluster)


def refusals(experiment: Experiment) -> Iterator[tuple[str, bool, str]]:
    """(the setting, whether it is refused, what to do instead)."""
    algorithm, trainer, optimizer = experiment.algorithm, experiment.trainer, experiment.trainer.optimizer
    yield f"stage={experiment.learner.name}", not isinstance(experiment.learner, PolicyGradient), "choose stage=rl"
    for name, term in algorithm.terms.items():
        known = isinstance(term, LowVarKL | EntropyBonus)
        yield f"algorithm.terms.{name} ({type(term).__name__})", not known, f"set algorithm.terms.{name}.coefficient=0"
    yield (
        "trainer.recompute_logprobs=false",
        trainer.recompute_logprobs is False,
        "leave it out, verl's trainer recomputes them",
    )
    yield f"optimizer.name={optimizer.name}", optimizer.name != "adamw", "choose trainer.optimizer.name=adamw"
    yield (
        f"trainer.optimizer.decay_from={optimizer.decay_from:g}",
        optimizer.decay_from < 1,
        "its rate stays or falls as a cosine; set trainer.optimizer.decay_from=1",
    )
    alpha = experiment.model.lora.alpha
    yield f"model.lora.alpha={alpha}", alpha is not None and alpha != int(alpha), "it takes whole numbers"
    yield "reward.corruption", experiment.corruption is not None, "leave it out"
    yield "reward.on_error=missing", experiment.reward_on_error == "missing", "set reward.on_error=stop"
    unbounded = isinstance(experiment.reward, UnboundedReward) and experiment.reward.unbounded
    yield (
        f"reward={type(experiment.reward).__name__}, which compares a task's answers",
        unbounded,
        "verl scores each answer alone; choose another reward, or reward.normalise=false",
    )
    yield f"resume={experiment.resume}", experiment.resume is not None, "leave it out, run.sh goes on by itself"


def check_batches(experiment: Experiment, cluster: Cluster) -> None:
    trainer, size = experiment.trainer, experiment.sampling.group_size
    steps, mini = trainer.prompts_per_step, trainer.prompts_per_mini_batch
    require(
        steps % mini == 0,
        f"trainer.prompts_per_mini_batch={mini}: verl needs a divisor of trainer.prompts_per_step={steps}",
    )
    if mini * size % cluster.world:
        raise UserError(
            f"trainer.prompts_per_mini_batch={mini}: times sampling.group_size={size} it must be a multiple of verl's "
            f"{cluster.world} workers (--nodes {cluster.nodes} --gpus {cluster.gpus}); change one of them"
        )


def named(experiment: Experiment) -> list[str]:
    """One sentence for each setting that verl does otherwise, or that has no meaning there, where this experiment has it."""
    trainer, evaluation, algorithm = experiment.trainer, experiment.evaluation, experiment.algorithm
    found = [
        "The rows are in gapo's order of its first epoch; verl then repeats that order.",
        "engine, trainer.layout, trainer.threads, trainer.processes, trainer.shard, guards: verl has its own; it samples with vLLM on --nodes times --gpus workers.",
    ]
    if trainer.device == "cpu":
        found.append("trainer.device=cpu: verl has no platform for CPUs of its own; for GPUs, hand over with trainer=gpu.")
    if trainer.optimizer.warmup_steps:
        several = trainer.updates_per_step
        found.append(
            f"trainer.optimizer.warmup_steps: verl's learning rate rises from 0 once a rollout batch ({several} optimizer steps)."
        )
    if algorithm.dynamic_sampling:
        found.append("algorithm.max_generation_rounds: verl samples until a batch is full, without a limit.")
    if evaluation.greedy and evaluation.samples:
        found.append(f"evaluation.samples={evaluation.samples}: verl's validation is greedy; measure samples with `gapo eval`.")
    if experiment.model.lora.rank:
        found.append("model.lora: verl hands its engine merged weights in bfloat16.")
    return found
