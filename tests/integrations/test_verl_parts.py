"""What verl's processes do with an answer and with a batch, without verl: the same as gapo's own chain."""

import numpy as np
import pytest
import torch
from parts import LengthReward, PlainTemplate, completion_of, small_task

from gapo_cli.config.algorithm import OverlongConfig
from gapo_cli.errors import PartError, UserError
from gapo_cli.estimators.dr_grpo import DrGRPO
from gapo_cli.estimators.gapo import GAPO
from gapo_cli.estimators.opo import OPO
from gapo_cli.integrations.verl_advantages import outcome_advantages
from gapo_cli.integrations.verl_parts import HandedOver, Judge, build, shipped_estimators
from gapo_cli.records import Prompt
from gapo_cli.rollouts.sampling import Sampled, read_answer
from gapo_cli.rollouts.scoring import penalised, score

TEMPLATE = {"_target_": "gapo_cli.prompts.nano.NanoTemplate"}
REWARD = {"_target_": "gapo_cli.rewards.edem.ExactMatchAndSimilarity"}
HANDED = HandedOver(TEMPLATE, REWARD, OverlongConfig(4), max_new_tokens=8, end_ids=[1], stop_ids=[7], phantom_ids=[300])


def test_parts_are_read_back_as_they_were_written(tmp_path):
    HANDED.write(tmp_path / "parts.json")
    assert HandedOver.read(tmp_path / "parts.json") == HANDED
    judge = Judge.of(str(tmp_path / "parts.json"))
    assert type(judge.template).__name__ == "NanoTemplate"
    assert judge is Judge.of(str(tmp_path / "parts.json"))


@pytest.mark.parametrize("text", ["b", "bcde", "bcdefgh", "no?", ""])
def test_an_answer_earns_what_it_earns_in_gapo(text):
    task = small_task(region="a", target="bcde")
    judge = Judge(HANDED, PlainTemplate(), LengthReward())
    completion = read_answer(PlainTemplate(), task, completion_of(text))
    (group,) = score([Sampled(task, Prompt(task.id, ""), (), (completion,))], LengthReward())
    found = judge.judge(task, text, completion.length)
    assert found["gapo_score"] == group.scores[0]
    assert found["score"] == penalised(group, HANDED.overlong, HANDED.max_new_tokens).rewards[0]


def test_a_cut_answer_earns_nothing_and_pays_for_its_length():
    judge = Judge(HANDED, PlainTemplate(), LengthReward())
    # 8 of 8 tokens: the whole penalty
    assert judge.judge(small_task(), None, 8) == {"characters": 0.0, "score": -1.0, "gapo_score": 0.0}


def test_a_missing_reward_is_an_error_that_names_the_task():
    with pytest.raises(PartError, match="task t: reward=LengthReward: is missing"):
        Judge(HANDED, PlainTemplate(), LengthReward()).judge(small_task(), "nan", 3)


def test_what_ends_an_answer():
    judge = Judge(HANDED, PlainTemplate(), LengthReward())
    assert judge.ends([5, 1]) and judge.ends([5, 7])
    assert not judge.ends([1, 5]) and not judge.ends([])
    assert judge.is_phantom([5, 300, 1]) and not judge.is_phantom([5, 1])


def test_estimators_are_built_from_their_yaml_and_changed_by_settings():
    shipped = shipped_estimators()
    assert build(shipped["gapo"]) == GAPO(0.5)
    assert build({**shipped["gapo"], "tau": 1}) == GAPO(1.0)
    assert {build(part).__class__.__name__ for part in shipped.values()} >= {"GAPO", "GRPO", "OPO", "RLOO", "DrGRPO"}
    with pytest.raises(UserError, match="tau"):
        build({**shipped["gapo"], "tau": 1.7})


@pytest.mark.parametrize("estimator", [GAPO(0.3), DrGRPO(), OPO()])
def test_rows_in_any_order_have_the_advantages_of_their_groups(estimator):
    generator = np.random.default_rng(0)
    sizes, tokens = {"a": 4, "b": 3, "c": 1}, 5
    index = np.array([name for name, size in sizes.items() for _ in range(size)], dtype=object)
    scores = generator.integers(0, 64, len(index)) / 64
    lengths = generator.integers(1, tokens + 1, len(index))
    wanted = np.concatenate(
        [estimator(scores[None, index == name], lengths[None, index == name].astype(float)).values[0] for name in sizes]
    )
    mask = torch.from_numpy((np.arange(tokens) < lengths[:, None]).astype(np.float32))
    by_token = torch.zeros(len(index), tokens)
    by_token[torch.arange(len(index)), torch.from_numpy(lengths - 1)] = torch.from_numpy(scores).float()
    order = generator.permutation(len(index))
    found = outcome_advantages(estimator, by_token[order], mask[order], index[order])
    torch.testing.assert_close(found, torch.from_numpy(wanted[order]).float()[:, None] * mask[order])


def test_rows_without_tokens_change_nothing():
    rewards = torch.tensor([[0.0, 1.0], [0.5, 0.0], [0.0, 0.0], [0.0, 0.0]])
    mask = torch.tensor([[1.0, 1.0], [1.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    found = outcome_advantages(GAPO(1.0), rewards, mask, ["a", "a", "padding", "padding"])
    # the median of 1 and 0.5 is 0.75; both lie 0.25 from it, so the spread is sqrt(2 * 0.25^2 / 1)
    value = 0.25 / (0.125**0.5 + 1e-6)
    torch.testing.assert_close(found, torch.tensor([[value, value], [-value, 0.0], [0.0, 0.0], [0.0, 0.0]]))
