"""The words of a command: what `resume=` adds to them."""

from __future__ import annotations

from pathlib import Path

import pytest

from gapo_cli.errors import UserError
from gapo_cli.launching.composition import command_overrides


@pytest.mark.parametrize("verb", ["rollout", "eval", "prepare", "plan", "doctor"])
@pytest.mark.parametrize("exists", [False, True])
def test_a_folder_without_a_run_is_not_resumed_with_the_default_settings(tmp_path: Path, verb: str, exists: bool) -> None:
    folder = tmp_path / "pool"
    if exists:
        (folder / "notes").mkdir(parents=True)
    with pytest.raises(UserError, match=rf"^resume={folder}: no run's settings there; name a folder that gapo {verb} wrote$"):
        command_overrides(verb, [f"resume={folder}"])


def test_training_goes_on_from_a_checkpoint_alone_with_the_settings_given() -> None:
    assert command_overrides("train", ["resume=step-00004", "seed=1"]) == ["resume=step-00004", "seed=1", "verb=train"]
