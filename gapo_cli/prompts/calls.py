"""A template at work: every call of one goes through here, and one that fails is told of with the task. Here alone."""

from __future__ import annotations

from gapo_cli.errors import PartError, name_of, part_at_work
from gapo_cli.interfaces import Template
from gapo_cli.records import EditTask, ParsedAnswer, Prompt


def render(template: Template, task: EditTask) -> Prompt:
    """Raises PartError where the template fails or gives something else; so do the others."""
    with part_at_work("prompt", template, f"task {task.id}"):
        prompt = template.render(task)
    if not isinstance(prompt, Prompt):
        raise wrong_kind(template, task, "render", prompt, "gapo_cli.records.Prompt")
    return prompt


def answer(template: Template, task: EditTask, region: str) -> str:
    with part_at_work("prompt", template, f"task {task.id}"):
        text = template.answer(task, region)
    if not isinstance(text, str):
        raise wrong_kind(template, task, "answer", text, "a str")
    return text


def parse(template: Template, task: EditTask, text: str) -> ParsedAnswer:
    with part_at_work("prompt", template, f"task {task.id}"):
        parsed = template.parse(task, text)
    if not isinstance(parsed, ParsedAnswer) or not isinstance(parsed.region, str | None):
        raise wrong_kind(template, task, "parse", parsed, "gapo_cli.records.ParsedAnswer with a str or None as its region")
    return parsed


def wrong_kind(template: Template, task: EditTask, method: str, given: object, need: str) -> PartError:
    return PartError(f"task {task.id}: prompt={name_of(template)}: {method} gives {type(given).__name__}; need {need}")
