import json
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
from synthetic_run import HOSTILE

from gapo_cli.reports import groups
from gapo_cli.reports.groups import browse, evenly_over_shapes, middle_left_out, shown_steps
from gapo_cli.runs.run_data import read_run


def pages(run, **limit):
    return browse([read_run(run)], [], **limit)[0]["steps"]


def test_steps_are_first_last_and_evenly_between():
    assert shown_steps(list(range(1, 81))) == [1, 17, 33, 48, 64, 80]
    assert shown_steps([0, 5]) == [0, 5]


def test_a_group_has_its_rewards_q_and_interval(finished_run):
    page = pages(finished_run)[0]
    assert (page["step"], page["of"]) == (1, 3)
    group = page["groups"][1]
    assert (group["q"], group["low"], group["high"]) == (0.375, 0.25, 0.5)
    assert [answer["reward"] for answer in group["answers"]] == [1.0, 0.25, 0.25, 0.0]
    assert [answer["advantage"] for answer in group["answers"]] == [0.625, -0.125, -0.125, -0.375]
    assert group["answers"][0]["components"] == {"em": 1.0}
    assert [page["groups"][0]["shape"], group["shape"]] == ["zero", "right"]


def test_equal_answers_share_their_text_and_say_how_they_differ(finished_run):
    group = pages(finished_run)[0]["groups"][1]
    assert [answer["text"] for answer in group["answers"]] == [0, 1, 1, 2]
    right, wrong, malformed = group["texts"]
    assert right["change"] == group["edit"] == [(0, "    "), (-1, "print"), (1, "log"), (0, "(x1)\n")]
    assert (right["exact"], wrong["exact"], wrong["unchanged"]) == (True, False, True)
    assert wrong["error"] == [(0, "    "), (-1, "log"), (1, "print"), (0, "(x1)\n")]
    assert malformed == {"raw": HOSTILE}
    assert group["answers"][3]["malformed"] == "no_marker"


def test_missing_rewards_and_intervals_are_null_in_strict_json(finished_run):
    group = json.loads(json.dumps(pages(finished_run)[0]["groups"][2], allow_nan=False))
    assert group["answers"][3]["reward"] is None
    assert group["low"] is None and group["high"] is None


def test_the_page_keeps_to_its_size_and_takes_turns_between_shapes(finished_run):
    everything = pages(finished_run)
    one = max(len(json.dumps(group)) for page in everything for group in page["groups"])
    kept = pages(finished_run, limit=3 * 2 * one)
    assert len(json.dumps([page["groups"] for page in kept])) < 3 * 2 * one * 1.01
    assert all(0 < len(page["groups"]) < 3 and page["of"] == 3 for page in kept)
    # even where nothing fits, a step shows a group
    assert [len(page["groups"]) for page in pages(finished_run, limit=1)] == [1, 1, 1]
    assert evenly_over_shapes(["left", "left", "zero", "left", "right"]) == [0, 4, 2, 1, 3]
    assert evenly_over_shapes(["unknown", "left", "left"]) == [1, 0, 2]


def test_a_file_that_cannot_be_read_is_named(finished_run, tmp_path):
    run = shutil.copytree(finished_run, tmp_path / "run")
    (run / "rollouts" / "step-00002.parquet").write_bytes(b"not parquet")
    notes = []
    assert [page["step"] for page in browse([read_run(run)], notes)[0]["steps"]] == [1, 3]
    assert len(notes) == 1 and notes[0].startswith("run: step-00002.parquet cannot be read")


def test_a_file_whose_rewards_are_text_is_named(finished_run, tmp_path):
    run = shutil.copytree(finished_run, tmp_path / "run")
    path = run / "rollouts" / "step-00002.parquet"
    table = pq.read_table(path)
    texts = table["reward"].cast(pa.string())
    edited = table.set_column(table.schema.get_field_index("reward"), "reward", texts)
    pq.write_table(edited.replace_schema_metadata(table.schema.metadata), path)
    notes = []
    assert [page["step"] for page in browse([read_run(run)], notes)[0]["steps"]] == [1, 3]
    assert len(notes) == 1 and "column reward holds text, need numbers" in notes[0]


def test_long_prompts_lose_their_middle(monkeypatch, finished_run):
    assert middle_left_out("abcdefghij", 4) == "ab\n[… 6 characters left out …]\nij"
    monkeypatch.setattr(groups, "LONGEST_PROMPT", 20)
    assert "characters left out" in pages(finished_run)[0]["groups"][0]["prompt"]
