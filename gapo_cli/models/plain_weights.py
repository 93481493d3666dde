"""The policy's weights as a plain Hugging Face checkpoint has them: adapters merged, tied matrices once, original names.

What a rollout engine is given after an optimizer step and what an export writes. The policy itself is not changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch

from gapo_cli.models.sharding import whole

if TYPE_CHECKING:
    from gapo_cli.models.loaded import LoadedModel

BASE_LAYER = ".base_layer"
"""peft keeps a wrapped layer's own weights under this name."""


def plain_weights(loaded: LoadedModel) -> Iterator[tuple[str, torch.Tensor]]:
    """(name, tensor) of every weight, in the model's order and on its device, under the names that `save_pretrained` writes.
    Weights that no adapter touches are the policy's own tensors, detached and not copied: read them before the next step.
    A merged weight is made when it is reached, added in float32 and rounded once to the dtype of the base, so that one of
    them is in memory at a time; so is one that ranks have parts of, all of which run through all weights (all of them for the few architectures, mixtures of experts above all, whose weights
    transformers stores otherwise than it computes with them)."""
    from transformers.core_model_loading import revert_weight_conversion

    model = without_adapters(loaded.model)
    if not getattr(model, "_weight_conversions", None):
        yield from _merged(model)
    else:
        yield from revert_weight_conversion(model, dict(_merged(model))).items()


def without_adapters(model: Any) -> Any:
    """The transformers model: itself, or the one that peft has put its layers into."""
    return model.get_base_model() if hasattr(model, "peft_config") and hasattr(model, "get_base_model") else model


def _merged(model: Any) -> Iterator[tuple[str, torch.Tensor]]:
    adapted = {f"{name}.weight": module for name, module in model.named_modules() if hasattr(module, "get_delta_weight")}
    of_adapters = tuple(
        f"{path}.{name}." for path, module in model.named_modules() for name in getattr(module, "adapter_layer_names", ())
    )
    seen: set[int] = set()
    for name, parameter in model.state_dict(keep_vars=True).items():
        if id(parameter) in seen or name.startswith(of_adapters):
            continue
        seen.add(id(parameter))
        plain, weight = name.replace(BASE_LAYER, ""), whole(parameter.detach())
        if plain in adapted:
            weight = _with_delta(adapted[plain], weight)
        yield plain, weight


def _with_delta(layer: Any, weight: torch.Tensor) -> torch.Tensor:
    """`weight` of a peft layer plus what its active adapters add."""
    with torch.no_grad():
        total = weight.float()
        for adapter in layer.active_adapters:
            if adapter in layer.lora_A and adapter not in layer.merged_adapters:
                total = total + layer.get_delta_weight(adapter).float()
        return total.to(weight.dtype)
