"""Offsets in other units than code points."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gapo_cli.errors import DataError, UserError
from gapo_cli.interfaces import no_progress
from gapo_cli.tasks.jsonl import JsonLines
from gapo_cli.tasks.offsets import code_points
from gapo_cli.tasks.sets.prepared import as_stored

# the first line has 12 code points, its woman at a computer 3 of them and 5 UTF-16 units and 11 bytes
EXCERPT = 'x := "👩‍💻 é"\ny := 1\nz := 1\n'


def build(tmp_path, editable, **settings):
    row = {"language": "go", "path": "a.go", "excerpt": EXCERPT, "editable": editable, "target": "y := 2\n"}
    (tmp_path / "row.jsonl").write_text(json.dumps(row))
    return as_stored(JsonLines(str(tmp_path / "row.jsonl"), **settings).build(no_progress))


@pytest.mark.parametrize("unit", ["codepoint", "utf16", "byte"])
def test_offsets_of_each_unit_give_the_same_region(tmp_path, unit):
    start = EXCERPT.index("y")
    before, region = EXCERPT[:start], "y := 1\n"
    size = {"codepoint": len, "utf16": lambda text: len(text.encode("utf-16-le")) // 2, "byte": lambda text: len(text.encode())}
    offsets = [size[unit](before), size[unit](before + region)]
    built = build(tmp_path, offsets, offsets=unit)
    assert built.splits["eval"][0].region == region
    assert built.report["regions_inside_lines"] == 0


def test_a_region_inside_a_line_is_counted_with_the_unit_that_fits(tmp_path):
    utf16 = [len(EXCERPT[: EXCERPT.index(letter)].encode("utf-16-le")) // 2 for letter in "yz"]
    built = build(tmp_path, utf16)
    assert built.report["regions_inside_lines"] == 1
    assert "say data.offsets=utf16" in built.report["notes"][-1]


def test_a_region_inside_a_line_that_no_unit_explains_is_counted_without_a_guess(tmp_path):
    built = build(tmp_path, [0, 3])
    assert "1 of 1 regions begin or end inside a line" in built.report["notes"][-1]
    assert "check that this is meant" in built.report["notes"][-1]


def test_an_offset_inside_a_character_or_beyond_the_text_is_refused(tmp_path):
    with pytest.raises(DataError, match="row.jsonl:1: field 'editable' has the offset 7, which lies inside a character"):
        build(tmp_path, [7, 20], offsets="utf16")
    with pytest.raises(DataError, match="field 'editable' has the offset 999, and the excerpt has"):
        build(tmp_path, [0, 999], offsets="byte")
    with pytest.raises(UserError, match="data.offsets=utf8: need one of codepoint, utf16, byte"):
        build(tmp_path, [0, 1], offsets="utf8")


@pytest.mark.parametrize(
    ("end", "advice"),
    [
        (29, "; as UTF-16 units, as LSP and JavaScript count, it lies within: set data.offsets=utf16 where they are"),
        (36, "; as bytes of UTF-8, it lies within: set data.offsets=byte where they are"),
        (99, ""),
    ],
)
def test_an_offset_beyond_the_text_is_refused_with_the_unit_that_it_may_be_in(tmp_path, end, advice):
    # the excerpt has 29 UTF-16 units and 36 bytes
    with pytest.raises(DataError, match=f"has the offset {end}, and the excerpt has 27 characters{advice}$"):
        build(tmp_path, [0, end])


@given(st.text(), st.data())
def test_units_are_converted_back(text, data):
    place = data.draw(st.integers(0, len(text)))
    text = text.encode("utf-8", "ignore").decode()
    place = min(place, len(text))
    assert code_points(text, [len(text[:place].encode())], "byte", "o") == (place,)
    assert code_points(text, [len(text[:place].encode("utf-16-le")) // 2], "utf16", "o") == (place,)
