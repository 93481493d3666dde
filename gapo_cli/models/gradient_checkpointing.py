"""Gradient checkpointing (arXiv:1604.06174): a layer's activations are made again in the backward pass instead of kept.

transformers has a switch for it that acts in training mode only. Policies stay in evaluation mode while they learn by RL
(a dropout between rollout and update would make two policies of one), so here it acts wherever gradients are wanted.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

from gapo_cli.errors import UserError


def checkpoint_layers(model: Any) -> None:
    """From now on each layer of the trunk keeps its input only. Passes without gradient, sampling among them, are as before.
    Raises UserError for a model whose layers cannot do it."""
    layers = layers_of(model)
    if not layers:
        raise UserError(
            f"trainer.gradient_checkpointing=true: {type(model).__name__} has no layers that can do it; set it to false"
        )
    for layer in layers:
        layer.forward = functools.partial(_checkpointed, layer.forward)


def layers_of(model: Any) -> list[Any]:
    """Those of the trunk that can, none for a model that transformers has not written so."""
    return [module for module in model.get_decoder().modules() if isinstance(module, GradientCheckpointingLayer)]


def _checkpointed(forward: Callable[..., Any], *inputs: Any, **settings: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*inputs, **settings)
    return checkpoint(forward, *inputs, use_reentrant=False, **settings)
