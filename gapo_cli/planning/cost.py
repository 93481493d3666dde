"""What a pass through a decoder costs: parameters, floating-point operations and bytes, by formula, without a model.

Counted is what the layers of Llama, Mistral, Qwen2 and Qwen3 do here: PyTorch's scaled-dot-product attention of the pairs that
a layout computes, and the head at the positions that predict an answer's token. Norms, rotations and other element-wise work is
left out of the operations, which the matrices decide at any size; of the bytes all is counted that a layer keeps for its backward
pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gapo_cli.config.model import ShapeConfig
from gapo_cli.training.batches.passes import Pass

BYTES = {"float32": 4, "bfloat16": 2}
MULTIPLY_ADD = 2
"""Operations of one multiplication with its addition."""
BACKWARD_ATTENTION = 2.5
"""The fused kernel's backward pass makes five products where the forward pass makes two: the scores are made again."""
LOGITS_AT_PEAK = 3
"""(positions, vocabulary) matrices in float32 that are there at once when the loss goes back through the softmax."""


@dataclass(frozen=True, slots=True)
class Kept:
    """Bytes that a layer keeps of a token for the backward pass: so many for each number of the hidden size, of all heads
    together, and of the feed-forward size; and so many for each pair of the mask."""

    hidden: int
    heads: int
    feed_forward: int
    pair: int


KEPT = {
    # Before, within and after each of two norms; queries, answers, and keys and values repeated for each query head; gate, its
    # activation, up, their product. Each layer has a dense mask of its own, in floating point.
    ("float32", False): Kept(hidden=6 * 4, heads=4 * 4, feed_forward=4 * 4, pair=4),
    # Norms stay in float32 (their outputs, 2 x 2 numbers); each of five matrices casts its input again.
    ("bfloat16", False): Kept(hidden=4 * 4 + 5 * 2, heads=4 * 2, feed_forward=4 * 2, pair=2),
    # Norms that are not trained keep no normalised input.
    ("float32", True): Kept(hidden=4 * 4, heads=4 * 4, feed_forward=4 * 4, pair=4),
    ("bfloat16", True): Kept(hidden=2 * 4 + 6 * 2, heads=4 * 2, feed_forward=4 * 2, pair=2),
}
"""By what passes compute in and whether only adapters are trained. Counted among autograd's saved tensors (docs/how-to/plan-a-run.md)."""


def matrices(shape: ShapeConfig) -> dict[str, tuple[int, int]]:
    """Input and output sizes of each matrix of a layer, by the end of its name."""
    heads, keys = shape.heads * shape.head_size, shape.key_value_heads * shape.head_size
    width, inner = shape.hidden_size, shape.feed_forward_size
    return {
        "q_proj": (width, heads), "k_proj": (width, keys), "v_proj": (width, keys), "o_proj": (heads, width),
        "gate_proj": (width, inner), "up_proj": (width, inner), "down_proj": (inner, width),
    }  # fmt: skip


def matrix_parameters(shape: ShapeConfig) -> int:
    """Parameters of all layers' matrices, the head left out."""
    return shape.layers * sum(inputs * outputs for inputs, outputs in matrices(shape).values())


def head_parameters(shape: ShapeConfig) -> int:
    """Parameters of the head, which are the embedding's where the two are tied."""
    return shape.vocabulary * shape.hidden_size


def parameters(shape: ShapeConfig) -> int:
    """All parameters; a tied head counts once."""
    biases = (shape.heads + 2 * shape.key_value_heads) * shape.head_size if shape.attention_bias else 0
    norms = 2 * shape.hidden_size + (2 * shape.head_size if shape.query_key_norm else 0)
    tables = head_parameters(shape) * (1 if shape.tied_embeddings else 2)
    return tables + matrix_parameters(shape) + shape.layers * (biases + norms) + shape.hidden_size


def adapter_parameters(shape: ShapeConfig, rank: int, targets: Sequence[str]) -> int:
    """Parameters of low-rank adapters on the matrices whose names end in `targets`."""
    sizes = matrices(shape)
    return shape.layers * sum(rank * sum(sizes[name]) for name in targets if name in sizes)


def token_flops(shape: ShapeConfig) -> int:
    """Operations of the layers' matrices for one token."""
    return MULTIPLY_ADD * matrix_parameters(shape)


def head_flops(shape: ShapeConfig) -> int:
    """Operations of one position's logits."""
    return MULTIPLY_ADD * head_parameters(shape)


def pair_flops(shape: ShapeConfig) -> int:
    """Operations of attention for one query and one key, scores and weighted values, in all layers and heads."""
    return 2 * MULTIPLY_ADD * shape.layers * shape.heads * shape.head_size


def forward_flops(shape: ShapeConfig, one: Pass) -> float:
    return float(token_flops(shape) * one.tokens + head_flops(shape) * one.predicted + pair_flops(shape) * one.pairs)


def backward_flops(shape: ShapeConfig, one: Pass, adapters: bool = False) -> float:
    """A matrix is multiplied with twice, for the gradient of its input and for its own, which with `adapters` nobody wants."""
    products = 1 if adapters else 2
    of_matrices = token_flops(shape) * one.tokens + head_flops(shape) * one.predicted
    return products * of_matrices + BACKWARD_ATTENTION * pair_flops(shape) * one.pairs


def layer_activations(shape: ShapeConfig, one: Pass, dtype: str, adapters: bool) -> int:
    """Bytes that one layer keeps of a pass for its backward pass."""
    kept = KEPT[dtype, adapters]
    of_token = (
        kept.hidden * shape.hidden_size
        + kept.heads * shape.heads * shape.head_size
        + kept.feed_forward * shape.feed_forward_size
    )
    return of_token * one.tokens + kept.pair * one.masked


def activations(shape: ShapeConfig, one: Pass, dtype: str, adapters: bool, checkpointing: bool) -> int:
    """Bytes that a pass keeps for its backward pass; with `checkpointing` the layers' inputs, and one layer's all at a time."""
    layer = layer_activations(shape, one, dtype, adapters)
    if checkpointing:
        return shape.layers * BYTES["float32"] * shape.hidden_size * one.tokens + layer
    return shape.layers * layer


def logits(shape: ShapeConfig, positions: int) -> int:
    """Bytes at the peak where so many positions have their logits at a time."""
    return LOGITS_AT_PEAK * BYTES["float32"] * positions * shape.vocabulary


def cache(shape: ShapeConfig, tokens: int, dtype: str) -> int:
    """Bytes of the keys and values of so many tokens."""
    return 2 * shape.layers * shape.key_value_heads * shape.head_size * BYTES[dtype] * tokens
