"""stage=sft: answer-only cross-entropy on what an edit log recorded.

Departs from textbook fine-tuning in two ways, both by config: the log may hold unfinished edits (training/edit_log.py),
and a task's word tokens may be permuted, which leaves only copying in context to learn (for models made from nothing).
"""

from __future__ import annotations

import keyword
import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from gapo_cli.config import SupervisedConfig
from gapo_cli.errors import UserError
from gapo_cli.interfaces import Template
from gapo_cli.models.load import LoadedModel, encode_prompts
from gapo_cli.models.prompt_tokens import encode_texts
from gapo_cli.records import EditTask
from gapo_cli.training.edit_log import logged_outcome

# Words with a fixed meaning, which an edit may have to write without seeing them: never permuted.
_FIXED = """
self cls super def return str int bool bytes list dict set tuple len repr sorted Any float object
log logger logging info debug warn warning warnings error trace append add push put get pop items keys values
print write send raise Error Value Type Key Runtime Config Parse User Input Lookup
"""
FIXED_WORDS = (*keyword.kwlist, *_FIXED.split())
BUCKET = 2048  # tasks sorted by length together: little padding, and batches still come in random order


@dataclass(frozen=True, slots=True)
class Example:
    """Token ids; the answer ends with the end token."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.prompt) + len(self.answer)


def encode_examples(policy: LoadedModel, template: Template, tasks: Sequence[EditTask], config: SupervisedConfig, seed: int) -> list[Example]:
    """Raises UserError where a task does not fit the model's context."""
    prompts = encode_prompts(policy, [template.render(task) for task in tasks])
    texts = [template.answer(task, logged_outcome(task, config.log, seed)) for task in tasks]
    examples = []
    for task, prompt, answer in zip(tasks, prompts, encode_texts(policy.tokenizer, texts), strict=True):
        example = Example(prompt, (*answer, policy.eos_token_id))
        if len(example) > policy.config.context_length:
            raise UserError(
                f"task {task.id}: prompt and answer take {len(example)} tokens, and model.context_length is "
                f"{policy.config.context_length}; raise it or prepare shorter tasks"
            )
        examples.append(example)
    return examples


class Scrambler:
    """Permutes the word tokens of an example, prompt and answer alike, with a probability."""

    def __init__(self, words: Sequence[int], probability: float, generator: random.Random) -> None:
        self.words, self.known = words, frozenset(words)
        self.probability, self.generator = probability, generator

    def __call__(self, example: Example) -> Example:
        if self.generator.random() >= self.probability:
            return example
        present = sorted(self.known.intersection(example.prompt + example.answer))
        renamed = dict(zip(present, self.generator.sample(self.words, len(present)), strict=True))
        return Example(
            tuple(renamed.get(token, token) for token in example.prompt),
            tuple(renamed.get(token, token) for token in example.answer),
        )


def plan_batches(lengths: Sequence[int], config: SupervisedConfig, generator: random.Random) -> list[list[int]]:
    """The whole training as batches of indices: epochs in random order, until `config.tokens` are reached. A batch's tasks
    are of like lengths, and its padded size stays within the budget (a task longer than it is a batch of its own)."""
    plan: list[list[int]] = []
    tokens = 0
    while True:
        order = list(range(len(lengths)))
        generator.shuffle(order)
        for start in range(0, len(order), BUCKET):
            cut: list[list[int]] = [[]]
            for index in sorted(order[start : start + BUCKET], key=lambda index: lengths[index]):
                if cut[-1] and lengths[index] * (len(cut[-1]) + 1) > config.tokens_per_batch:
                    cut.append([])
                cut[-1].append(index)
            generator.shuffle(cut)
            for batch in cut:
                plan.append(batch)
                tokens += sum(lengths[index] for index in batch)
                if tokens >= config.tokens:
                    return plan


def answer_loss(policy: LoadedModel, examples: Sequence[Example]) -> torch.Tensor:
    """Mean cross-entropy (nats a token) over the answers' tokens. Logits are made for those positions only."""
    longest = max(map(len, examples))
    ids = torch.full((len(examples), longest), policy.pad_token_id)
    wanted = torch.zeros(len(examples), longest, dtype=torch.bool)
    for row, example in enumerate(examples):
        ids[row, : len(example)] = torch.tensor(example.prompt + example.answer)
        wanted[row, len(example.prompt) : len(example)] = True
    ids, wanted = ids.to(policy.device), wanted.to(policy.device)
    # right padding under a causal mask: no real token sees a padded one, so no attention mask is needed
    with policy.autocast():
        hidden = policy.model.base_model(input_ids=ids, use_cache=False).last_hidden_state
        logits = policy.model.get_output_embeddings()(hidden[:, :-1][wanted[:, 1:]])
    return F.cross_entropy(logits.float(), ids[wanted])
