"""Log-probabilities and gradients of both layouts, for the architectures people train."""

import math

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from gapo_cli.models.gradient_checkpointing import checkpoint_layers
from gapo_cli.models.packing.layout import LAY_OUT, pack, pack_masked, pad
from gapo_cli.models.packing.logprobs import completion_logprobs
from gapo_cli.models.packing.shared_prefix import take_shared_prefixes

SHAPE = {
    "vocab_size": 97,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 128,
    "initializer_range": 0.2,
    "bos_token_id": None,
    "eos_token_id": 1,
    "pad_token_id": 0,
}

WINDOW = 32  # as long as the longest prompt with its longest completion; packed rows are longer


def tiny(model_type: str, **changes):
    torch.manual_seed(1)
    config = AutoConfig.for_model(model_type, **SHAPE | changes)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").eval()
    take_shared_prefixes(model)
    return model


FAMILIES = {
    "qwen2": {},
    "qwen2 with a window": {"use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 1},
    "qwen3": {"head_dim": 16},
    "llama": {},
    "mistral": {"sliding_window": None},
    "mistral with a window": {"sliding_window": WINDOW},
}


def family(name: str):
    return tiny(name.split()[0], **FAMILIES[name])


def ragged_groups(group_sizes: list[int]) -> tuple[list[list[int]], list[list[list[int]]]]:
    generator = torch.Generator().manual_seed(len(group_sizes))

    def tokens(low: int, high: int) -> list[int]:
        length = int(torch.randint(low, high, (1,), generator=generator))
        return torch.randint(2, 97, (length,), generator=generator).tolist()

    return [tokens(1, 21) for _ in group_sizes], [[tokens(1, 13) for _ in range(size)] for size in group_sizes]


def gradient(model, batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities, and the gradient of a sum that weighs each token differently, as advantages do."""
    model.zero_grad()
    logprobs = completion_logprobs(model, batch).logprobs
    (logprobs * torch.linspace(-1, 2, len(logprobs))).sum().backward()
    return logprobs.detach(), torch.cat(
        [parameter.grad.flatten() for parameter in model.parameters() if parameter.requires_grad]
    )


def assert_same(ours, theirs):
    """The pairs that `gradient` gives."""
    (logprobs, gradient), (expected, expected_gradient) = ours, theirs
    assert torch.isfinite(gradient).all()
    assert expected_gradient.norm() > 0
    assert (logprobs - expected).abs().max() < 1e-4
    assert (gradient - expected_gradient).norm() / expected_gradient.norm() < 1e-5


@pytest.mark.parametrize("group_sizes", [[1], [16], [1, 2, 3], [4, 8, 5, 6]], ids=str)
@pytest.mark.parametrize("name", FAMILIES)
def test_packed_and_padded_rows_have_the_same_logprobs_and_gradient(name, group_sizes):
    model = family(name)
    prompts, completions = ragged_groups(group_sizes)
    expected = gradient(model, pad(prompts, completions, pad_id=0))
    for packed in (pack(prompts, completions, pad_id=0), pack_masked(prompts, completions, pad_id=0)):
        # beyond the window in columns and within it in positions
        assert (
            max(group_sizes) < 8 or packed.input_ids.shape[1] > WINDOW > packed.position_ids.flatten()[packed.predictors].max()
        )
        assert_same(gradient(model, packed), expected)


@pytest.mark.parametrize("name", FAMILIES)
def test_gradient_checkpointing_changes_neither_logprobs_nor_gradient(name):
    model = family(name)
    prompts, completions = ragged_groups([4, 3])
    expected = gradient(model, pad(prompts, completions, pad_id=0))
    passes = []
    model.get_decoder().layers[0].mlp.register_forward_pre_hook(lambda *_: passes.append(1))
    checkpoint_layers(model)
    assert_same(gradient(model, pack(prompts, completions, pad_id=0)), expected)
    assert len(passes) == 2  # once forward, once again for the backward pass


@pytest.mark.slow
@pytest.mark.parametrize("checkpointing", [False, True], ids=["", "checkpointing"])
@pytest.mark.parametrize("name", FAMILIES)
def test_lora_adapters_have_the_same_gradient_in_both_layouts(name, checkpointing):
    peft = pytest.importorskip("peft", reason="adapters come from peft, which is not installed")
    torch.manual_seed(2)
    settings = peft.LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    model = peft.get_peft_model(family(name), settings)
    prompts, completions = ragged_groups([4, 3])
    expected = gradient(model, pad(prompts, completions, pad_id=0))
    if checkpointing:
        checkpoint_layers(model)
    assert_same(gradient(model, pack(prompts, completions, pad_id=0)), expected)


@pytest.mark.parametrize("layout", LAY_OUT.values(), ids=LAY_OUT)
@pytest.mark.parametrize("name", FAMILIES)
def test_logprobs_are_those_of_each_sequence_alone(name, layout):
    model = family(name)
    prompts, completions = ragged_groups([2, 3])
    alone = []
    with torch.no_grad():
        for prompt, group in zip(prompts, completions, strict=True):
            for completion in group:
                logits = model(torch.tensor([prompt + completion])).logits[0, len(prompt) - 1 : -1]
                alone.append(logits.log_softmax(-1).gather(-1, torch.tensor(completion)[:, None])[:, 0])
    logprobs = completion_logprobs(model, layout(prompts, completions, pad_id=0)).logprobs
    assert torch.allclose(logprobs, torch.cat(alone), atol=1e-4)


def test_a_flat_model_gives_every_token_the_logprob_and_entropy_of_a_uniform_distribution():
    model = tiny("qwen2", tie_word_embeddings=False)
    torch.nn.init.zeros_(model.lm_head.weight)
    answer = completion_logprobs(model, pack([[5]], [[[6, 7]]], pad_id=0), entropy="value")
    # 97 equally likely tokens: log-probability -ln 97, entropy ln 97
    assert torch.allclose(answer.logprobs, torch.full((2,), -math.log(97)))
    assert torch.allclose(answer.entropy, torch.full((2,), math.log(97)))


def test_temperature_divides_the_logits():
    model = tiny("qwen2")
    batch = pack([[5, 6]], [[[7]]], pad_id=0)
    with torch.no_grad():
        logits = model(torch.tensor([[5, 6]])).logits[0, -1]
    for temperature in (0.5, 2.0):
        expected = (logits / temperature).log_softmax(-1)
        answer = completion_logprobs(model, batch, temperature, entropy="value")
        assert torch.allclose(answer.logprobs, expected[7], atol=1e-5)
        assert torch.allclose(answer.entropy, -(expected.exp() * expected).sum(), atol=1e-5)


def test_entropy_is_computed_only_when_asked_for():
    assert completion_logprobs(tiny("qwen2"), pack([[5]], [[[6]]], pad_id=0)).entropy is None


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_logprobs_at_no_positive_temperature_are_refused(temperature):
    with pytest.raises(ValueError, match="temperature above 0"):
        completion_logprobs(tiny("qwen2"), pack([[5]], [[[6]]], pad_id=0), temperature)


def test_the_head_runs_on_predicting_positions_only():
    model = tiny("qwen2")
    seen = []
    model.lm_head.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].shape))
    completion_logprobs(model, pack([[5] * 50], [[[6, 7, 8], [9]]], pad_id=0))
    assert seen == [(4, 32)]  # 3 + 1 completion tokens, none of the 50 of the prompt
