"""The machine, and what is asked of it before torch is there."""

import os

import pytest

from gapo_cli.hardware import SPINS, SPINS_WHERE_BUSY, let_threads_yield, usable_cores


@pytest.fixture
def environment(monkeypatch):
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.mark.parametrize(("load", "spins"), [(0.4, SPINS), (0.5, SPINS_WHERE_BUSY), (None, SPINS)])
def test_waiting_threads_spin_for_a_short_time_and_a_shorter_one_where_the_machine_is_busy(load, spins, environment):
    def of_last_minutes():
        if load is None:
            raise OSError
        return load * os.cpu_count(), 0.0, 0.0

    environment.setattr(os, "getloadavg", of_last_minutes)
    environment.setenv("GOMP_SPINCOUNT", "x")  # so that it is taken back after the test
    environment.delenv("GOMP_SPINCOUNT")
    let_threads_yield()
    assert os.environ["GOMP_SPINCOUNT"] == spins


@pytest.mark.parametrize(("name", "value"), [("OMP_WAIT_POLICY", "ACTIVE"), ("GOMP_SPINCOUNT", "7")])
def test_what_the_environment_says_stays(environment, name, value):
    environment.setenv(name, value)
    let_threads_yield()
    assert {key: os.environ.get(key) for key in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")} == {
        "OMP_WAIT_POLICY": None, "GOMP_SPINCOUNT": None, name: value,
    }  # fmt: skip


def test_there_is_at_least_one_core():
    assert usable_cores() >= 1
