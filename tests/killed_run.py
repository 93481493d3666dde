"""A small run to kill: dynamic sampling, several checkpoints and evaluations, and a reward that draws from every global
source of chance."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from parts import smallest, write_tasks

from gapo_cli.records import EditTask

STEPS = 4


class NoisyLength:
    """Short answers are better, in fives of characters so that groups without spread occur; and some noise."""

    def __call__(self, predictions: Sequence[str | None], tasks: Sequence[EditTask]) -> dict[str, np.ndarray]:
        import torch

        fives = np.array([0 if one is None else max(0, 4 - len(one) // 5) for one in predictions], dtype=np.float64)
        noise = random.random() + np.random.random() + float(torch.rand(()))
        return {"score": fives / 5 + (fives % 2) * noise / 100}


def make_run(folder: Path, model: Path) -> list[str]:
    """The words of `gapo train` for the run, whose data and reward are made in `folder`."""
    return [
        *rewarded_run(folder, model),
        "algorithm=dapo", "algorithm.max_generation_rounds=100", "sampling.max_new_tokens=20", "sampling.group_size=2",
        f"trainer.steps={STEPS}", "trainer.checkpoint_every=2", "trainer.optimizer.learning_rate=0.008",
        "evaluation.every_steps=1", "trainer.prompts_per_step=3",
    ]  # fmt: skip


def rewarded_run(folder: Path, model: Path) -> list[str]:
    """The words of a run with a tiny model whose answers earn something. What it needs is made in `folder`."""
    import torch

    from gapo_cli.config.model import ModelConfig
    from gapo_cli.models.load import load_model, save_model

    loaded = load_model(ModelConfig("tiny", str(model), 256))
    with torch.no_grad():
        loaded.model.lm_head.weight[loaded.eos_token_id] *= 2  # answers of differing lengths
    save_model(loaded, folder / "model")
    tasks = write_tasks(folder / "mine.jsonl")
    rows = [
        json.loads(line) | {"target": ""} for line in tasks.read_text().splitlines()
    ]  # an answer that ends at once is right
    tasks.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "own" / "reward").mkdir(parents=True)
    (folder / "own" / "reward" / "noisy.yaml").write_text("_target_: killed_run.NoisyLength\n")
    return [
        *smallest(tasks, folder / "model"),
        "--config-dir", str(folder / "own"), "reward=noisy", "allow_targets=[killed_run]", f"data.directory={folder / 'data'}",
    ]  # fmt: skip
