"""Dotted keys of nested settings."""

from gapo_cli.config.keys import flatten


def test_a_section_comes_before_what_is_in_it_and_an_empty_one_comes_too():
    values = {"seed": 1, "model": {"lora": {"rank": 8}, "path": None}, "logger": {}}
    assert dict(flatten(values)) == {
        "seed": 1,
        "model": {"lora": {"rank": 8}, "path": None},
        "model.lora": {"rank": 8},
        "model.lora.rank": 8,
        "model.path": None,
        "logger": {},
    }
    assert list(dict(flatten(values)))[:3] == ["seed", "model", "model.lora"]
