"""What every stage with a model in it does first: threads, seeds and environment.json."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from gapo_cli.config.model import ModelConfig
from gapo_cli.errors import UserError
from gapo_cli.experiment import Experiment
from gapo_cli.hardware import multiplies_bfloat16, usable_cores
from gapo_cli.interfaces import Display
from gapo_cli.runs.inputs import other_inputs, read_inputs
from gapo_cli.runs.layout import ENVIRONMENT, INPUTS
from gapo_cli.storage.files import file_hash, write_json
from gapo_cli.tasks.sets.prepared import prepare

SLOW_BFLOAT16 = (
    "warning: trainer.dtype=bfloat16: this processor has no instructions for it, and a product of matrices takes about 40 times as "
    "long as in float32; set trainer.dtype=float32"
)


def set_up_run(experiment: Experiment, run_dir: Path, display: Display) -> None:
    """Sets torch's threads (`trainer.threads`, 0: all cores that this process may use, or its share of them) and the global seeds,
    and writes environment.json; a run that goes on keeps its id. Says so where the precision is a slow one on this processor."""
    import torch

    from gapo_cli.runs.environment import RUN_ID, describe_environment, new_run_id, run_id_of
    from gapo_cli.training.checkpoints.random_state import seed_all

    ranks = experiment.ranks
    threads = threads_of(experiment)
    torch.set_num_threads(threads)
    seed_all(experiment.seed)
    if experiment.trainer.dtype == "bfloat16" and experiment.trainer.device == "cpu" and not multiplies_bfloat16():
        display.say(SLOW_BFLOAT16)
    if ranks.first:
        run_dir.mkdir(parents=True, exist_ok=True)
        environment = describe_environment(experiment.seed, experiment.trainer.device, threads, ranks.count)
        write_json(run_dir / ENVIRONMENT, {RUN_ID: run_id_of(run_dir) or new_run_id()} | environment)


def threads_of(experiment: Experiment) -> int:
    return experiment.trainer.threads or max(1, usable_cores() // experiment.ranks.on_this_machine)


def check_model_there(config: ModelConfig) -> None:
    """A look at the model before the work that needs none, the building of the data: its files where it lies here, its config
    where it is the hub's. Raises CheckpointError for a path or a name that stands for no model."""
    from gapo_cli.models.folders import ADAPTER_CONFIG, CONFIG, base_of, check_files, find_folder, is_adapter

    folder = find_folder(config, (CONFIG, ADAPTER_CONFIG))
    if is_adapter(folder):
        check_model_there(replace(config, path=base_of(folder)))
    elif Path(config.path).expanduser().is_dir():
        check_files(config, folder)


def describe_inputs(experiment: Experiment, display: Display) -> dict[str, dict[str, str]]:
    """Name → SHA-256 (hex) of every split under "data", of every file under "model" (none where a new model is made). Data that
    are missing are prepared. Raises UserError where data or model are not available."""
    splits = prepare(experiment, display).manifest["splits"]
    return {"data": {split: counts["sha256"] for split, counts in splits.items()}, "model": model_files(experiment)}


def model_files(experiment: Experiment) -> dict[str, str]:
    """An adapter's with those of its base."""
    from gapo_cli.models.folders import MODEL_FILES, base_of, find_folder, is_adapter

    if not experiment.learner.starts_from_folder(experiment):
        return {}
    folder = find_folder(experiment.model)
    places = {"": folder}
    if is_adapter(folder):
        places["base/"] = find_folder(replace(experiment.model, path=base_of(folder)))
    return {
        f"{prefix}{path.name}": file_hash(path)
        for prefix, place in places.items()
        for pattern in MODEL_FILES
        for path in sorted(place.glob(pattern))
    }


def keep_inputs(experiment: Experiment, run_dir: Path, display: Display) -> None:
    """Writes inputs.json as a run begins. Where a resumed one finds other data or another starting model than it began with,
    that is said."""
    path = run_dir / INPUTS
    if not path.is_file():
        write_json(path, describe_inputs(experiment, display))
        return
    try:
        others = other_inputs(read_inputs(run_dir), describe_inputs(experiment, display))
    except UserError as error:  # the starting model may be gone by now: a run that is resumed has its own
        others = [f"the inputs of this run cannot be compared ({error})"]
    for sentence in others:
        display.say(f"warning: {sentence}; the run started with what {path} says, and may now continue differently")
