"""What is given and not read by the chosen way of training."""

from pathlib import Path

import pytest

from gapo_cli.launching.building import build_experiment
from gapo_cli.launching.composition import command_overrides, compose_overrides, open_tree, without_hydra
from gapo_cli.launching.unread import unread_sentence


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["trainer.steps=5", "estimator=grpo"], None),
        (["dpo.beta=1"], "not read with stage=rl: dpo.beta=1"),
        (["stage=sft", "trainer.steps=5", "supervised.tokens=9"], "not read with stage=sft: trainer.steps=5 (supervised.tokens is)"),
        (
            ["stage=dpo", "trainer.optimizer.learning_rate=1e-3", "algorithm=dapo", "reward=em", "dpo.margin=2", "dpo.beta=1"],
            ("not read with stage=dpo dpo.pairs=rejected: trainer.optimizer.learning_rate=1e-3 (dpo.optimizer.learning_rate is), "
            "algorithm=dapo, reward=em, dpo.margin=2"),
        ),
        (["stage=dpo", "dpo.pairs=sampled", "algorithm=dapo", "reward=em", "dpo.margin=0.1", "sampling.group_size=8"], None),
        (["stage=dpo", "tau=0.3"], "not read with stage=dpo dpo.pairs=rejected: estimator.tau=0.3"),
    ],
)  # fmt: skip
def test_settings_that_a_stage_does_not_read_are_named_with_those_that_it_does(words, sentence):
    overrides = command_overrides("train", words)
    with open_tree(None) as hydra:
        config = compose_overrides(hydra, overrides)
        experiment = build_experiment(without_hydra(config), config.hydra.runtime.choices, Path("run"))
    assert unread_sentence(experiment, overrides) == sentence
