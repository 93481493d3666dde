"""Weights that two ranks share: gradient, clipping and steps of one process; a part on each; all of them where they are asked for."""

from dataclasses import replace

import pytest
import torch
from ranks_parts import on_ranks

from gapo_cli.config.trainer import OptimizerConfig, TrainerConfig
from gapo_cli.doctor.invariants import relative_difference
from gapo_cli.models.load import load_model
from gapo_cli.models.loaded import LoadedModel
from gapo_cli.models.packing.layout import LAY_OUT
from gapo_cli.models.packing.logprobs import completion_logprobs
from gapo_cli.models.plain_weights import plain_weights
from gapo_cli.models.policy import load_policy
from gapo_cli.models.sharding import empty, fill, is_sharded, part_of, shard, whole, whole_on_first, whole_weights
from gapo_cli.models.usable_layout import _why_flex_attention_fails, takes_shared_prefixes
from gapo_cli.training.learners.optimizer import Optimizer

BATCH = ([[5, 6, 7], [8, 9]], [[[10, 11], [12, 13, 14]], [[15], [16, 17]]], 0)
OPTIMIZER = OptimizerConfig(1e-3, warmup_steps=0, max_grad_norm=0.5)
TRAINER = TrainerConfig(1, 1, 1, OPTIMIZER, shard=True)
RANKS = 2


def group(number):
    """One of the two that ranks divide."""
    prompts, completions, pad = BATCH
    return [prompts[number]], [completions[number]], pad


def learn(policy, numbers, layout="packed", chunk=0):
    """Adds the gradient of the groups, those of `None` without weight; the sum of the tokens' log-probabilities and entropies."""
    total = 0.0
    for number in numbers:
        with policy.autocast():
            found = completion_logprobs(policy.model, LAY_OUT[layout](*group(number or 0)), 1.0, "gradient", chunk)
        # states, from which a head of somebody's own could learn, take part
        loss = (found.logprobs + 0.1 * found.entropy + 0.01 * found.states.square().sum(-1)).sum()
        loss = loss * (number is not None)
        loss.backward()
        total += loss.item()
    return total


def gradient(policy):
    return {name: whole(parameter.grad).clone() for name, parameter in policy.model.named_parameters()}


def weights(policy):
    return {name: tensor.clone() for name, tensor in whole_weights(policy.model)}


def apart(ours, theirs, since=None):
    """|ours - theirs| / |theirs - since| over all tensors together; `since` is 0 where it is left out. A number of its own may be far
    off: a bias of the keys has a gradient of 0, and Adam makes a step of its rounding."""
    assert ours.keys() == theirs.keys()
    from_since = [[one[name] - (0 if since is None else since[name]) for name in theirs] for one in (theirs, ours)]
    return relative_difference(*from_since)


KINDS = {
    "packed": {},
    "padded": {"layout": "padded"},
    "head in chunks": {"chunk": 2},
    "tied": {"tied": True},
    "checkpointed": {"checkpointing": True},
}


def load(config, kind, shared):
    """With `shared`, divided."""
    settings = KINDS[kind]
    trainer = replace(TRAINER, shard=False, gradient_checkpointing=settings.get("checkpointing", False))
    policy = load_policy(config, trainer)
    if settings.get("tied"):
        policy.model.get_output_embeddings().weight = policy.model.get_input_embeddings().weight
    return shard(policy, "cpu") if shared else policy


def passes(policy, numbers, kind):
    settings = KINDS[kind]
    return learn(policy, numbers, settings.get("layout", "packed"), settings.get("chunk", 0))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_two_ranks_make_the_gradient_the_clipping_and_the_steps_of_one_process(tiny_config, tmp_path, kind):
    alone = load(tiny_config, kind, shared=False)
    before = weights(alone)
    total = passes(alone, [0, 1, 0], kind)
    expected = gradient(alone)
    optimizer = Optimizer(alone.model.parameters(), OPTIMIZER, 10)
    norms = [optimizer.step().grad_norm]
    passes(alone, [1, 0], kind)
    norms.append(optimizer.step().grad_norm)
    assert norms[0] > OPTIMIZER.max_grad_norm  # so that clipping does something

    def work(ranks):
        policy = load(tiny_config, kind, shared=True)
        own = Optimizer(policy.model.parameters(), OPTIMIZER, 10, ranks)
        loss = passes(policy, [[0, 0], [1, None]][ranks.rank], kind)  # the second has one group less
        found = gradient(policy)
        first = own.step().grad_norm
        passes(policy, [[1], [0]][ranks.rank], kind)
        second = own.step().grad_norm
        held = sum(parameter.to_local().numel() for parameter in policy.model.parameters())
        return loss, found, [first, second], weights(policy), own.tensors(), held

    (loss, found, first_norms, after, moments, held), (other, *_, no_moments, rest) = on_ranks(RANKS, work, tmp_path)
    assert loss + other == pytest.approx(total, rel=1e-5)
    assert apart(found, expected) < 1e-5
    assert first_norms == pytest.approx(norms, rel=1e-5)
    assert apart(after, weights(alone), before) < 1e-2
    assert apart(moments, optimizer.tensors()) < 1e-5
    assert all(len(one) == 0 for name, one in no_moments.items() if not name.endswith("step"))
    count = sum(parameter.numel() for parameter in alone.model.parameters())
    assert held + rest == count and 0.4 * count < held < 0.6 * count


