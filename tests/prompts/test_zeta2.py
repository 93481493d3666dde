"""Zed's formats of 2026: Zeta 2, Zeta 2.1 and its form for Qwen, byte for byte, from worked examples of a description of the
formats (sections 2.2, 2.4 and 2.5; the examples are made up)."""

from dataclasses import replace

import pytest
from format_parts import FORMATS
from prompt_parts import make_task

from gapo_cli.errors import UserError
from gapo_cli.prompts.parts.numbered_borders import borders
from gapo_cli.prompts.parts.zed_sections import estimated_tokens
from gapo_cli.prompts.zeta2 import Zeta2
from gapo_cli.prompts.zeta2_1 import END, Zeta21
from gapo_cli.prompts.zeta2_qwen import Zeta2Qwen
from gapo_cli.records import Hint, HistoryEvent, ParsedAnswer

DIFF = "@@ -1,6 +1,6 @@\n import math\n \n-def area(r):\n+def area(radius):\n     return math.pi * r * r\n \n print(area(2))\n"
REGION = "def area(radius):\n    return math.pi * r * r\n"
TARGET = "def area(radius):\n    return math.pi * radius * radius\n"
UTIL = Hint("related_file", "src/util.py", "def square(x):\n    return x * x\n", rows=(0, 2), file_rows=9)


def shapes(**fields):
    values = {
        "path": "src/shapes.py", "history": (HistoryEvent("edit", "src/shapes.py", DIFF),), "hints": (UTIL,),
        "cursor_in_region": len("def area(radius):\n    return math.pi * r"),
    } | fields  # fmt: skip
    return make_task("import math\n\n", REGION, "\nprint(area(2))\n", TARGET, **values)


EVENTS = (
    "--- a/src/shapes.py\n+++ b/src/shapes.py\n@@ -1,6 +1,6 @@\n import math\n \n-def area(r):\n+def area(radius):\n"
    "     return math.pi * r * r\n \n print(area(2))\n"
)


def test_zeta2s_worked_example():
    prompt = Zeta2().render(shapes())
    assert prompt.text == (
        "<[fim-suffix]>\n\nprint(area(2))\n"
        "<[fim-prefix]><filename>src/util.py\ndef square(x):\n    return x * x\n...\n\n"
        f"<filename>edit_history\n{EVENTS}\n"
        "<filename>src/shapes.py\nimport math\n\n"
        "<<<<<<< CURRENT\ndef area(radius):\n    return math.pi * r<|user_cursor|> * r\n=======\n<[fim-middle]>"
    )
    assert (len(prompt.text.encode()), estimated_tokens(prompt.text)) == (413, 137)
    assert prompt.cut == ()
    assert Zeta2().answer(shapes(), TARGET) == f"{TARGET}>>>>>>> UPDATED\n"
    told = shapes(cursor_after=len("def area(radius):\n    return math.pi * radius"))
    answer = "def area(radius):\n    return math.pi * radius<|user_cursor|> * radius\n>>>>>>> UPDATED\n"
    assert Zeta2().answer(told, TARGET) == answer
    assert Zeta2().parse(told, answer) == ParsedAnswer(TARGET, cursor=told.cursor_after)
    at_end = shapes(cursor_after=len(TARGET))
    assert Zeta2().answer(at_end, TARGET) == f"{TARGET}<|user_cursor|>>>>>>>> UPDATED\n"
    assert Zeta2().parse(at_end, Zeta2().answer(at_end, TARGET)) == ParsedAnswer(TARGET, cursor=len(TARGET))


def test_zeta2_qwens_worked_example():
    task = shapes()
    assert Zeta2Qwen().render(task).text == (
        "<|fim_prefix|><|file_sep|>src/util.py\ndef square(x):\n    return x * x\n...\n\n"
        f"<|file_sep|>edit_history\n{EVENTS}\n"
        "<|file_sep|>src/shapes.py\nimport math\n\n"
        "<|marker_1|>def area(radius):\n    return math.pi * r<|user_cursor|> * r<|marker_2|>\n"
        "<|fim_suffix|>\n\nprint(area(2))\n<|fim_middle|>"
    )
    answer = f"<|marker_1|>{TARGET}<|marker_2|><|im_end|>"
    assert Zeta2Qwen().answer(task, TARGET) == answer
    assert Zeta2Qwen().parse(task, answer).region == TARGET


RINGS = (
    "import math\n\n\ndef area(r):\n    a = math.pi * r * r\n    return a\n\ndef ring(r1, r2):\n    big = area(r1)\n"
    "    small = area(r2)\n    print(big)\n    return big - small\n\ndef cube(x):\n    return x ** 3\n"
)


