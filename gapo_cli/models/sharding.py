"""Weights that several ranks share (trainer.shard=true): of each, a rank holds its part, and of its gradient and moments too.

By FSDP2 (torch's fully_shard; ZeRO stage 3, arXiv:1910.02054). A layer's weights are gathered when a pass comes to it and let go behind
it. Only a pass that goes through the model's own `forward` is noticed by FSDP, so that runs whatever function it is given
(`passing`). Each pass waits for all ranks: they make equally many.

FSDP takes the mean of the ranks' gradients, and a loss here is a sum that each has a part of. Gradients are therefore multiplied by
the number of ranks where they enter the model. (`set_gradient_divide_factor(1.0)` asks gloo for what it cannot do.)
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from gapo_cli.errors import UserError
from gapo_cli.processes.ranks import Ranks

if TYPE_CHECKING:
    from gapo_cli.models.loaded import LoadedModel

Value = TypeVar("Value")


def shard(loaded: LoadedModel, device: str) -> LoadedModel:
    """The model, which is on the CPU, divided among all ranks, this one's part on `device`. Raises UserError for one whose layers
    cannot be told."""
    model = loaded.model
    frame = without_weights(model)
    divide(model, device)
    return replace(loaded, device=device, frame=frame)


def divide(model: Any, device: str) -> None:
    """Divides the weights in place."""
    import torch.distributed as dist
    from torch.distributed.device_mesh import DeviceMesh
    from torch.distributed.fsdp import fully_shard

    from gapo_cli.models.gradient_checkpointing import layers_of

    layers = layers_of(model)
    if not layers:
        raise UserError(f"trainer.shard=true: {type(model).__name__} has no layers that can be divided; set it to false")
    mesh = DeviceMesh.from_group(dist.group.WORLD, torch.device(device).type)
    for part in (*layers, model):
        fully_shard(part, mesh=mesh, reshard_after_forward=True)
    model.forward = functools.partial(_run, dist.get_world_size())


def is_sharded(model: Any) -> bool:
    return getattr(getattr(model, "forward", None), "func", None) is _run


def passing(model: Any, do: Callable[[], Value]) -> Value:
    """What `do` returns, a tensor or a tuple of them, which may run trunk and head of the model. Of a sharded model all ranks call it."""
    return model(do) if is_sharded(model) else do()


def _run(ranks: int, do: Callable[[], Any]) -> Any:
    found = do()
    return tuple(_summed(one, ranks) for one in found) if isinstance(found, tuple) else _summed(found, ranks)


def _summed(found: Any, ranks: int) -> Any:
    """The tensor, with `ranks` times its gradient behind it."""
    if not (isinstance(found, torch.Tensor) and found.requires_grad):
        return found
    seen = found.clone()  # what else is made of the tensor within the pass has its gradient already
    seen.register_hook(lambda gradient: gradient * ranks)
    return seen


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """All of a tensor that ranks have parts of, which all of them call for; any other as it is."""
    return tensor.full_tensor() if is_part(tensor) else tensor


def here(tensor: torch.Tensor) -> torch.Tensor:
    """This rank's part of a tensor; all of one that is not shared."""
    return tensor.to_local() if is_part(tensor) else tensor


def is_part(tensor: Any) -> bool:
    """Whether it is a tensor of which other ranks have the rest."""
    return hasattr(tensor, "full_tensor")


def part_of(tensor: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """This rank's part of a whole tensor, divided as `like` is; the tensor itself where that is not."""
    if not is_part(like):
        return tensor
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(tensor.detach().to(like.device), like.device_mesh, like.placements, src_data_rank=None)


def without_weights(model: Any) -> Any:
    """A copy whose parameters have shapes and no memory; `fill` gives it some."""
    empty = {
        id(one): torch.nn.Parameter(torch.empty_like(one, device="meta"), requires_grad=False) for one in model.parameters()
    }
    return copy.deepcopy(model, empty)


def whole_weights(model: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """(name, tensor) of every parameter, each gathered when it is reached. All ranks run through all of them."""
    for name, parameter in model.named_parameters():
        yield name, whole(parameter.detach())


def fill(frame: Any, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
    """Gives a copy without weights those of the model that it is a copy of; tied ones stay one."""
    places: dict[int, list[tuple[Any, str]]] = {}
    for module in frame.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                places.setdefault(id(parameter), []).append((module, name))
    named = {name: id(parameter) for name, parameter in frame.named_parameters()}
    for name, tensor in weights:
        filled = torch.nn.Parameter(tensor, requires_grad=False)
        for module, own in places[named[name]]:
            module._parameters[own] = filled


def empty(frame: Any) -> None:
    """Lets go of what `fill` gave."""
    fill(frame, ((name, torch.empty_like(one, device="meta")) for name, one in frame.named_parameters()))


def whole_on_first(policy: LoadedModel, ranks: Ranks) -> LoadedModel:
    """A policy whose weights are shared, with all of them on rank 0's CPU and none on the others; any other as it is. All ranks call
    it."""
    if policy.frame is None:
        return policy

    def gather() -> dict[str, torch.Tensor]:
        # what is not wanted here is let go tensor by tensor
        return {name: tensor.cpu() for name, tensor in whole_weights(policy.model) if ranks.first}

    model = copy.deepcopy(policy.frame)
    weights = ranks.together(gather, waiting=True)
    if ranks.first:
        fill(model, weights.items())
        model.to("cpu")
    return replace(policy, model=model, device="cpu", frame=None)
