"""The process with the pretended GPU: built and started once, for all tests that ask it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

HERE = Path(__file__).parent
COMPILER = shutil.which(os.environ.get("CXX", "g++"))


class PretendedGPU:
    """`ask` has a job of jobs.py done and gives what it found. Raises RuntimeError in the words of what went wrong there."""

    def __init__(self, library: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "worker.py"), str(library)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        self._answer()

    def ask(self, call: str, /, **arguments: Any) -> Any:
        print(json.dumps({"call": call, "with": arguments}), file=self.process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> Any:
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the process with the pretended GPU ended with {self.process.wait()}")
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer["found"]

    def end(self) -> None:
        self.process.stdin.close()
        self.process.wait(60)


@pytest.fixture(scope="session")
def device_stub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """device_stub.cpp as a library; with pytest-xdist, one for all of its processes."""
    if COMPILER is None:
        pytest.skip("GPU CODE IS NOT TESTED HERE: the pretended GPU needs g++ (or CXX), and there is none")
    shared = tmp_path_factory.getbasetemp()
    shared = shared.parent if os.environ.get("PYTEST_XDIST_WORKER") else shared
    library = shared / "device_stub.so"
    with FileLock(shared / "device_stub.lock"):
        if not library.exists():
            torch = Path(find_spec("torch").origin).parent
            subprocess.run(
                [
                    COMPILER, "-O0", "-std=c++20", "-shared", "-fPIC", "-w",
                    f"-I{torch}/include", f"-I{sysconfig.get_paths()['include']}",
                    str(HERE / "device_stub.cpp"),
                    f"-L{torch}/lib", "-lc10", "-ltorch_cpu", f"-Wl,-rpath,{torch}/lib", "-o", str(library),
                ],
                check=True,
            )  # fmt: skip
    return library


@pytest.fixture(scope="session")
def gpu(device_stub: Path) -> Iterator[PretendedGPU]:
    pretended = PretendedGPU(device_stub)
    yield pretended
    pretended.end()


@pytest.fixture(scope="session")
def model(tiny_model_folder: Path) -> str:
    return str(tiny_model_folder)
