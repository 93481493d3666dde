"""Formats whose answer is a window: Sweep's two layouts, Instinct, Mercury and Copilot, from examples of a description of the
formats (sections 5, 6 and 7; the examples are made up)."""

import pytest
from prompt_parts import make_task

from gapo_cli.errors import UserError
from gapo_cli.prompts.copilot import INSTRUCTIONS, Copilot
from gapo_cli.prompts.instinct import PREFACE, SYSTEM, Instinct
from gapo_cli.prompts.mercury import Mercury
from gapo_cli.prompts.sweep import Sweep
from gapo_cli.prompts.sweep_v2 import SweepV2
from gapo_cli.records import Hint, HistoryEvent

REGION = "def area(radius):\n    return math.pi * r * r\n"
TARGET = "def area(radius):\n    return math.pi * radius * radius\n"
RENAMED = HistoryEvent("edit", "src/shapes.py", "@@ -3 +3 @@\n-def area(r):\n+def area(radius):\n")
UTIL = Hint("related_file", "src/util.py", "def square(x):\n    return x * x\n")


def shapes(before="import math\n\n", after="", **fields):
    values = {
        "path": "src/shapes.py", "history": (RENAMED,), "hints": (UTIL,), "cursor_in_region": len("def area(radius):\n    return math.pi * r"),
    } | fields  # fmt: skip
    return make_task(before, REGION, after, TARGET, **values)


def test_sweeps_worked_example():
    assert Sweep().render(shapes()).text == (
        "<|file_sep|>src/util.py\ndef square(x):\n    return x * x\n"
        "<|file_sep|>src/shapes.py.diff\noriginal:\ndef area(r):\nupdated:\ndef area(radius):\n"
        "<|file_sep|>original/src/shapes.py\nimport math\n\ndef area(r):\n    return math.pi * r * r\n"
        "<|file_sep|>current/src/shapes.py\nimport math\n\ndef area(radius):\n    return math.pi * r * r\n"
        "<|file_sep|>updated/src/shapes.py\n"
    )
    answer = "import math\n\ndef area(radius):\n    return math.pi * radius * radius\n"
    assert Sweep().answer(shapes(), TARGET) == answer
    for said in (answer, f"{answer}<|file_sep|>", f"{answer}</s>and so on"):
        assert Sweep().parse(shapes(), said).region == TARGET


def test_sweeps_window_is_ten_rows_above_and_below_the_cursors_row_or_the_region():
    above, below = "".join(f"a{n}\n" for n in range(20)), "".join(f"b{n}\n" for n in range(20))
    text = Sweep().render(shapes(above, below)).text
    # the cursor is in the region's second row: nine rows above the region and ten below it
    window = text.split("<|file_sep|>current/src/shapes.py\n")[1].split("<|file_sep|>")[0]
    assert window == "".join(f"a{n}\n" for n in range(11, 20)) + REGION + "".join(f"b{n}\n" for n in range(10))
    narrow = Sweep(above=0, below=0).render(shapes(above, below)).text
    assert f"current/src/shapes.py\n{REGION}<|file_sep|>updated" in narrow


@pytest.mark.parametrize(
    ("said", "region", "malformed"),
    [
        ("", REGION, None),
        ("import math\n\n" + REGION, REGION, None),
        ("import math\n\n" + REGION.removesuffix("\n"), REGION, None),
        ("import os\n\n" + TARGET, None, "text_outside_region_changed"),
        (TARGET, None, "text_outside_region_changed"),
        ("import math\n\nKEEP_PREVIOUS\n", None, "teacher_word"),
    ],
)
def test_sweep_answers(said, region, malformed):
    # rows 0 to 3: the import, a blank one and the region
    answer = Sweep(above=3, below=0).parse(shapes(after="\nprint(1)\n"), said)
    assert (answer.region, answer.malformed) == (region, malformed)


