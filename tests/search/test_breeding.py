"""Generations are drawn from the seed and their number alone."""

from dataclasses import replace

import pytest

from gapo_cli.errors import DataError, UserError
from gapo_cli.runs.family import read_family, save_family
from gapo_cli.runs.search_definition import Gene, SearchDefinition, read_definition, save_definition
from gapo_cli.search.breeding import first_generation, next_generation

RATE = Gene("rate", key="trainer.optimizer.learning_rate", low=1e-4, high=1e-3, log=True)
KIND = Gene("estimator", choices={"gapo": ("estimator=gapo",), "grpo": ("estimator=grpo",)})
SEARCH = SearchDefinition("made", (KIND, RATE), {"val/exact_match": "max"}, population=4, each=10, budget=120, trial=("a.b=1",))


def no_start(number, parents):
    return ()


def fitness_of(family):
    return {one.number: (float(one.genes["rate"]),) for one in family.individuals}


def test_the_first_generation_is_random_and_all_different():
    family = first_generation(SEARCH)
    assert [(one.number, one.generation, one.parents, one.origin) for one in family.individuals] == [
        (number, 0, (), "random") for number in range(4)
    ]
    assert len({one.label for one in family.individuals}) == 4
    first = family.individuals[0]
    assert first.overrides[0] == "a.b=1"
    assert first.overrides[-2:] == ("trainer.steps=10", "seed=0")
    assert first_generation(SEARCH) == family
    assert first_generation(replace(SEARCH, seed=1)) != family


def test_children_come_from_survivors_and_are_no_settings_that_were_there():
    pytest.importorskip("deap", reason="needs gapo-cli[evolve]")
    family = first_generation(SEARCH)
    for _ in range(3):
        family = next_generation(SEARCH, family, fitness_of(family), no_start)
    assert [len(family.generation(number)) for number in range(4)] == [4, 4, 4, 4]
    assert len({one.label for one in family.individuals}) == 16
    for one in family.individuals:
        assert set(one.parents) <= set(family.survivors[one.generation - 1] if one.generation else ())
        assert one.origin == {0: "random", 1: "mutation", 2: "crossover"}[len(one.parents)]
    # the best rate of the first two generations leads those who may have children in the third
    best = max(family.generation(0) + family.generation(1), key=lambda one: one.genes["rate"])
    assert family.survivors[1][0] == best.number


def test_the_same_fitness_breeds_the_same_children_again(tmp_path):
    pytest.importorskip("deap", reason="needs gapo-cli[evolve]")
    family = first_generation(SEARCH)
    save_family(tmp_path, family)
    again = next_generation(SEARCH, read_family(tmp_path), fitness_of(family), no_start)
    assert again == next_generation(SEARCH, family, fitness_of(family), no_start)
    save_family(tmp_path, again)
    assert read_family(tmp_path) == again


def test_who_has_no_fitness_has_no_children():
    pytest.importorskip("deap", reason="needs gapo-cli[evolve]")
    family = first_generation(SEARCH)
    alone = {2: (1.0,)}
    children = next_generation(SEARCH, family, alone, no_start).generation(1)
    assert {one.parents for one in children} == {(2,)}


def test_policies_start_from_their_parents_and_see_other_tasks_in_each_generation():
    pytest.importorskip("deap", reason="needs gapo-cli[evolve]")
    search = replace(SEARCH, inherit="parent")
    family = first_generation(search)
    child = next_generation(
        search, family, fitness_of(family), lambda number, parents: (f"model.path={parents[0]}",)
    ).generation(1)[0]
    assert f"model.path={child.parents[0]}" in child.overrides
    assert child.overrides[-1] == "seed=1"


def test_a_space_that_has_no_more_settings_gives_some_again():
    pytest.importorskip("deap", reason="needs gapo-cli[evolve]")
    search = replace(SEARCH, genes=(KIND,))
    family = first_generation(search)
    assert {one.label for one in family.individuals} == {"estimator=gapo", "estimator=grpo"}
    assert len(next_generation(search, family, {one.number: (1.0,) for one in family.individuals}, no_start).generation(1)) == 4


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"budget": 39}, r"evolve\.budget=39: too small for one generation, in which 4 individuals train 10 each \(trainer\.steps\); need at least 40"),
        ({"budget": None}, r"evolve\.budget, evolve\.seconds: give one of them"),
        ({"seconds": 9.0}, r"evolve\.budget, evolve\.seconds: give one of them"),
        ({"population": 1}, r"evolve\.population=1: need at least 2"),
        ({"inherit": "both"}, r"evolve\.inherit=both: need one of none, parent, average"),
        ({"mutation": 1.5}, r"evolve\.mutation=1\.5: need 0 to 1"),
        ({"objectives": {}}, r"objectives: need at least one"),
        ({"objectives": {"seconds": "most"}}, r"objectives\.seconds=most: need one of max, min"),
        ({"genes": (KIND, replace(RATE, when={"estimator": ("rloo",)}))}, r"space: rate: when estimator=rloo: is no choice of the space"),
    ],
)  # fmt: skip
def test_a_search_that_cannot_be_made_is_refused_in_a_sentence(changed, sentence):
    with pytest.raises(UserError, match=sentence):
        replace(SEARCH, **changed)


def test_a_definition_is_read_as_it_was_written_and_a_wrong_key_is_named(tmp_path):
    save_definition(tmp_path, SEARCH)
    found = read_definition(tmp_path)
    assert (found.objectives, found.budget, found.generations) == (SEARCH.objectives, 120, 3)
    assert [one.name for one in found.genes] == ["estimator", "rate"]
    (tmp_path / "search.json").write_text((tmp_path / "search.json").read_text().replace('"population"', '"popluation"'))
    with pytest.raises(DataError, match=r"popluation: unknown key; did you mean .*population\?"):
        read_definition(tmp_path)
