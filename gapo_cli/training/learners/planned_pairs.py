"""What stage=dpo says of a run before it is started: its batches, which follow from the pairs' lengths and the seed.

Of rejected texts and saved rollouts the pairs are there already. Of answers that the model has yet to give nothing is known but the
limit, so each group counts as one pair of answers as long as the target.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from gapo_cli.errors import UserError
from gapo_cli.experiment import Experiment
from gapo_cli.prompts import calls
from gapo_cli.rollouts.validation import select_tasks
from gapo_cli.training.batches.pair_sources import Contrast, no_pair, rejected_texts, saved_groups, widest
from gapo_cli.training.batches.pairs import ByPair, plan_pairs
from gapo_cli.training.batches.passes import Lengths, answered
from gapo_cli.training.learners.token_count import LEARNT_FROM
from gapo_cli.training.outline import (
    Amount,
    AsGroups,
    MeasuredTasks,
    Outline,
    TaskLengths,
    asking_in_evaluations,
    batches_in_words,
    largest,
    left_out,
    lengths_in_words,
    passed_tokens,
    spread,
)

PASSED = 1 + LEARNT_FROM
"""What a token of a pass counts: once for the reference, and for the policy, which learns."""


@dataclass(frozen=True)
class PlannedPairs:
    """`sampled`: groups that are answered before the first step. `share`: as many more pairs there are for each of `kept`."""

    kept: Sequence[Lengths]
    sampled: Sequence[Lengths]
    too_long: int
    share: float


def outline_of_pairs(experiment: Experiment, as_rl: Experiment, measured: MeasuredTasks) -> Outline:
    """`as_rl`: the experiment as the learner tells it in the sections of stage=rl. Raises DataError where there is no pair, and
    UserError where none fits the context."""
    pairs = pairs_of(experiment, measured)
    if not pairs.kept:
        what = "tasks with an answer" if experiment.dpo.pairs == "sampled" else "pairs"
        raise UserError(
            f"model.context_length={experiment.model.context_length}: none of the {pairs.too_long} {what} fits it; raise it"
        )
    lengths = TaskLengths.of(pairs.kept, measured, pairs.too_long)
    sampled = sum(group.tokens for group in pairs.sampled)
    numbers = scheduled(pairs.kept, experiment, sampled, pairs.share)
    batches = [[pairs.kept[index] for index in batch] for batch in numbers]
    some = spread(batches)
    held_out = experiment.evaluation.tasks or len(measured.tasks)
    return Outline(
        memory=in_memory(as_rl, batches, held_out, max(lengths.prompts)),
        steps=len(batches),
        batches=some,
        counted=len(some),
        first=pairs.sampled,
        evaluate_every=experiment.evaluation.every_steps,
        lengths=lengths,
        computed=sampled + len(batches) * PASSED * passed_tokens(some, ByPair(), as_rl.trainer),
        amounts=amounts(experiment, lengths, pairs, batches),
        notes=notes(experiment, pairs),
    )


def pairs_of(experiment: Experiment, measured: MeasuredTasks) -> PlannedPairs:
    """Raises DataError where there is no pair."""
    config = experiment.dpo
    if config.pairs == "sampled":
        return pairs_to_sample(experiment, measured)
    found = rejected_pairs(experiment, measured) if config.from_rejected else []
    contrasts: list[Contrast] = []
    if config.from_rollouts:
        contrasts = [Contrast.of(group) for group in saved_groups(config)]
        found += [saved_pair(one) for one in widest(contrasts, config)]
    if not found:
        raise no_pair(measured.tasks, contrasts, config)
    kept = [pair for pair in found if pair.prompt + max(pair.answers) <= experiment.model.context_length]
    return PlannedPairs(kept, (), len(found) - len(kept), measured.share if config.pairs == "rejected" else 1.0)


def pairs_to_sample(experiment: Experiment, measured: MeasuredTasks) -> PlannedPairs:
    limit, template, wanted = experiment.sampling.max_new_tokens, experiment.template, experiment.dpo.sampled_tasks
    places = select_tasks(range(len(measured.tasks)), wanted, experiment.seed)
    room = experiment.model.context_length - limit
    fitting = [place for place in places if measured.prompts[place] <= room]
    too_long = len(places) - len(fitting)
    # of more tasks than are looked at, these again
    fitting = [
        fitting[place % len(fitting)] for place in range(round(len(fitting) * min(wanted, measured.total) / len(places)))
    ]
    tasks = [measured.tasks[place] for place in fitting]
    targets = measured.count([calls.answer(template, task, task.target) for task in tasks])
    prompts, answers = [measured.prompts[place] for place in fitting], [min(target, limit) for target in targets]
    return PlannedPairs(
        answered(prompts, answers, 2),
        answered(prompts, answers, experiment.sampling.group_size),
        too_long,
        1.0,
    )


def rejected_pairs(experiment: Experiment, measured: MeasuredTasks) -> list[Lengths]:
    """As `gapo_cli.training.batches.pair_sources.rejected_pairs`."""
    template, wanted = experiment.template, rejected_texts(measured.tasks)
    prompts = {task.id: prompt for task, prompt in zip(measured.tasks, measured.prompts, strict=True)}
    chosen = measured.count([calls.answer(template, task, task.target) for task, _ in wanted])
    rejected = measured.count([calls.answer(template, task, text) for task, text in wanted])
    return [
        Lengths(prompts[task.id], (better, worse)) for (task, _), better, worse in zip(wanted, chosen, rejected, strict=True)
    ]


def saved_pair(contrast: Contrast) -> Lengths:
    """As `gapo_cli.training.batches.pair_sources.rollout_pairs`."""
    chosen, rejected = (contrast.group.completions[place].token_ids for place in (contrast.best, contrast.worst))
    return Lengths(len(contrast.group.prompt_token_ids), (len(chosen), len(rejected)))


def scheduled(pairs: Sequence[Lengths], experiment: Experiment, computed: int, share: float = 1.0) -> Sequence[Sequence[int]]:
    """The run's batches as numbers of its pairs, as many as `trainer.budget_tokens` lasts for where `computed` tokens are computed
    already; at least one. Each pair makes a pass of the reference and one that learns; padding is not counted. `share`: as many
    more pairs there are for each of these."""
    config, budget = experiment.dpo, experiment.trainer.budget_tokens
    if config.epochs is not None:
        config = replace(config, epochs=config.epochs * share)
    plan = plan_pairs(len(pairs), config, random.Random(experiment.seed))
    if budget is None:
        return plan
    for count, batch in enumerate(plan, 1):
        # packed: the prompt once, and of each answer all but the last token, a label only
        computed += PASSED * sum(pairs[index].tokens - len(pairs[index].answers) for index in batch)
        if computed >= budget:
            return plan[:count]
    return plan


def in_memory(as_rl: Experiment, batches: Sequence[Sequence[Lengths]], held_out: int, asked: int) -> AsGroups:
    """The largest of the batches, beside the reference, and the engine at its most: in an evaluation of so many held-out tasks, or
    before the first step. Prompts have at most `asked` tokens."""
    trainer, division = as_rl.trainer, ByPair()
    groups = largest(batches, division, trainer.layout, trainer.max_tokens_per_microbatch) if batches else ()
    asking = asking_in_evaluations(as_rl, held_out)
    before = trainer.prompts_per_step * as_rl.sampling.group_size if as_rl.dpo.pairs == "sampled" else 0
    if before > asking.trainer.prompts_per_step * asking.sampling.group_size:
        at_once = replace(
            asking.trainer, prompts_per_step=trainer.prompts_per_step, prompts_per_mini_batch=trainer.prompts_per_step
        )
        asking = replace(asking, trainer=at_once, sampling=as_rl.sampling)
    return AsGroups(asking, groups, asked, division, reference=True)


def amounts(
    experiment: Experiment, lengths: TaskLengths, pairs: PlannedPairs, batches: Sequence[Sequence[Lengths]]
) -> list[Amount]:
    count, size = round(len(pairs.kept) * pairs.share), experiment.dpo.pairs_per_batch
    passes = sum(map(len, batches)) / count
    found = lengths_in_words(lengths)
    if pairs.sampled:
        answers = sum(len(group.answers) for group in pairs.sampled)
        found.append(
            Amount(
                "sampled_answers",
                answers,
                "answers before the first step",
                f"{answers:,} ({experiment.sampling.group_size} to each of {len(pairs.sampled):,} tasks)",
            )
        )
    return [
        *found,
        Amount("pairs", count, "pairs", f"{'at most ' if pairs.sampled else ''}{count:,}"),
        Amount("pairs_per_step", size, "pairs a step", f"{size:,}"),
        *batches_in_words(batches, "prompts and both answers", estimated=lengths.estimated),
        Amount("passes_over_pairs", passes, "passes over the pairs", f"{passes:.2g}"),
    ]


def notes(experiment: Experiment, pairs: PlannedPairs) -> list[str]:
    found = left_out(experiment, pairs.too_long, "tasks to be answered" if pairs.sampled else "pairs", "do not fit")
    if pairs.sampled:
        found.append(
            f"How many groups differ by dpo.margin={experiment.dpo.margin} is known when they are sampled: the plan takes a pair of "
            "each, as long as the target."
        )
    return found