def test_long_changes_are_cut_and_a_renaming_gives_both_paths():
    long = HistoryEvent("edit", "n.py", "@@ -1,45 +1 @@\n" + "".join(f"-{n}\n" for n in range(45)) + "+x\n")
    renamed = HistoryEvent("rename", "b.py", old_path="a.py")
    text = Sweep().render(shapes(history=(long, renamed), hints=())).text
    first, last = "".join(f"{n}\n" for n in range(20)), "".join(f"{n}\n" for n in range(26, 45))
    assert text.startswith(
        f"<|file_sep|>n.py.diff\noriginal:\n{first}...\n{last}updated:\nx\n"
        "<|file_sep|>b.py.diff\noriginal:\npath: a.py\nupdated:\npath: b.py\n<|file_sep|>original/"
    )


def test_sweeps_budget_takes_context_files_first_then_the_oldest_changes():
    task = shapes(history=(HistoryEvent("edit", "n.py", "@@ -1 +1 @@\n-x\n+y\n"), RENAMED))
    full = Sweep(budget=None, counter=len).render(task)
    assert full.cut == ()
    size = len(full.text)
    no_files = Sweep(budget=size - 1, counter=len).render(task)
    assert "util" not in no_files.text and "n.py.diff" in no_files.text
    assert no_files.cut == ("hints: 1 left out",)
    newest = Sweep(budget=len(no_files.text) - 1, counter=len).render(task)
    assert "n.py.diff" not in newest.text and "shapes.py.diff" in newest.text
    assert "history: 1 left out" in newest.cut


@pytest.mark.parametrize("template", [Sweep(), SweepV2()])
def test_sweep_says_where_a_blocks_mark_stands_in_related_files_or_the_history(template):
    related = Hint("related_file", "src/b.py", "s = '<|file_sep|>'\n", rows=(0, 1), file_rows=1)
    event = HistoryEvent("edit", "src/c.py", "@@ -1 +1 @@\n-a\n+<|file_sep|>\n")
    for task in (shapes(hints=(related,)), shapes(history=(event,))):
        assert "the excerpt has <|file_sep|>, with which editors do not ask" in template.render(task).cut
    assert not any("<|file_sep|>" in one for one in template.render(shapes()).cut)


def test_sweep_says_how_far_the_windows_alone_are_over_the_budget():
    cut = Sweep(budget=40, counter=len).render(shapes()).cut
    assert any(one.startswith("nothing more could be cut: ") and one.endswith(" over the budget of 40") for one in cut)


def test_sweeps_second_layout():
    task = shapes(after="\n\nprint(area(2))\n", history=(RENAMED,))
    # the block is two rows above the cursor's row, in the region's second row, to five below; the blank row that it begins
    # with is dropped and so are those that it ends with. The cursor is in its second row: 1 + 1, and 1 + 5 rows + 1
    assert SweepV2().render(task).text == (
        "<|file_sep|>src/shapes.py\nimport math\n\ndef area(r):\n    return math.pi * r * r\n\n\nprint(area(2))\n"
        "\n<|file_sep|>src/util.py\ndef square(x):\n    return x * x\n\n\n"
        "<|file_sep|>src/shapes.py:3:3\noriginal:\ndef area(r):\nupdated:\ndef area(radius):\n"
        "<|file_sep|>original/src/shapes.py:2:7\ndef area(r):\n    return math.pi * r * r\n\n\nprint(area(2))\n"
        "<|file_sep|>current/src/shapes.py:2:7\ndef area(radius):\n    return math.pi * r<|cursor|> * r\n\n\nprint(area(2))\n"
        "<|file_sep|>updated/src/shapes.py:2:7\n"
    )
    answer = f"{TARGET}\n\nprint(area(2))\n"
    assert SweepV2().answer(task, TARGET) == answer
    assert SweepV2().parse(task, answer.removesuffix("\n")).region == TARGET
    assert SweepV2().parse(task, f"{answer}<|file_sep|>").region == TARGET
    assert SweepV2().parse(task, answer.replace("radius *", "radius<|cursor|> *")).malformed == "repeated_marker"


