"""Parts of a user's that fail: what is said, and of which task."""

import asyncio
import importlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import torch
from parts import PlainTemplate, completion_of, edit_task

from gapo_cli.config.checks import require
from gapo_cli.errors import DataError, NotFiniteError, PartError, UserError, first_line, part_at_work
from gapo_cli.prompts import calls
from gapo_cli.records import Advantages, Group, ParsedAnswer, Prompt
from gapo_cli.rollouts.advantages import with_advantages
from gapo_cli.rollouts.metrics import GroupNumbers, generated_metrics
from gapo_cli.rollouts.sampling import Sampled, read_answers
from gapo_cli.rollouts.scoring import SCORING_FAILED, Failures, score


class FailsOn:
    """1 for every answer but `word`, for which it raises; `together`: it raises for more than one task at once."""

    def __init__(self, word="bad", together=False, unbounded=False, value=1.0):
        self.word, self.together, self.unbounded, self.value = word, together, unbounded, value

    def __call__(self, predictions, tasks):
        if self.word in predictions:
            raise TimeoutError("sandbox timed out")
        if self.together and len({task.id for task in tasks}) > 1:
            raise RuntimeError("too many")
        return {"score": np.full(len(predictions), self.value)}


def sampled(*answers):
    """One task for each tuple of answers."""
    template = PlainTemplate()
    return read_answers(
        template,
        [
            Sampled(task, template.render(task), (5,), tuple(map(completion_of, texts)))
            for task, texts in ((edit_task(number), texts) for number, texts in enumerate(answers))
        ],
    )


def test_a_reward_that_raises_is_told_of_with_the_task_and_its_own_line():
    asked = sampled(("a", "b"), ("bad", "c"))
    with pytest.raises(PartError) as caught:
        score(asked, FailsOn())
    text = str(caught.value)
    assert text.startswith(f"task {asked[1].task.id}: reward=FailsOn: raised TimeoutError: sandbox timed out (at ")
    assert "test_failing_parts.py:" in text
    assert "in __call__)" in text
    assert "reward.on_error=missing" in text
    assert "scoring.py" not in text
    assert [group.task.id for group in caught.value.batch] == [one.task.id for one in asked]
    assert isinstance(caught.value.__cause__, PartError | TimeoutError)


def test_a_reward_that_calls_exit_is_told_of_as_one_that_raises():
    def leaves(predictions, tasks):
        raise SystemExit(3)

    with pytest.raises(PartError, match=r"reward=leaves: raised SystemExit: 3 \(at .*in leaves\)"):
        score(sampled(("a", "b")), leaves)


@pytest.mark.parametrize("sentence", ["", "no sandbox"])
def test_a_reward_that_raises_a_user_error_of_its_own_is_told_of_with_the_task_and_its_batch(sentence):
    def mine(predictions, tasks):
        raise UserError(sentence)

    asked = sampled(("a", "b"))
    with pytest.raises(
        PartError, match=f"^task {asked[0].task.id}: reward=mine: {sentence or 'raised UserError: UserError'} \\(at "
    ) as caught:
        score(asked, mine)
    assert len(caught.value.batch) == 1


def test_a_reward_that_fails_only_on_the_whole_batch_names_its_ends():
    asked = sampled(("a",), ("b",))
    with pytest.raises(
        PartError, match=f"the batch of tasks {asked[0].task.id} to {asked[1].task.id} failed; each .*RuntimeError: too many"
    ):
        score(asked, FailsOn(together=True))


def test_a_failing_answer_counts_as_missing_where_that_is_asked_for():
    said = []
    groups = score(sampled(("a", "bad"), ("b", "c"), ("bad", "d")), FailsOn(), Failures(said.append))
    assert [group.scores[0] for group in groups[:2]] == [1.0, 1.0]
    assert math.isnan(groups[0].scores[1])
    assert math.isnan(groups[2].scores[0])
    assert [group.components[SCORING_FAILED].tolist() for group in groups] == [[0, 1], [0, 0], [1, 0]]
    assert len(said) == 1
    assert "sandbox timed out" in said[0]
    estimated = with_advantages(groups, lambda rewards, lengths: zeros(rewards))
    assert generated_metrics(map(GroupNumbers.of, estimated))["reward/failed"] == 2


def test_failures_are_counted_as_none_where_there_are_none():
    (group,) = score(sampled(("a", "b")), FailsOn(), Failures(pytest.fail))
    assert group.components[SCORING_FAILED].tolist() == [0, 0]


