"""The texts of five_part, instruct_rewrite and merge_markers, by hand."""

import pytest
from prompt_parts import EDITS, HINTS, make_task

from gapo_cli.errors import UserError
from gapo_cli.prompts.five_part import SYSTEM, FivePart
from gapo_cli.prompts.instruct_rewrite import InstructRewrite
from gapo_cli.prompts.merge_markers import MergeMarkers
from gapo_cli.records import HistoryEvent

CODE = """```python
import a

<|editable_region_start|>
def f():
    g(<|user_cursor_is_here|>
<|editable_region_end|>

f()
```"""
CURSOR_AT = len("def f():\n    g(")
DIFF = "Edited m.py:\n```diff\n@@ -3,1 +3,1 @@\n-old3\n+new3\n```"
HINT_TEXT = "Diagnostic m.py:\n```\nmissing )\n```\n\nNote:\n```\ncall g\n```"


def test_five_part_has_the_papers_five_parts_in_order():
    task = make_task(cursor_in_region=CURSOR_AT, history=EDITS[2:], instruction="Close the call.", system="Be brief.", **HINTS)
    text = FivePart().render(task).text
    head, _, tail = text.partition("### Answer\n")
    assert head == (
        "### System\nBe brief.\n\n### Instruction\nClose the call.\n\n"
        f"### Hints\n{HINT_TEXT}\n\n### Edit history (oldest first)\n{DIFF}\n\n### Code of m.py\n{CODE}\n\n"
    )
    assert tail.endswith("### Snippet\n")
    assert "<|no_change|>" in tail


def test_five_part_leaves_out_what_a_task_lacks():
    text = FivePart().render(make_task(history=(), path="")).text
    assert text.startswith(f"### System\n{SYSTEM}\n\n### Instruction\nContinue")
    assert "### Hints" not in text
    assert "### Edit history" not in text
    assert "### Code of an unnamed file\n" in text


def test_five_part_for_a_chat_model_has_a_system_and_a_user_message():
    task = make_task()
    raw, chat = FivePart().render(task), FivePart(chat=True).render(task)
    system, user = chat.messages
    assert (system.role, system.content, user.role, chat.text) == ("system", SYSTEM, "user", "")
    assert raw.text == f"### System\n{SYSTEM}\n\n{user.content}\n\n### Snippet\n"


def test_five_part_teaches_the_no_change_token_only_when_asked():
    task = make_task()
    assert FivePart().answer(task, task.region) == f"```python\n{task.region}```"
    assert FivePart(teach_no_change=True).answer(task, task.region) == "<|no_change|>"
    assert FivePart(teach_no_change=True).answer(task, "x\n") == "```python\nx\n```"


def test_instruct_rewrite_asks_in_plain_words():
    task = make_task(cursor_in_region=CURSOR_AT, history=EDITS[2:], instruction="Close the call.", **HINTS)
    system, user = InstructRewrite(chat=True).render(task).messages
    assert system.role == "system"
    assert user.content.startswith(
        f"These are the developer's last changes, the oldest first:\n\n{DIFF}\n\nThis may help:\n\n{HINT_TEXT}\n\n"
        f"This is m.py now:\n\n{CODE}\n\nClose the call.\n\nRewrite only the lines between"
    )
    assert user.content.endswith("answer NO CHANGE.")


def test_an_unknown_language_is_not_named_behind_a_fence():
    assert InstructRewrite().answer(make_task(language="unknown"), "x\n") == "```\nx\n```"


def test_code_that_has_fences_stands_in_longer_ones():
    answer = InstructRewrite().answer(make_task(language="markdown"), "```sh\nls\n```\n")
    assert answer == "````markdown\n```sh\nls\n```\n````"


def test_merge_markers_fill_in_the_other_side_of_a_conflict():
    task = make_task(cursor_in_region=CURSOR_AT, history=EDITS[2:])
    assert MergeMarkers().render(task).text == (
        "<|fim_suffix|>\nf()\n<|fim_prefix|><|file_sep|>edit_history\n--- a/m.py\n+++ b/m.py\n@@ -3,1 +3,1 @@\n-old3\n+new3\n\n"
        "<|file_sep|>m.py\nimport a\n\n<<<<<<< CURRENT\ndef f():\n    g(<|user_cursor|>\n=======\n<|fim_middle|>"
    )
    assert MergeMarkers().answer(task, "x\n") == "x\n>>>>>>> UPDATED"


def test_merge_markers_have_the_tokens_of_the_model_in_use():
    template = MergeMarkers(suffix_token="", prefix_token="<P>", middle_token="<M>", file_token="")
    assert template.render(make_task("", "x\n", "", history=())).text == "<P>m.py\n<<<<<<< CURRENT\nx\n=======\n<M>"


def test_merge_markers_tell_a_renaming_and_not_an_opened_file():
    history = (HistoryEvent("open", "q.py"), HistoryEvent("rename", "b.py", old_path="a.py"))
    text = MergeMarkers().render(make_task(history=history)).text
    assert "rename from a.py\nrename to b.py\n" in text
    assert "q.py" not in text


def test_merge_markers_have_no_chat_form():
    with pytest.raises(UserError, match="prompt=merge_markers: fills in raw text and has no chat form"):
        MergeMarkers(chat=True)


@pytest.mark.parametrize(
    ("text", "malformed"),
    [
        ("x\n", "missing_end_marker"),
        ("<<<<<<< CURRENT\ny\n=======\nx\n>>>>>>> UPDATED", "repeated_marker"),
        ("x\n>>>>>>> UPDATED\n>>>>>>> UPDATED", "repeated_marker"),
        ("x\n>>>>>>> UPDATED\nand so on", "text_outside_region_changed"),
    ],
)
def test_a_conflict_that_does_not_end_right_is_malformed(text, malformed):
    assert MergeMarkers().parse(make_task(), text).malformed == malformed


@pytest.mark.parametrize(
    ("text", "region"),
    [
        ("x\n>>>>>>> UPDATED\n", "x\n"),
        ("x\n>>>>>>> UPDATED\n\nf()\n", "x\n"),  # the lines below, as they were
        ("x<|user_cursor|>\n>>>>>>> UPDATED", "x\n"),
        ("NO_EDITS\n>>>>>>> UPDATED", "def f():\n    g(\n"),
        (">>>>>>> UPDATED", ""),
    ],
)
def test_the_lines_before_the_last_marker_are_the_region(text, region):
    assert MergeMarkers().parse(make_task(), text).region == region