def rings(target=RINGS, **fields):
    cursor = RINGS.index("print(big") + len("print(big")
    return make_task("", RINGS, "y = 1\n", target, cursor_in_region=cursor, history=(), **fields)


def test_zeta2_1s_worked_example():
    assert borders(RINGS.removesuffix("\n").encode()) == [0, 65, 192]
    assert (
        Zeta21()
        .render(rings())
        .text.endswith(
            "<|marker_1|>import math\n\n\ndef area(r):\n    a = math.pi * r * r\n    return a\n\n"
            "<|marker_2|>def ring(r1, r2):\n    big = area(r1)\n    small = area(r2)\n    print(big<|user_cursor|>)\n"
            "    return big - small\n\ndef cube(x):\n    return x ** 3<|marker_3|>\n<[fim-middle]>"
        )
    )
    target = RINGS.replace("print(big)", "print(big, small)")
    task = rings(target, cursor_after=target.index("small)\n    return big") + len("small"))
    answer = (
        "<|marker_2|>def ring(r1, r2):\n    big = area(r1)\n    small = area(r2)\n    print(big, small<|user_cursor|>)\n"
        "    return big - small\n\ndef cube(x):\n    return x ** 3\n<|marker_3|><[end▁of▁sentence]>"
    )
    assert Zeta21().answer(task, target) == answer
    assert Zeta21().parse(task, answer) == ParsedAnswer(target, cursor=task.cursor_after)
    assert "\u2581" in END
    # nothing changes: border 192 is nearer to the cursor, at 142, than 65
    assert Zeta21().answer(rings(), RINGS) == "<|marker_3|><|marker_3|><[end▁of▁sentence]>"
    assert Zeta21().parse(rings(), "<|marker_3|>whatever<|marker_3|>").region == RINGS


def test_borders_of_short_long_and_empty_regions():
    assert borders(b"") == [0, 0]
    assert borders(b"a") == [0, 1]
    # 17 lines without a blank one: a border at the sixteenth line of two bytes, where the gap is 16
    assert borders(b"a\n" * 17) == [0, 32, 34]
    # a blank line after six lines, but only five lines behind it: none; with six, one at byte 14
    assert borders(b"a\n" * 6 + b"\n" + b"a\n" * 5) == [0, 23]
    assert borders(b"a\n" * 6 + b"\n" + b"a\n" * 6) == [0, 13, 25]
    # the line that closes a block is not good: the one after it begins the block
    assert borders(b"a\n" * 6 + b"\n}\n" + b"a\n" * 6) == [0, 15, 27]


def test_all_tags_of_an_answer_are_printed_and_an_inner_one_stands_at_the_start_of_a_line():
    old = "".join(f"{n}\n" * 6 + "\n" for n in "abcd") + "end of it\n"
    new = "X\n" + old[2:-10] + "end of that\n"
    task = make_task("", old, "y\n", new, history=())
    # blocks of seven lines, 13 bytes each, the last with three: the change spans all of them
    answer = Zeta21().answer(task, new)
    tags = answer.count("<|marker_")
    assert tags == len(borders(old.removesuffix("\n").encode())) > 3
    assert Zeta21().parse(task, answer).region == new
    for number in range(2, tags):
        assert f"\n<|marker_{number}|>" in answer


def test_the_region_s_final_line_break_is_the_formats_and_not_ours():
    # a region whose last row is blank is written like one without it, in prompt and answer
    task = make_task("", "a\n\n", "b\n", history=())
    assert "<<<<<<< CURRENT\na\n=======\n" in Zeta2().render(task).text
    assert Zeta2().answer(task, "c\n\n") == "c\n>>>>>>> UPDATED\n"
    assert Zeta2().parse(task, "c\n>>>>>>> UPDATED\n").region == "c\n\n"
    assert Zeta21().render(task).text.startswith("<[fim-suffix]>\nb\n<[fim-prefix]>")
    assert "<|marker_1|>a\n<|marker_2|>\n<[fim-middle]>" in Zeta21().render(task).text
    # a model that leaves the last line break out means the line, not the line joined with the next
    plain = make_task("", "a\n", "b\n", history=())
    assert Zeta21().parse(plain, "<|marker_1|>c<|marker_2|>").region == "c\n"
    assert Zeta21().parse(plain, "<|marker_1|><|marker_2|>").region == ""
    # the end of a file without a final line break
    assert Zeta2().parse(make_task("", "a", "", history=()), "c\n>>>>>>> UPDATED\n").region == "c"


