"""DAPO's soft length penalty, which is added to the score of a completion. arXiv:2503.14476, Eq. 13."""

from __future__ import annotations

import numpy as np

from gapo_cli.errors import UserError


def overlong_penalty(lengths: np.ndarray, max_new_tokens: int, buffer_tokens: int, factor: float = 1.0) -> np.ndarray:
    """The penalty of completions of `lengths` tokens: 0 up to `max_new_tokens - buffer_tokens`, then falling linearly to
    `-factor` at `max_new_tokens`. Same shape, float64, never above 0. Raises UserError for a buffer of no or too many tokens.

    With buffer_tokens = max_new_tokens, the paper's scripts, every completion is penalised.
    """
    if not 0 < buffer_tokens <= max_new_tokens:
        raise UserError(
            f"algorithm.overlong.buffer_tokens={buffer_tokens}: need at least 1 and at most "
            f"sampling.max_new_tokens={max_new_tokens}"
        )
    excess = np.asarray(lengths, dtype=np.float64) - (max_new_tokens - buffer_tokens)
    # 0.0 - x, not -x: a completion within the limit has 0.0, not -0.0
    return 0.0 - factor * np.maximum(excess, 0.0) / buffer_tokens
