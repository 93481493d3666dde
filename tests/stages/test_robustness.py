"""gapo eval robustness=: which tasks are perturbed, who answers them, what is written, measured again and refused."""

import json
from dataclasses import replace

import pandas as pd
import pytest
from parts import OPTIMIZER, Listening, PlainTemplate, make_experiment, small_task

from gapo_cli.config.data import DataConfig
from gapo_cli.config.sampling import EvaluationConfig
from gapo_cli.config.trainer import TrainerConfig
from gapo_cli.errors import PartError, UserError
from gapo_cli.interfaces import QuietDisplay
from gapo_cli.perturbations.cursor_column import CursorColumn
from gapo_cli.perturbations.related_order import RelatedOrder
from gapo_cli.perturbations.rename import Rename
from gapo_cli.records import Perturbed, TaskSet
from gapo_cli.stages.evaluate import evaluate

PARTS = {"rename": Rename(), "cursor_column": CursorColumn()}


class Prints:
    """Tasks in which print became log; the first has no cursor."""

    def fingerprint(self):
        return {}

    def build(self, progress):
        return TaskSet({"eval": tuple(task(number) for number in range(4))})


def task(number):
    region = f"print(walrus{number})\n"
    return small_task(
        f"t{number}", region, region.replace("print", "log"), before="y\n", diffs=("@@ -1 +1 @@\n-print(z)\n+log(z)\n",),
        split="eval", cursor=(4, 4) if number else None,
    )  # fmt: skip


@pytest.fixture
def experiment(tmp_path, tiny_config):
    return make_experiment(
        tmp_path / "run",
        replace(tiny_config, context_length=64),
        verb="eval",
        data=DataConfig("prints", tmp_path / "data"),
        source=Prints(),
        trainer=TrainerConfig(2, prompts_per_step=4, prompts_per_mini_batch=2, optimizer=OPTIMIZER, threads=1),
        evaluation=EvaluationConfig(baseline="replace", robustness=("all",)),
        perturbations=PARTS,
    )


def test_the_perturbed_tasks_are_answered_measured_shown_and_kept(experiment):
    display = Listening()
    result = evaluate(experiment, display)
    found = result.robustness
    # the rule is right whatever the names are, and says the same in them
    assert {name: (one.tasks, one.exact_match.value, one.same.value) for name, one in found.under.items()} == {
        "rename": (4, 1, 1), "cursor_column": (3, 1, 1),
    }  # fmt: skip
    written = json.loads((experiment.run_dir / "robustness.json").read_text())
    assert written["under"]["rename"]["exact_match"]["value"] == 1
    assert written["left_out"] == {"rename": {}, "cursor_column": {"no cursor": 1}}
    rows = pd.read_parquet(experiment.run_dir / "robustness.parquet")
    assert len(rows) == 7 and set(rows["perturbation"]) == set(PARTS)
    renamed = rows[(rows["perturbation"] == "rename") & (rows["task_id"] == "t1")].iloc[0]
    assert renamed["restored"] == "log(walrus1)\n" and "walrus" not in renamed["region"]
    for shown in ("\n".join(display.said), result.table.read_text()):
        assert "under perturbations" in shown and "worst of all" in shown
        assert "cursor_column applies to 3 of 4 tasks; not to the others: no cursor 1." in shown


def test_a_model_answers_each_perturbed_task_once_and_sampled_answers_stand_beside(experiment):
    asked = replace(
        experiment, evaluation=EvaluationConfig(samples=2, robustness=("rename",)), perturbations={"rename": Rename()}
    )
    display = Listening()
    result = evaluate(asked, display)
    assert len(pd.read_parquet(experiment.run_dir / "robustness.parquet")) == 4
    assert result.robustness.sampled.tasks == 4
    assert "sampled at temperature 1" in result.table.read_text()
    assert any(what == "evaluating (greedy): rename" for what, _, _ in display.told)


