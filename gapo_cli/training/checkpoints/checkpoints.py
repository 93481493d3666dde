"""Checkpoints that are whole or not there: written aside, listed in a manifest, renamed into place.

checkpoints/step-00020/ is a Hugging Face model folder with trainer_state.safetensors, trainer_state.json and, written
last, manifest.json with the size and SHA-256 of every file. checkpoints/best/ is a model folder with best.json and such a
manifest. No file of either is a pickle.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from gapo_cli.errors import CheckpointError
from gapo_cli.models.load import save_model
from gapo_cli.models.loaded import LoadedModel
from gapo_cli.models.sharding import whole_on_first
from gapo_cli.processes.ranks import ALONE, Ranks, by_first
from gapo_cli.records import EditTask
from gapo_cli.runs.environment import run_id_of
from gapo_cli.runs.layout import CHECKPOINTS, STATE_TENSORS, STATE_VALUES, step_name, steps_in
from gapo_cli.storage.whole_folder import remove_folder, remove_left_behind
from gapo_cli.training.checkpoints.best_model import BestModel
from gapo_cli.training.checkpoints.folder import checkpoint_folder
from gapo_cli.training.checkpoints.manifest import read_manifest, verify, write_manifest
from gapo_cli.training.guards import check_outputs


@dataclass(frozen=True)
class TrainerState:
    """What a run needs beside the model to go on as if it had never stopped. `stage`: the name of the learner; `best`: the step of the
    best model so far."""

    stage: str
    tensors: dict[str, torch.Tensor]
    values: dict[str, Any]
    best: int | None = None


class Checkpoints:
    """The checkpoints of one run, of which the `keep` newest stay, and its best model. Of several `ranks` the first alone writes."""

    def __init__(self, run_dir: Path, keep: int, ranks: Ranks = ALONE) -> None:
        self.ranks = ranks
        self.run_dir, self.folder = run_dir, run_dir / CHECKPOINTS
        self.keep = keep
        self.best = BestModel(self.folder)

    def path(self, step: int) -> Path:
        return path_of(self.folder, step)

    def save(self, step: int, policy: LoadedModel, state: TrainerState) -> Path:
        """Raises CheckpointError where it cannot be written (a full disk), NotFiniteError for a model whose outputs are no numbers;
        earlier checkpoints are then untouched. Weights that ranks share are gathered by the first."""
        return self._save(step, whole_on_first(policy, self.ranks), state)

    @by_first
    def _save(self, step: int, policy: LoadedModel, state: TrainerState) -> Path:
        check_outputs(policy)
        target = self.path(step)
        with checkpoint_folder(target, self._what_there_is()) as folder:
            save_model(policy, folder)
            save_file(state.tensors, folder / STATE_TENSORS)
            (folder / STATE_VALUES).write_text(json.dumps(state.values, indent=1) + "\n", encoding="utf-8")
            write_manifest(folder, {"run": run_id_of(self.run_dir), "stage": state.stage, "step": step, "best": state.best})
        for old in [own for own in self.own_steps() if own <= step][: -self.keep]:
            remove_folder(self.path(old))
        self._keep_needed_best()
        return target

    def save_best(self, policy: LoadedModel, record: dict[str, Any]) -> Path:
        """The model as it is becomes the best one; `record` says of which step, and why."""
        return self._save_best(whole_on_first(policy, self.ranks), record)

    @by_first
    def _save_best(self, policy: LoadedModel, record: dict[str, Any]) -> Path:
        folder = self.best.save(policy, record, self._what_there_is())
        self._keep_needed_best()
        return folder

    @by_first
    def go_back_to(self, step: int, best: int | None) -> list[str]:
        """Removes what lies beyond `step` (0: all) and makes the model of step `best` the best one again. What killed
        writers left goes too. Returns what is to be said about it."""
        said = []
        # the newest first: wherever this is killed, the newest checkpoint still goes with all that was written before it
        for later in reversed(self.own_steps()):
            if later > step:
                remove_folder(self.path(later))
                said.append(f"removed the later {self.path(later)}")
        said += self.best.restore(best)
        self._keep_needed_best()
        remove_left_behind(self.folder)
        return said

    def own_steps(self) -> list[int]:
        """The steps whose checkpoints this run wrote, rising: their manifests say so. Others are nobody's to remove."""
        return own_steps(self.run_dir)

    def newest_in_words(self) -> str:
        steps = self.own_steps()
        return f"the last checkpoint is {self.path(steps[-1])}" if steps else "there is no checkpoint yet"

    def _keep_needed_best(self) -> None:
        needed = set()
        for step in steps_of(self.folder):
            with contextlib.suppress(CheckpointError):  # a damaged one is never gone back to
                needed.add(read_manifest(self.path(step)).get("best"))
        self.best.keep_waiting(needed - {None})

    def _what_there_is(self) -> str:
        steps = self.own_steps()
        return f"{self.path(steps[-1])} is whole" if steps else "there is no earlier one"


def path_of(folder: Path, step: int) -> Path:
    return folder / step_name(step)


