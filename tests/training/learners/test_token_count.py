"""Tokens that runs compute, counted by hand, and runs of each stage that end by them."""

import json
from dataclasses import replace

import pytest
import torch
from parts import OPTIMIZER, Listening, edit_task, make_experiment, run_of, small_task

from gapo_cli.config.algorithm import AlgorithmConfig, PPOConfig
from gapo_cli.config.preference import PreferenceConfig
from gapo_cli.config.sampling import EvaluationConfig, SamplingConfig
from gapo_cli.config.supervised import SupervisedConfig
from gapo_cli.config.trainer import TrainerConfig
from gapo_cli.errors import UserError
from gapo_cli.models.packing.layout import pack, pad
from gapo_cli.training.checkpoints.checkpoints import find_checkpoint
from gapo_cli.training.learners.preference import Preference
from gapo_cli.training.learners.supervised import Supervised
from gapo_cli.training.learners.token_count import TokenCount
from gapo_cli.training.lifecycle import Life

TASKS = [edit_task(number, region=f"a = {'b' * (number % 5)}\n") for number in range(7)]


@pytest.fixture
def make_loop(tmp_path, tiny_config):
    def make(name="run", checkpoint=None, display=None, tasks=TASKS, **parts):
        trainer = {"steps": 4, "prompts_per_step": 2, "prompts_per_mini_batch": 2, "checkpoint_every": 1}
        trainer |= parts.pop("trainer", {})
        experiment = make_experiment(
            tmp_path / name,
            tiny_config,
            sampling=SamplingConfig(group_size=2, max_new_tokens=4),
            trainer=TrainerConfig(optimizer=OPTIMIZER, **trainer),
            evaluation=EvaluationConfig(samples=0, every_steps=0),
            **parts,
        )
        experiment.learner.check(experiment)
        return Life.begin(run_of(experiment, tasks, TASKS[:1], checkpoint, display or Listening()))

    return make


def rows_of(loop):
    return [json.loads(line) for line in loop.files.metrics.read_text().splitlines()]


def counts_of(loop):
    return [row["training/computed_tokens"] for row in rows_of(loop) if "training/computed_tokens" in row]


def test_padding_counts_and_a_prompt_that_is_shared_counts_once():
    count, answers = TokenCount(), [[[7, 8, 9], [7]]]
    count.passed(pack([[1, 2]], answers, 0))  # 2 of the prompt, 2 and 0 of the answers, whose last tokens are labels only
    assert count.tokens == 4
    count.learnt(pad([[1, 2]], answers, 0))  # two rows of 2 + 2, three times
    assert count.tokens == 4 + 24


def sampled_tokens(loop, step):
    """(read or sampled, in a packed pass) of a step's rollouts."""
    import pandas as pd

    groups = pd.read_parquet(loop.files.run_dir / "rollouts" / f"step-{step:05d}.parquet").groupby("group")
    encoded = {one.task.id: len(one.token_ids) for one in loop.learning.collector.tasks}
    prompts = [encoded[rows["task_id"].iloc[0]] for _, rows in groups]
    answers = [int(rows["length"].sum()) for _, rows in groups]
    return sum(prompts) + sum(answers), sum(prompts) + sum(answers) - 2 * len(prompts)


def test_a_step_with_a_critic_counts_values_the_reference_and_both_updates(make_loop):
    ppo = AlgorithmConfig("ppo", critic="copy", ppo=PPOConfig(OPTIMIZER, kl_in_reward=0.1))
    loop = make_loop(algorithm=ppo, trainer={"steps": 1})
    loop.run()
    sampled, passed = sampled_tokens(loop, 1)
    # values and reference once; policy and critic three times each
    assert counts_of(loop) == [sampled + (1 + 1 + 3 + 3) * passed]


def test_a_head_on_the_trunk_learns_in_the_policys_passes(make_loop):
    loop = make_loop(algorithm=AlgorithmConfig("ppo", critic="head", ppo=PPOConfig(OPTIMIZER)), trainer={"steps": 1})
    loop.run()
    sampled, passed = sampled_tokens(loop, 1)
    assert counts_of(loop) == [sampled + (1 + 3) * passed]


