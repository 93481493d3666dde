"""Genomes stay inside their space, whatever is drawn, crossed and mutated."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gapo_cli.errors import UserError
from gapo_cli.runs.search_definition import Gene
from gapo_cli.search.genomes import at, cross, draw, label_of, mutate, other_value, overrides_of, place, probes, speaks

ESTIMATOR = Gene("estimator", choices={"gapo": ("estimator=gapo",), "grpo": ("estimator=grpo",), "rloo": ("estimator=rloo",)})
TAU = Gene("tau", key="estimator.tau", low=0.1, high=0.9, when={"estimator": ("gapo",)})
RATE = Gene("trainer.optimizer.learning_rate", key="trainer.optimizer.learning_rate", low=1e-5, high=1e-3, log=True)
SIZE = Gene("sampling.group_size", key="sampling.group_size", low=2, high=16, whole=True)
GENES = (ESTIMATOR, TAU, RATE, SIZE)


def is_inside(gene, value):
    if gene.choices:
        return value in gene.choices
    return gene.low <= value <= gene.high and (not gene.whole or isinstance(value, int))


@given(st.integers(0, 10**6), st.floats(0, 1))
def test_drawn_crossed_and_mutated_genomes_have_values_of_the_space(seed, chance):
    generator = random.Random(seed)
    first, second = draw(GENES, generator), draw(GENES, generator)
    crossed = cross(GENES, first, second, generator)
    assert all(crossed[gene.name] in (first[gene.name], second[gene.name]) for gene in GENES)
    for genome in (first, crossed, mutate(GENES, crossed, chance, generator)):
        assert all(is_inside(gene, genome[gene.name]) for gene in GENES)


@given(st.sampled_from([TAU, RATE, SIZE]), st.floats(0, 1))
def test_a_place_in_the_range_is_the_inverse_of_the_number_there(gene, position):
    found = at(gene, position)
    # three digits of a number, or a whole one: at most half a step away
    assert place(gene, found) == pytest.approx(position, abs=0.5 / 14 + 0.01)
    assert at(gene, place(gene, found)) == pytest.approx(found)


def test_a_range_in_the_logarithm_has_its_geometric_mean_in_the_middle():
    assert at(RATE, 0.5) == 1e-4
    assert (at(RATE, 0), at(RATE, 1)) == (1e-5, 1e-3)
    assert (at(SIZE, 0), at(SIZE, 0.5), at(SIZE, 1)) == (2, 9, 16)


def test_a_mutated_choice_is_another_one_and_chance_0_changes_nothing():
    generator = random.Random(0)
    assert all(other_value(ESTIMATOR, "gapo", generator) != "gapo" for _ in range(20))
    genome = draw(GENES, generator)
    assert mutate(GENES, genome, 0.0, generator) == genome


def test_a_gene_speaks_only_with_the_choices_that_it_needs():
    genome = {"estimator": "gapo", "tau": 0.3, RATE.name: 1e-4, SIZE.name: 4}
    assert overrides_of(GENES, genome) == (
        "estimator=gapo", "estimator.tau=0.3", "trainer.optimizer.learning_rate=0.0001", "sampling.group_size=4",
    )  # fmt: skip
    assert label_of(GENES, genome) == "estimator=gapo tau=0.3 learning_rate=0.0001 group_size=4"
    silent = genome | {"estimator": "grpo"}
    assert "estimator.tau=0.3" not in overrides_of(GENES, silent)
    assert not speaks(TAU, silent)


def test_a_few_probes_say_every_choice_and_both_ends_of_every_range():
    found = probes(GENES)
    said = {word for overrides in found for word in overrides}
    assert said == {
        "estimator=gapo", "estimator=grpo", "estimator=rloo", "estimator.tau=0.1", "estimator.tau=0.9",
        "trainer.optimizer.learning_rate=1e-05", "trainer.optimizer.learning_rate=0.001", "sampling.group_size=2",
        "sampling.group_size=16",
    }  # fmt: skip
    assert len(found) <= 4
    assert all(
        "estimator=gapo" in overrides for overrides in found if any(word.startswith("estimator.tau") for word in overrides)
    )


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"choices": {"one": ()}}, "space: g: need at least two choices"),
        ({"low": 2.0, "high": 1.0}, "space: g: low=2.0 high=1.0: need low < high"),
        ({"low": 0.0, "high": 1.0, "log": True}, "log needs low above 0"),
        ({"low": 0.5, "high": 3.0, "whole": True}, "whole needs whole ends"),
    ],
)
def test_a_gene_without_a_range_or_choices_is_refused(values, sentence):
    with pytest.raises(UserError, match=sentence):
        Gene("g", **values)
