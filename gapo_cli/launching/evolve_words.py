"""What is typed after `gapo evolve`: a search space's name, `evolve.KEY=VALUE`, and settings that all of its runs share.

A space is conf/evolve/NAME.yaml (a folder of --config-dir goes first). Under `space` each entry is a list of values of the key
that it is called by, a range {low, high, log, whole} of that key (or of `key`), or {choices: {label: [overrides]}}; `when` says with
which choices of others it counts. The other keys are described in gapo_cli/runs/search_definition.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from gapo_cli.config.typed import build_section, convert, show
from gapo_cli.errors import UserError, did_you_mean
from gapo_cli.launching.overrides import continue_from, expand, key_of, unquoted
from gapo_cli.launching.study_words import read_value, read_yaml, tuned_values
from gapo_cli.runs.search_definition import Gene, SearchDefinition
from gapo_cli.search.objectives import DEV

SPACES = Path("evolve")
DEFAULT_SPACE = "settings"
TUNED = {
    "population": int, "each": int, "budget": int, "seconds": float, "inherit": str, "crossover": float, "mutation": float,
    "baselines": bool,
}  # fmt: skip
"""What `evolve.KEY=VALUE` may change."""
OVERRIDES = tuple[str, ...]
SPLIT, TRAINED_ON = "evaluation.split", "data.train_split"


def requested_search(words: Sequence[str], config_dir: Path | None = None) -> SearchDefinition:
    """Raises UserError for an unknown space, for what a space does not have, and for settings that are the search's."""
    name, rest = (words[0], words[1:]) if words and "=" not in words[0] else (DEFAULT_SPACE, words)
    values = read_yaml(SPACES, name, "search space", config_dir)
    where = f"search space {name}"
    space = values.pop("space", None)
    if not isinstance(space, Mapping):
        raise UserError(f"{where}: space: need a section with a key for each thing to search over")
    genes = tuple(make_gene(show(key), entry) for key, entry in space.items())

    def of_yaml(key: str) -> list[str]:
        return expand("train", convert(values.pop(key, ()), OVERRIDES, f"{where}.{key}"))

    tuned, given = tuned_values(rest, TUNED, "evolve", "search")
    if "seconds" in tuned and "budget" not in tuned:
        values.pop("budget", None)
    if "budget" in tuned and "seconds" not in tuned:
        values.pop("seconds", None)
    given = expand("train", given)
    seed = read_value(*seed_word(given))
    overrides = continue_from(of_yaml("overrides"), [word for word in given if key_of(word) != "seed"])
    typed = {key_of(word) for word in given}
    trial = tuple(word for word in of_yaml("trial") if key_of(word) not in typed)
    definition = build_section(
        SearchDefinition,
        {
            **values,
            **tuned,
            "name": name,
            "genes": genes,
            "seed": seed,
            "trial": trial,
            "overrides": (*overrides, f"{SPLIT}={DEV}"),
        },
        where,
    )
    check_given(definition, (*overrides, *trial))
    return definition


def check_given(definition: SearchDefinition, overrides: Sequence[str]) -> None:
    """Raises UserError for settings of all runs that the search sets itself."""
    searched = {key_of(word) for gene in definition.genes for own in gene.choices.values() for word in own}
    searched |= {gene.key for gene in definition.genes if gene.key}
    own = next((key for key in (SPLIT, TRAINED_ON, definition.work, "seed") if key in searched), None)
    if own is not None:
        raise UserError(f"space: {own}: is set by the search itself; leave it out")
    for word in overrides:
        key, value = key_of(word), unquoted(word.partition("=")[2])
        if key == SPLIT:
            raise UserError(f"{word}: a search measures fitness on {DEV}, and its winner on eval in the end; leave it out")
        if key == TRAINED_ON and value in (DEV, "eval", "all"):
            raise UserError(f"{word}: a search may not train on what it measures with; need another split, as train")
        if key == definition.work:
            raise UserError(
                f"{word}: evolve.each says how much an individual trains, evolve.budget how much all do; leave it out"
            )
        if key in searched:
            raise UserError(f"{word}: is what the space {definition.name} searches over; leave it out")


def make_gene(name: str, entry: Any) -> Gene:
    """One entry of a space. Raises UserError."""
    where = f"space: {name}"
    if isinstance(entry, list):
        return Gene(name, choices=labelled(name, entry))
    if not isinstance(entry, Mapping):
        raise UserError(f"{where}={show(entry)}: need a list of values, a range {{low, high}} or {{choices}}")
    known = [one.name for one in fields(Gene) if one.name != "name"] + ["values"]
    unknown = [str(key) for key in entry if key not in known]
    if unknown:
        near = did_you_mean(unknown[0], known) or f"need some of {', '.join(known)}"
        raise UserError(f"{where}.{unknown[0]}: no such key of a space; {near}")
    values = dict(entry)
    when = {
        gene: tuple(map(show, labels))
        for gene, labels in convert(values.pop("when", None) or {}, Mapping[str, tuple[Any, ...]], f"{where}.when").items()
    }
    if "values" in values:
        listed = convert(values["values"], tuple[Any, ...], f"{where}.values")
        return Gene(name, choices=labelled(values.get("key", name), listed), when=when)
    if "choices" in values:
        choices = convert(values["choices"], Mapping[str, OVERRIDES], f"{where}.choices")
        return Gene(name, choices={label: tuple(expand("train", own)) for label, own in choices.items()}, when=when)
    if not {"low", "high"} <= set(values):
        raise UserError(f"{where}: need low and high, or choices")
    return build_section(Gene, {"key": name, **values, "name": name, "when": when}, where)


def labelled(key: str, values: Sequence[Any]) -> dict[str, tuple[str, ...]]:
    """The values of a key as choices: label → its override."""
    return {show(value): tuple(expand("train", [f"{key}={show(value)}"])) for value in values}


def seed_word(words: Sequence[str]) -> tuple[str, str, type]:
    word = next((word for word in reversed(words) if key_of(word) == "seed"), "seed=0")
    return word, word.partition("=")[2], int
