"""The policy update: gradients that do not depend on the cut, the terms of the loss, old log-probabilities.

What passes are made is seen from the model, by a hook on its trunk: nothing of the update is replaced."""

from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from parts import edit_task

from gapo_cli.config.algorithm import AGGREGATIONS, AlgorithmConfig
from gapo_cli.config.trainer import LAYOUTS, OptimizerConfig
from gapo_cli.errors import PartError
from gapo_cli.models.load import load_model
from gapo_cli.models.packing.layout import pack
from gapo_cli.models.packing.logprobs import completion_logprobs
from gapo_cli.records import Completion, Group
from gapo_cli.training.batches.mini_batches import cut_mini_batch
from gapo_cli.training.guards import SkipGuard, TooManySkipped, skipped_sentence
from gapo_cli.training.learners.optimizer import Optimizer
from gapo_cli.training.learners.policy_update import PolicyUpdate
from gapo_cli.training.learners.update_metrics import UpdateMetrics
from gapo_cli.training.objectives.entropy import EntropyBonus
from gapo_cli.training.objectives.jacobian import Jacobian
from gapo_cli.training.objectives.kl import LowVarKL
from gapo_cli.training.objectives.smoothness import Smoothness

COMPLETIONS = 3
PLAIN = AlgorithmConfig(name="grpo")
KL = replace(PLAIN, terms={"kl": LowVarKL(0.05)})
ENTROPY = replace(PLAIN, terms={"entropy": EntropyBonus(0.01)})
JACOBIAN = replace(PLAIN, terms={"jacobian": Jacobian(0.5, step=0.1, share=0.6)})
BOTH = replace(PLAIN, terms={**KL.terms, **ENTROPY.terms})


def random_groups(policy, count=5, zero_advantages=(), off_by=0.3, seed=0):
    """Groups of random tokens whose engine log-probabilities are `off_by` (one std) away from the policy's."""
    random = np.random.default_rng(seed)
    groups = []
    for number in range(count):
        prompt = tuple(int(token) for token in random.integers(2, 250, random.integers(3, 12)))
        answers = [tuple(int(token) for token in random.integers(1, 250, random.integers(1, 9))) for _ in range(COMPLETIONS)]
        with torch.no_grad():
            current = completion_logprobs(policy.model, pack([prompt], [answers], 0)).logprobs.numpy()
        engine = np.split(
            current + off_by * random.standard_normal(len(current)), np.cumsum([len(ids) for ids in answers])[:-1]
        )
        completions = tuple(
            Completion(ids, tuple(map(float, own)), "", "stop") for ids, own in zip(answers, engine, strict=True)
        )
        advantages = np.zeros(COMPLETIONS) if number in zero_advantages else random.standard_normal(COMPLETIONS)
        scores = np.zeros(COMPLETIONS)
        groups.append(Group(edit_task(number), prompt, completions, {}, scores, scores, advantages))
    return groups


def updater(policy, trainer, algorithm=PLAIN, rate=1e-3, **changes):
    trainer = replace(trainer, optimizer=OptimizerConfig(learning_rate=rate, warmup_steps=0), **changes)
    reference = load_model(policy.config).model if algorithm.needs_reference else None
    if reference is not None:
        with torch.no_grad():
            for parameter in reference.parameters():
                parameter.mul_(1.05)
    return PolicyUpdate(
        policy, reference, Optimizer(policy.model.parameters(), trainer.optimizer, 100), algorithm, trainer, 1.0
    )


def gradient(policy, groups, trainer, algorithm, old="engine", budget=0, **changes):
    """The flat gradient of one mini-batch of all groups."""
    one = updater(policy, trainer, algorithm, **changes)
    mini_batch = cut_mini_batch(groups, [True] * len(groups), algorithm, one.trainer.layout, budget)
    for micro in mini_batch.micro_batches:
        micro.logprobs_old = micro.logprobs_engine if old == "engine" else None
    policy.model.zero_grad()
    one.accumulate(mini_batch, UpdateMetrics())
    return torch.cat(
        [
            (torch.zeros_like(parameter) if parameter.grad is None else parameter.grad).flatten().clone()
            for parameter in policy.model.parameters()
        ]
    )


