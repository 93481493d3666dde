"""A paired comparison in words: what was compared, who was right where, and what may be concluded."""

from __future__ import annotations

from collections.abc import Mapping

from gapo_cli.evaluation.paired import Comparison
from gapo_cli.evaluation.predictions import Mode

SIGNIFICANT = 0.05
"""The usual threshold; intervals are the matching 95 %."""


def comparison_lines(compared: Mapping[Mode, Comparison], this: str, other: str) -> list[str]:
    """Sentences, one a line; `this` and `other` name the two sides."""
    lines = [f"Compared with {other}:"]
    for mode, one in compared.items():
        left_out = [
            f"{count} {'is' if count == 1 else 'are'} only in {where} and left out"
            for count, where in ((one.only_this, "this evaluation"), (one.only_other, "the other"))
            if count
        ]
        lines.append(
            f"{mode}, {one.tasks} tasks answered by both{''.join(f'; {part}' for part in left_out)}: "
            f"{this} {one.this:.1%}, the other {one.other:.1%} exact match. {difference_words(one)}"
        )
        if one.p_value is not None:
            lines.append(
                f"both right on {one.both_right}, only {this} on {one.this_right}, only the other on {one.other_right}, "
                f"neither on {one.neither_right}. {verdict(one)}"
            )
        else:
            lines.append(interval_words(one))
    return lines


def difference_words(one: Comparison) -> str:
    points = f"Difference {100 * (one.difference.value or 0.0):+.1f} points"
    if one.difference.low is None or one.difference.high is None:
        return f"{points}."
    return (
        f"{points}, 95 % interval {100 * one.difference.low:+.1f} to {100 * one.difference.high:+.1f} (bootstrap over tasks)."
    )


def probability_words(p_value: float) -> str:
    return f"p = {p_value:.3f}" if p_value >= 0.001 else "p < 0.001"


def verdict(one: Comparison) -> str:
    first, second, p_value = one.this_right or 0, one.other_right or 0, one.p_value
    if p_value is None or first + second == 0:
        return "They are right on the same tasks: nothing tells them apart."
    p_words = probability_words(p_value)
    if p_value >= SIGNIFICANT:
        return (
            f"McNemar's exact test, {p_words}: a split of {first} to {second} is what chance may well give between two equally "
            "good models. These tasks do not show that one is better."
        )
    winner = "This one is better" if first > second else "The other one is better"
    return (
        f"McNemar's exact test, {p_words}: between two equally good models a split of {first} to {second} or a more uneven one "
        f"would be that rare. {winner} on tasks like these."
    )


def interval_words(one: Comparison) -> str:
    low, high = one.difference.low, one.difference.high
    if low is None or high is None:
        return "Every task has the same difference: there is no spread to judge it by."
    if low <= 0 <= high:
        return "The interval includes zero: these tasks do not show that one is better."
    return f"The interval leaves out zero: {'this one' if low > 0 else 'the other one'} is better on tasks like these."
