"""Sampling and scoring: what becomes of completions and rewards."""

import math

import numpy as np
import pytest
from parts import LengthReward, PlainTemplate, ScriptedEngine, completion_of, edit_task

from gapo_cli.errors import UserError
from gapo_cli.rollouts.sampling import Sampled, sample, score


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


def test_sample_reads_regions_and_says_what_is_malformed(tiny_policy, template, sampling):
    engine = ScriptedEngine([["a = c", "what?"]])
    (one,) = sample(tiny_policy, engine, template, [edit_task(0)], sampling, [7])
    assert [completion.region for completion in one.completions] == ["a = c", None, "a = c", None]
    assert [completion.malformed for completion in one.completions] == [None, "question", None, "question"]
    prompts, used, seeds = engine.calls[0]
    assert tiny_policy.tokenizer.decode(prompts[0]) == "x = 0\na = b\n>"
    assert (used, seeds) == (sampling, [7])


def test_a_completion_that_the_limit_cut_is_truncated_whatever_its_text(tiny_policy, template, sampling):
    class Cutting(ScriptedEngine):
        def generate(self, prompts, sampling, seeds, progress=None):
            return [(completion_of("a = c", finish_reason="length"),) * sampling.group_size for _ in prompts]

    (one,) = sample(tiny_policy, Cutting([]), template, [edit_task(0)], sampling, [7])
    assert {(completion.region, completion.malformed) for completion in one.completions} == {(None, "truncated")}


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
