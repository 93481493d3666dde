"""Work divided among processes, and the signals that end it."""

import os
import signal
import subprocess
import sys
import time

import pytest

from gapo_cli.processes.pool import map_in_processes

STOPPED_TWICE = """
import os, signal, sys
from gapo_cli.processes.pool import map_in_processes
from gapo_cli.training.interrupts import Stopped, stop_by_signals

def work(number):
    if number == 0:  # as `timeout` does: the command, then every process of it
        os.kill(os.getppid(), signal.SIGTERM)
        os.killpg(0, signal.SIGTERM)
    return number

stop_by_signals()
try:
    list(map_in_processes(work, range(1000), workers=2, chunk=1))
except Stopped:
    sys.exit(Stopped.exit_code)
"""


def square(number: int) -> int:
    time.sleep(0.001 * (number % 3))
    return number * number


def test_results_come_in_the_order_of_their_items():
    assert list(map_in_processes(square, range(20), workers=2, chunk=3)) == [number * number for number in range(20)]


def test_two_signals_to_every_process_of_a_command_end_it_and_its_pool():
    process = subprocess.Popen([sys.executable, "-c", STOPPED_TWICE], stderr=subprocess.PIPE, start_new_session=True)
    try:
        assert process.communicate(timeout=60)[1] == b""  # not a worker's traceback
        assert process.returncode == 128 + signal.SIGTERM
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def test_signals_that_only_wish_for_an_end_leave_out_no_result():
    wishes = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: wishes.append(number))
    try:
        results = map_in_processes(square, range(6), workers=2, chunk=1)
        found = [next(results)]
        os.kill(os.getpid(), signal.SIGTERM)
        assert wishes == []  # between two results
        found += results
    finally:
        signal.signal(signal.SIGTERM, before)
    assert wishes == [signal.SIGTERM]
    assert found == [0, 1, 4, 9, 16, 25]


def test_an_error_of_the_work_is_raised_and_the_handlers_are_put_back():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(ZeroDivisionError):
        list(map_in_processes((1).__truediv__, [1, 0], workers=1, chunk=1))
    assert signal.getsignal(signal.SIGTERM) is before
