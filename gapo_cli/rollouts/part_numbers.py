"""The numbers that a user's part gives, as an array: real ones, or None for a missing one, and nothing that numpy makes a number of."""

from __future__ import annotations

from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np

from gapo_cli.errors import PartError, first_line

BOOLEANS_INTEGERS_FLOATS = "biuf"
"""numpy's kinds of types that hold real numbers."""
OTHERS = {"c": "complex", "U": "texts", "S": "bytes", "M": "dates"}


def real_numbers(given: Any, begin: str) -> np.ndarray:
    """float64 of the same shape, NaN for None. Raises PartError, which begins with `begin`, where they are no real numbers: a
    complex one would lose a part, and a text, bytes or a date would become some number. What else an object of the part's raises
    as it is read passes: this is called where the part is at work."""
    try:
        values = np.asarray(given)
        kinds = {type(one).__name__ for one in values.flat if not _is_real(one)} if values.dtype.kind == "O" else ()
        if kinds:
            raise TypeError(f"there is {', '.join(sorted(kinds))} among them")
        if values.dtype.kind not in BOOLEANS_INTEGERS_FLOATS + "O":
            raise TypeError(f"they are {OTHERS.get(values.dtype.kind, values.dtype.name)}")
        return values.astype(np.float64)
    except (TypeError, ValueError, RuntimeError) as error:  # a tensor with a gradient raises the last
        raise PartError(f"{begin} not numbers ({first_line(error)})") from error


def _is_real(one: Any) -> bool:
    if one is None or isinstance(one, Real | Decimal | np.bool_):
        return True
    # a tensor of one number, beside others that are none
    return getattr(one, "shape", None) == () and np.asarray(one).dtype.kind in BOOLEANS_INTEGERS_FLOATS
