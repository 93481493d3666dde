"""Rollouts on disk: one row a completion, all of it readable with pandas, and read back as the groups that were written."""

import json
import math
import subprocess
import sys
from dataclasses import fields, replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from parts import assert_same_groups, completion_of, edit_task

from gapo_cli.errors import DataError
from gapo_cli.records import Completion, EditTask, Group, Hint, HistoryEvent, Source
from gapo_cli.runs import group_files
from gapo_cli.runs.group_files import OF_COMPLETION, READ, GroupFile, iterate_groups, join_files, read_groups, write_groups
from gapo_cli.runs.group_json import group_from_dict, group_to_dict

COLUMNS = [
    "step",
    "group",
    "completion",
    "task_id",
    "family",
    "language",
    "path",
    "prompt",
    "before",
    "region_before",
    "after",
    "target",
    "text",
    "region",
    "malformed",
    "finish_reason",
    "length",
    "token_ids",
    "logprobs",
    "component_em",
    "score",
    "reward",
    "advantage",
    "baseline",
    "low",
    "high",
    "dropped",
    "sampled_at",
    "counted",
    "cursor",
    "prompt_token_ids",
    "task",
]


def group(number, texts, scores, **filled):
    completions = tuple(replace(completion_of(text), region=text) for text in texts)
    scores = np.array(scores)
    return Group(edit_task(number), (5, 6, number), completions, {"em": scores * 2}, scores, scores - 0.5, **filled)


def test_every_completion_is_a_row_with_its_group(tmp_path):
    advantages = np.array([1.0, -1.0])
    groups = [
        group(0, ["a", "bb"], [0.25, 0.5], advantages=advantages, baseline=0.3, low=0.2, high=0.4),
        group(1, ["ccc", "?"], [0.75, float("nan")], advantages=advantages * 2, baseline=0.6),
    ]
    write_groups(
        tmp_path / "step-00003.parquet", 3, groups, lambda group: f"prompt {group.prompt_token_ids[-1]}", [False, True]
    )
    rows = pd.read_parquet(tmp_path / "step-00003.parquet")
    assert list(rows.columns) == COLUMNS
    assert rows["step"].tolist() == [3] * 4
    assert rows[["group", "completion"]].to_numpy().tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert rows["task_id"].tolist() == ["task-0", "task-0", "task-1", "task-1"]
    assert rows["prompt"].tolist() == ["prompt 0", "prompt 0", "prompt 1", "prompt 1"]
    assert rows["family"].unique().tolist() == ["rename"]
    # the task's excerpt in three parts
    assert rows.loc[2, ["before", "region_before", "after", "target"]].tolist() == ["x = 1\n", "a = b\n", "", "a = c\n"]
    assert rows["text"].tolist() == ["a", "bb", "ccc", "?"]
    assert rows["length"].tolist() == [2, 3, 4, 2]
    assert [len(ids) for ids in rows["token_ids"]] == [2, 3, 4, 2]
    assert rows["logprobs"][0].tolist() == [-1.0, -1.0]
    assert rows["advantage"].tolist() == [1.0, -1.0, 2.0, -2.0]
    assert rows["baseline"].tolist() == [0.3, 0.3, 0.6, 0.6]
    assert rows["score"].tolist()[:3] == [0.25, 0.5, 0.75]
    assert math.isnan(rows["score"][3])
    assert rows["component_em"].tolist()[:3] == [0.5, 1.0, 1.5]
    assert rows["dropped"].tolist() == [False, False, True, True]


def test_every_field_of_a_completion_has_its_column():
    assert set(OF_COMPLETION) == {field.name for field in fields(Completion)}


def test_malformed_answers_have_no_region(tmp_path):
    broken = group(0, ["a"], [0.0])
    broken = replace(broken, completions=(replace(broken.completions[0], region=None, malformed="truncated"),))
    write_groups(tmp_path / "rows.parquet", 1, [broken], lambda group: "prompt")
    (row,) = pd.read_parquet(tmp_path / "rows.parquet").to_dict("records")
    assert pd.isna(row["region"])
    assert row["malformed"] == "truncated"
    assert math.isnan(row["advantage"])


WHOLE_TASK = EditTask(
    id="whole/тест",
    source=Source("made up", "train", 3, "owner/name", "abc", "MIT"),
    language="python",
    path="a b.py",
    excerpt="x = 1\ny = 2\n",
    editable=(6, 12),
    target="y = 3\n",
    cursor=(8, 8),
    at_file_start=True,
    history=(HistoryEvent("edit", "a b.py", "@@ -1 +1 @@\n-x\n+x = 1\n"), HistoryEvent("rename", "a b.py", old_path="a.py")),
    hints=(Hint("diagnostic", None, "undefined"),),
    system="You edit.",
    instruction="rename",
    alternatives=("y=3\n",),
    rejected=("y = 4\n",),
    assertions="y is 3",
    tests="assert y == 3",
    labels={"family": "rename", "size": "1"},
    raw={"events": "…", "n": [1, {"deep": None}]},
)
NAN = float("nan")
floats = st.sampled_from([NAN, 0.0, -0.0, 1.0, 1 / 3, 1e-300])
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)


