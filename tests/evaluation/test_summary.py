import json
from dataclasses import replace

import pytest

from gapo_cli.edits.delta_chrf import delta_chrf
from gapo_cli.errors import DataError
from gapo_cli.evaluation.predictions import Prediction
from gapo_cli.evaluation.summary import Summary, summarise
from gapo_cli.statistics.intervals import wilson


def prediction(task: str, region: str | None, mode: str = "greedy", sample: int = 0, **more) -> Prediction:
    row = {
        "family": "rename",
        "language": "python",
        "finish_reason": "stop",
        "tokens": 4,
        "before": "old\n",
        "target": "new\n",
    } | more
    malformed = None if region is not None else "no_marker"
    return Prediction(task_id=task, mode=mode, sample=sample, text=region or "?", region=region, malformed=malformed, **row)


GREEDY = [
    prediction("a", "new\n"),
    prediction("b", "  new"),
    prediction("c", "old\n", family="log", language="go"),
    prediction("d", None, finish_reason="length", tokens=12),
    prediction("e", "old", family="log", before="old\n", target="old\n"),
]


def test_greedy_shares_are_counted_with_wilson_intervals():
    overall = summarise(GREEDY).greedy.overall
    assert (overall.tasks, overall.predictions, overall.changing_tasks) == (5, 5, 4)
    assert overall.exact_match == wilson(3, 5)  # a, b and e; stripped
    assert overall.strict_match == wilson(1, 5)  # only a ends as the target does
    assert overall.noop_rate == wilson(2, 5)  # c and e
    assert overall.malformed_rate == overall.truncated_rate == wilson(1, 5)
    assert overall.exact_match_on_changes == wilson(2, 4)  # e changes nothing
    assert overall.malformed_reasons == {"no_marker": 1 / 5}
    assert overall.response_tokens == (4 * 4 + 12) / 5
    assert overall.pass_at == {}


def test_a_malformed_answer_counts_as_zero_similarity():
    overall = summarise(GREEDY).greedy.overall
    # levenshtein(old, new): all three characters differ; so 1, 1, 0, malformed 0, 1
    assert overall.edit_similarity.value == pytest.approx(3 / 5)
    assert overall.bleu.value == pytest.approx(3 / 5)


def test_families_and_languages_are_measured_apart():
    greedy = summarise(GREEDY).greedy
    assert list(greedy.families) == ["log", "rename"]
    assert greedy.families["log"].exact_match == wilson(1, 2)
    assert greedy.families["rename"].exact_match == wilson(2, 3)
    assert greedy.languages["go"].exact_match == wilson(0, 1)
    assert greedy.languages["python"].tasks == 4


def test_samples_are_averaged_within_their_task_first():
    sampled = [prediction("a", "new", "sampled", index) for index in range(4)]
    sampled += [prediction("b", "new" if index == 0 else "old", "sampled", index) for index in range(4)]
    overall = summarise(sampled).sampled.overall
    assert (overall.tasks, overall.predictions) == (2, 8)
    assert overall.exact_match.value == pytest.approx((1 + 1 / 4) / 2)
    assert overall.exact_match == wilson(1.25, 2)  # two trials, not eight
    # pass@2 of b: 1 - C(3, 2)/C(4, 2) = 1/2; of a: 1
    assert {k: measure.value for k, measure in overall.pass_at.items()} == pytest.approx({1: 0.625, 2: 0.75, 4: 1.0})


def test_repeating_every_sample_does_not_narrow_the_interval():
    once = [prediction(str(task), "new" if task < 12 else "old", "sampled") for task in range(30)]
    often = [replace(one, sample=index) for one in once for index in range(5)]
    assert summarise(once).sampled.overall.exact_match == summarise(often).sampled.overall.exact_match


def test_modes_do_not_mix_and_an_absent_mode_is_none():
    summary = summarise([prediction("a", "new"), prediction("a", "old", "sampled")])
    assert summary.greedy.overall.exact_match.value == 1
    assert summary.sampled.overall.exact_match.value == 0
    assert summarise(GREEDY).sampled is None
    assert summarise([]) == Summary(None, None)


def test_where_no_task_changes_anything_that_measure_is_empty():
    still = [prediction("a", "old", target="old"), prediction("a", "old", "sampled", target="old")]
    for breakdown in summarise(still).by_mode().values():
        assert breakdown.overall.changing_tasks == 0
        assert breakdown.overall.exact_match_on_changes.value is None


def test_tokens_of_tasks_that_were_not_asked_do_not_count():
    asked = prediction("a", "new", tokens=6)
    skipped = prediction("b", None, finish_reason="none", tokens=0)
    assert summarise([asked, skipped]).greedy.overall.response_tokens == 6
    assert summarise([skipped]).greedy.overall.response_tokens is None


def test_answers_whose_length_no_server_told_have_none():
    # several answers of one request without log-probabilities: 0 is stored
    unknown = [prediction("a", "new", "sampled", index, tokens=0) for index in range(2)]
    assert summarise(unknown).sampled.overall.response_tokens is None
    assert summarise([*unknown, prediction("a", "new", "sampled", 2, tokens=6)]).sampled.overall.response_tokens == 6


def test_a_sample_that_is_there_twice_is_refused():
    with pytest.raises(DataError, match="task a: greedy sample 0 is there twice"):
        summarise([GREEDY[0], GREEDY[0]])


