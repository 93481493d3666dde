"""The model that is trained: loaded, checked for being trainable, with its gradients' memory as the settings say."""

from __future__ import annotations

import torch

from gapo_cli.config import ModelConfig, TrainerConfig
from gapo_cli.errors import UserError
from gapo_cli.models.gradient_checkpointing import checkpoint_layers
from gapo_cli.models.load import LoadedModel, load_model


def load_policy(config: ModelConfig, trainer: TrainerConfig) -> LoadedModel:
    """Raises what `load_model` does, and UserError where the weights to train are held in half precision."""
    policy = load_model(config, trainer.device, trainer.dtype)
    if any(parameter.requires_grad and parameter.dtype != torch.float32 for parameter in policy.model.parameters()):
        raise UserError(
            f"model.dtype={config.dtype}: all weights are trained here, and steps as small as a learning rate's are lost in half precision; "
            "use model.dtype=float32 (trainer.dtype=bfloat16 computes in half precision all the same), or train adapters by model.lora.rank=16"
        )
    if trainer.gradient_checkpointing:
        checkpoint_layers(policy.model)
    return policy
