"""Adapters by the command line: trained, resumed, evaluated, trained on, exported."""

import json
import math
from pathlib import Path

import pytest
import torch
from parts import smallest, write_tasks

from gapo_cli.cli.entry import run_command
from gapo_cli.config.model import ModelConfig
from gapo_cli.models.load import load_model

peft = pytest.importorskip("peft", reason="the extra lora is not installed")

TOKENS = torch.tensor([[5, 6, 7, 8, 9, 10]])
# a random model earns nothing; the entropy moves it
MOVING = [
    "algorithm.terms.entropy.coefficient=1",
    "trainer.optimizer.learning_rate=0.02",
    "trainer.gradient_checkpointing=true",
]
LORA = ["model.lora.rank=2", "model.lora.alpha=64", *MOVING]


@pytest.fixture
def words(tmp_path, monkeypatch, tiny_model_folder) -> list[str]:
    monkeypatch.chdir(tmp_path)
    return smallest(write_tasks(tmp_path / "tasks.jsonl"), tiny_model_folder)


def run(*words: str) -> None:
    assert run_command([*words, "-q"]) == 0


def logits(folder: str | Path) -> torch.Tensor:
    with torch.no_grad():
        return load_model(ModelConfig("m", str(folder), 64)).model(TOKENS).logits


def rows(folder: str) -> list[dict[str, float]]:
    """The metrics without what a clock says."""
    found = [json.loads(line) for line in Path(folder, "metrics.jsonl").read_text().splitlines()]
    return [
        {name: value for name, value in row.items() if "time" not in name and "timing" not in name and "perf" not in name}
        for row in found
    ]


@pytest.mark.slow
def test_adapters_are_trained_resumed_evaluated_and_merged(words, tiny_model_folder):
    run("train", *words, *LORA, "hydra.run.dir=whole")
    run("train", *words, *LORA, "hydra.run.dir=half", "trainer.steps=1")
    run("train", "resume=half", "trainer.steps=2")
    last = Path("whole/checkpoints/step-00002")
    assert not (last / "model.safetensors").exists()
    name = "adapter_model.safetensors"
    assert (last / name).read_bytes() == (Path("half/checkpoints/step-00002") / name).read_bytes()
    # KL is that of the base with the adapter off: 0 in the first step's first update, above it once the adapter has moved
    assert rows("whole")[2]["actor/kl_loss"] > 1e-3
    assert rows("whole")[2]["actor/kl_loss"] == rows("half")[2]["actor/kl_loss"]
    trained = logits(last)
    assert not torch.allclose(trained, logits(tiny_model_folder), atol=1e-2)

    run("eval", *words[1:3], f"run={last}", "evaluation.tasks=4", "hydra.run.dir=evaluated")
    assert Path("evaluated/eval/step-00000.json").is_file()

    run("export", str(last), "plain")
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {path.name for path in Path("plain").iterdir()}
    torch.testing.assert_close(logits("plain"), trained, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "stage",
    [["trainer.steps=1"], ["stage=sft", "supervised.layout=packed", "supervised.epochs=1", "supervised.log_every=1"]],
    ids=["rl", "sft"],
)
def test_adapters_over_weights_in_half_precision_are_trained(words, stage):
    half = ["model.lora.rank=2", "trainer.dtype=bfloat16", "model.dtype=bfloat16"]
    run("train", *words, *half, *stage, "hydra.run.dir=half")
    assert list(Path("half/checkpoints").glob("step-*/adapter_model.safetensors"))
    norms = [row["actor/grad_norm"] for row in rows("half") if "actor/grad_norm" in row]
    assert norms
    assert all(map(math.isfinite, norms))


@pytest.mark.slow
def test_training_goes_on_from_an_adapter_and_compares_with_it(words):
    run("train", *words, *LORA, "hydra.run.dir=first", "trainer.steps=1", "evaluation.every_steps=0")
    adapter = "first/checkpoints/step-00001"
    once = ["trainer.prompts_per_mini_batch=4", "trainer.steps=1", "evaluation.every_steps=0"]
    run("train", *words, *MOVING, *once, f"model.path={adapter}", "hydra.run.dir=second")
    # one update: the policy is still where it began, which is the reference
    assert rows("second")[1]["actor/kl_loss"] == pytest.approx(0, abs=1e-7)
    assert not torch.allclose(logits("second/checkpoints/step-00001"), logits(adapter), atol=1e-3)
    base = json.loads(Path("second/checkpoints/step-00001/adapter_config.json").read_text())["base_model_name_or_path"]
    assert base == json.loads(Path(adapter, "adapter_config.json").read_text())["base_model_name_or_path"]


@pytest.mark.slow
def test_an_export_has_the_precision_that_is_asked_for_and_no_trainers_state(words):
    run("train", *words, "hydra.run.dir=plain", "trainer.steps=1")
    run("export", "plain", "half", "--dtype", "bfloat16")
    run("export", "half", "again")
    assert {json.loads(Path(folder, "config.json").read_text())["dtype"] for folder in ("half", "again")} == {"bfloat16"}
    assert Path("half/model.safetensors").read_bytes() == Path("again/model.safetensors").read_bytes()
    assert not list(Path("half").glob("trainer_state*"))
    torch.testing.assert_close(logits("half"), logits("plain/checkpoints/best"), rtol=0.05, atol=0.05)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nowhere", "new"], "nowhere: no such folder"),
        (["empty", "new"], "empty: holds neither a model nor a run with a checkpoint"),
        (["MODEL", "full"], "full: holds files that this command did not write (file); name another folder"),
        (["MODEL", "new", "--dtype", "float16"], "--dtype=float16: need one of auto, float32, bfloat16"),
    ],
)
def test_what_cannot_be_exported_is_said_in_a_sentence(arguments, sentence, tmp_path, monkeypatch, capsys, tiny_model_folder):
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("full").mkdir()
    Path("full/file").touch()
    assert run_command(["export", *(str(tiny_model_folder) if one == "MODEL" else one for one in arguments)]) == 2
    assert sentence in capsys.readouterr().err
    assert not Path("new").exists()
