"""What is typed after a verb becomes Hydra overrides."""

import pytest

from gapo_cli.errors import UserError
from gapo_cli.launching.overrides import at_home, continue_from, expand, quoted, unquoted


@pytest.mark.parametrize(
    ("verb", "words", "overrides"),
    [
        ("train", ["tau=0.5"], ["estimator.tau=0.5"]),
        ("train", ["estimator.tau=0.5", "seed=3"], ["estimator.tau=0.5", "seed=3"]),
        ("train", ["estimator=dapo"], ["algorithm=dapo", "estimator=grpo"]),
        ("train", ["estimator=gapo", "algorithm=dapo"], ["estimator=gapo", "algorithm=dapo"]),
        ("sweep", ["tau=0.3,0.5", "seed=0,1,2"], ["estimator.tau=0.3,0.5", "seed=0,1,2"]),
        ("eval", ["on", "zeta", "model=hf"], ["data=zeta", "model=hf"]),
        ("eval", ["baseline=copy"], ["evaluation.baseline=copy"]),
        ("eval", ["samples=8"], ["evaluation.samples=8"]),
        ("eval", ["on", "zeta", "data.split=train"], ["data=zeta", "evaluation.split=train"]),
        ("train", ["data.split=all"], ["data.train_split=all"]),
        ("train", ["+trainer.extra=1", "~experiment"], ["+trainer.extra=1", "~experiment"]),
        ("train", ["model.path=/a=b"], ["model.path='/a=b'"]),
        ("prepare", ["data.repo=/my (old) project"], ["data.repo='/my (old) project'"]),
        ("eval", ["against=Läufe/1"], ["evaluation.against='Läufe/1'"]),
        ("sweep", ["model.path=/a,/b"], ["model.path=/a,/b"]),
        (
            "train",
            ["data.path='/é'", "hydra.run.dir=/é/${seed}", "data.path=null"],
            ["data.path='/é'", "hydra.run.dir=/é/${seed}", "data.path=null"],
        ),
        ("train", ["trainer.device=é"], ["trainer.device=é"]),
    ],
)
def test_words_become_overrides(verb, words, overrides):
    assert expand(verb, words) == overrides


@pytest.mark.parametrize(
    ("verb", "words", "sentence"),
    [
        ("train", ["foo"], "foo: need KEY=VALUE"),
        ("train", ["=3"], "=3: need KEY=VALUE"),
        ("train", ["on", "zeta"], "on: need KEY=VALUE"),
        ("eval", ["zeta"], "zeta: need KEY=VALUE, as in trainer.steps=40, or `on DATA`"),
        ("eval", ["on"], "name a data set"),
        ("eval", ["on", "model=hf"], "name a data set"),
        ("train", ["algorithm=ppo", "tau=0.3"], "estimator.tau=0.3: algorithm=ppo takes advantages from a critic"),
        ("plan", ["estimator=grpo", "algorithm=ppo"], "estimator=grpo: algorithm=ppo takes advantages from a critic"),
        ("train", ["estimator=dapo", "algorithm=grpo"], "algorithm=dapo and algorithm=grpo: they exclude each other"),
        ("sweep", ["estimator=grpo,dapo"], "sweep algorithm=grpo,dapo"),
    ],
)
def test_a_word_that_is_no_override_is_refused_in_a_sentence(verb, words, sentence):
    with pytest.raises(UserError, match=sentence):
        expand(verb, words)


def test_a_resumed_run_keeps_its_overrides_except_those_given_again():
    saved = ["estimator=grpo", "seed=3", "trainer.steps=20"]
    assert continue_from(saved, ["trainer.steps=40", "resume=r"]) == [
        "estimator=grpo",
        "seed=3",
        "trainer.steps=40",
        "resume=r",
    ]


def test_quoted_values_escape_quotes_and_backslashes():
    assert quoted(r"it's\here") == r"'it\'s\\here'"


@pytest.mark.parametrize("value", [r"it's\here", "", "'", "plain", r"\'"])
def test_what_was_quoted_comes_back(value):
    assert unquoted(quoted(value)) == value


@pytest.mark.parametrize(("typed", "value"), [("plain", "plain"), ("'", "'"), ('"a b"', "a b")])
def test_values_are_taken_out_of_their_quotes(typed, value):
    assert unquoted(typed) == value


@pytest.mark.parametrize(
    ("word", "found"),
    [
        ("hydra.run.dir=~/runs/a", "hydra.run.dir=/home/ada/runs/a"),
        ("data.path='~/my tasks'", "data.path='/home/ada/my tasks'"),
        ("model.path=~/a,~/b", "model.path=/home/ada/a,/home/ada/b"),
        ("study.reuse=[~/a,~/b]", "study.reuse=[/home/ada/a,/home/ada/b]"),
        ("engine.path=~", "engine.path=/home/ada"),
        ("--output=~/a=b", "--output=/home/ada/a=b"),
        ("~/a=b", "/home/ada/a=b"),
        ("tau=0.3", "tau=0.3"),
        ("data.path='a~b'", "data.path='a~b'"),
        ("~model.lora", "~model.lora"),
        ("train", "train"),
    ],
)
def test_a_path_below_the_home_folder_is_written_out_in_every_key(word, found, monkeypatch):
    monkeypatch.setenv("HOME", "/home/ada")
    assert at_home(word) == found


def test_a_word_that_takes_a_key_away_is_no_path():
    assert expand("train", ["~model.lora"]) == ["~model.lora"]
