"""A template at work: every call of one goes through here, and one that fails is told of with the task. Here alone."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral

from gapo_cli.config.checks import is_text
from gapo_cli.errors import PartError, name_of, part_at_work
from gapo_cli.interfaces import StoppedTemplate, Template, TokenTemplate
from gapo_cli.records import EditTask, Message, ParsedAnswer, Prompt


def render(template: Template, task: EditTask) -> Prompt:
    """Raises PartError where the template fails or gives something else; so do the others."""
    with part_at_work("prompt", template, f"task {task.id}"):
        prompt = template.render(task)
    if not isinstance(prompt, Prompt):
        raise wrong(template, task, "render", type(prompt).__name__, "gapo_cli.records.Prompt")
    texts = (prompt.text, *prompt.cut) if isinstance(prompt.cut, tuple | list) else (None,)
    if not all(map(is_text, texts)) or not isinstance(prompt.messages, tuple | list):
        raise wrong(template, task, "render", "a Prompt of other kinds of fields", f"{TEXT} as text, and tuples")
    if not all(isinstance(one, Message) and is_text(one.content) for one in prompt.messages):
        raise wrong(template, task, "render", "messages of another kind", f"gapo_cli.records.Message, with {TEXT}")
    if not prompt.text and not prompt.messages:
        raise wrong(template, task, "render", "a prompt without text", "a text or messages")
    return prompt


def answer(template: Template, task: EditTask, region: str) -> str:
    with part_at_work("prompt", template, f"task {task.id}"):
        text = template.answer(task, region)
    if not is_text(text):
        raise wrong(template, task, "answer", type(text).__name__, TEXT)
    return text


def parse(template: Template, task: EditTask, text: str) -> ParsedAnswer:
    with part_at_work("prompt", template, f"task {task.id}"):
        parsed = template.parse(task, text)
    if not isinstance(parsed, ParsedAnswer) or not (parsed.region is None or is_text(parsed.region)):
        need = f"gapo_cli.records.ParsedAnswer with {TEXT} or None as its region"
        raise wrong(template, task, "parse", type(parsed).__name__, need)
    if not isinstance(parsed.malformed, str | None) or (parsed.region is not None and parsed.malformed is not None):
        need = "a str where there is no region, else None"
        raise wrong(template, task, "parse", f"{parsed.malformed!r} as the reason why there is no region", need)
    inside = isinstance(parsed.cursor, Integral) and 0 <= parsed.cursor <= len(parsed.region or "")
    if parsed.cursor is not None and not inside:
        raise wrong(template, task, "parse", f"cursor {parsed.cursor!r}", "an offset into the region, or None")
    return parsed


def stops(template: Template) -> tuple[str, ...]:
    """The texts that end an answer of the template's; none where it names none."""
    with part_at_work("prompt", template):
        given = template.stop if isinstance(template, StoppedTemplate) else ()
    return _texts(template, "stop", given)


def special_tokens(template: Template) -> tuple[str, ...]:
    """The tokens that the template writes; none where it names none."""
    with part_at_work("prompt", template):
        given = template.special_tokens if isinstance(template, TokenTemplate) else ()
    return _texts(template, "special_tokens", given)


TEXT = "a str that UTF-8 can hold"


def wrong(template: Template, task: EditTask, method: str, given: str, need: str) -> PartError:
    return PartError(f"task {task.id}: prompt={name_of(template)}: {method} gives {given}; need {need}")


def _texts(template: Template, what: str, given: object) -> tuple[str, ...]:
    # a str is a sequence of its characters, each of which would be taken for one
    listed = isinstance(given, Sequence) and not isinstance(given, str | bytes)
    if not listed or not all(is_text(one) and one for one in given):
        raise PartError(f"prompt={name_of(template)}: {what} is {given!r}; need a tuple of texts, none of them empty")
    return tuple(given)