def test_a_long_file_is_shown_as_the_slice_whose_middle_is_nearest():
    # row 500: slices begin at 0, 150, 300, 450, ...; the middles 450 (of 300) and 600 (of 450): 450 is nearer
    above, below = "".join(f"a{n}\n" for n in range(500)), "".join(f"b{n}\n" for n in range(400))
    text = SweepV2().render(make_task(above, "x\n", below, cursor_in_region=0, history=())).text
    assert text.startswith("<|file_sep|>m.py\na300\n")
    # 200 rows from a300 to a499, x, and 99 from b0 to b98
    assert "\nb98\n\n<|file_sep|>original" in text


def test_instincts_worked_example():
    task = shapes(
        "", path="shapes.py", hints=(),
        history=(HistoryEvent("edit", "shapes.py", "@@ -1,2 +1,2 @@\n-def area(r):\n+def area(radius):\n     return math.pi * r * r\n"),),
        after="x\n",
    )  # fmt: skip
    narrow = Instinct(region_rows=0, excerpt_rows=0)
    system, user = narrow.render(task).messages
    assert (system.role, system.content, user.role) == ("system", SYSTEM, "user")
    assert user.content == (
        f"{PREFACE}\n\n### Context:\n\n\n\n\n"
        '### User Edits:\n\nUser edited file "shapes.py"\n\n```diff\n@@ -1,2 +1,2 @@\n-def area(r):\n+def area(radius):\n'
        '     return math.pi * r * r\n```\n\n### User Excerpt:\n"shapes.py"\n\n<|editable_region_start|>\ndef area(radius):\n'
        "    return math.pi * r<|user_cursor_is_here|> * r\n<|editable_region_end|>"
    )
    answer = "def area(radius):\n    return math.pi * radius * radius"
    assert narrow.answer(task, TARGET) == answer
    assert narrow.parse(task, answer).region == TARGET


def test_instinct_shows_the_newest_edit_first_snippets_and_the_makers_texts_where_given():
    events = tuple(HistoryEvent("edit", "m.py", f"@@ -1 +1 @@\n-{n}\n+<|snippet|>{n}{n}\n") for n in (1, 2))
    template = Instinct(system="S", preface="P", history_events=None)
    system, user = template.render(shapes(history=events)).messages
    assert system.content == "S"
    assert user.content.startswith("P\n\n### Context:\n\n<|context_file|> src/util.py\n<|snippet|>\ndef square(x):\n")
    assert user.content.index("-2\n+22") < user.content.index("-1\n+11")


@pytest.mark.parametrize(("said", "malformed"), [("", "empty_answer"), ("<|editable_region_start|>\nx", "repeated_marker")])
def test_instinct_answers_that_are_malformed(said, malformed):
    assert Instinct().parse(shapes(), said).malformed == malformed


def test_mercurys_worked_example():
    task = make_task("", "x = 1\n", "y = 2", "x = 3\n", path="p/a.py", history=(), cursor_in_region=len("x = "))
    (message,) = Mercury().render(task).messages
    assert message.content == (
        "<|recently_viewed_code_snippets|>\n\n<|/recently_viewed_code_snippets|>\n<|current_file_content|>\ncurrent_file_path: "
        "p/a.py\n<|code_to_edit|>\nx = <|cursor|>1\n<|/code_to_edit|>\n\ny = 2\n<|/current_file_content|>\n<|edit_diff_history|>"
        "\n\n<|/edit_diff_history|>\n"
    )
    assert (Mercury().answer(task, "x = 3\n"), Mercury().answer(task, "x = 1\n")) == ("x = 3", "None")
    for said in ("x = 3", "x = 3\n", "```\nx = 3\n```", "```python\nx = 3\n```\n"):
        assert Mercury().parse(task, said).region == "x = 3\n"
    assert Mercury().parse(task, "None").region == "x = 1\n"


def test_mercury_fences_what_would_be_read_otherwise():
    task = make_task("", "x = 1\n", "y = 2\n", history=())
    for region, said in {"None\n": "```\nNone\n```", "": "```\n\n```", "```\na\n": "```\n```\na\n```"}.items():
        assert Mercury().answer(task, region) == said
        assert Mercury().parse(task, said).region == region
    assert Mercury().parse(task, "```\nx = 3\n").malformed == "unclosed_code_fence"
    assert Mercury().parse(task, "").malformed == "empty_answer"
    assert Mercury().parse(task, "x<|cursor|>").malformed == "repeated_marker"


