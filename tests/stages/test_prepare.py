"""gapo prepare as a stage: what a set is made of, as the chosen model and template see it."""

import json
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
from parts import Listening, small_task

from gapo_cli.config.data import DataConfig
from gapo_cli.config.model import ModelConfig
from gapo_cli.interfaces import QuietDisplay
from gapo_cli.records import Message, Prompt, TaskSet
from gapo_cli.stages.prepare import prepare_and_describe


def task(name, region="é = 1\n", target="é = 2\n"):
    return small_task(name, region, target, language="go" if name == "t1" else "rust", path="a.go")


@dataclass
class Made:
    splits: dict = field(default_factory=lambda: {
        "train": (task("t1"), task("t2", "x\n", "x\n")), "eval": (task("e", "é=1\n", "é=2\n"),), "dev": (),
    })  # fmt: skip

    def fingerprint(self):
        return {}

    def build(self, progress):
        return TaskSet(self.splits)


class Excerpts:
    """The excerpt is the prompt, the region the answer."""

    def render(self, task):
        return Prompt(task.id, task.excerpt, cut=("history",) if task.id == "t2" else ())

    def answer(self, task, region):
        return region


class Messages(Excerpts):
    def render(self, task):
        return Prompt(task.id, "```", (Message("user", task.excerpt),))


def experiment(tmp_path, model, template=None, **settings):
    config = ModelConfig(name="m", path=str(model), context_length=13, **settings)
    data = DataConfig(name="made", directory=tmp_path)
    return SimpleNamespace(data=data, source=Made(), model=config, template=template or Excerpts())


def test_lengths_are_counted_in_characters_and_in_the_models_tokens(tmp_path, tiny_model_folder):
    display = Listening()
    found = prepare_and_describe(experiment(tmp_path, tiny_model_folder), display)
    train = found.statistics["train"].lengths
    # "é = 1\n" has 6 characters and 7 bytes, one token each; an answer has its end token, too; "x\n" has 2
    assert (train["prompt characters"].minimum, train["prompt characters"].maximum) == (2, 6)
    assert (train["prompt tokens"].minimum, train["prompt tokens"].maximum) == (2, 7)
    assert (train["answer tokens"].minimum, train["answer tokens"].maximum) == (3, 8)
    assert (found.statistics["train"].too_long, found.statistics["eval"].too_long) == (1, 0)  # 7 + 8 and 5 + 6 in 13
    assert (found.statistics["train"].noop, found.statistics["train"].cut, found.statistics["all"].tasks) == (1, 1, 3)
    assert display.told[-1] == ("measuring the tasks", 3, 3)


def test_the_statistics_lie_beside_the_manifest(tmp_path, tiny_model_folder):
    found = prepare_and_describe(experiment(tmp_path, tiny_model_folder), QuietDisplay())
    folder = found.prepared.folder
    row = json.loads((folder / "statistics.json").read_text())
    assert row["splits"]["train"]["languages"] == {"go": {"tasks": 1, "share": 0.5}, "rust": {"tasks": 1, "share": 0.5}}
    assert (row["tokenizer"], row["template"], row["context_length"]) == (str(tiny_model_folder), "Excerpts", 13)
    # the same tokens with other blanks between them
    assert [(pair["first"], pair["second"], pair["near"]) for pair in row["overlaps"] if pair["near"]] == [("train", "eval", 1)]
    text = (folder / "statistics.md").read_text()
    assert "| eval, in train as well | – | 1 | t1 = e |" in text
    assert "![languages and lengths](statistics.svg)" in text
    figure = (folder / "statistics.svg").read_bytes()
    assert b"languages, % of the tasks" in figure
    prepare_and_describe(experiment(tmp_path, tiny_model_folder), QuietDisplay())
    assert (folder / "statistics.svg").read_bytes() == figure


@pytest.mark.parametrize(
    ("template", "settings", "reason"),
    [(Excerpts(), {}, "no such folder"), (Messages(), {"chat": True}, "has no chat template")],
)
def test_without_a_tokenizer_that_serves_there_are_characters_and_one_line_that_says_so(
    tmp_path, tiny_model_folder, template, settings, reason
):
    display = Listening()
    model = tiny_model_folder if settings else tmp_path / "no model"
    found = prepare_and_describe(experiment(tmp_path, model, template, **settings), display)
    (line,) = [said for said in display.said if "characters only" in said]
    assert reason in line
    assert set(found.statistics["train"].lengths) == {"prompt characters", "answer characters", "history"}
    # the words of a chat prompt, and those that begin the answer
    assert found.statistics["eval"].lengths["prompt characters"].maximum == (4 if not settings else 7)
    assert json.loads((found.prepared.folder / "statistics.json").read_text())["tokenizer"] is None


def test_other_verbs_prepare_without_statistics(tmp_path, tiny_model_folder):
    from gapo_cli.tasks.sets.prepared import load_tasks

    load_tasks(experiment(tmp_path, tiny_model_folder), "train", QuietDisplay())
    (folder,) = tmp_path.iterdir()
    assert "statistics.json" not in {path.name for path in folder.iterdir()}
