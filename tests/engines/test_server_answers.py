"""What is read out of a server's JSON, field by field."""

import pytest

from gapo_cli.engines.server_answers import completions_of, kept_choices
from gapo_cli.errors import UserError


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
    "logprobs", [None, {}, {"content": None}, {"content": []}, {"token_logprobs": [None, -1.0]}, {"content": [{"token": "a"}]}]
)
def test_log_probabilities_that_are_not_all_there_are_none(logprobs):
    assert read({"text": "a", "finish_reason": "stop", "logprobs": logprobs}).logprobs == ()


@pytest.mark.parametrize(
    "answer", [None, [], {}, {"choices": None}, {"choices": ["a"]}, {"choices": [{"index": 0}]}, {"choices": [{"message": "a"}]}]
)
def test_what_is_no_completion_is_refused(answer):
    with pytest.raises(UserError, match="there: the answer is no completion but begins with"):
        kept_choices(answer, 1, "there")


def test_an_answer_without_any_choice_is_refused():
    with pytest.raises(UserError, match="there: the server gave 0 of n=1 answers"):
        kept_choices({"choices": []}, 1, "there")
