"""Ranks that share the weights make equally many passes, and what fills up changes no number."""

import torch
from parts import edit_task

from gapo_cli.config.algorithm import AlgorithmConfig
from gapo_cli.processes.ranks import ALONE, Ranks
from gapo_cli.records import Completion, Group
from gapo_cli.training.batches.even_passes import even_passes
from gapo_cli.training.batches.mini_batches import cut_mini_batch


class Busier(Ranks):
    """The first of two, of which the other has three passes to make."""

    count = 2

    def greatest(self, number):
        return max(number, 3)


def test_a_rank_with_fewer_batches_fills_them_up_with_what_counts_nothing():
    assert list(even_passes(["a", "b"], lambda: ["nothing"], Busier(), sharded=True)) == [("a", 1), ("b", 1), ("nothing", 0)]
    assert list(even_passes([], lambda: ["nothing"], Busier(), sharded=True)) == [("nothing", 0)] * 3
    assert list(even_passes(["a"], lambda: ["nothing"], Busier(), sharded=False)) == [("a", 1)]
    assert list(even_passes(["a"], lambda: ["nothing"], ALONE, sharded=True)) == [("a", 1)]


def test_micro_batches_that_fill_up_have_a_token_without_weight_and_are_counted_nowhere():
    rewards = torch.tensor([1.0, 0.0]).numpy()
    answers = tuple(Completion((7, 8), (-0.5, -0.5), "", "stop") for _ in rewards)
    groups = [Group(edit_task(number), (5, 6), answers, {}, rewards, rewards, rewards - 0.5) for number in range(2)]
    algorithm = AlgorithmConfig("grpo")
    usual = cut_mini_batch(groups, [True, True], algorithm, "packed", 0, ranks=Busier())
    filled = cut_mini_batch(groups, [True, True], algorithm, "packed", 0, ranks=Busier(), evenly=True)
    assert (len(usual.micro_batches), len(filled.micro_batches)) == (1, 3)
    assert (filled.weight, filled.tokens, filled.computed_tokens) == (usual.weight, usual.tokens, usual.computed_tokens)
    for micro in filled.micro_batches[1:]:
        assert micro.lengths == [1]
        assert micro.weights.tolist() == micro.advantages.tolist() == [0.0]
        assert micro.fresh.tolist() == [False]
