"""A model's architecture as a few figures, read from its config.json: no weights, no torch."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from gapo_cli.config.model import ModelConfig, ShapeConfig
from gapo_cli.config.typed import build_section
from gapo_cli.errors import CheckpointError, UserError
from gapo_cli.models.folders import ADAPTER_CONFIG, CONFIG, base_of, find_folder, is_adapter

FAMILIES = ("llama", "mistral", "qwen2", "qwen3")
"""The `model_type`s whose layers these figures describe."""
SHIPPED = "asset:"


def find_shape(config: ModelConfig) -> ShapeConfig:
    """The figures of `model.path`: of its config.json where that is here or can be fetched, or else of `model.shape`.
    Raises UserError naming what is missing."""
    here = config.path.startswith(SHIPPED) or Path(config.path).expanduser().exists()
    if not here and config.shape is not None:
        return config.shape
    try:
        folder = find_folder(config, (CONFIG, ADAPTER_CONFIG))
    except CheckpointError as error:
        figures = "{layers: ..., hidden_size: ..., ...}"
        raise CheckpointError(f"{error}; or give the figures with model.shape={figures}") from error
    if is_adapter(folder):
        return find_shape(replace(config, path=base_of(folder)))
    path = folder / CONFIG
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"model.path={config.path}: {path} cannot be read ({error.strerror}); copy it there") from error
    except ValueError as error:
        raise CheckpointError(f"{path}: damaged ({error}); copy it again") from error
    return shape_of(values, str(path))


def shape_of(values: Any, where: str) -> ShapeConfig:
    """The figures in the values of a config.json. Raises UserError for an architecture that they do not describe."""
    family = values.get("model_type") if isinstance(values, dict) else None
    if family not in FAMILIES:
        raise UserError(f"{where}: model_type {family}: gapo plan knows the layers of {', '.join(FAMILIES)}")
    heads, width = values.get("num_attention_heads"), values.get("hidden_size")
    divided = width // heads if isinstance(width, int) and isinstance(heads, int) and heads else None
    found = {
        "layers": values.get("num_hidden_layers"),
        "hidden_size": width,
        "heads": heads,
        "key_value_heads": values.get("num_key_value_heads") or heads,
        "head_size": values.get("head_dim") or divided,
        "feed_forward_size": values.get("intermediate_size"),
        "vocabulary": values.get("vocab_size"),
        "tied_embeddings": values.get("tie_word_embeddings", False),
        # Qwen2 has these biases whatever its config says
        "attention_bias": family == "qwen2" or values.get("attention_bias", False),
        "query_key_norm": family == "qwen3",
    }
    return build_section(ShapeConfig, found, where)
