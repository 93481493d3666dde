"""Numbers as a person reads them."""

import pytest

from gapo_cli.quantities import decimals, duration, quantity, size


def test_quantities_are_said_with_units():
    assert [quantity(value) for value in (7_615_616_512, 1_280_640, 42)] == ["7.62 G", "1.28 M", "42"]
    assert [size(count) for count in (3 << 30, 5 << 20)] == ["3.00 GiB", "5 MiB"]


def test_a_number_that_decimals_would_make_too_long_has_four_significant_places():
    assert [decimals(value, 3) for value in (0.12345, -999_999.5, 1e300)] == ["0.123", "-999999.500", "1e+300"]
    assert [decimals(value, 1, "+") for value in (0.25, -2_345_678.0)] == ["+0.2", "-2.346e+06"]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.44, "0.4 s"),
        (95.4, "95 s"),
        (725, "12 min 5 s"),
        (3599.7, "1 h 0 min"),  # rounded first: never 59 min 60 s
        (3 * 3600 + 20 * 60 + 29, "3 h 20 min"),
        (2 * 86400 + 4 * 3600 + 59 * 60, "2 d 4 h"),
    ],
)
def test_a_duration_is_said_in_two_units_at_the_most(seconds, words):
    assert duration(seconds) == words
