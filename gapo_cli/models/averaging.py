"""The mean of several models' weights: a model soup (Wortsman et al. 2022, arXiv:2203.05482)."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from gapo_cli.errors import CheckpointError
from gapo_cli.models.folders import CONFIG, is_adapter
from gapo_cli.models.saving import model_folder

WEIGHTS = "model.safetensors"
BESIDE = (
    CONFIG, "generation_config.json", "tokenizer*.json", "special_tokens_map.json", "added_tokens.json", "vocab.json", "*.model",
    "*.txt", "*.jinja",
)  # fmt: skip
"""What a model has beside its weights; a checkpoint's folder also holds the trainer's state, which no mean exists of."""


def average_models(folders: Sequence[Path], target: Path) -> Path:
    """Writes a model whose weights are the means of those in `folders`, with equal shares, in their own precision; the rest of it
    is the first one's. Tensors that are no floating-point numbers must be equal. Raises CheckpointError for adapters, whose product
    is not the mean of their products, and for models of several files or of different shapes."""
    import torch
    from safetensors.torch import load_file, save_file

    for folder in folders:
        if is_adapter(folder):
            raise CheckpointError(f"{folder}: is an adapter, and adapters cannot be averaged; train with model.lora.rank=0")
        if not (folder / WEIGHTS).is_file():
            raise CheckpointError(f"{folder}: has no {WEIGHTS}; only models in one file can be averaged")
    first, *others = [load_file(folder / WEIGHTS) for folder in folders]
    mean = {}
    for name, tensor in first.items():
        rest = [other.get(name) for other in others]
        if any(one is None or one.shape != tensor.shape for one in rest) or any(set(other) != set(first) for other in others):
            raise CheckpointError(f"{' and '.join(map(str, folders))}: have other weights ({name}), and cannot be averaged")
        if tensor.is_floating_point():
            # float64: the mean of equal weights is these weights
            mean[name] = torch.stack([one.double() for one in (tensor, *rest)]).mean(0).to(tensor.dtype).contiguous()
        else:
            mean[name] = tensor
    with model_folder(target) as written:
        written.mkdir()
        for path in (path for pattern in BESIDE for path in folders[0].glob(pattern)):
            shutil.copyfile(path, written / path.name)
        save_file(mean, written / WEIGHTS, {"format": "pt"})
    return target
