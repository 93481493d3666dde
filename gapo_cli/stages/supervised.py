"""gapo train stage=sft: supervised training on an edit log, of a model that is loaded or one that is made from nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from gapo_cli.experiment import Experiment
from gapo_cli.interfaces import Display
from gapo_cli.records import EditTask
from gapo_cli.stages.run_setup import keep_inputs, set_up_run
from gapo_cli.tasks.sets.prepared import load_tasks
from gapo_cli.training.checkpoints.starting_point import StartingPoint

if TYPE_CHECKING:
    from gapo_cli.models.loaded import LoadedModel
    from gapo_cli.training.learners.supervised import SupervisedParts
    from gapo_cli.training.lifecycle import TrainingOutcome


def train_supervised(experiment: Experiment, start: StartingPoint, display: Display) -> TrainingOutcome:
    """The stage=sft of `train`: evaluates, trains, evaluates again. The model lies in checkpoints/final and, its adapters
    merged and in bfloat16, where `supervised.save_as` says. Raises KeyboardInterrupt after Ctrl-C where nothing was learnt
    yet, DataError for tasks that do not fit the context."""
    # torch only from here on: a wrong setting is answered at once
    from gapo_cli.models.load import save_model
    from gapo_cli.models.saving import save_plain
    from gapo_cli.runs.layout import CHECKPOINTS, FINAL, SUPERVISED
    from gapo_cli.storage.files import write_json
    from gapo_cli.training.learners.supervised import SupervisedLoop
    from gapo_cli.training.lifecycle import TrainingOutcome

    run_dir, config = start.run_dir, experiment.supervised
    tasks = load_tasks(experiment, experiment.data.train_split, display)
    held_out = load_tasks(experiment, experiment.evaluation.split, display)
    set_up_run(experiment, run_dir)
    keep_inputs(experiment, run_dir, display)
    loop = SupervisedLoop(build_parts(experiment, start, tasks, held_out, display))
    if start.checkpoint is not None:
        loop.resume_from(start.checkpoint)
    elif start.automatic:
        loop.start_over()
    try:
        result = loop.run()
    except KeyboardInterrupt:
        if not loop.number:
            raise
        return TrainingOutcome(loop.number, loop.checkpoints.path(loop.number), best=None, interrupted=True)
    checkpoint = run_dir / CHECKPOINTS / FINAL
    save_model(loop.policy, checkpoint)
    write_json(run_dir / SUPERVISED, {"settings": asdict(config), **asdict(result)})
    if config.save_as:
        save_plain(loop.policy, Path(config.save_as), "bfloat16")
        display.say(f"saved in bfloat16: {config.save_as}")
    return TrainingOutcome(result.steps, checkpoint, loop.checkpoints.best.folder, interrupted=False)


def build_parts(
    experiment: Experiment, start: StartingPoint, tasks: Sequence[EditTask], held_out: Sequence[EditTask], display: Display
) -> SupervisedParts:
    """Loads or makes the model and tokenises the tasks."""
    from gapo_cli.planning.memory_advice import before_lengths, while_supervising
    from gapo_cli.rollouts.encoding import encode_tasks
    from gapo_cli.rollouts.validation import select_tasks
    from gapo_cli.runs.run_files import RunFiles
    from gapo_cli.training.batches.examples import encode_examples
    from gapo_cli.training.held_out import HeldOut
    from gapo_cli.training.learners.supervised import SupervisedParts
    from gapo_cli.training.out_of_memory import memory_watched

    template, config, trainer = experiment.template, experiment.supervised, experiment.trainer
    with memory_watched("loading the model", "loading", before_lengths(experiment)):
        policy = load_or_make(experiment, start.checkpoint, tasks)
    examples = encode_examples(policy, template, tasks, config.log, experiment.seed, experiment.data.on_long, display.progress)
    if examples.too_long:
        context = experiment.model.context_length
        display.say(
            f"left out {len(examples.too_long)} of {len(tasks)} training tasks that do not fit model.context_length={context}"
        )
    asked = encode_tasks(policy, template, select_tasks(held_out, experiment.evaluation.tasks), display.progress)
    lengths = [(len(one.prompt), len(one.answer)) for one in examples.kept]
    advise = while_supervising(experiment, policy, lengths, [len(one.token_ids) for one in asked])
    with memory_watched("starting the engine", "rollout", advise):
        engine = experiment.engine(policy=policy)
    return SupervisedParts(
        run_dir=start.run_dir,
        seed=experiment.seed,
        policy=policy,
        config=config,
        tasks=examples.tasks,
        examples=examples.kept,
        held_out=HeldOut(asked, template, experiment.evaluation, experiment.sampling, experiment.seed, RunFiles(start.run_dir)),
        engine=engine,
        display=display,
        keep_checkpoints=trainer.keep_checkpoints,
        chunk=trainer.logprob_chunk_tokens,
        guards=experiment.guards,
        advise=advise,
    )


def load_or_make(experiment: Experiment, checkpoint: Path | None, tasks: Sequence[EditTask]) -> LoadedModel:
    """The model of the checkpoint that is resumed, else the one at `model.path` or, with `supervised.architecture`, a new one
    whose tokenizer is trained on the tasks' prompts and answers."""
    from gapo_cli.models.load import take_over
    from gapo_cli.models.nano.model import build_nano
    from gapo_cli.models.nano.tokenizer import train_tokenizer
    from gapo_cli.models.policy import load_policy

    model, trainer, shape = experiment.model, experiment.trainer, experiment.supervised.architecture
    if checkpoint is not None:
        return load_policy(replace(model, path=str(checkpoint)), trainer)
    if shape is None:
        return load_policy(model, trainer)
    template = experiment.template
    tokenizer = train_tokenizer(
        (text for task in tasks for text in (template.render(task).text, template.answer(task, task.target))), shape.vocabulary
    )
    made = build_nano(tokenizer, shape, model.context_length, experiment.seed)
    return take_over(made, tokenizer, model, trainer.device, trainer.dtype)
