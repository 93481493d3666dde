"""The one rule that a folder which holds something is never written over: asked by every verb before it writes.

A folder may be started in where it is missing, empty, or holds only the settings of a run that stopped before its first result. A
verb may go on in a folder that its own earlier command left. Everything else is refused in one sentence: what is there, and what to
change.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from gapo_cli.errors import UserError
from gapo_cli.runs.layout import (
    CHECKPOINTS,
    CONFIG,
    ENVIRONMENT,
    HYDRA,
    INPUTS,
    LAB_VALUES,
    LEARNER,
    METRICS,
    OUTCOME,
    RANKS,
    RESULTS,
    SEARCH,
    STUDY,
    STUDY_VERDICTS,
    SWEEP_PLAN,
)
from gapo_cli.storage.files import TEMPORARY
from gapo_cli.storage.locks import LOCK
from gapo_cli.storage.whole_folder import ASIDE

TRACES = frozenset({HYDRA, LOCK, CONFIG, ENVIRONMENT, INPUTS, LEARNER, OUTCOME, RANKS})
"""The settings of a run that stopped before its first result, and what says how it began and ended."""
HYDRA_CONFIG = f"{HYDRA}/config.yaml"
AUTO = "auto"
"""`resume=auto`: from the newest whole checkpoint in the run's own folder, or from the start."""
NAMED = 3
"""How many files a refusal names."""
RUN_DIR = "hydra.run.dir"


def folder_named(key: str, value: Any) -> Path:
    """The folder that a key names. Raises UserError for an empty value, as a shell makes it of a variable that is not set."""
    if value is None or not str(value).strip():
        raise UserError(f"{key}=: is empty (perhaps a variable that is not set); name a folder, or leave it out")
    return Path(str(value))


def claim_run(folder: Path, verb: str, resume: str | None, *, keeps_answers: bool) -> None:
    """`check_free` for a run of `verb`, which may go on with its own: a training run by `resume`, any other until its results
    are there, or, where its engine `keeps_answers`, also after. Raises UserError."""
    there = verb_of(folder)
    if verb == "train":
        goes_on = there == verb and resume is not None and _means(resume, folder)
    else:
        goes_on = there == verb and (keeps_answers or not (folder / RESULTS.get(verb, CONFIG)).exists())
    if not goes_on:
        check_free(folder, f"{RUN_DIR}={folder}", resumed_by=verb)


def check_free(folder: Path, named: str, resumed_by: str | None = None) -> None:
    """Raises UserError where a new command may not write into `folder`. `named`: how the user named it, as KEY=FOLDER;
    `resumed_by`: the verb that is told that it could go on, where it could."""
    if folder.is_symlink() and not folder.exists():
        raise UserError(f"{named}: is a link to what is not there; name a folder")
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{named}: is a file; name a folder")
    names = names_in(folder)
    if names <= {LOCK} or (names <= TRACES and _is_ours(folder)):
        return
    what, verb = contents(folder, names)
    on = f", or go on with it by resume={folder}" if verb is not None and verb == resumed_by and verb in RESUMABLE else ""
    raise UserError(f"{named}: holds {what}; name another folder{on}")


def check_new(folder: Path, named: str) -> None:
    """`check_free` for what is written beside `folder` and then renamed to it: that can be done to no folder that a shell is in or
    a disk is mounted at."""
    check_free(folder, named)
    if folder.resolve() == Path.cwd():
        raise UserError(f"{named}: is the folder that you are in; name a new folder in it")
    if folder.is_mount():
        raise UserError(f"{named}: a disk is mounted there; name a new folder in it")


RESUMABLE = ("train", "sweep", "study", "evolve")


def contents(folder: Path, names: Collection[str]) -> tuple[str, str | None]:
    """What a folder holds, in words, and the verb that wrote it; None: nobody knows."""
    if SWEEP_PLAN in names:
        if SEARCH in names:
            return "a search already", "evolve"
        kind = "study" if STUDY in names else "sweep"
        return f"a {kind} already", kind
    verb = verb_of(folder)
    if verb is not None:
        return f"a run of gapo {verb}", verb
    if CHECKPOINTS in names:
        inside = sorted(path.name for path in (folder / CHECKPOINTS).iterdir()) if (folder / CHECKPOINTS).is_dir() else []
        return f"{CHECKPOINTS}/" + (f" with {_listed(inside)}" if inside else ""), None
    if names & {METRICS, OUTCOME}:
        return "a run without its settings", None
    for file, of in ((LAB_VALUES, "lab"), (STUDY_VERDICTS, "study report")):
        if file in names:
            return f"the results of gapo {of}", None
    return f"files that this command did not write ({_listed(sorted(names))})", None


def names_in(folder: Path) -> set[str]:
    """What lies in a folder, without the halves that killed writers leave; nothing where there is no such folder."""
    if not folder.is_dir():
        return set()
    return {path.name for path in folder.iterdir() if not _is_half_written(path)}


def verb_of(folder: Path) -> str | None:
    """The verb of the run whose settings lie in a folder; None where there are none."""
    from yaml import YAMLError, safe_load

    for name in (CONFIG, HYDRA_CONFIG):
        try:
            return str(safe_load((folder / name).read_text(encoding="utf-8"))["verb"])
        except (OSError, ValueError, YAMLError, KeyError, TypeError):
            continue
    return None


def _is_ours(folder: Path) -> bool:
    """Of a folder with traces: whether a gapo run left them. One that was killed as it began may not have its settings yet."""
    begun = folder / HYDRA_CONFIG
    return verb_of(folder) is not None or (names_in(folder) <= {LOCK, HYDRA} and not (begun.is_file() and begun.stat().st_size))


def _is_half_written(path: Path) -> bool:
    return path.name.startswith(".") and (path.name.endswith(TEMPORARY) or (path.is_dir() and bool(ASIDE.fullmatch(path.name))))


def _means(resume: str, folder: Path) -> bool:
    """Whether `resume=` is about the run in `folder`: by its name, or by one of its checkpoints."""
    if resume == AUTO:
        return True
    path = Path(resume).resolve()
    return folder.resolve() in (path, *path.parents[:2])


def _listed(names: Collection[str]) -> str:
    shown = sorted(names)[:NAMED]
    return ", ".join(shown) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
