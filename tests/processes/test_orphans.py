"""Processes of a pool end with the one that made the pool."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

POOL = """
import os, time
from concurrent.futures import ProcessPoolExecutor
from gapo_cli.processes.orphans import end_with_parent
with ProcessPoolExecutor(2, initializer=end_with_parent) as pool:
    first = pool.submit(os.getpid).result()
    print(first, flush=True)
    time.sleep(600)
"""


def is_running(process_id: int) -> bool:
    """A zombie is not."""
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are looked up in /proc")
@pytest.mark.parametrize("ended_by", [signal.SIGKILL, signal.SIGTERM])
def test_they_end_with_it_however_it_ended(ended_by):
    parent = subprocess.Popen([sys.executable, "-c", POOL], stdout=subprocess.PIPE, text=True)
    worker = int(parent.stdout.readline())
    assert is_running(worker)
    os.kill(parent.pid, ended_by)
    parent.wait()
    waits = (time.sleep(0.05) for _ in range(2000))
    while is_running(worker) and next(waits, "") is None:
        pass
    assert not is_running(worker)
