"""How long the prompts and answers of the training tasks are, in the model's tokens, for gapo plan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from functools import partial
from typing import Any

from gapo_cli.errors import UserError
from gapo_cli.experiment import Experiment
from gapo_cli.interfaces import Display
from gapo_cli.prompts import calls
from gapo_cli.records import EditTask, Prompt
from gapo_cli.statistics.task_sets import Measured
from gapo_cli.tasks.sets.prepared import load_tasks
from gapo_cli.training.outline import MeasuredTasks

MOST_MEASURED = 5000
CHARACTERS_A_TOKEN = 3.0
"""Where the model's tokenizer is not at hand. On code the tokenizers tried have 2.8 to 3.4 (docs/how-to/plan-a-run.md)."""


def measure_tasks(experiment: Experiment, display: Display) -> MeasuredTasks:
    """Of the training split, prepared when missing; of a large one, of tasks evenly spread over it."""
    from gapo_cli.rollouts.encoding import encode_for

    tasks = load_tasks(experiment, experiment.data.train_split, display)
    count = min(len(tasks), MOST_MEASURED)
    some = [tasks[index * len(tasks) // count] for index in range(count)]
    tokenizer = find_tokenizer(experiment, display)
    if tokenizer is not None:
        try:
            prompts = [len(one.token_ids) for one in encode_for(tokenizer, experiment.model, experiment.template, some)]
            return MeasuredTasks(some, prompts, partial(answer_tokens, tokenizer), len(tasks), estimated=False)
        except UserError as error:
            display.say(f"lengths in characters only: {error}")
    template = with_estimated_budget(experiment.template)
    prompts = [estimated_tokens(characters(calls.render(template, task))) for task in some]
    return MeasuredTasks(some, prompts, estimated_answer_tokens, len(tasks), estimated=True)


def answer_tokens(tokenizer: Any, texts: Sequence[str]) -> list[int]:
    """With the end token, once."""
    from gapo_cli.models.prompt_tokens import encode_texts

    end = (tokenizer.eos_token_id,)
    return [len(ids) + (ids[-1:] != end) for ids in encode_texts(tokenizer, texts)]


def estimated_answer_tokens(texts: Sequence[str]) -> list[int]:
    return [estimated_tokens(len(text)) + 1 for text in texts]


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
