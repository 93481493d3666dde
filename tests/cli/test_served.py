"""A served model from the command line: evaluated and sampled without a model here, killed and gone on with, not trained."""

import json
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest
from parts import TASKS_PER_SPLIT, write_tasks
from serving import start_server, stop_server

from gapo_cli.cli.entry import run_command

PATIENCE_S = 120


@pytest.fixture
def here(here, monkeypatch):
    """The folder that the commands are typed in, without what a user's environment says of servers."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return here


@pytest.fixture
def serve(tmp_path):
    """Starts a server with the options given; gives it and the settings that ask it."""
    started = []

    def start(*options: str):
        started.append(start_server(tmp_path, *options))
        tasks = write_tasks(tmp_path / "mine.jsonl")
        return started[-1], [
            "data=jsonl", f"data.path={tasks}", "engine=openai", f"engine.base_url={started[-1].url}", "engine.model=no/such-model",
            "engine.first_wait_s=0.01", "engine.concurrency=2", "sampling.group_size=2", "samples=1", "trainer.threads=1",
            "hydra.run.dir=one", "--quiet",
        ]  # fmt: skip

    yield start
    for served in started:
        stop_server(served)


def lines_of(path):
    return path.read_text().splitlines() if path.exists() else []


@pytest.mark.slow
def test_eval_measures_a_model_that_is_nowhere_on_this_machine(here, serve):
    served, words = serve("--fail", "500,429")
    assert run_command(["eval", *words]) == 0
    summary = json.loads((here / "one" / "eval" / "step-00000.json").read_text())
    assert summary["greedy"]["overall"]["exact_match"]["value"] == 1
    assert summary["sampled"]["overall"]["exact_match"]["value"] == 1
    assert len(served.requests) == 2 + 2 * TASKS_PER_SPLIT  # a greedy and a sampled answer for each
    assert {request["path"] for request in served.requests} == {"/v1/chat/completions"}  # model=served is a chat model
    assert "# no/such-model on jsonl, split eval" in (here / "one" / "evaluation.md").read_text()


@pytest.mark.slow
def test_a_raw_template_asks_for_completions(here, serve):
    served, words = serve()
    assert run_command(["eval", *words, "prompt=zeta1", "model.chat=false"]) == 0
    assert {request["path"] for request in served.requests} == {"/v1/completions"}


@pytest.mark.slow
def test_rollouts_of_a_served_model_are_scored_and_kept_with_their_prompts(here, serve):
    _, words = serve()
    assert run_command(["rollout", *words]) == 0
    rows = pd.read_parquet(here / "one" / "rollouts.parquet")
    assert len(rows) == 2 * TASKS_PER_SPLIT  # groups of two
    assert set(rows["score"]) == {1.0}
    assert set(rows["length"]) == {2}  # tokens with a log-probability
    assert all(f"if {row.task_id.replace('-', '')} == None:" in row.prompt for row in rows.itertuples())
    assert rows["prompt"].str.startswith("system: ").all()


@pytest.mark.slow
def test_tasks_that_the_server_finds_too_long_count_as_wrong_and_stop_rollouts(here, serve, capsys):
    _, words = serve()
    tasks = here.parent / "mine.jsonl"
    rows = [json.loads(line) for line in lines_of(tasks)]
    for row in rows:
        if row["id"].endswith("-3"):  # eval-3 and train-3
            row["excerpt"] += "# TOO LONG\n"
    tasks.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert run_command(["eval", *words]) == 0
    predictions = pd.read_parquet(here / "one" / "eval" / "step-00000.parquet")
    refused = predictions[predictions["malformed"] == "prompt_too_long"]
    assert sorted(zip(refused["task_id"], refused["mode"], strict=True)) == [("eval-3", "greedy"), ("eval-3", "sampled")]
    assert len(predictions) == 2 * TASKS_PER_SPLIT
    assert run_command(["rollout", *words, "hydra.run.dir=two"]) == 2
    assert (
        "task train-3: its prompt and sampling.max_new_tokens=48 do not fit the served model's context"
        in capsys.readouterr().err
    )
    assert run_command(["rollout", *words, "hydra.run.dir=two", "data.on_long=skip"]) == 0
    assert len(pd.read_parquet(here / "two" / "rollouts.parquet")) == 2 * (TASKS_PER_SPLIT - 1)


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["rl", "sft"])
def test_a_served_model_is_not_trained(stage, here, serve, capsys):
    served, words = serve()
    assert run_command(["train", *words, f"stage={stage}"]) == 2
    shown = capsys.readouterr().err
    assert shown == (
        "gapo: gapo train: a served model (engine=openai) cannot be trained, its weights are on the server; leave engine= out, or use "
        "gapo eval or gapo rollout\n"
    )
    assert served.requests == []
    assert not (here / "one").exists()


@pytest.mark.slow
def test_a_served_model_is_not_swept_over(here, serve, capsys):
    served, words = serve()
    settings = [word for word in words if word != "hydra.run.dir=one"]
    assert run_command(["sweep", *settings, "seed=0,1"]) == 2
    sentence = "gapo sweep: a sweep trains, and a served model (engine=openai) cannot be trained; leave engine= out"
    assert capsys.readouterr().err == f"gapo: {sentence}\n"
    assert served.requests == []
    assert not (here / "outputs").exists()


def test_an_address_and_a_model_are_needed(here, capsys):
    assert run_command(["eval", "engine=openai"]) == 2
    assert "engine.base_url: needs a value; add engine.base_url=VALUE" in capsys.readouterr().err


@pytest.mark.slow
def test_a_killed_evaluation_goes_on_and_asks_only_for_what_is_missing(warm_python, here, tmp_path, serve):
    release = tmp_path / "release"
    # five answers, then the server is silent: with two requests at a time it has been asked seven times
    served, words = serve("--hold-after", "5", "--release", str(release))
    journal = here / "one" / "answers.jsonl"
    command = subprocess.Popen([sys.executable, "-m", "gapo_cli", "eval", *words])
    end = time.monotonic() + PATIENCE_S
    while command.poll() is None and time.monotonic() < end and (len(served.requests), len(lines_of(journal))) != (7, 5):
        time.sleep(0.05)
    command.send_signal(signal.SIGKILL)
    assert command.wait() == -signal.SIGKILL
    assert (len(served.requests), len(lines_of(journal))) == (7, 5)
    kept = lines_of(journal)
    release.touch()
    assert run_command(["eval", *words]) == 0
    # 24 answers in all; the two that were under way had to be asked again
    total = 2 * TASKS_PER_SPLIT
    assert len(served.requests) == 7 + (total - 5)
    bodies = [json.dumps(request["body"]) for request in served.requests]
    assert len(set(bodies)) == total
    assert lines_of(journal)[:5] == kept
    assert len(lines_of(journal)) == total
    summary = json.loads((here / "one" / "eval" / "step-00000.json").read_text())
    assert summary["greedy"]["overall"]["exact_match"]["value"] == 1
    # and once more: everything is there
    assert run_command(["eval", *words]) == 0
    assert len(served.requests) == 7 + (total - 5)
