"""How close numbers of the pretended GPU must be to the CPU's."""

import torch

PRECISION = {"float32": 1e-4, "bfloat16": 0.06}
"""Relative, of all log-probabilities or of a whole gradient: kernels sum in another order."""


def apart(found, expected):
    """|difference| / |expected|"""
    found, expected = torch.as_tensor(found), torch.as_tensor(expected)
    return float((found - expected).norm() / expected.norm())
