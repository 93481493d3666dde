"""Models of random weights in the shapes of Qwen2.5-Coder, with a tokenizer of bytes, and random groups to train them with: for
machines that no weights can be fetched to. What a pass costs does not depend on the weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from gapo_cli.config.model import LoraConfig, ModelConfig, ShapeConfig
from gapo_cli.models.gradient_checkpointing import checkpoint_layers
from gapo_cli.models.load import hold_in_bfloat16, take_over
from gapo_cli.models.loaded import LoadedModel
from gapo_cli.records import Completion, EditTask, Group, Source

POSITIONS = 32_768
SPREAD = 0.05
"""Of the weights' random values: wide enough that answers differ by prompt."""
TASK = EditTask("random", Source("random", "train", 0), "text", "a", "x", (0, 1), "y")


@dataclass(frozen=True)
class Size:
    """`lora`: rank of adapters over weights that are held in bfloat16 where passes are; 0: all weights are trained."""

    name: str
    shape: ShapeConfig
    lora: int = 0
    checkpointing: bool = False

    def config(self, dtype: str) -> ModelConfig:
        held = dtype if self.lora else "float32"
        return ModelConfig(self.name, self.name, POSITIONS, dtype=held, lora=LoraConfig(rank=self.lora))


def _shape(layers: int, width: int, heads: int, key_value_heads: int, inner: int, vocabulary: int, tied: bool) -> ShapeConfig:
    return ShapeConfig(
        layers, width, heads, key_value_heads, width // heads, inner, vocabulary, tied_embeddings=tied, attention_bias=True
    )


SIZES = (
    Size("0.5B", _shape(24, 896, 14, 2, 4864, 151_936, True)),
    Size("1.5B", _shape(28, 1536, 12, 2, 8960, 151_936, True)),
    Size("7B", _shape(28, 3584, 28, 4, 18_944, 152_064, False), lora=64, checkpointing=True),
)
TINY = (
    Size("tiny", _shape(2, 32, 4, 2, 64, 300, True)),
    Size("tiny, LoRA", _shape(2, 32, 4, 2, 64, 300, False), lora=2, checkpointing=True),
)


def tokenizer_of(vocabulary: int) -> Any:
    """<pad>, <eos>, the bytes, and tokens of no meaning for the rest of the vocabulary, so that every id has one."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    tokens = ["<pad>", "<eos>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokens += [f"<{number}>" for number in range(len(tokens), vocabulary)]
    core = Tokenizer(models.BPE(vocab={token: index for index, token in enumerate(tokens)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>", eos_token="<eos>")


def random_model(size: Size, device: str) -> Any:
    """A float32 Qwen2ForCausalLM, made where it is to be: random numbers of 7B weights take a CPU a minute."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    shape = size.shape
    torch.manual_seed(0)
    with torch.device(device):
        return Qwen2ForCausalLM(
            Qwen2Config(
                vocab_size=shape.vocabulary,
                hidden_size=shape.hidden_size,
                intermediate_size=shape.feed_forward_size,
                num_hidden_layers=shape.layers,
                num_attention_heads=shape.heads,
                num_key_value_heads=shape.key_value_heads,
                max_position_embeddings=POSITIONS,
                rope_parameters={"rope_type": "default", "rope_theta": 1e6},
                tie_word_embeddings=shape.tied_embeddings,
                initializer_range=SPREAD,
                pad_token_id=0,
                eos_token_id=1,
                bos_token_id=None,
                attn_implementation="sdpa",
            )
        )


def random_policy(size: Size, device: str, dtype: str) -> LoadedModel:
    """As `load_policy` makes one of a folder."""
    config, model = size.config(dtype), random_model(size, device)
    if config.dtype == "bfloat16":
        hold_in_bfloat16(model)
    policy = take_over(model, tokenizer_of(size.shape.vocabulary), config, device, dtype)
    if size.lora:
        from gapo_cli.models.lora import add_adapter

        policy = replace(policy, model=add_adapter(policy.model, config.lora, size.name).to(device).eval())
    if size.checkpointing:
        checkpoint_layers(policy.model)
    return policy


def random_groups(vocabulary: int, count: int, prompt: int, answer: int, group_size: int, seed: int = 0) -> list[Group]:
    """Groups of tokens drawn at random with advantages, all of one length."""
    random = np.random.default_rng(seed)

    def tokens(length: int) -> tuple[int, ...]:
        return tuple(random.integers(5, vocabulary, length).tolist())

    def group() -> Group:
        completions = tuple(Completion(tokens(answer), (-5.0,) * answer, "", "stop") for _ in range(group_size))
        scores = random.random(group_size)
        return Group(TASK, tokens(prompt), completions, {}, scores, scores, scores - scores.mean())

    return [group() for _ in range(count)]


def prompts_and_completions(groups: Sequence[Group]) -> tuple[list[tuple[int, ...]], list[list[tuple[int, ...]]]]:
    """As layouts take them."""
    return [one.prompt_token_ids for one in groups], [[done.token_ids for done in one.completions] for one in groups]
