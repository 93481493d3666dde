import pytest
from hypothesis import given
from hypothesis import strategies as st

from gapo_cli.errors import UserError
from gapo_cli.prompts.nano import CURSOR, LEFT, MARKERS, NanoTemplate, common_indent
from gapo_cli.records import EditTask, HistoryEvent, Source

BEFORE, REGION, AFTER = "    a = 1\n", "    b = None\n        c\n", "    d\n"


def task(
    before=BEFORE, region=REGION, after=AFTER, cursor=None, diffs=("@@ -1,1 +1,1 @@\n-    x = 0\n+    x = 1\n",)
) -> EditTask:
    return EditTask(
        id="t", source=Source("made", "eval"), language="python", path="m.py", excerpt=before + region + after,
        editable=(len(before), len(before) + len(region)), target=region, cursor=cursor,
        history=tuple(HistoryEvent("edit", "m.py", diff) for diff in diffs),
    )  # fmt: skip


def test_the_prompt_shows_history_excerpt_region_and_cursor_without_the_common_indentation():
    cursor = len(BEFORE) + 4
    prompt = NanoTemplate().render(task(cursor=(cursor, cursor)))
    assert prompt.text == ("<|old|>x = 0<|new|>x = 1<|code|>a = 1\n<|region|><|cursor|>b = None\n    c\n<|after|>d\n<|answer|>")
    assert prompt.cut == ()


def test_a_cursor_inside_the_indentation_stands_before_the_first_character_that_stays():
    cursor = len(BEFORE) + 2
    assert "<|region|><|cursor|>b" in NanoTemplate().render(task(cursor=(cursor, cursor))).text


def test_a_cursor_outside_the_region_is_not_shown():
    assert CURSOR not in NanoTemplate().render(task(cursor=(0, 0))).text


def test_context_lines_of_a_hunk_stand_on_both_sides():
    prompt = NanoTemplate().render(task(diffs=("@@ -3,1 +3,2 @@\n+    @d\n     def f():\n",)))
    assert prompt.text.startswith("<|old|>def f():<|new|>@d\ndef f():<|code|>")


def test_only_the_newest_edits_are_shown_and_the_others_counted():
    diffs = tuple(f"@@ -{n},1 +{n},1 @@\n-{n}\n+{n}{n}\n" for n in range(1, 4))
    prompt = NanoTemplate(history_events=1).render(task(diffs=diffs))
    assert prompt.text.startswith("<|old|>3<|new|>33<|code|>")
    assert prompt.cut == ("history: 2 oldest edits",)


def test_no_history_is_shown_with_zero_events():
    assert NanoTemplate(history_events=0).render(task()).text.startswith("<|code|>")


def test_an_answer_with_less_indentation_than_the_excerpt_comes_back_whole():
    region = "b\n    c\n"
    text = NanoTemplate().answer(task(), region)
    assert text == f"{LEFT}b\nc\n"
    assert NanoTemplate().parse(task(), text).region == region


@pytest.mark.parametrize("marker", [marker for marker in MARKERS if marker != LEFT])
def test_an_answer_that_repeats_a_prompt_marker_is_malformed(marker):
    parsed = NanoTemplate().parse(task(), f"b = 1{marker}\n")
    assert (parsed.region, parsed.malformed) == (None, "prompt_marker")


def test_a_left_marker_inside_a_line_is_malformed():
    assert NanoTemplate().parse(task(), f"b {LEFT}\n").malformed == "prompt_marker"


def test_a_negative_history_is_refused():
    with pytest.raises(UserError, match="history_events=-1"):
        NanoTemplate(history_events=-1)


code = st.text(alphabet=st.sampled_from(list("ab =\t\n()    ")), max_size=60)


@given(before=code, region=code, after=code, answer=code)
def test_parsing_an_answer_gives_back_the_region(before, region, after, answer):
    made = task(before=before, region=region, after=after)
    parsed = NanoTemplate().parse(made, NanoTemplate().answer(made, answer))
    assert (parsed.region, parsed.malformed) == (answer, None)


@given(text=st.text())
def test_any_text_parses_to_a_region_or_to_a_named_reason(text):
    parsed = NanoTemplate().parse(task(), text)
    assert (parsed.region is None) == (parsed.malformed is not None)


def test_common_indent_is_what_all_lines_that_are_not_blank_begin_with():
    assert common_indent("    a\n\n      b\n") == "    "
    assert common_indent("\ta\n    b\n") == ""
    assert common_indent(" \n") == ""
