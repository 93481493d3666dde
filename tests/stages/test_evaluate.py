"""gapo eval as a stage: the tiny random model's answers and the baselines', what is written and what is said."""

import json
from dataclasses import replace

import pandas as pd
import pytest
from parts import OPTIMIZER, Listening, PlainTemplate, make_experiment, small_task

from gapo_cli.config.data import DataConfig
from gapo_cli.config.sampling import EvaluationConfig
from gapo_cli.config.trainer import TrainerConfig
from gapo_cli.errors import CheckpointError, DataError, UserError
from gapo_cli.evaluation.predictions import from_rows
from gapo_cli.evaluation.summary import Summary, summarise
from gapo_cli.interfaces import QuietDisplay
from gapo_cli.records import TaskSet
from gapo_cli.stages.evaluate import evaluate


class Prints:
    """Tasks in which print became log; task 0 changes nothing, and task 3 is longer than the context."""

    def __init__(self, count):
        self.count = count

    def fingerprint(self):
        return {"count": self.count}

    def build(self, progress):
        return TaskSet({"train": (task(9),), "eval": tuple(task(number) for number in range(self.count))})


def task(number):
    region = f"print(x{number})\n" if number else "pass\n"
    return small_task(
        f"t{number}",
        region,
        region.replace("print", "log"),
        before="y" * 300 + "\n" if number == 3 else "y\n",
        diffs=("@@ -1 +1 @@\n-print(z)\n+log(z)\n",),
        split="eval",
        family="log" if number else "still",
    )


@pytest.fixture
def experiment(tmp_path, tiny_config):
    return make_experiment(
        tmp_path / "run",
        replace(tiny_config, context_length=64),
        verb="eval",
        seed=3,
        data=DataConfig("prints", tmp_path / "data"),
        source=Prints(4),
        trainer=TrainerConfig(2, prompts_per_step=4, prompts_per_mini_batch=2, optimizer=OPTIMIZER, threads=1),
    )


def test_evaluation_writes_what_it_measured_beside_the_baselines(experiment):
    display = Listening()
    result = evaluate(experiment, display)
    assert result.json == experiment.run_dir / "eval" / "step-00000.json"
    written = json.loads(result.json.read_text())
    assert Summary.from_dict(written) == result.summary
    predictions = from_rows(pd.read_parquet(result.predictions).to_dict("records"))
    assert len(predictions) == 4 * (1 + 2)
    assert summarise(predictions) == result.summary
    # of four tasks one changes nothing, and the other three are what the history did
    assert written["baselines"]["copy"]["overall"]["exact_match"]["value"] == 1 / 4
    assert written["baselines"]["replace"]["overall"]["exact_match"]["value"] == 1
    # the long task was not asked and counts as wrong, in both modes
    assert result.summary.greedy.overall.malformed_reasons["prompt_too_long"] == 1 / 4
    assert result.summary.sampled.overall.malformed_reasons["prompt_too_long"] == 1 / 4
    assert (experiment.run_dir / "environment.json").is_file()


def test_evaluation_shows_every_kind_of_answer_by_family(experiment):
    display = Listening()
    result = evaluate(experiment, display)
    text, table = "\n".join(display.said), result.table.read_text()
    for shown in (text, table):
        for name in ("tiny, greedy", "tiny, sampled", "copy the region", "repeat the replacement", "pass@2"):
            assert name in shown
        assert "tiny on prints, split eval" in shown
        assert "4 tasks, 3 of which change something; 2 samples a task" in shown
    assert "still" in text and "| still | 1 |" in table
    assert str(result.json) in text


def test_greedy_alone_has_no_sampled_row_and_no_pass_at_k(experiment):
    display = Listening()
    result = evaluate(replace(experiment, evaluation=EvaluationConfig(samples=0, tasks=2)), display)
    assert result.summary.sampled is None
    assert result.summary.greedy.overall.tasks == result.baselines["copy"].overall.tasks == 2
    assert "sampled" not in display.said[1] and "pass@" not in display.said[1]


class Forgetful(PlainTemplate):
    """Leaves something out of the prompts of two of four tasks."""

    def render(self, task):
        left_out = {
            "t1": ("history: 1 oldest events", "history: again"),
            "t3": ("history: 2 oldest events", "hints: 1 last hints"),
        }
        return replace(super().render(task), cut=left_out.get(task.id, ()))


def test_what_prompts_left_out_is_said_and_kept(experiment):
    display = Listening()
    result = evaluate(replace(experiment, template=Forgetful()), display)
    sentence = (
        "The prompts of 2 of 4 tasks leave something out (history 2, hints 1); the column `cut` of the predictions says what."
    )
    assert f"{sentence}\n" in display.said and sentence in result.table.read_text()
    kept = {row["task_id"]: row["cut"] for row in pd.read_parquet(result.predictions).to_dict("records")}
    assert kept == {
        "t0": "",
        "t1": "history: 1 oldest events; history: again",
        "t2": "",
        "t3": "history: 2 oldest events; hints: 1 last hints",
    }


def test_a_part_of_the_split_is_said_to_be_one(experiment):
    display = Listening()
    evaluate(replace(experiment, evaluation=EvaluationConfig(baseline="copy", tasks=3)), display)
    assert display.said[1] == "copy the region on prints, split eval, 3 of 4 tasks\n"


def test_everything_is_written_before_anything_is_shown(experiment):
    class Leaving(QuietDisplay):
        """Whoever reads the output goes away at the first table, as `head` does."""

        def say(self, text):
            if "exact match" in text:
                raise SystemExit(1)

    with pytest.raises(SystemExit):
        evaluate(replace(experiment, evaluation=EvaluationConfig(baseline="copy")), Leaving())
    assert {"evaluation.md", "cases.html", "eval"} <= {path.name for path in experiment.run_dir.iterdir()}


