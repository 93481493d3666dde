"""The command line as one types it: help, mistakes, what each verb writes and where."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from parts import TASKS_PER_SPLIT, smallest, write_tasks

from gapo_cli.cli.entry import run_command
from gapo_cli.errors import UserError
from gapo_cli.launching import launch

VERBS = [
    "prepare",
    "rollout",
    "train",
    "eval",
    "sweep",
    "lab",
    "study",
    "evolve",
    "report",
    "export",
    "export-tasks",
    "handover",
    "plan",
    "doctor",
]


@pytest.fixture
def tasks(tmp_path):
    return write_tasks(tmp_path / "mine.jsonl")


def test_help_names_every_verb_and_each_verb_shows_examples(capsys):
    assert run_command(["--help"]) == 0
    overview = capsys.readouterr().out
    for verb in VERBS:
        assert verb in overview
        assert run_command([verb, "--help"]) == 0
        shown = capsys.readouterr().out
        assert f"\n    gapo {verb}" in shown.split("Examples:")[1]


def test_help_imports_nothing_heavy():
    heavy = {"hydra", "omegaconf", "numpy", "torch", "transformers", "pandas", "matplotlib", "datasets", "rich", "scipy"}
    script = (
        "import sys; from gapo_cli.cli.entry import run_command; assert run_command(['train', '--help']) == 0;"
        f"print('HEAVY', sorted({heavy!r} & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert shown.endswith("HEAVY []\n")


def test_python_dash_m_is_the_same_command():
    shown = subprocess.run([sys.executable, "-m", "gapo_cli", "trian"], capture_output=True, text=True, check=False)
    assert (shown.returncode, shown.stdout) == (2, "")
    assert shown.stderr == f"gapo: gapo trian: unknown command; did you mean train? ({', '.join(VERBS)})\n"


def test_no_arguments_show_the_help(capsys):
    assert run_command([]) == 0
    assert "gapo train experiment=debug" in capsys.readouterr().out


MISTAKES = [
    (["train", "estimator=gappo"], "estimator=gappo: unknown estimator; did you mean gapo? (dapo, dr_grpo, gapo"),
    (["train", "estimator=dap"], "estimator=dap: unknown estimator; did you mean dapo?"),
    (["train", "reward=zzz"], "reward=zzz: unknown reward; need one of (bleu, delta_chrf, ed, edem, em"),
    (["train", "model=Qwen/Qwen3-0.6B"], "a folder or a hub name goes in by model=hf model.path=..."),
    (["train", "trainer=3"], "trainer=3: unknown trainer"),
    (["train", "trainer=[]"], "trainer=[]: unknown trainer"),
    (["train", "data=[]"], "data=[]: unknown data"),
    (["train", "model=[nano]"], "model=[nano]: unknown model"),
    (["train", "prompt=[]"], "prompt=[]: unknown prompt"),
    (["train", "estimator={}"], "estimator={}: unknown estimator"),
    (["train", "reward=inf"], "reward=inf: unknown reward"),
    (["train", "reward=1"], "reward=1: unknown reward"),
    (["train", "experiment=[debugg]"], "experiment=debugg: unknown experiment; did you mean debug?"),
    (["train", "trainer.step=3"], "trainer.step=3: unknown key; did you mean trainer.steps?"),
    (["train", "steps=3"], "steps=3: unknown key; did you mean trainer.steps or dpo.steps?"),
    (["train", "estimater=gapo"], "estimater=gapo: unknown key; did you mean estimator?"),
    (["train", "hydra.rn.dir=x"], "hydra.rn.dir=x: unknown key; did you mean hydra.run.dir?"),
    (["train", "+trainer.stpes=3"], "trainer.stpes: unknown key; did you mean trainer.steps?"),
    (["train", "trainer.steps=abc"], "trainer.steps=abc: need a whole number"),
    (["train", "engine.max_rows=abc"], "engine.max_rows=abc: need a whole number"),
    (["train", "engine.max_rows=0"], "engine.max_rows=0: need a number above 0"),
    (["train", "+engine.max_row=8"], "engine.max_row: unknown key"),
    (["train", "seed=-1"], "seed=-1: need a whole number from 0"),
    (["train", "trainer.optimizer.learning_rate=inf"], "trainer.optimizer.learning_rate=inf: need a number"),
    (
        ["train", "algorithm.importance_cap=2.0", "trainer.recompute_logprobs=false"],
        "algorithm.importance_cap=2.0: with several optimizer steps",
    ),
    (
        ["train", "algorithm=dapo", "algorithm.overlong.buffer_tokens=1000"],
        "algorithm.overlong.buffer_tokens=1000: need at most",
    ),
    (["train", "trainer.optimizer.betas=3"], "trainer.optimizer.betas=3: need 2 values"),
    (["train", "trainer.layout=pakced"], "trainer.layout=pakced: need one of packed, masked, padded; did you mean packed?"),
    (["train", "stage=sfr"], "stage=sfr: unknown stage; did you mean sft? (dpo, rl, sft)"),
    (["train", "seed=x"], "seed=x: need a whole number"),
    (["train", "tau=1.7"], "1.7: need 0 < tau <= 1"),
    (["train", "tau=0"], "0: need 0 < tau <= 1"),
    (["train", "tau=much"], "estimator.tau=much: need a number"),
    (["train", "tau=0.5", "estimator=grpo"], "tau=0.5: estimator=grpo has no tau (it has no settings)"),
    (["train", "sampling.group_size=1"], "sampling.group_size=1: need at least 2"),
    (["train", "model=hf"], "model.path: needs a value; add model.path=VALUE"),
    (["train", "trainer.steps=1,2"], "trainer.steps=1,2: several values are for `gapo sweep`"),
    (["train", "trainer.steps=a(b"], "trainer.steps=a(b: cannot be read; quote the value"),
    (
        ["train", "estimator._target_=no.such.Thing"],
        "estimator._target_=no.such.Thing: is code that is not gapo's own; if you trust it",
    ),
    (
        ["train", "estimator._target_=no.such.Thing", "allow_targets=[no.such]"],
        "estimator._target_=no.such.Thing: cannot be imported (No module named 'no')",
    ),
    (["train", "++estimator.depth=3"], "estimator.depth: unknown key"),
    (["train", "foo"], "foo: need KEY=VALUE"),
    (["train", "model=null"], "model=null: a run needs one of deepseek"),
    (["train", "experiment=null"], "experiment=null: leave it out, or name one of "),
    (["rollout", "seed=18446744073709551616"], "seed=18446744073709551616: need a whole number from 0 to 9223372036854775807"),
    (["rollout", "experiment=debug", "hydra.run.dir=/proc/x"], "/proc/x: cannot be read or written (No such file"),
    (["train", "trainer={a:1}"], "trainer={a:1}: does not fit what it would replace ("),
    (["train", "estimator=gapo", "guards=[1,2]"], "guards=[1,2]: does not fit what it would replace ("),
    (["train", "model={a:1}"], "model={a:1}: does not fit what it would replace ("),
    (["train", "hydra.run.dir=null"], "hydra.run.dir=null: does not fit what it would replace ("),
    (["train", f"seed=1{'0' * 400}"], ": need a whole number"),
    (["train", "--config-dir", "nowhere"], "--config-dir nowhere: is not a folder"),
    (["train", "--qiet"], "No such option: --qiet"),
    (["prepare", "data=jsonl", "data.path=nothing.jsonl"], "data.path=nothing.jsonl: does not exist"),
    (["eval", "baseline=cpy"], "baseline=cpy: need one of copy, replace; did you mean copy?"),
    (["train", "baseline=copy"], "baseline=copy: is for `gapo eval`; leave it out"),
    (["eval", "on"], "eval on: name a data set"),
    (["sweep", "seed=0"], "give a key several values, as tau=0.3,0.5,0.7 seed=0,1,2"),
    (["sweep", "tau=0.3,0.5", "seed=0,0"], "gapo sweep: estimator.tau=0.3 seed=0 is there twice; name each value once"),
    (["sweep", "estimator=gapo,mediam"], "estimator=mediam: unknown estimator; did you mean median?"),
    (["sweep", "tau=0.5,1.7"], "1.7: need 0 < tau <= 1"),
    (["sweep", "seed=0,1", "resume=some/run"], "some/run/sweep.json: missing; name the folder of a sweep"),
]


@pytest.mark.parametrize(("words", "sentence"), MISTAKES, ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_a_mistake_gets_one_sentence_and_exit_code_2_and_leaves_nothing(words, sentence, here, capsys):
    assert run_command(words) == 2
    shown = capsys.readouterr()
    assert sentence in shown.err
    assert shown.err.count("\n") == 1
    assert "Traceback" not in shown.err
    assert list(here.rglob("config.resolved.yaml")) == []


def test_print_config_shows_what_would_run_and_runs_nothing(here, capsys):
    assert run_command(["train", "estimator=dapo", "seed=3", "sampling.max_new_tokens=40", "--print-config"]) == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert (shown["verb"], shown["seed"], shown["algorithm"]["name"]) == ("train", 3, "dapo")
    assert shown["estimator"]["_target_"] == "gapo_cli.estimators.grpo.GRPO"
    assert shown["algorithm"]["overlong"]["buffer_tokens"] == 10  # a quarter of 40, resolved
    assert list(here.iterdir()) == []


def test_print_config_also_shows_a_config_that_still_needs_a_value(capsys):
    assert run_command(["train", "model=hf", "--print-config"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["model"]["path"] == "???"


def test_a_users_own_yaml_wins_and_adds(here, capsys):
    own = here / "own"
    (own / "trainer").mkdir(parents=True)
    (own / "estimator").mkdir()
    laptop = yaml.safe_load((Path(__file__).parents[2] / "conf/trainer/laptop.yaml").read_text())
    (own / "trainer" / "laptop.yaml").write_text(yaml.safe_dump(laptop | {"steps": 7}))
    (own / "estimator" / "mine.yaml").write_text("_target_: gapo_cli.estimators.gapo.GAPO\ntau: 0.25\n")
    assert run_command(["train", "--config-dir", "own", "estimator=mine", "--print-config"]) == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert (shown["trainer"]["steps"], shown["estimator"]["tau"]) == (7, 0.25)
    assert run_command(["train", "estimator=mine", "--print-config"]) == 2  # only while it is asked for
    assert "estimator=mine: unknown estimator" in capsys.readouterr().err


@pytest.mark.slow
def test_prepare_writes_the_set_and_what_it_is_made_of(here, tasks, capsys):
    command = ["prepare", "data=jsonl", f"data.path={tasks}"]
    assert run_command(command) == 0
    shown = capsys.readouterr().out
    (families,) = [line.split("  ") for line in shown.splitlines() if "is_none" in line]
    assert [cell.strip() for cell in families if cell.strip()] == ["is_none", *["12 (100.0 %)"] * 2, "24 (100.0 %)"]
    (folder,) = (here / "data").iterdir()
    written = ["eval.jsonl", "manifest.json", "statistics.json", "statistics.md", "statistics.svg", "train.jsonl"]
    assert sorted(path.name for path in folder.iterdir()) == written
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["splits"]["train"]["families"] == {"is_none": TASKS_PER_SPLIT}
    assert run_command(command) == 0
    assert "was there already" in capsys.readouterr().out


@pytest.mark.slow
def test_prepare_shows_how_many_rows_it_skipped_each_time(here, tasks, capsys):
    with tasks.open("a") as stream:
        stream.write("{broken\n")
    for _ in range(2):
        assert run_command(["prepare", "data=jsonl", f"data.path={tasks}", "data.on_error=skip"]) == 0
        shown = capsys.readouterr().out
        assert shown.count("skipped 1 of 25 rows (data.on_error=skip)") == 1
        assert f"{tasks}:25: not JSON" in shown
    (folder,) = (here / "data").iterdir()
    assert json.loads((folder / "statistics.json").read_text())["skipped"] == 1
    assert "skipped 1 of 25 rows" in (folder / "statistics.md").read_text()


@pytest.mark.slow
def test_quiet_shows_nothing(here, tasks, capsys):
    assert run_command(["prepare", "data=jsonl", f"data.path={tasks}", "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.slow
def test_train_writes_where_hydra_run_dir_says_and_nowhere_else(here, tasks, tiny_model_folder, capsys):
    words = [*smallest(tasks, tiny_model_folder), "hydra.run.dir=runs/one", "tau=0.25"]
    assert run_command(["train", *words]) == 0
    run = here / "runs" / "one"
    resolved = yaml.safe_load((run / "config.resolved.yaml").read_text())
    assert (resolved["estimator"]["tau"], resolved["trainer"]["steps"], resolved["verb"]) == (0.25, 2, "train")
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [0, 1, 2]
    assert sorted(path.name for path in here.iterdir()) == ["data", "runs"]
    shown = capsys.readouterr().out
    (last,) = (line for line in shown.splitlines() if line.startswith("step 2 "))
    # every column that RL has: a metric under another name would leave its column out
    for title in ("reward", "exact", "clip", "entropy", "zero spread", "grad norm", "s/step", "val exact", "val sampled"):
        assert f"  {title} " in last
    assert str(run / "checkpoints") in shown
    assert run_command(["train", *words]) == 2
    assert (
        "hydra.run.dir=runs/one: holds a run of gapo train; name another folder, or go on with it by resume=runs/one"
        in capsys.readouterr().err
    )


@pytest.mark.slow
def test_resume_takes_over_the_settings_of_the_run_and_its_folder(here, tasks, tiny_model_folder):
    assert run_command(["train", *smallest(tasks, tiny_model_folder), "hydra.run.dir=one", "estimator=grpo", "-q"]) == 0
    assert run_command(["train", "resume=one", "trainer.steps=3", "-q"]) == 0
    resolved = yaml.safe_load((here / "one" / "config.resolved.yaml").read_text())
    assert resolved["estimator"]["_target_"].endswith("GRPO")
    assert resolved["trainer"]["steps"] == 3
    rows = [json.loads(line) for line in (here / "one" / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [0, 1, 2, 3]
    assert sorted(path.name for path in here.iterdir()) == ["data", "one"]


@pytest.mark.slow
def test_a_resume_that_is_refused_leaves_the_settings_of_the_run(here, tasks, tiny_model_folder, capsys):
    assert run_command(["train", *smallest(tasks, tiny_model_folder), "hydra.run.dir=one", "-q"]) == 0
    settings = {path: path.read_text() for path in (here / "one").rglob("*.yaml")}
    assert run_command(["train", "resume=one", "trainer.steps=2", "seed=1", "-q"]) == 2
    assert "all trainer.steps=2 steps are done" in capsys.readouterr().err
    assert {path: path.read_text() for path in (here / "one").rglob("*.yaml")} == settings


@pytest.mark.slow
def test_rollout_keeps_its_groups_as_parquet(here, tasks, tiny_model_folder):
    import pandas as pd

    assert run_command(["rollout", *smallest(tasks, tiny_model_folder), "hydra.run.dir=one", "-q"]) == 0
    rows = pd.read_parquet(here / "one" / "rollouts.parquet")
    assert len(rows) == TASKS_PER_SPLIT * 2  # groups of two
    assert run_command(["rollout", *smallest(tasks, tiny_model_folder), "hydra.run.dir=one", "-q"]) == 2


@pytest.mark.slow
def test_eval_and_report_write_their_pages(here, tasks, tiny_model_folder, capsys):
    words = smallest(tasks, tiny_model_folder)
    (data,) = (word for word in words if word.startswith("data="))
    assert run_command(["eval", "on", data.split("=")[1], *(word for word in words if word != data), "hydra.run.dir=one"]) == 0
    shown = capsys.readouterr().out
    assert "copy the region" in shown
    before = (here / "one/eval/step-00000.json").read_bytes()
    assert run_command(["eval", *words, "baseline=copy", "hydra.run.dir=one"]) == 2
    assert capsys.readouterr().err == "gapo: hydra.run.dir=one: holds a run of gapo eval; name another folder\n"
    assert (here / "one/eval/step-00000.json").read_bytes() == before
    assert run_command(["report", "one", "--output", "page.html", "-q"]) == 0
    assert (here / "page.html").read_text().startswith("<!doctype html>")
    assert run_command(["report", "two"]) == 2
    assert "two: no such folder" in capsys.readouterr().err


def test_a_line_that_is_not_json_is_named(here, tasks, capsys):
    with tasks.open("a") as stream:
        stream.write("{broken\n")
    assert run_command(["prepare", "data=jsonl", f"data.path={tasks}"]) == 2
    assert f"{tasks}:{2 * TASKS_PER_SPLIT + 1}: not JSON" in capsys.readouterr().err


def test_a_file_without_tasks_is_refused(here, tasks, capsys):
    tasks.write_text("")
    assert run_command(["prepare", "data=jsonl", f"data.path={tasks}", "-q"]) == 2
    assert "data=jsonl: the source gave no task at all" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["inf", "nan", "1", "true"])
def test_a_yaml_that_hydra_does_not_read_as_a_name_is_said(name, here, capsys):
    (here / "own/reward").mkdir(parents=True)
    (here / f"own/reward/{name}.yaml").write_text("_target_: gapo_cli.rewards.exact_match.ExactMatch\n")
    assert run_command(["train", "--config-dir", "own", f"reward={name}"]) == 2
    assert f"reward={name}: is not read as a name; give {name}.yaml another name" in capsys.readouterr().err


def stage_that(raises):
    def stage(*_):
        raise raises

    return stage


@pytest.mark.parametrize(
    ("command", "named"),
    [
        (["report", "~/runs/a"], "HOME/runs/a: no such folder"),
        (["train", "--config-dir=~/own"], "--config-dir HOME/own: is not a folder"),
        (["export", "~/runs/a", "~/model"], "HOME/runs/a: no such folder"),
        (["sweep", "resume=~/s"], "HOME/s"),
        (["study", "resume=~/s"], "HOME/s"),
        (["study", "main", "study.reuse=~/s"], "HOME/s"),
        (["evolve", "resume='~/s'"], "HOME/s"),
        (["eval", "run=~/nothing"], "HOME/nothing"),
        (["lab", "--output=~/lab", "~/pool"], "HOME/pool: no such file or folder"),
    ],
)
def test_a_path_below_the_home_folder_is_written_out_in_words_and_options(command, named, here, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(here / "ada"))
    assert run_command(command) == 2
    assert named.replace("HOME", str(here / "ada")) in capsys.readouterr().err


@pytest.mark.slow
def test_an_unforeseen_error_is_one_line_and_debug_shows_its_traceback(here, monkeypatch, capsys):
    monkeypatch.setattr(launch, "perform_stage", stage_that(RuntimeError("it broke")))
    assert run_command(["prepare"]) == 1
    assert capsys.readouterr().err == "gapo: internal error: RuntimeError: it broke; rerun with --debug for the traceback\n"
    with pytest.raises(RuntimeError, match="it broke"):
        run_command(["prepare", "--debug"])


def test_a_mistake_found_by_a_stage_is_one_sentence_too(here, monkeypatch, capsys):
    monkeypatch.setattr(launch, "perform_stage", stage_that(UserError("x=1: need 2")))
    assert run_command(["prepare"]) == 2
    assert capsys.readouterr().err == "gapo: x=1: need 2\n"


def test_ctrl_c_ends_with_exit_code_130(here, monkeypatch, capsys):
    monkeypatch.setattr(launch, "perform_stage", stage_that(KeyboardInterrupt()))
    assert run_command(["prepare"]) == 130
    assert capsys.readouterr().err.endswith("gapo: stopped\n")
