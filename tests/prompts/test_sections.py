"""The format whose layout is settings, as text."""

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prompt_parts import HINTS, REGIONS, TASKS, make_task

from gapo_cli.errors import UserError
from gapo_cli.prompts.sections import DIFFS, MARKS, SECTIONS, Sections
from gapo_cli.records import HistoryEvent

EDIT = HistoryEvent("edit", "m.py", "@@ -3,2 +3,2 @@\n def f():\n-    a\n+    b\n")


def test_tags_with_a_unified_diff():
    assert Sections().render(make_task(history=(EDIT,), cursor_in_region=3)).text == (
        "<history>\nm.py\n@@ -3,2 +3,2 @@\n def f():\n-    a\n+    b\n"
        "<code>\nimport a\n\n<region>\ndef<cursor/> f():\n    g(\n</region>\n\nf()\n<answer>\n"
    )


def test_an_edit_as_its_sides_and_without_its_context():
    task = make_task(history=(EDIT,))
    assert "<old>\ndef f():\n    a\n<new>\ndef f():\n    b\n<code>" in Sections(diffs="sides").render(task).text
    assert "<history>\nm.py\n-    a\n+    b\n<code>" in Sections(diffs="changed").render(task).text


def test_sections_come_in_the_order_asked_for_and_those_that_are_empty_are_left_out():
    task = make_task(history=(EDIT,), **HINTS)
    text = Sections(order=("code", "hints", "history"), marks="comments").render(task).text
    assert [text.index(f"# {name}:") for name in ("code", "hints", "history")] == sorted(
        text.index(f"# {name}:") for name in SECTIONS
    )
    assert "# hints" not in Sections(marks="comments").render(make_task()).text


def test_the_instruction_stands_before_everything():
    assert Sections().render(make_task(instruction="close the call")).text.startswith("close the call\n<history>")


@given(
    st.sampled_from(list(permutations(SECTIONS))), st.sampled_from(list(MARKS)), st.sampled_from(DIFFS), st.sampled_from(list(TASKS.values())), REGIONS
)  # fmt: skip
def test_a_region_comes_back_in_every_layout(order, marks, diffs, task, region):
    template = Sections(order=order, marks=marks, diffs=diffs)
    assert template.render(task).text.endswith(MARKS[marks].answer)
    answer = template.parse(task, template.answer(task, region))
    assert (answer.region, answer.malformed) == (region, None)


def test_an_answer_is_bare_unless_bare_lines_would_be_read_otherwise():
    task = make_task()
    assert Sections().answer(task, "x = 1\n") == "x = 1\n"
    for region in ("", "no change\n", "```\nls\n```\n"):
        assert Sections().answer(task, region).startswith("```")


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"order": ("code", "history")}, r"prompt\.order=\[code,history\]: need history, hints, code, each once"),
        ({"marks": "tag"}, r"prompt\.marks=tag: need one of tags, zed, comments, nano; did you mean tags"),
        ({"diffs": "git"}, r"prompt\.diffs=git: need one of unified, sides, changed"),
        ({"chat": True}, "prompt=sections: is raw text and has no chat form"),
    ],
)
def test_a_layout_that_there_is_not_is_refused_in_a_sentence(settings, sentence):
    with pytest.raises(UserError, match=sentence):
        Sections(**settings)
