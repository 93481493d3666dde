"""The debug run learns what it has always learnt: parts of it against hashes that an earlier version left."""

import hashlib
import json
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from library_parts import copy_library

from gapo_cli.cli.entry import run_command
from gapo_cli.tasks.sets.store import load_split, read_manifest

GOLDEN = json.loads((Path(__file__).parent / "golden" / "debug_run.json").read_text())
DECIMALS = 6
MEASURES = [
    f"val/{mode}{name}"
    for mode in ("", "sampled/")
    for name in ("exact_match", "noop_rate", "malformed_rate", "edit_similarity", "response_tokens")
]


def hash_of(values):
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def parts_of(run):
    """Name → hash, of whatever rounding leaves alone."""
    found = {}
    for row in map(json.loads, (run / "metrics.jsonl").read_text().splitlines()):
        step = row["step"]
        if MEASURES[0] in row:
            found[f"val metrics, step {step}"] = hash_of([round(row[name], DECIMALS) for name in MEASURES])
        if step:
            rows = pd.read_parquet(run / "rollouts" / f"step-{step:05d}.parquet")
            found[f"token ids, step {step}"] = hash_of([ids.tolist() for ids in rows["token_ids"]])
            for name in ("reward", "advantage"):
                found[f"{name}s, step {step}"] = hash_of(rows[name].round(DECIMALS).tolist())
    return found


@pytest.mark.slow
def test_the_debug_run_is_the_one_of_before(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    copy_library(tmp_path / "library")  # tasks of the whole library take longer than the run
    assert run_command(["train", *GOLDEN["words"], "trainer.threads=1", "hydra.run.dir=run", "-q"]) == 0
    (manifest,) = Path("data").glob("*/manifest.json")
    tasks = {split: list(load_split(manifest.parent, split)) for split in read_manifest(manifest.parent)["splits"]}
    for split in ("train", "dev", "eval"):
        families = Counter(task.labels["family"] for task in tasks[split])
        assert len(families) >= 12 and families.total() > 200, split
    # what prompts and scores are made of
    texts = {split: [(task.id, task.before, task.region, task.target) for task in found] for split, found in tasks.items()}
    if hash_of(texts) != GOLDEN["data"]:
        pytest.skip("this Python has another standard library, so its tasks differ from the recorded ones")
    found = parts_of(Path("run"))
    assert found.keys() == GOLDEN["parts"].keys()
    assert [name for name in found if found[name] != GOLDEN["parts"][name]] == []
