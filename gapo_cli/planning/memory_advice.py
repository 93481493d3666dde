"""What a run that has run out of memory is told: which key to what value, and what that would save of what was done then."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from gapo_cli.config.supervised import SupervisedConfig
from gapo_cli.config.trainer import TrainerConfig
from gapo_cli.errors import UserError
from gapo_cli.experiment import Experiment
from gapo_cli.models.loaded import LoadedModel
from gapo_cli.planning.advice import FEWER, WORTH_SAYING, possible, rows_of
from gapo_cli.planning.footprint import Settings, memory, standing
from gapo_cli.planning.model_shape import find_shape, shape_of
from gapo_cli.quantities import size
from gapo_cli.training.out_of_memory import Advise, Phase

RL: Mapping[str, str] = {}
SUPERVISED = {
    name.replace("supervised", "trainer"): name for name in ("supervised.max_tokens_per_microbatch", "supervised.optimizer")
}
"""By what the keys of stage=rl are called in a stage."""
WORDS: dict[Phase, str] = {"loading": "the model", "rollout": "sampling answers", "update": "learning"}
UNRECKONED: dict[Phase, str] = {
    "loading": "model.lora.rank=16 with model.dtype=bfloat16 and trainer.dtype=bfloat16 takes less than a quarter",
    "rollout": "lower engine.max_rows",
    "update": "lower trainer.max_tokens_per_microbatch, or set trainer.gradient_checkpointing=true",
}
"""For models whose layers `gapo plan` does not know."""
ONLY_SAMPLING = ("rollout", "eval")
"""Verbs that load a policy and have no optimizer for it."""


@dataclass(frozen=True)
class Case:
    """What memory follows from; `longest`: as in `footprint.memory`; `learns`: there is an optimizer."""

    settings: Settings
    longest: Sequence[int]
    learns: bool = True

    def taken(self, phase: Phase) -> int:
        """Bytes, by estimate."""
        if phase == "loading":
            parts = standing(self.settings)
            return parts["weights"] + parts["reference"]
        parts = getattr(memory(self.settings, self.longest), phase)
        return sum(parts.values()) - (0 if self.learns else parts["optimizer"])


def before_lengths(experiment: Experiment) -> Advise:
    """Where there is no model yet, or nothing is known of the prompts: as if they were as long as they may be."""
    longest = max(1, experiment.model.context_length - experiment.sampling.max_new_tokens)
    return _advice(lambda phase: Case(_settings(experiment), [longest], experiment.verb not in ONLY_SAMPLING), RL)


def while_reinforcing(experiment: Experiment, policy: LoadedModel, prompt_lengths: Sequence[int]) -> Advise:
    """`prompt_lengths`: of the training tasks."""
    longest = sorted(prompt_lengths, reverse=True)[: experiment.trainer.prompts_per_mini_batch]
    return _advice(lambda phase: Case(_settings(experiment, policy), longest, experiment.verb not in ONLY_SAMPLING), RL)


def while_supervising(
    experiment: Experiment, policy: LoadedModel, examples: Sequence[tuple[int, int]], held_out_lengths: Sequence[int]
) -> Advise:
    """`examples`: lengths of prompt and answer; `held_out_lengths`: of the prompts that are evaluated on."""

    def case(phase: Phase) -> Case:
        settings = _settings(experiment, policy)
        if phase == "update":
            return _supervised_case(settings, experiment.supervised, examples)
        sampling = replace(settings.sampling, group_size=max(1, experiment.evaluation.samples))
        trainer = _of_prompts(settings.trainer, len(held_out_lengths))
        return Case(replace(settings, sampling=sampling, trainer=trainer), [max(held_out_lengths, default=1)])

    return _advice(case, SUPERVISED)


def _settings(experiment: Experiment, policy: LoadedModel | None = None) -> Settings:
    """Raises UserError for a model whose layers `gapo plan` does not know."""
    model, trainer, algorithm = experiment.model, experiment.trainer, experiment.algorithm
    shape = find_shape(model) if policy is None else shape_of(policy.model.config.to_dict(), f"model.path={model.path}")
    supervised = experiment.stage == "sft"
    if supervised:
        trainer = replace(trainer, optimizer=experiment.supervised.optimizer)
    if supervised or experiment.verb in ONLY_SAMPLING:
        algorithm = algorithm.without_reference()  # none is loaded
    return Settings(shape, model, trainer, algorithm, experiment.sampling, experiment.engine)


def _supervised_case(settings: Settings, config: SupervisedConfig, examples: Sequence[tuple[int, int]]) -> Case:
    """A batch of the longest examples, as groups of one answer."""
    answer = max(answer for _, answer in examples)
    longest: list[int] = []
    tokens = 0
    for length in sorted(map(sum, examples), reverse=True):
        if longest and tokens + length > config.tokens_per_batch:
            break
        longest.append(max(1, length - answer))
        tokens += length
    trainer = replace(
        _of_prompts(settings.trainer, len(longest)), layout="packed", max_tokens_per_microbatch=config.max_tokens_per_microbatch
    )
    sampling = replace(settings.sampling, group_size=1, max_new_tokens=answer)
    return Case(replace(settings, trainer=trainer, sampling=sampling), longest)


def _of_prompts(trainer: TrainerConfig, count: int) -> TrainerConfig:
    return replace(trainer, prompts_per_step=max(1, count), prompts_per_mini_batch=max(1, count))


def _advice(case_of: Callable[[Phase], Case], names: Mapping[str, str]) -> Advise:
    """`names`: what the keys of stage=rl are called in this stage."""

    def advise(phase: Phase) -> str:
        try:
            words = in_words(phase, case_of(phase))
        except UserError:
            words = UNRECKONED[phase]
        for name, here in names.items():
            words = words.replace(name, here)
        return words

    return advise


def in_words(phase: Phase, case: Case) -> str:
    """What the phase takes, and what would lower that, the largest saving first."""
    before = case.taken(phase)
    worth = WORTH_SAYING * (before - standing(case.settings).get("libraries", 0))
    saved = []
    for words, price, settings in possible(case.settings):
        saves = before - Case(settings, case.longest).taken(phase)
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
    return f"{takes}; {'; '.join(changes)}. gapo plan shows what takes how much"
