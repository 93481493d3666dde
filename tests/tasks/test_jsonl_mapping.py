"""Rows of another shape become tasks through a mapping in yaml; EditEval, where it lies beside the checkout, is one."""

import json
from pathlib import Path

import pytest

from gapo_cli.errors import DataError, UserError
from gapo_cli.interfaces import no_progress
from gapo_cli.records import EditTask, Source
from gapo_cli.tasks.jsonl import JsonLines

MAPPING = {"id": "name", "excerpt": "old", "target": "new", "instruction": "wish"}
VALUES = {"language": "go", "path": "a.go", "source": {"dataset": "mine", "licence": "MIT"}}


def write(path: Path, *rows: dict) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_rows_of_another_shape_are_read_through_a_mapping(tmp_path):
    path = write(tmp_path / "rows.jsonl", {"name": "n/1", "old": "x\n", "new": "y\n", "wish": None, "META": {"by": "me"}})
    task = JsonLines(path, fields=MAPPING, values=VALUES, split="eval").build(no_progress).splits["eval"][0]
    assert task == EditTask(
        id="n/1", source=Source("mine", "eval", row=1, licence="MIT"), language="go", path="a.go", excerpt="x\n", editable=(0, 2),
        target="y\n", raw={"META": {"by": "me"}},
    )  # fmt: skip


def test_a_mapped_id_may_be_a_whole_number(tmp_path):
    path = write(tmp_path / "rows.jsonl", {"name": 7, "old": "x", "new": "y"}, {"name": True, "old": "x", "new": "y"})
    source = JsonLines(path, fields=MAPPING, values=VALUES, on_error="skip").build(no_progress)
    assert [task.id for task in source.splits["eval"]] == ["7"]
    assert "rows.jsonl:2: field 'id' must be a string, got true or false" in source.report["skipped_rows"][0]


def test_a_mapped_row_without_a_field_that_every_task_needs_names_it(tmp_path):
    path = write(tmp_path / "rows.jsonl", {"name": "1", "old": "x", "new": "y"}, {"name": "2", "new": "y"})
    with pytest.raises(DataError, match=r"rows.jsonl:2: field 'old' is missing; data.source.fields takes excerpt from it"):
        JsonLines(path, fields=MAPPING, values=VALUES).build(no_progress)


@pytest.mark.parametrize("setting", ["fields", "values"])
def test_a_mapping_to_a_field_that_tasks_lack_is_refused(setting):
    with pytest.raises(UserError, match=f"data.source.{setting}.exerpt: an edit task has no such field; did you mean excerpt?"):
        JsonLines("rows.jsonl", **{setting: {"exerpt": "old"}})


def test_the_mapping_is_part_of_the_fingerprint(tmp_path):
    path = write(tmp_path / "rows.jsonl", {"old": "x"})
    plain = JsonLines(path).fingerprint()
    assert JsonLines(path, fields=MAPPING).fingerprint() != plain
    assert JsonLines(path, values=VALUES).fingerprint() != plain


EDIT_EVAL = Path(__file__).parents[2].parent / "shared" / "data" / "editeval" / "edit_eval.jsonl"


@pytest.mark.skipif(not EDIT_EVAL.is_file(), reason=f"EditEval is not at {EDIT_EVAL}")
@pytest.mark.parametrize("path", [EDIT_EVAL, EDIT_EVAL.parent])
def test_editeval_loads_by_its_yaml(path):
    from gapo_cli.launching.building import build_experiment
    from gapo_cli.launching.composition import command_overrides, compose_overrides, open_tree, without_hydra

    with open_tree(None) as hydra:
        config = compose_overrides(hydra, command_overrides("eval", ["on", "editeval", f"data.path={path}"]))
        source = build_experiment(without_hydra(config), config.hydra.runtime.choices, Path("run")).source
    tasks = source.build(no_progress).splits["eval"]
    rows = [json.loads(line) for line in EDIT_EVAL.read_text(encoding="utf-8").split("\n") if line]
    assert len(tasks) == 194
    for task, row in zip(tasks, rows, strict=True):
        assert (task.id, task.region, task.target) == (row["task_id"], row["input"], row["output"])
        assert (task.instruction, task.tests, task.before, task.after) == (row["instruction"], row["test"], "", "")
        assert task.raw.get("context") == row.get("context")
        assert (task.language, task.source.licence) == ("python", "MIT")
    assert not any(task.is_noop for task in tasks)