def test_a_batch_that_fails_as_a_whole_is_scored_task_by_task_and_said():
    said = []
    groups = score(sampled(("a",), ("b",)), FailsOn(together=True), Failures(said.append))
    assert [group.scores.tolist() for group in groups] == [[1], [1]]
    assert len(said) == 1
    assert "too many" in said[0]


def test_a_reward_that_fails_on_every_answer_is_refused_all_the_same():
    with pytest.raises(PartError, match="every answer of a batch: reward=FailsOn: raised TimeoutError"):
        score(sampled(("bad", "bad"), ("bad",)), FailsOn(), Failures(lambda text: None))


@pytest.mark.parametrize("value", [math.inf, -math.inf])
def test_an_infinite_reward_is_refused(value):
    with pytest.raises(PartError, match="component score is infinite"):
        score(sampled(("a",)), FailsOn(value=value, unbounded=True))


@pytest.mark.parametrize("value", [-0.5, 1.5])
def test_a_score_beyond_its_range_is_refused_unless_the_reward_says_so(value):
    with pytest.raises(PartError, match=f"a score is {value}; need 0 to 1"):
        score(sampled(("a",)), FailsOn(value=value))
    (group,) = score(sampled(("a",)), FailsOn(value=value, unbounded=True))
    assert group.scores.tolist() == [value]


class Unreadable(Mapping):
    """Fails as its scores are read."""

    def __getitem__(self, key):
        raise LookupError("lazy")

    def __iter__(self):
        return iter(["score"])

    def __len__(self):
        return 1


class Mean:
    """A number that fails as it is read."""

    def __array__(self, *arguments, **options):
        raise OSError("no float")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([1j], "component score is not numbers (they are complex)"),
        ([b"1"], "component score is not numbers (they are bytes)"),
        (["1"], "component score is not numbers (they are texts)"),
        (np.array(["2020-01-01"], dtype="datetime64[D]"), "component score is not numbers (they are dates)"),
        ([object()], "component score is not numbers (there is object among them)"),
        (torch.ones(1, requires_grad=True), "component score is not numbers (Can't call numpy() on Tensor that requires grad"),
        (Mean(), "raised OSError: no float (at "),
    ],
)
def test_a_reward_that_gives_no_real_numbers_is_refused(given, said):
    with pytest.raises(PartError) as caught:
        score(sampled(("a",)), lambda predictions, tasks: {"score": given})
    assert said in str(caught.value)
    with pytest.raises(PartError):
        with_advantages(of_rewards([0.0]), lambda rewards, lengths: Advantages([given], *[zeros(rewards).low] * 3))


def test_the_scores_of_a_reward_may_be_any_real_numbers_and_none():
    given = [Decimal("0.5"), Fraction(1, 4), True, np.float32(0), torch.tensor(1.0), None]
    (group,) = score(sampled(("a",) * 6), lambda predictions, tasks: {"score": np.array(given, dtype=object)})
    assert group.scores[:5].tolist() == [0.5, 0.25, 1, 0, 1] and math.isnan(group.scores[5])


def test_scores_that_fail_as_they_are_read_are_told_of_as_the_reward():
    with pytest.raises(PartError, match=r"raised LookupError: lazy \(at .*in __getitem__\)"):
        score(sampled(("a",)), lambda predictions, tasks: Unreadable())


@pytest.mark.parametrize(
    ("name", "said"),
    [("", "''"), ("a/b c\n", r"'a/b c\n'"), ("a\udcff", r"'a\udcff'"), (1, "of type int"), (object(), "of type object")],
)
def test_a_component_whose_name_no_column_can_have_is_refused(name, said):
    with pytest.raises(PartError) as caught:
        score(sampled(("a",)), lambda predictions, tasks: {"score": [1.0], name: [1.0]})
    assert f"a component's name is {said}; need a str of letters" in str(caught.value)


def zeros(rewards):
    nothing = np.full(len(rewards), np.nan)
    return Advantages(np.zeros(rewards.shape), nothing, nothing, nothing)


def of_rewards(*rows):
    return [
        Group(edit_task(number), (5,), tuple(completion_of("a") for _ in row), {}, np.array(row), np.array(row))
        for number, row in enumerate(rows)
    ]


def advantages(value, rewards):
    """`value` for every completion, of whatever kind it is."""
    nothing = np.full(len(rewards), np.nan)
    return Advantages(np.full(rewards.shape, value), nothing, nothing, nothing)


