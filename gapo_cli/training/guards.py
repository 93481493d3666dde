"""What stops a run that only breaks, and what is said, once, about one that collapses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from gapo_cli.config.trainer import GuardsConfig
from gapo_cli.errors import NOT_FINITE, EndedElsewhere, NotFiniteError
from gapo_cli.models.loaded import LoadedModel

TOKENS_TRIED = 16
"""So many tokens, the vocabulary's first, are the text that a model is run on before it is saved."""


class TooManySkipped(EndedElsewhere):
    """`steps` optimizer steps in a row had no finite loss and gradient; `batch` is what the last one was made from, `terms` the terms
    of the loss that alone were not finite then."""

    def __init__(self, steps: int, batch: Sequence[Any], terms: Sequence[str] = ()) -> None:
        super().__init__(steps)
        self.steps, self.batch, self.terms = steps, batch, tuple(terms)


@dataclass
class SkipGuard:
    """Counts the optimizer steps in a row that were skipped; `limit` 0: without end."""

    limit: int = 0
    in_a_row: int = 0

    def saw(self, skipped: bool, batch: Sequence[Any], terms: Sequence[str] = ()) -> None:
        """Raises TooManySkipped, and begins to count again, when the limit is reached."""
        self.in_a_row = self.in_a_row + 1 if skipped else 0
        if self.limit and self.in_a_row >= self.limit:
            steps, self.in_a_row = self.in_a_row, 0
            raise TooManySkipped(steps, batch, terms)


def skipped_sentence(stop: TooManySkipped, place: str, path: object) -> str:
    """Why a run was stopped, for the UserError."""
    steps, terms = stop.steps, " and ".join(f"algorithm.terms.{name}" for name in stop.terms)
    blamed = f" because of {terms}; all else of the loss was finite" if terms else ""
    return (
        f"guards.skipped_in_a_row={steps}: the loss or its gradient was not finite in {steps} optimizer steps in a row, the last in "
        f"{place}{blamed}; the batch of that one is in {path}; look for impossible numbers there, lower the learning rate, or resume from an earlier "
        "checkpoint"
    )


@torch.no_grad()
def check_outputs(policy: LoadedModel) -> None:
    """Raises NotFiniteError for a model that gives no distribution. An update that was finite itself can leave such a one, and
    until it is asked for answers again nothing else tells."""
    tokens = torch.arange(TOKENS_TRIED, device=policy.device)[None] % policy.model.config.get_text_config().vocab_size
    with policy.autocast():
        hidden = policy.model.get_decoder()(input_ids=tokens, use_cache=False).last_hidden_state
        logits = policy.model.get_output_embeddings()(hidden)
    if not logits.float().logsumexp(-1).isfinite().all():
        raise NotFiniteError(NOT_FINITE)


RISING = {"noop": "reward/noop_frac", "noop_right": "reward/noop_em/mean"}
"""What is compared with the mean of a run's first steps: the share of no-op answers, and the exact match that they earn."""


@dataclass
class CollapseWatch:
    """Looks at the rows of metrics for what a run does not come back from by itself. Every sentence is said once a run."""

    config: GuardsConfig
    steps: dict[str, int] = field(default_factory=dict)
    firsts: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in RISING})
    said: list[str] = field(default_factory=list)

    def look(self, row: Mapping[str, float]) -> list[str]:
        """What there is to say after the step of this row."""
        config = self.config
        conditions = {
            "zero_spread": row.get("group/zero_std_frac", 0.0) >= config.zero_spread_frac,
            "entropy": row.get("actor/entropy", float("inf")) <= config.entropy,
            "clip_ratio": row.get("response_length/clip_ratio", 0.0) >= config.clip_ratio,
            **{name: self._rises(name, row) for name in RISING},
        }
        sentences = []
        for name, holds in conditions.items():
            self.steps[name] = self.steps.get(name, 0) + 1 if holds else 0
            if self.steps[name] >= config.steps_in_a_row and name not in self.said:
                self.said.append(name)
                sentences.append(f"warning, at step {row['step']:g}: {self._sentence(name, row)}")
        return sentences

    def _rises(self, name: str, row: Mapping[str, float]) -> bool:
        share, firsts = row.get(RISING[name]), self.firsts[name]
        if share is None:
            return False
        if len(firsts) < self.config.steps_in_a_row:
            firsts.append(share)
            return False
        return share >= self._began(name) + self.config.noop_rise

    def _began(self, name: str) -> float:
        return sum(self.firsts[name]) / len(self.firsts[name])

    def _sentence(self, name: str, row: Mapping[str, float]) -> str:
        config, steps = self.config, f"for {self.config.steps_in_a_row} steps"
        if name in RISING:
            rise = f"now {row[RISING[name]]:.2f}) has been {config.noop_rise} or more above where it began ({self._began(name):.2f})"
            return {
                "noop": f"{steps} the share of answers that leave the region as it stands ({RISING[name]}, {rise}: doing nothing pays better "
                "than trying; see the no-op tasks in the data, and reward=em, which pays nothing for it on the others",
                "noop_right": f"{steps} the exact match that answers earn by leaving the region as it stands ({RISING[name]}, {rise}: what looks "
                "like learning is the no-op tasks; see val/exact_match_on_changes, and train on fewer of them",
            }[name]
        return {
            "zero_spread": f"{steps} at least {config.zero_spread_frac:.0%} of the groups have had answers that all earn the same "
            "(group/zero_std_frac): such groups teach nothing; take tasks that are neither solved nor hopeless, or raise "
            "sampling.temperature or sampling.group_size",
            "entropy": f"{steps} the entropy of the answers has been at most {config.entropy} nats a token (actor/entropy): the model knows "
            "one answer only and tries nothing else; lower trainer.optimizer.learning_rate, or raise "
            "algorithm.terms.kl.coefficient or algorithm.terms.entropy.coefficient",
            "clip_ratio": f"{steps} at least {config.clip_ratio:.0%} of the answers have been cut at the limit (response_length/clip_ratio): "
            "the model does not end its answers, or sampling.max_new_tokens is too small for them; see the rollouts, raise it, or use "
            "algorithm.overlong",
        }[name]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; `restore` is the inverse."""
        return {name: getattr(self, name) for name in ("steps", "firsts", "said")}

    def restore(self, state: Mapping[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)
