"""What verl's processes need of an experiment: template, reward and length penalty, and which tokens end an answer. A JSON file in
the folder of a handover.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gapo_cli.config.algorithm import OverlongConfig
from gapo_cli.config.typed import typed_arguments
from gapo_cli.errors import PartError, name_of
from gapo_cli.integrations.verl_settings import PLAIN_SCORE
from gapo_cli.interfaces import Reward, Template
from gapo_cli.prompts import calls
from gapo_cli.records import EditTask
from gapo_cli.rollouts.overlong import overlong_penalty
from gapo_cli.rollouts.scoring import components_of
from gapo_cli.storage.files import write_json


@dataclass(frozen=True)
class HandedOver:
    """`template`, `reward`: a `_target_` and its settings, as the yaml tree has them. `end_ids`: tokens that end an answer and are
    no part of its text; `stop_ids`: tokens that end it and are; `phantom_ids`: ids that the tokenizer has no token for.
    `max_new_tokens`: where the length penalty is full."""

    template: Mapping[str, Any]
    reward: Mapping[str, Any]
    overlong: OverlongConfig | None
    max_new_tokens: int
    end_ids: Sequence[int]
    stop_ids: Sequence[int]
    phantom_ids: Sequence[int]

    def write(self, path: Path) -> None:
        write_json(path, asdict(self))

    @staticmethod
    def read(path: Path) -> HandedOver:
        values = json.loads(Path(path).read_text(encoding="utf-8"))
        overlong = values.pop("overlong")
        return HandedOver(overlong=overlong and OverlongConfig(**overlong), **values)


def build(part: Mapping[str, Any]) -> Any:
    """The object that a `_target_` and its settings stand for. Raises UserError for settings that it does not take."""
    from hydra.errors import InstantiationException
    from hydra.utils import get_class, instantiate

    kind = get_class(part["_target_"])
    try:
        return instantiate(dict(part), **typed_arguments(kind, part, kind.__name__), _convert_="all")
    except InstantiationException as error:
        raise error.__cause__ or error from error


@dataclass(frozen=True)
class Judge:
    """Reads an answer as the template does and says what it earns."""

    handed_over: HandedOver
    template: Template
    reward: Reward

    @staticmethod
    @functools.cache
    def of(path: str) -> Judge:
        """Read once a process. `path`: the file of a HandedOver."""
        found = HandedOver.read(Path(path))
        return Judge(found, build(found.template), build(found.reward))

    def ends(self, token_ids: Sequence[int]) -> bool:
        """Whether an answer came to its end; if not, the token limit cut it."""
        return bool(token_ids) and token_ids[-1] in (*self.handed_over.end_ids, *self.handed_over.stop_ids)

    def is_phantom(self, token_ids: Sequence[int]) -> bool:
        """Whether an answer has an id that stands for no token; it is malformed then, whatever its text."""
        return not set(self.handed_over.phantom_ids).isdisjoint(token_ids)

    def judge(self, task: EditTask, text: str | None, tokens: int) -> dict[str, float]:
        """`text` None: a malformed answer. `tokens`: its length. The reward's components, `score` with the length penalty, and
        PLAIN_SCORE without. Raises PartError where the reward fails or is missing: verl can leave no answer out of its group."""
        region = None if text is None else calls.parse(self.template, task, text).region
        found = {name: float(values[0]) for name, values in components_of(self.reward, [region], [task]).items()}
        if np.isnan(found["score"]):
            raise PartError(f"task {task.id}: reward={name_of(self.reward)}: is missing, and verl knows no missing rewards")
        plain = found["score"]
        overlong = self.handed_over.overlong
        if overlong is not None:
            lengths = np.array([tokens])
            penalty = overlong_penalty(lengths, self.handed_over.max_new_tokens, overlong.buffer_tokens, overlong.factor)
            found["score"] += float(penalty[0])
        return {**found, PLAIN_SCORE: plain}


def shipped_estimators() -> dict[str, dict[str, Any]]:
    """The yaml files of conf/estimator by name: each a `_target_` with the defaults of its settings."""
    from importlib.resources import files

    import yaml

    folder = files("gapo_cli.conf") / "estimator"
    texts = {Path(file.name).stem: file.read_text(encoding="utf-8") for file in folder.iterdir() if file.name.endswith(".yaml")}
    return {name: yaml.safe_load(text) for name, text in sorted(texts.items())}
