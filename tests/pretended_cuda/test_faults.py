"""The net has no holes where it was tried: each of deliberate_faults.py is noticed."""

import pytest
from closeness import PRECISION, apart
from deliberate_faults import REFUSED, WRONG

pytestmark = pytest.mark.slow


def call_of(fault):
    """The job that comes by the fault, and its settings."""
    if "decoding" in fault.place:
        return {"call": "tokens"}
    if "mini_batches" in fault.place:
        return {"call": "update"}
    return {"call": "passes", "dtype": "bfloat16", "layouts": ["packed", "masked"]}


@pytest.mark.parametrize("name", REFUSED)
def test_a_fault_of_devices_stops_the_run(gpu, model, name):
    words = "same device|indexed by a|to numpy|mixed query|reads int32|block_mask was created"
    with pytest.raises(RuntimeError, match=words):
        gpu.ask("with_fault", name=name, model=model, device="cuda", **call_of(REFUSED[name]))


@pytest.fixture(scope="module")
def gradient(gpu, model):
    return gpu.ask("passes", model=model, device="cpu", layouts=["padded"])["padded"]["gradient"]


@pytest.mark.parametrize("name", WRONG)
def test_a_fault_of_the_mask_changes_the_gradient(gpu, model, gradient, name):
    found = gpu.ask("with_fault", name=name, call="passes", model=model, device="cuda", layouts=["packed"])
    assert apart(found["packed"]["gradient"], gradient) > 10 * PRECISION["float32"]
