"""What supervised training learns from: prompts with the answers that an edit log holds, as tokens.

What an answer is, is decided by the edit log (training/edit_log.py), and a task's word tokens may be permuted, which leaves
only copying in context to learn (for models made from nothing).
"""

from __future__ import annotations

import keyword
import random
from collections.abc import Sequence
from dataclasses import dataclass

from gapo_cli.config.supervised import EditLogConfig
from gapo_cli.errors import DataError
from gapo_cli.interfaces import Progress, Template, no_progress
from gapo_cli.models.loaded import LoadedModel
from gapo_cli.models.prompt_tokens import encode_texts
from gapo_cli.prompts import calls
from gapo_cli.records import EditTask
from gapo_cli.rollouts.encoding import encode_tasks
from gapo_cli.training.batches.edit_log import logged_outcome

# Words with a fixed meaning, which an edit may have to write without seeing them: never permuted.
_FIXED = """
self cls super def return str int bool bytes list dict set tuple len repr sorted Any float object
log logger logging info debug warn warning warnings error trace append add push put get pop items keys values
print write send raise Error Value Type Key Runtime Config Parse User Input Lookup
"""
FIXED_WORDS = (*keyword.kwlist, *_FIXED.split())


@dataclass(frozen=True, slots=True)
class Example:
    """Token ids; the answer ends with the end token."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.prompt) + len(self.answer)


@dataclass(frozen=True, slots=True)
class Examples:
    """What fits the context, in the order of the tasks: `kept[n]` was made of `tasks[n]`. `too_long`: ids of the tasks that do
    not fit."""

    tasks: tuple[EditTask, ...]
    kept: tuple[Example, ...]
    too_long: tuple[str, ...]


def encode_examples(
    policy: LoadedModel,
    template: Template,
    tasks: Sequence[EditTask],
    log: EditLogConfig,
    seed: int,
    on_long: str = "stop",
    progress: Progress = no_progress,
) -> Examples:
    """The tasks' prompts and logged outcomes. With `on_long` "stop" a task that does not fit the model's context raises
    DataError, which names the first. Raises DataError also where nothing is left to train on."""
    if not tasks:
        raise DataError("supervised training needs at least one task, and the training split is empty")
    prompts = encode_tasks(policy, template, tasks, progress)
    answers = encode_texts(policy.tokenizer, [calls.answer(template, task, logged_outcome(task, log, seed)) for task in tasks])
    context = policy.config.context_length
    fitting, kept, too_long, longest = [], [], [], 0
    for encoded, answer in zip(prompts, answers, strict=True):
        example = Example(encoded.token_ids, ended(answer, policy))
        if len(example) <= context:
            fitting.append(encoded.task)
            kept.append(example)
            continue
        too_long.append(encoded.task.id)
        longest = max(longest, len(example))
        if len(too_long) == 1:
            first = (
                f"task {encoded.task.id}: its prompt of {len(example.prompt)} tokens and its answer of {len(example.answer)}"
            )
    if too_long and (on_long == "stop" or not kept):
        raise DataError(
            f"{first} do not fit model.context_length={context}; the same holds for {len(too_long)} of {len(tasks)} training tasks; "
            f"raise it to {longest}" + (", or leave them out with data.on_long=skip" if kept else " or prepare shorter tasks")
        )
    return Examples(tuple(fitting), tuple(kept), tuple(too_long))


def ended(answer: tuple[int, ...], policy: LoadedModel) -> tuple[int, ...]:
    """The answer's tokens with the end token, once."""
    # an answer may write its format's end marker, which is the end token of the format's own model
    return answer if answer[-1:] == (policy.eos_token_id,) else (*answer, policy.eos_token_id)


class Scrambler:
    """Permutes the word tokens of an example, prompt and answer alike, with a probability."""

    def __init__(self, words: Sequence[int], probability: float, generator: random.Random) -> None:
        self.words, self.known = words, frozenset(words)
        self.probability, self.generator = probability, generator

    def __call__(self, example: Example) -> Example:
        if not self.probability or self.generator.random() >= self.probability:
            return example
        present = sorted(self.known.intersection(example.prompt + example.answer))
        renamed = dict(zip(present, self.generator.sample(self.words, len(present)), strict=True))
        return Example(
            tuple(renamed.get(token, token) for token in example.prompt),
            tuple(renamed.get(token, token) for token in example.answer),
        )
