"""A real vLLM, where it is installed: prompts that take more than one forward pass to be read."""

import pytest

from gapo_cli.config import ModelConfig, SamplingConfig
from gapo_cli.engines.vllm_engine import PREFILL_TOKENS, VLLM

pytest.importorskip("vllm", reason="vLLM is not installed")


def test_prompts_that_do_not_fit_one_pass_are_sampled_from_with_seeds_of_their_own():
    from gapo_cli.models.load import load_model

    length, count = 300, 20
    assert length * count > PREFILL_TOKENS
    assert PREFILL_TOKENS % length  # so that a pass would end inside a prompt
    policy = load_model(ModelConfig(name="nano", path="asset:nano-clean", context_length=512))
    engine = VLLM(kv_cache_gib=0.25, max_rows=64)(policy)
    # prompts of different first tokens share no cached prefix
    prompts = [[20 + index, *range(100, 99 + length)] for index in range(count)]
    sampling = SamplingConfig(group_size=2, max_new_tokens=4, temperature=1.0)
    groups = engine.generate(prompts, sampling, seeds=list(range(count)))
    assert [len(group) for group in groups] == [2] * count
    assert all(1 <= len(one.token_ids) <= 4 for group in groups for one in group)
