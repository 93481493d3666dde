"""gapo plan: what a training run would do and need, before anything is loaded: the tasks' real lengths and a config.json."""

from __future__ import annotations

from gapo_cli.config.checks import require
from gapo_cli.experiment import Experiment
from gapo_cli.interfaces import Display, PlannedLearner, TextEngine
from gapo_cli.planning.advice import advise
from gapo_cli.planning.device_speed import find_speed
from gapo_cli.planning.footprint import Settings, memory
from gapo_cli.planning.model_shape import find_shape
from gapo_cli.planning.operations import busiest_flops, run_flops, sampled_flops
from gapo_cli.planning.plan import Plan, available_bytes, evaluation_flops
from gapo_cli.planning.task_lengths import measure_tasks


def plan(experiment: Experiment, display: Display) -> Plan:
    """Estimates a run of any learner that says what it does. Prepares the data when missing. Raises UserError for a learner that does
    not, for settings that cannot be trained with and for a model whose shape is not known."""
    learner = experiment.learner
    require(
        isinstance(learner, PlannedLearner),
        f"stage={learner.name}: does not say what a run of it does, so gapo plan cannot estimate one; give its class the methods of "
        "gapo_cli.interfaces.PlannedLearner, or leave stage= out",
    )
    require(
        not isinstance(experiment.engine, TextEngine),
        "gapo plan: a served model (engine=openai) cannot be trained; leave engine= out",
    )
    with experiment.learner_at_work():
        learner.check_settings(experiment)
        shape = find_shape(learner.as_rl(experiment).model)
    measured = measure_tasks(experiment, display)
    with experiment.learner_at_work():
        outline = learner.outline(experiment, measured)
    told = outline.memory
    settings = Settings.told_by(told, shape)
    of_one = 1 / outline.counted
    by_layout = {
        layout: run_flops(settings, outline.batches, outline.sampled, layout) * of_one
        for layout in dict.fromkeys((settings.trainer.layout, "packed", "padded"))
    }
    evaluation, evaluations = evaluation_flops(experiment, settings, outline)
    required, available = memory(settings, told.groups, told.asked), available_bytes(experiment)
    return Plan(
        model=experiment.model.name,
        settings=settings,
        outline=outline,
        speed=find_speed(told.experiment, settings, display),
        step=by_layout[settings.trainer.layout],
        busiest=busiest_flops(settings, outline.batches, outline.sampled) * of_one,
        packed=by_layout["packed"].update,
        padded=by_layout["padded"].update,
        first=sampled_flops(shape, outline.first),
        evaluation=evaluation,
        evaluations=evaluations,
        memory=required,
        available=available,
        advice=advise(settings, told, available) if available is not None and required.peak > available else None,
    )