@dataclass(frozen=True)
class Pass:
    """One forward pass: how many groups and how many tokens go through the model, padding included."""

    groups: int
    tokens: int


def passes_of(model):
    """A list that every pass of this model from now on is added to."""
    found = []

    def look(trunk, arguments, inputs):
        # each prompt has a first token; rows without padding, or the padding's positions count on
        found.append(Pass(int((inputs["position_ids"] == 0).sum()), inputs["input_ids"].numel()))

    model.get_decoder().register_forward_pre_hook(look, with_kwargs=True)
    return found


@dataclass
class Listening:
    """A term of the loss that keeps what it is called with; each token's value is `value` times its log-probability."""

    coefficient: float = 1.0
    every_token: bool = False
    needs_reference: bool = False
    needs_entropy: bool = False
    value: float = 0.0
    heard: list = field(default_factory=list)
    before: list = field(default_factory=list)

    def __call__(self, tokens):
        self.heard.append(tokens)
        return self.value * tokens.logprobs

    def before_update(self, policy):
        self.before.append(next(policy.model.parameters()).detach().clone())


def relative_error(ours, theirs):
    return float((ours - theirs).norm() / theirs.norm())


ALGORITHMS = {"plain": PLAIN, "kl": KL, "kl and entropy": BOTH}
PAIRS = [  # any two of an aggregation, an algorithm and a layout meet
    (aggregation, name, LAYOUTS[(row + column) % len(LAYOUTS)])
    for row, aggregation in enumerate(AGGREGATIONS)
    for column, name in enumerate(ALGORITHMS)
]


@pytest.mark.slow
@pytest.mark.parametrize(("aggregation", "name", "layout"), PAIRS)
def test_the_gradient_does_not_depend_on_the_micro_batches(tiny_policy, trainer, aggregation, name, layout):
    algorithm = replace(ALGORITHMS[name], aggregation=aggregation, constant_divisor=12.0)
    groups = random_groups(tiny_policy)
    whole = gradient(tiny_policy, groups, trainer, algorithm, layout=layout)
    assert whole.norm() > 0
    # 1: every completion alone, its group's prompt repeated; 20: some groups are divided; 60: none is
    for budget in (1, 20, 60):
        assert relative_error(gradient(tiny_policy, groups, trainer, algorithm, budget=budget, layout=layout), whole) < 1e-5


@pytest.mark.parametrize(
    ("aggregation", "weights"),
    # 4 completions of 1, 2, 3 and 4 tokens, 10 together
    [
        ("token-mean", [1 / 10, 1 / 10, 1 / 10, 1 / 10]),
        ("seq-mean-token-mean", [1 / 4, 1 / 8, 1 / 12, 1 / 16]),
        ("seq-mean-token-sum", [1 / 4, 1 / 4, 1 / 4, 1 / 4]),
        ("constant", [1 / 48, 1 / 48, 1 / 48, 1 / 48]),
    ],
)
@pytest.mark.parametrize(("budget", "micro_batches"), [(0, 1), (1, 4)])
def test_tokens_weigh_what_they_weigh_in_the_whole_mini_batch(aggregation, weights, budget, micro_batches):
    def group(number, *lengths):
        completions = tuple(Completion((7,) * length, (-1.0,) * length, "", "stop") for length in lengths)
        scores = np.zeros(len(lengths))
        return Group(edit_task(number), (5, 6), completions, {}, scores, scores, np.array([1.0, -1.0]))

    algorithm = replace(PLAIN, aggregation=aggregation, constant_divisor=12.0)
    mini_batch = cut_mini_batch([group(0, 1, 2), group(1, 3, 4)], [True, True], algorithm, "packed", budget)
    assert len(mini_batch.micro_batches) == micro_batches
    found = torch.cat([micro.weights for micro in mini_batch.micro_batches])
    expected = np.repeat(weights, [1, 2, 3, 4])
    assert found.tolist() == pytest.approx(expected)
    assert mini_batch.weight == pytest.approx(expected.sum())


