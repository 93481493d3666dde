"""How long the prompts and answers of the training tasks are, in the model's tokens, for gapo plan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

from gapo_cli.errors import UserError
from gapo_cli.experiment import Experiment
from gapo_cli.interfaces import Display
from gapo_cli.prompts import calls
from gapo_cli.records import EditTask, Prompt
from gapo_cli.statistics.task_sets import Measured
from gapo_cli.tasks.sets.prepared import load_tasks

MOST_MEASURED = 5000
CHARACTERS_A_TOKEN = 3.0
"""Where the model's tokenizer is not at hand. On code the tokenizers tried have 2.8 to 3.4 (docs/how-to/plan-a-run.md)."""


@dataclass(frozen=True)
class TaskLengths:
    """Tokens of prompts and of answers that say the target, end token included, of tasks that fit the context, in the
    tasks' order. `tasks`: all of the split; `measured`: those looked at; `too_long`: of these, what does not fit.
    `estimated`: counted in characters."""

    prompts: tuple[int, ...]
    answers: tuple[int, ...]
    tasks: int
    measured: int
    too_long: int
    estimated: bool


def measure_lengths(experiment: Experiment, display: Display) -> TaskLengths:
    """Of the training split, prepared when missing; of a large one, of tasks evenly spread over it. Raises UserError where no
    task fits the context."""
    tasks = load_tasks(experiment, experiment.data.train_split, display)
    count = min(len(tasks), MOST_MEASURED)
    some = [tasks[index * len(tasks) // count] for index in range(count)]
    found, estimated = in_tokens(experiment, some, display)
    context, limit = experiment.model.context_length, experiment.sampling.max_new_tokens
    kept = [(prompt, min(answer, limit)) for prompt, answer in found if prompt + limit <= context]
    if not kept:
        shortest = min(prompt for prompt, _ in found)
        raise UserError(
            f"model.context_length={context}: none of the prompts fits it with sampling.max_new_tokens={limit}; need at least {shortest + limit}"
        )
    prompts, answers = zip(*kept, strict=True)
    return TaskLengths(prompts, answers, len(tasks), count, count - len(kept), estimated)


def in_tokens(experiment: Experiment, tasks: Sequence[EditTask], display: Display) -> tuple[list[tuple[int, int]], bool]:
    """(prompt, answer) tokens of each task, and whether they are estimated because the tokenizer is not at hand."""
    tokenizer = find_tokenizer(experiment, display)
    if tokenizer is not None:
        try:
            return [(one.prompt_tokens, one.answer_tokens) for one in measure(experiment, tasks, tokenizer)], False
        except UserError as error:
            display.say(f"lengths in characters only: {error}")
    template = with_estimated_budget(experiment.template)
    return [
        (
            estimated_tokens(characters(calls.render(template, task))),
            estimated_tokens(len(calls.answer(template, task, task.target))) + 1,
        )
        for task in tasks
    ], True


def with_estimated_budget(template: Any) -> Any:
    """The template with its budget counted by estimate, where it counts by the tokenizer that is not there."""
    if is_dataclass(template) and any(field.name == "counter" for field in fields(template)):
        return replace(template, counter=lambda text: estimated_tokens(len(text)))
    return template


def estimated_tokens(count: int) -> int:
    return max(1, round(count / CHARACTERS_A_TOKEN))


TASKS_AT_ONCE = 512


def find_tokenizer(experiment: Experiment, display: Display) -> Any:
    """The tokenizer of the chosen model, or None, said in one line, where it is not available."""
    from gapo_cli.models.folders import TOKENIZER_FILES, find_folder
    from gapo_cli.models.tokenizer_files import load_tokenizer

    try:
        return load_tokenizer(experiment.model, find_folder(experiment.model, TOKENIZER_FILES))
    except UserError as error:
        display.say(f"lengths in characters only: {error}")
        return None


def measure_all(
    experiment: Experiment, splits: Mapping[str, Sequence[EditTask]], tokenizer: Any, display: Display
) -> dict[str, list[Measured]]:
    total = sum(map(len, splits.values()))
    measured: dict[str, list[Measured]] = {split: [] for split in splits}
    done = 0
    for split, tasks in splits.items():
        for start in range(0, len(tasks), TASKS_AT_ONCE):
            display.progress("measuring the tasks", done, total)
            some = tasks[start : start + TASKS_AT_ONCE]
            measured[split].extend(measure(experiment, some, tokenizer))
            done += len(some)
    display.progress("measuring the tasks", total, total)
    return measured


def measure(experiment: Experiment, tasks: Sequence[EditTask], tokenizer: Any) -> Iterator[Measured]:
    """The lengths of some tasks' prompts and answers; `tokenizer` None: in characters only."""
    from gapo_cli.models.prompt_tokens import encode_prompt_texts, encode_texts, prompt_text

    prompts = [calls.render(experiment.template, task) for task in tasks]
    answers = [calls.answer(experiment.template, task, task.target) for task in tasks]
    if tokenizer is None:
        for prompt, answer in zip(prompts, answers, strict=True):
            yield Measured(characters(prompt), len(answer), cut=bool(prompt.cut))
        return
    texts = [prompt_text(tokenizer, experiment.model, prompt) for prompt in prompts]
    prompt_ids = encode_prompt_texts(tokenizer, experiment.model, texts)
    answer_ids = encode_texts(tokenizer, answers)
    for prompt, answer, of_prompt, of_answer in zip(prompts, answers, prompt_ids, answer_ids, strict=True):
        yield Measured(characters(prompt), len(answer), len(of_prompt), len(of_answer) + 1, bool(prompt.cut))


def characters(prompt: Prompt) -> int:
    """What the template wrote, without what a chat template puts around it."""
    return sum(len(message.content) for message in prompt.messages) + len(prompt.text)
