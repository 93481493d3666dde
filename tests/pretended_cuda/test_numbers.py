"""What the package computes on the pretended GPU is what it computes on the CPU."""

import pytest
from closeness import PRECISION, apart

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("dtype", PRECISION)
def test_logprobs_and_gradients_are_the_cpus_in_each_layout(gpu, model, dtype):
    expected = gpu.ask("passes", model=model, device="cpu", dtype=dtype, layouts=["padded"])["padded"]
    found = gpu.ask("passes", model=model, device="cuda", dtype=dtype)
    assert set(found) == {"packed", "masked", "padded"}
    for layout in found:
        assert apart(found[layout]["logprobs"], expected["logprobs"]) < PRECISION[dtype], layout
        assert apart(found[layout]["gradient"], expected["gradient"]) < PRECISION[dtype], layout


def test_bfloat16_is_computed_in(gpu, model):
    """An autocast of another device than the tensors' would change nothing, without an error."""
    half, whole = (
        gpu.ask("passes", model=model, device="cuda", dtype=dtype, layouts=["packed"])["packed"]
        for dtype in ("bfloat16", "float32")
    )
    assert apart(half["logprobs"], whole["logprobs"]) > 10 * PRECISION["float32"]


def test_sampled_tokens_are_the_cpus(gpu, model):
    assert gpu.ask("tokens", model=model, device="cuda") == gpu.ask("tokens", model=model, device="cpu")


def test_an_update_with_every_term_is_the_cpus(gpu, model):
    expected, found = (gpu.ask("update", model=model, device=device) for device in ("cpu", "cuda"))
    assert found["metrics"] == pytest.approx(expected["metrics"], rel=1e-3, abs=1e-5)
    assert apart(found["weights"], expected["weights"]) < 1e-5
