"""gapo report as a stage: where it writes, what it says, what it refuses."""

import os
from pathlib import Path

import pytest
from parts import Listening

from gapo_cli.errors import UserError
from gapo_cli.interfaces import QuietDisplay
from gapo_cli.stages.report import report


def run_at(folder: Path) -> Path:
    """As little of a run as there can be."""
    folder.mkdir(parents=True)
    (folder / "config.resolved.yaml").write_text("verb: eval\nmodel: {name: nano}\n")
    return folder


def test_one_run_gets_its_report_in_its_own_folder(tmp_path):
    run, display = run_at(tmp_path / "run"), Listening()
    result = report([run], None, display)
    assert (result.page, result.markdown) == (run / "report.html", run / "report.md")
    assert "<h1>nano</h1>" in result.page.read_text()
    assert result.markdown.read_text().startswith("# nano\n")
    assert f"report: {result.page}" in display.said
    assert "run: eval/ has no evaluation: no exact match before and after" in display.said


def test_several_runs_are_written_where_one_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runs = [run_at(tmp_path / name) for name in ("a", "b")]
    assert report(runs, None, QuietDisplay()).page == Path("report.html")
    assert (tmp_path / "report.html").is_file() and (tmp_path / "report.md").is_file()


def test_output_is_a_file_or_a_folder(tmp_path):
    run = run_at(tmp_path / "run")
    assert report([run], tmp_path / "compare.html", QuietDisplay()).markdown == tmp_path / "compare.md"
    assert report([run], tmp_path, QuietDisplay()).page == tmp_path / "report.html"


def test_what_is_no_run_and_where_nothing_can_be_written_is_refused(tmp_path):
    with pytest.raises(UserError, match="nothing: no such folder"):
        report([tmp_path / "nothing"], None, QuietDisplay())
    run = run_at(tmp_path / "run")
    with pytest.raises(UserError, match="cannot be written"):
        report([run], run / "config.resolved.yaml" / "report.html", QuietDisplay())


def test_a_report_is_written_again_and_a_file_of_somebody_else_is_not_written_over(tmp_path):
    run = run_at(tmp_path / "run")
    for _ in range(2):
        report([run], None, QuietDisplay())
    for name in ("report.html", "report.md"):
        mine = tmp_path / name
        mine.write_text("mine")
        with pytest.raises(
            UserError, match=f"{name}: is there already and is no report of gapo; name another file with --output"
        ):
            report([run], tmp_path, QuietDisplay())
        assert mine.read_text() == "mine"
        mine.unlink()
    assert list(tmp_path.iterdir()) == [run]


def test_a_device_or_a_pipe_is_not_replaced_by_a_report(tmp_path):
    run = run_at(tmp_path / "run")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="pipe: is there already and is no report of gapo"):
        report([run], tmp_path / "pipe", QuietDisplay())
    assert (tmp_path / "pipe").is_fifo()
