"""A reward of one's own that fails on the answers to one task, from the third step on, as long as a file says so."""

from __future__ import annotations

import json
from collections.abc import Iterator

from fault_kinds.trials import Trials, Tried, tried

REWARD = """
from pathlib import Path

from gapo_cli.rewards.edem import ExactMatchAndSimilarity

class Flaky(ExactMatchAndSimilarity):
    calls = 0
    unlucky = None

    def __call__(self, predictions, tasks):
        Flaky.calls += 1
        if Flaky.calls == 3:
            Flaky.unlucky = tasks[0].id
        if Path("broken").exists() and any(task.id == Flaky.unlucky for task in tasks):
            if Path("broken").read_text() == "exit":
                raise SystemExit(3)
            raise TimeoutError("sandbox timed out")
        return super().__call__(predictions, tasks)
"""
SETTINGS = ["--config-dir", "own", "reward=flaky", "allow_targets=[flaky_reward]"]


def rewards(trials: Trials) -> Iterator[Tried]:
    (trials.folder / "own" / "reward").mkdir(parents=True)
    (trials.folder / "own" / "reward" / "flaky.yaml").write_text("_target_: flaky_reward.Flaky\n", encoding="utf-8")
    (trials.folder / "flaky_reward.py").write_text(REWARD, encoding="utf-8")
    broken = trials.folder / "broken"
    for run, how, fault in (("flaky", "", "that raises"), ("leaving", "exit", "that calls `exit`")):
        broken.write_text(how, encoding="utf-8")
        failed = trials.train(f"hydra.run.dir={run}", *SETTINGS)
        broken.unlink()
        again = trials.ends_whole(f"resume={run}", *SETTINGS[:2], SETTINGS[-1], stopped=True)
        yield tried(f"a reward of one's own {fault}", failed, "mended, resume=RUN", again)
    broken.touch()
    went_on = trials.train("hydra.run.dir=missing", *SETTINGS, "reward.on_error=missing")
    rows = [json.loads(line) for line in (trials.folder / "missing" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    counted = sum(row.get("reward/failed", 0) for row in rows)
    yield tried(
        "one that raises, with `reward.on_error=missing`",
        went_on,
        f"nothing: {counted:.0f} answers count as missing",
        None,
        said="reward",
    )