@st.composite
def completions(draw):
    """What an engine may give: with token ids and log-probabilities, which are float32, or without them."""
    ids = draw(st.lists(st.integers(0, 2**31 - 1), max_size=3))
    logprobs = [draw(st.floats(-50, 0, width=32)) for _ in ids]
    region = draw(st.none() | texts)
    reason = None if region is not None else draw(st.sampled_from(["no_marker", "truncated"]))
    counted = draw(st.none() | st.integers(0, 9))
    cursor = None if region is None else draw(st.none() | st.integers(0, len(region)))
    return Completion(
        tuple(ids), tuple(logprobs), draw(texts), draw(st.sampled_from(["stop", "length"])), region, reason, counted, cursor
    )


@st.composite
def made_groups(draw):
    size = draw(st.integers(1, 3))

    def row():
        return np.array(draw(st.lists(floats, min_size=size, max_size=size)))

    advantages = None if draw(st.booleans()) else np.nan_to_num(row())
    return Group(
        draw(st.sampled_from([edit_task(0), edit_task(1), WHOLE_TASK])),
        tuple(draw(st.lists(st.integers(0, 50_000), max_size=4))),
        tuple(draw(completions()) for _ in range(size)),
        {"em": row(), "score": row()},
        row(),
        row(),
        advantages,
        *(draw(floats) for _ in range(3)),
        sampled_at=draw(st.integers(0, 9)),
    )


@pytest.mark.slow
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(groups=st.lists(made_groups(), min_size=1, max_size=5), dropped=st.lists(st.booleans(), min_size=5, max_size=5))
def test_groups_come_back_as_they_were_written(groups, dropped, tmp_path):
    path = tmp_path / "rows.parquet"
    dropped = dropped[: len(groups)]
    write_groups(path, 7, groups, lambda group: "prompt", dropped)
    assert_same_groups(read_groups(path), groups)
    for wanted in (True, False):
        chosen = [group for group, flag in zip(groups, dropped, strict=True) if flag is wanted]
        assert_same_groups(read_groups(path, dropped=wanted), chosen)


def test_no_groups_come_back_as_none(tmp_path):
    write_groups(tmp_path / "rows.parquet", 0, [], lambda group: "prompt")
    assert read_groups(tmp_path / "rows.parquet") == []


def test_row_groups_hold_whole_groups_and_one_is_read_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(group_files, "ROWS_AT_ONCE", 4)
    # 2 + 2 | 2 | 5, larger than what is allowed | 1
    sizes = [2, 2, 2, 5, 1]
    groups = [group(number, ["a"] * size, [0.5] * size) for number, size in enumerate(sizes)]
    path = tmp_path / "rows.parquet"
    write_groups(path, 0, groups, lambda group: "prompt")
    metadata = pq.read_metadata(path)
    assert [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)] == [4, 2, 5, 1]
    read = []
    monkeypatch.setattr(
        group_files.GroupFile,
        "groups",
        lambda file, number, groups=group_files.GroupFile.groups: read.append(number) or groups(file, number),
    )
    found = iterate_groups(path)
    first = [next(found), next(found)]
    assert read == [0]
    assert_same_groups([*first, *found], groups)


def test_files_are_joined_in_order_with_their_groups_numbered_through(tmp_path):
    groups = [group(number, ["a", "b"], [0.5, NAN]) for number in range(3)]
    parts = [tmp_path / "one.parquet", tmp_path / "two.parquet"]
    write_groups(parts[0], 0, groups[:2], lambda group: "prompt")
    write_groups(parts[1], 0, groups[2:], lambda group: "prompt", first=2)
    join_files(parts, tmp_path / "all.parquet")
    assert_same_groups(read_groups(tmp_path / "all.parquet"), groups)
    assert pd.read_parquet(tmp_path / "all.parquet")["group"].tolist() == [0, 0, 1, 1, 2, 2]


def test_the_task_and_the_prompts_ids_stand_once_a_group(tmp_path):
    write_groups(tmp_path / "rows.parquet", 0, [group(3, ["a", "b", "c"], [0.5] * 3)], lambda group: "prompt")
    rows = pd.read_parquet(tmp_path / "rows.parquet")
    assert rows["task"].notna().tolist() == rows["prompt_token_ids"].notna().tolist() == [True, False, False]


def test_what_is_no_rollouts_is_one_sentence(tmp_path):
    path = tmp_path / "rows.parquet"
    with pytest.raises(DataError, match="rows.parquet: no such file; name a rollouts parquet"):
        read_groups(path)
    path.write_text("no parquet at all")
    with pytest.raises(DataError, match="rows.parquet: is no parquet file, or was cut"):
        read_groups(path)
    pq.write_table(pa.table({"text": ["a"]}), path)
    with pytest.raises(
        DataError, match="rows.parquet: holds no rollouts, or those of an older gapo, this gapo reads version 1"
    ):
        read_groups(path)
    pq.write_table(pa.table({"text": ["a"]}).replace_schema_metadata({group_files.VERSION_KEY: b"99"}), path)
    with pytest.raises(DataError, match="rows.parquet: is of version 99, this gapo reads version 1; make the rollouts again"):
        read_groups(path)

    pq.write_table(pa.table({"text": ["a"]}).replace_schema_metadata({group_files.VERSION_KEY: b"\xff\xfe"}), path)
    with pytest.raises(DataError, match="rows.parquet: is of version \ufffd+, this gapo reads version 1"):
        read_groups(path)


