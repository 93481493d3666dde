"""gapo train --rerun: a run that is repeated from its folder, and what it says where it does not match."""

import json
import shutil

import pytest
import yaml
from parts import smallest, write_tasks

from gapo_cli.cli.entry import run_command


@pytest.fixture(scope="module")
def made(tmp_path_factory, tiny_model_folder):
    """A folder with the tasks, the model and a finished run "old"."""
    folder = tmp_path_factory.mktemp("made")
    shutil.copytree(tiny_model_folder, folder / "model")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_tasks(folder / "mine.jsonl")
        assert run_command(["train", *smallest("mine.jsonl", "model"), "hydra.run.dir=old", "-q"]) == 0
    return folder


@pytest.fixture
def here(made, tmp_path, monkeypatch):
    """A copy of it to work in."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def rerun(*words):
    return run_command(["train", "--rerun", "old", "hydra.run.dir=new", *words])


@pytest.mark.slow
def test_a_run_is_repeated_from_its_folder_and_matches(here, capsys):
    assert rerun() == 0
    assert capsys.readouterr().out.endswith(
        f"rerun of old: matched, bit for bit: metrics without clocks, rollouts, evaluations, checkpoints ({here}/new)\n"
    )
    assert json.loads((here / "new" / "rerun.json").read_text())["matched"] is True
    assert json.loads((here / "new" / "inputs.json").read_text()) == json.loads((here / "old" / "inputs.json").read_text())


@pytest.mark.slow
def test_what_came_out_differently_is_named(here, capsys):
    metrics = here / "old" / "metrics.jsonl"
    rows = [json.loads(line) for line in metrics.read_text().splitlines()]
    norm = rows[1]["actor/grad_norm"]
    rows[1]["actor/grad_norm"] = 7.5
    metrics.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (here / "old" / "rollouts" / "step-00002.parquet").unlink()
    environment = json.loads((here / "old" / "environment.json").read_text())
    (here / "old" / "environment.json").write_text(json.dumps(environment | {"python": "2.7"}))
    assert rerun() == 1
    shown = capsys.readouterr().out
    assert (
        f"rerun of old: did NOT match: metrics.jsonl: step 1: actor/grad_norm 7.5 and {norm}; and 1 more in {here}/new/rerun.json\n"
        in shown
    )
    assert f"environment: python: 2.7 there, {environment['python']} here\n" in shown
    assert (
        json.loads((here / "new" / "rerun.json").read_text())["results"][1]
        == f"rollouts/step-00002.parquet is only in {here}/new"
    )


def test_a_run_on_other_data_or_another_model_is_not_begun(here, capsys):
    tasks = here / "mine.jsonl"
    tasks.write_text(tasks.read_text().replace("is None", "is not None"))
    (here / "model" / "config.json").write_text((here / "model" / "config.json").read_text() + " ")
    assert rerun() == 1
    assert capsys.readouterr().out.endswith(
        "rerun of old: not begun, for it cannot match: the data differ (eval, train); the starting model "
        "differs (config.json)\n"
    )
    assert not (here / "new").exists()


@pytest.mark.slow
def test_a_default_that_has_changed_since_is_taken_from_the_run_and_named(here, capsys):
    saved = here / "old" / "config.resolved.yaml"
    config = yaml.safe_load(saved.read_text())
    config["trainer"]["optimizer"]["betas"] = [0.5, 0.75]
    config["guards"]["entropy"] = 0.002
    del config["plan"]
    saved.write_text(yaml.safe_dump(config))
    # no answer of the tiny model earns anything, so Adam's betas change nothing
    assert rerun() == 0
    shown = capsys.readouterr().out
    assert "setting of old that is no longer the default: trainer.optimizer.betas=[0.5, 0.75] (now [0.9, 0.95])\n" in shown
    again = yaml.safe_load((here / "new" / "config.resolved.yaml").read_text())
    # what the old version did not have keeps its default
    assert again["plan"] == {"flops": None, "memory_gib": None}
    assert {key: value for key, value in again.items() if key != "plan"} == config


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["seed=1"],
            "gapo: seed=1: --rerun takes every setting from old; leave it out (only hydra.run.dir=PATH may be given)\n",
        ),
        (["--rerun", "model"], "gapo: --rerun model: holds no training run; name a run's folder, as outputs/train/TIME\n"),
    ],
)
def test_what_cannot_be_repeated_is_said(here, capsys, words, sentence):
    assert rerun(*words) == 2
    assert capsys.readouterr().err == sentence


def test_a_run_that_has_not_come_to_its_end_is_finished_first(here, capsys):
    (here / "old" / "outcome.json").write_text('{"status": "stopped"}')
    assert rerun() == 2
    assert capsys.readouterr().err == "gapo: --rerun old: has not come to its end (stopped); finish it by resume=old first\n"
