"""Tokens held against the distributions that they should be drawn from."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from gapo_cli.config.sampling import SamplingConfig
from gapo_cli.doctor.sampling_check import _look, answer_logits, look_at_draws
from gapo_cli.engines.torch_engine import TorchEngine

SAMPLING = SamplingConfig(group_size=40, max_new_tokens=16)
PROMPTS = [tuple(range(40, 47 + index)) for index in range(4)]
SHARES = torch.tensor([[0.5, 0.3, 0.2]])


def test_the_plain_pass_says_the_engines_log_probabilities(tiny_policy):
    (group,) = TorchEngine(tiny_policy, 64).generate(PROMPTS[:1], SAMPLING, [0])
    logits, tokens = answer_logits(tiny_policy, PROMPTS[0], group)
    assert tokens.tolist() == [token for one in group for token in one.token_ids]
    ours = torch.log_softmax(logits, -1).gather(-1, tokens[:, None]).squeeze(-1)
    assert ours.numpy() == pytest.approx([value for one in group for value in one.logprobs], abs=1e-5)


@pytest.mark.parametrize("acting", [0.8, 1.0, 1.25])
def test_the_temperature_is_read_off_the_tokens(tiny_policy, acting):
    groups = TorchEngine(tiny_policy, 64).generate(PROMPTS, replace(SAMPLING, temperature=acting), [0, 1, 2, 3])
    found = look_at_draws(tiny_policy, PROMPTS, groups, replace(SAMPLING, temperature=acting), slack=1e-3)
    assert found.tokens == sum(len(one.token_ids) for group in groups for one in group) > 2000
    assert found.error < 0.03
    assert abs(found.temperature - acting) < 4 * found.error
    if acting != 1:
        wrong = look_at_draws(tiny_policy, PROMPTS, groups, SAMPLING, slack=1e-3)
        # one step from 1 towards it; a temperature that is too low makes tokens likelier than asked for
        assert abs(wrong.temperature - acting) < abs(1 - acting)
        assert math.copysign(1, wrong.deviation) == (1 if acting < 1 else -1)
        assert abs(wrong.deviation) > 5


def test_score_and_information_of_three_tokens():
    found = _look(SHARES.log(), torch.tensor([2]), SAMPLING, slack=0.0)
    logs = np.log([0.5, 0.3, 0.2])
    mean = np.dot([0.5, 0.3, 0.2], logs)
    assert found.score == pytest.approx(logs[2] - mean)
    assert found.information == pytest.approx(np.dot([0.5, 0.3, 0.2], (logs - mean) ** 2))
    # before the last token lie 0.8: it is the tail from 0.8 on (and none from 0.9)
    assert found.seen[1:].tolist() == found.expected[1:].tolist() == [0, 0]


def test_what_top_k_and_top_p_leave_out():
    def outside(token, slack=0.0, **cut):
        return _look(SHARES.log(), torch.tensor([token]), replace(SAMPLING, **cut), slack).outside

    assert [outside(token, top_k=2) for token in range(3)] == [0, 0, 1]
    # 0.5 lie before the second token, 0.8 before the third
    assert [outside(token, top_p=0.6) for token in range(3)] == [0, 0, 1]
    assert [outside(token, top_p=0.4) for token in range(3)] == [0, 1, 1]
    # of the two that top-k leaves the first has 0.5 / 0.8 = 0.625
    assert [outside(token, top_k=2, top_p=0.6) for token in range(3)] == [0, 1, 1]
    # log(0.3 / 0.2) = 0.405 nats below the last one that is kept
    assert (outside(2, top_k=2, slack=0.4), outside(2, top_k=2, slack=0.41)) == (1, 0)


def test_a_distribution_without_choice_tells_nothing(tiny_policy):
    groups = TorchEngine(tiny_policy, 64).generate(PROMPTS, replace(SAMPLING, top_k=1), [0, 1, 2, 3])
    found = look_at_draws(tiny_policy, PROMPTS, groups, replace(SAMPLING, top_k=1), slack=1e-3)
    assert (found.deviation, found.outside, found.error) == (0.0, 0, math.inf)


def test_greedy_answers_are_the_likeliest_tokens(tiny_policy):
    engine, greedy = TorchEngine(tiny_policy, 64), replace(SAMPLING, group_size=1, temperature=0.0)
    assert look_at_draws(tiny_policy, PROMPTS, engine.generate(PROMPTS, greedy, [0] * 4), greedy, 1e-3).outside == 0
    warm = engine.generate(PROMPTS, replace(SAMPLING, group_size=1), [0] * 4)
    assert look_at_draws(tiny_policy, PROMPTS, warm, greedy, 1e-3).outside > 0