def test_the_kept_answers_are_measured_again_without_the_tasks(experiment, tmp_path):
    first = evaluate(experiment, QuietDisplay())
    again = replace(
        experiment, run_dir=tmp_path / "again", source=None, evaluation=EvaluationConfig(rescore=str(first.run_dir))
    )
    assert evaluate(again, QuietDisplay()).robustness == first.robustness
    assert (tmp_path / "again" / "robustness.json").read_text() == (first.run_dir / "robustness.json").read_text()
    plain = replace(experiment, run_dir=tmp_path / "plain", evaluation=EvaluationConfig(baseline="copy"), perturbations={})
    evaluate(plain, QuietDisplay())
    asked = EvaluationConfig(rescore=str(tmp_path / "plain"), robustness=("all",))
    with pytest.raises(UserError, match="has no answers to perturbed tasks"):
        evaluate(replace(again, evaluation=asked), QuietDisplay())


@pytest.mark.parametrize(
    ("robustness", "sentence"),
    [
        (("related_order",), r"robustness=related_order: applies to none of the 4 tasks \(fewer than two related files\)"),
        (("all",), "robustness=all: no perturbation applies to any of the 4 tasks"),
    ],
)
def test_a_perturbation_that_applies_to_no_task_is_refused_before_a_model_is_loaded(
    experiment, robustness, sentence, monkeypatch
):
    monkeypatch.delattr("gapo_cli.models.load.load_model")
    asked = EvaluationConfig(robustness=robustness)
    with pytest.raises(UserError, match=sentence):
        evaluate(replace(experiment, evaluation=asked, perturbations={"related_order": RelatedOrder()}), QuietDisplay())
    assert not experiment.run_dir.exists()


def test_of_all_one_that_applies_nowhere_is_said_and_left_out(experiment):
    display = Listening()
    result = evaluate(replace(experiment, perturbations=PARTS | {"related_order": RelatedOrder()}), display)
    assert "related_order" not in result.robustness.under
    assert "related_order applies to 0 of 4 tasks; not to the others: fewer than two related files 4." in "\n".join(
        display.said
    )


def test_a_template_is_shown_the_changed_task(experiment):
    shown = []

    class Watching(PlainTemplate):
        def render(self, task):
            shown.append((task.id, task.excerpt, task.cursor))
            return super().render(task)

    asked = replace(
        experiment, template=Watching(), evaluation=EvaluationConfig(robustness=("all",)), perturbations={"rename": Rename()}
    )
    evaluate(asked, QuietDisplay())
    texts = [text for task_id, text, _ in shown if task_id == "t1"]
    assert len(texts) == 2 and "walrus1" in texts[0] and "walrus1" not in texts[1]


def test_robustness_needs_greedy_answers(experiment):
    sampled = replace(experiment, evaluation=EvaluationConfig(greedy=False, samples=1))
    with pytest.raises(UserError, match="perturbation: compares greedy answers"):
        evaluate(sampled, QuietDisplay())
    with pytest.raises(UserError, match=r"robustness=\[all\]: compares greedy answers"):
        EvaluationConfig(greedy=False, samples=1, robustness=("all",))


class Forgetful:
    """Reads its own targets back, and no other answer."""

    def __call__(self, task, generator):
        targets = set(task.targets)
        return Perturbed(replace(task, path="other.py"), lambda text: text if text in targets else 1 / 0)


def test_answers_that_a_perturbation_cannot_read_back_are_kept(experiment):
    asked = replace(
        experiment,
        evaluation=EvaluationConfig(baseline="copy", robustness=("all",)),
        perturbations={"rename": Rename(), "mine": Forgetful()},
    )
    with pytest.raises(
        PartError, match=r"^task t0: perturbation=Forgetful: raised ZeroDivisionError: .*the answers at hand are in"
    ) as caught:
        evaluate(asked, QuietDisplay())
    path = asked.run_dir / "stopped" / "robustness.parquet"
    assert str(caught.value).endswith(str(path))
    assert pd.read_parquet(path)["perturbation"].value_counts().to_dict() == {"": 4, "rename": 4, "mine": 4}
    assert not (asked.run_dir / "robustness.parquet").exists()
