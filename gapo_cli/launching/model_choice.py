"""Which model `gapo eval` measures where none is named: the one that was trained last. `run=PATH` names a run.

A checkpoint is evaluated as it was trained: with the context length, prompt and answer length of its run's config.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gapo_cli.errors import UserError
from gapo_cli.launching.overrides import key_of, quoted, unquoted
from gapo_cli.models.folders import holds_model
from gapo_cli.runs.layout import BEST, BEST_RECORD, CHECKPOINTS, CHOICES, CONFIG, FINAL, SUPERVISED

OUTPUTS = Path("outputs")
MODELS = {f"{CHECKPOINTS}/{BEST}": f"{CHECKPOINTS}/{BEST}/{BEST_RECORD}", f"{CHECKPOINTS}/{FINAL}": SUPERVISED}
"""Where the model of a finished run lies, and the file that is written with it; a supervised run has a final one only."""
NAMING_KEYS = (
    "model", "model.path", "model.base", "evaluation.baseline", "baseline", "evaluation.rescore", "rescore", "experiment",
)  # fmt: skip
"""Keys that say what is to be measured; an experiment's yaml may."""


def choose_model(verb: str, words: Sequence[str]) -> tuple[list[str], str | None]:
    """The words of a command with those that name a model put before them where the user names none, and a sentence that
    says what was taken (None: the user did). Raises UserError for a `run=` that is no run with a checkpoint."""
    keys = {key_of(word): unquoted(word.partition("=")[2]) for word in words}
    if verb != "eval":
        return list(words), None
    named = [key for key in NAMING_KEYS if key in keys]
    if "run" in keys:
        clash = [key for key in named if key != "experiment"]
        if clash:
            raise UserError(f"run={keys['run']} and {clash[0]}={keys[clash[0]]}: both say what is measured; leave one out")
        checkpoint = checkpoint_of(Path(keys["run"]))
        others = [word for word in words if key_of(word) != "run"]
        return [*words_of(checkpoint, others), *others], f"model: {checkpoint}, of run={keys['run']}"
    if named or keys.get("engine", "torch") != "torch":
        return list(words), None
    found = newest_checkpoint()
    if found is None:
        return list(
            words
        ), f"model: the default one (none is named, and no run under {OUTPUTS}/ has a best or final checkpoint)"
    return [*words_of(found, words), *words], f"model: {found}, the newest run's (name another by run=PATH or model=...)"


def newest_checkpoint() -> Path | None:
    """The best checkpoint (of a supervised run: the final one) of the run under outputs/, sweeps' jobs included, that was
    written last."""
    found = [
        (record.stat().st_mtime_ns, str(run), run / checkpoint)
        for depth in ("*/*", "*/*/*")
        for run in OUTPUTS.glob(depth)
        if (run / CONFIG).is_file() and (run / CHOICES).is_file()
        for checkpoint, written in MODELS.items()
        if (record := run / written).is_file() and holds_model(run / checkpoint)
    ]
    return max(found)[2] if found else None


def checkpoint_of(run: Path) -> Path:
    """The checkpoint that `run=` means: the run's best one, a supervised run's final one, or the one whose own folder it is."""
    is_checkpoint = run.parent.name == CHECKPOINTS and holds_model(run)
    possible = [run] if is_checkpoint else [run / checkpoint for checkpoint in MODELS]
    checkpoint = next(filter(holds_model, possible), possible[0])
    if run.exists() and not holds_model(checkpoint):
        raise UserError(
            f"run={run}: has no {' or '.join(MODELS)}; name the folder of a finished gapo train, as outputs/train/TIME, or one of "
            "its checkpoints"
        )
    for needed, missing in (
        (run, "no such folder"),
        (checkpoint.parents[1] / CONFIG, f"has no {CONFIG}"),
        (checkpoint.parents[1] / CHOICES, f"has no {CHOICES}"),
    ):
        if not needed.exists():
            raise UserError(f"run={run}: {missing}; name the folder of a finished gapo train, as outputs/train/TIME")
    return checkpoint


def words_of(checkpoint: Path, given: Sequence[str]) -> list[str]:
    """The overrides that evaluate a checkpoint as its run would; its prompt's are left out where the user names a prompt, the
    device and precision where the user names a trainer.
    `trust_remote_code` is not taken over: that is for the user to say again. Raises UserError for a damaged config."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    run = checkpoint.parents[1]
    try:
        config = OmegaConf.load(run / CONFIG)
        choices = OmegaConf.load(run / CHOICES).hydra.runtime.choices
        return settings_of(checkpoint, config, choices, set(map(key_of, given)))
    except (OSError, ValueError, AttributeError, TypeError, YAMLError, OmegaConfBaseException) as error:
        raise UserError(
            f"{run}: its configuration cannot be read ({type(error).__name__}); name another run by run=PATH, or a model by model=..."
        ) from error


def settings_of(checkpoint: Path, config: Any, choices: Any, given: set[str]) -> list[str]:
    """`words_of`, of the run's resolved config and Hydra's choices. Raises AttributeError or TypeError for one that lacks a part."""
    run, model = checkpoint.parents[1], config.model
    words = [
        "model=hf",
        f"model.path={quoted(str(checkpoint))}",
        f"model.name={quoted(f'{model.name} after {run.name}')}",
        f"model.context_length={model.context_length}",
        f"model.chat={typed(model.chat)}",
        f"model.thinking={typed(model.get('thinking'))}",
        f"model.dtype={model.get('dtype', 'float32')}",
        f"sampling.max_new_tokens={config.sampling.max_new_tokens}",
    ]
    if "trainer" not in given:
        words += [f"trainer.{key}={config.trainer[key]}" for key in ("device", "dtype")]
    if "prompt" not in given:
        words.append(f"prompt={choices.prompt}")
        settings = {str(key): value for key, value in config.prompt.items() if not str(key).startswith("_")}
        words += [f"prompt.{key}={typed(value)}" for key, value in settings.items() if is_scalar(value)]
    return words


def is_scalar(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float | str)


def typed(value: bool | float | str | None) -> str:
    """A value as an override has it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return quoted(value) if isinstance(value, str) else str(value)