def test_mercury_shows_snippets_with_a_blank_line_before_each_closing_tag():
    (message,) = Mercury().render(shapes(history=())).messages
    assert message.content.startswith(
        "<|recently_viewed_code_snippets|>\n<|recently_viewed_code_snippet|>\ncode_snippet_file_path: src/util.py\n"
        "def square(x):\n    return x * x\n\n<|/recently_viewed_code_snippet|>\n\n<|/recently_viewed_code_snippets|>\n"
    )


COPILOT = """<|recently_viewed_code_snippets|>
<|recently_viewed_code_snippet|>
code_snippet_file_path: src/util.py
def square(x):
    return x * x
<|/recently_viewed_code_snippet|>
<|/recently_viewed_code_snippets|>

<|current_file_content|>
current_file_path: src/shapes.py
AREA
<|/current_file_content|>

<|edit_diff_history|>
--- src/shapes.py
+++ src/shapes.py
@@ -2,1 +2,1 @@
-def area(r):
+def area(radius):

<|/edit_diff_history|>

AREA"""
AREA = """<|area_around_code_to_edit|>
import math
<|code_to_edit|>

def area(radius):
    return math.pi * r<|cursor|> * r
b0
b1
b2
b3
b4
<|/code_to_edit|>
b5
<|/area_around_code_to_edit|>"""


def test_copilots_sections_the_window_in_its_area_and_the_history_without_context():
    task = shapes(after="".join(f"b{n}\n" for n in range(5)) + "b5")
    system, user = Copilot().render(task).messages
    assert system.role == "system"
    assert user.content == f"```\n{COPILOT.replace('AREA', AREA)}\n```\n\n{INSTRUCTIONS['window']}"
    patch = Copilot(answer_as="patch", area_in_file=False, line_numbers=True, area=0).render(task).messages[1].content
    assert patch.startswith("<|recently_viewed")
    assert "current_file_path: src/shapes.py\n0| import math\n1| \n2| def area(radius):\n" in patch


def test_copilots_window_answer_is_fenced():
    task = shapes(after="b0\nb1\nb2\nb3\nb4\nb5")
    answer = f"```\n\n{TARGET}b0\nb1\nb2\nb3\nb4\n```"
    assert Copilot().answer(task, TARGET) == answer
    assert Copilot().parse(task, answer).region == TARGET
    assert Copilot().parse(task, answer.replace("```\n\n", "```python\n\n")).region == TARGET
    for said, malformed in {
        "": "empty_answer",
        TARGET: "unclosed_code_fence",
        answer.removesuffix("```"): "unclosed_code_fence",
        "```": "unclosed_code_fence",
        answer.replace("b4", "b"): "text_outside_region_changed",
        answer.replace("radius)", "radius<|cursor|>)"): "repeated_marker",
    }.items():
        assert Copilot().parse(task, said).malformed == malformed


def test_copilots_patches_say_path_and_line_from_0():
    template = Copilot(answer_as="patch")
    task = shapes(after="b0\n")
    answer = "src/shapes.py:3\n-    return math.pi * r * r\n+    return math.pi * radius * radius"
    assert template.answer(task, TARGET) == answer
    assert template.parse(task, answer).region == TARGET
    # no line that goes: the new ones come before that line
    assert template.parse(task, "src/shapes.py:2\n+# a\n").region == f"# a\n{REGION}"
    assert template.answer(task, REGION) == "<NO_EDIT>"
    for said in ("<NO_EDIT>", "", "<NO_EDIT>\n"):
        assert template.parse(task, said).region == REGION
    two = "src/shapes.py:2\n-def area(radius):\n+def area(q):\nwhat is no line of a patch\n" + answer
    assert template.parse(task, two).region == TARGET.replace("area(radius)", "area(q)")


