"""Answers of a model that lies on a server with OpenAI's API (vLLM, SGLang, llama.cpp, Ollama, OpenAI, ...), for evaluation
and rollouts. Raw prompts go to `completions`, chat prompts to `chat/completions`; docs/reference/engines.md says what is sent."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gapo_cli.config.checks import positive, require
from gapo_cli.config.sampling import SamplingConfig
from gapo_cli.engines.served.answer_journal import AnswerJournal, key_of
from gapo_cli.engines.served.server_answers import completions_of, kept_choices, without_surrogates
from gapo_cli.errors import UserError
from gapo_cli.interfaces import Progress, no_progress
from gapo_cli.records import Completion, Prompt

TOO_LONG = re.compile(r"context[ _-]?(length|size|window)", re.IGNORECASE)
"""In the refusal of a prompt that does not fit: OpenAI and vLLM "maximum context length" or context_length_exceeded,
SGLang "the model's context length", llama.cpp "the available context size"."""
TOO_LONG_STATUS = (400, 413, 422)
SEEDS = 2**31
"""Servers take seeds of 64 or 32 bits, some through a float: 31 bits pass everywhere."""


@dataclass(frozen=True)
class OpenAIEngine:
    """`base_url`: where `completions` lies under, most end in /v1. `api_key_env`: the environment variable with the key;
    unset or empty: none is sent. `concurrency`: requests under way at a time. `many_per_request`: all answers of a group
    in one request (`n`); False for servers that know no n. `logprobs`: ask for log-probabilities. `stop`: texts that end an
    answer and are cut off, beside `sampling.stop`, which the answer keeps. `extra`: more of the request's body, over everything else; null takes a setting out.

    `tries`, `first_wait_s`, `longest_wait_s`, `timeout_s`: gapo_cli.engines.served.persistent_requests.Patience.
    """

    keeps_answers = True

    base_url: str
    model: str
    api_key_env: str = "OPENAI_API_KEY"
    concurrency: int = 8
    many_per_request: bool = True
    logprobs: bool = True
    stop: Sequence[str] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)
    tries: int = 8
    first_wait_s: float = 1.0
    longest_wait_s: float = 60.0
    timeout_s: float = 600.0

    def __post_init__(self) -> None:
        require(
            re.match(r"https?://[^/]", self.base_url) is not None,
            f"engine.base_url={self.base_url}: need an address that begins with http:// or https://, as in http://localhost:8000/v1",
        )
        require(
            isinstance(self.stop, Sequence)
            and not isinstance(self.stop, str)
            and all(isinstance(one, str) for one in self.stop),
            f"engine.stop={self.stop}: need a list of texts, as in engine.stop=['<|end|>']",
        )
        require(isinstance(self.extra, Mapping), f"engine.extra={self.extra}: need settings, as in engine.extra={{top_k: -1}}")
        positive(
            "engine", concurrency=self.concurrency, tries=self.tries, first_wait_s=self.first_wait_s,
            longest_wait_s=self.longest_wait_s, timeout_s=self.timeout_s,
        )  # fmt: skip

    def generate_texts(
        self,
        prompts: Sequence[Prompt],
        sampling: SamplingConfig,
        seeds: Sequence[int],
        journal: Path,
        progress: Progress = no_progress,
    ) -> list[tuple[Completion, ...] | None]:
        """`sampling.group_size` Completions a prompt, in the order of `prompts`; None where it does not fit the server's
        context. Only what `journal` lacks is asked for, and equal requests once. Log-probabilities are the server's, empty
        where it gives none. Raises UserError for what the server refuses, and where it cannot be reached."""
        requests = [self._requests(prompt, sampling, seed) for prompt, seed in zip(prompts, seeds, strict=True)]
        kept = AnswerJournal(journal)
        total = sum(len(of_prompt) for of_prompt in requests)
        asked = {request.key: request for of_prompt in requests for request in of_prompt}
        waiting = [request for request in asked.values() if request.key not in kept.answers]
        try:
            self._ask(waiting, kept, total, progress)
        except UserError as error:
            if not kept.answers:
                raise
            raise UserError(
                f"{error}; {len(kept.answers)} answers are saved in {journal}: the same command with "
                f"hydra.run.dir={journal.parent} continues from them"
            ) from error
        return [self._completions(of_prompt, kept, sampling.stop) for of_prompt in requests]

    def _ask(self, waiting: Sequence[_Request], kept: AnswerJournal, total: int, progress: Progress) -> None:
        from gapo_cli.engines.served.persistent_requests import Patience, Refused, post_all

        done = total - len(waiting)

        def keep(index: int, answer: Any) -> None:
            nonlocal done
            request = waiting[index]
            kept.add(request.key, answer)
            done += 1
            progress("asking", done, total)

        def on_answer(index: int, answer: Any) -> None:
            keep(index, {"choices": kept_choices(answer, waiting[index].count, waiting[index].url)})

        def on_refusal(index: int, refusal: Refused) -> None:
            if refusal.status in TOO_LONG_STATUS and TOO_LONG.search(refusal.message):
                keep(index, {"too_long": without_surrogates(refusal.message)})
                return
            raise UserError(f"{refusal}{self._advice(refusal.status)}") from refusal

        key = os.environ.get(self.api_key_env)
        post_all(
            [(request.url, request.body) for request in waiting],
            {"Authorization": f"Bearer {key}"} if key else {},
            self.concurrency,
            Patience(self.tries, self.first_wait_s, self.longest_wait_s, self.timeout_s),
            on_answer,
            on_refusal,
        )

    def _requests(self, prompt: Prompt, sampling: SamplingConfig, seed: int) -> list[_Request]:
        """The requests for one prompt's group: one, or one a completion, each with a seed of its own."""
        path, asked = ("chat/completions", _chat(prompt)) if prompt.messages else ("completions", {"prompt": prompt.text})
        size = sampling.group_size if self.many_per_request else 1
        body = {
            "model": self.model,
            **asked,
            "max_tokens": sampling.max_new_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "frequency_penalty": 0.0,
            "presence_penalty": 0.0,
            "n": size,
            "stream": False,
        }
        if sampling.top_k:
            body["top_k"] = sampling.top_k  # not OpenAI's, but most servers of open models have it
        if self.stop or sampling.stop:
            body["stop"] = list(dict.fromkeys((*sampling.stop, *self.stop)))
        if self.logprobs:
            body["logprobs"] = True if prompt.messages else 1  # a switch there; here how many tokens, and 0 is off for some
        url, requests = f"{self.base_url.rstrip('/')}/{path}", []
        for start in range(0, sampling.group_size, size):
            merged = {**body, "seed": (seed + start) % SEEDS, **self.extra}
            whole = {name: value for name, value in merged.items() if value is not None}
            requests.append(_Request(url, whole, size, key_of(url, whole)))
        return requests

    def _completions(
        self, requests: Sequence[_Request], kept: AnswerJournal, stops: Sequence[str]
    ) -> tuple[Completion, ...] | None:
        answers = [kept.answers[request.key] for request in requests]
        if any("too_long" in answer for answer in answers):
            return None
        return tuple(one for answer in answers for one in completions_of(answer["choices"], stops))

    def _advice(self, status: int) -> str:
        if status in (401, 403):
            state = "holds the key that was sent" if os.environ.get(self.api_key_env) else "is not set"
            return f"; the environment variable {self.api_key_env} (engine.api_key_env) {state}"
        if status == 404:
            return f"; check engine.base_url={self.base_url} (most end in /v1) and engine.model={self.model}"
        return ""


@dataclass(frozen=True, slots=True)
class _Request:
    """`count`: the answers that are asked for; `key`: what the journal keeps them under."""

    url: str
    body: Mapping[str, Any]
    count: int
    key: str


def _chat(prompt: Prompt) -> dict[str, Any]:
    if prompt.text:
        raise UserError(
            f"task {prompt.task_id}: its prompt begins the answer with {prompt.text!r}, which a server's chat API does "
            "not support; set prompt.begin_answer=false, or model.chat=false for a raw prompt"
        )
    return {"messages": [{"role": message.role, "content": message.content} for message in prompt.messages]}
