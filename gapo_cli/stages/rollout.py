"""gapo rollout: sample and score groups, with advantages, and keep them; nothing is trained.

Part by part: memory holds one part, and a rollout that is stopped goes on after the last whole one.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gapo_cli.config.checks import require
from gapo_cli.config.sampling import SOME_TASKS
from gapo_cli.errors import DataError, batch_kept
from gapo_cli.experiment import Experiment, check_engine, check_length_penalty
from gapo_cli.interfaces import Display, Progress, RecordedEngine, TextEngine
from gapo_cli.metric_names import (
    CUT,
    LEFT,
    MALFORMED,
    MEAN_LENGTH,
    MISSING,
    NO_SHAPE,
    NOOP_RIGHT,
    NORMAL,
    RIGHT,
    SYMMETRIC,
    ZERO_SPREAD,
)
from gapo_cli.models.nano.base_note import base_note
from gapo_cli.quantities import decimals, duration
from gapo_cli.runs.layout import ANSWERS, CONFIG
from gapo_cli.stages.run_setup import check_model_there, set_up_run
from gapo_cli.tasks.sets.prepared import load_tasks

if TYPE_CHECKING:
    from gapo_cli.records import EditTask
    from gapo_cli.rollouts.chain import Chain
    from gapo_cli.rollouts.respondents import Respondent
    from gapo_cli.training.out_of_memory import Advise

MAY_CHANGE = (
    "resume", "engine.api_key_env", "engine.concurrency", "engine.tries", "engine.first_wait_s", "engine.longest_wait_s",
    "engine.timeout_s",
)  # fmt: skip
"""Settings that may differ when a rollout goes on: no answer depends on them."""


@dataclass(frozen=True)
class RolloutResult:
    """`too_long`: tasks left out since they do not fit the context. `metrics`: the rollout's share of a training step's row
    (critic/*, group/*, reward/*, response_length/*)."""

    run_dir: Path
    rollouts: Path
    groups: int
    completions: int
    too_long: int
    metrics: Mapping[str, float]


def rollout(experiment: Experiment, display: Display) -> RolloutResult:
    """`sampling.group_size` completions for each of `rollout.tasks` tasks, scored as in training, with the estimator's
    advantages; of a recording, for the tasks in it. In a folder with parts of the same rollout, goes on from them. Tasks that
    do not fit the context are left out and counted, or, with data.on_long=stop, refused."""
    require(
        experiment.corruption is None,
        "reward.corruption: corrupts the rewards of training alone; leave it out, and try it on the saved rewards by gapo lab "
        "corruption=0.05",
    )
    check_length_penalty(experiment)
    check_engine(experiment, [experiment.sampling])
    if not isinstance(experiment.engine, RecordedEngine | TextEngine):
        check_model_there(experiment.model)
    tasks = choose_tasks(experiment, display)
    # torch only from here on: a wrong setting is answered at once
    from gapo_cli.rollouts.chain import Chain
    from gapo_cli.rollouts.metrics import GroupNumbers, batch_metrics, generated_metrics
    from gapo_cli.runs.group_files import iterate_groups

    set_up_run(experiment, experiment.run_dir, display)
    chain = Chain.of(experiment, display.say)
    respondent, advise = respondent_for(experiment, chain, tasks, display)
    path = sample_parts(experiment, chain, respondent, plan_of(experiment, tasks), advise, display)
    numbers = [GroupNumbers.of(group) for group in iterate_groups(path)]
    result = RolloutResult(
        run_dir=experiment.run_dir,
        rollouts=path,
        groups=len(numbers),
        completions=sum(len(group.scores) for group in numbers),
        too_long=len(tasks) - len(numbers),
        metrics=batch_metrics(numbers) | generated_metrics(numbers),
    )
    note = base_note(experiment.model.path)
    for line in [*summary_lines(result), *([note] if note else [])]:
        display.say(line)
    return result


def choose_tasks(experiment: Experiment, display: Display) -> tuple[EditTask, ...] | tuple[str, ...]:
    """The tasks that are asked, of a recording their ids. Says so where they are not all of the split."""
    settings, recorded = experiment.rollout, isinstance(experiment.engine, RecordedEngine)
    available = experiment.engine.recorded_task_ids() if recorded else load_tasks(experiment, settings.split, display)
    from gapo_cli.rollouts.validation import select_tasks

    some = None if recorded else SOME_TASKS
    chosen = select_tasks(
        available,
        some if settings.tasks == "auto" else settings.tasks,
        experiment.seed if settings.seed is None else settings.seed,
    )
    if len(chosen) < len(available):
        of = "of the recording" if recorded else f"of split {settings.split}"
        display.say(f"{len(chosen):,} of the {len(available):,} tasks {of} (rollout.tasks=null: all)")
    return chosen


def respondent_for(experiment: Experiment, chain: Chain, tasks: tuple[Any, ...], display: Display) -> tuple[Respondent, Advise]:
    """Who answers the tasks, and what to say where memory runs out."""
    from gapo_cli.rollouts.respondents import Recording, ServedModel
    from gapo_cli.training.out_of_memory import no_advice

    engine = experiment.engine
    if isinstance(engine, RecordedEngine):
        return Recording(engine, chain, tasks), no_advice
    if isinstance(engine, TextEngine):
        journal = experiment.run_dir / ANSWERS
        return ServedModel(engine, chain, tasks, experiment.seed, journal, experiment.data.on_long), no_advice
    return load_respondent(experiment, chain, tasks, display)


def load_respondent(
    experiment: Experiment, chain: Chain, tasks: tuple[EditTask, ...], display: Display
) -> tuple[Respondent, Advise]:
    """A model that is loaded here, and its engine; tasks that do not fit its context are left out or refused."""
    from gapo_cli.engines import calls
    from gapo_cli.models.load import load_model
    from gapo_cli.planning.memory_advice import before_lengths, with_lengths
    from gapo_cli.rollouts.encoding import encode_tasks, fit_training_tasks
    from gapo_cli.rollouts.respondents import PolicyHere
    from gapo_cli.training.out_of_memory import memory_watched

    with memory_watched("loading the model", "loading", before_lengths(experiment)):
        policy = load_model(experiment.model, experiment.trainer.device, experiment.trainer.dtype)
    fitted = fit_training_tasks(
        encode_tasks(policy, experiment.template, tasks, display.progress),
        experiment.model.context_length,
        experiment.sampling.max_new_tokens,
        experiment.data.on_long,
    )
    advise = with_lengths(experiment, policy, [len(one.token_ids) for one in fitted.kept])
    with memory_watched("starting the engine", "rollout", advise):
        engine = calls.start(experiment.engine, policy)
    return PolicyHere(engine, chain, fitted.kept, experiment.seed, policy.tokenizer.decode), advise


def sample_parts(
    experiment: Experiment,
    chain: Chain,
    respondent: Respondent,
    plan: Mapping[str, Any],
    advise: Advise,
    display: Display,
) -> Path:
    """Samples, scores and keeps the parts that are missing, and makes one file of all. Raises KeyboardInterrupt after Ctrl-C,
    with what is finished kept, DataError where no task fits a server's context, and PartError, with the answers at hand kept, where
    a part of the user's fails."""
    from gapo_cli.rollouts.respondents import STEP
    from gapo_cli.runs.rollout_parts import RolloutParts
    from gapo_cli.runs.run_files import RunFiles
    from gapo_cli.training.out_of_memory import memory_watched

    size, prompts = experiment.sampling.group_size, len(respondent)
    at_once = max(1, experiment.rollout.completions_per_part // size)
    parts = RolloutParts(experiment.run_dir, plan)
    missing = [start for start in range(0, prompts, at_once) if start // at_once not in parts.groups]
    words = f"{prompts:,} prompts x {size} completions = {prompts * size:,} completions"
    there = prompts - sum(min(at_once, prompts - start) for start in missing)
    display.say(words + (f"; {there:,} of the prompts are answered already" if there else ""))
    began, answered = time.monotonic(), 0
    files = RunFiles(experiment.run_dir)
    try:
        for start in missing:
            end = min(start + at_once, prompts)
            with batch_kept(lambda groups: files.write_for_inspection(STEP, groups, respondent.prompt_text)):
                with memory_watched("sampling", "rollout", advise):
                    sampled = respondent.sample(start, end, over_all(display.progress, start, end, prompts))
                with memory_watched("scoring the answers", "rollout", advise):
                    groups = chain.estimate(chain.score(sampled, sampled_at=STEP)) if sampled else []
            if groups:  # none, where a server's context has room for no prompt of the part
                parts.add(start // at_once, STEP, groups, respondent.prompt_text)
            answered += end - start
            if start == missing[0] and len(missing) > 1:
                left = (time.monotonic() - began) / answered * (prompts - there - answered)
                display.say(f"about {duration(left)} to go, as fast as the first {answered:,} prompts")
    except KeyboardInterrupt:
        display.say(
            f"stopped: {sum(parts.groups.values()):,} of {prompts:,} groups are kept; go on with gapo rollout resume={experiment.run_dir}"
        )
        raise
    if not parts.groups:
        raise DataError(f"none of the {prompts} tasks fits the served model's context; shorten them with prompt.budget")
    return parts.join()


def over_all(progress: Progress, start: int, end: int, prompts: int) -> Progress:
    """The progress of one part, prompts `start` to `end`, as that of the whole rollout."""

    def show(what: str, done: int, total: int) -> None:
        progress(what, start + round((end - start) * done / max(total, 1)), prompts)

    return show


def plan_of(experiment: Experiment, tasks: tuple[Any, ...]) -> dict[str, Any]:
    """What the answers depend on: the settings of the resolved config, the tasks, and the model's files by their sizes and
    times (to hash the weights would take longer than to load them)."""
    import yaml

    from gapo_cli.models.folders import MODEL_FILES, find_folder
    from gapo_cli.reports.headings import flat_settings

    path = experiment.run_dir / CONFIG
    settings = flat_settings(yaml.safe_load(path.read_text(encoding="utf-8")) or {}) if path.is_file() else {}
    plan: dict[str, Any] = {key: value for key, value in settings.items() if key not in MAY_CHANGE}
    whole = [task if isinstance(task, str) else task.to_dict() for task in tasks]
    plan["tasks (SHA-256)"] = hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()
    if not isinstance(experiment.engine, TextEngine):
        folder = find_folder(experiment.model)
        for one in sorted(one for pattern in MODEL_FILES for one in folder.glob(pattern)):
            plan[f"model's {one.name}"] = f"{one.stat().st_size} bytes of {one.stat().st_mtime_ns}"
    return plan


def summary_lines(result: RolloutResult) -> list[str]:
    """What a person wants to know of rollouts at a glance."""
    metrics = result.metrics
    lines = [f"{result.groups} groups, {result.completions} completions: {result.rollouts}"]
    if result.too_long:
        lines.append(f"left out {result.too_long} tasks that do not fit the context")
    components = {
        name.split("/")[1]: value
        for name, value in metrics.items()
        if name.startswith("reward/") and name.endswith("/mean") and name != NOOP_RIGHT
    }
    lines.append(
        "reward: " + (", ".join(f"{name} {decimals(value, 3)}" for name, value in components.items()) or "all are missing")
    )
    names = {"normal": NORMAL, "left": LEFT, "right": RIGHT, "symmetric": SYMMETRIC, "without spread": ZERO_SPREAD}
    shapes = ", ".join(f"{words} {metrics[name]:.1%}" for words, name in names.items() if name in metrics) or "none is known"
    unknown = f"; {metrics[NO_SHAPE]:.0f} groups have fewer than two rewards and are left out" if metrics[NO_SHAPE] else ""
    lines.append(f"shapes of the groups' rewards: {shapes}{unknown}")
    lines.append(
        f"answers: {metrics[MEAN_LENGTH]:.1f} tokens on average, {metrics[CUT]:.1%} cut by the limit, "
        f"{metrics[MALFORMED]:.1%} malformed, {metrics[MISSING]:.0f} rewards missing"
    )
    return lines
