"""Attention that knows which tokens share a prompt: a model's layers call it where a pass brings it, else their own.

A forward pass gets an object as keyword argument `shared_prefix`; each attention layer then calls its `attend` with what
projections, norms and positions of the model have made. On a CPU it is SplitAttention, on a GPU FlexAttention. A dense mask
says the same thing to the model's own kernel, which computes all that it masks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import torch
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from gapo_cli.errors import first_line
from gapo_cli.models.flex_attention import FlexAttention
from gapo_cli.models.spans import Span
from gapo_cli.models.split_attention import SplitAttention

if TYPE_CHECKING:  # which imports this module
    from gapo_cli.models.load import LoadedModel

NAME = "gapo_sdpa"
NO_MASK = torch.zeros(1, 1, 1, 1)
"""A mask of four dimensions is passed on as it is, so that transformers makes none of its own."""
PROBED_WIDTHS = 256, 400
"""Tokens. torch.compile makes a kernel for the first, and at the second one for any number."""


class SharedPrefix(Protocol):
    """`attend`: what the queries (B, H, T, D) of layer `layer` make of keys and values (B, key-value heads, T, D) →
    (B, T, H, D)."""

    def attend(self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float) -> torch.Tensor: ...


def _attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    shared_prefix: SharedPrefix | None = None,
    **settings: Any,
) -> tuple[torch.Tensor, None]:
    """As transformers calls it. A window is not looked at: a model is loaded where its window covers the context only."""
    if shared_prefix is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **settings)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    return shared_prefix.attend(module.layer_idx, query, key, value, scale), None


AttentionInterface.register(NAME, _attention)
AttentionMaskInterface.register(NAME, sdpa_mask)


def take_shared_prefixes(model: Any) -> None:
    """From now on the layers of `model` know `shared_prefix`; without it they do what they did. A model whose attention is
    its own code stays as it is."""
    if model.config._attn_implementation == "sdpa" and model._can_set_attn_implementation():
        model.set_attn_implementation(NAME)


def shared_prefix_inputs(spans: Sequence[Span], device: torch.device) -> dict[str, Any]:
    """What the trunk of a model is called with, beside tokens and positions, for one row of groups on `device`."""
    kind = SplitAttention if device.type == "cpu" else FlexAttention
    return {"attention_mask": NO_MASK.to(device), "shared_prefix": kind.of(spans, device)}


def takes_shared_prefixes(policy: LoadedModel) -> bool:
    """Whether every layer of the policy really calls it: found out by a pass over two tokens."""
    model, probe = policy.model, _Probe()
    device = model.get_output_embeddings().weight.device
    tokens = torch.zeros(1, 2, dtype=torch.int64, device=device)
    try:
        with torch.no_grad(), policy.autocast():  # without it frozen weights in half precision meet float32 states
            model.get_decoder()(input_ids=tokens, attention_mask=NO_MASK.to(device), use_cache=False, shared_prefix=probe)
    except TypeError:  # a forward of its own that has no room for further keyword arguments
        return False
    return len(probe.layers) == model.config.get_text_config().num_hidden_layers


def usable_layout(
    layout: str, policy: LoadedModel, key: str = "trainer.layout", otherwise: str = "masked", dropout: bool = False
) -> tuple[str, str | None]:
    """`layout`, or `otherwise` where the policy has no attention for "packed", with a sentence that says so. `key`: of the
    setting. `dropout`: whether passes drop out what the model's config says, as in training mode."""
    if layout != "packed":
        return layout, None
    dropped = getattr(policy.model.config.get_text_config(), "attention_dropout", 0.0)
    if dropout and dropped:
        return (
            otherwise,
            f"{key}=packed: has no dropout in its attention, and the model's config says {dropped}; using {otherwise}",
        )
    reason = None
    if not takes_shared_prefixes(policy):
        reason = f"the attention of {type(policy.model).__name__} is its own"
    elif torch.device(policy.device).type != "cpu":
        reason = _why_flex_attention_fails(policy)
    if reason is None:
        return layout, None
    return otherwise, f"{key}=packed: {reason}; using {otherwise}, the same numbers with more arithmetic"


def _why_flex_attention_fails(policy: LoadedModel) -> str | None:
    """Found out by compiling and running it, forward and backward, for one length and then for lengths of any size."""
    device = torch.device(policy.device)
    trained = next(parameter for parameter in policy.model.parameters() if parameter.requires_grad)
    try:
        for width in PROBED_WIDTHS:
            tokens = torch.zeros(1, width, dtype=torch.int64, device=device)
            inputs = shared_prefix_inputs([Span(range(width), ())], device)
            with policy.autocast():
                hidden = policy.model.get_decoder()(input_ids=tokens, use_cache=False, **inputs).last_hidden_state
            torch.autograd.grad(hidden.float().sum(), trained)
    except torch.OutOfMemoryError:
        raise  # a dense mask takes more
    except Exception as error:  # noqa: BLE001 whatever compiler or driver lack, there is another way to the same numbers
        cause = f"{type(error).__name__}: {first_line(error)}"
        return f"flex_attention does not run on trainer.device={policy.device} ({cause})"
    return None


class _Probe:
    def __init__(self) -> None:
        self.layers: set[int] = set()

    def attend(self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float) -> torch.Tensor:
        self.layers.add(layer)
        return query.transpose(1, 2).contiguous()
