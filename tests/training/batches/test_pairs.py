"""Pairs as tensors: what a pass computes, that layouts agree, and which pairs are learnt from."""

import random
from collections import Counter
from dataclasses import replace
from itertools import chain

import numpy as np
import pytest
import torch
from parts import PlainTemplate, completion_of, small_task

from gapo_cli.config.preference import PreferenceConfig
from gapo_cli.errors import DataError, UserError
from gapo_cli.models.packing.logprobs import completion_logprobs
from gapo_cli.records import Group
from gapo_cli.rollouts.encoding import encode_tasks
from gapo_cli.runs.group_files import write_groups
from gapo_cli.training.batches.pair_sources import Contrast, encode_pairs, widest
from gapo_cli.training.batches.pairs import Pair, hash_of_pairs, pair_batches, plan_pairs
from gapo_cli.training.objectives.preference import PairLogprobs

CONFIG = PreferenceConfig(pairs_per_batch=4)
PAIRS = [Pair(tuple(range(5, 5 + n)), (9, 20 + n, 1), tuple(range(30, 31 + n))) for n in range(1, 8)]


def group(task, rewards, prompt=(5, 6)):
    completions = tuple(completion_of("abcdefgh"[place] * (place + 1)) for place in range(len(rewards)))
    values = np.array(rewards, dtype=float)
    return Group(task, prompt, completions, {"score": values}, values, values)


def saved(path, groups):
    path.mkdir()
    write_groups(path / "rollouts.parquet", 0, groups, lambda one: "prompt")
    return PreferenceConfig(pairs="rollouts", rollouts=str(path))


@pytest.mark.parametrize("layout", ["packed", "masked", "padded"])
@pytest.mark.parametrize("budget", [0, 1, 24, 60])
def test_both_answers_of_a_pair_are_in_one_pass_and_passes_keep_to_the_budget(layout, budget):
    batches = pair_batches(PAIRS, layout, budget, pad_id=0)
    assert sum(len(batch.lengths) for batch in batches) == 14
    found = [
        tuple(batch.tokens.labels.split(batch.lengths)[place].tolist())
        for batch in batches
        for place in range(len(batch.lengths))
    ]
    assert Counter(zip(found[0::2], found[1::2], strict=True)) == Counter((one.chosen, one.rejected) for one in PAIRS)
    assert (len(batches) == 1) == (budget == 0)
    assert all(batch.tokens.input_ids.numel() <= budget or len(batch.lengths) == 2 for batch in batches if budget)


def test_a_packed_pair_computes_its_prompt_once():
    (packed,), (padded,) = (pair_batches(PAIRS[-1:], layout, 0, pad_id=0) for layout in ("packed", "padded"))
    # a prompt of 7, answers of 3 and 8 whose last token is a label only; padded: two rows of 7 + 7
    assert packed.tokens.input_ids.shape == (1, 7 + 2 + 7)
    assert padded.tokens.input_ids.shape == (2, 14)


@pytest.mark.parametrize("layout", ["packed", "masked"])
def test_packed_log_probabilities_equal_padded_ones(tiny_policy, layout):
    def logprobs(name):
        (batch,) = pair_batches(PAIRS, name, 0, pad_id=0)
        with torch.no_grad():
            return PairLogprobs.of(completion_logprobs(tiny_policy.model, batch.tokens).logprobs, batch.lengths)

    ours, expected = logprobs(layout), logprobs("padded")
    torch.testing.assert_close(ours.chosen, expected.chosen, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours.rejected, expected.rejected, rtol=1e-5, atol=1e-5)


def test_an_epoch_has_every_pair_once_and_training_ends_at_the_first_limit():
    two = plan_pairs(10, replace(CONFIG, epochs=2), random.Random(0))
    assert [len(batch) for batch in two] == [4, 4, 2] * 2
    assert all(Counter(chain(*two[start : start + 3])) == dict.fromkeys(range(10), 1) for start in (0, 3))
    assert plan_pairs(10, replace(CONFIG, epochs=2, steps=4), random.Random(0)) == two[:4]
    assert plan_pairs(10, replace(CONFIG, epochs=None, steps=7), random.Random(0))[:6] == two
    assert len(plan_pairs(10, replace(CONFIG, epochs=0.5), random.Random(0))) == 2


def test_a_target_makes_a_pair_with_each_rejected_text_that_is_not_right(tiny_policy):
    tasks = [
        small_task("one", target="b\n", rejected=("a\n", "b\n", "c\n"), alternatives=("c\n",)),
        small_task("two"),
        small_task("three", target="d\n", rejected=("x\n", "y\n")),
    ]
    found = encode_pairs(tiny_policy, PlainTemplate(), tasks, CONFIG)
    assert [task.id for task in found.tasks] == ["one", "three", "three"]
    decode = tiny_policy.tokenizer.decode
    assert [(decode(one.prompt), decode(one.chosen), decode(one.rejected)) for one in found.kept] == [
        ("a\n>", "b\n<eos>", "a\n<eos>"),
        ("a\n>", "d\n<eos>", "x\n<eos>"),
        ("a\n>", "d\n<eos>", "y\n<eos>"),
    ]


def test_the_best_answer_of_a_group_is_set_against_its_worst():
    found = Contrast.of(group(small_task(), [0.5, float("nan"), 1.0, 0.25, 1.0, 0.25]))
    assert (found.best, found.worst, found.difference) == (2, 3, 0.75)
    assert Contrast.of(group(small_task(), [float("nan"), 1.0])).difference == 0


