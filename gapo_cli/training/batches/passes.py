"""What a forward pass computes, counted from the lengths of prompts and answers: no tensors, so `gapo plan` counts with it too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from gapo_cli.training.batches.token_budget import cut_to_budget


@dataclass(frozen=True, slots=True)
class Lengths:
    """Tokens of a prompt and of each of the answers to it that are learnt from."""

    prompt: int
    answers: tuple[int, ...]

    @property
    def tokens(self) -> int:
        return self.prompt + sum(self.answers)


def answered(prompts: Sequence[int], answers: Sequence[int], count: int) -> list[Lengths]:
    """Groups of `count` answers to each prompt, which are as long as each other."""
    return [Lengths(prompt, (answer,) * count) for prompt, answer in zip(prompts, answers, strict=True)]


@dataclass(frozen=True, slots=True)
class Pass:
    """One forward pass. `tokens`: padding included. `predicted`: the positions that get logits. `pairs`: queries times keys
    that attention computes; `masked`: elements of the dense mask, whose every pair is computed, 0 where there is none."""

    tokens: int
    predicted: int
    pairs: float
    masked: int = 0

    @classmethod
    def of(cls, groups: Sequence[Lengths], layout: str) -> Pass:
        """Of whole groups, as `gapo_cli.models.packing.layout` lays them out. The last token of an answer is a label only."""
        predicted = sum(sum(group.answers) for group in groups)
        if layout == "padded":
            widths = [group.prompt + answer - 1 for group in groups for answer in group.answers]
            rows, width = len(widths), max(widths)
            return cls(rows * width, predicted, rows * _causal(width))
        widths = [group.tokens - len(group.answers) for group in groups]
        if layout == "packed":
            return cls(sum(widths), predicted, sum(map(_pairs, groups)))
        rows, width = len(widths), max(widths)
        return cls(rows * width, predicted, rows * width**2, rows * width**2)


def _pairs(group: Lengths) -> float:
    """Of a prompt with itself, of its answers' inputs with it, of each answer with itself."""
    inputs = [answer - 1 for answer in group.answers]
    return _causal(group.prompt) + sum(count * group.prompt + _causal(count) for count in inputs)


def _causal(width: int) -> float:
    return width * (width + 1) / 2


class Division(Protocol):
    """How a learner divides what an optimizer step learns from: `passes` of at most `budget` tokens each (0: one pass), and the
    `size` by which ranks share it out."""

    def passes(self, groups: Sequence[Lengths], layout: str, budget: int) -> list[Pass]: ...

    def size(self, group: Lengths) -> int: ...


@dataclass(frozen=True)
class ByAnswer:
    """The answers of a group may go into several passes, each with its prompt."""

    def passes(self, groups: Sequence[Lengths], layout: str, budget: int) -> list[Pass]:
        cut = cut_to_budget([group.prompt for group in groups], [group.answers for group in groups], layout, budget)
        parts = [
            [Lengths(groups[piece.group].prompt, groups[piece.group].answers[piece.start : piece.stop]) for piece in pieces]
            for pieces in cut
        ]
        return [Pass.of(part, layout) for part in parts]

    def size(self, group: Lengths) -> int:
        return group.tokens


BY_ANSWER = ByAnswer()