def rewritten(path, name, values):
    """The file with other values in a column; None: without the column."""
    table = pq.read_table(path)
    place = table.schema.get_field_index(name)
    changed = table.remove_column(place) if values is None else table.set_column(place, name, values)
    pq.write_table(changed.replace_schema_metadata(table.schema.metadata), path)


@pytest.mark.parametrize(
    ("column", "values", "sentence"),
    [
        ("reward", None, "holds no rollouts: column reward is missing; make the rollouts again"),
        ("completion", None, "holds no rollouts: column completion is missing"),
        ("task_id", None, "holds no rollouts: column task_id is missing"),
        ("reward", pa.array(["0.5", "1"]), "holds no rollouts: column reward holds text, need numbers"),
        ("component_em", pa.array(["0.5", "1"]), "holds no rollouts: column component_em holds text, need numbers"),
        ("completion", pa.array([0.0, 1.0]), "column completion holds numbers, need whole numbers"),
        ("token_ids", pa.array([["a"], ["b"]]), "column token_ids holds lists of text, need lists of whole numbers"),
        ("completion", pa.array([0, None]), "is no whole file of rollouts: column completion lacks values"),
        ("length", pa.array([2**40, 1]), "holds a number out of range"),
        ("reward", pa.array([0.5, -float("inf")]), "the reward of task task-7 is infinite; need numbers, or NaN"),
    ],
)
def test_a_column_that_is_missing_or_holds_something_else_is_one_sentence(column, values, sentence, tmp_path):
    path = tmp_path / "rows.parquet"
    write_groups(path, 0, [group(7, ["a", "b"], [0.5, 1.0])], lambda group: "prompt")
    rewritten(path, column, values)
    with GroupFile(path) as file, pytest.raises(DataError, match=f"rows.parquet: .*{sentence}") as raised:
        file.columns(0, READ if column in READ else ["component_em", "task_id", "length"])
    assert "\n" not in str(raised.value)


def test_numbers_of_another_width_and_no_value_for_a_missing_reward_are_read_as_they_were_written(tmp_path):
    path = tmp_path / "rows.parquet"
    groups = [group(7, ["a", "b"], [0.5, NAN])]
    write_groups(path, 0, groups, lambda group: "prompt")
    rewritten(path, "completion", pa.array([0, 1], pa.int64()))
    rewritten(path, "reward", pa.array([0, None], pa.int64()))
    rewritten(path, "malformed", pa.nulls(2))
    assert_same_groups(read_groups(path), groups)


def test_a_file_of_before_without_cursors_is_read(tmp_path):
    path = tmp_path / "rows.parquet"
    groups = [group(7, ["a", "b"], [0.5, 1.0])]
    write_groups(path, 0, groups, lambda group: "prompt")
    rewritten(path, "cursor", None)
    assert_same_groups(read_groups(path), groups)


@pytest.mark.parametrize("damage", ["cut at the end", "a hole in the middle"])
def test_a_damaged_file_is_one_sentence(damage, tmp_path):
    path = tmp_path / "rows.parquet"
    write_groups(path, 0, [group(number, ["a" * 50] * 4, [0.5] * 4) for number in range(20)], lambda group: "prompt")
    content = bytearray(path.read_bytes())
    if damage == "cut at the end":
        del content[-100:]
    else:
        content[4 : len(content) // 2] = bytes(len(content) // 2 - 4)
    path.write_bytes(content)
    with pytest.raises(DataError, match="rows.parquet: ") as raised:
        read_groups(path)
    assert "\n" not in str(raised.value)


def test_reading_needs_no_torch(tmp_path):
    write_groups(tmp_path / "rows.parquet", 0, [group(0, ["a"], [0.5])], lambda group: "prompt")
    script = (
        "import sys; from pathlib import Path; from gapo_cli.runs.group_files import read_groups;"
        "(one,) = read_groups(Path(sys.argv[1])); print(one.task.id, sorted({'torch', 'transformers'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "rows.parquet")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "task-0 []\n"


def test_groups_come_back_from_json_bit_for_bit():
    first = group(0, ["a", "bb"], [0.1 + 0.2, float("nan")])
    again = group_from_dict(json.loads(json.dumps(group_to_dict(first))))
    assert (again.task, again.prompt_token_ids, again.completions) == (first.task, first.prompt_token_ids, first.completions)
    np.testing.assert_array_equal(again.scores, first.scores)
    np.testing.assert_array_equal(again.rewards, first.rewards)
    np.testing.assert_array_equal(again.components["em"], first.components["em"])
