"""Texts that end an answer: in the torch engine as if a longer answer had been cut there, in servers' answers put back."""

from dataclasses import replace

import pytest

from gapo_cli.config.sampling import SamplingConfig
from gapo_cli.engines.served.server_answers import completions_of, kept_choices
from gapo_cli.engines.stop_texts import StopTexts, up_to_stop, whole_text
from gapo_cli.engines.torch_engine import TorchEngine
from gapo_cli.errors import UserError

SAMPLING = SamplingConfig(group_size=4, max_new_tokens=24)
PROMPTS = [tuple(range(40, 40 + length)) for length in (7, 1, 12)]
SEEDS = [11, 12, 13]


def test_a_text_is_cut_behind_the_stop_text_that_is_over_first():
    assert up_to_stop("a<|b|>c>>", [">>", "<|b|>"]) == "a<|b|>"
    assert up_to_stop("abc", ["c", "bc"]) == "abc"
    assert up_to_stop("abc", []) == "abc"


def test_an_answer_ends_with_the_token_that_completes_a_stop_text(tiny_policy):
    engine = TorchEngine(tiny_policy, max_rows=5)
    whole = [completion for group in engine.generate(PROMPTS, SAMPLING, SEEDS) for completion in group]
    # two bytes from inside one of the answers, which no other need have
    stop = next(one.text[3:5] for one in whole if len(one.text) > 6 and one.text[3:5].isascii())
    asked = replace(SAMPLING, stop=(stop,))
    stopped = [completion for group in engine.generate(PROMPTS, asked, SEEDS) for completion in group]
    assert any(stop in one.text for one in whole)
    for before, one in zip(whole, stopped, strict=True):
        assert one.text == up_to_stop(before.text, [stop])
        assert one.token_ids == before.token_ids[: len(one.token_ids)]
        assert one.logprobs == pytest.approx(before.logprobs[: len(one.logprobs)], abs=1e-5)
        if stop in before.text:
            assert one.finish_reason == "stop" and one.text.endswith(stop)
            # one token a byte, and the last completes the text
            assert len(one.token_ids) == len(one.logprobs)
            assert len(one.token_ids) < len(before.token_ids) or before.text.endswith(stop)
        else:
            assert one.finish_reason == before.finish_reason


def test_an_end_token_is_part_of_the_text_only_where_it_is_a_stop_text(tiny_policy):
    tokenizer, end = tiny_policy.tokenizer, tiny_policy.eos_token_id
    tokens = [*tokenizer.encode("ab"), end]
    assert whole_text(tokenizer, 5, tokens, (end,), ()) == "ab"
    assert whole_text(tokenizer, 5, tokens, (end,), ("<x>",)) == "ab"
    assert whole_text(tokenizer, 5, tokens, (end,), ("<eos>",)) == "ab<eos>"


def test_a_stop_text_of_several_tokens_is_found_at_its_last_even_with_broken_characters(tiny_policy):
    tokenizer = tiny_policy.tokenizer
    tokens = tokenizer.encode("aé>>>x")  # é is two bytes, two tokens
    assert StopTexts(tokenizer, (">>>",)).first_end(tokens) == 6
    assert StopTexts(tokenizer, ("é",)).first_end(tokens) == 3
    assert StopTexts(tokenizer, ("y",)).first_end(tokens) is None


@pytest.mark.parametrize(
    ("choice", "text"),
    [
        ({"text": "a", "finish_reason": "stop"}, "a<1>"),  # which one is not said: the first
        ({"text": "a", "finish_reason": "stop", "stop_reason": "<2>"}, "a<2>"),
        ({"text": "a", "finish_reason": "stop", "matched_stop": "<2>"}, "a<2>"),
        ({"text": "a", "finish_reason": "stop", "stop_reason": None}, "a"),  # the end token
        ({"text": "a", "finish_reason": "stop", "matched_stop": 7}, "a"),
        ({"text": "a", "finish_reason": "stop", "stop_reason": "<of the user>"}, "a"),
        ({"text": "a<2>", "finish_reason": "stop"}, "a<2>"),  # the server leaves it in
        ({"text": "a<2>b", "finish_reason": "length"}, "a<2>"),
        ({"text": "a", "finish_reason": "length"}, "a"),
        ({"text": "a", "finish_reason": "content_filter"}, "a"),
    ],
)
def test_the_stop_text_that_a_server_cut_off_is_put_back(choice, text):
    kept = kept_choices({"choices": [choice]}, 1, "url")
    assert completions_of(kept, ("<1>", "<2>"))[0].text == text
    assert completions_of(kept)[0].text == choice["text"]


def test_stop_texts_are_a_list_of_texts():
    assert SamplingConfig(group_size=2, max_new_tokens=4, stop=["<x>"]).stop == ("<x>",)
    for wrong in ("<x>", [""], [1]):
        with pytest.raises(UserError, match="sampling.stop="):
            SamplingConfig(group_size=2, max_new_tokens=4, stop=wrong)
