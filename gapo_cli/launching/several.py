"""`trainer.processes=N`: starts torchrun's own launcher, whose processes run the same command."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gapo_cli.errors import UserError
from gapo_cli.experiment import Experiment
from gapo_cli.launching.overrides import key_of, quoted
from gapo_cli.processes.place import Place
from gapo_cli.processes.ranks import LostRank, ProcessesFailed
from gapo_cli.processes.signals import STOPPING
from gapo_cli.runs.claim import RUN_DIR
from gapo_cli.runs.outcome import FAILED, STOPPED, read_outcome
from gapo_cli.stages.train import check_settings

STOPPING_SECONDS = 600
"""How long a process that is told to stop has for the step that it is in, and for a checkpoint, before it is killed. torchrun's own
30 would be too short for either."""


VERBS = ("train", "doctor")
"""What runs on several processes."""


@dataclass(frozen=True)
class Trained:
    """A run that other processes have made, and told about."""

    run_dir: Path


def check_verb(verb: str, place: Place) -> None:
    """Raises UserError where torchrun has started several processes of a command that is one."""
    if not place.alone and verb not in VERBS:
        raise UserError(
            f"gapo {verb}: is one process, and WORLD_SIZE={place.count} of it were started; start it without torchrun"
        )


def asks_for_others(verb: str, experiment: Experiment) -> bool:
    """Whether this process is to start those that `trainer.processes` asks for."""
    return verb in VERBS and (experiment.trainer.processes or 1) > 1


def start_run(
    experiment: Experiment, run_dir: Path, words: Sequence[str], config_dir: Path | None, options: Sequence[str]
) -> Trained:
    """Runs `gapo train WORDS` in `run_dir` on as many processes of this machine as `trainer.processes` asks for.
    Raises as `start_processes` does, and UserError for what `gapo train` refuses before it loads anything."""
    check_settings(experiment)  # before ten seconds are spent on starting processes that all refuse it
    named = [word for word in words if key_of(word) != RUN_DIR]
    start_processes("train", experiment, [*named, f"{RUN_DIR}={quoted(str(run_dir))}"], config_dir, options, run_dir)
    return Trained(run_dir)


def start_processes(
    verb: str,
    experiment: Experiment,
    words: Sequence[str],
    config_dir: Path | None,
    options: Sequence[str],
    run_dir: Path | None = None,
) -> None:
    """Raises ProcessesFailed for what rank 0 has said, LostRank where it could not."""
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import parse_args
    from torch.distributed.run import run as torchrun

    command = [verb, *words, *options, *(["--config-dir", str(config_dir)] if config_dir is not None else [])]
    launcher = ["--nproc-per-node", str(experiment.trainer.processes), "--shutdown-timeout", str(STOPPING_SECONDS)]
    launcher += ["--signals-to-handle", ",".join(signal.Signals(number).name for number in STOPPING)]
    # torchrun would say that it sets the threads, and for each process how it ended: what there is to say is said here
    with environment(OMP_NUM_THREADS=os.environ.get("OMP_NUM_THREADS", "1")), without_logs():
        try:
            torchrun(parse_args([*launcher, "--module", "gapo_cli", *command]))
        except ChildFailedError as failed:
            raise ended(run_dir, failed.failures) from failed
        except SignalException as stopped:
            raise ProcessesFailed(128 + stopped.sigval) from stopped


def ended(run_dir: Path | None, failures: Mapping[int, Any]) -> Exception:
    """What a command ended with whose processes failed. `failures`: of each rank that had ended when the launcher looked."""
    outcome = None if run_dir is None else read_outcome(run_dir)
    codes = {rank: failures[rank].exitcode for rank in sorted(failures)}
    # where one has failed, the launcher ends the others by SIGTERM
    codes = {rank: code for rank, code in codes.items() if code not in (-signal.SIGTERM, 128 + signal.SIGTERM)} or codes
    killed = [rank for rank, code in codes.items() if code < 0]
    if not killed or (outcome is not None and outcome.status in (FAILED, STOPPED)):
        return ProcessesFailed(max(code if code > 0 else 1 for code in codes.values()))
    rank = killed[0]
    on = "" if run_dir is None else f"; go on with resume=auto {RUN_DIR}={run_dir}"
    return LostRank(f"rank {rank} (process {failures[rank].pid}) was killed (signal {-codes[rank]}){on}")


@contextlib.contextmanager
def without_logs() -> Iterator[None]:
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


@contextlib.contextmanager
def environment(**values: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value
