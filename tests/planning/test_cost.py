"""Parameters, operations and bytes of a pass, derived by hand."""

import pytest

from gapo_cli.config.model import ShapeConfig
from gapo_cli.planning.cost import (
    activations,
    adapter_parameters,
    backward_flops,
    cache,
    forward_flops,
    logits,
    matrix_parameters,
    parameters,
)
from gapo_cli.training.batches.passes import Pass

# per layer: queries 4 x 6, keys and values 4 x 3 each, output 6 x 4, gate, up and down 4 x 5 each: 24 + 12 + 12 + 24 + 60 = 132
SHAPE = ShapeConfig(layers=2, hidden_size=4, heads=2, key_value_heads=1, head_size=3, feed_forward_size=5, vocabulary=10)
# two rows of three tokens under a dense mask: 6 tokens, 2 x 3 x 3 = 18 pairs
TWO_ROWS = Pass(tokens=6, predicted=4, pairs=18, masked=18)


def test_parameters_are_matrices_norms_embedding_and_head():
    assert matrix_parameters(SHAPE) == 2 * 132
    # norms: two of 4 a layer and one at the end, 20; embedding and head 40 each
    assert parameters(SHAPE) == 264 + 20 + 80


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"tied_embeddings": True}, -40),
        # queries of 2 heads, keys and values of 1: 4 x 3 a layer
        ({"attention_bias": True}, 24),
        # one vector of 3 for queries and one for keys a layer
        ({"query_key_norm": True}, 12),
    ],
)
def test_parameters_of_the_families_differ_by(change, difference):
    changed = ShapeConfig(**{field: getattr(SHAPE, field) for field in SHAPE.__dataclass_fields__} | change)
    assert parameters(changed) - parameters(SHAPE) == difference


def test_an_adapter_has_two_thin_matrices_for_each_target():
    # queries (4 + 6) x 2, down (5 + 4) x 2, in two layers; a name that the layers do not have counts nothing
    assert adapter_parameters(SHAPE, rank=2, targets=("q_proj", "down_proj", "w1")) == 2 * (20 + 18)


def test_operations_of_a_forward_pass():
    # matrices 2 x 264 x 6 tokens, head 2 x 40 x 4 positions, attention 2 products x 2 x 6 numbers x 2 layers x 18 pairs
    assert forward_flops(SHAPE, TWO_ROWS) == 3168 + 320 + 864


def test_the_backward_pass_makes_twice_the_matrices_and_two_and_a_half_times_the_attention():
    assert backward_flops(SHAPE, TWO_ROWS) == 2 * (3168 + 320) + 2.5 * 864
    # frozen matrices have no gradient of their own
    assert backward_flops(SHAPE, TWO_ROWS, adapters=True) == 3168 + 320 + 2.5 * 864


def test_activations_are_so_many_vectors_a_token_and_a_mask_a_layer():
    # float32: (6 x 4 + 4 x 6 + 4 x 5) numbers x 4 bytes x 6 tokens + 18 pairs x 4 bytes, in two layers
    assert activations(SHAPE, TWO_ROWS, "float32", adapters=False, checkpointing=False) == 2 * (68 * 4 * 6 + 72)
    # kept of both layers is only the input, 4 numbers a token; the rest is one layer's
    assert activations(SHAPE, TWO_ROWS, "float32", adapters=False, checkpointing=True) == 2 * 4 * 4 * 6 + (68 * 4 * 6 + 72)


def test_without_a_dense_mask_no_pair_is_kept():
    assert activations(SHAPE, Pass(6, 4, 18), "float32", adapters=False, checkpointing=False) == 2 * (68 * 4 * 6)


def test_half_precision_halves_what_is_not_a_norm():
    # hidden 4 x 4 + 5 x 2 = 26 bytes a number, heads and feed-forward 4 x 2 each, pairs 2
    assert activations(SHAPE, TWO_ROWS, "bfloat16", adapters=False, checkpointing=False) == 2 * (
        (26 * 4 + 8 * 6 + 8 * 5) * 6 + 36
    )


def test_logits_and_cache():
    # three float32 matrices of 4 x 10; keys and values of 7 tokens, 2 layers, 1 head of 3
    assert logits(SHAPE, 4) == 3 * 4 * 4 * 10
    assert cache(SHAPE, 7, "float32") == 2 * 2 * 3 * 4 * 7
    assert cache(SHAPE, 7, "bfloat16") == 2 * 2 * 3 * 2 * 7
