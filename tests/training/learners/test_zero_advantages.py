"""Completions of advantage 0 are left out of the update: the same loss and gradient, fewer tokens through the model.

The full pass to compare with is that of a term that asks for every token and adds nothing."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from parts import edit_task

from gapo_cli.config.algorithm import AGGREGATIONS, AlgorithmConfig
from gapo_cli.config.model import LoraConfig
from gapo_cli.config.trainer import LAYOUTS
from gapo_cli.models.packing.layout import pack
from gapo_cli.models.packing.logprobs import completion_logprobs
from gapo_cli.models.policy import load_policy
from gapo_cli.records import Completion, Group
from gapo_cli.training.learners.optimizer import StepResult
from gapo_cli.training.learners.policy_update import PolicyUpdate
from gapo_cli.training.objectives.entropy import EntropyBonus

PLAIN = AlgorithmConfig(name="grpo", constant_divisor=12.0)
PATTERNS = ((0.0, 0.7, 0.0, -1.2), (0.0, 0.0, 0.0, 0.0), (1.1, -0.4, 0.3, -2.0), (0.0, 0.0, 0.0, 1.9))
"""Advantages of four groups: some 0, all 0, none 0, one left. 8 of 16 are 0."""


@dataclass(frozen=True)
class Everything:
    """A term that asks for every token and adds nothing."""

    coefficient: float = 1.0
    every_token = True
    needs_reference = False
    needs_entropy = False

    def __call__(self, tokens):
        return 0 * tokens.logprobs


class Descent:
    """Plain gradient descent that keeps every gradient: of Adam's steps rounding would decide the small ones."""

    def __init__(self, policy, rate=1e-3):
        self.parameters = [parameter for parameter in policy.model.parameters() if parameter.requires_grad]
        self.rate, self.gradients = rate, []

    @torch.no_grad()
    def step(self, finite_loss=True):
        grads = [torch.zeros_like(one) if one.grad is None else one.grad for one in self.parameters]
        self.gradients.append(torch.cat([grad.flatten().double() for grad in grads]))
        for parameter, grad in zip(self.parameters, grads, strict=True):
            parameter -= self.rate * grad
            parameter.grad = None
        return StepResult(float(self.gradients[-1].norm()), self.rate, not finite_loss)


def groups_of(policy, off_by=0.3):
    """Groups with the advantages of PATTERNS, of random tokens; the engine's log-probabilities are `off_by` (one std) off."""
    random = np.random.default_rng(0)

    def tokens(low, high):
        return tuple(map(int, random.integers(2, 250, random.integers(low, high))))

    groups = []
    for number, advantages in enumerate(PATTERNS):
        prompt, answers = tokens(3, 12), [tokens(1, 9) for _ in advantages]
        with torch.no_grad():
            own = completion_logprobs(policy.model, pack([prompt], [answers], 0)).logprobs.numpy()
        engine = np.split(own + off_by * random.standard_normal(len(own)), np.cumsum([len(one) for one in answers])[:-1])
        completions = tuple(
            Completion(ids, tuple(map(float, said)), "", "stop") for ids, said in zip(answers, engine, strict=True)
        )
        scores = np.zeros(len(advantages))
        groups.append(Group(edit_task(number), prompt, completions, {}, scores, scores, np.array(advantages)))
    return groups


@dataclass
class Learnt:
    gradients: list
    row: dict
    tokens: int


def learn(config, trainer, algorithm, fresh=(True,) * 4, **changes):
    """One update from the weights of `config`; `tokens`: those that went through the model."""
    trainer = replace(trainer, **{"prompts_per_mini_batch": 4, **changes})
    policy = load_policy(config, trainer)
    policy.model.double()  # float32 products of other shapes round to more than 1e-6 on some processors
    if config.lora.rank:  # a new adapter's B is 0, and so A has no gradient
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in policy.model.parameters():
                if parameter.requires_grad:
                    parameter.copy_(0.05 * torch.randn(parameter.shape, generator=generator))
    groups = groups_of(policy)
    counts = []
    policy.model.get_decoder().register_forward_pre_hook(
        lambda trunk, arguments, inputs: counts.append(inputs["input_ids"].numel()), with_kwargs=True
    )
    descent = Descent(policy)
    row = PolicyUpdate(policy, None, descent, algorithm, trainer, 1.0).update(groups, list(fresh))
    return Learnt(descent.gradients, row, sum(counts))


