"""Reading back what a study or a search was when it began."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from gapo_cli.errors import DataError

Kind = TypeVar("Kind")


def read_saved(path: Path, make: Callable[[Any, str], Kind], what: str) -> Kind:
    """What `make` makes of the JSON at `path`, which it is also told. `what` it is of: study or search. Raises DataError where the
    file is missing or damaged."""
    try:
        return make(json.loads(path.read_text(encoding="utf-8")), str(path))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DataError(f"{path}: missing; name the folder of a {what}") from error
    except (ValueError, AttributeError) as error:
        raise DataError(f"{path}: is no {what}'s definition ({error}); start the {what} again in another folder") from error
