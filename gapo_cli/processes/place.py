"""Which of a run's processes this one is, as torchrun says it in the environment. Imports nothing heavy."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from gapo_cli.errors import UserError

NEEDED = ("WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""What torchrun sets beside RANK, without which processes do not find each other."""
OTHER_STARTERS = {"SLURM_STEP_NUM_TASKS": "srun", "OMPI_COMM_WORLD_SIZE": "mpirun", "PMI_SIZE": "mpirun"}
"""Variable → what sets it to the number of processes that it has started, each of which knows nothing of the others."""
DEVICES = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True)
class Place:
    """Process number `rank` of `count`, which is number `local_rank` of the `local_count` on its machine."""

    rank: int = 0
    count: int = 1
    local_rank: int = 0
    local_count: int = 1

    @property
    def alone(self) -> bool:
        return self.count == 1


def place_here(environment: Mapping[str, str] = os.environ) -> Place:
    """Raises UserError where the environment names a rank and not the others: a run must not become one process by mistake."""
    if "RANK" not in environment:
        if environment.get("WORLD_SIZE", "1") != "1":
            raise UserError(
                f"WORLD_SIZE={environment['WORLD_SIZE']}: is set and RANK is not; start the processes by torchrun or "
                "trainer.processes=N, or unset it"
            )
        return Place()
    missing = [name for name in NEEDED if name not in environment]
    if missing:
        raise UserError(
            f"RANK={environment['RANK']}: is set and {', '.join(missing)} not; start the processes by torchrun or "
            "trainer.processes=N, or unset RANK"
        )
    rank, count = _number(environment, "RANK"), _number(environment, "WORLD_SIZE")
    if not 0 <= rank < count:
        raise UserError(f"RANK={rank}: need 0 to {count - 1} with WORLD_SIZE={count}")
    local = {name: name in environment for name in ("LOCAL_RANK", "LOCAL_WORLD_SIZE")}
    if not all(local.values()):
        return Place(rank, count, rank, count)  # one machine, as far as anybody has said
    return Place(rank, count, _number(environment, "LOCAL_RANK"), _number(environment, "LOCAL_WORLD_SIZE"))


def check_processes(asked: int | None, count: int, environment: Mapping[str, str] = os.environ) -> None:
    """Raises UserError where `count` processes are more or fewer than `trainer.processes` asks for."""
    if asked is not None and asked != count:
        started = f"torchrun has started {count}" if count > 1 else "this is one, which no torchrun has started"
        raise UserError(
            f"trainer.processes={asked}: {started}; only `gapo train` starts several, and under torchrun leave it out or give "
            f"trainer.processes={count}"
        )
    starter = next((name for name in OTHER_STARTERS if environment.get(name, "1") not in ("", "1")), None)
    if asked is None and count == 1 and starter is not None and "RANK" not in environment:
        raise UserError(
            f"{starter}={environment[starter]}: {OTHER_STARTERS[starter]} has started several processes that know nothing of each "
            "other; start them by torchrun, or give trainer.processes=1 for as many runs"
        )


def see_own_device(place: Place) -> None:
    """Hides the GPUs of the machine's other processes: whatever takes the first one, vLLM for instance, then takes this process's
    own. To be called before torch is imported. Raises UserError where there are fewer GPUs than processes."""
    if place.local_count == 1:
        return
    given = os.environ.get(DEVICES)
    devices = (
        [str(number) for number in range(place.local_count)] if given is None else [one for one in given.split(",") if one]
    )
    if devices and len(devices) < place.local_count:
        raise UserError(
            f"{DEVICES}={given}: names {len(devices)} GPUs for {place.local_count} processes on this machine; need one for each"
        )
    os.environ[DEVICES] = devices[place.local_rank] if devices else ""


def _number(environment: Mapping[str, str], name: str) -> int:
    try:
        return int(environment[name])
    except ValueError as error:
        raise UserError(f"{name}={environment[name]}: need a whole number") from error
