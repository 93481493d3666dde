"""The model of `gapo eval` where none is named."""

import os
from pathlib import Path

import pytest
import yaml

from gapo_cli.cli.entry import run_command
from gapo_cli.errors import UserError
from gapo_cli.launching.model_choice import choose_model


def make_run(path: Path, written: int, context_length=777, prompt="nano", best="best") -> Path:
    """A run's folder with what is read of it; its checkpoint was written at the second `written`."""
    checkpoint = path / "checkpoints" / best
    checkpoint.mkdir(parents=True)
    (checkpoint / "config.json").write_text("{}")
    (checkpoint / "best.json").write_text("{}")
    os.utime(checkpoint / "best.json", (written, written))
    config = {
        "model": {
            "name": "small",
            "path": "x",
            "context_length": context_length,
            "chat": True,
            "trust_remote_code": True,
            "thinking": False,
            "dtype": "bfloat16",
        },
        "trainer": {"device": "cuda", "dtype": "bfloat16"},
        "prompt": {"_target_": "somewhere"},
        "sampling": {"max_new_tokens": 99},
    }
    (path / "config.resolved.yaml").write_text(yaml.safe_dump(config))
    (path / ".hydra").mkdir()
    (path / ".hydra" / "hydra.yaml").write_text(yaml.safe_dump({"hydra": {"runtime": {"choices": {"prompt": prompt}}}}))
    return path


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_checkpoint_that_was_written_last_is_taken_jobs_of_sweeps_included(here):
    make_run(Path("outputs/train/b"), written=100)
    make_run(Path("outputs/sweep/a/0"), written=300)
    make_run(Path("outputs/train/c"), written=200)
    words, sentence = choose_model("eval", ["on", "zeta", "seed=1"])
    assert words[0] == "model=hf" and words[1] == "model.path='outputs/sweep/a/0/checkpoints/best'"
    assert words[-3:] == ["on", "zeta", "seed=1"]
    assert sentence == "model: outputs/sweep/a/0/checkpoints/best, the newest run's (name another by run=PATH or model=...)"


def test_a_checkpoint_is_evaluated_as_its_run_was_configured(here, capsys):
    make_run(Path("outputs/train/b"), written=100)
    assert run_command(["eval", "--print-config"]) == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert shown["model"].pop("lora")["rank"] == 0  # a checkpoint's adapter has its own settings
    assert shown["model"].pop("shape", None) is None
    assert shown["model"] == {
        "name": "small after b",
        "path": "outputs/train/b/checkpoints/best",
        "context_length": 777,
        "chat": True,
        "trust_remote_code": False,
        "thinking": False,
        "dtype": "bfloat16",
    }
    assert (shown["trainer"]["device"], shown["trainer"]["dtype"]) == ("cuda", "bfloat16")
    assert shown["prompt"]["_target_"] == "gapo_cli.prompts.nano.NanoTemplate"
    assert shown["sampling"]["max_new_tokens"] == 99


def test_a_trainer_that_is_named_brings_its_own_device_and_precision(here):
    make_run(Path("outputs/train/b"), written=100)
    words, _ = choose_model("eval", ["trainer=cpu"])
    assert not [word for word in words if word.startswith("trainer.")]


def test_a_checkpoint_may_be_an_adapter(here):
    run = make_run(Path("outputs/train/b"), written=100)
    (run / "checkpoints/best/config.json").rename(run / "checkpoints/best/adapter_config.json")
    words, _ = choose_model("eval", ["run=outputs/train/b"])
    assert words[1] == "model.path='outputs/train/b/checkpoints/best'"


def test_settings_that_the_user_types_win_over_those_of_the_run(here, capsys):
    make_run(Path("outputs/train/b"), written=100)
    assert run_command(["eval", "model.context_length=64", "prompt=five_part", "--print-config"]) == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert shown["model"]["context_length"] == 64
    assert shown["prompt"]["_target_"].startswith("gapo_cli.prompts.five_part.")


@pytest.mark.parametrize(
    "words",
    [
        ["model=nano"],
        ["model=hf", "model.path=/m"],
        ["model.path=/m"],
        ["model.base=clean"],
        ["baseline=copy"],
        ["engine=openai"],
    ],
)
def test_what_the_user_names_is_taken(here, words):
    make_run(Path("outputs/train/b"), written=100)
    assert choose_model("eval", words) == (words, None)


def test_other_verbs_start_from_their_own_model(here):
    make_run(Path("outputs/train/b"), written=100)
    assert choose_model("train", ["seed=1"]) == (["seed=1"], None)


def test_without_a_checkpoint_the_default_model_is_taken_and_said_to_be(here):
    Path("outputs/train/unfinished").mkdir(parents=True)
    words, sentence = choose_model("eval", [])
    assert words == []
    assert sentence == "model: the default one (none is named, and no run under outputs/ has a best or final checkpoint)"


def test_a_supervised_run_has_a_final_checkpoint(here):
    make_run(Path("outputs/train/rl"), written=100)
    run = make_run(Path("outputs/train/sft"), written=50, best="final")
    (run / "supervised.json").write_text("{}")
    os.utime(run / "supervised.json", (200, 200))
    words, sentence = choose_model("eval", [])
    assert words[1] == "model.path='outputs/train/sft/checkpoints/final'" and "sft/checkpoints/final, the newest" in sentence
    assert choose_model("eval", ["run=outputs/train/sft"])[0][1] == words[1]


@pytest.mark.parametrize("damage", ["", "model: [", "model: {name: a}", "\xff"])
def test_a_run_whose_configuration_is_damaged_is_named(here, damage):
    run = make_run(Path("outputs/train/b"), written=100)
    (run / "config.resolved.yaml").write_bytes(damage.encode("latin-1"))
    with pytest.raises(UserError, match=r"^outputs/train/b: its configuration cannot be read \(\w+\); name another run"):
        choose_model("eval", [])


def test_run_names_a_run_or_one_of_its_checkpoints(here):
    make_run(Path("outputs/train/new"), written=200)
    old = make_run(here / "elsewhere" / "old, run", written=100, best="step-00020")
    words, sentence = choose_model("eval", [f"run={old}/checkpoints/step-00020", "samples=0"])
    assert words[1] == f"model.path='{old}/checkpoints/step-00020'"
    assert words[-1] == "samples=0" and not any(word.startswith("run=") for word in words)
    assert sentence == f"model: {old}/checkpoints/step-00020, of run={old}/checkpoints/step-00020"
    with pytest.raises(UserError, match="has no checkpoints/best"):
        choose_model("eval", [f"run={old}"])


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["run=nowhere"], "run=nowhere: no such folder"),
        (["run=empty"], "run=empty: has no checkpoints/best"),
        (["run=empty", "model=nano"], "run=empty and model=nano: both say what is measured"),
        (["run=empty", "baseline=copy"], "run=empty and baseline=copy: both say what is measured"),
    ],
)
def test_a_run_that_cannot_be_taken_is_answered_in_one_sentence(here, capsys, words, sentence):
    Path("empty").mkdir()
    assert run_command(["eval", *words]) == 2
    assert sentence in capsys.readouterr().err
