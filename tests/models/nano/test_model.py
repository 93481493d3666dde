import pytest
import torch
import torch.nn.functional as F

from gapo_cli.config.supervised import ArchitectureConfig
from gapo_cli.models.nano.model import build_nano
from gapo_cli.models.nano.tokenizer import END, PAD, train_tokenizer, word_tokens
from gapo_cli.prompts.nano import MARKERS

TEXTS = [
    "<|old|>if self._start is None:\n    return value<|new|>if self._start == None:",
    "def startValue(self, value):\n        return self._start[value] + 12",
] * 20


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(TEXTS, 320)


def tokens_of(tokenizer, text):
    return [tokenizer.decode([token]) for token in tokenizer.encode(text, add_special_tokens=False)]


def test_markers_padding_and_end_are_single_tokens(tokenizer):
    for marker in (*MARKERS, PAD, END):
        assert len(tokenizer.encode(marker, add_special_tokens=False)) == 1


@pytest.mark.parametrize("text", ["x = self._start[0]\n\n\n        y", "größe = 'ß'\t\r\n", "a  b", "", "<|old|>a<|end|>"])
def test_decoding_gives_back_any_text(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text


def test_a_name_is_the_same_tokens_wherever_it_stands(tokenizer):
    name = tokens_of(tokenizer, "_start")
    for text in ("x = _start", "(_start)", "self._start is", "return _start"):
        found = tokens_of(tokenizer, text)
        assert any(found[at : at + len(name)] == name for at in range(len(found))), found


def test_words_are_split_at_underscores_and_changes_of_case(tokenizer):
    assert tokens_of(tokenizer, "start_Value") == ["start", "_", "Value"]
    assert tokens_of(tokenizer, "startValue") == ["start", "Value"]


def test_word_tokens_are_plain_words_without_the_kept_ones(tokenizer):
    words = {tokenizer.decode([token]) for token in word_tokens(tokenizer, ["self"])}
    assert {"start", "value"} <= words
    assert not words & {"self", "_", " = ", "\n    ", *MARKERS}


def test_the_untrained_model_already_copies(tokenizer):
    """On a random sequence that is repeated, the second half is predicted far better than chance, ln(vocabulary), because
    of the induction initialisation; the first half, which nothing foretells, is not."""
    shape = ArchitectureConfig(hidden_size=128, layers=4, heads=2, feed_forward_size=320, vocabulary=320)
    model = build_nano(tokenizer, shape, context_length=128, seed=0).eval()
    half = torch.randint(9, len(tokenizer), (16, 32), generator=torch.Generator().manual_seed(1))
    ids = torch.cat([half, half], dim=1)  # (16, 64)
    with torch.inference_mode():
        logits = model(input_ids=ids).logits[:, :-1]
    loss = F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none").view(16, 63)
    chance = torch.tensor(float(len(tokenizer))).log()
    assert loss[:, :31].mean() > 0.9 * chance
    assert loss[:, 33:].mean() < 0.6 * chance


def test_the_same_seed_makes_the_same_model(tokenizer):
    shape = ArchitectureConfig(hidden_size=32, layers=2, heads=2, feed_forward_size=64, vocabulary=320)
    first, again, other = (build_nano(tokenizer, shape, 64, seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["lm_head.weight"], other["lm_head.weight"])
