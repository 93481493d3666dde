"""Kills `gapo train` with SIGKILL at random moments, resumes it, and compares with the run that was not killed, bit for bit.

The embedded nano model, DAPO (dynamic sampling, so that groups wait from one step for the next) and a reward that draws from
Python's, NumPy's and torch's own random numbers, all of which a checkpoint has to bring back. Every round is a new folder:
the run is killed, perhaps killed again as it resumes, and then ended by `resume=auto`. Compared is all that it left: metrics
without clocks, rollouts, evaluations, checkpoints with the trainer's state, best model. Some of the runs are supervised ones.

    python benchmarks/kill_and_resume.py [--kills 42] [--seed 0] [--folder KEPT]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from measure import machine
from tables import RESULTS

from gapo_cli.records import EditTask

HERE = Path(__file__).resolve().parent
TESTS = HERE.parent / "tests"
sys.path.insert(0, str(TESTS))
STEPS, CHECKPOINT_EVERY = 5, 2
KINDS = ("moment", "file", "parquet", "weights", "state", "moment, again while resuming", "supervised")
"""Killed at a random moment; before a random change of a file in the run's folder (open for writing, sync, rename, remove);
with half of a file of rollouts, of a model's weights, of a trainer's state written; twice; a supervised run at a random moment."""


class NoisyMatch:
    """1 for a right answer, less the more it is cut, and noise from every global source of chance."""

    def __call__(self, predictions: Sequence[str | None], tasks: Sequence[EditTask]) -> dict[str, np.ndarray]:
        import torch
        from rapidfuzz.distance import Levenshtein

        pairs = zip(predictions, tasks, strict=True)
        near = np.array(
            [0.0 if one is None else Levenshtein.normalized_similarity(one.strip(), task.target.strip()) for one, task in pairs]
        )
        noise = random.random() + np.random.random() + float(torch.rand(()))
        # no noise on what is wrong all over: groups without spread, which dynamic sampling drops, still occur
        return {"score": near * (1 - noise / 10)}


def words_of_run(folder: Path) -> list[str]:
    """The command, whose data and reward lie in `folder`."""
    reward = folder / "own" / "reward"
    reward.mkdir(parents=True, exist_ok=True)
    (reward / "noisy.yaml").write_text("_target_: kill_and_resume.NoisyMatch\n")
    return [
        "train", "experiment=debug", "--config-dir", str(folder / "own"), "reward=noisy", "allow_targets=[kill_and_resume]",
        f"data.directory={folder / 'data'}", "data.limit=48", "algorithm=dapo", "algorithm.max_generation_rounds=100",
        "sampling.group_size=3", "sampling.max_new_tokens=12",
        f"trainer.steps={STEPS}", f"trainer.checkpoint_every={CHECKPOINT_EVERY}", "trainer.prompts_per_step=4",
        "trainer.prompts_per_mini_batch=2", "trainer.optimizer.learning_rate=0.001", "trainer.threads=1",
        "evaluation.tasks=4", "evaluation.samples=1", "evaluation.every_steps=2", "hydra.run.dir=run",
    ]  # fmt: skip


SUPERVISED = [
    "stage=sft", "supervised.tokens_per_batch=512", "supervised.checkpoint_every=2", "supervised.evaluate_every=3", "supervised.log_every=2",
    "supervised.scramble=0.5",
]  # fmt: skip


def choose_kill(kind: str, whole: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    if kind.startswith(("moment", "supervised")):
        return {"seconds": chance.uniform(0.0, whole["seconds"])}
    if kind == "file":
        return {"event": chance.randint(1, whole["events"])}
    return {"write": kind, "call": chance.randint(1, whole["writes"][kind])}


def kill_one(
    driver: Any, words: list[str], folder: Path, kind: str, whole: dict[str, Any], chance: random.Random
) -> dict[str, Any]:
    """One round: kills, resumes to the end, compares. A process that ended before its moment came is no kill: once more."""
    from gapo_cli.runs.contents import differences

    while True:
        kill = choose_kill(kind, whole, chance)
        shutil.rmtree(folder, ignore_errors=True)
        killed = driver.run(words, folder, kill)
        if killed["status"] == -9:
            break
        if killed["status"] != 0:
            raise SystemExit(f"{kind} {kill}: ended with {killed['status']}:\n{killed['output']}")
    row = {"kind": kind, "kill": kill, "killed_after_s": killed["seconds"], "rows_of_metrics": count_rows(folder), "kills": 1}
    resume = [*words, "resume=auto"]
    if kind.endswith("again while resuming"):
        again = driver.run(resume, folder, {"seconds": chance.uniform(0.0, whole["seconds"] / 2)})
        row["kills"] += again["status"] == -9
    resumed = driver.run(resume, folder)
    found = [] if resumed["status"] == 0 else [f"resume=auto ended with {resumed['status']}: {resumed['output'][-500:]}"]
    found = found or differences(folder / "run", whole["folder"] / "run")
    started = next(
        (line for line in resumed["output"].splitlines() if line.startswith("resume=auto: from ")),
        "resume=auto: from the start",
    )
    return row | {
        "from": started.removeprefix("resume=auto: from "),
        "resumed_in_s": resumed["seconds"],
        "identical": not found,
        "differences": found,
    }


def count_rows(folder: Path) -> int:
    metrics = folder / "run" / "metrics.jsonl"
    return metrics.read_bytes().count(b"\n") if metrics.is_file() else 0


def unkilled(driver: Any, words: list[str], folder: Path) -> dict[str, Any]:
    """The run to compare with; it is made twice, which must be the same already."""
    from gapo_cli.runs.contents import differences

    done = []
    for name in ("warm", "whole"):
        shutil.rmtree(folder / name, ignore_errors=True)
        done.append(driver.run(words, folder / name))
        if done[-1]["status"] != 0:
            raise SystemExit(f"the unkilled run ended with {done[-1]['status']}:\n{done[-1]['output']}")
    found = differences(folder / "warm" / "run", folder / "whole" / "run")
    if found:
        raise SystemExit(f"two unkilled runs differ, so nothing can be said: {found}")
    return done[1] | {"folder": folder / "whole"}


def unkilled_with_waiting(driver: Any, words: list[str], folder: Path) -> tuple[list[str], dict[str, Any]]:
    """The unkilled reinforcement-learning run of the first seed with which groups wait at a checkpoint that is resumed from, its
    command, and what else there is to know of it: how many files of each kind it writes, and where groups wait."""
    checkpoints = [step for step in range(1, STEPS + 1) if step % CHECKPOINT_EVERY == 0 or step == STEPS]
    for seed in range(10):
        command = [*words, f"seed={seed}"]
        whole = unkilled(driver, command, folder)
        run = whole["folder"] / "run"
        rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        waiting = [step for step in checkpoints[:-1] if rows[step]["group/waiting"]]
        if waiting:
            return command, whole | {
                # the model of step 0 is the best one for a while, so one more is written than there are checkpoints, at least
                "writes": {"parquet": STEPS, "weights": len(checkpoints) + 1, "state": len(checkpoints)},
                "waiting_at": waiting,
                "best_step": json.loads((run / "checkpoints" / "best" / "best.json").read_text())["step"],
            }
    raise SystemExit(
        "no group waits at a checkpoint with any seed, so unconsumed rollouts would not be tried; change the settings"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=42, help="rounds, spread over the kinds of kill")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--folder", type=Path, help="where the runs are kept (else they are removed)")
    given = parser.parse_args()
    # the reward is a class of this file, and the killed processes must find it
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(HERE), os.environ.get("PYTHONPATH"))))
    from kill_driver import KillDriver

    chance = random.Random(given.seed)
    with tempfile.TemporaryDirectory() as temporary, KillDriver() as driver:
        folder = (given.folder or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        words = words_of_run(folder)
        supervised = [*words, *SUPERVISED]
        words, whole = unkilled_with_waiting(driver, words, folder)
        whole_supervised = unkilled(driver, supervised, folder / "supervised")
        print(
            f"unkilled: {whole['seconds']:.1f} s, {whole['events']} changes of files, groups wait at checkpoints {whole['waiting_at']}",
            flush=True,
        )
        rows = []
        for number in range(given.kills):
            kind = KINDS[number % len(KINDS)]
            is_supervised = kind == "supervised"
            row = kill_one(
                driver,
                supervised if is_supervised else words,
                folder / f"{number:03d}",
                kind,
                whole_supervised if is_supervised else whole,
                chance,
            )
            rows.append(row)
            shown = "identical" if row["identical"] else f"DIFFERENT: {row['differences']}"
            print(f"{number + 1}/{given.kills} {kind} {row['kill']}: from {row['from']}, {shown}", flush=True)
            if row["identical"] and given.folder is None:
                shutil.rmtree(folder / f"{number:03d}")
    write_results(whole, rows)
    raise SystemExit(0 if all(row["identical"] for row in rows) else 1)


def write_results(whole: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    about = machine("gapo-cli", "torch", "transformers")
    identical, kills = sum(row["identical"] for row in rows), sum(row["kills"] for row in rows)
    compared = "metrics without clocks, rollouts, evaluations, all checkpoints with the trainer's state, the best model"
    waiting = ", ".join(map(str, whole["waiting_at"]))
    lines = [
        "# Killed and resumed",
        "",
        f"**{identical} of {len(rows)} runs that were killed ({kills} kills with SIGKILL) ended bit for bit as the one that was not**: {compared}.",
        "",
        f"`gapo train` of the nano model, {STEPS} steps, a checkpoint every {CHECKPOINT_EVERY}, dynamic sampling with groups waiting at the",
        f"checkpoints of step {waiting}, a reward with noise from three global generators.",
        "",
        "| killed | rounds | kills | rows of metrics by then | resumed from | identical |",
        "|---|---|---|---|---|---|",
    ]
    for kind in KINDS:
        own = [row for row in rows if row["kind"] == kind]
        if own:
            origins = sorted({row["from"] for row in own})
            seen = sorted({row["rows_of_metrics"] for row in own})
            lines.append(
                f"| {DESCRIBED[kind]} | {len(own)} | {sum(row['kills'] for row in own)} | {', '.join(map(str, seen))} | {', '.join(origins)} "
                f"| {sum(row['identical'] for row in own)} |"
            )
    resuming = statistics.median(row["resumed_in_s"] for row in rows)
    lines += [
        "",
        f"Seconds (wall clock): {whole['seconds']:.1f} for the unkilled run, {resuming:.1f} (median) for what was left, imports not counted.",
        "",
        ", ".join(f"{key} {value}" for key, value in about.items()) + ".",
        "",
        "Run it again: `python benchmarks/kill_and_resume.py`",
        "",
    ]
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "kill_and_resume.md").write_text("\n".join(lines), encoding="utf-8")
    unkilled_run = {key: whole[key] for key in ("seconds", "cpu_seconds", "events", "waiting_at", "best_step")}
    (RESULTS / "kill_and_resume.json").write_text(
        json.dumps(
            {
                "machine": about,
                "identical": identical,
                "rounds": len(rows),
                "kills": kills,
                "unkilled": unkilled_run,
                "rows": rows,
            },
            indent=1,
        )
        + "\n",
        encoding="utf-8",
    )
    print("\n".join(lines))


DESCRIBED = {
    "moment": "at a random moment",
    "file": "before a random change of a file",
    "parquet": "half of a file of rollouts written",
    "weights": "half of a model's weights written",
    "state": "half of a trainer's state written",
    "moment, again while resuming": "at a random moment, and again while it resumed",
    "supervised": "a supervised run, at a random moment",
}

if __name__ == "__main__":
    main()
