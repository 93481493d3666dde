"""The model that is trained: loaded, checked for being trainable, with its gradients' memory as the settings say."""

from __future__ import annotations

from dataclasses import replace

import torch

from gapo_cli.config.checks import require
from gapo_cli.config.model import ModelConfig
from gapo_cli.config.trainer import TrainerConfig
from gapo_cli.errors import UserError
from gapo_cli.models.folders import HUB_SNAPSHOTS, find_folder
from gapo_cli.models.gradient_checkpointing import checkpoint_layers
from gapo_cli.models.linear import use_onednn
from gapo_cli.models.load import load_model
from gapo_cli.models.loaded import LoadedModel
from gapo_cli.models.lora import POLICY, add_adapter, has_adapter
from gapo_cli.models.sharding import shard


def load_policy(config: ModelConfig, trainer: TrainerConfig) -> LoadedModel:
    """With `config.lora.rank` a model that has no adapter gets a new one. Raises what `load_model` does, and UserError for
    adapters that cannot be made or differ from the loaded one, and for weights to train that are held in half precision. With
    `trainer.shard` all ranks call it."""
    policy = load_model(config, "cpu" if trainer.shard else trainer.device, trainer.dtype)
    rank = config.lora.rank
    if has_adapter(policy.model):
        loaded = policy.model.peft_config[POLICY].r
        require(
            rank in (0, loaded),
            f"model.lora.rank={rank}: the adapter at model.path={config.path} has rank {loaded}; give that, or merge it first by "
            "`gapo export` and start a new one",
        )
    elif rank:
        adapted = add_adapter(policy.model, config.lora, _lasting_name(config)).to(policy.device).eval()
        use_onednn(adapted)  # as an adapter that is loaded, or a resumed run would not be bit for bit the same
        policy = replace(policy, model=adapted)
    if any(parameter.requires_grad and parameter.dtype != torch.float32 for parameter in policy.model.parameters()):
        raise UserError(
            f"model.dtype={config.dtype}: all weights are trained here, and steps as small as a learning rate's are lost in half precision; "
            "use model.dtype=float32 (trainer.dtype=bfloat16 computes in half precision all the same), or train adapters by model.lora.rank=16"
        )
    if trainer.gradient_checkpointing:
        checkpoint_layers(policy.model)
    if not trainer.shard:
        return policy
    require(
        not has_adapter(policy.model),
        f"trainer.shard=true: model.path={config.path} is an adapter, whose base is not shared; set it to false, or merge the adapter "
        "first by `gapo export`",
    )
    return shard(policy, trainer.device)


def _lasting_name(config: ModelConfig) -> str:
    """What an adapter's files call their base: they are read elsewhere and later, so a hub name stays one and all else is said
    in full."""
    folder = find_folder(config)
    return config.path if folder.parent.name == HUB_SNAPSHOTS else str(folder.resolve())
