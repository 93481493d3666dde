"""Held-out answers: which tasks, how they are sampled, and what does not fit."""

import pytest
from parts import ScriptedEngine, edit_task

from gapo_cli.config.sampling import EvaluationConfig, SamplingConfig
from gapo_cli.errors import UserError
from gapo_cli.rollouts.validation import select_tasks, validate

TASKS = [edit_task(number) for number in range(5)]


def test_greedy_and_sampled_answers_are_asked_for_apart(tiny_policy, template):
    engine = ScriptedEngine([["a = c\n"]])
    evaluation = EvaluationConfig(samples=3, temperature=0.7)
    training = SamplingConfig(group_size=8, max_new_tokens=12, temperature=1.3, top_p=0.5, top_k=3)
    predictions = validate(tiny_policy, engine, template, TASKS, evaluation, training, seed=0)
    # nothing of the training's own temperature and cuts is left
    assert [used for _, used, _ in engine.calls] == [SamplingConfig(1, 12, 0.0), SamplingConfig(3, 12, 0.7)]
    assert [one.mode for one in predictions] == ["greedy"] * 5 + ["sampled"] * 15
    assert [one.sample for one in predictions[5:11]] == [0, 1, 2, 0, 1, 2]
    assert predictions[0].region == "a = c\n"
    assert predictions[0].before == "a = b\n"


def test_sampled_only(tiny_policy, template):
    predictions = validate(
        tiny_policy,
        ScriptedEngine([["a"]]),
        template,
        TASKS,
        EvaluationConfig(greedy=False, samples=2),
        SamplingConfig(8, 12),
        0,
    )
    assert {one.mode for one in predictions} == {"sampled"}


def test_a_prompt_that_does_not_fit_counts_as_malformed(tiny_policy, template):
    # "x = 9\n" and 250 more are over 256 with the 12 of the answer
    tasks = [*TASKS, edit_task(9, region="a" * 250)]
    engine = ScriptedEngine([["a"]])
    predictions = validate(tiny_policy, engine, template, tasks, EvaluationConfig(samples=2), SamplingConfig(8, 12), 0)
    assert [len(prompts) for prompts, _, _ in engine.calls] == [5, 5]
    too_long = [one for one in predictions if one.task_id == "task-9"]
    assert [(one.mode, one.sample, one.malformed, one.region) for one in too_long] == [
        ("greedy", 0, "prompt_too_long", None),
        ("sampled", 0, "prompt_too_long", None),
        ("sampled", 1, "prompt_too_long", None),
    ]


def test_the_same_tasks_are_selected_whatever_the_seed(tiny_policy, template):
    asked = [
        {
            one.task_id
            for one in validate(
                tiny_policy, ScriptedEngine([["a"]]), template, TASKS, EvaluationConfig(tasks=3), SamplingConfig(8, 12), seed
            )
        }
        for seed in (0, 1)
    ]
    assert asked[0] == asked[1]
    assert len(asked[0]) == 3


def test_selected_tasks_come_from_the_whole_split_in_its_order():
    tasks = [edit_task(number) for number in range(1000)]
    chosen = [int(task.id.removeprefix("task-")) for task in select_tasks(tasks, 100)]
    assert chosen == sorted(set(chosen))
    # uniformly: about 50 of 100 from the first half (5 standard deviations are 25)
    assert 25 < sum(number < 500 for number in chosen) < 75
    assert select_tasks(tasks, None) == select_tasks(tasks, 2000) == tuple(tasks)


def test_an_empty_split_is_refused(tiny_policy, template):
    with pytest.raises(UserError, match="evaluation.split=dev: has no tasks"):
        validate(tiny_policy, ScriptedEngine([["a"]]), template, [], EvaluationConfig(split="dev"), SamplingConfig(8, 12), 0)
