"""verl's sharded checkpoint as a plain model folder again, with the tokenizer of the model that training began with.

verl's own merger adds the shards up. The tokenizer beside them is what AutoTokenizer made of the base's, for some models another one.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from gapo_cli.config.model import ModelConfig
from gapo_cli.errors import CheckpointError, UserError
from gapo_cli.integrations.verl_folder import RECORD_FILE
from gapo_cli.integrations.verl_settings import CHECKPOINTS, TOKENIZER_FOLDER, VERL
from gapo_cli.models.folders import ADAPTER_CONFIG, CONFIG
from gapo_cli.models.saving import model_folder
from gapo_cli.models.tokenizer_files import load_tokenizer

NEWEST = "latest_checkpointed_iteration.txt"
STEP = "global_step_"
ADAPTER = "lora_adapter"
WEIGHTS = ("config.json", "generation_config.json", "*.safetensors", "*.safetensors.index.json")


@dataclass(frozen=True)
class VerlCheckpoint:
    handover: Path
    step: int

    @property
    def actor(self) -> Path:
        return self.handover / CHECKPOINTS / f"{STEP}{self.step}" / "actor"


def find_checkpoint(source: Path) -> VerlCheckpoint:
    """The newest in a handover's folder, or the one that `source` is. Raises CheckpointError."""
    named = source.resolve()
    if named.name.startswith(STEP) and named.parent.name == CHECKPOINTS:
        handover, step = named.parents[1], named.name.removeprefix(STEP)
    else:
        handover, newest = source, source / CHECKPOINTS / NEWEST
        if not (source / RECORD_FILE).is_file():
            raise CheckpointError(
                f"{source}: is no folder of `gapo handover verl` (it has no {RECORD_FILE}); name one, or a {STEP}N in it"
            )
        if not newest.is_file():
            raise CheckpointError(f"{source}: verl has written no checkpoint yet; train with {source / 'run.sh'}")
        step = newest.read_text(encoding="utf-8").strip()
    if not step.isdecimal() or not (found := VerlCheckpoint(handover, int(step))).actor.is_dir():
        raise CheckpointError(f"{source}: has no checkpoint {CHECKPOINTS}/{STEP}{step}/actor; name another {STEP}N")
    return found


def merge(checkpoint: VerlCheckpoint, target: Path) -> None:
    """All or nothing. Raises UserError where verl is not installed, CheckpointError where it cannot merge."""
    if importlib.util.find_spec("verl") is None:
        raise UserError(f"gapo handover verl --back needs verl to read its checkpoints: pip install verl=={VERL}")
    with tempfile.TemporaryDirectory(prefix="gapo-verl-") as aside:
        merged = Path(aside) / "merged"
        run_merger(checkpoint.actor, merged)
        tokenizer = load_tokenizer(ModelConfig("base", str(checkpoint.handover), 1), checkpoint.handover / TOKENIZER_FOLDER)
        for path in merged.iterdir():
            if path.is_file() and not any(path.match(pattern) for pattern in WEIGHTS):
                path.unlink()
        tokenizer.save_pretrained(merged)
        if (merged / ADAPTER).is_dir():
            add_adapter(merged, target)
            return
        with model_folder(target) as written:
            shutil.copytree(merged, written)


def run_merger(actor: Path, merged: Path) -> None:
    command = [sys.executable, "-m", "verl.model_merger", "merge", "--backend", "fsdp"]
    ran = subprocess.run(
        [*command, "--local_dir", str(actor), "--target_dir", str(merged)], check=False, capture_output=True, text=True
    )
    if ran.returncode or not (merged / CONFIG).is_file():
        last = (ran.stderr.strip().splitlines() or ["no message"])[-1]
        raise CheckpointError(f"{actor}: verl's merger fails ({last}); look at the checkpoint, or take an earlier one")


def add_adapter(merged: Path, target: Path) -> None:
    """verl's merger leaves LoRA beside the base; here it is added to it."""
    from gapo_cli.models.load import load_model
    from gapo_cli.models.saving import save_plain, stored_dtype

    config = merged / ADAPTER / ADAPTER_CONFIG
    values = json.loads(config.read_text(encoding="utf-8")) | {"base_model_name_or_path": str(merged)}
    config.write_text(json.dumps(values), encoding="utf-8")
    loaded = load_model(ModelConfig(target.name, str(merged / ADAPTER), context_length=1))
    save_plain(loaded, target, stored_dtype(merged))
