"""`gapo train` whose every step waits to be let go by a line on standard input, and then says what it took. Started by processes.py.

The first argument is the folder of the project that is run, which may be another revision than this file's.
"""

from __future__ import annotations

import sys
import time
from importlib.util import module_from_spec, spec_from_file_location

if __name__ == "__main__":
    sys.path.insert(0, sys.argv[1])
    # an editable install of another revision would give its own yaml files
    folder = f"{sys.argv[1]}/conf"
    found = spec_from_file_location("gapo_cli.conf", f"{folder}/__init__.py", submodule_search_locations=[folder])
    sys.modules["gapo_cli.conf"] = module_from_spec(found)

from gapo_cli.interfaces import QuietDisplay
from gapo_cli.launching.launch import run
from gapo_cli.training.lifecycle import Life

SAYS = "seconds of a step:"
take_step = Life._take_step


def waiting_step(life: Life, step: int) -> None:
    ranks = getattr(life, "ranks", None)  # an earlier revision has none
    if ranks is None:
        sys.stdin.readline()
    else:
        ranks.from_first(sys.stdin.readline)
    started = time.perf_counter()
    take_step(life, step)
    if ranks is None or ranks.first:
        print(SAYS, time.perf_counter() - started, flush=True)


if __name__ == "__main__":
    Life._take_step = waiting_step
    run("train", sys.argv[2:], QuietDisplay())
