"""Answers of models, as they come: which region they stand for, or why they stand for none."""

import pytest
from prompt_parts import make_task

from gapo_cli.prompts.instruct_rewrite import InstructRewrite
from gapo_cli.prompts.parts.reading import code_blocks, fenced, says_no_change
from gapo_cli.prompts.zeta1 import Zeta1

S, E, C = "<|editable_region_start|>", "<|editable_region_end|>", "<|user_cursor_is_here|>"
TASK = make_task()  # import a, a blank line, the region of two lines, a blank line, f()


@pytest.mark.parametrize(
    ("text", "region"),
    [
        (f"{S}\nx\n{E}", "x\n"),
        (f"{S}\n{E}", ""),
        (f"{S}\n\n{E}", "\n"),
        (f"\n{S}\nx\n{E}\n", "x\n"),
        (f"{S}\nx{C}\n{E}", "x\n"),
        (f"```m.py\n{S}\nx\n{E}\n```", "x\n"),
        (f"```m.py\n<|start_of_file|>\nimport a\n\n{S}\nx\n{E}\n\nf()\n```\n", "x\n"),
        (f"import a\n\n{S}\nx\n{E}", "x\n"),
        (f"{S}\nx\n{E}\n\nf()\n", "x\n"),
        (f"{S}\n```python\nx\n```\n{E}", "x\n"),
        (f"{S}\n<|no_change|>\n{E}", TASK.region),
        ("No changes.", TASK.region),
    ],
)
def test_marked_answers_that_are_a_region(text, region):
    answer = Zeta1().parse(TASK, text)
    assert (answer.region, answer.malformed) == (region, None)


@pytest.mark.parametrize(
    ("text", "malformed"),
    [
        ("", "empty_answer"),
        ("x\n", "missing_start_marker"),
        (f"x\n{E}", "missing_start_marker"),
        (f"{S}\nx\n", "missing_end_marker"),
        (f"{E}\nx\n{S}", "missing_end_marker"),
        (f"{S}\nx\n{E}\n{S}\nx\n{E}", "repeated_marker"),
        (f"import b\n\n{S}\nx\n{E}", "text_outside_region_changed"),
        (f"{S}\nx\n{E}\ng()\n", "text_outside_region_changed"),
        (f"{S}\nx\n{E}\n\nf()\nmore()\n", "text_outside_region_changed"),
        (f"Here it is:\n{S}\nx\n{E}", "text_outside_region_changed"),
    ],
)
def test_marked_answers_that_are_malformed_have_a_name(text, malformed):
    answer = Zeta1().parse(TASK, text)
    assert (answer.region, answer.malformed) == (None, malformed)


def test_a_begun_answer_may_repeat_the_start_marker():
    template = Zeta1(begin_answer=True)
    assert template.parse(TASK, f"x\n{E}").region == "x\n"
    assert template.parse(TASK, f"{S}\nx\n{E}").region == "x\n"


@pytest.mark.parametrize(
    ("text", "region"),
    [
        ("```python\nx\n```", "x\n"),
        ("```\nx\n```\n", "x\n"),
        ("Here it is:\n\n```python\nx\n```\nIt closes the call.", "x\n"),
        ("```python\n```", ""),
        ("x\n", "x\n"),
        (f"```python\nx{C}\n```", "x\n"),
        (f"```python\n{S}\nx\n{E}\n```", "x\n"),
        (f"```python\nimport a\n\n{S}\nx\n{E}\n\nf()\n```", "x\n"),
        ("NO CHANGE", TASK.region),
        ("```\n<|no_change|>\n```", TASK.region),
    ],
)
def test_fenced_answers_that_are_a_region(text, region):
    answer = InstructRewrite().parse(TASK, text)
    assert (answer.region, answer.malformed) == (region, None)


@pytest.mark.parametrize(
    ("text", "malformed"),
    [
        ("\n \n", "empty_answer"),
        ("```python\nx\n", "unclosed_code_fence"),
        ("```\nx\n```\nor\n```\ny\n```", "several_code_blocks"),
        (f"```\n{S}\nx\n```", "missing_end_marker"),
        (f"```\nx\n{E}\n```", "missing_start_marker"),
        (f"```\nimport b\n\n{S}\nx\n{E}\n```", "text_outside_region_changed"),
    ],
)
def test_fenced_answers_that_are_malformed_have_a_name(text, malformed):
    answer = InstructRewrite().parse(TASK, text)
    assert (answer.region, answer.malformed) == (None, malformed)


@pytest.mark.parametrize(
    ("text", "malformed"),
    [("x = 3 + 2\n", None), ("y = 3 + 2\n", "text_outside_region_changed"), ("x = 3\n", "text_outside_region_changed"),
     ("3", "text_outside_region_changed")],
)  # fmt: skip
def test_the_rest_of_the_regions_lines_must_stay(text, malformed):
    task = make_task("x = ", "g(1)", " + 2\ny\n")
    answer = Zeta1().parse(task, f"{S}\n{text}{E}")
    assert answer.malformed == malformed
    assert answer.region == (None if malformed else "3")


def test_fences_between_the_markers_of_markdown_are_code():
    task = make_task("# A\n", "```sh\nls\n```\n", "", language="markdown")
    assert Zeta1().parse(task, f"{S}\n```sh\nls -l\n```\n{E}").region == "```sh\nls -l\n```\n"


@pytest.mark.parametrize(
    "text", ["no change", "NO_CHANGE", "No changes!", "**no edits**", "<|no_change|>", "NO_EDITS", " no  change \n"]
)
def test_no_change_in_its_spellings(text):
    assert says_no_change(text)


@pytest.mark.parametrize("text", ["", "no", "no changes in f", "nochange()", "no change" * 9, "```\nno change\n```"])
def test_what_is_no_no_change(text):
    assert not says_no_change(text)


def test_code_blocks_of_a_text():
    assert code_blocks("a") == []
    assert code_blocks("```\na\n```\nb\n```py\nc\n```") == ["a\n", "c\n"]
    assert code_blocks("```\na\n````\n```") == ["a\n````\n"]  # a longer line of backticks does not close
    assert code_blocks("````\n```\n````") == ["```\n"]
    assert code_blocks("```a``` is inline\n") == []
    assert code_blocks("```\na```") == ["a"]
    assert code_blocks("```\na") is None
    assert code_blocks("```") == []


def test_a_fence_is_longer_than_the_backticks_inside():
    assert fenced("a\n", "py") == "```py\na\n```"
    assert fenced("`````") == "``````\n```````````"  # six, a line break, five and six