def divides_by_the_spread(rewards, lengths):
    if (rewards.max(axis=1) == rewards.min(axis=1)).any():
        raise ZeroDivisionError("no spread")
    return zeros(rewards)


@pytest.mark.parametrize(
    ("estimator", "said"),
    [
        (divides_by_the_spread, "task {1}: estimator=divides_by_the_spread: raised ZeroDivisionError: no spread (at "),
        (lambda rewards, lengths: rewards, "gives ndarray; need gapo_cli.records.Advantages"),
        (lambda rewards, lengths: zeros(rewards.T), "gives advantages of shape"),
        (
            lambda rewards, lengths: Advantages(rewards, np.zeros(9), np.zeros(9), np.zeros(9)),
            "gives baseline of shape (9,); need (1,)",
        ),
        (lambda rewards, lengths: advantages("x", rewards), "gives advantages that are not numbers"),
        (lambda rewards, lengths: advantages(None, rewards), "gives an advantage that is not finite"),
        (lambda rewards, lengths: advantages(1j, rewards), "gives advantages that are not numbers (they are complex)"),
        (
            lambda rewards, lengths: Advantages([[1.0], [1.0, 2.0]], *[zeros(rewards).low] * 3),
            "gives advantages that are not numbers",
        ),
        (lambda rewards, lengths: advantages(math.inf, rewards), "gives an advantage that is not finite"),
        (lambda rewards, lengths: advantages(1e300, rewards), "gives an advantage of 1e+300; need what float32 can hold"),
        (
            lambda rewards, lengths: Advantages(rewards, np.full(len(rewards), math.inf), *[zeros(rewards).low] * 2),
            "gives baseline that is infinite; need a finite number, or NaN for none",
        ),
        (
            lambda rewards, lengths: replace(zeros(rewards), low=np.ones(len(rewards)), high=np.zeros(len(rewards))),
            "gives low 1 above high 0; need an interval from low to high",
        ),
    ],
)
def test_an_estimator_that_fails_is_told_of_with_the_task(estimator, said):
    groups = of_rewards([0.0, 1.0, 0.5], [1.0, 1.0, 1.0])
    with pytest.raises(PartError) as caught:
        with_advantages(groups, estimator)
    assert said.replace("{1}", groups[1].task.id) in str(caught.value)
    assert len(caught.value.batch) == 2


@dataclass(frozen=True)
class BrokenTemplate:
    """Raises for the method `raises`, and gives a number otherwise."""

    raises: str = ""

    def _do(self, name):
        if self.raises == name:
            raise KeyError("window")
        return 7

    def render(self, task):
        return self._do("render")

    def answer(self, task, region):
        return self._do("answer")

    def parse(self, task, text):
        return self._do("parse")


@pytest.mark.parametrize(("name", "more"), [("render", ()), ("answer", ("x",)), ("parse", ("x",))])
def test_a_template_that_fails_is_told_of_with_the_task(name, more):
    task, call = edit_task(3), getattr(calls, name)
    with pytest.raises(
        PartError, match=f"^task {task.id}: prompt=BrokenTemplate: raised KeyError: 'window' \\(at .*in {name}, .*_do"
    ):
        call(BrokenTemplate(name), task, *more)
    with pytest.raises(PartError, match=f"^task {task.id}: prompt=BrokenTemplate: {name} gives int; need"):
        call(BrokenTemplate(), task, *more)


@dataclass(frozen=True)
class GivingTemplate(PlainTemplate):
    """Gives `given` for everything; names it as its stop texts and its tokens too."""

    given: object = None

    def render(self, task):
        return self.given

    def answer(self, task, region):
        return self.given

    def parse(self, task, text):
        return self.given

    @property
    def stop(self):
        return self.given

    @property
    def special_tokens(self):
        if isinstance(self.given, Exception):
            raise self.given
        return self.given


