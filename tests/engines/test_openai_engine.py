"""A served model, asked for real over the loopback address: what is sent, what is read, and what happens when it fails."""

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from serving import start_server, stop_server

from gapo_cli.config.sampling import SamplingConfig
from gapo_cli.engines.openai_engine import OpenAIEngine
from gapo_cli.engines.served.persistent_requests import Patience, retry_after
from gapo_cli.errors import DataError, UserError
from gapo_cli.interfaces import TextEngine
from gapo_cli.records import Message, Prompt

GREEDY = SamplingConfig(group_size=1, max_new_tokens=16, temperature=0.0)
PAIRS = SamplingConfig(group_size=2, max_new_tokens=16, temperature=0.7, top_p=0.9)


def raw(name: str) -> Prompt:
    return Prompt(f"task-{name}", f"if {name} == None:")


CHAT = Prompt("task-c", "", (Message("system", "You edit."), Message("user", "if c == None:")))


@pytest.fixture
def serve(tmp_path, monkeypatch):
    """Starts servers with the options given, and gives an engine that waits next to nothing between its tries."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    started = []

    def start(*options: str, **settings):
        folder = tmp_path / f"server-{len(started)}"
        folder.mkdir()
        started.append(start_server(folder, *options))
        engine = OpenAIEngine(started[-1].url, "some-model", first_wait_s=0.001, **settings)
        return started[-1], engine

    yield start
    for served in started:
        stop_server(served)


@pytest.fixture
def journal(tmp_path):
    return tmp_path / "run" / "answers.jsonl"


def test_a_raw_prompt_goes_to_completions_with_every_setting_said(serve, journal):
    served, engine = serve()
    engine.generate_texts([raw("a")], PAIRS, [2**31 + 5], journal)
    (request,) = served.requests
    assert request == {
        "path": "/v1/completions",
        "authorization": None,
        "body": {
            "model": "some-model", "prompt": "if a == None:", "max_tokens": 16, "temperature": 0.7, "top_p": 0.9,
            "frequency_penalty": 0.0, "presence_penalty": 0.0, "n": 2, "stream": False, "logprobs": 1,
            "seed": 5,  # modulo 2**31
        },
    }  # fmt: skip


def test_a_chat_prompt_goes_to_chat_completions_as_messages(serve, journal):
    served, engine = serve(stop=["<|end|>"])
    ((completion,),) = engine.generate_texts([CHAT], replace(GREEDY, top_k=3), [0], journal)
    (request,) = served.requests
    assert request["path"] == "/v1/chat/completions"
    assert request["body"]["messages"] == [
        {"role": "system", "content": "You edit."},
        {"role": "user", "content": "if c == None:"},
    ]
    assert {name: request["body"][name] for name in ("logprobs", "top_k", "stop", "temperature")} == {
        "logprobs": True, "top_k": 3, "stop": ["<|end|>"], "temperature": 0.0,
    }  # fmt: skip
    assert completion.text == "```python\nif c is None:\n```"


def test_the_stop_texts_of_the_sampling_are_asked_for_and_stay_in_the_answer(serve, journal):
    served, engine = serve(stop=["<|end|>"])
    ((completion,),) = engine.generate_texts([raw("c")], replace(GREEDY, stop=(">>>>>>> UPDATED",)), [0], journal)
    assert served.requests[0]["body"]["stop"] == [">>>>>>> UPDATED", "<|end|>"]
    # this server does not say what ended it: it is taken to be the sampling's
    assert completion.text == "if c is None:\n>>>>>>> UPDATED"


def test_groups_come_back_in_order_with_log_probabilities_and_lengths(serve, journal):
    _, engine = serve(concurrency=3)
    names = [f"x{number}" for number in range(7)]
    groups = engine.generate_texts([raw(name) for name in names], PAIRS, range(7), journal)
    # the server gives the choices last first, and marks the index-th with so many #
    assert [[one.text for one in group] for group in groups] == [
        [f"if {name} is None:\n", f"if {name} is None:\n#"] for name in names
    ]
    first, second = groups[0]
    assert (first.logprobs, second.logprobs) == ((-0.5, -0.25), (-0.5, -0.5))
    assert (first.token_ids, first.length, first.finish_reason) == ((), 2, "stop")


def test_without_log_probabilities_the_servers_count_is_the_length(serve, journal):
    _, engine = serve("--no-logprobs")
    ((alone,), (one, other)) = (
        group for sampling in (GREEDY, PAIRS) for group in engine.generate_texts([raw("a")], sampling, [0], journal)
    )
    assert (alone.logprobs, alone.length) == ((), 3)
    # of two answers the server counts the six tokens together: nobody knows whose they are
    assert (one.length, other.length) == (0, 0)


def test_the_token_limit_and_the_content_filter_are_told_apart(serve, journal):
    _, cut = serve("--finish-reason", "length")
    _, held_back = serve("--finish-reason", "content_filter")
    ((first,),) = cut.generate_texts([raw("a")], GREEDY, [0], journal)
    ((second,),) = held_back.generate_texts([raw("a")], GREEDY, [0], journal)
    assert (first.finish_reason, first.malformed) == ("length", None)
    assert second.malformed == "content_filter"


def test_a_server_that_knows_no_n_is_asked_once_an_answer(serve, journal):
    served, engine = serve("--only-one", concurrency=1)
    with pytest.raises(UserError, match="gave 1 of n=2 answers; for a server without n, set engine.many_per_request=false"):
        engine.generate_texts([raw("a")], PAIRS, [7], journal)
    (group,) = replace(engine, many_per_request=False).generate_texts([raw("a")], PAIRS, [7], journal)
    assert len(group) == 2
    assert [(request["body"]["n"], request["body"]["seed"]) for request in served.requests] == [(2, 7), (1, 7), (1, 8)]


def test_extra_settings_win_and_null_takes_one_out(serve, journal):
    served, engine = serve(extra={"max_tokens": None, "max_completion_tokens": 16, "seed": 1})
    engine.generate_texts([raw("a")], GREEDY, [7], journal)
    body = served.requests[0]["body"]
    assert "max_tokens" not in body
    assert (body["max_completion_tokens"], body["seed"]) == (16, 1)


def test_failures_that_pass_are_tried_again(serve, journal):
    served, engine = serve("--fail", "429,500,503,drop,cut", concurrency=1)
    groups = engine.generate_texts([raw("a"), raw("b")], GREEDY, [0, 1], journal)
    assert [group[0].text for group in groups] == ["if a is None:\n", "if b is None:\n"]
    assert len(served.requests) == 5 + 2


@pytest.mark.slow
def test_a_server_that_is_silent_is_asked_again(serve, journal):
    served, engine = serve("--fail", "hang", timeout_s=3)
    ((completion,),) = engine.generate_texts([raw("a")], GREEDY, [0], journal)
    assert completion.text == "if a is None:\n"
    assert len(served.requests) == 2


def test_retry_after_is_waited_for(serve, journal, monkeypatch):
    waits = []
    sleep = asyncio.sleep

    async def noted(seconds):
        waits.append(seconds)
        await sleep(0)

    monkeypatch.setattr(asyncio, "sleep", noted)
    _, engine = serve("--fail", "429/7,503/9.5")
    engine.generate_texts([raw("a")], GREEDY, [0], journal)
    assert [seconds for seconds in waits if seconds] == [7, 9.5]


def test_a_wait_that_is_too_long_ends_the_run_with_what_to_do(serve, journal):
    served, engine = serve("--fail", "429/3600")
    with pytest.raises(
        UserError, match="on purpose; the server asks to wait 3600 s, longer than engine.longest_wait_s=60; raise it or"
    ):
        engine.generate_texts([raw("a")], GREEDY, [0], journal)
    assert len(served.requests) == 1


@pytest.mark.parametrize(
    ("header", "seconds"),
    [(None, 0), ("12", 12), ("0.5", 0.5), ("-3", 0), ("soon", 0), ("nan", 0), ("", 0),
     ("Thu, 01 Jan 2026 00:01:30 GMT", 90), ("Wed, 31 Dec 2025 23:59:00 GMT", 0)],
)  # fmt: skip
def test_retry_after_gives_seconds_or_a_date(header, seconds):
    assert retry_after(header, datetime(2026, 1, 1, tzinfo=UTC)) == seconds


def test_waits_double_up_to_the_longest_and_at_least_half_of_each_is_waited():
    patience = Patience(tries=8, first_wait_s=1, longest_wait_s=6, timeout_s=1)
    for failures, whole in ((1, 1), (2, 2), (3, 4), (4, 6), (50, 6)):
        waits = [patience.wait_before(failures) for _ in range(100)]
        assert whole / 2 <= min(waits) < max(waits) <= whole


def test_a_server_that_stays_broken_ends_the_run(serve, journal):
    served, engine = serve("--fail", "503,503,503", tries=3)
    with pytest.raises(UserError, match=r"no answer in 3 tries \(HTTP 503: failing with 503 on purpose\)"):
        engine.generate_texts([raw("a")], GREEDY, [0], journal)
    assert len(served.requests) == 3


def test_no_server_at_all_is_one_sentence(serve, journal):
    served, engine = serve(tries=2)
    stop_server(served)
    with pytest.raises(UserError, match=r"no answer in 2 tries \(ConnectError .*\); check that the server is up"):
        engine.generate_texts([raw("a")], GREEDY, [0], journal)


def test_a_refusal_is_not_tried_again_and_repeats_the_servers_words(serve, journal):
    served, engine = serve("--fail", "422", concurrency=1)
    with pytest.raises(UserError, match="/v1/completions: HTTP 422: failing with 422 on purpose$"):
        engine.generate_texts([raw("a"), raw("b")], GREEDY, [0, 1], journal)
    assert len(served.requests) == 1


def test_a_run_that_ends_midway_says_how_to_go_on(serve, journal):
    served, engine = serve("--fail", "", concurrency=1, tries=1)
    engine.generate_texts([raw("a")], GREEDY, [0], journal)
    stop_server(served)
    with pytest.raises(
        UserError, match=f"1 answers are saved in {journal}: the same command with hydra.run.dir={journal.parent} continues"
    ):
        engine.generate_texts([raw("a"), raw("b")], GREEDY, [0, 1], journal)


def test_the_key_is_sent_from_the_environment_and_kept_nowhere(serve, journal, monkeypatch):
    served, engine = serve("--key", "secret", api_key_env="MY_KEY")
    with pytest.raises(
        UserError,
        match=r"HTTP 401: Incorrect API key provided; the environment variable MY_KEY \(engine.api_key_env\) is not set",
    ):
        engine.generate_texts([raw("a")], GREEDY, [0], journal)
    monkeypatch.setenv("MY_KEY", "wrong")
    with pytest.raises(UserError, match="MY_KEY .* holds the key that was sent"):
        engine.generate_texts([raw("a")], GREEDY, [0], journal)
    monkeypatch.setenv("MY_KEY", "secret")
    engine.generate_texts([raw("a")], GREEDY, [0], journal)
    assert [request["authorization"] for request in served.requests] == [None, "Bearer wrong", "Bearer secret"]
    assert "secret" not in journal.read_text()


def test_an_address_without_its_v1_is_pointed_out(serve, journal):
    served, engine = serve()
    elsewhere = replace(engine, base_url=served.url.removesuffix("/v1") + "/")
    with pytest.raises(
        UserError, match=r"HTTP 404: Not Found; check engine.base_url=\S+ \(most end in /v1\) and engine.model=some-model"
    ):
        elsewhere.generate_texts([raw("a")], GREEDY, [0], journal)
    assert served.requests[0]["path"] == "/completions"


@pytest.mark.parametrize(
    ("failure", "said"), [("html", "is not JSON but begins with '<html>"), ("empty", "is not a completion; it begins with")]
)
def test_an_answer_of_something_else_is_refused(failure, said, serve, journal):
    _, engine = serve("--fail", failure)
    with pytest.raises(UserError, match=said):
        engine.generate_texts([raw("a")], GREEDY, [0], journal)


def test_a_prompt_that_the_server_finds_too_long_has_no_completions_and_is_not_asked_again(serve, journal):
    served, engine = serve()
    prompts = [raw("a"), Prompt("long", "TOO LONG"), raw("b")]
    for _ in range(2):
        first, long, last = engine.generate_texts(prompts, GREEDY, range(3), journal)
        assert (first[0].text, long, last[0].text) == ("if a is None:\n", None, "if b is None:\n")
    assert len(served.requests) == 3


def test_what_the_journal_holds_is_not_asked_again(serve, journal):
    served, engine = serve()
    first = engine.generate_texts([raw("a"), raw("b")], PAIRS, [0, 1], journal)
    assert engine.generate_texts([raw("a"), raw("b"), raw("c")], PAIRS, [0, 1, 2], journal)[:2] == first
    assert [request["body"]["prompt"] for request in served.requests[2:]] == ["if c == None:"]
    # another seed, another setting or another model is another question
    engine.generate_texts([raw("a")], PAIRS, [5], journal)
    engine.generate_texts([raw("a")], replace(PAIRS, temperature=0.8), [0], journal)
    replace(engine, model="other").generate_texts([raw("a")], PAIRS, [0], journal)
    assert len(served.requests) == 6


def test_equal_requests_are_sent_once(serve, journal):
    served, engine = serve()
    groups = engine.generate_texts([raw("a"), raw("a")], GREEDY, [0, 0], journal)
    assert groups[0] == groups[1]
    assert len(served.requests) == 1


def test_a_torn_last_line_is_dropped_and_asked_again(serve, journal):
    served, engine = serve(concurrency=1)
    prompts = [raw("a"), raw("b"), raw("ü")]
    engine.generate_texts(prompts, GREEDY, range(3), journal)
    whole = journal.read_bytes()
    torn = whole.rindex("ü".encode()) + 1  # within a character
    journal.write_bytes(whole[:torn])
    groups = engine.generate_texts(prompts, GREEDY, range(3), journal)
    assert [group[0].text for group in groups] == ["if a is None:\n", "if b is None:\n", "if ü is None:\n"]
    assert len(served.requests) == 4
    assert journal.read_bytes() == whole


def test_a_line_that_is_no_kept_answer_is_named(journal):
    journal.parent.mkdir()
    engine = OpenAIEngine("http://localhost:1/v1", "m")
    for line, said in (("{}", "not a saved answer"), ("{", "not JSON")):
        journal.write_text(json.dumps({"key": "k", "answer": {}}) + f"\n{line}\n")
        with pytest.raises(DataError, match=f"{journal}:2: {said}"):
            engine.generate_texts([raw("a")], GREEDY, [0], journal)


def test_progress_begins_at_what_the_journal_holds_and_ends_at_all(serve, journal):
    _, engine = serve(concurrency=2)
    shown = []
    engine.generate_texts([raw("a"), raw("b")], GREEDY, [0, 1], journal)
    engine.generate_texts([raw(name) for name in "abcd"], GREEDY, range(4), journal, lambda *row: shown.append(row))
    assert shown == [("asking", 3, 4), ("asking", 4, 4)]


def test_a_chat_prompt_that_begins_the_answer_is_refused_before_anything_is_asked(serve, journal):
    served, engine = serve()
    with pytest.raises(
        UserError, match="task task-c: its prompt begins the answer with '<start>'.*set prompt.begin_answer=false"
    ):
        engine.generate_texts([replace(CHAT, text="<start>")], GREEDY, [0], journal)
    assert served.requests == []


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"base_url": "localhost:8000"}, "engine.base_url=localhost:8000: need an address that begins with http://"),
        ({"concurrency": 0}, "engine.concurrency=0: need a number above 0"),
        ({"tries": 0}, "engine.tries=0: need a number above 0"),
        ({"stop": "end"}, "engine.stop=end: need a list of texts"),
        ({"extra": 3}, "engine.extra=3: need settings"),
    ],
)
def test_wrong_settings_are_refused_when_the_engine_is_built(settings, sentence):
    with pytest.raises(UserError, match=sentence):
        OpenAIEngine(**{"base_url": "http://localhost/v1", "model": "m"} | settings)


def test_the_engine_is_one_that_needs_no_policy():
    assert isinstance(OpenAIEngine("http://localhost/v1", "m"), TextEngine)