def test_baselines_answer_the_tasks_that_the_model_answers(experiment):
    result = evaluate(replace(experiment, evaluation=EvaluationConfig(tasks=2)), QuietDisplay())
    asked = {prediction["task_id"] for prediction in pd.read_parquet(result.predictions).to_dict("records")}
    still = "t0" in asked
    assert result.baselines["copy"].overall.exact_match.value == (1 / 2 if still else 0)
    assert result.baselines["copy"].overall.changing_tasks == (1 if still else 2)


@pytest.mark.parametrize(("rule", "right", "shown"), [("copy", 1, "copy the region"), ("replace", 4, "repeat the replacement")])
def test_a_baseline_answers_alone_and_no_model_is_loaded(experiment, rule, right, shown):
    alone = replace(
        experiment, model=replace(experiment.model, path="/nowhere/at/all"), evaluation=EvaluationConfig(baseline=rule)
    )
    display = Listening()
    result = evaluate(alone, display)
    overall = result.summary.greedy.overall
    # t0 changes nothing; t1, t2 and t3 are what the history did, the one that is too long for a model among them
    assert (overall.exact_match.value, overall.tasks) == (right / 4, 4)
    assert overall.exact_match_on_changes.value == (right - 1) / 3
    assert result.baselines == {} and result.summary.sampled is None
    assert f"{shown} on prints, split eval" in "\n".join(display.said)
    assert "A rule without a model" not in "\n".join(display.said)


def test_two_evaluations_of_the_same_tasks_are_compared_in_words(experiment, tmp_path):
    copied = evaluate(
        replace(experiment, run_dir=tmp_path / "copied", evaluation=EvaluationConfig(baseline="copy")), QuietDisplay()
    )
    against = EvaluationConfig(baseline="replace", against=str(copied.run_dir))
    display = Listening()
    result = evaluate(replace(experiment, evaluation=against), display)
    one = result.comparison["greedy"]
    assert (one.both_right, one.this_right, one.other_right, one.neither_right) == (1, 3, 0, 0)
    assert one.p_value == pytest.approx(2 / 8)  # three heads or three tails in three tosses
    assert json.loads((experiment.run_dir / "comparison.json").read_text())["greedy"]["p_value"] == one.p_value
    for shown in ("\n".join(display.said), result.table.read_text()):
        assert "both right on 1, only repeat the replacement on 3, only the other on 0, neither on 0" in shown
        assert "These tasks do not show that one is better" in shown


def test_tasks_that_only_one_evaluation_has_are_named_with_their_number(experiment, tmp_path):
    few = EvaluationConfig(baseline="copy", tasks=3)
    copied = evaluate(replace(experiment, run_dir=tmp_path / "copied", evaluation=few), QuietDisplay())
    display = Listening()
    evaluate(replace(experiment, evaluation=EvaluationConfig(baseline="replace", against=str(copied.predictions))), display)
    assert "3 tasks answered by both; 1 is only in this evaluation and left out" in "\n".join(display.said)


class OtherPrints(Prints):
    """The same ids for other edits, or other ids."""

    def __init__(self, change):
        self.change = change
        super().__init__(4)

    def fingerprint(self):
        return {"change": str(sorted(self.change(task(0)).to_dict()))}

    def build(self, progress):
        return TaskSet({"eval": tuple(self.change(task(number)) for number in range(self.count))})


@pytest.mark.parametrize(
    ("change", "settings", "sentence"),
    [
        (lambda one: replace(one, id=f"other-{one.id}"), {}, "none of its 4 tasks is among the 4 of this evaluation"),
        (lambda one: replace(one, target="else\n"), {}, "task t0: has another region or target there"),
        (lambda one: one, {"baseline": None, "greedy": False, "samples": 1}, "has no sampled answers"),
    ],
)
def test_what_cannot_be_paired_is_refused_before_a_model_answers(experiment, tmp_path, change, settings, sentence):
    copied = evaluate(
        replace(experiment, run_dir=tmp_path / "copied", evaluation=EvaluationConfig(baseline="copy")), QuietDisplay()
    )
    asked = EvaluationConfig(**{"baseline": "copy", "against": str(copied.run_dir)} | settings)
    other = replace(experiment, source=OtherPrints(change), data=replace(experiment.data, name="others"), evaluation=asked)
    with pytest.raises(UserError, match=sentence):
        evaluate(other, QuietDisplay())
    assert not experiment.run_dir.exists()


@pytest.mark.parametrize(("made", "sentence"), [([], "no such folder"), (["eval"], "has no predictions in eval/")])
def test_a_run_without_answers_cannot_be_compared_with(experiment, tmp_path, made, sentence):
    run = tmp_path / "other"
    for name in made:
        (run / name).mkdir(parents=True)
    with pytest.raises(UserError, match=sentence):
        evaluate(replace(experiment, evaluation=EvaluationConfig(baseline="copy", against=str(run))), QuietDisplay())


def test_an_empty_split_is_refused_before_a_model_is_loaded(experiment, monkeypatch):
    monkeypatch.delattr("gapo_cli.models.load.load_model")
    with pytest.raises(DataError, match="split 'eval' has no tasks"):
        evaluate(replace(experiment, source=Prints(0)), QuietDisplay())


def test_a_model_that_is_not_there_is_answered_before_the_data_is_built(experiment):
    display = Listening()
    with pytest.raises(CheckpointError, match="model.path=/nowhere/at/all: no such folder"):
        evaluate(replace(experiment, model=replace(experiment.model, path="/nowhere/at/all")), display)
    assert display.said == []
    assert not experiment.data.directory.exists()
