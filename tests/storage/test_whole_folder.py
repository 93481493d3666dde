"""Folders that are whole or not there: what stands there before, during and after the writing."""

import contextlib
import os
import shutil

import pytest

from gapo_cli.storage.whole_folder import put_in_place, remove_left_behind, whole_folder


def folder(path, content):
    path.mkdir()
    (path / "file").write_text(content)
    return path


def test_a_folder_takes_the_place_of_another(tmp_path):
    put_in_place(folder(tmp_path / "new", "new"), folder(tmp_path / "here", "old"), tmp_path / "previous")
    assert (tmp_path / "here" / "file").read_text() == "new"
    assert (tmp_path / "previous" / "file").read_text() == "old"


def test_a_folder_comes_back_when_the_new_one_cannot_be_put_there(tmp_path):
    here = folder(tmp_path / "here", "old")
    with pytest.raises(FileNotFoundError):
        put_in_place(tmp_path / "does-not-exist", here, tmp_path / "previous")
    assert (here / "file").read_text() == "old"
    assert not (tmp_path / "previous").exists()


def test_nothing_is_seen_under_the_name_until_all_is_written(tmp_path):
    with whole_folder(tmp_path / "deep" / "here") as made:
        folder(made, "new")
        assert not (tmp_path / "deep" / "here").exists()
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["here"]
    assert (tmp_path / "deep" / "here" / "file").read_text() == "new"


def test_a_writer_that_fails_leaves_what_stood_there_and_nothing_else(tmp_path):
    here = folder(tmp_path / "here", "old")
    with pytest.raises(KeyboardInterrupt), whole_folder(here) as made:
        folder(made, "half")
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == ["here"]
    assert (here / "file").read_text() == "old"


def test_what_stood_there_goes_or_waits_under_the_name_it_is_given(tmp_path):
    here = folder(tmp_path / "here", "first")
    with whole_folder(here) as made:
        folder(made, "second")
    assert [path.name for path in tmp_path.iterdir()] == ["here"]
    with whole_folder(here, previous=tmp_path / "before") as made:
        folder(made, "third")
    assert [(tmp_path / name / "file").read_text() for name in ("here", "before")] == ["third", "second"]


@pytest.mark.parametrize(("as_good", "stays"), [(True, "theirs"), (False, "ours")])
def test_a_folder_that_another_process_made_meanwhile_stays_if_it_is_as_good(tmp_path, as_good, stays):
    with whole_folder(tmp_path / "here", as_good=lambda there: as_good) as made:
        folder(made, "ours")
        folder(tmp_path / "here", "theirs")
    assert (tmp_path / "here" / "file").read_text() == stays
    assert [path.name for path in tmp_path.iterdir()] == ["here"]


def test_a_folder_that_another_process_makes_at_the_last_moment_is_asked_about_again(tmp_path, monkeypatch):
    def overtaken(written, target, previous):
        folder(target, "theirs")
        written.rename(target)  # a folder with something in it is in the way

    monkeypatch.setattr("gapo_cli.storage.whole_folder.put_in_place", overtaken)
    for as_good, expected in (
        (lambda there: True, contextlib.nullcontext()),
        (None, pytest.raises(OSError, match="not empty")),
    ):
        with expected, whole_folder(tmp_path / "here", as_good=as_good) as made:
            folder(made, "ours")
        assert (tmp_path / "here" / "file").read_text() == "theirs"
        shutil.rmtree(tmp_path / "here")


def test_private_files_become_as_readable_as_any_new_file(tmp_path):
    with whole_folder(tmp_path / "here") as made:
        folder(made, "new")
        (made / "file").chmod(0o600)
    (tmp_path / "other").write_text("")
    assert (tmp_path / "here" / "file").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_what_killed_writers_left_is_removed_and_nothing_else(tmp_path):
    writer = whole_folder(tmp_path / "here")
    folder(writer.__enter__(), "half")
    (tmp_path / ".hidden").mkdir()
    assert len(os.listdir(tmp_path)) == 2
    remove_left_behind(tmp_path)
    assert os.listdir(tmp_path) == [".hidden"]


def test_a_link_to_an_empty_folder_stays_and_the_files_lie_where_it_leads(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    with whole_folder(tmp_path / "link") as made:
        folder(made, "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "disk" / "file").read_text() == "new"