def test_summary_survives_strict_json():
    summary = summarise([*GREEDY, *(prediction("z", None, "sampled", index, target="old\n") for index in range(2))])
    text = json.dumps(summary.to_dict(), allow_nan=False)
    assert Summary.from_dict(json.loads(text)) == summary
    assert Summary.from_dict(json.loads(json.dumps(summarise([]).to_dict()))) == Summary(None, None)


def test_metrics_have_the_names_of_the_metrics_file_and_no_gaps():
    sampled = [prediction("a", "new", "sampled", index) for index in range(2)]
    metrics = summarise([prediction("a", None, finish_reason="none"), *sampled]).metrics()
    assert metrics["val/exact_match"] == 0
    assert metrics["val/malformed_rate"] == 1
    assert metrics["val/exact_match_high"] == pytest.approx(wilson(0, 1).high)
    assert metrics["val/sampled/exact_match"] == metrics["val/sampled/pass@2"] == 1
    assert "val/response_tokens" not in metrics
    assert all(isinstance(value, float) for value in metrics.values())


def test_the_newer_measures_are_taken_on_all_tasks_and_on_those_that_change_something():
    overall = summarise(GREEDY).greedy.overall
    # a and b are right, c copies, d is malformed; e changes nothing and is right
    # the copy agrees in the two orders that texts of four characters are too short for; b has blanks too many
    changed = [1, delta_chrf("old\n", "  new\n", "new\n"), 2 / 6, 0]
    assert overall.delta_chrf.value == pytest.approx(sum([*changed, 1]) / 5)
    assert overall.on_changes["delta_chrf"].value == pytest.approx(sum(changed) / 4)
    for name in ("changed_lines_precision", "changed_lines_recall"):
        assert getattr(overall, name).value == pytest.approx(3 / 5)
        assert overall.on_changes[name].value == pytest.approx(2 / 4)
    # old against new shares no character
    assert overall.chrf.value == pytest.approx(3 / 5)
    assert overall.on_changes["strict_match"] == wilson(1, 4)
    assert overall.reversible_tasks == 0 and overall.reversal_rate.value is None


def test_numbers_of_a_run_that_did_not_measure_them_yet_are_read():
    row = summarise(GREEDY).to_dict()
    for name in (
        "chrf",
        "delta_chrf",
        "changed_lines_precision",
        "changed_lines_recall",
        "reversal_rate",
        "on_changes",
        "behaviour",
        "sizes",
    ):
        for part in (row["greedy"]["overall"], *row["greedy"]["families"].values(), *row["greedy"]["languages"].values()):
            del part[name]
    read = Summary.from_dict(row).greedy.overall
    assert read.exact_match == wilson(3, 5) and read.chrf.value is None and read.on_changes == {} == read.behaviour


def test_of_several_targets_the_nearest_one_counts_in_every_measure():
    summary = summarise(
        [prediction("a", "newer\n", alternatives=("newer\n", "newest\n")), prediction("b", "old\n", alternatives=("old",))]
    )
    overall = summary.greedy.overall
    assert overall.exact_match == wilson(2, 2)
    assert overall.edit_similarity.value == overall.delta_chrf.value == overall.behaviour["kept_rate"].value == 1
    assert overall.behaviour["exact_lines_f1"].value == 1
    assert overall.sizes["right_by_an_alternative"] == 2
    # leaving b as it stands is as right as changing it: it says nothing about firing
    assert overall.sizes["tasks_that_want_an_edit"] == 1 and overall.sizes["tasks_that_want_silence"] == 0


def test_firing_where_nothing_was_wanted_and_silence_where_something_was():
    still = {"target": "old\n"}
    summary = summarise(
        [
            prediction("a", "new\n"), prediction("b", "old\n"), prediction("c", None),
            prediction("d", "x\n", **still), prediction("e", " old\n", **still),
        ]
    )  # fmt: skip
    behaviour = summary.greedy.overall.behaviour
    # of a malformed answer nothing is shown
    assert behaviour["silence_where_wanted"] == wilson(2, 3)
    assert behaviour["edits_unwanted"] == wilson(1, 2)
    # both are followed while a model is trained; of tasks that all want an edit there is no unwanted one
    metrics = summary.metrics()
    assert (metrics["val/silence_where_wanted"], metrics["val/edits_unwanted"]) == (pytest.approx(2 / 3), 0.5)
    assert "val/edits_unwanted" not in summarise([prediction("a", "new\n")]).metrics()


def test_where_the_cursor_goes_is_measured_against_the_first_target_only():
    there = {"target": "new\n", "cursor_after": 3}
    behaviour = summarise(
        [
            prediction("a", "new\n", cursor=3, **there),
            prediction("b", "new\n", cursor=1, **there),
            prediction("c", "nu\n", cursor=1, alternatives=("nu\n",), **there),
            prediction("d", "new\n", **there),
        ]
    ).greedy.overall.behaviour
    assert behaviour["cursor_exact"] == wilson(1, 2) and behaviour["cursor_distance"].value == 1


def test_an_earlier_definition_of_delta_chrf_can_be_asked_for():
    summary = summarise([prediction("a", "newer\n")], constants="zed-2026-02")
    assert summary.constants == "zed-2026-02"
    assert summary.greedy.overall.delta_chrf.value != summarise([prediction("a", "newer\n")]).greedy.overall.delta_chrf.value
