"""Settings that were given and that the chosen way of training does not read: nobody should wait for what they cannot change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gapo_cli.experiment import Experiment
from gapo_cli.interfaces import SelectiveLearner
from gapo_cli.launching.overrides import key_of


def unread_words(experiment: Experiment, overrides: Sequence[str]) -> Mapping[str, str]:
    """Those of the overrides that training does not read → the key that it reads instead, "" where there is none."""
    learner = experiment.learner
    if not isinstance(learner, SelectiveLearner):
        return {}
    unread = learner.unread(experiment)
    found = {}
    for word in overrides:
        parts = key_of(word).split(".")
        named = next((key for end in range(1, len(parts) + 1) if (key := ".".join(parts[:end])) in unread), None)
        if named is not None:
            instead = unread[named]
            found[word] = instead and instead + key_of(word).removeprefix(named)
    return found


def unread_sentence(experiment: Experiment, overrides: Sequence[str]) -> str | None:
    """What is to be said about them; None where all are read."""
    words = [f"{word} ({instead} is)" if instead else word for word, instead in unread_words(experiment, overrides).items()]
    return f"not read with {way_of_training(experiment)}: {', '.join(words)}" if words else None


def way_of_training(experiment: Experiment) -> str:
    """What chose the learner and what it reads, as on a command line."""
    learner, critic = experiment.learner, experiment.algorithm.critic
    if learner.name == "dpo":
        return f"stage=dpo dpo.pairs={experiment.dpo.pairs}"
    return f"stage={learner.name}" + (" algorithm=ppo" if critic is not None and learner.samples else "")