HALF = "a\ud800"


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("render", Prompt("t", None), "render gives a Prompt of other kinds of fields; need a str that UTF-8 can hold"),
        ("render", Prompt("t", HALF), "render gives a Prompt of other kinds of fields"),
        ("render", Prompt("t", "a", cut=3), "render gives a Prompt of other kinds of fields"),
        ("render", Prompt("t", "a", messages=("hello",)), "render gives messages of another kind"),
        ("render", Prompt("t", ""), "render gives a prompt without text; need a text or messages"),
        ("answer", HALF, "answer gives str; need a str that UTF-8 can hold"),
        ("parse", ParsedAnswer(HALF), "parse gives ParsedAnswer; need gapo_cli.records.ParsedAnswer with a str that UTF-8"),
        ("parse", ParsedAnswer(None, 5), "parse gives 5 as the reason why there is no region; need a str"),
        ("parse", ParsedAnswer("a", "odd"), "parse gives 'odd' as the reason why there is no region"),
        ("parse", ParsedAnswer("a", cursor=2), "parse gives cursor 2; need an offset into the region, or None"),
        ("parse", ParsedAnswer("a", cursor="0"), "parse gives cursor '0'"),
    ],
)
def test_a_template_that_gives_what_no_file_and_no_tokenizer_can_hold_is_told_of_with_the_task(name, given, said):
    task, more = edit_task(3), () if name == "render" else ("x",)
    with pytest.raises(PartError) as caught:
        getattr(calls, name)(GivingTemplate(given), task, *more)
    assert str(caught.value).startswith(f"task {task.id}: prompt=GivingTemplate: {said}")


@pytest.mark.parametrize("given", ["ab", None, (5,), ("",), (HALF,)])
def test_stop_texts_and_tokens_of_a_template_that_are_no_texts_are_refused(given):
    for what in (calls.stops, calls.special_tokens):
        with pytest.raises(PartError, match=r"^prompt=GivingTemplate: (stop|special_tokens) is .*; need a tuple of texts"):
            what(GivingTemplate(given))


def test_a_template_that_fails_to_name_its_tokens_is_told_of_and_one_without_any_has_none():
    with pytest.raises(PartError, match=r"prompt=GivingTemplate: raised KeyError: 'table' \(at .*in special_tokens\)"):
        calls.special_tokens(GivingTemplate(KeyError("table")))
    assert calls.stops(BrokenTemplate()) == calls.special_tokens(BrokenTemplate()) == ()


class Mute(Exception):
    def __str__(self):
        raise RuntimeError("no words")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (Mute(), "Mute"),
        (ValueError("\n\n a\nb"), "a"),
        (ValueError("\x1b[31mred\x00\tend\udcff"), r"\x1b[31mred\x00\tend\udcff"),
        (ValueError("x" * 5000), "x" * 500 + "..."),
    ],
)
def test_an_error_is_shown_in_one_line_of_a_length_and_signs_that_a_terminal_can_show(error, said):
    assert first_line(error) == said


def test_a_part_whose_own_task_was_cancelled_has_failed_and_one_that_a_person_interrupts_has_not():
    with pytest.raises(PartError, match="raised CancelledError: CancelledError"), part_at_work("reward", object()):
        raise asyncio.CancelledError
    with pytest.raises(KeyboardInterrupt), part_at_work("reward", object()):
        raise KeyboardInterrupt


def test_a_sentence_of_gapos_and_memory_that_runs_out_pass():
    with pytest.raises(UserError, match="^tau=2: need 1$"), part_at_work("reward", object()):
        require(False, "tau=2: need 1")
    with pytest.raises(NotFiniteError, match="^mine$"), part_at_work("engine", object()):  # which decides how the run ends
        raise NotFiniteError("mine")
    for error in (MemoryError, RuntimeError("DefaultCPUAllocator: can't allocate memory")):
        with pytest.raises((MemoryError, RuntimeError)) as caught, part_at_work("reward", object()):
            raise error
        assert not isinstance(caught.value, PartError)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (UserError("mine"), "reward=object: mine (at "),
        (UserError(""), "reward=object: raised UserError: UserError (at "),
        (DataError("x"), ": x (at "),
    ],
)
def test_a_user_error_of_a_users_own_line_is_told_of_with_the_part(error, said):
    with pytest.raises(PartError) as caught, part_at_work("reward", object()):
        raise error
    assert said in str(caught.value)


def test_the_lines_of_a_package_are_not_named_as_the_users_wherever_it_is_installed(tmp_path, monkeypatch):
    package = tmp_path / "lib" / "site-packages" / "theirs.py"
    package.parent.mkdir(parents=True)
    package.write_text("def reads(row):\n    return row['window']\n")
    monkeypatch.syspath_prepend(str(package.parent))
    with pytest.raises(PartError) as caught, part_at_work("reward", object()):
        importlib.import_module("theirs").reads({})
    assert "theirs.py" not in str(caught.value) and "test_failing_parts.py" in str(caught.value)
