"""What holds for every template that shows an excerpt: answers come back, nothing raises, budgets are kept."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prompt_parts import ALL, ANSWERS, CURSORS, HINTS, KINDS, REGIONS, TASKS, TEMPLATES, make_task

from gapo_cli.errors import UserError
from gapo_cli.prompts.five_part import FivePart
from gapo_cli.prompts.instruct_rewrite import InstructRewrite
from gapo_cli.prompts.merge_markers import MergeMarkers
from gapo_cli.prompts.nano import NanoTemplate
from gapo_cli.prompts.sections import Sections
from gapo_cli.prompts.zeta1 import Zeta1

every_kind = pytest.mark.parametrize("kind", KINDS)
all_templates = pytest.mark.parametrize("template", ALL.values(), ids=ALL)
every_template = pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
every_task = pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)


def whole_text(prompt) -> str:
    return "".join(message.content for message in prompt.messages) + prompt.text


@every_template
@settings(max_examples=150)
@given(region=REGIONS, task=st.sampled_from(list(TASKS.values())))
def test_the_answer_for_a_region_is_read_as_that_region(template, task, region):
    answer = template.parse(task, template.answer(task, region))
    assert (answer.region, answer.malformed) == (region, None)


@all_templates
def test_an_answer_comes_back_as_the_region_that_it_stands_for(template):
    task = TASKS["whole lines"]
    for region in (task.region, "def f():\n    g(1)\n"):
        answer = template.parse(task, template.answer(task, region))
        assert (answer.region, answer.malformed) == (region, None)


@all_templates
def test_a_prompt_is_a_text_or_messages_with_the_region_in_it(template):
    prompt = template.render(TASKS["whole lines"])
    assert bool(prompt.text) != bool(prompt.messages)
    assert "g(" in whole_text(prompt)


@every_template
@every_task
def test_the_unchanged_region_comes_back(template, task):
    assert template.parse(task, template.answer(task, task.region)).region == task.region


@all_templates
@settings(max_examples=150)
@given(text=ANSWERS, task=st.sampled_from(list(TASKS.values())))
def test_any_text_is_a_region_or_has_a_named_reason(template, text, task):
    answer = template.parse(task, text)
    assert (answer.region is None) == (answer.malformed is not None)
    assert answer.malformed is None or answer.malformed.replace("_", "").isalpha()


@every_template
@pytest.mark.parametrize(
    "piece", ["```", "```\n", "`", "\n", "<|editable_region_start|>", " \n", "no change", ">>>>>>> UPDATED\n"]
)
def test_a_very_long_answer_of_one_repeated_piece_is_read(template, piece):
    template.parse(TASKS["whole lines"], piece * 50_000)


@every_template
@pytest.mark.parametrize("words", ["NO CHANGE", "No changes.", "<|no_change|>", "NO_EDITS\n", " *no change* ", '"No edits"'])
def test_an_answer_that_says_no_change_is_the_region_as_it_was(template, words):
    task = TASKS["whole lines"]
    answer = template.parse(task, words)
    assert (answer.region, answer.malformed) == (task.region, None)


@every_template
def test_an_empty_answer_is_malformed(template):
    assert template.parse(TASKS["whole lines"], " \n").malformed == "empty_answer"


@every_template
@every_task
def test_every_task_renders_with_its_region(template, task):
    prompt = template.render(task)
    text = whole_text(prompt)
    for cursor in CURSORS:
        text = text.replace(cursor, "")
    assert task.region in text
    assert prompt.cut == ()
    assert bool(prompt.messages) == template.chat


@every_kind
def test_the_newest_events_are_shown_and_the_others_recorded(kind):
    prompt = kind(history_events=2).render(make_task())
    text = whole_text(prompt)
    assert "new1" not in text
    assert text.index("new2") < text.index("new3")
    assert prompt.cut == ("history: 1 oldest events",)


@every_kind
def test_the_newest_event_can_come_first(kind):
    text = whole_text(kind(history_order="newest").render(make_task()))
    assert text.index("new3") < text.index("new2") < text.index("new1")


@every_kind
def test_no_history_is_shown_with_zero_events(kind):
    text = whole_text(kind(history_events=0).render(make_task()))
    assert not any(f"new{number}" in text for number in (1, 2, 3))


@every_kind
def test_a_budget_keeps_the_region_then_the_newest_events_then_the_near_lines_then_hints(kind):
    lines_above = "".join(f"above{n}\n" for n in range(6))
    lines_below = "".join(f"below{n}\n" for n in range(6))
    task = make_task(lines_above, after=lines_below, **HINTS)
    has_hints = kind in (FivePart, InstructRewrite, Sections)
    order = [
        "g(",
        "new3",
        "new2",
        "new1",
        "above5",
        "below0",
        "above4",
        "below1",
        "above0",
        "below5",
        *(["missing )", "call g"] if has_hints else []),
    ]
    full = len(whole_text(kind().render(task)))
    smallest = len(whole_text(kind(history_events=0).render(make_task("", after="", path="m.py"))))
    shown_before: set[str] = set()
    for budget in range(smallest, full + 1):
        prompt = kind(budget=budget).render(task)
        shown = [piece in whole_text(prompt) for piece in order]
        assert shown == sorted(shown, reverse=True), (budget, prompt.cut)
        assert len(whole_text(prompt)) <= budget or any("nothing more" in note for note in prompt.cut)
        now = {piece for piece, there in zip(order, shown, strict=True) if there}
        assert now >= shown_before
        shown_before = now
    assert shown_before == set(order)


@every_kind
def test_what_a_budget_cuts_is_recorded(kind):
    task = make_task("a\nb\nc\n", after="d\ne\n")
    nothing = kind(budget=1).render(task)
    assert nothing.cut[:3] == ("history: 3 oldest events", "excerpt: 3 first lines", "excerpt: 2 last lines")
    size = len(whole_text(nothing))
    assert nothing.cut[3] == f"nothing more could be cut: {size - 1} over the budget of 1"
    assert kind(budget=size).render(task).cut == nothing.cut[:3]


@every_kind
def test_a_budget_counts_by_the_counter_it_is_given(kind):
    counted = []

    def words(text: str) -> int:
        counted.append(text)
        return len(text.split())

    full = kind().render(make_task())
    assert kind(budget=len(whole_text(full).split()), counter=words).render(make_task()) == full
    assert counted[0] in (full.text, *(message.content for message in full.messages))


@every_kind
def test_without_a_counter_a_budget_counts_characters(kind):
    assert kind(budget=300, counter=None).render(make_task()) == kind(budget=300).render(make_task())


@given(st.integers(1, 3000), st.sampled_from(list(TASKS.values())), st.sampled_from(KINDS))
def test_what_fits_is_as_much_as_fits(budget, task, kind):
    prompt = kind(budget=budget).render(task)
    full = kind().render(task)
    if len(full.text) <= budget:
        assert prompt == full
    elif not any("nothing more" in note for note in prompt.cut):
        assert len(prompt.text) <= budget


@every_kind
@pytest.mark.parametrize(
    ("settings_of", "sentence"),
    [
        ({"history_events": -1}, "prompt.history_events=-1: need 0 or more"),
        ({"history_events": True}, "prompt.history_events=True: need 0 or more"),
        ({"history_order": "random"}, "prompt.history_order=random: need one of oldest, newest"),
        ({"budget": 0}, "prompt.budget=0: need at least 1"),
        ({"budget": "many"}, "prompt.budget=many: need at least 1"),
        ({"counter": "len"}, "prompt.counter=len: need a function"),
    ],
)
def test_a_wrong_setting_is_refused_in_a_sentence(kind, settings_of, sentence):
    with pytest.raises(UserError, match=sentence):
        kind(**settings_of)


@pytest.mark.parametrize("kind", [Zeta1, MergeMarkers, NanoTemplate])
def test_templates_without_a_place_for_instruction_and_hints_record_it(kind):
    task = make_task(instruction="close the call", **HINTS)
    assert kind().render(task).cut == (
        "instruction: this template has no place for it", "hints: this template has no place for it",
    )  # fmt: skip