@pytest.mark.parametrize("algorithm", [KL, BOTH], ids=["kl", "kl and entropy"])
def test_the_gradient_does_not_depend_on_the_chunks_of_the_logits(tiny_policy, trainer, algorithm):
    groups = random_groups(tiny_policy)
    whole = gradient(tiny_policy, groups, trainer, algorithm, logprob_chunk_tokens=0)
    assert relative_error(gradient(tiny_policy, groups, trainer, algorithm, logprob_chunk_tokens=7), whole) < 1e-6


def test_the_entropy_has_a_gradient_only_where_a_term_asks_for_it(tiny_policy, trainer):
    for needs in (False, True):
        term = Listening(needs_entropy=needs)
        gradient(tiny_policy, random_groups(tiny_policy, 2), trainer, replace(PLAIN, terms={"listening": term}))
        (tokens,) = term.heard
        assert tokens.entropy.requires_grad is needs


def test_the_jacobian_terms_gradient_depends_neither_on_the_micro_batches_nor_on_the_layout(tiny_policy, trainer):
    groups = random_groups(tiny_policy, zero_advantages=range(5))  # the term's alone
    whole = gradient(tiny_policy, groups, trainer, JACOBIAN)
    assert whole.norm() > 0
    for budget, layout in ((1, "packed"), (20, "packed"), (0, "masked"), (20, "padded")):
        found = gradient(tiny_policy, groups, trainer, JACOBIAN, budget=budget, layout=layout)
        assert relative_error(found, whole) < 1e-3


def test_the_terms_of_robustness_are_logged_and_smoothness_begins_with_the_second_step(tiny_policy, trainer):
    terms = {"jacobian": Jacobian(0.5, share=1), "smoothness": Smoothness(0.5)}
    rows = []
    for size in (4, 2):
        changes = {"prompts_per_mini_batch": size, "rate": 1e-2}
        one = updater(tiny_policy, trainer, replace(PLAIN, terms=terms), **changes)
        rows.append(one.update(random_groups(tiny_policy, 4), [True] * 4))
    assert rows[0]["actor/jacobian_loss"] > 0 and rows[0]["actor/smoothness_loss"] == 0
    assert rows[1]["actor/jacobian_loss"] > 0 and rows[1]["actor/smoothness_loss"] > 0


@pytest.mark.parametrize("algorithm", [PLAIN, KL], ids=["plain", "kl"])
def test_packed_and_padded_layouts_give_the_same_gradient(tiny_policy, trainer, algorithm):
    groups = random_groups(tiny_policy)
    padded = gradient(tiny_policy, groups, trainer, algorithm, layout="padded")
    for layout in ("packed", "masked"):
        assert relative_error(gradient(tiny_policy, groups, trainer, algorithm, layout=layout), padded) < 1e-5


def test_no_reference_pass_is_made_without_kl(tiny_policy, trainer):
    groups = random_groups(tiny_policy, 4)
    passes = passes_of(tiny_policy.model)
    row = updater(tiny_policy, trainer).update(groups, [True] * 4)
    # two mini-batches, one pass each
    assert [one.groups for one in passes] == [2, 2]
    assert "actor/kl_loss" not in row


def test_the_reference_is_asked_once_however_many_epochs(tiny_policy, trainer):
    one = updater(tiny_policy, trainer, KL, epochs_per_step=3)
    groups = random_groups(tiny_policy, 4)
    of_reference, of_policy = passes_of(one.reference), passes_of(tiny_policy.model)
    row = one.update(groups, [True] * 4)
    assert (len(of_reference), len(of_policy)) == (2, 6)
    assert row["actor/kl_loss"] > 0


def test_a_reference_without_kl_and_kl_without_reference_are_refused(tiny_policy, trainer):
    optimizer = Optimizer(tiny_policy.model.parameters(), trainer.optimizer, 10)
    for reference, algorithm in ((tiny_policy.model, PLAIN), (None, KL)):
        with pytest.raises(ValueError, match="reference"):
            PolicyUpdate(tiny_policy, reference, optimizer, algorithm, trainer, 1.0)


