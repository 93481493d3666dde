"""A search's page: tree, front and generations of a small family, with nothing from outside."""

import re
from dataclasses import replace

import pytest

from gapo_cli.evaluation.paired import Comparison
from gapo_cli.reports.evolve_page import evolve_markdown, front_chart, generations_chart, render_search
from gapo_cli.reports.evolve_tables import outcome_lines
from gapo_cli.reports.family_tree import family_tree
from gapo_cli.runs.family import LONG, MEASURED, Companion, Family, Individual
from gapo_cli.runs.search_definition import Gene, SearchDefinition
from gapo_cli.search.findings import Findings, Held
from gapo_cli.statistics.intervals import Measure
from gapo_cli.statistics.over_seeds import JobRecord

NAN = float("nan")
SEARCH = SearchDefinition(
    "made", (Gene("rate", key="rate", low=0.0, high=1.0),), {"val/exact_match": "max", "tokens": "min"}, population=2, budget=80,
    about="<b>made up</b>",
)  # fmt: skip
VALUES = {0: (0.4, 100.0), 1: (0.3, 200.0), 2: (0.5, 150.0), 3: (NAN, NAN), 4: (0.6, 400.0)}


def born(number, generation, *parents):
    return Individual(
        number, generation, parents, "random" if not parents else "crossover", {"rate": 0.5}, f"rate={number}", ()
    )


@pytest.fixture
def found():
    family = Family(
        (born(0, 0), born(1, 0), born(2, 1, 0, 1), born(3, 1, 0)),
        ((0, 1),),
        (Companion(4, LONG, "one long run", ()), Companion(5, MEASURED, "the winner, measured on eval", (), 2)),
    )
    records = {
        job.number: JobRecord(job.number, job.setting, "0", (), 9.0, "out of <memory>" if job.number == 3 else None)
        for job in family.jobs
    }
    values = {number: dict(zip(SEARCH.objectives, pair, strict=True)) for number, pair in VALUES.items()}
    fitness = {number: (exact, -tokens) for number, (exact, tokens) in VALUES.items() if exact == exact}  # noqa: PLR0124
    against = {"greedy": Comparison(50, 0, 0, 0.52, 0.50, Measure(0.02, -0.01, 0.05), p_value=0.3)}
    held = (
        Held("the winner, measured on eval", 5, 2, {"greedy": Measure(0.52, 0.4, 0.6)}, {}, 80, 36.0),
        Held("one long run, measured on eval", 6, 4, {"greedy": Measure(0.5, 0.4, 0.6)}, against, 80, 9.0),
    )
    return Findings(SEARCH, family, records, values, fitness, (0, 2), 2, held)


def test_the_tree_has_a_column_a_generation_the_best_on_top_and_the_winners_line(found):
    tree = family_tree(found)
    assert [(node.number, node.kind) for node in tree.nodes] == [(0, "front"), (1, "parent"), (2, "winner"), (3, "failed")]
    assert {node.x for node in tree.nodes} == {26, 176}
    assert tree.nodes[2].y < tree.nodes[3].y
    # 0 and 1 are the winner's parents; the line to 3 is not its own
    assert [edge.kind for edge in tree.edges] == ["", "own", "own"]
    assert tree.nodes[2].text == "2, of 0 and 1: rate=2; val/exact_match 0.5, tokens 150"


def test_the_front_is_joined_and_the_others_are_points_alone(found):
    front, others = front_chart(found, "val/exact_match", "tokens").lines
    assert (front.name, len(front.marks), bool(front.path)) == ("front", 2, True)
    assert (others.name, len(others.marks), others.path) == ("others", 1, "")


def test_fitness_by_generation_is_the_best_so_far_and_the_mean(found):
    best, mean = generations_chart(found, "tokens").lines
    assert [mark.text.split(": ")[1] for mark in best.marks] == ["100", "100"]
    assert [mark.text.split(": ")[1] for mark in mean.marks] == ["150 [100, 200]", "150 [150, 150]"]


def test_the_page_holds_everything_escapes_it_and_fetches_nothing(found):
    page = render_search(found)
    assert "&lt;b&gt;made up&lt;/b&gt;" in page
    assert "job 3 (rate=3) failed: out of &lt;memory&gt;" in page
    assert page.count('class="node ') == 4
    assert re.findall(r'(?:src|href)="(?!#)', page) == []
    for heading in ("Pareto front", "Fitness by generation", "Family tree", "On eval, after the same work"):
        assert heading in page


def test_the_sentences_say_who_won_and_whether_it_is_told_apart(found):
    assert outcome_lines(found) == [
        "4 individuals in 2 generations, each trained by trainer.steps=20; 1 without a fitness",
        "The winner is 2: rate=2 (val/exact_match 0.5, tokens 150 on dev)",
        "The winner against one long run, on eval: +2.00 points of exact match [-1.00, +5.00]; not told apart (exact test, p = 0.300)",
    ]
    assert "| one long run | 50.00 [40.00, 60.00] | +2.00 [-1.00, +5.00] | 80 | 9 |" in evolve_markdown(found)


def test_how_fitness_is_measured_is_said_once(found):
    for begun in (found, replace(found, held=())):
        assert evolve_markdown(begun).count("Fitness is measured on the dev split") == 1
        assert render_search(begun).count("Fitness is measured on the dev split") == 1


def test_a_search_that_has_just_begun_has_a_page_too(found):
    begun = Findings(SEARCH, Family(), {}, {}, {}, (), None)
    assert family_tree(begun) is None
    assert "search made" in render_search(begun)
