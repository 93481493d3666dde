"""Which process this is, by the environment; and which GPU it sees."""

import os

import pytest

from gapo_cli.errors import UserError
from gapo_cli.processes.place import DEVICES, Place, check_processes, place_here, see_own_device

MEETING = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}


def test_without_torchrun_there_is_one_process():
    assert place_here({}) == Place(0, 1, 0, 1)
    assert place_here({"WORLD_SIZE": "1"}).alone


def test_torchrun_says_rank_and_place_on_the_machine():
    said = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4", **MEETING}
    assert place_here(said) == Place(5, 8, 1, 4)
    # nobody has said that there are several machines
    assert place_here({"RANK": "1", "WORLD_SIZE": "2", **MEETING}) == Place(1, 2, 1, 2)


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"RANK": "0"}, "RANK=0: is set and WORLD_SIZE, MASTER_ADDR, MASTER_PORT not"),
        ({"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "a"}, "is set and MASTER_PORT not"),
        ({"WORLD_SIZE": "2"}, "WORLD_SIZE=2: is set and RANK is not"),
        ({"RANK": "2", "WORLD_SIZE": "2", **MEETING}, "RANK=2: need 0 to 1 with WORLD_SIZE=2"),
        ({"RANK": "x", "WORLD_SIZE": "2", **MEETING}, "RANK=x: need a whole number"),
    ],
)
def test_half_of_an_environment_is_refused(environment, sentence):
    with pytest.raises(UserError, match=sentence):
        place_here(environment)


def test_more_or_fewer_processes_than_asked_for_are_refused():
    check_processes(None, 4, {})
    check_processes(4, 4, {})
    check_processes(1, 1, {"SLURM_STEP_NUM_TASKS": "4"})
    check_processes(None, 1, {"SLURM_STEP_NUM_TASKS": "1"})
    with pytest.raises(UserError, match="trainer.processes=3: torchrun has started 2"):
        check_processes(3, 2, {})
    with pytest.raises(UserError, match="trainer.processes=3: this is one, which no torchrun has started"):
        check_processes(3, 1, {})
    with pytest.raises(UserError, match="OMPI_COMM_WORLD_SIZE=2: mpirun has started several processes"):
        check_processes(None, 1, {"OMPI_COMM_WORLD_SIZE": "2"})


@pytest.mark.parametrize(
    ("given", "place", "seen"),
    [
        (None, Place(3, 4, 1, 2), "1"),
        ("4,6", Place(3, 4, 1, 2), "6"),
        ("", Place(1, 2, 1, 2), ""),  # no GPU for anybody
        ("4,6", Place(1, 2, 0, 1), "4,6"),  # alone on its machine
    ],
)
def test_each_process_sees_the_gpu_of_its_number(given, place, seen, monkeypatch):
    monkeypatch.delenv(DEVICES, raising=False)
    if given is not None:
        monkeypatch.setenv(DEVICES, given)
    see_own_device(place)
    assert os.environ[DEVICES] == seen


def test_fewer_gpus_than_processes_are_refused(monkeypatch):
    monkeypatch.setenv(DEVICES, "4")
    with pytest.raises(UserError, match="CUDA_VISIBLE_DEVICES=4: names 1 GPUs for 2 processes on this machine"):
        see_own_device(Place(1, 2, 1, 2))
