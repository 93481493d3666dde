import pytest

from gapo_cli.errors import DataError
from gapo_cli.storage.files import parse_row


def test_a_row_with_a_key_twice_is_refused_at_any_depth():
    with pytest.raises(DataError, match="^the key 'target' is there twice$"):
        parse_row(b'{"target": "a", "excerpt": "b", "target": "c"}')
    with pytest.raises(DataError, match="^the key 'row' is there twice$"):
        parse_row(b'{"source": {"row": 1, "row": 1}}')
