"""Engines of a user's that fail or give something else than they were asked for."""

import math
from dataclasses import replace

import pytest
from parts import completion_of

from gapo_cli.config.sampling import SamplingConfig
from gapo_cli.engines import calls
from gapo_cli.errors import EndedElsewhere, PartError
from gapo_cli.interfaces import EngineMemory

SAMPLING = SamplingConfig(group_size=2, max_new_tokens=8)
GOOD = completion_of("a")


class Given:
    """Gives `found` for everything that is asked; raises it where it is an exception."""

    def __init__(self, found):
        self.found = found

    def generate(self, prompts, sampling, seeds, progress=None):
        if isinstance(self.found, BaseException):
            raise self.found
        return self.found

    def generate_texts(self, prompts, sampling, seeds, journal, progress=None):
        return self.generate(prompts, sampling, seeds)

    def sync(self, policy):
        raise OSError("no such device")

    def sleep(self):
        raise SystemExit(0)

    def memory(self, scale):
        return self.found


def generate(found):
    return calls.generate(Given(found), [(1,), (2,)], SAMPLING, [1, 2])


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (ValueError("no"), "raised ValueError: no (at "),
        (SystemExit(0), "raised SystemExit: 0 (at "),
        (None, "raised TypeError: 'NoneType' object is not iterable"),
        ([(GOOD, GOOD)], "gives answers to 1 prompts; need those to all 2"),
        ([(GOOD, GOOD), (GOOD,)], "gives 1 completions for prompt 2 of 2; need sampling.group_size=2"),
        ([(GOOD, GOOD), (GOOD, {})], "gives dict for prompt 2; need gapo_cli.records.Completion"),
        (
            [(GOOD, GOOD), (GOOD, replace(GOOD, logprobs=GOOD.logprobs[:-1]))],
            f"gives for prompt 2 of 2 {len(GOOD.logprobs) - 1} log-probabilities for {len(GOOD.token_ids)} tokens; need one for each",
        ),
        (
            [(GOOD, replace(GOOD, logprobs=(math.nan,) * len(GOOD.token_ids)))] * 2,
            "gives for prompt 1 of 2 a log-probability that is not finite; need finite numbers",
        ),
        ([(GOOD, replace(GOOD, text=b"a"))] * 2, "gives for prompt 1 of 2 a completion of other kinds of fields; need a str"),
        ([(GOOD, replace(GOOD, token_ids=("a",), logprobs=()))] * 2, "gives for prompt 1 of 2 a completion of other kinds"),
        (
            [(GOOD, replace(GOOD, logprobs=("a",) * len(GOOD.token_ids)))] * 2,
            "gives for prompt 1 of 2 a completion of other kinds",
        ),
    ],
)
def test_an_engine_that_fails_or_gives_something_else_is_told_of(found, said):
    with pytest.raises(PartError) as caught:
        generate(found)
    assert str(caught.value).startswith(f"engine=Given: {said}")


def test_answers_as_they_were_asked_for_pass_and_those_of_a_server_may_lack_tokens_and_prompts_that_are_too_long():
    assert generate([[GOOD, GOOD], (GOOD, replace(GOOD, logprobs=()))])[0] == (GOOD, GOOD)
    served = replace(GOOD, token_ids=())
    found = calls.generate_texts(Given([(served, served), None]), ["a", "b"], SAMPLING, [1, 2], None)
    assert found == [(served, served), None]
    with pytest.raises(PartError, match="gives 1 completions for prompt 1 of 1; need sampling.group_size=2"):
        calls.generate_texts(Given([(served,), None]), ["a", "b"], SAMPLING, [1, 2], None)


def test_what_breaks_off_the_work_of_an_engine_from_elsewhere_is_no_failure_of_it():
    for error in (EndedElsewhere("rank 1 has ended"), KeyboardInterrupt(), MemoryError()):
        with pytest.raises(type(error)):
            generate(error)


def test_an_engine_that_cannot_be_started_synced_put_to_sleep_or_planned_with_is_told_of():
    for call, said in [
        (lambda: calls.start(lambda policy: 1 / 0, None), "engine=<lambda>: raised ZeroDivisionError: division by zero"),
        (lambda: calls.start(lambda policy: "x", None), "engine=<lambda>: gives str; need gapo_cli.interfaces.Engine"),
        (lambda: calls.sync(Given(None), None), "engine=Given: raised OSError: no such device"),
        (lambda: calls.sleep(Given(None)), "engine=Given: raised SystemExit: 0"),
        (lambda: calls.memory(Given(7), None), "engine=Given: gives int as its memory; need gapo_cli.interfaces.EngineMemory"),
    ]:
        with pytest.raises(PartError) as caught:
            call()
        assert str(caught.value).startswith(said)
    assert calls.memory(object(), None) == EngineMemory({}, stays=False)