def test_one_optimizer_step_a_batch_takes_the_current_logprobs_as_old(tiny_policy, trainer):
    # the engine's are far off, and yet the ratio is 1: nothing clipped, no divergence
    groups = random_groups(tiny_policy, 4, off_by=2.0)
    row = updater(tiny_policy, trainer, prompts_per_mini_batch=4).update(groups, [True] * 4)
    assert (row["actor/pg_clipfrac"], row["actor/ppo_kl"]) == (0.0, 0.0)


def test_several_optimizer_steps_take_the_engines_logprobs_as_old(tiny_policy, trainer):
    row = updater(tiny_policy, trainer).update(random_groups(tiny_policy, 4, off_by=2.0), [True] * 4)
    assert row["actor/pg_clipfrac"] > 0.1


def test_stale_groups_take_the_engines_logprobs_even_in_one_step(tiny_policy, trainer):
    groups = random_groups(tiny_policy, 4, off_by=2.0)
    row = updater(tiny_policy, trainer, prompts_per_mini_batch=4).update(groups, [True, True, False, True])
    assert row["actor/pg_clipfrac"] > 0.1


def test_recomputed_logprobs_replace_the_engines(tiny_policy, trainer):
    # a rate of next to nothing: all steps see the same weights
    one = updater(tiny_policy, trainer, rate=1e-12, recompute_logprobs=True)
    groups = random_groups(tiny_policy, 4, off_by=2.0)
    passes = passes_of(tiny_policy.model)
    row = one.update(groups, [True] * 4)
    assert row["actor/pg_clipfrac"] == 0
    assert row["actor/ppo_kl"] == pytest.approx(0, abs=1e-6)
    assert [one.groups for one in passes] == [2, 2, 2, 2]
    # the mismatch is seen in all tokens
    assert row["training/rollout_probs_diff_max"] > 0
    assert row["training/rollout_k3"] > 0.1


def test_recomputing_leaves_stale_groups_the_engines_logprobs(tiny_policy, trainer):
    """Group 2 is of an earlier policy, which was off by a factor of e^2: clipped. Recomputed alike, no token would be."""
    one = updater(tiny_policy, trainer, rate=1e-12, recompute_logprobs=True)
    row = one.update(random_groups(tiny_policy, 4, off_by=2.0), [True, True, False, True])
    assert row["actor/pg_clipfrac"] > 0.02


def test_recomputing_for_one_step_makes_no_extra_pass(tiny_policy, trainer):
    one = updater(tiny_policy, trainer, recompute_logprobs=True, prompts_per_mini_batch=4)
    groups = random_groups(tiny_policy, 4, off_by=2.0)
    passes = passes_of(tiny_policy.model)
    row = one.update(groups, [True] * 4)
    assert [one.groups for one in passes] == [4]
    assert row["training/rollout_k3"] > 0.1


def test_the_mismatch_of_an_engine_with_the_same_logprobs_is_nothing(tiny_policy, trainer):
    row = updater(tiny_policy, trainer, rate=0.1).update(random_groups(tiny_policy, 4, off_by=0.0), [True] * 4)
    # the second mini-batch is after a step of a large rate: it is not looked at
    assert row["training/rollout_probs_diff_max"] < 1e-5


def test_stale_groups_are_left_out_of_the_mismatch(tiny_policy, trainer):
    groups = random_groups(tiny_policy, 2, off_by=0.0) + random_groups(tiny_policy, 2, off_by=3.0)
    one = updater(tiny_policy, trainer, prompts_per_mini_batch=4)
    assert one.update(groups, [True, True, False, False])["training/rollout_probs_diff_max"] < 1e-5


