"""Writing models: folders that are whole or not there, and the policy as a plain model that needs nothing of ours or peft's."""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from gapo_cli.errors import CheckpointError
from gapo_cli.models.plain_weights import plain_weights, without_adapters
from gapo_cli.models.tokenizer_files import quiet, save_for_servers, save_tokenizer
from gapo_cli.storage.whole_folder import whole_folder

if TYPE_CHECKING:
    from gapo_cli.models.loaded import LoadedModel

SHARD_SIZE = "5GB"


@contextlib.contextmanager
def model_folder(folder: Path) -> Iterator[Path]:
    """`whole_folder` for a model. Raises CheckpointError if it cannot be written (a full disk)."""
    from safetensors import SafetensorError

    try:
        with whole_folder(Path(folder)) as written:
            yield written
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{folder}: the model could not be written ({error}); make room or choose another folder"
        ) from error


def save_plain(loaded: LoadedModel, folder: Path, dtype: str, *, for_servers: bool = False) -> None:
    """Writes the policy with its adapters merged as transformers and vLLM load it, in `dtype` ("float32" or "bfloat16").
    `for_servers`: with a tokenizer's folder for those that need one (`save_for_servers`). The policy stays as it is. All or
    nothing, and errors, as `model_folder`."""
    from huggingface_hub import save_torch_state_dict

    kind = getattr(torch, dtype)
    model = without_adapters(loaded.model)
    config = copy.deepcopy(model.config)
    config.dtype, config.architectures = kind, [type(model).__name__]
    with model_folder(folder) as written, quiet():
        written.mkdir()
        tensors = {
            name: tensor.to("cpu", kind if tensor.is_floating_point() else tensor.dtype).contiguous()
            for name, tensor in plain_weights(loaded)
        }
        save_torch_state_dict(tensors, written, max_shard_size=SHARD_SIZE, metadata={"format": "pt"})
        config.save_pretrained(written)
        model.generation_config.save_pretrained(written)
        save_tokenizer(loaded.tokenizer, written)
        if for_servers:
            save_for_servers(loaded.tokenizer, written)


def stored_dtype(folder: Path) -> str:
    """What the config.json of a model's folder says that its weights are stored in; float32 for what is neither."""
    values: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    named = values.get("dtype") or values.get("torch_dtype")
    return "bfloat16" if named == "bfloat16" else "float32"
