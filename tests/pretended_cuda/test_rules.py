"""The pretended device has a GPU's rules."""

import pytest

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("expression", "found"),
    [
        ("there.device, there.is_cuda", "(device(type='cuda', index=0), True)"),
        ("(there + there).device.type", "'cuda'"),
        ("(there + torch.tensor(2.0)).device.type", "'cuda'"),  # a number is at home on both
        ("there.sum().item()", "6.0"),
        ("there.cpu().numpy().tolist()", "[0.0, 1.0, 2.0, 3.0]"),
        ("torch.zeros(2, device='cuda').device.type", "'cuda'"),
        ("torch.tensor([1], device='cuda').device.type", "'cuda'"),
        ("there.new_zeros(2).device.type, torch.zeros_like(there).device.type", "('cuda', 'cuda')"),
        ("torch.nn.Linear(4, 4).to('cuda')(there).device.type", "'cuda'"),
        ("autocast(lambda: there[None] @ there[:, None]).dtype", "torch.bfloat16"),
        ("here[here.long()].device.type", "'cpu'"),
    ],
)
def test_what_is_right_on_a_gpu_is_right_here(gpu, expression, found):
    assert gpu.ask("evaluate", expression=expression) == found


@pytest.mark.parametrize(
    ("expression", "sentence"),
    [
        ("there + here", "Expected all tensors to be on the same device"),
        ("torch.cat([there, here])", "Expected all tensors to be on the same device"),
        ("here[there.long()]", "Expected all tensors to be on the same device"),
        ("there.gather(0, here.long())", "Expected all tensors to be on the same device"),
        ("there[here.long()]", "indexed by a"),
        ("torch.where(here > 1, there, there)", "Expected all tensors to be on the same device"),
        ("torch.nn.Linear(4, 4)(there)", "Expected all tensors to be on the same device"),
        ("there.numpy()", "can't convert cuda:0 device type tensor to numpy"),
        ("pickle.dumps(there)", "was pickled"),
    ],
)
def test_what_stops_on_a_gpu_or_costs_a_copy_stops_here(gpu, expression, sentence):
    with pytest.raises(RuntimeError, match=sentence):
        gpu.ask("evaluate", expression=expression)
