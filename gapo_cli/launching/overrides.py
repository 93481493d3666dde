"""What a person types after a verb, turned into Hydra overrides. Knows neither Hydra nor the yaml tree.

`tau=0.5` is short for `estimator.tau=0.5`, `samples=8` for `evaluation.samples=8`; `estimator=dapo` means
`algorithm=dapo estimator=grpo`; after `eval`, `on zeta` means `data=zeta`, `baseline=copy` is `evaluation.baseline=copy` and
`robustness=all` is `evaluation.robustness=[all]`.
`data.split=NAME` is the split that the verb works on: `evaluation.split` for `eval`, `data.train_split` for the others.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from gapo_cli.errors import UserError

SHORT_KEYS = {"tau": "estimator.tau", "samples": "evaluation.samples"}
EVAL_KEYS = {
    "baseline": "evaluation.baseline", "against": "evaluation.against", "rescore": "evaluation.rescore",
    "robustness": "evaluation.robustness",
}  # fmt: skip
"""Short keys that only `eval` has."""
ROBUSTNESS = EVAL_KEYS["robustness"]
PATH_KEYS = frozenset({
    "data.path", "data.repo", "data.repos", "data.directory", "model.path", "resume", "against", "evaluation.against",
    "rescore", "evaluation.rescore",
    "supervised.save_as", "dpo.rollouts", "engine.path", "hydra.run.dir", "hydra.sweep.dir",
})  # fmt: skip
"""Keys whose values are paths, which may hold what Hydra's grammar reads otherwise or not at all."""
PLAIN_VALUE = re.compile(r"[\w\-./\\:%+@?|$*, ]*|['\"\[{].*|.*\$\{.*", re.ASCII | re.DOTALL)
"""What is left as it was typed: what the grammar reads, commas between several values, and what is quoted or made of others."""
ESTIMATOR_ALIASES = {"dapo": ("algorithm=dapo", "estimator=grpo")}


def expand(verb: str, words: Sequence[str]) -> list[str]:
    """Words of a command line → overrides, in order. Raises UserError for a word that is none."""
    overrides: list[str] = []
    remaining = list(words)
    while remaining:
        word = remaining.pop(0)
        if word == "on" and verb == "eval":
            if not remaining or "=" in remaining[0]:
                raise UserError("eval on: name a data set, as in `gapo eval on zeta`")
            overrides.append(f"data={remaining.pop(0)}")
        elif word.startswith("~"):
            overrides.append(word)
        elif "=" not in word or word.startswith("="):
            raise UserError(
                f"{word}: need KEY=VALUE, as in trainer.steps=40{', or `on DATA`, as in on zeta' if verb == 'eval' else ''}"
            )
        else:
            overrides.extend(expand_one(verb, word))
    check_algorithm(overrides)
    return overrides


def expand_one(verb: str, word: str) -> Iterable[str]:
    key, value = word.split("=", 1)
    if key == "estimator":
        if value in ESTIMATOR_ALIASES:
            return ESTIMATOR_ALIASES[value]
        swept = [part for part in value.split(",") if part.strip() in ESTIMATOR_ALIASES]
        if swept:
            raise UserError(
                f"estimator={value}: {swept[0]} is an algorithm, not an estimator, and cannot be swept beside them; "
                f"sweep algorithm=grpo,{swept[0]}"
            )
    if key in PATH_KEYS and not unquoted(value).strip():
        raise UserError(f"{key}=: is empty (perhaps a variable that is not set); name a folder, or leave it out")
    if key in PATH_KEYS and not PLAIN_VALUE.fullmatch(value):
        value = quoted(value)
    if key in EVAL_KEYS or key in EVAL_KEYS.values():
        if verb != "eval":
            raise UserError(f"{word}: is for `gapo eval`; leave it out")
        if EVAL_KEYS.get(key, key) == ROBUSTNESS and not value.startswith("["):
            value = "[]" if value == "null" else f"[{value}]"  # one name, or several with commas
        return [f"{EVAL_KEYS.get(key, key)}={value}"]
    if key == "data.split":
        return [f"{'evaluation.split' if verb == 'eval' else 'data.train_split'}={value}"]
    return [f"{SHORT_KEYS.get(key, key)}={value}"]


def at_home(word: str) -> str:
    """A word of a command line with `~/` and `~name/` written out where a path begins: in `~/x`, `--option=~/x`, `KEY=~/x,~/y` and
    `KEY=[~/x]`. Shells do so at the beginning of a word only, or after some keys. `~KEY`, which takes a key away, stays."""
    if word.startswith("~/"):
        return os.path.expanduser(word)
    key, equals, value = word.partition("=")
    return key + equals + _value_at_home(value) if equals else word


def _value_at_home(value: str) -> str:
    if value[:1] in ("'", '"'):
        plain = unquoted(value)
        return quoted(_value_at_home(plain)) if plain.startswith("~") else value
    return re.sub(r"(?:(?<=^)|(?<=[,\[]))~[\w.\-]*(?=/|,|\]|$)", lambda found: os.path.expanduser(found[0]), value)


def check_algorithm(overrides: Sequence[str]) -> None:
    algorithms = {override for override in overrides if override.startswith("algorithm=")}
    if len(algorithms) > 1:
        raise UserError(
            f"{' and '.join(sorted(algorithms))}: they exclude each other (estimator=dapo means algorithm=dapo estimator=grpo)"
        )
    estimator = next((one for one in overrides if key_of(one).split(".")[0] == "estimator"), None)
    if algorithms == {"algorithm=ppo"} and estimator is not None:
        raise UserError(
            f"{estimator}: algorithm=ppo takes advantages from a critic and has no estimator; leave it out, or choose "
            "algorithm=grpo, which has one"
        )


def key_of(override: str) -> str:
    """The key that an override is about: `+trainer.foo=3` → `trainer.foo`."""
    return override.split("=", 1)[0].lstrip("+~")


def continue_from(saved: Iterable[str], given: Sequence[str]) -> list[str]:
    """The overrides of a run that is resumed, then those given now; a key that is given again is not taken over."""
    again = {key_of(override) for override in given}
    return [override for override in saved if key_of(override) not in again] + list(given)


def quoted(value: str) -> str:
    """A value in quotes, so that Hydra's grammar reads nothing into it (paths with commas, brackets, equals signs)."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def unquoted(value: str) -> str:
    """The inverse of `quoted`; a value without quotes is as it is."""
    if len(value) < 2 or value[0] != value[-1] or value[0] not in "'\"":
        return value
    return re.sub(r"\\(.)", r"\1", value[1:-1])


def paths_and_settings(words: Sequence[str]) -> tuple[list[Path], list[str]]:
    """The words of a command that takes paths beside settings: a word with "=" in it that names what exists is a path too."""
    is_path = ["=" not in word or Path(word).exists() for word in words]
    paths = [Path(word) for word, path in zip(words, is_path, strict=True) if path]
    return paths, [word for word, path in zip(words, is_path, strict=True) if not path]
