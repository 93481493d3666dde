"""Rollouts on disk: one row a completion, all of it readable with pandas."""

import json
import math
from dataclasses import replace

import numpy as np
import pandas as pd
from parts import completion_of, edit_task

from gapo_cli.records import Group
from gapo_cli.runs.group_files import group_from_dict, group_to_dict, write_groups

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


def test_malformed_answers_have_no_region(tmp_path):
    broken = group(0, ["a"], [0.0])
    broken = replace(broken, completions=(replace(broken.completions[0], region=None, malformed="truncated"),))
    write_groups(tmp_path / "rows.parquet", 1, [broken], lambda group: "prompt")
    (row,) = pd.read_parquet(tmp_path / "rows.parquet").to_dict("records")
    assert pd.isna(row["region"])
    assert row["malformed"] == "truncated"
    assert math.isnan(row["advantage"])


def test_groups_come_back_from_json_bit_for_bit():
    first = group(0, ["a", "bb"], [0.1 + 0.2, float("nan")])
    again = group_from_dict(json.loads(json.dumps(group_to_dict(first))))
    assert (again.task, again.prompt_token_ids, again.completions) == (first.task, first.prompt_token_ids, first.completions)
    np.testing.assert_array_equal(again.scores, first.scores)
    np.testing.assert_array_equal(again.rewards, first.rewards)
    np.testing.assert_array_equal(again.components["em"], first.components["em"])
