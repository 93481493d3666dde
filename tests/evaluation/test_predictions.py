from dataclasses import asdict, replace

import pandas as pd
import pytest

from gapo_cli.errors import DataError
from gapo_cli.evaluation.predictions import (
    LATER_COLUMNS,
    Prediction,
    from_rows,
    predicted_region,
    prediction_of,
    unanswered,
)
from gapo_cli.records import Completion, EditTask, Source

TASK = EditTask(
    id="t1",
    source=Source("hand", "eval"),
    language="python",
    path="a.py",
    excerpt="x = 1\ny = 2\n",
    editable=(6, 12),
    target="y = 3\n",
    labels={"family": "literal"},
)


def completion(region: str | None, malformed: str | None = None, finish_reason: str = "stop") -> Completion:
    return Completion((5, 6, 7), (-0.1, -0.2, -0.3), "text", finish_reason, region, malformed)


def test_a_completion_becomes_a_prediction_with_what_its_task_knows():
    assert prediction_of(TASK, completion("y = 3\n"), "sampled", 2) == Prediction(
        task_id="t1",
        family="literal",
        language="python",
        mode="sampled",
        sample=2,
        text="text",
        region="y = 3\n",
        malformed=None,
        finish_reason="stop",
        tokens=3,
        before="y = 2\n",
        target="y = 3\n",
    )


def test_a_malformed_completion_has_no_region_even_if_the_parser_left_one():
    prediction = prediction_of(TASK, completion("y = 3", "truncated", "length"), "greedy")
    assert (prediction.region, prediction.malformed, prediction.is_truncated) == (None, "truncated", True)


def test_a_completion_that_was_never_parsed_says_so():
    assert prediction_of(TASK, completion(None), "greedy").malformed == "unparsed"


def test_a_task_that_was_not_asked_is_malformed_for_that_reason():
    prediction = unanswered(TASK, "prompt_too_long", "sampled", 1)
    assert (prediction.region, prediction.malformed, prediction.tokens, prediction.sample) == (None, "prompt_too_long", 0, 1)


def test_what_changes_something_is_compared_stripped():
    assert predicted_region(TASK, "  y = 2").is_noop
    assert not predicted_region(TASK, "y = 3").is_noop
    assert predicted_region(TASK, "").changes_something


def test_rows_survive_a_parquet_file(tmp_path):
    predictions = [
        prediction_of(TASK, completion("", None), "greedy"),
        prediction_of(TASK, completion(None, "no_marker"), "sampled", 1),
        prediction_of(
            TASK, completion("é\x00</script>"), "sampled", 2, cut=("history: 2 oldest events", "hints: 1 last hints")
        ),
    ]
    several = replace(TASK, alternatives=("y = 4\n", "y = 5\n"), cursor_after=5)
    predictions.append(prediction_of(several, replace(completion("y = 4\n"), cursor=0), "sampled", 3))
    path = tmp_path / "predictions.parquet"
    pd.DataFrame([asdict(one) for one in predictions]).to_parquet(path)
    assert from_rows(pd.read_parquet(path).to_dict("records")) == predictions


def test_what_a_prompt_left_out_is_kept_in_words():
    assert prediction_of(TASK, completion("y"), "greedy", cut=("history: 2 oldest events", "hints: 1 last hints")).cut == (
        "history: 2 oldest events; hints: 1 last hints"
    )
    assert unanswered(TASK, "prompt_too_long", "greedy", cut=("hints: 1 last hints",)).cut == "hints: 1 last hints"


def test_rows_of_earlier_runs_lack_the_later_columns():
    row = asdict(predicted_region(TASK, "y"))
    assert from_rows([{name: value for name, value in row.items() if name not in LATER_COLUMNS}]) == [
        predicted_region(TASK, "y")
    ]


def test_rows_without_a_column_are_refused():
    row = asdict(predicted_region(TASK, "y"))
    row.pop("tokens")
    with pytest.raises(DataError, match="'tokens' is missing"):
        from_rows([row])


@pytest.mark.parametrize("wrong", [{"mode": "beam"}, {"malformed": "why"}, {"region": None}])
def test_a_prediction_that_contradicts_itself_is_refused(wrong):
    row = asdict(predicted_region(TASK, "y"))
    with pytest.raises(DataError, match="task t1"):
        Prediction(**{**row, **wrong})
