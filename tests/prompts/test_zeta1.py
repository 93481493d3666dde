"""Zed's prompt: against the text by hand, and on the rows of the data set where it lies beside the checkout."""

import json
from pathlib import Path

import pytest
from prompt_parts import EDITS, make_task

from gapo_cli.interfaces import no_progress
from gapo_cli.prompts.parts.zed_text import REGION_END, REGION_START
from gapo_cli.prompts.zeta1 import CHAT_FORMAT, INSTRUCTION, Zeta1
from gapo_cli.records import HistoryEvent
from gapo_cli.tasks.zeta import Zeta

ZETA = Path(__file__).parents[2].parent / "shared" / "data" / "zeta"

# the model card's text, with the words of the reference for the instruction
TEXT = """### Instruction:
You are a code completion assistant and your task is to analyze user edits and then rewrite an excerpt that the user \
provides, suggesting the appropriate edits within the excerpt, taking into account the cursor location.

### User Edits:

User edited "m.py":
```diff
@@ -2,1 +2,1 @@
-old2
+new2
```

User edited "m.py":
```diff
@@ -3,1 +3,1 @@
-old3
+new3
```

### User Excerpt:

```m.py
<|start_of_file|>
import a

<|editable_region_start|>
def f():
    g(<|user_cursor_is_here|>
<|editable_region_end|>

f()
```

### Response:

"""


def test_the_raw_prompt_is_zeds_text():
    task = make_task(cursor_in_region=len("def f():\n    g("), history=EDITS[1:], at_file_start=True)
    prompt = Zeta1().render(task)
    assert prompt.text == TEXT
    assert (prompt.messages, prompt.cut) == ((), ())


def test_a_prompt_may_begin_the_answer():
    assert Zeta1(begin_answer=True).render(make_task()).text.endswith(f"### Response:\n\n{REGION_START}\n")
    assert Zeta1(begin_answer=True).answer(make_task(), "x\n") == f"x\n{REGION_END}"


def test_the_chat_prompt_is_the_same_text_in_two_messages():
    task = make_task(cursor_in_region=len("def f():\n    g("), history=EDITS[1:], at_file_start=True)
    prompt = Zeta1(chat=True).render(task)
    assert [(message.role, message.content) for message in prompt.messages] == [
        ("system", f"{INSTRUCTION} {CHAT_FORMAT}"),
        ("user", TEXT[TEXT.index("### User Edits") : TEXT.index("\n\n### Response")]),
    ]
    assert prompt.text == ""
    assert Zeta1(chat=True, begin_answer=True).render(task).text == f"{REGION_START}\n"


def test_the_answer_goes_from_marker_to_marker():
    assert Zeta1().answer(make_task(), "x\n") == f"{REGION_START}\nx\n{REGION_END}"


def test_opened_and_renamed_files_are_told_in_zeds_words():
    history = (HistoryEvent("open", "a.py"), HistoryEvent("rename", "b.py", old_path="a.py"))
    text = Zeta1().render(make_task(history=history)).text
    assert '### User Edits:\n\nUser opened file: "a.py"\n\nUser renamed "a.py" to "b.py"\n\n### User Excerpt:' in text


def test_a_cut_excerpt_does_not_begin_with_the_files_start():
    task = make_task("a\nb\n", after="", at_file_start=True, history=())
    full = Zeta1().render(task)
    assert "<|start_of_file|>\na\nb\n" in full.text
    cut = Zeta1(budget=len(full.text) - 1).render(task)
    assert "<|start_of_file|>" not in cut.text
    assert "excerpt: " in cut.cut[0]


@pytest.mark.skipif(not (ZETA / "train.jsonl").is_file(), reason=f"the zeta data set is not at {ZETA}")
def test_every_row_of_the_data_set_is_prompted_with_its_own_text_and_its_output_is_read_back():
    for split, tasks in Zeta(str(ZETA)).build(no_progress).splits.items():
        rows = [json.loads(line) for line in (ZETA / f"{split}.jsonl").read_text(encoding="utf-8").split("\n") if line]
        for task, row in zip(tasks, rows, strict=True):
            expected = f"### User Edits:\n\n{row['events']}\n\n### User Excerpt:\n\n{row['input']}\n\n### Response:\n\n"
            assert Zeta1().render(task).text.endswith(expected), task.id
            # the whole output, fences and context included, is an answer; so is what the template would say
            assert Zeta1().parse(task, row["output"]).region == task.target, task.id
            assert Zeta1().parse(task, Zeta1().answer(task, task.target)).region == task.target, task.id