def steps_of(folder: Path) -> list[int]:
    """The steps of which `folder` has a checkpoint, rising."""
    return [step for step, path in steps_in(folder).items() if path.is_dir()]


def own_steps(run_dir: Path) -> list[int]:
    """The steps of the checkpoints in a run's folder that the run itself wrote, rising."""
    folder, run = run_dir / CHECKPOINTS, run_id_of(run_dir)
    return [step for step in steps_of(folder) if is_of_run(run, folder, step) is True]


def is_of_run(run: str | None, folder: Path, step: int) -> bool | None:
    """Whether the run that is known as `run` wrote this checkpoint, as its manifest says; None where that is missing or damaged.
    Where `run` is None, every run is the one."""
    try:
        manifest = read_manifest(path_of(folder, step))
    except CheckpointError:
        return None
    return manifest.get("step") == step and (run is None or manifest.get("run") == run)


def find_checkpoint(path: str | Path) -> Path:
    """The checkpoint that `resume=path` means: a checkpoint folder, or the newest of a run's folder. It is verified.
    Raises CheckpointError where there is none or where it is damaged."""
    path = Path(path)
    if not path.is_dir():
        raise CheckpointError(f"resume={path}: no such folder; need a run's folder or one of its checkpoints/step-* folders")
    folder, run = path / CHECKPOINTS, run_id_of(path)
    if not folder.is_dir():
        verify(path)
        return path
    steps = [step for step in steps_of(folder) if is_of_run(run, folder, step) is not False]
    if not steps:
        raise CheckpointError(f"resume={path}: the run has no checkpoint yet; start it again, or name another run's folder")
    newest = path_of(folder, steps[-1])
    try:
        verify(newest)
    except CheckpointError as error:
        whole = newest_whole(path).checkpoint
        there_is = (
            f"the newest whole one is resume={whole}"
            if whole
            else f"there is no whole one, begin it again by resume=auto hydra.run.dir={path}"
        )
        raise CheckpointError(f"{str(error).split('; ')[0]}; {there_is}") from error
    return newest


@dataclass(frozen=True)
class Newest:
    """The newest whole checkpoint of a run, None where there is none, and a sentence for each newer one that is damaged or of another
    run."""

    checkpoint: Path | None
    passed_over: tuple[str, ...]


def newest_whole(run_dir: Path) -> Newest:
    """What `resume=auto` goes on from."""
    folder, run, passed_over = run_dir / CHECKPOINTS, run_id_of(run_dir), []
    for step in reversed(steps_of(folder)):
        checkpoint = path_of(folder, step)
        if is_of_run(run, folder, step) is False:
            passed_over.append(f"{checkpoint} is of another run")
            continue
        try:
            verify(checkpoint)
        except CheckpointError as error:
            passed_over.append(str(error).split("; ")[0])
            continue
        return Newest(checkpoint, tuple(passed_over))
    return Newest(None, tuple(passed_over))


def load_state(folder: Path, stage: str) -> TrainerState:
    """The trainer's state of a verified checkpoint. Raises CheckpointError where it is of another stage."""
    manifest = read_manifest(folder)
    if manifest["stage"] != stage:
        raise CheckpointError(
            f"resume={folder}: is of stage={manifest['stage']}, and this run is stage={stage}; give stage={manifest['stage']}, or start "
            f"from its model by model.path={folder}"
        )
    values = json.loads((folder / STATE_VALUES).read_text(encoding="utf-8"))
    return TrainerState(stage, load_file(folder / STATE_TENSORS), values, manifest["best"])


@contextlib.contextmanager
def taken_up(checkpoint: Path) -> Iterator[None]:
    """Around what reads a state's values and tensors by name. Raises CheckpointError where one that this version needs is not there."""
    try:
        yield
    except KeyError as error:
        raise CheckpointError(
            f"resume={checkpoint}: another version of gapo has written its state, which has no {error}; start from its model by "
            f"model.path={checkpoint}"
        ) from error


def together(**groups: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors of each group by the names "GROUP.NAME"; `under` is the inverse."""
    return {f"{prefix}.{name}": value for prefix, tensors in groups.items() for name, value in tensors.items()}


def under(prefix: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors that were saved as "PREFIX.NAME", by their names."""
    return {name.removeprefix(f"{prefix}."): value for name, value in tensors.items() if name.startswith(f"{prefix}.")}


def hash_of_tasks(tasks: Sequence[EditTask]) -> str:
    """What tells one list of training tasks from another: SHA-256 (hex) of their ids, in order."""
    return hashlib.sha256("\n".join(task.id for task in tasks).encode()).hexdigest()


def check_tasks(checkpoint: Path, expected: str, tasks: Sequence[EditTask]) -> None:
    """Raises CheckpointError where the tasks are not those that the checkpoint was trained on."""
    if hash_of_tasks(tasks) != expected:
        raise CheckpointError(
            f"resume={checkpoint}: was trained on other tasks; give the data settings that the run was started with"
        )
