"""What is read out of a server's JSON, field by field."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gapo_cli.engines.served.server_answers import completions_of, kept_choices
from gapo_cli.errors import UserError
from gapo_cli.storage.files import append_jsonl, read_jsonl


def read(choice, usage=None):
    (completion,) = completions_of(kept_choices({"choices": [choice], "usage": usage}, 1, "there"))
    return completion


def test_token_ids_are_kept_where_a_server_gives_them():
    completion = read({"text": "a", "finish_reason": "stop", "token_ids": [5, 6, 7]})
    assert (completion.token_ids, completion.length) == ((5, 6, 7), 3)


def test_an_answer_without_content_is_an_empty_text():
    completion = read({"message": {"content": None}, "finish_reason": "length"}, {"completion_tokens": 9})
    assert (completion.text, completion.finish_reason, completion.length) == ("", "length", 9)


@pytest.mark.parametrize(
    "logprobs",
    [
        None,
        {},
        {"content": None},
        {"content": []},
        {"token_logprobs": [None, -1.0]},
        {"token_logprobs": ["-1"]},
        {"content": [{"token": "a"}]},
    ],
)
def test_log_probabilities_that_are_not_all_there_are_none(logprobs):
    assert read({"text": "a", "finish_reason": "stop", "logprobs": logprobs}).logprobs == ()


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        {},
        {"choices": None},
        {"choices": ["a"]},
        {"choices": [{"index": 0}]},
        {"choices": [{"message": "a"}]},
        {"choices": [{"text": 3}]},
        {"choices": [{"message": {"content": ["a"]}}]},
    ],
)
def test_what_is_no_completion_is_refused(answer):
    with pytest.raises(UserError, match="there: the answer is not a completion; it begins with"):
        kept_choices(answer, 1, "there")


def test_an_answer_without_any_choice_is_refused():
    with pytest.raises(UserError, match="there: the server gave 0 of n=1 answers"):
        kept_choices({"choices": []}, 1, "there")


@pytest.mark.parametrize(
    ("choice", "reason"),
    [
        ({"finish_reason": "stop"}, None),
        ({"finish_reason": "eos"}, None),
        ({"finish_reason": "eos_token"}, None),
        ({"finish_reason": "length"}, None),  # the finish reason of the completion says it
        ({"finish_reason": "content_filter"}, "content_filter"),
        ({"finish_reason": "abort"}, "abort"),
        ({"finish_reason": "tool_calls"}, "tool_calls"),
        ({"finish_reason": None}, "no finish_reason"),
        ({}, "no finish_reason"),
    ],
)
def test_an_answer_that_the_server_does_not_call_finished_stands_for_no_region(choice, reason):
    # half an answer may well be read as an edit: these two tags delete what lies between them
    assert read({"text": "<|marker_1|><|marker_2|>", **choice}).malformed == reason


def test_half_a_character_in_an_answer_can_be_stored(tmp_path):
    choices = kept_choices(
        json.loads('{"choices": [{"text": "\\ud800x\\ud83d\\ude00", "finish_reason": "\\udfff"}]}'), 1, "there"
    )
    append_jsonl(tmp_path / "answers.jsonl", {"choices": choices})
    ((_, row),) = read_jsonl(tmp_path / "answers.jsonl")
    (completion,) = completions_of(row["choices"])
    assert (completion.text, completion.malformed) == ("\ufffdx\N{GRINNING FACE}", "\ufffd")


NAMES = [
    "index",
    "text",
    "message",
    "content",
    "finish_reason",
    "logprobs",
    "token_logprobs",
    "token_ids",
    "logprob",
    "completion_tokens",
]
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=8,
)
LOGPROBS = st.fixed_dictionaries(
    {}, optional={"content": st.lists(st.fixed_dictionaries({"logprob": JSON_VALUES})), "token_logprobs": st.lists(JSON_VALUES)}
)
CHOICES = st.fixed_dictionaries({}, optional={
    "text": st.text(max_size=4) | JSON_VALUES, "message": st.fixed_dictionaries({"content": JSON_VALUES}) | JSON_VALUES,
    "logprobs": LOGPROBS | JSON_VALUES, "finish_reason": JSON_VALUES, "token_ids": JSON_VALUES, "index": JSON_VALUES,
})  # fmt: skip


@pytest.mark.slow
@settings(max_examples=400)
@given(
    JSON_VALUES | st.fixed_dictionaries({"choices": st.lists(CHOICES, max_size=2)}, optional={"usage": JSON_VALUES}),
    st.integers(1, 2),
)
def test_any_answer_is_completions_or_refused(answer, count):
    try:
        completions = completions_of(kept_choices(answer, count, "there"))
    except UserError:
        return
    assert len(completions) == count
    for one in completions:
        assert isinstance(one.text, str) and one.finish_reason in ("stop", "length")
        assert all(isinstance(value, int | float) for value in (*one.logprobs, *one.token_ids, one.length))
