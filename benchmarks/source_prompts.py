"""Prompts of given lengths for benchmarks of engines: pieces of the source of the Python standard library."""

from __future__ import annotations

import argparse
import ast
import inspect
import statistics
import textwrap
from typing import Any

import numpy as np

MODULES = (argparse, ast, textwrap, statistics)


def source_prompts(tokenizer: Any, count: int, shortest: int, longest: int, seed: int) -> list[tuple[int, ...]]:
    """`count` prompts as token ids, their lengths spread evenly from `shortest` to `longest`."""
    source = tokenizer("".join(inspect.getsource(module) for module in MODULES), add_special_tokens=False)["input_ids"]
    starts = np.random.default_rng(seed).integers(0, len(source) - longest, count)
    lengths = np.linspace(shortest, longest, count).round().astype(int)
    return [tuple(source[start : start + length]) for start, length in zip(starts, lengths, strict=True)]
