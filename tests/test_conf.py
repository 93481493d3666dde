"""Every yaml under conf/ composes and its parts can be built; a new file is found by itself."""

from functools import cache
from pathlib import Path

import pytest

import gapo_cli.conf
from gapo_cli.experiment import Experiment
from gapo_cli.interfaces import TextEngine
from gapo_cli.launching.building import build_experiment
from gapo_cli.launching.composition import command_overrides, compose_overrides, open_tree, without_hydra
from gapo_cli.planning.cost import parameters
from gapo_cli.planning.model_shape import find_shape

CONF = Path(gapo_cli.conf.__path__[0])
OPTIONS = sorted(
    f"{path.parent.relative_to(CONF)}={path.stem}"
    for path in CONF.glob("*/*.yaml")
    if path.parent.name not in ("study", "evolve")
)
# what an option leaves to its user
NEEDS = {
    "model=hf": ["model.path=some/model"],
    "data=editeval": ["data.path=tasks"],
    "data=git": ["data.repo=."],
    "data=jsonl": ["data.path=tasks"],
    "data=zed": ["data.path=tasks"],
    "engine=openai": ["engine.base_url=http://localhost:8000/v1", "engine.model=some-model"],
    "engine=replay": ["engine.path=some/rollouts.parquet"],
    "model=served": ["engine=openai", "engine.base_url=http://localhost:8000/v1", "engine.model=some-model"],
}


def experiment_of(verb: str, words: list[str]) -> Experiment:
    return built(verb, tuple(words))


@cache
def built(verb: str, words: tuple[str, ...]) -> Experiment:
    """Composing takes half a second, and what comes out is frozen."""
    with open_tree(None) as hydra:
        config = compose_overrides(hydra, command_overrides(verb, words))
        return build_experiment(without_hydra(config), config.hydra.runtime.choices, Path("run"))


def test_the_tree_has_every_group_of_the_command_line():
    groups = {option.split("=")[0] for option in OPTIONS}
    assert groups >= {"model", "data", "prompt", "estimator", "algorithm", "reward", "engine", "trainer", "experiment"}


@pytest.mark.slow
@pytest.mark.parametrize("option", OPTIONS)
def test_each_option_composes_and_builds(option):
    if option == "reward=parses":
        pytest.importorskip("tree_sitter_language_pack")
    verb = "eval" if option.startswith("perturbation=") else "train"
    experiment = experiment_of(verb, [option, *NEEDS.get(option, [])])
    assert callable(experiment.engine) or isinstance(experiment.engine, TextEngine)
    assert callable(experiment.estimator)
    assert experiment.model.trust_remote_code is False
    if option.startswith("estimator="):
        module = type(experiment.estimator).__module__.rsplit(".", 1)[1]
        assert module == option.removeprefix("estimator=")  # gapo is a part of gapo_mean, and not the same


@pytest.mark.parametrize("verb", ["prepare", "rollout", "train", "eval"])
def test_the_defaults_build_for_each_verb(verb):
    experiment = experiment_of(verb, [])
    assert (experiment.verb, experiment.run_dir, experiment.estimator_name) == (verb, Path("run"), "gapo")


@pytest.mark.slow
def test_every_estimator_goes_with_every_algorithm():
    default = experiment_of("train", []).algorithm.name  # with which each estimator is built above
    algorithms = [option for option in OPTIONS if option.startswith("algorithm=")]
    assert f"algorithm={default}" in algorithms
    # a critic takes the place of an estimator (docs/how-to/ppo.md)
    for algorithm in set(algorithms) - {f"algorithm={default}", "algorithm=ppo"}:
        for estimator in (option for option in OPTIONS if option.startswith("estimator=")):
            experiment = experiment_of("train", [algorithm, estimator])
            assert experiment.algorithm.name == algorithm.removeprefix("algorithm=")
            assert experiment.estimator == experiment_of("train", [estimator]).estimator


def test_a_quarter_of_the_answer_is_dapos_overlong_buffer():
    # 40 / 4 = 10; 6 / 4 = 1.5, rounded to even: 2; 1 / 4 rounds to 0, but a buffer has at least one token
    for tokens, buffer in ((40, 10), (6, 2), (1, 1)):
        experiment = experiment_of("train", ["algorithm=dapo", f"sampling.max_new_tokens={tokens}"])
        assert experiment.algorithm.overlong.buffer_tokens == buffer


