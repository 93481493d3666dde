"""Every yaml under conf/ composes and its parts can be built; a new file is found by itself."""

from pathlib import Path

import pytest

import gapo_cli.conf
from gapo_cli.composition import build_experiment, command_overrides, compose_overrides, open_tree, without_hydra
from gapo_cli.interfaces import Experiment, TextEngine

CONF = Path(gapo_cli.conf.__path__[0])
OPTIONS = sorted(
    f"{path.parent.relative_to(CONF)}={path.stem}" for path in CONF.rglob("*.yaml") if path.parent != CONF
)
# what an option leaves to its user
NEEDS = {
    "model=hf": ["model.path=some/model"],
    "data=editeval": ["data.path=tasks"],
    "data=git": ["data.repo=."],
    "data=jsonl": ["data.path=tasks"],
    "engine=openai": ["engine.base_url=http://localhost:8000/v1", "engine.model=some-model"],
    "model=served": ["engine=openai", "engine.base_url=http://localhost:8000/v1", "engine.model=some-model"],
}


def experiment_of(verb: str, words: list[str]) -> Experiment:
    with open_tree(None) as hydra:
        config = compose_overrides(hydra, command_overrides(verb, words))
        return build_experiment(without_hydra(config), config.hydra.runtime.choices, Path("run"))


def test_the_tree_has_every_group_of_the_command_line():
    groups = {option.split("=")[0] for option in OPTIONS}
    assert groups >= {"model", "data", "prompt", "estimator", "algorithm", "reward", "engine", "trainer", "experiment"}


@pytest.mark.parametrize("option", OPTIONS)
def test_each_option_composes_and_builds(option):
    experiment = experiment_of("train", [option, *NEEDS.get(option, [])])
    assert callable(experiment.engine) or isinstance(experiment.engine, TextEngine)
    assert callable(experiment.estimator)


@pytest.mark.parametrize("verb", ["prepare", "rollout", "train", "eval"])
def test_the_defaults_build_for_each_verb(verb):
    experiment = experiment_of(verb, [])
    assert (experiment.verb, experiment.run_dir, experiment.estimator_name) == (verb, Path("run"), "gapo")


def test_every_estimator_goes_with_every_algorithm():
    estimators = [option for option in OPTIONS if option.startswith("estimator=")]
    for algorithm in (option for option in OPTIONS if option.startswith("algorithm=")):
        for estimator in estimators:
            experiment = experiment_of("train", [algorithm, estimator])
            assert experiment.algorithm.name == algorithm.split("=")[1]
            assert type(experiment.estimator).__module__.rsplit(".", 1)[1] in estimator


def test_a_quarter_of_the_answer_is_dapos_overlong_buffer():
    # 40 / 4 = 10; 6 / 4 = 1.5, rounded to even: 2; 1 / 4 rounds to 0, but a buffer has at least one token
    for tokens, buffer in ((40, 10), (6, 2), (1, 1)):
        experiment = experiment_of("train", ["algorithm=dapo", f"sampling.max_new_tokens={tokens}"])
        assert experiment.algorithm.overlong.buffer_tokens == buffer


def test_a_model_chooses_its_prompt_and_the_command_line_chooses_again():
    with open_tree(None) as hydra:
        chosen = [
            compose_overrides(hydra, words).hydra.runtime.choices["prompt"]
            for words in ([], ["model=hf"], ["model=hf", "prompt=nano"])
        ]
    assert chosen == ["nano", "zeta1", "nano"]
