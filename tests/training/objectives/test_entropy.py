"""The entropy bonus."""

import pytest

from gapo_cli.errors import UserError
from gapo_cli.training.objectives.entropy import EntropyBonus


def test_a_negative_coefficient_is_refused():
    with pytest.raises(UserError, match="coefficient=-0.1: need 0 or more"):
        EntropyBonus(-0.1)
