"""A process in which torch has a pretended GPU. It answers jobs: a line of JSON on its standard input, a line on its standard output.

    python worker.py LIBRARY

LIBRARY is device_stub.cpp, built. It must be in the process before torch is. A job is {"call": a function of jobs.py, "with": its
arguments}; the answer is {"found": what it returned} or {"error": what it raised, in words}.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import sys
import traceback
from pathlib import Path


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is no answer
    ctypes.CDLL(sys.argv[1])
    sys.path.append(str(Path(__file__).parents[1]))  # tests/parts.py
    jobs = importlib.import_module("jobs")
    jobs.warm_up()
    print(json.dumps({"found": "ready"}), file=answers, flush=True)
    for line in sys.stdin:
        job = json.loads(line)
        try:
            answer = {"found": getattr(jobs, job["call"])(**job["with"])}
        except BaseException as error:  # noqa: BLE001 the test that asked decides what it means
            with contextlib.suppress(Exception):
                traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
