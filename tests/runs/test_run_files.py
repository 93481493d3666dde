"""The metrics of a run as a resumed one finds them."""

import json

import pytest

from gapo_cli.errors import DataError
from gapo_cli.runs.run_files import RunFiles


def test_a_torn_last_row_is_passed_over(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 0}\n{"step": 1, "actor/lr": NaN}\n{"step": 2, "act')
    files = RunFiles(tmp_path)
    assert files.rows() == 2
    files.forget_after(0, rows=1)
    assert [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == [{"step": 0}]


def test_a_damaged_row_among_others_is_named(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 0}\ngarbage\n{"step": 2}\n')
    with pytest.raises(
        DataError, match=r"metrics\.jsonl:2: not JSON \(.*\); the run cannot go on with it: mend the line, or remove it"
    ):
        RunFiles(tmp_path).rows()
