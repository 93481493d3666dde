"""Task statistics as tables."""

from xml.etree import ElementTree

import pytest
from parts import small_task

from gapo_cli.reports.task_tables import counted, draw, markdown, shape, task_tables
from gapo_cli.statistics.task_sets import Distribution, Measured, task_statistics


def task(name, language, family=None):
    return small_task(name, language=language, family=family)


def statistics(**splits):
    return task_statistics(
        splits, {name: [Measured(10 + place, 2) for place in range(len(tasks))] for name, tasks in splits.items()}, 1
    )


def rows(table):
    return {row[0]: row[1:] for row in table.rows}


def test_languages_come_most_frequent_first_with_their_shares():
    found = statistics(train=[task("1", "go"), task("2", "c"), task("3", "c")], eval=[task("4", "lua")], dev=[])
    table = task_tables(found, [], [])[0]
    assert table.columns == ("language", "train", "eval", "all")  # dev has no tasks
    assert list(rows(table)) == ["c", "go", "lua", "tasks"]
    assert rows(table)["c"] == ("2 (66.7 %)", "–", "2 (50.0 %)")


def test_one_split_alone_has_no_column_of_all():
    assert task_tables(statistics(eval=[task("1", "go")]), [], [])[0].columns == ("language", "eval")


def test_families_are_a_table_only_where_there_are_some_and_tasks_without_one_are_counted():
    assert [table.columns[0] for table in task_tables(statistics(eval=[task("1", "go")]), [], [])] == [
        "language", "lengths", "tasks that", "repeated edits",
    ]  # fmt: skip
    table = task_tables(statistics(eval=[task("1", "go", "call"), task("2", "go")]), [], [])[1]
    assert rows(table) == {"call": ("1 (50.0 %)",), "no family": ("1 (50.0 %)",), "tasks": ("2",)}


@pytest.mark.parametrize(("counts", "expected"), [((8, 1, 0, 4), "█▁ ▄"), ((1,), "█"), ((1000, 1), "█▁")])
def test_a_shape_is_as_high_as_its_counts_and_shows_the_smallest(counts, expected):
    assert shape(Distribution(1, 0, 0, 0, (), (), counts)) == expected


def test_nothing_is_a_dash():
    assert (counted(0, 5), counted(1234, 2468)) == ("–", "1,234 (50.0 %)")


def test_repeats_are_named_by_where_they_stand():
    pairs = [
        {"first": "train", "second": "train", "exact": 2, "near": 0, "examples": [["a", "b"], ["a", "c"]]},
        {"first": "train", "second": "eval", "exact": 0, "near": 0, "examples": []},
    ]
    table = task_tables(statistics(train=[task("1", "go")]), pairs[:1], pairs[1:])[-1]
    assert table.rows == (("earlier in train", "2", "–", "a = b"), ("eval, in train as well", "–", "–", "–"))


def test_the_markdown_file_has_every_table_and_the_figure():
    text = markdown("Tasks of x", ["one note"], task_tables(statistics(train=[task("1", "g|o")]), [], []), "f.svg")
    assert text.startswith("# Tasks of x\n\none note\n\n| language | train |\n|---|---:|\n| g\\|o | 1 (100.0 %) |")
    assert text.endswith("![languages and lengths](f.svg)\n")


@pytest.mark.parametrize("languages", [["go"], ["go", "", "rust"], [f"language {number}" for number in range(20)]])
def test_the_figure_is_drawn_for_few_and_many_languages(tmp_path, languages):
    draw(statistics(train=[task(str(number), name) for number, name in enumerate(languages)], dev=[]), tmp_path / "f.svg")
    texts = " ".join(ElementTree.parse(tmp_path / "f.svg").getroot().itertext())
    assert "prompt characters, % of the tasks" in texts
    assert ("the first 16" in texts) == (len(languages) == 20)
