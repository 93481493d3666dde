from pathlib import Path

import yaml

from gapo_cli.evaluation.predictions import Prediction
from gapo_cli.evaluation.summary import summarise
from gapo_cli.models.nano.base_note import NOISY_LOG, base_note
from gapo_cli.reports.tables import (
    Table,
    answers_of,
    breakdown_table,
    change_table,
    evaluation_tables,
    malformed_table,
    overall_table,
    with_interval,
)
from gapo_cli.statistics.intervals import Measure

REPOSITORY = Path(__file__).parents[2]


def predictions(mode="greedy", samples=1):
    return [
        Prediction(task, family, "python", mode, sample, "", region, None, "stop", 5, "old", "new")
        for task, family, region in (("a", "log", "new"), ("b", "log", "old"), ("c", "rename|2", "new"))
        for sample in range(samples)
    ]


ANSWERS = answers_of(summarise([*predictions(), *predictions("sampled", 2)]), {"copy": summarise(predictions()).greedy}, "nano")


def test_answers_stand_in_the_order_in_which_they_are_compared():
    assert list(ANSWERS) == ["nano, greedy", "nano, sampled", "copy the region"]


def test_numbers_are_percent_with_intervals():
    # Wilson 2/3: centre (2/3 + 3.841459/6)/(1 + 3.841459/3) = 0.573077, half width
    # 1.959964·sqrt(2/27 + 3.841459/36)/2.280486 = 0.365423
    assert overall_table(ANSWERS).rows[0][1] == "66.7 [20.8, 93.9]"
    assert with_interval(Measure()) == "–"
    assert with_interval(Measure(0.0, -1e-18, 0.1, "wilson")) == "0.0 [0.0, 10.0]"


def test_pass_at_k_is_a_column_where_something_was_sampled_twice():
    table = overall_table(ANSWERS)
    column = table.columns.index("pass@2")
    assert [row[column] for row in table.rows] == ["–", "66.7", "–"]
    assert not any("pass" in column for column in overall_table({"copy": ANSWERS["copy the region"]}).columns)


def test_families_have_a_row_each_with_their_number_of_tasks():
    table = breakdown_table(ANSWERS, "families")
    assert table.columns == ("exact match, % by family", "tasks", "nano, greedy", "nano, sampled", "copy the region")
    assert [row[:2] for row in table.rows] == [("log", "2"), ("rename|2", "1")]
    assert table.rows[0][2] == "50.0 [9.5, 90.5]"


def test_a_family_that_one_answer_lacks_is_a_gap():
    one = summarise(predictions()[:2]).greedy
    assert breakdown_table({"short": one, **ANSWERS}, "families").rows[1][2] == "–"


def test_a_baseline_that_is_ahead_is_named_plainly():
    ahead = {**ANSWERS, "repeat the replacement": summarise([one for one in predictions() if one.region == "new"]).greedy}
    assert "does better on these tasks than the model" in overall_table(ahead).note
    assert "does better" not in overall_table(ANSWERS).note


def test_one_language_is_not_a_table():
    assert [table.columns[0] for table in evaluation_tables(ANSWERS)] == [
        "%", "the change, %", "how it edits, %", "exact match, % by family",
    ]  # fmt: skip


def test_text_is_aligned_and_markdown_is_escaped():
    table = Table("Title", ("name", "x"), (("a|b", "1.0"), ("long name", "22.0")), "Note.")
    assert table.to_text() == "Title\nname          x\na|b         1.0\nlong name  22.0\nNote."
    assert table.to_markdown() == "### Title\n\n| name | x |\n|---|---:|\n| a\\|b | 1.0 |\n| long name | 22.0 |\n\nNote.\n"


def test_the_noise_that_the_base_is_said_to_have_is_the_noise_it_was_given():
    made_by = yaml.safe_load(next(REPOSITORY.glob("conf/experiment/nano*_noisy.yaml")).read_text())
    assert made_by["supervised"]["log"] == NOISY_LOG
    assert "40 % of the outcomes were the finished edit" in base_note("asset:nano-noisy")
    assert "no noise" in base_note("asset:nano-clean")
    assert base_note("some/model") is None


def test_the_change_has_a_row_for_all_tasks_and_one_for_those_that_change_something():
    still = Prediction("still", "", "python", "greedy", 0, "", "old", None, "stop", 5, "old", "old", undone="older")
    table = change_table({"nano": summarise([*predictions(), still]).greedy})
    # two of three changes are met, and the task that changes nothing is right; it alone has an edit to undo. The unmet one, a
    # copy, agrees in the two orders that its four characters are too short for: (2 + 2/6) / 3 and (3 + 2/6) / 4
    assert [row[:3] for row in table.rows] == [("nano", "75.0", "83.3"), ("nano, where something changes", "66.7", "77.8")]
    assert table.rows[0][-1].startswith("0.0 [0.0, ")
    assert table.note == "Of 1 tasks the last edit can be undone."


def test_malformed_answers_are_listed_by_reason_the_most_frequent_first():
    found = [
        Prediction(f"t{number}", "", "python", "greedy", 0, "", None, reason, "stop", 5, "old", "new")
        for number, reason in enumerate(["truncated", "prompt_too_long", "prompt_too_long"])
    ]
    answers = answers_of(summarise([*found, *predictions()]), {"copy": summarise(predictions()).greedy}, "nano")
    # of six greedy answers two were too long and one was cut; the baseline has none and no column
    table = malformed_table(answers)
    assert table.columns == ("malformed, % of the answers", "nano, greedy")
    assert table.rows == (("prompt_too_long", "33.3"), ("truncated", "16.7"))
    assert table in evaluation_tables(answers)
    assert not any("malformed, %" in one.columns[0] for one in evaluation_tables(ANSWERS))
