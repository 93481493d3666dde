"""What a run that has run out of memory is told: which key to what value, and what that would save of what was done then."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from gapo_cli.errors import UserError
from gapo_cli.experiment import Experiment
from gapo_cli.models.loaded import LoadedModel
from gapo_cli.planning.advice import FEWER, WORTH_SAYING, named_by, possible, rows_of
from gapo_cli.planning.footprint import Settings, learning_memory, sampling_memory, standing
from gapo_cli.planning.model_shape import find_shape, shape_of
from gapo_cli.quantities import size
from gapo_cli.training.batches.passes import Lengths
from gapo_cli.training.learners.planned_rollouts import in_memory
from gapo_cli.training.out_of_memory import Advise, Phase
from gapo_cli.training.outline import AsGroups

WORDS: dict[Phase, str] = {"loading": "the model", "rollout": "sampling answers", "update": "learning"}
NOT_PLANNED: dict[Phase, str] = {
    "loading": "model.lora.rank=16 with model.dtype=bfloat16 and trainer.dtype=bfloat16 takes less than a quarter",
    "rollout": "lower engine.max_rows",
    "update": "lower trainer.max_tokens_per_microbatch, or set trainer.gradient_checkpointing=true",
}
"""For models whose layers `gapo plan` does not know."""
ONLY_SAMPLING = ("rollout", "eval")
"""Verbs that load a policy and have no optimizer for it."""


@dataclass(frozen=True)
class Case:
    """What memory follows from; `groups` and `asked`: as in `footprint.memory`; `learns`: there is an optimizer."""

    settings: Settings
    groups: Sequence[Lengths]
    asked: int
    learns: bool = True

    def taken(self, phase: Phase) -> int:
        """Bytes, by estimate."""
        if phase == "loading":
            parts = standing(self.settings)
            return parts["weights"] + parts["reference"] + parts.get("critic", 0)
        if phase == "update":
            return sum(learning_memory(self.settings, self.groups, self.asked).values())
        parts = sampling_memory(self.settings, self.asked)
        return sum(parts.values()) - (0 if self.learns else parts["optimizer"])


def before_lengths(experiment: Experiment) -> Advise:
    """Where there is no model yet, or nothing is known of the prompts: as if they were as long as they may be."""
    longest = max(1, experiment.model.context_length - experiment.sampling.max_new_tokens)
    return _advice(experiment, None, lambda: in_memory(experiment.learner.as_rl(experiment), [longest]))


def with_lengths(experiment: Experiment, policy: LoadedModel, prompt_lengths: Sequence[int]) -> Advise:
    """For verbs that sample from the prompts of the training tasks."""
    return _advice(experiment, policy, lambda: in_memory(experiment.learner.as_rl(experiment), prompt_lengths))


def while_learning(experiment: Experiment, policy: LoadedModel, as_groups: Callable[[], AsGroups]) -> Advise:
    """For a learner, which says what it holds."""
    return _advice(experiment, policy, as_groups)


def _advice(experiment: Experiment, policy: LoadedModel | None, as_groups: Callable[[], AsGroups]) -> Advise:
    """Settings are named as the learner names them."""

    def advise(phase: Phase) -> str:
        try:
            words = in_words(phase, case_of(as_groups(), policy))
        except UserError:
            words = NOT_PLANNED[phase]
        return named_by(experiment.learner, words)

    return advise


def case_of(told: AsGroups, policy: LoadedModel | None) -> Case:
    """Raises UserError for a model whose layers `gapo plan` does not know."""
    experiment, model = told.experiment, told.experiment.model
    learns = experiment.verb not in ONLY_SAMPLING
    # what only samples loads nothing beside the policy
    algorithm = experiment.algorithm if learns else experiment.algorithm.policy_alone()
    shape = find_shape(model) if policy is None else shape_of(policy.model.config.to_dict(), f"model.path={model.path}")
    settings = Settings.told_by(replace(told, experiment=replace(experiment, algorithm=algorithm)), shape)
    return Case(settings, told.groups, told.asked, learns)


def in_words(phase: Phase, case: Case) -> str:
    """What the phase takes, and what would lower that, the largest saving first."""
    before = case.taken(phase)
    worth = WORTH_SAYING * (before - standing(case.settings).get("libraries", 0))
    saved = []
    for words, price, settings in possible(case.settings):
        saves = before - replace(case, settings=settings).taken(phase)
        if saves > worth:
            saved.append((saves, f"{words} would save {size(saves)} (its price: {price})"))
    changes = [words for _, words in sorted(saved, reverse=True)]
    rows = rows_of(case.settings.engine)
    # an engine that does not say what it holds
    if phase == "rollout" and rows is not None and not any(words.startswith("engine.") for words in changes):
        changes.insert(0, f"engine.max_rows={max(1, rows // FEWER)} would hold fewer answers at a time")
    takes = f"{WORDS[phase]} takes {size(before)} by estimate"
    if not changes:
        return (
            f"{takes}, and no setting that gapo plan knows would lower it; take a smaller model, or a device with more memory"
        )
    return f"{takes}; {'; '.join(changes)}. gapo plan shows the memory of each part"