REAL = sorted({option for option in OPTIONS if option.startswith("model=")} - {"model=nano", "model=hf", "model=served"})
PAPER = {
    "mistral-7b": "mistralai/Mistral-7B-Instruct-v0.3",
    "qwen-3b": "Qwen/Qwen2.5-3B-Instruct",
    "qwen-7b": "Qwen/Qwen2.5-7B-Instruct",
    "qwen3-4b": "Qwen/Qwen3-4B",
    "qwen3-8b": "Qwen/Qwen3-8B",
    "qwen-coder-3b": "Qwen/Qwen2.5-Coder-3B-Instruct",
    "qwen-coder-7b": "Qwen/Qwen2.5-Coder-7B-Instruct",
    "qwen-coder-14b": "Qwen/Qwen2.5-Coder-14B-Instruct",
    "deepseek-coder-6.7b": "deepseek-ai/deepseek-coder-6.7b-instruct",
}


@pytest.mark.slow
def test_the_nine_models_of_the_paper_have_its_lengths_and_batches():
    for name, path in PAPER.items():
        found = experiment_of("train", [f"model={name}"])
        trainer, optimizer = found.trainer, found.trainer.optimizer
        assert (found.model.name, found.model.path, found.model.chat) == (name, path, True)
        assert found.model.thinking is (False if name.startswith("qwen3") else None)
        assert (found.template.budget, found.sampling.max_new_tokens, found.sampling.group_size) == (4096, 1024, 8)
        assert (trainer.prompts_per_step, trainer.prompts_per_mini_batch, trainer.device) == (512, 32, "cuda")
        assert (optimizer.betas, optimizer.weight_decay, optimizer.warmup_steps) == ((0.9, 0.999), 0.1, 10)


PARAMETERS = {
    "mistral-7b": 7_248_023_552,
    "qwen-3b": 3_085_938_688,
    "qwen-7b": 7_615_616_512,
    "qwen3-4b": 4_022_468_096,
    "qwen3-8b": 8_190_735_360,
    "qwen-coder-0.5b": 494_032_768,
    "qwen-coder-1.5b": 1_543_714_304,
    "qwen-coder-3b": 3_085_938_688,
    "qwen-coder-7b": 7_615_616_512,
    "qwen-coder-14b": 14_770_033_664,
    "deepseek-coder-6.7b": 6_740_512_768,
    "smollm2-135m": 134_515_008,
}
"""As the hub counts them in the models' safetensors files."""


@pytest.mark.parametrize("option", REAL)
def test_a_real_model_can_be_planned_with_where_it_is_not_here(option, monkeypatch):
    def no_network(*_, **__):
        raise AssertionError("nothing is to be fetched")

    monkeypatch.setattr("gapo_cli.models.folders._download", no_network)
    monkeypatch.setattr("gapo_cli.models.gguf_package.converted_folder", no_network)
    assert parameters(find_shape(experiment_of("train", [option]).model)) == PARAMETERS[option.split("=")[1]]


@pytest.mark.parametrize("option", REAL)
def test_prompt_answer_and_chat_template_fit_the_context_of_a_real_model(option):
    experiment = experiment_of("train", [option])
    assert experiment.template.budget + experiment.sampling.max_new_tokens + 64 == experiment.model.context_length


def test_precision_and_learning_rates_go_with_adapters_or_without():
    def chosen(*words):
        found = experiment_of("train", ["model=qwen-coder-7b", *words])
        return found.model.dtype, found.trainer.optimizer.learning_rate, found.supervised.optimizer.learning_rate

    assert chosen() == ("bfloat16", 1e-5, 2e-4)
    assert chosen("model.lora.rank=0") == ("float32", 1e-6, 1e-5)  # the paper's rate
    # what is computed in float32 is held in it too
    assert chosen("trainer=cpu") == ("float32", 5e-5, 2e-4)


@pytest.mark.parametrize(("engine", "there", "here"), [("torch", 16.0, 4.0), ("vllm", 24.0, 1.0)])
def test_a_gpu_has_more_room_for_keys_and_values(engine, there, here):
    for trainer, expected in (("gpu", there), ("cpu", here)):
        assert experiment_of("train", [f"engine={engine}", f"trainer={trainer}"]).engine.kv_cache_gib == expected


def test_a_real_model_can_be_taken_to_a_laptop():
    found = experiment_of("train", ["model=qwen-coder-0.5b", "model.path=some/folder", "trainer=cpu", "evaluation.tasks=7"])
    assert (found.model.path, found.trainer.device, found.trainer.dtype, found.evaluation.tasks) == (
        "some/folder",
        "cpu",
        "float32",
        7,
    )


def test_a_model_chooses_its_prompt_and_the_command_line_chooses_again():
    with open_tree(None) as hydra:
        chosen = [
            compose_overrides(hydra, words).hydra.runtime.choices["prompt"]
            for words in ([], ["model=hf"], ["model=hf", "prompt=nano"])
        ]
    assert chosen == ["nano", "zeta1", "nano"]
