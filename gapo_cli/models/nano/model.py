"""The nano model: Qwen2 architecture, made from nothing, with attention heads that can copy from the first step.

From an ordinary initialisation copying takes longer to emerge than a laptop has patience for. So layers 0 and 1 start
as the induction circuit of Olsson et al. 2022 (arXiv:2209.11895): layer 0 looks one token back and carries what it
sees; layer 1 finds the place whose carried token is the current one, and copies the token that stands there. All of it
is ordinary weights of an ordinary Qwen2ForCausalLM, free to change in training.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from gapo_cli.config.supervised import ArchitectureConfig

ROPE_THETA = 1e6  # slow rotations: layer 1 compares contents, which positions must hardly disturb


def build_nano(
    tokenizer: PreTrainedTokenizerFast, shape: ArchitectureConfig, context_length: int, seed: int
) -> Qwen2ForCausalLM:
    """A float32 model with the induction initialisation. Embeddings are not tied: the copying head reads out of the
    output matrix what the embedding wrote, and both must be free to move."""
    torch.manual_seed(seed)
    model = Qwen2ForCausalLM(Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=shape.hidden_size,
        intermediate_size=shape.feed_forward_size,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        max_position_embeddings=context_length,
        rope_parameters={"rope_type": "default", "rope_theta": ROPE_THETA},
        tie_word_embeddings=False,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
        attn_implementation="sdpa",
    ))  # fmt: skip
    initialise_induction(model, InductionStrengths(), seed)
    return model


@dataclass(frozen=True)
class InductionStrengths:
    """How hard each part of the circuit acts. Found by trying: with these the untrained model's answer loss on copy-heavy
    edits falls from about ln(vocabulary) to little more than half of it (docs/background/nano.md)."""

    embedding_std: float = 0.08
    previous_token_logit: float = 20.0
    rotary_pairs: int = 4
    match_logit: float = 6.0
    slow_frequency: float = 0.02
    carry: float = 0.08
    copy: float = 0.15


def _orthogonal(size: int, generator: torch.Generator) -> torch.Tensor:
    return torch.linalg.qr(torch.randn(size, size, generator=generator))[0]


@torch.no_grad()
def initialise_induction(model: Qwen2ForCausalLM, strengths: InductionStrengths, seed: int) -> None:
    """Writes the circuit into layers 0 and 1, the embedding and the output matrix. Needs one key-value head a head, two
    layers or more, and the query and key biases that Qwen2 has."""
    width, heads = model.config.hidden_size, model.config.num_attention_heads
    head_width = width // heads
    half = head_width // 2
    generator = torch.Generator().manual_seed(seed)
    frequencies = model.model.rotary_emb.inv_freq[:half].float()
    look_back, induct = model.model.layers[0].self_attn, model.model.layers[1].self_attn

    model.model.embed_tokens.weight.normal_(0, strengths.embedding_std, generator=generator)
    token_view = _orthogonal(width, generator)  # what heads read of a token's embedding
    carried_view = _orthogonal(width, generator)  # the subspace in which layer 0 leaves the previous token

    # Layer 0: a query bias of (1, 0) in the fastest rotary pairs and a key bias rotated by one position: the logit is
    # highest where the key stands exactly one position back.
    pairs = (torch.arange(half) < strengths.rotary_pairs).float()
    size = math.sqrt(strengths.previous_token_logit / strengths.rotary_pairs * math.sqrt(head_width))
    look_back.q_proj.weight.mul_(0.1)
    look_back.k_proj.weight.mul_(0.1)
    look_back.q_proj.bias.copy_((size * torch.cat([pairs, torch.zeros(half)])).repeat(heads))
    look_back.k_proj.bias.copy_((size * torch.cat([pairs * frequencies.cos(), pairs * frequencies.sin()])).repeat(heads))
    look_back.v_proj.weight.copy_(token_view)
    look_back.o_proj.weight.copy_(strengths.carry * carried_view)

    # Layer 1: the current token (query) against the carried one (key), in the rotary dimensions that hardly rotate.
    slow = (frequencies < strengths.slow_frequency).float().repeat(2)
    size = math.sqrt(strengths.match_logit / max(0.1, float(slow.mean())))
    mask = slow.repeat(heads)[:, None]
    induct.q_proj.weight.copy_(size * mask * token_view)
    induct.k_proj.weight.copy_(size * mask * carried_view.T)

    # ... and what stands at the matched place is written where the output matrix reads it.
    output_view = _orthogonal(width, generator)
    model.lm_head.weight.copy_(model.model.embed_tokens.weight @ output_view)
    induct.v_proj.weight.copy_(token_view)
    induct.o_proj.weight.copy_(strengths.copy * output_view.T @ token_view.T)
