"""PPO with a critic: resumed runs, gradients that do not depend on the cut, what each kind of critic learns from and leaves alone."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from parts import OPTIMIZER, Listening, edit_task, make_experiment, run_of

from gapo_cli.config.algorithm import AlgorithmConfig, PPOConfig
from gapo_cli.config.model import LoraConfig
from gapo_cli.config.sampling import EvaluationConfig, SamplingConfig
from gapo_cli.config.trainer import LAYOUTS, TrainerConfig
from gapo_cli.errors import CheckpointError, UserError
from gapo_cli.models.critic import make_critic
from gapo_cli.runs.run_files import repeatable
from gapo_cli.training.checkpoints.checkpoints import find_checkpoint
from gapo_cli.training.learners.actor_critic import at_last_tokens
from gapo_cli.training.learners.update_metrics import UpdateMetrics
from gapo_cli.training.lifecycle import Life
from gapo_cli.training.objectives.kl import LowVarKL


class Rising:
    """The later an answer stands, the more it earns, up to 1."""

    def __call__(self, predictions, tasks):
        return {"score": np.linspace(0.25, 1.0, len(predictions))}


TASKS = [edit_task(number, region=f"a = {'b' * (number % 5)}\n") for number in range(10)]
PPO = PPOConfig(replace(OPTIMIZER, learning_rate=1e-2))
BOTH = pytest.mark.parametrize("kind", ["copy", "head"])


def algorithm(kind, terms=None, **ppo):
    return AlgorithmConfig("ppo", critic=kind, ppo=replace(PPO, **ppo), terms=terms or {})


@pytest.fixture
def make_loop(tmp_path, tiny_config):
    def make(name="run", kind="copy", checkpoint=None, lora=None, reward=None, group_size=2, terms=None, trainer=None, **ppo):
        settings = {"steps": 4, "prompts_per_step": 4, "prompts_per_mini_batch": 2, "checkpoint_every": 2, **(trainer or {})}
        experiment = make_experiment(
            tmp_path / name,
            replace(tiny_config, lora=lora or LoraConfig()),
            algorithm=algorithm(kind, terms, **ppo),
            reward=reward or Rising(),
            sampling=SamplingConfig(group_size=group_size, max_new_tokens=6),
            trainer=TrainerConfig(optimizer=replace(OPTIMIZER, learning_rate=3e-3), **settings),
            evaluation=EvaluationConfig(samples=0, every_steps=2),
        )
        experiment.learner.check(experiment)
        torch.manual_seed(0)  # as the stage does: new adapters are drawn
        return Life.begin(run_of(experiment, TASKS[:7], TASKS[7:], checkpoint, Listening()))

    return make


def rows_of(loop):
    return [repeatable(json.loads(line)) for line in loop.files.metrics.read_text().splitlines()]


def weights_of(loop):
    trained = [*loop.learning.policy.model.parameters(), *loop.learning.with_critic.critic.weights().values()]
    return [parameter.detach().clone() for parameter in trained]


def steps_of(loop, count):
    """The rows of its first steps, without evaluations and checkpoints."""
    return [loop.learning.learn(step, loop.learning.gather(step)) for step in range(1, count + 1)]


def policy_of(loop):
    return [parameter.detach().clone() for parameter in loop.learning.policy.model.parameters()]


def same(first, second):
    return all(torch.equal(ours, theirs) for ours, theirs in zip(first, second, strict=True))


@pytest.mark.parametrize(("kind", "rank"), [("copy", 0), pytest.param("copy", 2, marks=pytest.mark.slow), ("head", 0)])
def test_a_resumed_run_equals_one_that_never_stopped(make_loop, tmp_path, kind, rank):
    if rank:
        pytest.importorskip("peft", reason="the extra lora is not installed")
    settings = {"kind": kind, "lora": LoraConfig(rank=rank), "warmup_steps": 1, "kl_in_reward": 0.1}
    whole = make_loop("whole", **settings)
    whole.run()
    make_loop("halves", **settings, trainer={"steps": 2}).run()
    resumed = make_loop("halves", **settings, checkpoint=find_checkpoint(tmp_path / "halves"))
    resumed.run()
    assert same(weights_of(resumed), weights_of(whole))
    assert rows_of(resumed)[1:] == rows_of(whole)[1:]


def gradient_of(loop):
    """The flat gradient of policy and critic, of the loop's first rollouts and a critic that has learnt something."""
    learning = loop.learning
    update = learning.with_critic
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in update.critic.weights().values():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    groups = learning.gather(1).batch.groups
    metrics = UpdateMetrics()
    mini_batches = update.actor.prepare(groups, [True] * len(groups), metrics)
    update._estimate(mini_batches)
    for one in mini_batches:
        update.actor.accumulate(one, metrics)
        if update.critic.own:
            update._own_passes(one)
    parameters = [*learning.optimizer.parameters, *update.optimizer.parameters]
    return torch.cat([(torch.zeros_like(one) if one.grad is None else one.grad).flatten() for one in parameters])


