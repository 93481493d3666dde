"""oneDNN's linear layers give the numbers of torch's own, forward and backward, and are the same modules otherwise."""

import copy
from dataclasses import replace

import pytest
import torch

from gapo_cli.models.linear import SMALLEST_PRODUCT, OneDNNLinear, use_onednn
from gapo_cli.models.load import load_model, save_model
from gapo_cli.models.packing.layout import pack
from gapo_cli.models.packing.logprobs import completion_logprobs

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch has no oneDNN here")

ROWS, IN, OUT = 32, 256, 128  # 2**20 multiplications, twice the smallest product that goes to oneDNN


@pytest.fixture
def calls(monkeypatch):
    """The shapes that oneDNN was asked for."""
    seen = []
    product = torch.ops.mkldnn._linear_pointwise

    def counted(input, weight, *rest):
        seen.append((*input.shape, weight.shape[0]))
        return product(input, weight, *rest)

    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", counted)
    return seen


def pair(bias: bool) -> tuple[torch.nn.Linear, OneDNNLinear]:
    torch.manual_seed(0)
    plain = torch.nn.Linear(IN, OUT, bias=bias)
    ours = copy.deepcopy(plain)
    use_onednn(ours)
    return plain, ours


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(ROWS, IN), (2, ROWS // 2, IN), (2, 2, ROWS // 4, IN)])
def test_outputs_and_gradients_are_those_of_a_plain_linear_layer(calls, bias, shape):
    assert ROWS * IN * OUT == 2 * SMALLEST_PRODUCT
    plain, ours = pair(bias)
    weights = torch.randn(*shape[:-1], OUT)
    results = []
    for layer in (plain, ours):
        inputs = torch.randn(shape, generator=torch.Generator().manual_seed(1)).requires_grad_()
        outputs = layer(inputs)
        (outputs * weights).sum().backward()
        results.append([outputs, inputs.grad, *(parameter.grad for parameter in layer.parameters())])
    assert len(calls) == 3  # forward and two products backward
    for expected, found in zip(*results, strict=True):
        assert found.shape == expected.shape
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_the_gradient_of_a_plain_sum_is_right(calls):
    plain, ours = pair(bias=True)
    inputs = torch.randn(ROWS, IN)
    for layer in (plain, ours):
        layer(inputs).sum().backward()
    assert len(calls) == 2  # the inputs want no gradient
    torch.testing.assert_close(ours.weight.grad, plain.weight.grad, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours.bias.grad, torch.full((OUT,), float(ROWS)))


def test_frozen_weights_get_no_gradient_and_pass_one_on(calls):
    _, ours = pair(bias=True)
    ours.requires_grad_(False)
    inputs = torch.randn(ROWS, IN, requires_grad=True)
    ours(inputs).sum().backward()
    assert len(calls) == 2
    assert ours.weight.grad is None
    torch.testing.assert_close(inputs.grad, ours.weight.sum(0).expand(ROWS, IN), rtol=1e-5, atol=1e-5)


def test_inputs_that_are_transposed_or_expanded_are_read_as_they_are(calls):
    plain, ours = pair(bias=False)
    with torch.inference_mode():
        for inputs in (torch.randn(IN, ROWS).t(), torch.randn(1, IN).expand(ROWS, IN), torch.randn(ROWS, 2 * IN)[:, ::2]):
            torch.testing.assert_close(ours(inputs), plain(inputs), rtol=1e-5, atol=1e-5)
    assert len(calls) == 3


@pytest.mark.parametrize("what", ["few rows", "no rows", "float64", "bfloat16", "autocast"])
def test_all_else_goes_the_way_of_torch(calls, what):
    plain, ours = pair(bias=True)
    dtype = getattr(torch, what) if what in ("float64", "bfloat16") else torch.float32
    inputs = torch.randn({"few rows": 2, "no rows": 0}.get(what, ROWS), IN, dtype=dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=what == "autocast"):
        outputs = ours.to(dtype)(inputs)
        assert torch.equal(outputs, plain.to(dtype)(inputs))
    assert outputs.dtype is (torch.bfloat16 if what == "autocast" else dtype)
    assert not calls


def test_a_loaded_models_layers_are_of_the_kind_and_saving_it_changes_nothing(tiny_policy, tmp_path):
    kinds = {type(module) for module in tiny_policy.model.modules() if isinstance(module, torch.nn.Linear)}
    assert kinds == {OneDNNLinear}
    save_model(tiny_policy, tmp_path / "saved")
    again = load_model(replace(tiny_policy.config, path=str(tmp_path / "saved")))
    for name, tensor in tiny_policy.model.state_dict().items():
        assert torch.equal(tensor, again.model.state_dict()[name])


def test_a_policys_gradients_are_those_of_plain_layers(tiny_policy, calls, monkeypatch):
    monkeypatch.setattr("gapo_cli.models.linear.SMALLEST_PRODUCT", 1)  # the model is tiny
    plain = copy.deepcopy(tiny_policy.model)
    for module in plain.modules():
        if type(module) is OneDNNLinear:
            module.__class__ = torch.nn.Linear
    batch = pack([range(40, 60), range(50, 90)], [[range(60, 75), range(20, 24)], [range(90, 99)]], pad_id=0)
    for model in (plain, tiny_policy.model):
        completion_logprobs(model, batch).logprobs.mean().backward()
    assert calls
    for expected, found in zip(plain.parameters(), tiny_policy.model.parameters(), strict=True):
        torch.testing.assert_close(found.grad, expected.grad, rtol=1e-4, atol=1e-6)
