"""DAPO's length penalty, by hand."""

import numpy as np
import pytest

from gapo_cli.errors import UserError
from gapo_cli.rollouts.overlong import overlong_penalty


def test_penalty_falls_linearly_over_the_buffer():
    # limit 40, buffer 10: nothing up to 30 tokens, then a tenth a token
    lengths = np.array([[1, 30, 31], [35, 39, 40]])
    np.testing.assert_allclose(overlong_penalty(lengths, 40, 10), [[0, 0, -0.1], [-0.5, -0.9, -1]])


def test_factor_scales_the_penalty():
    np.testing.assert_allclose(overlong_penalty(np.array([30, 35, 40]), 40, 10, factor=0.5), [0, -0.25, -0.5])


def test_buffer_as_long_as_the_limit_penalises_every_completion():
    # the paper's scripts: 1024 and 1024, so -length / 1024
    np.testing.assert_allclose(overlong_penalty(np.array([1, 512, 1024]), 1024, 1024), [-1 / 1024, -0.5, -1])


def test_no_penalty_is_positive_zero():
    assert not np.signbit(overlong_penalty(np.array([3]), 40, 10)).any()


@pytest.mark.parametrize("buffer", [0, -1, 41])
def test_buffer_that_does_not_fit_is_refused_in_one_sentence(buffer):
    with pytest.raises(UserError) as raised:
        overlong_penalty(np.array([3]), 40, buffer)
    assert str(raised.value) == (
        f"algorithm.overlong.buffer_tokens={buffer}: need at least 1 and at most sampling.max_new_tokens=40"
    )