@BOTH
def test_the_gradient_is_the_same_in_every_layout_and_however_it_is_cut(make_loop, kind):
    whole = gradient_of(make_loop(kind=kind))
    assert whole.abs().max() > 1e-3
    for layout in LAYOUTS:
        for budget in (0, 60):
            cut = gradient_of(make_loop(kind=kind, trainer={"layout": layout, "max_tokens_per_microbatch": budget}))
            torch.testing.assert_close(cut, whole, rtol=1e-3, atol=1e-5)


@BOTH
def test_while_the_critic_warms_up_the_policy_stays_as_it_is(make_loop, kind):
    loop = make_loop(kind=kind, warmup_steps=2, trainer={"steps": 3})
    before, critic_before = policy_of(loop), loop.learning.with_critic.critic.head.weight.detach().clone()
    learning = loop.learning
    for row in steps_of(loop, 2):
        assert "actor/pg_loss" not in row and "actor/lr" not in row and row["critic/vf_loss"] > 0
    assert same(policy_of(loop), before)
    assert not torch.equal(learning.with_critic.critic.head.weight, critic_before)
    assert "actor/pg_loss" in learning.learn(3, learning.gather(3))
    assert not same(policy_of(loop), before)


def test_the_critic_learns_what_answers_earn(make_loop):
    # every answer earns 0.4 at its end
    class Constant:
        def __call__(self, predictions, tasks):
            return {"score": np.full(len(predictions), 0.4)}

    rows = steps_of(make_loop(reward=Constant(), gae_lambda=1.0, warmup_steps=12, trainer={"steps": 13}), 12)
    assert rows[0]["critic/values/mean"] == 0.0
    assert rows[0]["critic/vf_loss"] > 0.04
    assert rows[-1]["critic/vf_loss"] < 0.005
    assert rows[-1]["critic/values/mean"] == pytest.approx(0.4, abs=0.1)


def test_a_group_of_one_learns(make_loop):
    first, second = steps_of(make_loop(group_size=1), 2)
    assert first["actor/grad_norm"] > 0 and second["actor/grad_norm"] > 0
    assert first["actor/computed_tokens_frac"] == 1.0


def test_a_trunk_without_a_share_of_the_value_loss_learns_from_the_policy_alone(make_loop):
    gradients = {}
    for weight in (0.0, 0.5):
        loop = make_loop(f"run-{weight}", kind="head", trunk_weight=weight)
        gradients[weight] = gradient_of(loop)
    head = gradients[0.0][-33:]  # 32 weights and a bias: the head is the last of the parameters
    assert torch.allclose(gradients[0.5][-33:], head, rtol=1e-4, atol=1e-6)
    assert not torch.allclose(gradients[0.5][:-33], gradients[0.0][:-33], atol=1e-4)


