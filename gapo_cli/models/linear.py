"""Linear layers of a float32 model on a CPU computed by oneDNN, which torch has beside MKL and does not use for them.

torch hands float32 matrix products to MKL, which is not at its best on a processor that is not Intel's: on an AMD EPYC with
AVX-512 transformers' generate takes a third less time with these layers (benchmarks/torch_engine.py). On an Intel processor
nobody has measured it. The numbers are float32 in both, summed in another order.
"""

from __future__ import annotations

from typing import Any

import torch

SMALLEST_PRODUCT = 2**19
"""Multiplications from which on oneDNN wins: a call of it costs some 10 µs more than one of MKL."""


def use_onednn(model: torch.nn.Module) -> None:
    """Turns the model's plain linear layers, its head among them, into OneDNNLinear. Where torch has no oneDNN, or no
    operator of the kind, nothing changes. State dicts, copies and adapters stay what they are."""
    if not torch.backends.mkldnn.is_available() or not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return
    for module in model.modules():
        if type(module) is torch.nn.Linear:
            module.__class__ = OneDNNLinear


class OneDNNLinear(torch.nn.Linear):
    """torch.nn.Linear with the same numbers up to float32 rounding. Other dtypes, devices, autocast and compiled code, and
    products that are small, go the way of torch.nn.Linear."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        weight, bias = self.weight, self.bias
        if (
            input.dtype is not torch.float32
            or weight.dtype is not torch.float32
            or input.device.type != "cpu"
            or input.numel() // input.shape[-1] * weight.numel() < SMALLEST_PRODUCT
            or torch.is_autocast_enabled("cpu")
            or torch.compiler.is_compiling()
        ):
            return torch.nn.functional.linear(input, weight, bias)
        if torch.is_grad_enabled():
            return _Product.apply(input, weight, bias)
        return _times(input, weight, bias)


class _Product(torch.autograd.Function):
    """input (..., in), weight (out, in), bias (out,) or None → (..., out)."""

    @staticmethod
    def forward(ctx: Any, input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        ctx.save_for_backward(input, weight)
        return _times(input, weight, bias)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None, torch.Tensor | None]:
        input, weight = ctx.saved_tensors
        wants_input, wants_weight, wants_bias = ctx.needs_input_grad
        gradient = gradient.contiguous()  # that of a sum is one number with strides of 0
        rows = gradient.flatten(0, -2)
        return (
            _times(gradient, weight.t(), None) if wants_input else None,
            _times(rows.t(), input.flatten(0, -2).t(), None) if wants_weight else None,
            rows.sum(0) if wants_bias else None,
        )


def _times(input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """input @ weight.T + bias"""
    return torch.ops.mkldnn._linear_pointwise(input, weight, bias, "none", [], None)
