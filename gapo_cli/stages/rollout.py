"""gapo rollout: sample and score groups of a split, with advantages, and keep them; nothing is trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gapo_cli.errors import DataError
from gapo_cli.experiment import Experiment, check_engine
from gapo_cli.interfaces import Display, TextEngine
from gapo_cli.models.nano.base_note import base_note
from gapo_cli.records import EditTask, Group, Prompt
from gapo_cli.runs.layout import ANSWERS, ROLLOUT_FILE
from gapo_cli.stages.run_setup import set_up_run
from gapo_cli.tasks.sets.prepared import load_tasks

if TYPE_CHECKING:
    from gapo_cli.rollouts.sampling import Sampled

STEP = 0
"""Rollouts of a model that nothing has been learnt from: step 0."""


@dataclass(frozen=True)
class RolloutResult:
    """`metrics`: the rollout's share of a training step's row (critic/*, group/*, reward/*, response_length/*)."""

    run_dir: Path
    rollouts: Path
    groups: int
    completions: int
    too_long: int
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Answered:
    """What was sampled, how to read a group's prompt, and how many tasks did not fit the context."""

    sampled: Sequence[Sampled]
    prompt_text: Callable[[Group], str]
    too_long: int


def rollout(experiment: Experiment, display: Display) -> RolloutResult:
    """`sampling.group_size` completions for each task of `data.train_split`, scored, with the estimator's advantages.
    Tasks that do not fit the context are left out and counted, or, with data.on_long=stop, refused."""
    from gapo_cli.rollouts.advantages import with_advantages
    from gapo_cli.rollouts.metrics import batch_metrics, generated_metrics
    from gapo_cli.rollouts.sampling import score
    from gapo_cli.runs.group_files import write_groups

    check_engine(experiment, [experiment.sampling])
    tasks = load_tasks(experiment, experiment.data.train_split, display)
    set_up_run(experiment, experiment.run_dir)
    answer = ask_server if isinstance(experiment.engine, TextEngine) else sample_here
    answered = answer(experiment, tasks, display)
    groups = with_advantages(score(answered.sampled, experiment.reward), experiment.estimator)
    path = experiment.run_dir / ROLLOUT_FILE
    write_groups(path, STEP, groups, answered.prompt_text)
    result = RolloutResult(
        run_dir=experiment.run_dir,
        rollouts=path,
        groups=len(groups),
        completions=sum(len(group.completions) for group in groups),
        too_long=answered.too_long,
        metrics=batch_metrics(groups) | generated_metrics(groups),
    )
    note = base_note(experiment.model.path)
    for line in [*summary_lines(result), *([note] if note else [])]:
        display.say(line)
    return result


def sample_here(experiment: Experiment, tasks: Sequence[EditTask], display: Display) -> Answered:
    """Answers of a model that is loaded for it."""
    from gapo_cli.models.load import load_model
    from gapo_cli.planning.memory_advice import before_lengths, with_lengths
    from gapo_cli.rollouts.encoding import encode_tasks, fit_training_tasks
    from gapo_cli.rollouts.sampling import sample_encoded
    from gapo_cli.seeds import derived_seed
    from gapo_cli.training.out_of_memory import memory_watched

    with memory_watched("loading the model", "loading", before_lengths(experiment)):
        policy = load_model(experiment.model, experiment.trainer.device, experiment.trainer.dtype)
    fitted = fit_training_tasks(
        encode_tasks(policy, experiment.template, tasks, display.progress),
        experiment.model.context_length,
        experiment.sampling.max_new_tokens,
        experiment.data.on_long,
    )
    seeds = [derived_seed(experiment.seed, STEP, index) for index in range(len(fitted.kept))]
    with memory_watched("sampling", "rollout", with_lengths(experiment, policy, [len(one.token_ids) for one in fitted.kept])):
        engine = experiment.engine(policy=policy)
        sampled = sample_encoded(engine, experiment.template, fitted.kept, experiment.sampling, seeds, display.progress)
    return Answered(sampled, lambda group: policy.tokenizer.decode(group.prompt_token_ids), len(fitted.too_long))


def ask_server(experiment: Experiment, tasks: Sequence[EditTask], display: Display) -> Answered:
    """Answers of a served model. Raises DataError where a task does not fit its context and `data.on_long` says stop, or
    where none fits."""
    from gapo_cli.rollouts.sampling import sample_texts
    from gapo_cli.seeds import derived_seed

    seeds = [derived_seed(experiment.seed, STEP, index) for index in range(len(tasks))]
    asked = sample_texts(
        experiment.engine,
        experiment.template,
        tasks,
        experiment.sampling,
        seeds,
        experiment.run_dir / ANSWERS,
        display.progress,
    )
    if asked.too_long and (experiment.data.on_long == "stop" or not asked.sampled):
        raise DataError(
            f"task {asked.too_long[0].id}: its prompt and sampling.max_new_tokens={experiment.sampling.max_new_tokens} do not fit the "
            f"served model's context, and so it is for {len(asked.too_long)} of {len(tasks)} tasks; shorten them with prompt.budget"
            + (" or leave them out with data.on_long=skip" if asked.sampled else "")
        )
    texts = {one.task.id: shown(one.prompt) for one in asked.sampled}
    return Answered(asked.sampled, lambda group: texts[group.task.id], len(asked.too_long))


def shown(prompt: Prompt) -> str:
    """A prompt as it is kept beside its answers; what a server's chat template makes of messages is not known here."""
    return "\n\n".join(f"{message.role}: {message.content}" for message in prompt.messages) or prompt.text


def summary_lines(result: RolloutResult) -> list[str]:
    """What a person wants to know of rollouts at a glance."""
    metrics = result.metrics
    lines = [f"{result.groups} groups, {result.completions} completions: {result.rollouts}"]
    if result.too_long:
        lines.append(f"left out {result.too_long} tasks that do not fit the context")
    components = {
        name.split("/")[1]: value for name, value in metrics.items() if name.startswith("reward/") and name.endswith("/mean")
    }
    lines.append("reward: " + ", ".join(f"{name} {value:.3f}" for name, value in components.items()))
    shapes = {name: metrics[f"group/{name}_frac"] for name in ("normal", "left", "right", "symmetric")}
    shapes["without spread"] = metrics["group/zero_std_frac"]
    lines.append("shapes of the groups' rewards: " + ", ".join(f"{name} {share:.1%}" for name, share in shapes.items()))
    lines.append(
        f"answers: {metrics['response_length/mean']:.1f} tokens on average, {metrics['response_length/clip_ratio']:.1%} cut by the limit, "
        f"{metrics['reward/malformed_frac']:.1%} malformed, {metrics['reward/missing']:.0f} rewards missing"
    )
    return lines