def test_an_answer_without_a_reward_teaches_neither(make_loop):
    class Missing:
        """The first answer of each prompt has no reward."""

        def __call__(self, predictions, tasks):
            return {"score": np.array([np.nan if place % 2 == 0 else 0.5 for place in range(len(predictions))])}

    loop = make_loop(reward=Missing())
    learning = loop.learning
    groups = learning.gather(1).batch.groups
    mini_batches = learning.updater.prepare(groups, [True] * 4, UpdateMetrics())
    learning.with_critic._estimate(mini_batches)
    for mini_batch in mini_batches:
        for micro in mini_batch.micro_batches:
            for place, advantages, returns, values in zip(
                micro.places,
                micro.advantages.split(micro.lengths),
                micro.returns.split(micro.lengths),
                micro.values_old.split(micro.lengths),
                strict=True,
            ):
                missing = place % 2 == 0
                assert bool((advantages == 0).all()) == missing
                assert torch.equal(returns, values) == missing


def test_kl_in_the_reward_needs_no_term_and_is_logged(make_loop):
    loop = make_loop(kl_in_reward=0.2)
    first, second = steps_of(loop, 2)
    assert loop.learning.updater.reference is not None
    # the policy is the starting model in the first step, and not in the second
    assert abs(first["actor/reward_kl_penalty"]) < 1e-5 < abs(second["actor/reward_kl_penalty"])
    assert "actor/kl_loss" not in second


def test_kl_may_be_a_term_as_well(make_loop):
    (row,) = steps_of(make_loop(terms={"kl": LowVarKL(0.01)}), 1)
    assert "actor/kl_loss" in row and "actor/reward_kl_penalty" not in row


def test_with_adapters_a_copied_critic_shares_the_frozen_weights(tiny_config):
    pytest.importorskip("peft", reason="the extra lora is not installed")
    from gapo_cli.models.policy import load_policy

    policy = load_policy(replace(tiny_config, lora=LoraConfig(rank=2)), TrainerConfig(1, 1, 1, OPTIMIZER))
    critic = make_critic(policy, "copy")
    ours = {one.data_ptr(): one for one in policy.model.parameters()}
    for parameter in critic.trunk.parameters():
        assert (parameter.data_ptr() in ours) == (not parameter.requires_grad)
    assert all("lora" in name or name.startswith("value_head") for name in critic.weights())


def test_a_reward_stands_at_the_last_token_of_its_answer():
    found = at_last_tokens(torch.tensor([0.5, torch.nan, 1.0]), [3, 2, 1])
    assert str(found.tolist()) == "[0.0, 0.0, 0.5, nan, nan, 1.0]"


def test_a_checkpoint_without_a_critic_is_refused(make_loop, tmp_path):
    loop = make_loop(trainer={"steps": 2})
    loop.learning.with_critic = None
    loop.run()
    with pytest.raises(CheckpointError, match="the checkpoint has no critic, it was trained without one"):
        make_loop(checkpoint=find_checkpoint(tmp_path / "run"))


def test_a_critic_of_the_other_kind_is_refused(make_loop, tmp_path):
    make_loop(trainer={"steps": 2}).run()
    with pytest.raises(CheckpointError, match=r"the checkpoint's critic is not this run's algorithm.critic=head"):
        make_loop(kind="head", checkpoint=find_checkpoint(tmp_path / "run"))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"kind": "twin"}, "algorithm.critic=twin: need one of copy, head"),
        ({"gae_lambda": 1.5}, r"algorithm.ppo.gae_lambda=1.5: need 0 to 1"),
        ({"value_clip": 0.0}, r"algorithm.ppo.value_clip=0.0: need a number above 0, or null"),
        ({"warmup_steps": 4}, r"algorithm.ppo.warmup_steps=4: need fewer than trainer.steps=4"),
        ({"kl_in_reward": -1.0}, r"algorithm.ppo.kl_in_reward=-1.0: need 0 or more"),
    ],
)
def test_settings_that_cannot_be_are_answered_in_a_sentence(make_loop, settings, sentence):
    with pytest.raises(UserError, match=sentence):
        make_loop(**settings)


def test_dynamic_sampling_needs_groups(tmp_path, tiny_config):
    experiment = make_experiment(
        tmp_path / "run",
        tiny_config,
        algorithm=replace(algorithm("copy"), dynamic_sampling=True),
        sampling=SamplingConfig(group_size=1, max_new_tokens=6),
    )
    with pytest.raises(UserError, match="algorithm.dynamic_sampling=true: drops groups of equal scores"):
        experiment.learner.check(experiment)
