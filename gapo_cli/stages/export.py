"""gapo export: a checkpoint as a plain model in Hugging Face format, its adapter merged, for whatever loads such models."""

from __future__ import annotations

from pathlib import Path

from gapo_cli.config.checks import one_of
from gapo_cli.config.model import DTYPES, ModelConfig
from gapo_cli.errors import CheckpointError
from gapo_cli.interfaces import Display
from gapo_cli.models.folders import base_of, find_folder, holds_model, is_adapter
from gapo_cli.runs.claim import check_new
from gapo_cli.runs.layout import FINAL

AS_STORED = "auto"


def export(source: Path, target: Path, dtype: str, display: Display) -> Path:
    """Writes the model of a run (its best checkpoint, else its last one) or of a model's or adapter's folder into `target`, a
    new folder. `dtype`: of the weights; "auto": as the model, or the adapter's base, is stored. Raises UserError."""
    one_of("--dtype", dtype, (AS_STORED, *DTYPES))
    check_new(target, str(target))
    checkpoint = find_model(source)
    from gapo_cli.models.load import load_model
    from gapo_cli.models.saving import save_plain, stored_dtype
    from gapo_cli.models.tokenizer_files import SERVED_TOKENIZER

    base = base_of(checkpoint) if is_adapter(checkpoint) else None
    # a base that is stored in half precision is as exact in it, and its adapter is added in float32 in any case
    held = stored_dtype(find_folder(ModelConfig("base", base, 1)) if base else checkpoint)
    loaded = load_model(ModelConfig(source.name, str(checkpoint), context_length=1, dtype=held), dtype=held)
    written = held if dtype == AS_STORED else dtype
    save_plain(loaded, target, written, for_servers=True)
    merged = f", merged into {base}" if base else ""
    display.say(f"{target}: {checkpoint}{merged}, in {written}")
    if (target / SERVED_TOKENIZER).is_dir():
        display.say(
            f"transformers would split text otherwise than this model's tokenizer does: serve it with --tokenizer "
            f"{target / SERVED_TOKENIZER}"
        )
    return target


def find_model(source: Path) -> Path:
    """The folder with a model or an adapter that `source` means. Raises CheckpointError."""
    from gapo_cli.runs.layout import BEST, CHECKPOINTS
    from gapo_cli.training.checkpoints.checkpoints import path_of, steps_of

    if not source.is_dir():
        raise CheckpointError(f"{source}: no such folder; need a run's folder, one of its checkpoints or a model's folder")
    checkpoints = source / CHECKPOINTS
    steps = [path_of(checkpoints, step) for step in reversed(steps_of(checkpoints))]
    for folder in (source, checkpoints / BEST, checkpoints / FINAL, *steps):
        if holds_model(folder):
            return folder
    raise CheckpointError(f"{source}: holds neither a model nor a run with a checkpoint; name one, as outputs/train/TIME")
