"""The folder that `gapo handover verl` writes, by the command line, and the way back with a stand-in for verl's merger."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from parts import smallest, write_tasks

from gapo_cli.cli.entry import run_command
from gapo_cli.integrations import verl_back
from gapo_cli.integrations.verl_folder import RUN, estimator_of
from gapo_cli.records import EditTask


@pytest.fixture
def words(tmp_path, monkeypatch, tiny_model_folder):
    monkeypatch.chdir(tmp_path)
    return [*smallest(write_tasks(tmp_path / "mine.jsonl"), tiny_model_folder), "data.directory=made", "-q", "--gpus", "2"]


@pytest.fixture
def folder(words):
    assert run_command(["handover", "verl", *words, "tau=0.25", "algorithm=dapo", "handed over"]) == 0
    return Path("handed over")


def overrides(folder):
    lines = (folder / "settings.txt").read_text().splitlines()
    return dict(line.lstrip("+").split("=", 1) for line in lines if line and not line.startswith("#"))


def test_rows_have_the_tokens_and_tasks_of_gapo(folder, tiny_policy, tiny_model_folder):
    from gapo_cli.prompts.nano import NanoTemplate
    from gapo_cli.rollouts.data_order import DataOrder
    from gapo_cli.rollouts.encoding import encode_tasks

    rows = pq.read_table(folder / "train.parquet").to_pylist()
    tasks = [EditTask.from_dict(json.loads(row["extra_info"]["task"])) for row in rows]
    encoded = encode_tasks(tiny_policy, NanoTemplate(), tasks)
    assert [tuple(row["extra_info"]["prompt_token_ids"]) for row in rows] == [one.token_ids for one in encoded]
    assert [row["reward_model"]["ground_truth"] for row in rows] == [task.target for task in tasks]
    assert [task.id for task in tasks] == [f"train-{index}" for index in DataOrder(12, seed=0).draw(12)]
    assert len(pq.read_table(folder / "val.parquet")) == 4


def test_settings_are_those_of_the_command(folder, tiny_model_folder):
    found = overrides(folder)
    assert found["algorithm.adv_estimator"] == "gapo_cli.gapo"
    assert found["algorithm.gapo.tau"] == "0.25"
    assert found["algorithm.filter_groups.enable"] == "True"
    assert found["actor_rollout_ref.model.path"] == str(tiny_model_folder)
    parts = json.loads((folder / "parts.json").read_text())
    assert parts["overlong"] == {"buffer_tokens": 1, "factor": 1.0}
    assert parts["end_ids"] == [1]
    assert len((folder / "README.md").read_text().splitlines()) > 9


def test_run_sh_gives_verl_every_setting_and_what_follows_it(folder):
    stand_in = Path("stand-in")
    stand_in.write_text(f"#!{sys.executable}\nimport json, sys\nprint(json.dumps(sys.argv[1:]))\n")
    stand_in.chmod(0o755)
    environment = {**os.environ, "PYTHON": str(stand_in.resolve())}
    said = subprocess.run([folder / "run.sh", "trainer.nnodes=3"], check=True, capture_output=True, text=True, env=environment)
    given = json.loads(said.stdout)
    assert given[:2] == ["-m", "verl.trainer.main_ppo"]
    assert f"data.train_files='{folder.resolve()}/train.parquet'" in given
    assert given[-1] == "trainer.nnodes=3"
    assert len(given) == len(overrides(folder)) + 3
    assert RUN.count("\n") < 12


def test_a_folder_that_holds_something_is_refused(folder, words, capsys):
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert run_command(["handover", "verl", *words, "handed over"]) == 2
    assert "handed over: holds files that this command did not write" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["ray", "x"], "gapo handover ray: need one of verl"),
        (["verl", "seed=1"], "name one new folder, as in"),
        (["verl", "a", "b"], "name one new folder, not a and b, as in"),
        (["verl", "a", "--gpus", "0"], "gpus=0"),
        (["verl", "a", "algorithm=ppo"], "algorithm=ppo: has a critic, and gapo's is not handed over"),
        (["verl", "a", "stage=sft"], "stage=sft: has no counterpart in verl"),
        (["verl", "a", "--gpus", "2", "sampling.stop=[two]"], "the stop text 'two' is 3 tokens of this model"),
        (["verl", "a", "--gpus", "2", "trainer.prompts_per_step=16"], "there are 12 training tasks that fit"),
        (["verl", "--back", "nowhere"], "nowhere: is no folder of `gapo handover verl`"),
        (["verl", "--back", "x", "seed=1"], "takes the name of one new folder and no settings"),
    ],
)
def test_mistakes_are_answered_in_one_sentence(typed, said, words, capsys):
    trainer, *rest = typed
    given = [] if "--back" in rest else [word for word in words if word not in ("--gpus", "2")]
    assert run_command(["handover", trainer, *given, *rest]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not Path("a").exists()


def test_an_estimator_of_ones_own_goes_by_its_class():
    assert estimator_of({"_target_": "gapo_cli.estimators.gapo.GAPO", "tau": 0.2}) == ("gapo", {"tau": 0.2})
    own = {"_target_": "my_package.Mine", "width": 3}
    assert estimator_of(own) == ("own", own)


def checkpoint_in(folder, steps):
    for step in steps:
        (folder / "checkpoints" / f"global_step_{step}" / "actor").mkdir(parents=True)
    (folder / "checkpoints" / verl_back.NEWEST).write_text(str(steps[-1]))


def test_the_model_comes_back_with_the_tokenizer_that_went(folder, monkeypatch, tiny_model_folder, capsys):
    checkpoint_in(folder, [2, 4])
    merged = []

    def merger(actor, target):
        merged.append(actor.parent.name)
        shutil.copytree(tiny_model_folder, target)
        (target / "tokenizer.json").write_text("another")
        (target / "vocab.json").write_text("another's")

    monkeypatch.setattr(verl_back, "run_merger", merger)
    monkeypatch.setattr(verl_back.importlib.util, "find_spec", lambda name: name)
    assert run_command(["handover", "verl", "--back", str(folder), "model", "-q"]) == 0
    assert run_command(["handover", "verl", "--back", str(folder / "checkpoints/global_step_2"), "-q"]) == 0
    assert merged == ["global_step_4", "global_step_2"]
    for back in (Path("model"), folder / "model-step-2"):
        assert not (back / "vocab.json").exists()
        assert (back / "model.safetensors").read_bytes() == (tiny_model_folder / "model.safetensors").read_bytes()
        assert (
            json.loads((back / "tokenizer.json").read_text())["model"]
            == (json.loads((tiny_model_folder / "tokenizer.json").read_text())["model"])
        )
    assert run_command(["handover", "verl", "--back", str(folder), "model", "-q"]) == 2
    assert "model: holds" in capsys.readouterr().err


def test_without_a_checkpoint_or_without_verl_it_says_what_to_do(folder, monkeypatch, capsys):
    assert run_command(["handover", "verl", "--back", str(folder), "-q"]) == 2
    assert "verl has written no checkpoint yet; train with" in capsys.readouterr().err
    checkpoint_in(folder, [1])
    monkeypatch.setattr(verl_back.importlib.util, "find_spec", lambda name: None)
    assert run_command(["handover", "verl", "--back", str(folder), "-q"]) == 2
    assert "needs verl to read its checkpoints: pip install verl==0.9.1" in capsys.readouterr().err
