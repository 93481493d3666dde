"""Tasks as token prompts: rendered and tokenised once, and checked against the context before anything is generated."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from gapo_cli.config.model import ModelConfig
from gapo_cli.errors import DataError, UserError, is_gapos, name_of
from gapo_cli.interfaces import Progress, Template, no_progress
from gapo_cli.models.loaded import LoadedModel
from gapo_cli.models.prompt_tokens import encode_prompt_texts, encode_texts, prompt_text
from gapo_cli.prompts import calls
from gapo_cli.records import EditTask, Prompt

TASKS_AT_ONCE = 512  # between two reports of progress
NO_BUDGET = object()
"""In place of a budget, of a template that has no such setting; None is a budget without a limit."""


@dataclass(frozen=True, slots=True)
class EncodedTask:
    """A task, the prompt that a template made of it and that prompt's token ids."""

    task: EditTask
    prompt: Prompt
    token_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Fitted:
    """Tasks whose prompt and answer fit the context, and those that do not, each in the order they were given."""

    kept: tuple[EncodedTask, ...]
    too_long: tuple[EncodedTask, ...]


def encode_tasks(
    policy: LoadedModel, template: Template, tasks: Sequence[EditTask], progress: Progress = no_progress
) -> list[EncodedTask]:
    """Raises UserError for a template that writes tokens which the model does not have."""
    return encode_for(policy.tokenizer, policy.config, template, tasks, progress)


def encode_for(
    tokenizer: Any, model: ModelConfig, template: Template, tasks: Sequence[EditTask], progress: Progress = no_progress
) -> list[EncodedTask]:
    """As `encode_tasks`, of a model whose weights nobody has loaded."""
    check_special_tokens(tokenizer, model, template)
    encoded: list[EncodedTask] = []
    for start in range(0, len(tasks), TASKS_AT_ONCE):
        some = tasks[start : start + TASKS_AT_ONCE]
        prompts = [calls.render(template, task) for task in some]
        texts = [prompt_text(tokenizer, model, prompt) for prompt in prompts]
        encoded.extend(map(EncodedTask, some, prompts, encode_prompt_texts(tokenizer, model, texts)))
        progress("tokenising tasks", len(encoded), len(tasks))
    return encoded


def check_special_tokens(tokenizer: Any, model: ModelConfig, template: Template) -> None:
    """Raises UserError where a token of the template's format is several tokens, or none, of the model's tokenizer."""
    tokens = list(calls.special_tokens(template))
    if not tokens:
        return
    missing = [token for token, ids in zip(tokens, encode_texts(tokenizer, tokens), strict=True) if len(ids) != 1]
    if missing:
        raise UserError(
            f"model.path={model.path}: its tokenizer has no token {', '.join(missing)}, which the format of prompt="
            f"{choice_of(template)} needs; choose a model that has, or set prompt.missing_tokens=text to write plain text"
        )


def choice_of(template: Template) -> str:
    """What `prompt=` calls a template: gapo's own stand in files of the same name as their yaml, a user's goes by its class."""
    return type(template).__module__.rpartition(".")[2] if is_gapos(template) else name_of(template)


def limit_in_words(template: Template, context_length: int) -> str:
    """The limit that a prompt does not fit, and what to change so that it does."""
    budget = getattr(template, "budget", NO_BUDGET)
    lower = "" if budget is NO_BUDGET else ", or set prompt.budget" if budget is None else f", or lower prompt.budget={budget}"
    return f"model.context_length={context_length}; raise it{lower}"


def split_by_length(encoded: Iterable[EncodedTask], context_length: int, max_new_tokens: int) -> Fitted:
    """A prompt fits when it leaves room for `max_new_tokens` in `context_length`."""
    kept, too_long = [], []
    for one in encoded:
        (kept if len(one.token_ids) + max_new_tokens <= context_length else too_long).append(one)
    return Fitted(tuple(kept), tuple(too_long))


def fit_training_tasks(encoded: Sequence[EncodedTask], context_length: int, max_new_tokens: int, on_long: str) -> Fitted:
    """As `split_by_length`, but with `on_long` "stop" a task that does not fit raises DataError, which names the first.
    Raises DataError also where nothing is left to train on."""
    fitted = split_by_length(encoded, context_length, max_new_tokens)
    if fitted.too_long and (on_long == "stop" or not fitted.kept):
        first = fitted.too_long[0]
        longest = max(len(one.token_ids) for one in fitted.too_long)
        raise DataError(
            f"task {first.task.id}: its prompt of {len(first.token_ids)} tokens and sampling.max_new_tokens={max_new_tokens} "
            f"do not fit model.context_length={context_length}; the same holds for {len(fitted.too_long)} of {len(encoded)} "
            f"training tasks; raise model.context_length to {longest + max_new_tokens} or lower sampling.max_new_tokens"
            + ("" if not fitted.kept else ", or leave them out with data.on_long=skip")
        )
    return fitted