def test_accepted_predictions_are_marked_and_the_newest_six_events_are_shown():
    events = tuple(HistoryEvent("edit", "m.py", f"@@ -1 +1 @@\n-{n}\n+{n}{n}\n", predicted=n == 7) for n in range(8))
    prompt = Zeta2().render(make_task(history=events))
    assert "-1\n" not in prompt.text and "-2\n" in prompt.text
    assert prompt.text.index("-2\n") < prompt.text.index("-7\n")
    assert "// User accepted prediction:\n--- a/m.py\n+++ b/m.py\n@@ -1 +1 @@\n-7\n" in prompt.text
    assert prompt.cut == ("history: 2 oldest events",)


def test_a_renamed_file_has_both_paths_and_an_opened_one_is_not_told():
    history = (HistoryEvent("open", "q.py"), HistoryEvent("rename", "b.py", old_path="a.py"))
    text = Zeta2().render(make_task(history=history)).text
    assert "<filename>edit_history\n--- a/a.py\n+++ b/b.py\n\n<filename>m.py" in text
    assert "q.py" not in text


def test_the_budget_is_nine_tenths_and_takes_related_files_first_then_the_oldest_events():
    task = shapes()
    full = Zeta2().render(task).text
    # sections are put together within nine tenths: 135 of 150, 123 of 137, 90 of 100
    assert Zeta2(budget=150).render(task).text == full
    cut = Zeta2(budget=137).render(task)
    assert "src/util.py" not in cut.text and "edit_history" in cut.text
    assert cut.cut == ("hints: 1 related excerpts",)
    least = Zeta2(budget=100).render(task)
    assert "edit_history" not in least.text and "src/util.py" in least.text
    assert "history: 1 oldest events" in least.cut
    over = Zeta2(budget=40).render(task)
    assert any("over the format's 40, with which editors do not ask" in one for one in over.cut)


def test_related_excerpts_are_chosen_by_order_and_shown_by_file():
    hints = (
        Hint("related_file", "b.py", "b1\n", rows=(0, 1), file_rows=9, order=2),
        Hint("related_file", "a.py", "a1\n", rows=(0, 1), file_rows=3, order=1),
        Hint("related_file", "b.py", "b4\n", rows=(3, 4), file_rows=4),
        Hint("diagnostic", "m.py", "wrong"),
    )
    prompt = Zeta2().render(make_task(history=(), hints=hints))
    assert "<[fim-prefix]><filename>b.py\nb1\n...\nb4\n<filename>a.py\na1\n...\n\n<filename>m.py\n" in prompt.text
    assert prompt.cut == ("diagnostic: this template has no place for it",)


def test_an_excerpt_of_the_own_file_that_is_shown_anyway_is_left_out():
    hints = (Hint("related_file", "m.py", "import a\n"), Hint("related_file", "m.py", "elsewhere\n"))
    text = Zeta2().render(make_task(history=(), hints=hints)).text
    assert text.count("import a\n") == 1 and "elsewhere" in text


def test_the_lines_around_the_region_are_taken_one_up_and_one_down_within_their_budget():
    above, below = "".join(f"above {n}\n" for n in range(9)), "".join(f"below {n}\n" for n in range(9))
    # seven bytes are two tokens, the line break none: three lines for six tokens
    prompt = Zeta2(context_tokens=6).render(make_task(above, "x\n", below, history=()))
    assert prompt.text.startswith("<[fim-suffix]>\nbelow 0\n<[fim-prefix]><filename>m.py\nabove 7\nabove 8\n<<<<<<<")
    assert prompt.cut == ("excerpt: 7 first lines", "excerpt: 8 last lines")
    none = Zeta2(context_tokens=0).render(make_task(above, "x\n", below, history=())).text
    assert none.startswith("<[fim-suffix]>\n<[fim-prefix]><filename>m.py\n<<<<<<<")


def test_a_cursor_on_a_border_belongs_to_the_block_before_it():
    region = "a\n" * 6 + "\n" + "a\n" * 6
    text = Zeta21().render(make_task("", region, "y\n", cursor_in_region=13, history=())).text
    assert "a\n\n<|user_cursor|><|marker_2|>a\n" in text


def test_code_with_a_marker_of_the_format_is_recorded_as_what_editors_do_not_ask_about():
    task = make_task("=======\n", "x = '=======x'\n", "", history=())
    assert Zeta2().render(task).cut == ("the excerpt has =======, with which editors do not ask",)
    assert Zeta21().render(task).cut == ()


