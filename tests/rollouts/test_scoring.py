"""Scoring: what becomes of rewards, and of rewards that are wrong."""

import math
from dataclasses import replace

import numpy as np
import pytest
from parts import LengthReward, PlainTemplate, completion_of, edit_task

from gapo_cli.config.algorithm import OverlongConfig
from gapo_cli.errors import UserError
from gapo_cli.rollouts.sampling import Sampled
from gapo_cli.rollouts.scoring import penalised, score


def sampled_group(task, *texts):
    completions = tuple(completion_of(text) for text in texts)
    template = PlainTemplate()
    parsed = [template.parse(task, text) for text in texts]
    return Sampled(
        task,
        template.render(task),
        (5, 6),
        tuple(
            type(one)(one.token_ids, one.logprobs, one.text, one.finish_reason, answer.region, answer.malformed)
            for one, answer in zip(completions, parsed, strict=True)
        ),
    )


def test_scores_come_back_to_their_groups():
    # characters in tenths: 1 and 2, then 3 and malformed (0)
    groups = score([sampled_group(edit_task(0), "a", "bb"), sampled_group(edit_task(1), "ccc", "?")], LengthReward())
    assert [group.scores.tolist() for group in groups] == [[0.1, 0.2], [0.3, 0.0]]
    assert [group.rewards.tolist() for group in groups] == [[0.1, 0.2], [0.3, 0.0]]
    assert groups[1].components["characters"].tolist() == [3.0, 0.0]


def test_a_missing_reward_stays_missing():
    (group,) = score([sampled_group(edit_task(0), "a", "nan")], LengthReward())
    assert group.scores[0] == 0.1
    assert math.isnan(group.scores[1])


def test_a_reward_without_score_is_refused():
    with pytest.raises(UserError, match="gives em; need a component named score"):
        score([sampled_group(edit_task(0), "a")], lambda predictions, targets: {"em": np.zeros(1)})


def test_a_reward_of_the_wrong_length_is_refused():
    with pytest.raises(UserError, match=r"component score has shape \(3,\); need one number for each of the 2"):
        score([sampled_group(edit_task(0), "a", "b")], lambda predictions, targets: {"score": np.zeros(3)})


def test_a_reward_that_is_no_numbers_is_refused():
    sampled = [sampled_group(edit_task(0), "a", "b")]
    with pytest.raises(UserError, match="gives list; need scores by the name of their component"):
        score(sampled, lambda predictions, targets: [0.0, 1.0])
    with pytest.raises(UserError, match="component score is not numbers"):
        score(sampled, lambda predictions, targets: {"score": ["good", "bad"]})


def test_the_length_penalty_goes_by_what_a_server_counted():
    # 10 of 12 tokens with a buffer of 4: (10 - 8) / 4 = .5; a length that nobody knows is 0 tokens: none
    (group,) = score([sampled_group(edit_task(0), "a", "a")], LengthReward())
    served = tuple(replace(one, token_ids=(), counted=counted) for one, counted in zip(group.completions, (10, 0), strict=True))
    found = penalised(replace(group, completions=served), OverlongConfig(buffer_tokens=4), 12)
    assert found.rewards == pytest.approx([0.1 - 0.5, 0.1])
    assert found.scores == pytest.approx([0.1, 0.1])
    assert penalised(group, None, 12) is group
