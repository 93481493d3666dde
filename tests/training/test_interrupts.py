"""Signals that ask a command to end."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from gapo_cli.training.interrupts import STOPPING, Stopped, interrupts_wait, stop_by_signals

GAPO = [sys.executable, "-m", "gapo_cli"]


@pytest.fixture
def stoppable():
    before = {number: signal.getsignal(number) for number in STOPPING}
    stop_by_signals()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
    Stopped.exit_code = 130


@pytest.mark.parametrize("number", STOPPING)
def test_every_signal_waits_for_the_end_of_the_block(stoppable, number):
    done = []
    with pytest.raises(Stopped) as raised, interrupts_wait():
        os.kill(os.getpid(), number)
        done.append("the rest")
    assert done == ["the rest"]
    assert raised.value.exit_code == 128 + number


def test_a_second_signal_breaks_a_step_and_not_a_checkpoint(stoppable):
    done = []
    with pytest.raises(Stopped), interrupts_wait():
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        done.append("a step")
    assert done == []
    with pytest.raises(Stopped), interrupts_wait(breakable=False):
        for number in (*STOPPING, *STOPPING):
            os.kill(os.getpid(), number)
        done.append("a checkpoint")
    assert done == ["a checkpoint"]


def test_a_signal_that_comes_twice_by_itself_breaks_neither_a_step_nor_what_comes_after(stoppable):
    done = []
    with pytest.raises(Stopped):
        try:
            with interrupts_wait():
                os.kill(os.getpid(), signal.SIGTERM)
                os.kill(os.getpid(), signal.SIGTERM)
                done.append("a step")
        except Stopped:
            os.kill(os.getpid(), signal.SIGTERM)
            done.append("what is said of it")
            raise
    assert done == ["a step", "what is said of it"]
    with pytest.raises(Stopped):  # another one is a wish of its own
        os.kill(os.getpid(), signal.SIGINT)


def test_a_signal_that_is_ignored_stays_ignored(stoppable):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    stop_by_signals()
    with interrupts_wait():
        os.kill(os.getpid(), signal.SIGHUP)
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_outside_the_main_thread_nothing_waits():
    ended = []

    def work():
        with interrupts_wait():
            ended.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert ended == [True]


@pytest.mark.slow
def test_a_command_that_is_terminated_says_so_and_ends_with_the_shells_code(tmp_path):
    process = subprocess.Popen([*GAPO, "prepare"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline().startswith("preparing")
    process.terminate()
    process.communicate()
    assert process.returncode == 143
