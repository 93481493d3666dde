"""What holds for every format of an editor: answers come back, no text raises or changes what lies around the region, no cut
answer is an edit."""

from functools import cache
from pathlib import Path

import pytest
from format_parts import FORMATS, RAW, can_be_said, comes_back, fuzz, generated_task, tasks
from hypothesis import given, settings
from hypothesis import strategies as st
from prompt_parts import TASKS, make_task

from gapo_cli.interfaces import no_progress
from gapo_cli.prompts.parts.rows import RegionRows
from gapo_cli.records import HistoryEvent
from gapo_cli.tasks.jsonl import JsonLines
from gapo_cli.tasks.zeta import Zeta

DATA = Path(__file__).parents[2].parent / "shared" / "data"
every_format = pytest.mark.parametrize("name", FORMATS)


@cache
def generated(count):
    return tuple(map(generated_task, range(count)))


@cache
def zeta():
    return tasks_of(Zeta(str(DATA / "zeta")))


@cache
def editeval():
    fields = {"id": "task_id", "excerpt": "input", "target": "output"}
    return tasks_of(JsonLines(str(DATA / "editeval"), fields=fields, values={"language": "python", "path": "edited_code.py"}))


def tasks_of(source):
    return tuple(task for split in source.build(no_progress).splits.values() for task in split)


@every_format
@settings(max_examples=25)
@given(both=tasks())
def test_the_answer_for_a_region_is_read_as_that_region(name, both):
    task, region = both
    if can_be_said(name, task, region) is None:
        answer = FORMATS[name].parse(task, FORMATS[name].answer(task, region))
        assert (answer.region, answer.malformed) == (region, None)


@every_format
@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_the_unchanged_region_comes_back(name, task):
    if can_be_said(name, task, task.region) is None:
        assert FORMATS[name].parse(task, FORMATS[name].answer(task, task.region)).region == task.region


@every_format
@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_every_task_renders_with_its_region_as_a_raw_or_a_chat_prompt(name, task):
    prompt = FORMATS[name].render(task)
    text = prompt.text + "".join(message.content for message in prompt.messages)
    for marker in ("<|user_cursor|>", "<|cursor|>", "<|user_cursor_is_here|>"):
        text = text.replace(marker, "")
    assert RegionRows.of(task).shown in text
    assert bool(prompt.text) == (name in RAW) != bool(prompt.messages)


@every_format
def test_generated_tasks_come_back(name):
    assert comes_back(name, generated(150))["whole"] > 150


@every_format
@pytest.mark.slow
def test_many_generated_tasks_come_back(name):
    """benchmarks/format_round_trips.py has more of them, and mined ones."""
    assert comes_back(name, generated(1_500))["whole"] > 1_500


@pytest.mark.parametrize("name", ["zeta2", "zeta2_1", "zeta2_qwen"])
def test_where_an_answer_puts_the_cursor_is_read_back(name):
    told = 0
    for seed in range(150):
        task = generated_task(seed)
        if task.cursor_after is None or can_be_said(name, task, task.target) is not None:
            continue
        text = FORMATS[name].answer(task, task.target)
        answer = FORMATS[name].parse(task, text)
        # behind the line end of a last row that is blank there is no place in what the format writes
        last = len(task.target) - task.target.endswith("\n\n")
        assert answer.cursor == (min(task.cursor_after, last) if "<|user_cursor|>" in text else None), seed
        told += answer.cursor is not None
    assert told > 10


@every_format
@settings(max_examples=25)
@given(text=st.text(), task=st.sampled_from(list(TASKS.values())))
def test_any_text_is_a_region_or_has_a_named_reason(name, text, task):
    answer = FORMATS[name].parse(task, text)
    assert (answer.region is None) == (answer.malformed is not None)
    assert answer.malformed is None or answer.malformed.replace("_", "").isalpha()


@every_format
def test_mutated_answers_are_read_and_cut_ones_are_no_edit(name):
    assert fuzz(name, 200, tasks=8).total() == 200


@every_format
@pytest.mark.slow
def test_many_mutated_answers_are_read_and_cut_ones_are_no_edit(name):
    """benchmarks/fuzz_parsers.py reads a hundred thousand of each format."""
    counts = fuzz(name, 10_000, tasks=400)
    assert counts["edit"] > 500 and len(counts) > 3


@every_format
@pytest.mark.parametrize("piece", ["```\n", "\n", "<|marker_1|>", "=======\n", "m.py:0\n", "-a\n", "+b\n", "NO_EDITS\n", "x:1"])
def test_a_very_long_answer_of_one_repeated_piece_is_read(name, piece):
    FORMATS[name].parse(TASKS["whole lines"], piece * 50_000)


@pytest.mark.parametrize("name", ["zeta2", "copilot"])
def test_every_cut_of_an_answer_that_has_an_end_marker_is_malformed(name):
    task = make_task("a\n", "b\nc\n", "d\n")
    whole = FORMATS[name].answer(task, "b\nx\nc\n").rstrip("\n")
    for length in range(len(whole)):
        assert FORMATS[name].parse(task, whole[:length]).region is None, whole[:length]


@pytest.mark.parametrize("name", ["zeta2_1", "zeta2_qwen"])
def test_a_cut_answer_without_its_last_tag_is_malformed(name):
    task = make_task("", "a\n" * 20, "d\n")
    whole = FORMATS[name].answer(task, "x\n" * 20)
    assert whole.count("<|marker_") == 3
    second = whole.index("<|marker_", 1)
    for length in range(second + len("<|marker_2|>")):
        assert FORMATS[name].parse(task, whole[:length]).region is None, whole[:length]


@every_format
def test_a_history_without_hunks_and_a_file_without_a_name_are_rendered(name):
    history = (
        HistoryEvent("edit", "", "what is no diff"),
        HistoryEvent("edit", "m.py", ""),
        HistoryEvent("edit", "m.py", "@@ x @@\n"),
    )
    FORMATS[name].render(make_task(history=history, path=""))


@every_format
@pytest.mark.skipif(not (DATA / "zeta" / "train.jsonl").is_file(), reason=f"the zeta data set is not at {DATA}")
def test_every_row_of_zeta_comes_back(name):
    assert comes_back(name, zeta())["whole"] > 400


@every_format
@pytest.mark.skipif(not (DATA / "editeval").is_dir(), reason=f"EditEval is not at {DATA}")
def test_every_row_of_editeval_comes_back(name):
    assert comes_back(name, editeval())["whole"] > 300