@pytest.mark.parametrize(
    ("text", "malformed"),
    [
        ("", "empty_answer"),
        ("x\n", "missing_end_marker"),
        ("x\n>>>>>>> UPDATED\nand so on", "text_outside_region_changed"),
        ("x\n>>>>>>> UPDATED\n>>>>>>> UPDATED\n", "repeated_marker"),
        ("<<<<<<< CURRENT\ny\n=======\nx\n>>>>>>> UPDATED", "repeated_marker"),
        ("x<|user_cursor|>\n<|user_cursor|>\n>>>>>>> UPDATED", "repeated_marker"),
        ("=======\nx\n>>>>>>> UPDATED", "repeated_marker"),
        ("<[fim-suffix]>x\n>>>>>>> UPDATED", "repeated_marker"),
        ("x\nKEEP_PREVIOUS\n>>>>>>> UPDATED", "teacher_word"),
    ],
)
def test_zeta2_answers_that_are_malformed_have_a_name(text, malformed):
    assert (Zeta2().parse(make_task(), text).malformed, Zeta2().parse(make_task(), text).region) == (malformed, None)


@pytest.mark.parametrize(
    ("text", "malformed"),
    [
        ("", "empty_answer"),
        ("x\n", "missing_start_marker"),
        ("<|marker_1|>x\n", "missing_end_marker"),
        ("<|marker_1|>x\n<|marker_", "missing_end_marker"),
        ("<|marker_1|>x\n<|marker_3|>", "unknown_marker"),
        ("<|marker_0|>x\n<|marker_2|>", "unknown_marker"),
        ("<|marker_2|>x\n<|marker_1|>", "markers_in_wrong_order"),
        ("<|marker_1|>x\n<|marker_a|><|marker_2|>", "repeated_marker"),
        ("<|marker_1|>NO_EDITS\n<|marker_2|>", "teacher_word"),
        ("<|marker_1|><[fim-middle]>x\n<|marker_2|>", "repeated_marker"),
        ("<|marker_1|>x\n<[end▁of▁sentence]><|marker_2|>", "missing_end_marker"),
    ],
)
def test_zeta2_1_answers_that_are_malformed_have_a_name(text, malformed):
    assert (Zeta21().parse(make_task(), text).malformed, Zeta21().parse(make_task(), text).region) == (malformed, None)


def test_zeta2s_end_marker_ends_an_answer_at_the_start_of_a_line_only():
    task = make_task()
    target = "s = '>>>>>>> UPDATED'\nt = 2\n"
    whole = Zeta2().answer(task, target)
    assert Zeta2().parse(task, whole).region == target
    # what is left where a server stops at the marker within the line
    cut = whole[: whole.index("UPDATED") + len("UPDATED")]
    assert Zeta2().parse(task, cut).malformed == "missing_end_marker"
    marked = replace(
        task,
        excerpt=f"a = '>>>>>>> UPDATED'\n{task.excerpt}",
        editable=tuple(22 + place for place in task.editable),
        cursor=None,
    )
    assert any(">>>>>>> UPDATED" in one for one in Zeta2().render(marked).cut)


def test_a_heading_is_underlined_in_a_zeta2_answer():
    assert Zeta2().parse(make_task(), "Title\n=======\n>>>>>>> UPDATED\n").region == "Title\n=======\n"


def test_gaps_and_text_around_the_tags_are_passed_over():
    task = rings()
    text = "Here: <|marker_1|>one\n<|marker_7|>two\n<|marker_2|> done"
    assert Zeta21().parse(task, text).region == "one\ntwo\n" + RINGS[65:]


@pytest.mark.parametrize("word", ["NO_EDITS", "KEEP_PREVIOUS\n", " NO_EDITS \n"])
@pytest.mark.parametrize("name", FORMATS)
def test_an_answer_that_is_only_a_teachers_word_is_no_edit(name, word):
    task = make_task()
    assert FORMATS[name].parse(task, word).region == task.region
    if name == "zeta2":
        assert Zeta2().parse(task, f"{word}\n>>>>>>> UPDATED\n").region == task.region


@pytest.mark.parametrize(
    ("settings_of", "sentence"),
    [
        ({"budget": 0}, "prompt.budget=0: need at least 1"),
        ({"context_tokens": -1}, "prompt.context_tokens=-1: need 0 or more"),
        ({"history_events": -1}, "prompt.history_events=-1: need 0 or more"),
        ({"missing_tokens": "skip"}, "prompt.missing_tokens=skip: need stop"),
    ],
)
def test_a_wrong_setting_is_refused_in_a_sentence(settings_of, sentence):
    for kind in (Zeta2, Zeta21, Zeta2Qwen):
        with pytest.raises(UserError, match=sentence):
            kind(**settings_of)