@pytest.mark.slow
def test_moments_come_back_and_weights_are_whole_where_they_are_asked_for(tiny_config, tmp_path):
    def work(ranks):
        policy = load_policy(tiny_config, TRAINER)
        optimizer = Optimizer(policy.model.parameters(), OPTIMIZER, 10, ranks)
        learn(policy, [ranks.rank])
        optimizer.step()
        kept = {name: ranks.from_first(lambda value=value: value) for name, value in optimizer.tensors().items()}
        again = Optimizer(policy.model.parameters(), OPTIMIZER, 10, ranks)
        again.restore(kept, 1)
        same_moments = all(
            torch.equal(whole(one), whole(other))
            for parameter in optimizer.parameters
            for one, other in zip(optimizer.adamw.state[parameter].values(), again.adamw.state[parameter].values(), strict=True)
        )
        gathered, plain = whole_on_first(policy, ranks), dict(plain_weights(policy))
        expected = weights(policy)
        same = plain.keys() == expected.keys() and all(torch.equal(plain[name], expected[name]) for name in expected)
        tokens = LAY_OUT["padded"](*BATCH)
        filled = policy.frame
        fill(filled, whole_weights(policy.model))
        with torch.no_grad():
            ours = completion_logprobs(policy.model, tokens).logprobs
            theirs = completion_logprobs(filled, tokens).logprobs
            firsts = completion_logprobs(gathered.model, tokens).logprobs if ranks.first else ours
        empty(filled)
        gone = all(parameter.is_meta for parameter in filled.parameters())
        part = next(policy.model.parameters())
        parted = torch.equal(part_of(whole(part), like=part).to_local(), part.to_local())
        return (
            is_sharded(policy.model),
            is_sharded(gathered.model),
            same_moments,
            same,
            torch.equal(ours, theirs),
            torch.equal(ours, firsts),
            gone,
            parted,
        )

    assert on_ranks(RANKS, work, tmp_path) == [(True, False, True, True, True, True, True, True)] * RANKS


@pytest.mark.slow
def test_passes_in_half_precision_give_one_processs_numbers(tiny_config, tmp_path):
    half = replace(TRAINER, dtype="bfloat16")
    alone = load_policy(tiny_config, replace(half, shard=False))
    learn(alone, [0, 1])

    def work(ranks):
        policy = load_policy(tiny_config, half)
        learn(policy, [ranks.rank])
        return gradient(policy)

    found, _ = on_ranks(RANKS, work, tmp_path)
    expected = gradient(alone)
    length = torch.cat([one.flatten() for one in expected.values()]).norm()
    apart = torch.cat([(found[name] - expected[name]).flatten() for name in expected]).norm()
    assert apart < 1e-5 * length


@pytest.mark.slow
def test_what_attention_they_can_do_is_tried_together_and_leaves_nothing(tiny_config, tmp_path):
    def work(ranks):
        policy = load_policy(tiny_config, TRAINER)
        found = takes_shared_prefixes(policy), _why_flex_attention_fails(policy)
        return found, all(parameter.grad is None for parameter in policy.model.parameters()), learn(policy, [ranks.rank])

    alone = load_policy(tiny_config, replace(TRAINER, shard=False))
    assert on_ranks(RANKS, work, tmp_path) == [
        ((True, None), True, pytest.approx(learn(alone, [rank]), rel=1e-5)) for rank in range(RANKS)
    ]


def test_a_model_alone_is_what_it_was(tiny_config):
    policy = load_model(tiny_config)
    assert isinstance(policy, LoadedModel) and policy.frame is None and not is_sharded(policy.model)
    assert all(whole(parameter) is parameter for parameter in policy.model.parameters())