def test_of_a_task_the_widest_contrasts_are_kept_in_the_order_of_the_file():
    one, other = small_task("one"), small_task("other")
    rewards = [(one, [0, 0.5]), (one, [0, 1]), (other, [0, 0.25]), (one, [0, 0.75]), (other, [0, 0.5])]
    contrasts = [Contrast.of(group(task, values)) for task, values in rewards]

    def kept(**settings):
        config = replace(CONFIG, **settings)
        return [(contrast.group.task.id, contrast.difference) for contrast in widest(contrasts, config)]

    assert kept(margin=0.5, pairs_per_prompt=2) == [("one", 1), ("one", 0.75), ("other", 0.5)]
    assert kept(margin=0.5, pairs_per_prompt=1) == [("one", 1), ("other", 0.5)]
    assert len(kept(margin=0.25, pairs_per_prompt=None)) == 5


def test_pairs_of_rollouts_are_the_tokens_that_were_sampled(tiny_policy, tmp_path):
    task = small_task()
    (encoded,) = encode_tasks(tiny_policy, PlainTemplate(), [task])
    config = saved(tmp_path / "run", [group(task, [0.0, 1.0, 0.5], encoded.token_ids)])
    found = encode_pairs(tiny_policy, PlainTemplate(), [], config)
    assert found.kept == (Pair(encoded.token_ids, completion_of("bb").token_ids, completion_of("a").token_ids),)
    both = replace(config, pairs="both")
    found = encode_pairs(tiny_policy, PlainTemplate(), [small_task("other", rejected=("x\n",))], both)
    assert [one.id for one in found.tasks] == ["other", "t"]
    # one of the two sources may have none
    assert len(encode_pairs(tiny_policy, PlainTemplate(), [task], both).kept) == 1


def test_rollouts_of_another_prompt_are_refused(tiny_policy, tmp_path):
    config = saved(tmp_path / "run", [group(small_task(), [0.0, 1.0])])
    with pytest.raises(DataError, match="the answers to task t are not in tokens of this model's prompts; give the model= and"):
        encode_pairs(tiny_policy, PlainTemplate(), [], config)


def test_a_data_set_without_rejected_texts_is_refused_in_one_sentence(tiny_policy):
    with pytest.raises(
        DataError, match="^dpo.pairs=rejected: none of the 2 training tasks has a rejected text .* data.train_split=dpo"
    ):
        encode_pairs(tiny_policy, PlainTemplate(), [small_task("one"), small_task("two")], CONFIG)


def test_rollouts_without_enough_margin_are_refused_with_the_largest_difference(tiny_policy, tmp_path):
    config = replace(saved(tmp_path / "run", [group(small_task(), [0.25, 0.5]), group(small_task(), [1.0, 1.0])]), margin=0.5)
    with pytest.raises(
        DataError, match="in none of the 2 groups of .* differ by dpo.margin=0.5, the largest difference is 0.25"
    ):
        encode_pairs(tiny_policy, PlainTemplate(), [], config)
    with pytest.raises(DataError, match="dpo.pairs=both: none of the 0 training tasks .*; and in none of the 2 groups"):
        encode_pairs(tiny_policy, PlainTemplate(), [], replace(config, pairs="both"))


def test_pairs_that_do_not_fit_the_context_are_named_or_left_out_and_counted(tiny_policy):
    long = small_task("long", rejected=("x" * 300,))
    tasks = [small_task("short", rejected=("x\n",)), long]
    # a prompt of 3, an answer of 300 and its end
    with pytest.raises(
        DataError, match="task long: its prompt of 3 tokens .*context_length=256; .* 1 of 2 pairs; raise it to 304"
    ):
        encode_pairs(tiny_policy, PlainTemplate(), tasks, CONFIG)
    found = encode_pairs(tiny_policy, PlainTemplate(), tasks, CONFIG, on_long="skip")
    assert ([one.id for one in found.tasks], found.too_long) == (["short"], 1)
    with pytest.raises(DataError, match="raise it to 304$"):
        encode_pairs(tiny_policy, PlainTemplate(), [long], CONFIG, on_long="skip")


def test_other_pairs_have_another_hash():
    assert hash_of_pairs(PAIRS) == hash_of_pairs(list(PAIRS))
    assert len({hash_of_pairs(PAIRS), hash_of_pairs(PAIRS[1:]), hash_of_pairs(PAIRS[::-1])}) == 3


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"pairs": "rejects"}, "dpo.pairs=rejects: need one of rejected, rollouts, both, sampled; did you mean rejected?"),
        ({"pairs": "rollouts"}, "dpo.pairs=rollouts: needs dpo.rollouts=RUN"),
        ({"rollouts": "run"}, "dpo.rollouts=run: is not read with dpo.pairs=rejected; give dpo.pairs=rollouts, or both"),
        ({"epochs": None}, "need at least one of them, or training never ends"),
        ({"steps": 0}, "dpo.steps=0: need a number above 0, or null"),
        ({"margin": 0.0}, "dpo.margin=0.0: need a number above 0"),
        ({"beta": 0.0}, "dpo.beta=0.0: need a number above 0"),
        ({"label_smoothing": 0.5}, "dpo.label_smoothing=0.5: need 0 to below 0.5"),
        ({"supervised_weight": -1.0}, "dpo.supervised_weight=-1.0: need 0 or more"),
    ],
)
def test_settings_check_themselves(settings, sentence):
    with pytest.raises(UserError) as refused:
        PreferenceConfig(**settings)
    assert sentence in str(refused.value)
