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


def run_of(verb: str, folder: Path, text: str | None = None) -> Path:
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "overrides.yaml").write_text(f"- tau=0.5\n- verb={verb}\n" if text is None else text)
    return folder


def test_a_run_of_another_verb_is_not_gone_on_with(tmp_path: Path) -> None:
    run = run_of("train", tmp_path / "run")
    with pytest.raises(UserError, match=rf"^resume={run}: is a run of gapo train, and not of gapo rollout$"):
        command_overrides("rollout", [f"resume={run}"])
    assert "tau=0.5" in command_overrides("plan", [f"resume={run}"])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("zzz: [1", "cannot be read (while parsing"),
        ("- 3\n", "holds no list of KEY=VALUE"),
        ("tau: 0.5\n", "holds no list of KEY=VALUE"),
        ("", "holds no list of KEY=VALUE"),
    ],
)
def test_damaged_words_of_a_run_are_named_with_their_file(tmp_path: Path, text: str, sentence: str) -> None:
    run = run_of("train", tmp_path / "run", text)
    with pytest.raises(UserError) as caught:
        command_overrides("train", [f"resume={run}"])
    assert str(caught.value).startswith(f"{run}/.hydra/overrides.yaml: ")
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_verb_is_no_setting() -> None:
    with pytest.raises(UserError, match="verb=eval: the verb is typed after gapo, as in gapo train; leave it out"):
        command_overrides("train", ["verb=eval"])


def test_training_goes_on_from_a_checkpoint_alone_with_the_settings_given() -> None:
    assert command_overrides("train", ["resume=step-00004", "seed=1"]) == ["resume=step-00004", "seed=1", "verb=train"]
