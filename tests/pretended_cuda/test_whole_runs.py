"""Whole commands on the pretended GPU, beside the same on the CPU: the package is unchanged, and knows no other device than cuda."""

import json
import re
import shutil
from functools import cache
from pathlib import Path

import pandas as pd
import pytest
import torch
from closeness import PRECISION, apart
from killed_run import rewarded_run
from safetensors.torch import load_file

pytestmark = pytest.mark.slow

LORA = ["model.lora.rank=2", "trainer.gradient_checkpointing=true", "trainer.logprob_chunk_tokens=8"]
DAPO = ["algorithm=dapo", "algorithm.max_generation_rounds=100", "trainer.layout=masked", "trainer.recompute_logprobs=true"]
PADDED = ["trainer.layout=padded", "trainer.epochs_per_step=2", "algorithm.importance_cap=2"]
BFLOAT16 = ["trainer.dtype=bfloat16"]
VARIANTS = {
    "packed": [],
    "packed, bfloat16": BFLOAT16,
    "LoRA, checkpointing, chunks, all in bfloat16": [*LORA, *BFLOAT16, "model.dtype=bfloat16"],
    "LoRA, checkpointing, chunks": LORA,
    "masked, DAPO, recomputed": DAPO,
    "padded, epochs, importance": PADDED,
}


@pytest.fixture(scope="module")
def words(tmp_path_factory, model):
    return [
        *rewarded_run(tmp_path_factory.mktemp("whole-runs"), Path(model)),
        "sampling.max_new_tokens=8", "sampling.group_size=6",
        "trainer.steps=1", "trainer.prompts_per_step=4", "trainer.prompts_per_mini_batch=2", "trainer.optimizer.learning_rate=1e-3",
        "evaluation.every_steps=0", "evaluation.tasks=2", "evaluation.samples=0", "engine.kv_cache_gib=0.1", "-q",
    ]  # fmt: skip


def run(gpu, verb, words, folder, device):
    """`gapo VERB` into `folder`; what was said."""
    done = gpu.ask("command", words=[verb, *words, f"trainer.device={device}", f"hydra.run.dir={folder}"], device=device)
    assert done["code"] == 0, done["said"]
    assert (done["operations"] > 0) == (device == "cuda")
    return done["said"]


@pytest.fixture(scope="module")
def trained(gpu, words, tmp_path_factory):
    """Gives the folder of the run that a variant makes on a device, and what was said; each is made once."""
    made = tmp_path_factory.mktemp("trained")

    @cache
    def train(name, device):
        folder = made / f"{[*VARIANTS].index(name)}-{device}"
        return folder, run(gpu, "train", [*words, *VARIANTS[name]], folder, device)

    return train


def weights(folder, name="model.safetensors"):
    (newest,) = sorted(Path(folder, "checkpoints").glob(f"step-*/{name}"))[-1:]
    return load_file(newest)


def assert_same_weights(found, expected, closeness):
    assert found.keys() == expected.keys()
    assert apart(*(torch.cat([one[name].flatten() for name in sorted(one)]) for one in (found, expected))) < closeness


def token_ids(folder, step=1):
    return [ids.tolist() for ids in pd.read_parquet(Path(folder, "rollouts", f"step-{step:05d}.parquet"))["token_ids"]]


def rows(folder):
    return [json.loads(line) for line in Path(folder, "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", VARIANTS)
def test_training_is_the_cpus(trained, name):
    """In bfloat16, where a token drawn may be another, that it runs, learns and is finite."""
    settings = VARIANTS[name]
    found, said = trained(name, "cuda")
    assert "using masked" not in said  # packed, where it is asked for
    learnt = [row["actor/grad_norm"] for row in rows(found) if "actor/grad_norm" in row]
    assert 0 < max(learnt) < 1e3
    if "trainer.dtype=bfloat16" in settings:
        return
    expected, _ = trained(name, "cpu")
    assert token_ids(found) == token_ids(expected)
    kind = "adapter_model.safetensors" if settings is LORA else "model.safetensors"
    # of adapters that began at 0 each number is the first step's: its gradient's rounding shows whole
    closeness = 1e-2 if settings is LORA else PRECISION["float32"]
    assert_same_weights(weights(found, kind), weights(expected, kind), closeness)


@pytest.mark.parametrize("name", ["packed", "packed, bfloat16"])
def test_a_run_that_is_stopped_goes_on(gpu, trained, words, tmp_path, name):
    longer = [*words, *VARIANTS[name], "trainer.steps=2"]
    run(gpu, "train", longer, tmp_path / "whole", "cuda")
    shutil.copytree(trained(name, "cuda")[0], tmp_path / "half")
    run(gpu, "train", [*longer, f"resume={tmp_path / 'half'}"], tmp_path / "half", "cuda")
    assert token_ids(tmp_path / "half", 2) == token_ids(tmp_path / "whole", 2)
    assert_same_weights(weights(tmp_path / "half"), weights(tmp_path / "whole"), 1e-9)


@pytest.mark.parametrize("dtype", PRECISION)
def test_supervised_training_in_packed_rows_is_the_cpus(gpu, words, tmp_path, dtype):
    settings = ["stage=sft", "supervised.layout=packed", "supervised.tokens=600", "supervised.tokens_per_batch=300"]
    for device in ("cpu", "cuda"):
        run(gpu, "train", [*words, *settings, f"trainer.dtype={dtype}"], tmp_path / device, device)
    assert_same_weights(weights(tmp_path / "cuda"), weights(tmp_path / "cpu"), PRECISION[dtype])


@pytest.mark.parametrize("dtype", PRECISION)
def test_an_evaluation_is_the_cpus(gpu, words, tmp_path, dtype):
    """In bfloat16 a token may be another, so only what was measured is the same."""
    for device in ("cpu", "cuda"):
        run(gpu, "eval", [*words, f"trainer.dtype={dtype}"], tmp_path / device, device)
    found, expected = (
        next(Path(tmp_path, device, "eval").glob("*.json")).read_text().replace("cuda", "cpu") for device in ("cuda", "cpu")
    )
    if dtype == "float32":
        numbers = re.compile(r"-?\d+\.\d+")
        assert numbers.findall(found) == numbers.findall(expected)
    assert json.loads(found).keys() == json.loads(expected).keys()


@pytest.mark.parametrize("dtype", PRECISION)
def test_doctor_finds_nothing_wrong(gpu, words, dtype):
    done = gpu.ask(
        "command", words=["doctor", *words, "trainer.device=cuda", f"trainer.dtype={dtype}", "--json"], device="cuda"
    )
    report = json.loads(done["said"][done["said"].index("{") :])
    assert {check["name"]: check["sentence"] for check in report["checks"] if not check["holds"]} == {}
    assert done["operations"] > 0
