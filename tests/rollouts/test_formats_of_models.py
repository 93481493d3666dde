"""Stop texts and tokens of a template's format: to the engine, and checked against the model's tokenizer."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hydra.utils import get_class
from parts import PlainTemplate, ScriptedEngine, edit_task

from gapo_cli.config.supervised import EditLogConfig
from gapo_cli.errors import UserError
from gapo_cli.prompts.sweep import Sweep
from gapo_cli.prompts.zeta2 import Zeta2
from gapo_cli.prompts.zeta2_qwen import Zeta2Qwen
from gapo_cli.records import Completion
from gapo_cli.rollouts.encoding import choice_of, encode_tasks, limit_in_words
from gapo_cli.rollouts.sampling import read_answer, sample, sample_texts, with_stops
from gapo_cli.training.batches.examples import encode_examples

PROMPTS = Path(__file__).parents[2] / "conf" / "prompt"
TASKS = [edit_task(1), edit_task(2)]


def test_the_templates_stop_texts_go_to_the_engine_before_the_users(tiny_policy, sampling):
    engine = ScriptedEngine([["a = c\n>>>>>>> UPDATED"]])
    asked = replace(sampling, stop=("<x>",))
    sampled = sample(tiny_policy, engine, Zeta2(missing_tokens="text"), TASKS, asked, [1, 2])
    ((_, seen, _),) = engine.calls
    assert seen.stop == (">>>>>>> UPDATED", "<x>")
    assert {one.region for group in sampled for one in group.completions} == {"a = c\n"}
    assert with_stops(asked, PlainTemplate()) == asked


def test_they_go_to_a_server_too(sampling):
    class Server:
        def generate_texts(self, prompts, sampling, seeds, journal, progress=None):
            assert sampling.stop == ("<|im_end|>",)
            return [(Completion((), (), "<|marker_1|>x = 2\n<|marker_2|><|im_end|>", "stop"),) for _ in prompts]

    (first, _) = sample_texts(Server(), Zeta2Qwen(), TASKS, replace(sampling, group_size=1), [1, 2], Path("journal")).sampled
    assert first.completions[0].region == "x = 2\n"


def test_a_cut_answer_is_no_edit_even_where_its_text_is_whole():
    whole = Zeta2().answer(TASKS[0], TASKS[0].target)
    assert read_answer(Zeta2(), TASKS[0], Completion((), (), whole, "stop")).region == TASKS[0].target
    cut = read_answer(Zeta2(), TASKS[0], Completion((), (), whole, "length"))
    assert (cut.region, cut.malformed) == (None, "truncated")


def test_tokens_that_the_model_lacks_are_named(tiny_policy):
    with pytest.raises(
        UserError,
        match=r"has no token <\[fim-suffix\]>, <\[fim-prefix\]>, <\[fim-middle\]>, which the format of prompt=zeta2 needs; choose a "
        r"model that has, or set prompt\.missing_tokens=text",
    ):
        encode_tasks(tiny_policy, Zeta2(), TASKS)
    # plain text where that is asked for
    assert len(encode_tasks(tiny_policy, Zeta2(missing_tokens="text"), TASKS)) == 2
    tiny_policy.tokenizer.add_special_tokens({"additional_special_tokens": list(Zeta2.tokens)})
    assert len(encode_tasks(tiny_policy, Zeta2(), TASKS)) == 2


@pytest.mark.parametrize("path", sorted(PROMPTS.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_template_is_called_as_the_choice_that_makes_it(path):
    kind = get_class(yaml.safe_load(path.read_text())["_target_"])
    assert choice_of(object.__new__(kind)) == path.stem
    assert choice_of(PlainTemplate()) == "PlainTemplate"  # a user's


def test_a_limit_names_the_settings_that_a_template_has():
    assert limit_in_words(PlainTemplate(), 26) == "model.context_length=26; raise it"
    assert limit_in_words(Sweep(), 26) == "model.context_length=26; raise it, or lower prompt.budget=7168"
    assert limit_in_words(Sweep(budget=None), 26) == "model.context_length=26; raise it, or set prompt.budget"


def test_an_answer_that_ends_with_the_end_token_gets_no_second_one(tiny_policy):
    class Ended(PlainTemplate):
        def answer(self, task, region):
            return region + "<eos>"

    for template in (Ended(), PlainTemplate()):
        (example, _) = encode_examples(tiny_policy, template, TASKS, EditLogConfig(), 0).kept
        assert example.answer.count(tiny_policy.eos_token_id) == 1
        assert example.answer[-1] == tiny_policy.eos_token_id