def assert_equal_updates(config, trainer, algorithm, **settings):
    skipping = learn(config, trainer, algorithm, **settings)
    full = learn(config, trainer, replace(algorithm, terms={"everything": Everything()}), **settings)
    assert skipping.tokens < full.tokens
    assert len(skipping.gradients) == len(full.gradients)
    for step, (ours, theirs) in enumerate(zip(skipping.gradients, full.gradients, strict=True)):
        assert theirs.norm() > 0
        # from the second step on the weights differ by the rounding of those before
        assert float((ours - theirs).norm() / theirs.norm()) < (1e-5 if step else 1e-6)
    for name in ("actor/pg_loss", "actor/pg_clipfrac", "actor/pg_clipfrac_lower", "actor/grad_norm"):
        assert skipping.row[name] == pytest.approx(full.row[name], rel=1e-6, abs=1e-9), name
    assert full.row["actor/computed_tokens_frac"] == 1
    assert 0.3 < skipping.row["actor/computed_tokens_frac"] < 0.7
    return full


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_leaving_them_out_changes_neither_loss_nor_gradient(tiny_config, trainer, aggregation, layout):
    # 30 tokens: the groups are divided, and those from which completions are missing at other places
    assert_equal_updates(
        tiny_config, trainer, replace(PLAIN, aggregation=aggregation), layout=layout, max_tokens_per_microbatch=30
    )


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("algorithm", "settings"),
    [
        (replace(PLAIN, importance_cap=1.1), {}),
        (replace(PLAIN, importance_cap=1.1), {"epochs_per_step": 2, "recompute_logprobs": True}),
        (replace(PLAIN, dual_clip=1.01, clip_high=0.05, clip_low=0.05), {"epochs_per_step": 2}),
        (PLAIN, {"epochs_per_step": 3, "prompts_per_mini_batch": 2}),
        (PLAIN, {"epochs_per_step": 2, "recompute_logprobs": True}),
        # the surplus of dynamic sampling: one group is of an earlier policy
        (replace(PLAIN, dynamic_sampling=True), {"fresh": (True, True, False, True), "recompute_logprobs": True}),
    ],
    ids=["importance cap", "importance cap, epochs", "dual clip", "epochs", "recomputed", "dynamic sampling"],
)
def test_nor_does_it_with_clips_importance_weights_and_several_steps(tiny_config, trainer, algorithm, settings, layout):
    full = assert_equal_updates(tiny_config, trainer, algorithm, layout=layout, **settings)
    if algorithm.dual_clip < PLAIN.dual_clip:
        assert full.row["actor/pg_clipfrac"] > 0.05
        assert full.row["actor/pg_clipfrac_lower"] > 0.01


@pytest.mark.parametrize("layout", LAYOUTS)
def test_nor_does_it_with_adapters(tiny_config, trainer, layout):
    pytest.importorskip("peft", reason="the extra lora is not installed")
    adapted = replace(tiny_config, lora=LoraConfig(rank=2, alpha=4, targets=("q_proj", "down_proj")))
    assert_equal_updates(adapted, trainer, PLAIN, layout=layout, epochs_per_step=2)


def test_only_what_has_an_advantage_goes_through_the_model(tiny_config, trainer):
    policy = load_policy(tiny_config, trainer)
    groups = groups_of(policy)
    own = learn(tiny_config, trainer, PLAIN)
    # packed: a prompt once where anything is left of its group, and all tokens but the last of what is left
    expected = 0
    for group, advantages in zip(groups, PATTERNS, strict=True):
        left = [len(one.token_ids) - 1 for one, advantage in zip(group.completions, advantages, strict=True) if advantage]
        expected += len(group.prompt_token_ids) * bool(left) + sum(left)
    assert own.tokens == expected
    computed = sum(
        len(one.token_ids)
        for group, advantages in zip(groups, PATTERNS, strict=True)
        for one, advantage in zip(group.completions, advantages, strict=True)
        if advantage
    )
    total = sum(len(one.token_ids) for group in groups for one in group.completions)
    assert own.row["actor/computed_tokens_frac"] == computed / total


def test_old_logprobs_are_recomputed_for_what_is_learnt_from_only(tiny_config, trainer):
    once = learn(tiny_config, trainer, PLAIN)
    # two epochs and one pass for the old log-probabilities before them
    assert learn(tiny_config, trainer, PLAIN, epochs_per_step=2, recompute_logprobs=True).tokens == 3 * once.tokens


def test_a_term_that_asks_for_every_token_gets_every_token(tiny_config, trainer):
    found = learn(tiny_config, trainer, replace(PLAIN, terms={"entropy": EntropyBonus(0.01)}))
    assert found.row["actor/computed_tokens_frac"] == 1
    assert found.tokens == learn(tiny_config, trainer, replace(PLAIN, terms={"everything": Everything()})).tokens


def test_an_update_without_any_advantage_makes_no_pass_and_is_a_step_of_zero_gradient(tiny_policy, trainer):
    groups = [replace(group, advantages=np.zeros(4)) for group in groups_of(tiny_policy)]
    passes = []
    tiny_policy.model.get_decoder().register_forward_pre_hook(lambda *_: passes.append(1))
    descent = Descent(tiny_policy)
    row = PolicyUpdate(tiny_policy, None, descent, PLAIN, trainer, 1.0).update(groups, [True] * 4)
    assert passes == []
    assert [float(one.norm()) for one in descent.gradients] == [0, 0]
    assert row["actor/computed_tokens_frac"] == 0
    assert "actor/entropy" not in row


def test_an_advantage_that_is_no_number_is_not_left_out(tiny_policy, trainer):
    groups = groups_of(tiny_policy)
    groups[1] = replace(groups[1], advantages=np.array([0.0, np.nan, 0.0, 0.0]))
    descent = Descent(tiny_policy)
    row = PolicyUpdate(tiny_policy, None, descent, PLAIN, replace(trainer, prompts_per_mini_batch=4), 1.0).update(
        groups, [True] * 4
    )
    assert row["actor/skipped_steps"] == 1
