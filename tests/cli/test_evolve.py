"""gapo evolve from the command line."""

import json
import sys
from pathlib import Path

import pytest
import yaml
from fake_search import SPACE
from parts import smallest, write_tasks

from gapo_cli.cli.entry import run_command


@pytest.fixture
def words(tmp_path, monkeypatch, tiny_model_folder):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own/evolve").mkdir(parents=True)
    (tmp_path / "own/evolve/mine.yaml").write_text(SPACE.replace(", seconds: min", ""))
    tasks = write_tasks(tmp_path / "mine.jsonl", splits=("train", "dev", "eval"))
    given = ["mine", *smallest(tasks, tiny_model_folder), "--config-dir", f"{tmp_path}/own"]
    return [*given, "evolve.population=2", "evolve.each=1", "evolve.budget=4"]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["xyz"], "gapo: xyz: unknown search space; need one of (prompt, settings)\n"),
        (["evolve.budget=3"], "gapo: evolve.budget=3: too small for one generation, in which 8 individuals train 20 each (trainer.steps); need at least 160, or a smaller evolve.population or evolve.each\n"),
        (["--retry-failed"], "gapo: --retry-failed: say of which search, by resume=FOLDER\n"),
        (["resume=none"], "gapo: none/search.json: missing; name the folder of a search\n"),
    ],
)  # fmt: skip
def test_a_mistake_is_answered_in_one_sentence(given, sentence, tmp_path, monkeypatch, capsys):
    pytest.importorskip("deap", reason="needs gapo-cli[evolve]")
    monkeypatch.chdir(tmp_path)
    assert run_command(["evolve", *given]) == 2
    assert capsys.readouterr().err == sentence


def test_without_deap_the_extra_is_named_before_anything_is_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "deap", None)
    assert run_command(["evolve"]) == 2
    assert capsys.readouterr().err == "gapo: gapo evolve needs: pip install 'gapo-cli[evolve]'\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_real_search_goes_on_from_what_a_kill_leaves_to_the_same_end(driver, words, tmp_path):
    pytest.importorskip("deap", reason="needs gapo-cli[evolve]")
    # among the runs beside the search
    kill = {"file": "one/6/checkpoints", "copy": ["one", "killed"]}
    alone = driver.run(["evolve", *words, "evolve.inherit=average", "hydra.sweep.dir=one", "-q"], tmp_path, kill)
    assert alone["status"] == 0, alone["output"]
    # its folder's name is in the words of a search
    Path("one").rename("whole")
    Path("killed").rename("one")
    assert not Path("one/7").exists()
    last = driver.run(["evolve", "resume=one"], tmp_path)
    assert last["status"] == 0, last["output"]
    first, second = (json.loads((tmp_path / name / "evolve.json").read_text()) for name in ("whole", "one"))
    for found in (first, second):
        found["values"] = {number: values["val/exact_match"] for number, values in found["values"].items()}
    for key in ("winner", "values", "failed"):
        assert first[key] == second[key]
    for job in range(4):
        config = yaml.safe_load((tmp_path / f"one/{job}/config.resolved.yaml").read_text())
        assert (config["evaluation"]["split"], config["data"]["train_split"]) == ("dev", "train")
        assert (config["model"]["path"] == f"{tmp_path}/one/averaged/{job}") == Path(tmp_path / f"one/averaged/{job}").is_dir()
    splits = [
        yaml.safe_load(path.read_text())["evaluation"]["split"] for path in sorted(tmp_path.glob("one/*/config.resolved.yaml"))
    ]
    assert splits.count("eval") == 4
    assert "The winner against one long run, on eval: " in last["output"]
