"""Whether the excerpt with the answer in it still parses, as the reward: 1 where it has no more syntax errors than before.

Errors are tree-sitter's ERROR and MISSING nodes. An excerpt is cut out of its file and half-typed code is wrong anyhow, so what
counts is that the answer brings in no new ones. It says nothing about what the edit should be: it belongs into a mix.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import numpy as np

from gapo_cli.errors import UserError
from gapo_cli.records import EditTask

PACKAGE = "tree_sitter_language_pack"
OTHER_NAMES: Mapping[str, str] = MappingProxyType({"shell": "bash", "objective-c": "objc", "text": "", "assembly": "asm"})
"""Our names of languages whose grammar has another one; "" for one that nothing is wrong in."""


@dataclass(frozen=True)
class Parses:
    """Components: parses. A language without a grammar cannot be wrong: 1."""

    def __post_init__(self) -> None:
        if importlib.util.find_spec(PACKAGE) is None:
            raise UserError("reward=parses needs: pip install 'gapo-cli[parses]'")

    def __call__(self, predictions: Sequence[str | None], tasks: Sequence[EditTask]) -> dict[str, np.ndarray]:
        parses = np.array(
            [
                prediction is not None
                and syntax_errors(_grammar(task), task.before + prediction + task.after)
                <= syntax_errors(_grammar(task), task.excerpt)
                for prediction, task in zip(predictions, tasks, strict=True)
            ],
            dtype=np.float64,
        )
        return {"parses": parses, "score": parses.copy()}


def _grammar(task: EditTask) -> str:
    if task.language == "typescript" and task.path.lower().endswith(".tsx"):
        return "tsx"
    return OTHER_NAMES.get(task.language, task.language)


@lru_cache(maxsize=4096)  # the samples of a task share its excerpt, and are often alike
def syntax_errors(grammar: str, text: str) -> int:
    """How many ERROR and MISSING nodes the parse has; 0 without a grammar of that name."""
    parser = _parser(grammar)
    if parser is None:
        return 0
    count, nodes = 0, [parser.parse(text.encode()).root_node]
    while nodes:
        node = nodes.pop()
        if node.is_error or node.is_missing:
            count += 1
        if node.has_error:
            nodes += node.children
    return count


@lru_cache(maxsize=64)
def _parser(grammar: str) -> Any:
    from tree_sitter_language_pack import get_parser

    try:
        return get_parser(grammar)
    except LookupError:
        return None
