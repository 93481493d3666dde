"""Tasks that fit the context, and what is said about those that do not."""

import pytest
from parts import edit_task

from gapo_cli.errors import UserError
from gapo_cli.models.load import encode_prompt
from gapo_cli.rollouts.encoding import TASKS_AT_ONCE, encode_tasks, fit_training_tasks

SHORT = edit_task(0)  # prompt "x = 0\na = b\n>": 13 bytes, one token each
LONG = edit_task(1, region="a" * 30 + "\n")  # "x = 1\n" + 31 + ">": 38


def test_every_task_is_encoded_in_order_as_it_would_be_alone_and_progress_reaches_the_end(tiny_policy, template):
    tasks = [edit_task(number) for number in range(TASKS_AT_ONCE + 3)]
    told = []
    encoded = encode_tasks(tiny_policy, template, tasks, lambda *what: told.append(what))
    assert [one.task for one in encoded] == tasks
    for one in encoded[:: TASKS_AT_ONCE // 2]:
        assert one.prompt == template.render(one.task)
        assert one.token_ids == encode_prompt(tiny_policy, one.prompt)
    assert told == [("tokenising tasks", done, TASKS_AT_ONCE + 3) for done in (TASKS_AT_ONCE, TASKS_AT_ONCE + 3)]


def test_a_task_longer_than_the_context_is_named_with_what_to_do(tiny_policy, template):
    encoded = encode_tasks(tiny_policy, template, [SHORT, LONG])
    with pytest.raises(UserError) as raised:
        fit_training_tasks(encoded, context_length=49, max_new_tokens=12, on_long="stop")
    sentence = str(raised.value)
    assert "task task-1: its prompt of 38 tokens and sampling.max_new_tokens=12" in sentence
    assert "model.context_length=49" in sentence
    assert "1 of 2 training tasks" in sentence
    # 38 + 12
    assert "raise model.context_length to 50" in sentence
    assert "data.on_long=skip" in sentence


def test_a_task_that_just_fits_is_kept(tiny_policy, template):
    fitted = fit_training_tasks(encode_tasks(tiny_policy, template, [SHORT, LONG]), 50, 12, "stop")
    assert [one.task.id for one in fitted.kept] == ["task-0", "task-1"]


def test_long_tasks_can_be_skipped_and_are_counted(tiny_policy, template):
    fitted = fit_training_tasks(encode_tasks(tiny_policy, template, [SHORT, LONG]), 49, 12, "skip")
    assert [one.task.id for one in fitted.kept] == ["task-0"]
    assert [one.task.id for one in fitted.too_long] == ["task-1"]


def test_skipping_all_tasks_is_refused(tiny_policy, template):
    with pytest.raises(UserError, match="2 of 2 training tasks"):
        fit_training_tasks(encode_tasks(tiny_policy, template, [SHORT, LONG]), 20, 12, "skip")
