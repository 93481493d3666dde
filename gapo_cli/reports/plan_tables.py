"""A plan as tables and sentences, and as one JSON object."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from gapo_cli.planning.operations import Operations
from gapo_cli.quantities import duration, quantity, size
from gapo_cli.reports.tables import NOTHING, Table

if TYPE_CHECKING:
    from gapo_cli.planning.plan import Plan

WORK = {
    "prompts": "prompts, once each",
    "decoding": "answers, token by token",
    "old_logprobs": "old log-probabilities",
    "reference": "reference",
    "update": "update",
    "critic": "critic",
    "terms": "loss terms",
}


def tables(plan: Plan) -> list[Table]:
    return [amounts(plan), memory_table(plan), work_table(plan), *([advice_table(plan)] if plan.advice else [])]


def amounts(plan: Plan) -> Table:
    """What is done how often."""
    settings, trainer = plan.settings, plan.settings.trainer
    about = "about " if plan.outline.lengths.estimated else ""
    rows = [
        *((one.words, one.shown) for one in plan.outline.amounts if one.words),
        ("tokens computed", f"{about}{quantity(plan.outline.computed)}"),
        ("parameters", quantity(plan.parameters)),
        (
            "trained",
            quantity(settings.trained) + (f" (adapters of rank {settings.model.lora.rank})" if settings.adapters else ""),
        ),
    ]
    if settings.processes > 1:
        rows.append(("processes", f"{settings.processes}"))
        if trainer.shard:
            rows.append(("exchanged a pass that learns", f"{size(plan.exchanged)} of weights and gradient"))
        else:
            rows.append(("exchanged an optimizer step", f"{size(plan.exchanged)} of gradient"))
    return Table(f"plan of {plan.model} on {trainer.device}", ("", "run"), tuple(rows))


def memory_table(plan: Plan) -> Table:
    rollout, update = plan.memory.rollout, plan.memory.update
    parts = list(dict.fromkeys([*rollout, *update]))
    rows = [
        (part, *(size(phase[part]) if phase.get(part) else NOTHING for phase in (rollout, update)))
        for part in parts
        if rollout.get(part) or update.get(part)
    ]
    rows.append(("together", size(sum(rollout.values())), size(sum(update.values()))))
    if plan.available is None:
        note = f"There is no {plan.settings.trainer.device} here: say what yours has by plan.memory_gib=."
    elif plan.fits:
        note = f"Fits: {size(plan.memory.peak)} of {size(plan.available)} that are free."
    else:
        note = f"DOES NOT FIT: it needs {size(plan.memory.peak)}, and {size(plan.available)} are free."
    each = " of each process" if plan.settings.processes > 1 else ""
    return Table("", (f"memory at most{each}", "sampling", "learning"), tuple(rows), note)


def work_table(plan: Plan) -> Table:
    step, speed = plan.step, plan.speed
    rows = []
    for name, words in WORK.items():
        count = getattr(step, name)
        if count:
            seconds = speed.seconds(only(name, count))
            rows.append((words, quantity(count), f"{seconds:.2f}"))
    rows.append(("together", quantity(step.total), f"{speed.seconds(step):.2f}"))
    processes = plan.settings.processes
    if processes > 1:
        words = f"the busiest of {processes} processes"
        rows.append((words, quantity(plan.busiest.total), f"{plan.seconds_per_step:.2f}"))
    source = "measured here" if speed.measured else "given"
    note = ""
    if plan.first.total:
        note += f"Before the first step, answers to learn from: {quantity(plan.first.total)}FLOP, {duration(speed.seconds(plan.first))}.\n"
    note += (
        f"The update packed {quantity(plan.packed)}, padded {quantity(plan.padded)}: packed is {plan.padded / plan.packed:.2f} times less.\n"
        f"{plan.outline.steps:,} steps and {plan.evaluations} evaluations: {duration(plan.hours * 3600)} at {quantity(speed.passes)}FLOP/s"
        f"{f' ({quantity(speed.decoding)}FLOP/s in decoding)' if speed.measured else ''}, {source}, answers as long as the targets."
    )
    if processes > 1:
        note += (
            f"\n{processes} processes make a step {plan.speed_up:.2f} times as fast as one, if each has a device of its own; those that share "
            "the cores of one machine share their speed too. The exchange of gradients is not counted."
        )
    return Table("", ("a step", "FLOP", "seconds"), tuple(rows), note)


def only(name: str, count: float) -> Operations:
    """Operations of one kind alone."""
    return Operations(**{key: count if key == name else 0.0 for key in Operations.__slots__})


def advice_table(plan: Plan) -> Table:
    advice = plan.advice
    rows = tuple((change.words, size(change.saves), change.price) for change in advice.changes)
    words = " ".join(advice.together)
    if not words:
        note = "Nothing that could be changed here saves enough; a smaller model or a larger device is needed."
    elif advice.fits:
        note = f"It fits with {words}: {size(advice.peak)}."
    else:
        note = f"Even with {words} it needs {size(advice.peak)}."
    return Table("", ("to save memory", "saves", "price"), rows, note)


def warnings(plan: Plan) -> list[str]:
    """What else to know before the run is started."""
    lengths = plan.outline.lengths
    found = []
    if lengths.estimated:
        found.append("The model's tokenizer is not here: lengths are estimated from characters.")
    if lengths.measured < lengths.tasks:
        found.append(f"Lengths are those of {lengths.measured:,} tasks, evenly spread over the split.")
    found += plan.outline.notes
    if not plan.engine_known:
        found.append("The engine does not say how much memory it takes: the plan counts none.")
    if not plan.speed.measured:
        found.append("The plan counts decoding at the speed of whole passes, which no device reaches: expect more.")
    return found


def as_json(plan: Plan) -> dict[str, Any]:
    """JSON-ready. Bytes, tokens, operations, seconds, hours."""
    settings, trainer = plan.settings, plan.settings.trainer
    return {
        "model": plan.model,
        "device": trainer.device,
        "shape": asdict(settings.shape),
        **{one.key: one.value for one in plan.outline.amounts},
        "computed_tokens": plan.outline.computed,
        "parameters": plan.parameters,
        "trained_parameters": settings.trained,
        "memory": {"sampling": dict(plan.memory.rollout), "learning": dict(plan.memory.update)},
        "peak_bytes": plan.memory.peak,
        "available_bytes": plan.available,
        "fits": plan.fits,
        "advice": asdict(plan.advice) if plan.advice else None,
        "flops_per_step": asdict(plan.step) | {"total": plan.step.total},
        "update_flops": {"packed": plan.packed, "padded": plan.padded, "ratio": plan.padded / plan.packed},
        "flops_before_the_first_step": plan.first.total,
        "evaluations": plan.evaluations,
        "evaluation_flops": plan.evaluation.total,
        "flops_per_second": {"passes": plan.speed.passes, "decoding": plan.speed.decoding, "measured": plan.speed.measured},
        "processes": settings.processes,
        "busiest_flops_per_step": plan.busiest.total,
        "speed_up": plan.speed_up,
        "exchanged_bytes_per_pass" if settings.trainer.shard else "exchanged_bytes_per_optimizer_step": plan.exchanged,
        "seconds_per_step": plan.seconds_per_step,
        "hours": plan.hours,
        "warnings": warnings(plan),
    }
