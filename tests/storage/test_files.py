import pytest

from gapo_cli.errors import DataError
from gapo_cli.storage.files import parse_row, put_in_place


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


def test_a_row_with_a_key_twice_is_refused_at_any_depth():
    with pytest.raises(DataError, match="^the key 'target' is there twice$"):
        parse_row(b'{"target": "a", "excerpt": "b", "target": "c"}')
    with pytest.raises(DataError, match="^the key 'row' is there twice$"):
        parse_row(b'{"source": {"row": 1, "row": 1}}')
