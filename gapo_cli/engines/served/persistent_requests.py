"""Many requests to one server at a time, each tried until it is answered or the server says no.

Tried again, after a wait that doubles and is drawn at random (so that clients that failed together do not come back
together): connections that fail or break, time-outs, HTTP 408, 409, 425, 429 and 5xx. A Retry-After is waited for.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2

from gapo_cli.errors import UserError

WORTH_RETRYING = frozenset({408, 409, 425, 429})
"""Beside 5xx: time-out, conflict, too early, too many requests."""
SHOWN = 500
"""Characters of a server's message that an error repeats."""


class Refused(UserError):
    """The server's no to one request. `status`: of HTTP; `message`: the server's own words."""

    def __init__(self, url: str, status: int, message: str) -> None:
        super().__init__(f"{url}: HTTP {status}: {message}")
        self.status, self.message = status, message


@dataclass(frozen=True)
class Patience:
    """`tries` of one request in all; `first_wait_s` before the second, doubled each time up to `longest_wait_s`;
    `timeout_s` without a byte from the server ends a try."""

    tries: int
    first_wait_s: float
    longest_wait_s: float
    timeout_s: float

    def wait_before(self, failures: int) -> float:
        """Seconds to wait after so many failed tries: half of it fixed, half at random."""
        return min(self.longest_wait_s, self.first_wait_s * 2 ** (failures - 1)) * random.uniform(0.5, 1)


def post_all(
    requests: Sequence[tuple[str, Any]],
    headers: Mapping[str, str],
    concurrency: int,
    patience: Patience,
    on_answer: Callable[[int, Any], None],
    on_refusal: Callable[[int, Refused], None],
) -> None:
    """Posts `requests` (address, JSON body), `concurrency` at a time. Each outcome is handed over at once, in the caller's
    thread, with the index of its request: the JSON answer, or the server's refusal, which `on_refusal` raises again if it is
    one to stop at. Raises UserError where a server cannot be reached, does not answer with JSON, or asks for a longer wait than
    `patience` has; what is under way is then given up, as it is at Ctrl-C."""
    try:
        asyncio.run(_post_all(requests, headers, concurrency, patience, on_answer, on_refusal))
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from None


async def _post_all(
    requests: Sequence[tuple[str, Any]],
    headers: Mapping[str, str],
    concurrency: int,
    patience: Patience,
    on_answer: Callable[[int, Any], None],
    on_refusal: Callable[[int, Refused], None],
) -> None:
    waiting = iter(enumerate(requests))
    limits = httpx2.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)

    async def work(client: httpx2.AsyncClient) -> None:
        for index, (url, body) in waiting:
            try:
                answer = await _post(client, url, body, patience)
            except Refused as refusal:
                on_refusal(index, refusal)
            else:
                on_answer(index, answer)

    async with (
        httpx2.AsyncClient(headers=dict(headers), timeout=patience.timeout_s, limits=limits) as client,
        asyncio.TaskGroup() as workers,
    ):
        for _ in range(min(concurrency, len(requests))):
            workers.create_task(work(client))


async def _post(client: httpx2.AsyncClient, url: str, body: Any, patience: Patience) -> Any:
    failure = ""
    for failures in range(1, patience.tries + 1):
        asked_wait = 0.0
        try:
            response = await client.post(url, json=body)
        except httpx2.TransportError as error:
            failure = f"{type(error).__name__} {error}".strip()
        else:
            if response.is_success:
                return _read_json(url, response)
            failure = f"HTTP {response.status_code}: {_message(response)}"
            if response.status_code not in WORTH_RETRYING and response.status_code < 500:
                raise Refused(url, response.status_code, _message(response))
            asked_wait = retry_after(response.headers.get("retry-after"), datetime.now(UTC))
        if asked_wait > patience.longest_wait_s:
            raise UserError(
                f"{url}: {failure}; the server asks to wait {asked_wait:.0f} s, longer than engine.longest_wait_s="
                f"{patience.longest_wait_s:g}; raise it or go on later"
            )
        if failures < patience.tries:
            await asyncio.sleep(max(asked_wait, patience.wait_before(failures)))
    raise UserError(
        f"{url}: no answer in {patience.tries} tries ({failure}); check that the server is up, or raise engine.tries"
    )


def retry_after(header: str | None, now: datetime) -> float:
    """Seconds that a Retry-After header asks for, which gives seconds or a date; 0 where it is missing or says nothing."""
    if header is None:
        return 0.0
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        date = parsedate_to_datetime(header)
    except ValueError:
        return 0.0
    return max(0.0, (date.replace(tzinfo=date.tzinfo or UTC) - now).total_seconds())


def _read_json(url: str, response: httpx2.Response) -> Any:
    try:
        return response.json()
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(
            f"{url}: the answer is not JSON but begins with {response.text[:60]!r}; engine.base_url must be that of an "
            "OpenAI-compatible server, most end in /v1"
        ) from error


def _message(response: httpx2.Response) -> str:
    """What the server says is wrong: `error.message` or what stands in its place, else the beginning of the body."""
    try:
        said = response.json()
    except (json.JSONDecodeError, UnicodeDecodeError):
        said = None
    if isinstance(said, dict):
        said = said.get("error", said)
    if isinstance(said, dict):
        code = said.get("code")
        said = said.get("message") or said.get("detail") or said
        said = f"{said} ({code})" if isinstance(code, str) else said
    text = " ".join(str(said or response.text or response.reason_phrase).split())
    return text[:SHOWN]