def test_a_run_ends_with_the_step_that_reaches_its_budget_and_is_not_gone_on_with(make_loop, tmp_path):
    display, ppo = Listening(), AlgorithmConfig("ppo", critic="head", ppo=PPOConfig(OPTIMIZER))
    whole = make_loop("whole", algorithm=ppo)
    whole.run()
    first, second, *_ = counts_of(whole)
    budget = {"trainer": {"budget_tokens": first + 1}}
    loop = make_loop(algorithm=ppo, display=display, **budget)
    assert loop.run().step == 2
    assert counts_of(loop) == [first, second]
    assert "val/exact_match" in rows_of(loop)[-1]
    assert any("are computed: step 2 is the last" in line for line in display.said)
    assert json.loads((loop.files.run_dir / "learner.json").read_text())["steps"] == 2
    again = make_loop(algorithm=ppo, checkpoint=find_checkpoint(tmp_path / "run"), **budget)
    assert again.run().step == 2
    # with more to spend it goes on
    longer = make_loop(algorithm=ppo, checkpoint=find_checkpoint(tmp_path / "run"), trainer={"budget_tokens": second + 1})
    assert longer.run().step == 3
    assert counts_of(longer) == counts_of(whole)[:3]


def test_supervised_training_is_planned_within_the_budget(make_loop):
    config = SupervisedConfig(tokens=None, epochs=100, tokens_per_batch=64, log_every=1, layout="packed", optimizer=OPTIMIZER)
    loop = make_loop(learner=Supervised(), supervised=config, trainer={"budget_tokens": 600})
    loop.run()
    # batches until 200 tokens are reached, each of which counts three times, but for the last of each answer, a label only
    tokens, examples = rows_of(loop)[-1]["sft/tokens"], sum(map(len, loop.learning.plan))
    assert 200 <= tokens < 200 + 64
    assert counts_of(loop)[-1] == 3 * (tokens - examples)


PAIRED = [small_task(f"task-{n}", region=f"a{n}\n", target="b", rejected=("c",)) for n in range(6)]


def test_preference_optimisation_is_planned_within_the_budget(make_loop):
    dpo = PreferenceConfig(epochs=100, pairs_per_batch=2, optimizer=OPTIMIZER)
    one = make_loop("one", tasks=PAIRED, learner=Preference(), dpo=replace(dpo, epochs=None, steps=1))
    one.run()
    (per_step,) = counts_of(one)
    loop = make_loop(tasks=PAIRED, learner=Preference(), dpo=dpo, trainer={"budget_tokens": 2 * per_step + 8})
    assert loop.run().step == 3
    assert counts_of(loop) == [per_step, 2 * per_step, 3 * per_step]


SAMPLED = PreferenceConfig(pairs="sampled", sampled_tasks=6, margin=0.01, epochs=2, pairs_per_batch=2, optimizer=OPTIMIZER)


class Places:
    """The later an answer stands, the more it earns."""

    def __call__(self, predictions, tasks):
        return {"score": torch.arange(len(predictions)).double().numpy() / 64}


def test_pairs_of_own_answers_are_sampled_once_counted_and_there_again_after_a_resume(make_loop, tmp_path):
    settings = {"learner": Preference(), "dpo": SAMPLED, "reward": Places()}
    whole = make_loop("whole", **settings)
    assert len(whole.learning.pairs) == 6
    sampled = whole.learning.count.tokens
    assert sampled == sum(
        len(group.prompt_token_ids) + sum(len(one.token_ids) for one in group.completions) for group in whole.learning.sampled
    )
    whole.run()
    assert counts_of(whole)[0] > sampled
    half = make_loop("half", **settings)
    original = half.learning.learn

    def breaking(step, gathered):
        if step == 3:
            raise UserError("the power goes off")
        return original(step, gathered)

    half.learning.learn = breaking
    with pytest.raises(UserError, match="power"):
        half.run()
    resumed = make_loop("half", checkpoint=find_checkpoint(tmp_path / "half"), **settings)
    resumed.run()
    assert counts_of(resumed) == counts_of(whole)
    ours, theirs = ([one.detach() for one in loop.learning.policy.model.parameters()] for loop in (resumed, whole))
    assert all(torch.equal(mine, other) for mine, other in zip(ours, theirs, strict=True))


def test_own_answers_that_do_not_differ_by_the_margin_are_answered_in_a_sentence(make_loop):
    with pytest.raises(
        UserError, match=r"in none of the 6 groups that were sampled do rewards differ by dpo.margin=0.5, the largest"
    ):
        make_loop(learner=Preference(), dpo=replace(SAMPLED, margin=0.5), reward=Places())


def test_a_budget_is_above_zero():
    with pytest.raises(UserError, match=r"trainer.budget_tokens=0: need a number above 0, or null"):
        TrainerConfig(1, 1, 1, OPTIMIZER, budget_tokens=0)