@pytest.mark.parametrize(
    ("said", "malformed"),
    [
        ("It is fine as it is.", "no_patch"),
        ("src/b.py:0\n+import a", "text_outside_region_changed"),
        ("src/shapes.py:0\n-import math\n+import m", "text_outside_region_changed"),
        ("src/shapes.py:90\n+x", "text_outside_region_changed"),
        ("src/shapes.py:3\n-    return r\n+    return 1", "patch_does_not_apply"),
        ("src/shapes.py:2\n-def area(radius):\n-    return math.pi * r * r\nsrc/shapes.py:3\n-    return math.pi * r * r", "patch_does_not_apply"),
        ("src/shapes.py:3\n+NO_EDITS", "teacher_word"),
        # the line that comes is lost to its patch, which would be a deletion
        ("src/shapes.py:3\n-    return math.pi * r * r\nso:\n+    return math.pi * radius * radius", "broken_patch"),
        ("src/shapes.py:2\n-def area(r):\n+def area(q):\n-    return math.pi * r * r", "broken_patch"),
    ],
)  # fmt: skip
def test_copilots_patches_that_do_not_fit_are_malformed(said, malformed):
    answer = Copilot(answer_as="patch").parse(shapes(after="b0\n"), said)
    assert (answer.region, answer.malformed) == (None, malformed)


def test_copilots_file_grows_by_pages_half_of_the_rest_above():
    above, below = "".join(f"a{n:02}....\n" for n in range(60)), "".join(f"b{n:02}....\n" for n in range(60))
    task = make_task(above, "x\n", below, cursor_in_region=0, history=())
    # a row of seven characters and its break are 2 tokens, a page 20; the area of two rows around x (a59, x, b00) is 5 without tags:
    # of the 95 that are left 47 go above (two pages, 40), and 55 below (two pages)
    template = Copilot(above=0, below=0, area=1, area_in_file=False, file_tokens=100)
    prompt = template.render(task)
    file = prompt.messages[1].content.split("current_file_path: m.py\n")[1].split("\n<|/current_file_content|>")[0]
    assert file.split("\n") == [*(f"a{n}...." for n in range(39, 60)), "x", *(f"b{n:02}...." for n in range(21))]
    assert prompt.cut == ("excerpt: 39 first lines", "excerpt: 39 last lines")


def test_blank_changes_and_files_that_were_only_opened_are_not_in_copilots_history():
    history = (HistoryEvent("edit", "m.py", "@@ -1 +1,2 @@\n+\n a\n"), HistoryEvent("open", "q.py"))
    assert "<|edit_diff_history|>\n\n<|/edit_diff_history|>" in Copilot().render(shapes(history=history)).messages[1].content


@pytest.mark.parametrize(
    ("kind", "settings_of", "sentence"),
    [
        (Sweep, {"above": -1}, "prompt.above=-1: need 0 or more"),
        (Sweep, {"budget": 0}, "prompt.budget=0: need at least 1"),
        (Sweep, {"missing_tokens": "no"}, "prompt.missing_tokens=no: need stop"),
        (SweepV2, {"hunks": -1}, "prompt.hunks=-1: need 0 or more"),
        (SweepV2, {"related_tokens": -1}, "prompt.related_tokens=-1: need 0 or more"),
        (Instinct, {"region_rows": -1}, "prompt.region_rows=-1: need 0 or more"),
        (Instinct, {"history_events": -1}, "prompt.history_events=-1: need 0 or more"),
        (Mercury, {"history_events": -1}, "prompt.history_events=-1: need 0 or more"),
        (Mercury, {"related_tokens": -1}, "prompt.related_tokens=-1: need 0 or more"),
        (Copilot, {"answer_as": "xml"}, "prompt.answer_as=xml"),
        (Copilot, {"area": -1}, "prompt.area=-1: need 0 or more"),
    ],
)
def test_a_wrong_setting_is_refused_in_a_sentence(kind, settings_of, sentence):
    with pytest.raises(UserError, match=sentence):
        kind(**settings_of)
