"""What every stage with a model in it does first: threads, seeds and environment.json."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from gapo_cli.config import SamplingConfig
from gapo_cli.files import write_json
from gapo_cli.interfaces import CheckedEngine, Experiment
from gapo_cli.processors import usable_cores

ENVIRONMENT = "environment.json"
ANSWERS = "answers.jsonl"
"""What a served model has answered so far: a run that was stopped goes on from it."""


def check_engine(experiment: Experiment, samplings: Iterable[SamplingConfig]) -> None:
    """Asks an engine that can say so whether it can draw these samplings here, before a model is loaded for it. Raises
    UserError."""
    if isinstance(experiment.engine, CheckedEngine):
        experiment.engine.check(list(samplings))


def set_up_run(experiment: Experiment, run_dir: Path) -> None:
    """Sets torch's threads (`trainer.threads`, 0: all cores that this process may use) and the global seeds, and writes
    environment.json."""
    import torch

    from gapo_cli.training.environment import describe_environment
    from gapo_cli.training.random_state import seed_all

    threads = experiment.trainer.threads or usable_cores()
    torch.set_num_threads(threads)
    seed_all(experiment.seed)
    run_dir.mkdir(parents=True, exist_ok=True)
    write_json(run_dir / ENVIRONMENT, describe_environment(experiment.seed, experiment.trainer.device, threads))