def test_truncated_importance_sampling_scales_what_the_engine_got_wrong(tiny_policy, trainer):
    # engine log-probabilities all lower by log 3: the true weight is 3, cut at 2, so the gradient doubles
    groups = [
        replace(
            group,
            completions=tuple(
                replace(one, logprobs=tuple(value - float(np.log(3)) for value in one.logprobs)) for one in group.completions
            ),
        )
        for group in random_groups(tiny_policy, 3, off_by=0.0)
    ]
    plain = gradient(tiny_policy, groups, trainer, PLAIN, old="current")
    weighted = gradient(tiny_policy, groups, trainer, replace(PLAIN, importance_cap=2.0), old="current")
    assert relative_error(weighted, 2 * plain) < 1e-5


def test_a_term_adds_its_coefficient_times_its_weighted_values_and_is_logged_by_its_name(tiny_policy, trainer):
    # without any advantage the loss is the term alone: 3 x Σ weight x 0.5 x logp
    groups = random_groups(tiny_policy, 2, zero_advantages=(0, 1))
    term = Listening(coefficient=3.0, every_token=True, value=0.5)
    one = updater(tiny_policy, trainer, replace(PLAIN, terms={"mine": term}))
    row = one.update(groups, [True] * 2)
    (tokens,) = term.heard
    value = (tokens.weights * 0.5 * tokens.logprobs).sum().item()
    assert row["actor/mine_loss"] == pytest.approx(value)
    assert value < 0
    # 1.5 times the gradient of the mean log-probability, which a term of coefficient 1.5 and value 1 has too
    other = replace(PLAIN, terms={"mine": Listening(coefficient=1.5, every_token=True, value=1.0)})
    ours = gradient(tiny_policy, groups, trainer, one.algorithm)
    assert ours.norm() > 0
    assert relative_error(ours, gradient(tiny_policy, groups, trainer, other)) < 1e-6


def test_a_term_of_coefficient_zero_is_as_if_it_were_not_there(tiny_policy, trainer):
    groups = random_groups(tiny_policy, 2, zero_advantages=(0,))
    term = Listening(coefficient=0.0, every_token=True, needs_reference=True)
    algorithm = replace(PLAIN, terms={"mine": term, "kl": LowVarKL(0.0)})
    one = updater(tiny_policy, trainer, algorithm)
    passes = passes_of(tiny_policy.model)
    row = one.update(groups, [True] * 2)
    assert one.reference is None
    assert [one.groups for one in passes] == [1]
    assert (term.heard, term.before) == ([], [])
    assert not {"actor/mine_loss", "actor/kl_loss"} & row.keys()


def test_a_term_is_told_of_the_policy_before_the_first_step_of_every_rollout_batch(tiny_policy, trainer):
    term = Listening()
    one = updater(tiny_policy, trainer, replace(PLAIN, terms={"mine": term}), epochs_per_step=2)
    start = next(tiny_policy.model.parameters()).detach().clone()
    one.update(random_groups(tiny_policy, 4), [True] * 4)
    after = next(tiny_policy.model.parameters()).detach().clone()
    one.update(random_groups(tiny_policy, 4), [True] * 4)
    assert len(term.heard) == 2 * 2 * 2  # batches, mini-batches, epochs
    assert torch.equal(term.before[0], start)
    assert torch.equal(term.before[1], after)
    assert not torch.equal(start, after)


@dataclass(frozen=True)
class SecondPass:
    """KL(policy on the prompt ‖ policy with its embeddings nudged) would be such a term; here the mean log-probability of the
    same tokens under a second pass of its own, which has a gradient."""

    coefficient: float
    every_token = True
    needs_reference = False
    needs_entropy = False

    def __call__(self, tokens):
        return completion_logprobs(tokens.policy.model, tokens.batch, tokens.temperature).logprobs


def test_a_term_can_make_a_pass_of_its_own(tiny_policy, trainer):
    groups = random_groups(tiny_policy, 2)
    passes = passes_of(tiny_policy.model)
    second = gradient(tiny_policy, groups, trainer, replace(PLAIN, terms={"second": SecondPass(0.5)}))
    assert len(passes) == 2
    first = gradient(tiny_policy, groups, trainer, replace(PLAIN, terms={"first": Listening(0.5, every_token=True, value=1.0)}))
    assert relative_error(second, first) < 1e-6


