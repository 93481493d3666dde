"""gapo doctor: a table and an exit code; every line of it about the machine can turn red."""

import json
import re
import shutil
from pathlib import Path

import pytest
from parts import smallest, write_tasks

from gapo_cli.cli.entry import run_command
from gapo_cli.doctor import machine
from gapo_cli.doctor.invariants import INVARIANTS
from gapo_cli.doctor.machine import MACHINE


@pytest.fixture
def words(tmp_path, tiny_model_folder, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return smallest(write_tasks(tmp_path / "mine.jsonl"), tiny_model_folder)


def examined(words, capsys):
    """The exit code and the checks by name of `gapo doctor --json`."""
    code = run_command(["doctor", *words, "--json"])
    said = json.loads(capsys.readouterr().out)
    assert said["healthy"] == all(check["holds"] for check in said["checks"]) == (code == 0)
    return code, {check["name"]: check for check in said["checks"]}


def test_all_is_well_and_nothing_stays_behind(words, capsys):
    before = set(Path().iterdir())
    code, checks = examined(words, capsys)
    assert (code, list(checks)) == (0, [*MACHINE, "model", *INVARIANTS])
    assert {checks[name]["about"] for name in INVARIANTS} == {"invariant"}
    assert re.search(r"answers end at \S+ \(\d+\); prompts begin with none$", checks["model"]["sentence"])
    assert set(Path().iterdir()) == before  # no data prepared, no run, no checkpoint


def failing(name, sentence):
    def check(subject):
        raise RuntimeError(sentence)

    return {**dict.fromkeys(INVARIANTS, lambda _: machine.Finding(True, "well")), name: check}


def test_a_check_that_stops_has_failed_and_the_others_are_made(words, capsys, monkeypatch):
    monkeypatch.setattr("gapo_cli.stages.doctor.INVARIANTS", failing("sync", "no kernel for that"))
    assert run_command(["doctor", *words]) == 1
    lines = capsys.readouterr().out.splitlines()
    (line,) = [line for line in lines if "FAILED" in line]
    assert line.split() == ["invariant", "sync", "FAILED", "stopped", "with", "RuntimeError:", "no", "kernel", "for", "that"]
    assert "1 of 14 checks failed." in lines
    assert run_command(["doctor", *words, "--quiet"]) == 1
    assert [row.split()[1] for row in capsys.readouterr().out.splitlines() if row.strip()] == ["sync"]


def missing(requirement):
    return lambda name: [requirement]


@pytest.mark.parametrize(
    ("broken", "asked", "name", "sentence"),
    [
        (("requires", missing("torch<1")), [], "packages", r"torch is 2\.13\.0\S*, need <1: pip install gapo-cli again"),
        (("requires", missing("no-such-package-here")), [], "packages", "no-such-package-here is missing: "),
        (("usable_cores", lambda: 0), [], "threads", "trainer.threads=1, and this process may use 0 cores"),
        (None, ["plan.memory_gib=0.01"], "memory", "and 0.01 are free on cpu: see gapo plan"),
        (
            ("torch.cuda.is_available", lambda: False),
            ["trainer.device=cuda"],
            "GPU",
            "torch finds no CUDA device here: use trainer=cpu",
        ),
        (("gapo_cli.engines.vllm_engine.find_spec", lambda _: None), ["engine=vllm"], "vLLM", "engine=vllm needs: pip install"),
        (
            ("shutil", type("Full", (), {"disk_usage": lambda _: shutil._ntuple_diskusage(9, 9, 0)})),
            [],
            "disk",
            "0.00 are free in",
        ),
        (None, ["model.path=no/such/folder"], "model", "model.path=no/such/folder: no such folder"),
    ],
)
def test_a_machine_that_is_not_fit_is_told_what_it_lacks(words, capsys, monkeypatch, broken, asked, name, sentence):
    monkeypatch.setattr("gapo_cli.stages.doctor.INVARIANTS", {})
    if broken:
        name_of, value = broken
        monkeypatch.setattr(name_of if "." in name_of else f"gapo_cli.doctor.machine.{name_of}", value)
    code, checks = examined([*words, *asked], capsys)
    assert code == 1
    assert not checks[name]["holds"]
    assert re.search(sentence, checks[name]["sentence"]), checks[name]["sentence"]


def test_a_folder_that_cannot_be_written_in_is_named(words, capsys, monkeypatch):
    monkeypatch.setattr("gapo_cli.stages.doctor.INVARIANTS", {})
    monkeypatch.setattr(machine.os, "access", lambda *_: False)
    _, checks = examined(words, capsys)
    assert "is not writable: start from another folder" in checks["disk"]["sentence"]


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        (["engine=openai", "engine.base_url=http://localhost:1/v1", "engine.model=x"], "gapo doctor: a served model"),
        (["sampling.temperature=0"], "sampling.temperature=0.0: need above 0 to train"),
    ],
)
def test_what_cannot_be_trained_is_not_examined(words, capsys, asked, sentence):
    assert run_command(["doctor", *words, *asked]) == 2
    assert sentence in capsys.readouterr().err
