"""`robustness=` chooses options of the group `perturbation`: all that there are, a user's own included, or those that it names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gapo_cli.config.sampling import EVERY
from gapo_cli.errors import UserError, did_you_mean
from gapo_cli.launching.overrides import ROBUSTNESS, key_of

GROUP = "perturbation"


def with_perturbations(hydra: Any, overrides: Sequence[str]) -> list[str]:
    """The overrides with the perturbations that are asked for chosen in their group. Raises UserError for an unknown one."""
    said = next((word for word in reversed(overrides) if key_of(word) == ROBUSTNESS), None)
    if said is None:
        return list(overrides)
    names = [name.strip() for name in said.partition("=")[2].strip("[]").split(",") if name.strip()]
    known = hydra.config_loader.get_group_options(GROUP)
    for name in names:
        if name not in (*known, EVERY):
            near = did_you_mean(name, [*known, EVERY])
            hint = near or "need one of"
            raise UserError(f"robustness={name}: unknown perturbation; {hint} ({', '.join(known)}), or {EVERY}")
    chosen = known if EVERY in names else list(dict.fromkeys(names))
    return [*(word for word in overrides if key_of(word) != GROUP), f"{GROUP}=[{','.join(chosen)}]"]