def test_metrics_do_not_depend_on_the_micro_batches(tiny_policy, trainer):
    rows = []
    for budget in (0, 30):
        policy = load_model(tiny_policy.config)
        one = updater(
            policy, trainer, replace(KL, aggregation="constant", constant_divisor=12.0), max_tokens_per_microbatch=budget
        )
        rows.append(one.update(random_groups(tiny_policy, 4), [True] * 4))
    assert rows[0].keys() == rows[1].keys()
    for name, value in rows[0].items():
        assert value == pytest.approx(rows[1][name], rel=1e-3, abs=1e-6), name


def test_metrics_have_verls_names(tiny_policy, trainer):
    row = updater(tiny_policy, trainer, KL).update(random_groups(tiny_policy, 4), [True] * 4)
    names = (
        "pg_loss",
        "pg_clipfrac",
        "pg_clipfrac_lower",
        "ppo_kl",
        "kl_loss",
        "entropy",
        "grad_norm",
        "lr",
        "skipped_steps",
        "computed_tokens_frac",
    )
    assert {f"actor/{name}" for name in names} <= row.keys()
    assert {f"training/rollout_probs_diff_{name}" for name in ("mean", "max", "std")} <= row.keys()
    # 258 tokens: at most log 258
    assert 0 < row["actor/entropy"] < np.log(258)
    assert row["actor/lr"] == 1e-3


def test_a_gradient_that_is_not_finite_is_counted_and_skipped(tiny_policy, trainer):
    before = [parameter.detach().clone() for parameter in tiny_policy.model.parameters()]
    groups = random_groups(tiny_policy, 2)
    groups[0] = replace(groups[0], advantages=np.full(COMPLETIONS, 1e38))
    row = updater(tiny_policy, trainer).update(groups, [True] * 2)
    assert row["actor/skipped_steps"] == 1
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(tiny_policy.model.parameters(), before, strict=True))


def test_an_update_raises_the_probability_of_what_was_rewarded(tiny_policy, trainer):
    (group,) = random_groups(tiny_policy, 1, off_by=0.0)
    group = replace(group, advantages=np.array([1.0, 0.0, 0.0]))
    one = updater(tiny_policy, trainer, rate=1e-3, prompts_per_mini_batch=1)
    batch = pack([group.prompt_token_ids], [[group.completions[0].token_ids]], 0)

    def likelihood():
        with torch.no_grad():
            return float(completion_logprobs(tiny_policy.model, batch).logprobs.sum())

    found = [likelihood()]
    for _ in range(3):
        one.update([group], [True])
        found.append(likelihood())
    assert all(before < after for before, after in pairwise(found))


@dataclass
class Odd(Listening):
    """Values of another shape."""

    def __call__(self, tokens):
        return tokens.logprobs[:, None]


def test_a_term_that_fails_ends_the_update_with_the_groups_that_it_failed_on(tiny_policy, trainer):
    groups = random_groups(tiny_policy, count=4)
    one = updater(tiny_policy, trainer, replace(PLAIN, terms={"mine": Odd()}), prompts_per_mini_batch=2)
    with pytest.raises(
        PartError, match=r"^algorithm.terms.mine=Odd: gives a tensor of shape \(\d+, 1\); need \d+ real"
    ) as caught:
        one.update(groups, [True] * 4)
    assert caught.value.batch == tuple(groups[:2])


def test_a_term_that_alone_is_not_finite_skips_the_step_and_is_named_where_too_many_are_skipped(tiny_policy, trainer):
    terms = {"mine": Listening(value=float("nan")), "other": Listening(value=1.0)}
    one = updater(tiny_policy, trainer, replace(PLAIN, terms=terms), prompts_per_mini_batch=2)
    one.guard = SkipGuard(limit=2)
    with pytest.raises(TooManySkipped) as stop:
        one.update(random_groups(tiny_policy, count=4), [True] * 4)
    assert stop.value.terms == ("mine",)
    assert "the last in step 3 because of algorithm.terms.mine; all else of the loss was finite; the batch" in skipped_sentence(
        stop.value, "step 3", "x"
    )
