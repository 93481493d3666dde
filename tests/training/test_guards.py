"""What stops a run that only breaks, and the warnings of one that collapses."""

import json

import pytest

from gapo_cli.config.trainer import GuardsConfig
from gapo_cli.errors import UserError
from gapo_cli.training.guards import CollapseWatch, SkipGuard, TooManySkipped

HEALTHY = {
    "group/zero_std_frac": 0.3,
    "actor/entropy": 1.0,
    "response_length/clip_ratio": 0.1,
    "reward/noop_frac": 0.2,
    "reward/noop_em/mean": 0.125,
}


def test_only_skipped_steps_in_a_row_reach_the_limit():
    guard = SkipGuard(limit=3)
    for skipped in (True, True, False, True, True):
        guard.saw(skipped, ["batch"])
    with pytest.raises(TooManySkipped) as stop:
        guard.saw(True, ["last"])
    assert (stop.value.steps, stop.value.batch) == (3, ["last"])
    # a run that goes on all the same begins to count again
    assert guard.in_a_row == 0


def test_without_a_limit_nothing_is_stopped():
    guard = SkipGuard(limit=0)
    for _ in range(100):
        guard.saw(True, [])
    assert guard.in_a_row == 100


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"group/zero_std_frac": 1.0}, "for 3 steps at least 100% of the groups have had answers that all earn the same"),
        ({"actor/entropy": 0.005}, "for 3 steps the entropy of the answers has been at most 0.01 nats a token"),
        ({"response_length/clip_ratio": 0.95}, "for 3 steps at least 90% of the answers have been cut at the limit"),
        (
            {"reward/noop_frac": 0.5},
            "leave the region as it stands (reward/noop_frac, now 0.50) has been 0.25 or more above where it began (0.20)",
        ),
        (
            {"reward/noop_em/mean": 0.375},
            "by leaving the region as it stands (reward/noop_em/mean, now 0.38) has been 0.25 or more above where it began (0.12)",
        ),
    ],
)
def test_each_collapse_is_said_once_and_only_when_it_lasts(change, words):
    watch = CollapseWatch(GuardsConfig(steps_in_a_row=3))
    said = [watch.look(HEALTHY | {"step": step}) for step in range(1, 4)]
    # two bad steps, a good one, then bad ones to the end
    rows = [HEALTHY | change, HEALTHY | change, HEALTHY, *[HEALTHY | change] * 8]
    said += [watch.look(row | {"step": step}) for step, row in enumerate(rows, start=4)]
    (sentence,) = [sentence for sentences in said for sentence in sentences]
    assert words in sentence
    # the third bad step in a row is step 9
    assert sentence.startswith("warning, at step 9: ")


def test_a_healthy_run_is_never_warned_about():
    watch = CollapseWatch(GuardsConfig())
    assert [watch.look(HEALTHY | {"step": step, "reward/noop_frac": 0.2 + step / 1000}) for step in range(1, 200)] == [[]] * 199


def test_a_measure_that_a_row_lacks_is_no_collapse():
    # a step in which no group has a gradient has no entropy
    watch = CollapseWatch(GuardsConfig(steps_in_a_row=1))
    assert watch.look({"step": 1, "reward/noop_frac": 0.0}) == []


def test_a_resumed_watch_goes_on_where_it_was():
    config = GuardsConfig(steps_in_a_row=3)
    whole, first, second = (CollapseWatch(config) for _ in range(3))
    rows = [HEALTHY | {"step": step, "actor/entropy": 0.0} for step in range(1, 5)]
    expected = [whole.look(row) for row in rows]
    said = [first.look(row) for row in rows[:2]]
    second.restore(json.loads(json.dumps(first.to_dict())))
    assert said + [second.look(row) for row in rows[2:]] == expected
    assert expected[2] != []


@pytest.mark.parametrize("wrong", [{"skipped_in_a_row": -1}, {"steps_in_a_row": 0}, {"clip_ratio": 0.0}, {"entropy": -1.0}])
def test_a_guard_that_cannot_be_is_refused(wrong):
    (name,) = wrong
    with pytest.raises(UserError, match=f"guards.{name}="):
        GuardsConfig(**wrong)
