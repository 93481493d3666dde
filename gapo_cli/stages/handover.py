"""gapo handover: an experiment as another trainer takes it, and what that trainer made of the model as a plain folder again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gapo_cli.errors import UserError
from gapo_cli.experiment import Experiment
from gapo_cli.integrations.verl_limits import check
from gapo_cli.integrations.verl_settings import Cluster
from gapo_cli.interfaces import Display
from gapo_cli.runs.claim import check_new
from gapo_cli.stages.run_setup import check_model_there
from gapo_cli.tasks.sets.prepared import load_tasks

if TYPE_CHECKING:
    from gapo_cli.integrations.verl_folder import PartsAsWritten


def hand_over(experiment: Experiment, parts: PartsAsWritten, cluster: Cluster, folder: Path, display: Display) -> Path:
    """Writes what verl needs into `folder`, a new one. The weights are not loaded. Raises UserError."""
    check(experiment, cluster)
    check_new(folder, str(folder))
    check_model_there(experiment.model)
    tasks = load_tasks(experiment, experiment.data.train_split, display)
    held_out = load_tasks(experiment, experiment.evaluation.split, display)
    from gapo_cli.integrations.verl_folder import write_handover
    from gapo_cli.models.folders import TOKENIZER_FILES, find_folder, is_adapter
    from gapo_cli.models.tokenizer_files import load_tokenizer
    from gapo_cli.rollouts.data_order import DataOrder
    from gapo_cli.rollouts.encoding import encode_for, fit_training_tasks, split_by_length
    from gapo_cli.rollouts.validation import select_tasks

    model = find_folder(experiment.model, TOKENIZER_FILES)
    if is_adapter(model):
        raise UserError(f"model.path={experiment.model.path}: is an adapter; merge it first by `gapo export {model} FOLDER`")
    tokenizer = load_tokenizer(experiment.model, model)
    context, limit = experiment.model.context_length, experiment.sampling.max_new_tokens
    encoded = encode_for(tokenizer, experiment.model, experiment.template, tasks, display.progress)
    fitted = fit_training_tasks(encoded, context, limit, experiment.data.on_long)
    order = DataOrder(len(fitted.kept), experiment.seed).draw(len(fitted.kept))
    asked = select_tasks(held_out, experiment.evaluation.tasks)
    answered = split_by_length(encode_for(tokenizer, experiment.model, experiment.template, asked), context, limit)
    write_handover(folder, experiment, parts, cluster, model, tokenizer, [fitted.kept[index] for index in order], answered.kept)
    left = len(fitted.too_long), len(answered.too_long)
    display.say(
        f"{folder}: {len(fitted.kept):,} training tasks and {len(answered.kept):,} held-out tasks"
        + (f"; left out, too long: {left[0]} and {left[1]}" if any(left) else "")
    )
    display.say(f"train with: {folder / 'run.sh'}")
    return folder


def take_back(source: Path, target: Path | None, display: Display) -> Path:
    """Merges verl's newest checkpoint under `source`, a handover's folder, or the checkpoint that `source` is, into `target`, a new
    folder (None: model-step-N in the handover's). Raises UserError."""
    from gapo_cli.integrations.verl_back import find_checkpoint, merge

    checkpoint = find_checkpoint(source)
    target = target or checkpoint.handover / f"model-step-{checkpoint.step}"
    check_new(target, str(target))
    display.say(f"merging {checkpoint.actor}")
    merge(checkpoint, target)
    display.say(
        f"{target}: the model after step {checkpoint.step}, in bfloat16 as verl merges it; measure it with: gapo eval model.path={target}"
    )
    return target
