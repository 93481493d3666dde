"""Which layout of groups a model's attention can compute: asked for, tried, and what is taken instead."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from gapo_cli.errors import UserError, first_line
from gapo_cli.models.packing.shared_prefix import NO_MASK, shared_prefix_inputs
from gapo_cli.models.packing.spans import Span
from gapo_cli.models.sharding import is_sharded, passing

if TYPE_CHECKING:
    from gapo_cli.models.loaded import LoadedModel


PROBED_WIDTHS = 256, 400
"""Tokens. torch.compile makes a kernel for the first, and at the second one for any number."""


def takes_shared_prefixes(policy: LoadedModel) -> bool:
    """Whether every layer of the policy really calls it: found out by a pass over two tokens."""
    model, probe = policy.model, _Probe()
    device = model.get_output_embeddings().weight.device
    tokens = torch.zeros(1, 2, dtype=torch.int64, device=device)
    try:
        with torch.no_grad(), policy.autocast():  # without it frozen weights in half precision meet float32 states
            inputs = {"input_ids": tokens, "attention_mask": NO_MASK.to(device), "use_cache": False, "shared_prefix": probe}
            passing(model, lambda: model.get_decoder()(**inputs).last_hidden_state)
    except TypeError:  # a forward of its own that has no room for further keyword arguments
        return False
    return len(probe.layers) == model.config.get_text_config().num_hidden_layers


def usable_layout(
    layout: str, policy: LoadedModel, key: str = "trainer.layout", otherwise: str = "masked", dropout: bool = False
) -> tuple[str, str | None]:
    """`layout`, or `otherwise` where the policy has no attention for "packed", with a sentence that says so; where its weights are
    shared, UserError. `key`: of the setting. `dropout`: whether passes drop out what the model's config says, as in training mode."""
    if layout != "packed":
        return layout, None
    dropped = getattr(policy.model.config.get_text_config(), "attention_dropout", 0.0)
    if dropout and dropped:
        return (
            otherwise,
            f"{key}=packed: has no attention dropout, and the model's config asks for {dropped}; using {otherwise}",
        )
    reason = None
    if not takes_shared_prefixes(policy):
        reason = f"the attention of {type(policy.model).__name__} cannot be replaced"
    elif torch.device(policy.device).type != "cpu":
        reason = _why_flex_attention_fails(policy)
    if reason is None:
        return layout, None
    if policy.sharded:  # a pass that was broken off has left weights gathered
        raise UserError(f"{key}=packed: {reason}; with trainer.shard=true give {key}={otherwise}")
    return otherwise, f"{key}=packed: {reason}; using {otherwise}, the same numbers with more arithmetic"


def _why_flex_attention_fails(policy: LoadedModel) -> str | None:
    """Found out by compiling and running it, forward and backward, for one length and then for lengths of any size."""
    try:
        for width in PROBED_WIDTHS:
            _pass_packed(policy, width)
    except torch.OutOfMemoryError:
        raise  # a dense mask takes more
    except Exception as error:  # noqa: BLE001 whatever compiler or driver lack, there is another way to the same numbers
        cause = f"{type(error).__name__}: {first_line(error)}"
        return f"flex_attention does not run on trainer.device={policy.device} ({cause})"
    return None


def _pass_packed(policy: LoadedModel, width: int) -> None:
    """Forward and backward over one sequence of so many tokens."""
    model, device = policy.model, torch.device(policy.device)
    tokens = torch.zeros(1, width, dtype=torch.int64, device=device)
    inputs = shared_prefix_inputs([Span(range(width), ())], device)
    with policy.autocast():
        hidden = passing(model, lambda: model.get_decoder()(input_ids=tokens, use_cache=False, **inputs).last_hidden_state)
    if is_sharded(model):  # there autograd.grad knows no weights
        hidden.float().sum().backward()
        model.zero_grad(set_to_none=True)
    else:
        torch.autograd.grad(hidden.float().sum(), next(one for one in model.parameters() if one.requires_grad))


class _Probe:
    def __init__(self) -> None:
        self.layers: set[int] = set()

    def attend(self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float) -> torch.Tensor:
        self.layers.add(layer)
        return query.transpose(1, 2).contiguous()
