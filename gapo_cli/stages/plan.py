"""gapo plan: what a training run would do and need, before anything is loaded: the tasks' real lengths and a config.json."""

from __future__ import annotations

from dataclasses import replace

from gapo_cli.config.checks import require
from gapo_cli.experiment import Experiment, check_settings
from gapo_cli.interfaces import Display, TextEngine
from gapo_cli.planning.advice import advise
from gapo_cli.planning.device_speed import find_speed
from gapo_cli.planning.footprint import Settings, memory
from gapo_cli.planning.model_shape import find_shape
from gapo_cli.planning.operations import busiest_flops
from gapo_cli.planning.plan import Plan, available_bytes, drawn, evaluation_flops, longest_prompts, per_batch, within_budget
from gapo_cli.planning.task_lengths import measure_lengths


def plan(experiment: Experiment, display: Display) -> Plan:
    """Estimates a run that samples rollouts. Prepares the data when missing. Raises UserError for a stage that cannot be
    estimated, for settings that cannot be trained with and for a model whose shape is not known."""
    learner = experiment.learner
    require(learner.plannable, f"stage={learner.name}: gapo plan cannot estimate a run of this stage; leave stage= out")
    require(
        not isinstance(experiment.engine, TextEngine),
        "gapo plan: a served model (engine=openai) cannot be trained; leave engine= out",
    )
    check_settings(experiment)
    shape = find_shape(experiment.model)
    settings = Settings.of(experiment, shape)
    lengths = measure_lengths(experiment, display)
    prompts, answers = drawn(lengths, experiment.trainer.prompts_per_step, experiment.seed)
    experiment = replace(experiment, trainer=within_budget(experiment, settings, prompts, answers))
    settings = Settings.of(experiment, shape)
    batches = len(prompts) // experiment.trainer.prompts_per_step
    by_layout = {layout: per_batch(settings, prompts, answers, layout, batches) for layout in ("packed", "padded")}
    evaluation, evaluations = evaluation_flops(experiment, settings, lengths)
    longest = longest_prompts(lengths, settings)
    required, available = memory(settings, longest), available_bytes(experiment)
    return Plan(
        model=experiment.model.name,
        settings=settings,
        lengths=lengths,
        speed=find_speed(experiment, settings, display),
        step=by_layout[experiment.trainer.layout],
        busiest=per_batch(settings, prompts, answers, experiment.trainer.layout, batches, busiest_flops),
        packed=by_layout["packed"].update,
        padded=by_layout["padded"].update,
        evaluation=evaluation,
        evaluations=evaluations,
        memory=required,
        available=available,
        advice=advise(settings, longest, available) if available is not None and required.peak > available else None,
        on_long=experiment.data.on_long,
    )
