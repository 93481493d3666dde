"""Fixtures that every room's tests share."""

from __future__ import annotations

import copy
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra.core.plugins import Plugins
from hypothesis import HealthCheck, settings
from kill_driver import KillDriver
from parts import PlainTemplate
from synthetic_run import write_run

from gapo_cli.config.algorithm import AlgorithmConfig
from gapo_cli.config.model import ModelConfig
from gapo_cli.config.sampling import SamplingConfig
from gapo_cli.config.trainer import OptimizerConfig, TrainerConfig

TINY_CONTEXT = 256

# no property fails because the machine is busy
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

# a shell starts what goes to the background with Ctrl-C ignored, nohup ignores a terminal's end, and a command that a test starts
# would inherit that
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="session", autouse=True)
def shipped_yaml_is_parsed_once() -> Iterator[None]:
    """Each composition parses some twenty files of the shipped tree, a third of its time and of a small command's a sixth."""
    Plugins.instance()  # which imports the class again
    from hydra._internal.core_plugins.importlib_resources_config_source import ImportlibResourcesConfigSource

    load, parsed = ImportlibResourcesConfigSource.load_config, {}

    def load_once(source, config_path):
        key = source.path, source.provider, config_path
        if key not in parsed:
            parsed[key] = load(source, config_path)
        return copy.deepcopy(parsed[key])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ImportlibResourcesConfigSource, "load_config", load_once)
        yield


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the commands are typed in."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope="session")
def driver() -> Iterator[KillDriver]:
    """Runs commands as processes of their own, without their imports' seconds."""
    with KillDriver() as started:
        yield started


@pytest.fixture(scope="session")
def tiny_model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Qwen2 (hidden 32, 2 layers) and a byte-level tokenizer (<pad> 0, <eos> 1, then the bytes), as a folder."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

    folder = tmp_path_factory.mktemp("tiny-model")
    tokens = ["<pad>", "<eos>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    core = Tokenizer(models.BPE(vocab={token: index for index, token in enumerate(tokens)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>", eos_token="<eos>")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Qwen2ForCausalLM(
            Qwen2Config(
                vocab_size=len(tokens),
                hidden_size=32,
                num_hidden_layers=2,
                num_attention_heads=2,
                num_key_value_heads=1,
                intermediate_size=64,
                max_position_embeddings=TINY_CONTEXT,
                tie_word_embeddings=False,
                pad_token_id=0,
                eos_token_id=1,
                bos_token_id=None,
                initializer_range=0.3,  # wide: a distribution that is not flat, so that greedy answers differ by prompt
            )
        )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def tiny_config(tiny_model_folder: Path) -> ModelConfig:
    return ModelConfig(name="tiny", path=str(tiny_model_folder), context_length=TINY_CONTEXT)


@pytest.fixture
def tiny_policy(tiny_config: ModelConfig):
    """The tiny model as a LoadedModel, loaded again for each test, so that a test may change its weights."""
    from gapo_cli.models.load import load_model

    return load_model(tiny_config)


@pytest.fixture
def template() -> PlainTemplate:
    return PlainTemplate()


@pytest.fixture
def sampling() -> SamplingConfig:
    return SamplingConfig(group_size=4, max_new_tokens=12)


@pytest.fixture
def algorithm() -> AlgorithmConfig:
    return AlgorithmConfig(name="grpo")


@pytest.fixture
def trainer() -> TrainerConfig:
    return TrainerConfig(
        steps=4,
        prompts_per_step=4,
        prompts_per_mini_batch=2,
        optimizer=OptimizerConfig(learning_rate=1e-3, warmup_steps=2),
        checkpoint_every=2,
    )


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole run of three steps; tests must not write into it."""
    return write_run(tmp_path_factory.mktemp("runs") / "finished")
