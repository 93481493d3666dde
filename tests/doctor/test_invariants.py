"""Each invariant holds for the product's own parts and is missed, in words, by parts that break it."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from parts import PlainTemplate

from gapo_cli.config.sampling import SamplingConfig
from gapo_cli.doctor import invariants
from gapo_cli.doctor import subject as subjects
from gapo_cli.doctor.invariants import INVARIANTS, relative_difference
from gapo_cli.doctor.subject import Subject
from gapo_cli.engines.torch_engine import TorchEngine
from gapo_cli.errors import UserError
from gapo_cli.estimators.gapo import GAPO
from gapo_cli.estimators.grpo import GRPO
from gapo_cli.models.load import load_model
from gapo_cli.records import Advantages
from gapo_cli.training.batches.mini_batches import MicroBatch, cut_mini_batch


@pytest.fixture
def subject(tiny_policy, algorithm, trainer, tmp_path):
    return Subject(
        policy=tiny_policy,
        engine=TorchEngine(tiny_policy, 64),
        template=PlainTemplate(),
        estimator=GAPO(),
        algorithm=algorithm,
        sampling=SamplingConfig(group_size=8, max_new_tokens=64, temperature=0.9),
        trainer=trainer,
        seed=0,
        scratch=tmp_path,
    )


class OtherEngine:
    """A TorchEngine whose samplings, seeds or answers go through a function first."""

    def __init__(self, policy, sampling=lambda asked: asked, seed=lambda given: given, answer=lambda given: given):
        self.engine, self.sampling, self.seed, self.answer = TorchEngine(policy, 64), sampling, seed, answer

    def generate(self, prompts, sampling, seeds, progress=None):
        groups = self.engine.generate(prompts, self.sampling(sampling), [self.seed(one) for one in seeds])
        return [tuple(self.answer(one) for one in group) for group in groups]

    def sync(self, policy):
        self.engine.sync(policy)


class NeverSynced(OtherEngine):
    """Has a copy of the weights, and keeps it."""

    def sync(self, policy): ...


@pytest.mark.parametrize("name", INVARIANTS)
def test_what_ships_keeps_each_invariant(subject, name):
    found = INVARIANTS[name](subject)
    assert found.holds, found.sentence


class Sure(OtherEngine):
    """Gives one answer to a prompt again and again."""

    def generate(self, prompts, sampling, seeds, progress=None):
        return [(group[0],) * len(group) for group in super().generate(prompts, sampling, seeds)]


@pytest.mark.parametrize("name", ["micro-batches", "packed = padded", "sync"])
def test_a_sure_model_keeps_them(subject, name):
    """Advantages that add up to 0 would give a gradient of rounding alone."""
    subject.engine, subject.estimator = Sure(subject.policy), GRPO()
    found = INVARIANTS[name](subject)
    assert found.holds, found.sentence


def test_an_engine_with_other_weights_is_found(subject, tiny_config):
    other = load_model(tiny_config)
    with torch.no_grad():
        for parameter in other.model.parameters():
            parameter.mul_(1.01)
    subject.engine = TorchEngine(other, 64)
    with pytest.raises(UserError, match="the engine does not sample from the trainer's weights"):
        INVARIANTS["engine = trainer"](subject)


def greedy_is_warm(asked):
    return replace(asked, temperature=1.0) if asked.temperature == 0 else asked


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        (
            {"sampling": lambda asked: replace(asked, temperature=0.7 * asked.temperature)},
            r"tokens look like temperature 0\.[56]",
        ),
        ({"sampling": lambda asked: replace(asked, top_p=0.9)}, r"and \d+ of them come from the unlikely ends"),
        ({"sampling": lambda asked: replace(asked, top_k=10)}, "a setting is active that nobody asked for$"),
        (
            {"sampling": greedy_is_warm},
            r"asked for temperature 0, the engine chose \d+ of \d+ tokens that are not the likeliest",
        ),
        (
            {"sampling": lambda asked: replace(asked, group_size=min(asked.group_size, 4))},
            "asked for 16 answers to a prompt, the engine gave 4",
        ),
        (
            {"sampling": lambda asked: replace(asked, max_new_tokens=20)},
            "asked for at most 16 tokens, the engine gave an answer of 20",
        ),
        (
            {"seed": lambda given: np.random.default_rng().integers(2**62)},
            "the same seeds gave different answers the second time",
        ),
        (
            {"answer": lambda one: replace(one, finish_reason="stop")},
            "an answer with finish_reason=stop does not end where its first end token is",
        ),
    ],
)
def test_sampling_that_is_not_as_asked_is_found(subject, changed, sentence):
    subject.engine = OtherEngine(subject.policy, **changed)
    found = INVARIANTS["sampling as asked"](subject)
    assert not found.holds
    assert re.search(sentence, found.sentence), found.sentence


def test_a_top_p_that_was_asked_for_acts(subject):
    subject.sampling = replace(subject.sampling, top_p=0.8)
    found = INVARIANTS["sampling as asked"](subject)
    assert found.holds, found.sentence


def test_a_top_p_that_was_asked_for_and_does_not_act_is_found(subject):
    subject.sampling = replace(subject.sampling, top_p=0.8)
    subject.engine = OtherEngine(subject.policy, sampling=lambda asked: replace(asked, top_p=1.0))
    found = INVARIANTS["sampling as asked"](subject)
    assert not found.holds
    assert "top_p=0.8 and top_k=0, the engine drew" in found.sentence
    assert found.sentence.endswith("tokens that these leave out")


def test_a_loss_that_is_a_mean_of_micro_batch_means_is_found(subject, monkeypatch):
    def mean_of_means(*arguments, **keywords):
        batch = cut_mini_batch(*arguments, **keywords)
        for micro in batch.micro_batches:
            micro.weights = micro.weights / micro.weights.sum() / len(batch.micro_batches)
        return batch

    monkeypatch.setattr(subjects, "cut_mini_batch", mean_of_means)
    found = INVARIANTS["micro-batches"](subject)
    assert not found.holds
    assert "the loss depends on trainer.max_tokens_per_microbatch" in found.sentence


def test_positions_that_run_on_through_a_packed_row_are_found(subject, monkeypatch):
    lay_out = MicroBatch.token_batch

    def running_on(micro, layout, pad_id):
        batch = lay_out(micro, layout, pad_id)
        everywhere = torch.arange(batch.position_ids.shape[1]).expand_as(batch.position_ids)
        return replace(batch, position_ids=everywhere) if layout == "packed" else batch

    monkeypatch.setattr(MicroBatch, "token_batch", running_on)
    found = INVARIANTS["packed = padded"](subject)
    assert not found.holds
    assert found.sentence.startswith("packed instead of padded, the gradient of a mini-batch differs by")


@pytest.mark.parametrize("centred", [False, True])
def test_an_estimator_that_learns_from_equal_rewards_is_found(subject, centred):
    def standardised(rewards, lengths=None):
        """Without `centred`, no baseline at all; with it, the mean, divided by a deviation that is rounding only."""
        baseline = rewards.mean(axis=1, keepdims=True) * centred
        divisor = rewards.std(axis=1, keepdims=True) + 1e-30 if centred else 1.0
        nothing = np.full(len(rewards), np.nan)
        return Advantages((rewards - baseline) / divisor, nothing, nothing, nothing)

    subject.estimator = standardised
    found = INVARIANTS["equal rewards"](subject)
    assert not found.holds
    # 0.1 + 0.2 and 0.3 are a deviation or so from their mean
    assert f"that all earn {0.3 if centred else 1} get an advantage of 1" in found.sentence


def test_an_engine_that_is_not_reached_by_a_sync_is_found(subject, tiny_config):
    subject.engine = NeverSynced(load_model(tiny_config))
    assert INVARIANTS["engine = trainer"](subject).holds
    found = INVARIANTS["sync"](subject)
    assert not found.holds
    assert found.sentence.endswith("it samples from older weights")


def test_a_step_that_moves_nothing_tells_nothing(subject, monkeypatch):
    monkeypatch.setattr(subject.optimizer, "step", lambda: None)
    found = INVARIANTS["sync"](subject)
    assert (found.holds, found.sentence[-18:]) == (False, "nothing is learned")


def test_a_checkpoint_in_half_precision_is_found(subject, monkeypatch):
    from gapo_cli.training.checkpoints import checkpoints

    def in_half(policy, folder):
        half = load_model(policy.config)
        half.model.load_state_dict({name: value.bfloat16().float() for name, value in policy.model.state_dict().items()})
        save(half, folder)

    save = checkpoints.save_model
    monkeypatch.setattr(checkpoints, "save_model", in_half)
    found = INVARIANTS["checkpoint"](subject)
    assert not found.holds
    assert "weights are not read back from a checkpoint as they were written" in found.sentence


def test_moments_that_a_checkpoint_loses_are_found(subject, monkeypatch):
    INVARIANTS["sync"](subject)  # makes the moments
    monkeypatch.setattr(invariants, "under", lambda prefix, tensors: {})
    found = INVARIANTS["checkpoint"](subject)
    assert not found.holds
    assert "moments of the optimizer are not read back" in found.sentence


def test_prompts_that_do_not_fit_are_named(subject):
    subject.policy = replace(subject.policy, config=replace(subject.policy.config, context_length=40))
    with pytest.raises(UserError, match=r"model.context_length=40: the short prompts of the checks have up to \d+ tokens"):
        INVARIANTS["engine = trainer"](subject)


def test_the_relative_difference_of_gradients():
    first = [torch.tensor([3.0, 0.0]), torch.tensor([[4.0]])]  # length 5
    assert relative_difference(first, first) == 0
    assert relative_difference(first, [torch.tensor([3.0, 0.5]), torch.tensor([[4.0]])]) == pytest.approx(0.5 / 5)
    nothing = [torch.zeros(2), torch.zeros(1, 1)]
    assert relative_difference(nothing, first) == float("inf")
    assert not relative_difference(nothing, nothing) <= 1  # there is nothing to compare
