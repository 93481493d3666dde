"""Which model `gapo eval` measures where none is named: the one that was trained last. `run=PATH` names a run.

A checkpoint is evaluated as it was trained: with the context length, prompt and answer length of its run's config.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gapo_cli.errors import UserError
from gapo_cli.overrides import key_of, quoted, unquoted

OUTPUTS = Path("outputs")
RESOLVED, CHOICES = "config.resolved.yaml", ".hydra/hydra.yaml"
BEST = "checkpoints/best"
BEST_RECORD = f"{BEST}/best.json"
NAMING_KEYS = ("model", "model.path", "model.base", "evaluation.baseline", "baseline", "experiment")
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
    found = newest_best()
    if found is None:
        return list(words), f"model: the default one (none is named, and no run under {OUTPUTS}/ has a best checkpoint)"
    return [*words_of(found, words), *words], f"model: {found}, the newest run's (name another by run=PATH or model=...)"


def newest_best() -> Path | None:
    """checkpoints/best of the run under outputs/, sweeps' jobs included, whose best checkpoint was written last."""
    records = [
        path
        for depth in ("*/*", "*/*/*")
        for path in OUTPUTS.glob(f"{depth}/{BEST_RECORD}")
        if (path.parents[2] / RESOLVED).is_file() and (path.parents[2] / CHOICES).is_file()
    ]
    return max(records, key=lambda path: (path.stat().st_mtime_ns, str(path))).parent if records else None


def checkpoint_of(run: Path) -> Path:
    """The checkpoint that `run=` means: the run's best one, or the one whose own folder it is."""
    is_checkpoint = run.parent.name == "checkpoints" and holds_model(run)
    checkpoint = run if is_checkpoint else run / BEST
    if run.exists() and not holds_model(checkpoint):
        raise UserError(f"run={run}: has no {BEST}; name the folder of a finished gapo train, as outputs/train/TIME, or one of its checkpoints")
    for needed, missing in (
        (run, "no such folder"),
        (checkpoint.parents[1] / RESOLVED, f"has no {RESOLVED}"),
        (checkpoint.parents[1] / CHOICES, f"has no {CHOICES}"),
    ):
        if not needed.exists():
            raise UserError(f"run={run}: {missing}; name the folder of a finished gapo train, as outputs/train/TIME")
    return checkpoint


def holds_model(folder: Path) -> bool:
    """A whole model or an adapter lies there."""
    return any((folder / name).is_file() for name in ("config.json", "adapter_config.json"))


def words_of(checkpoint: Path, given: Sequence[str]) -> list[str]:
    """The overrides that evaluate a checkpoint as its run would; its prompt's are left out where the user names a prompt, the
    device and precision where the user names a trainer.
    `trust_remote_code` is not taken over: that is for the user to say again."""
    from omegaconf import OmegaConf

    run = checkpoint.parents[1]
    config = OmegaConf.load(run / RESOLVED)
    model = config.model
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
    given_keys = set(map(key_of, given))
    if "trainer" not in given_keys:
        words += [f"trainer.{key}={config.trainer[key]}" for key in ("device", "dtype")]
    if "prompt" not in given_keys:
        words.append(f"prompt={OmegaConf.load(run / CHOICES).hydra.runtime.choices.prompt}")
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
