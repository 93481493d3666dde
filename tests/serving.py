"""Starts the served model of the tests as a process of its own, and reads what it was asked."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Served:
    url: str
    log: Path
    process: subprocess.Popen

    @property
    def requests(self) -> list[dict]:
        return [json.loads(line) for line in self.log.read_text().splitlines()] if self.log.exists() else []


def start_server(folder: Path, *options: str) -> Served:
    log = folder / "requests.jsonl"
    script = Path(__file__).with_name("served_model.py")
    process = subprocess.Popen(
        [sys.executable, script, "--log", log, *options], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    return Served(f"http://127.0.0.1:{int(process.stdout.readline())}/v1", log, process)


def stop_server(served: Served) -> None:
    served.process.kill()
    served.process.wait()
    served.process.stdout.close()
