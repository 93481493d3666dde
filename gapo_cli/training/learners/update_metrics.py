"""The `actor/*` and `training/*` numbers of one update, added up over micro-batches on the device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from gapo_cli.metric_names import COMPUTED
from gapo_cli.processes.ranks import ALONE, Ranks
from gapo_cli.training.batches.mini_batches import MicroBatch
from gapo_cli.training.learners.optimizer import StepResult
from gapo_cli.training.objectives.clipped_policy import PolicyLoss
from gapo_cli.training.objectives.kl import low_var_kl


@dataclass
class UpdateMetrics:
    """Every `actor/*` value is a mean over the optimizer steps that were made, not the skipped ones. Over which tokens:

    - `actor/ppo_kl`, `actor/entropy`: a mean over the computed tokens, those that a pass was made for, by their weights in the
      loss. `training/rollout_probs_diff_*` and `training/rollout_k3`: over those that the present policy sampled, all alike.
    - `actor/pg_clipfrac`, `actor/pg_clipfrac_lower`: a share of all tokens. A token of advantage 0 is never clipped, so the
      share is the same whether or not it was computed.
    - `actor/pg_loss` and each term's `actor/NAME_loss`: what the computed tokens add to the loss of a mini-batch, the weights
      being those of all its tokens.
    - `actor/computed_tokens_frac`: computed tokens among all completion tokens of the rollout batch.

    Tokens are those of all `ranks`, each of which adds its own."""

    ranks: Ranks = ALONE
    steps: list[StepResult] = field(default_factory=list)
    mini_batch_rows: list[dict[str, torch.Tensor]] = field(default_factory=list)
    mismatched: list[tuple[torch.Tensor, torch.Tensor]] = field(default_factory=list)
    sums: dict[str, torch.Tensor] = field(default_factory=dict)
    terms: dict[str, torch.Tensor] = field(default_factory=dict)
    broken_terms: tuple[str, ...] = ()
    """The terms that the last step was skipped for: what they gave was not finite, and the rest of the loss was."""
    computed_tokens: int = 0
    tokens: int = 0

    def add_tokens(self, computed: int, of: int) -> None:
        """Of a mini-batch of `of` completion tokens `computed` have a pass."""
        self.computed_tokens += computed
        self.tokens += of

    def add_micro_batch(
        self, policy_loss: PolicyLoss, weights: torch.Tensor, entropy: torch.Tensor, terms: Mapping[str, torch.Tensor]
    ) -> None:
        """`terms`: the weighted sums of the terms' values, by name."""
        with torch.no_grad():
            found = {
                name: getattr(policy_loss, name) for name in ("loss", "clip_fraction", "clip_fraction_lower", "kl", "weight")
            }
            found["entropy"] = (weights * entropy).sum()
            for sums, values in ((self.sums, found), (self.terms, terms)):
                for name, value in values.items():
                    sums[name] = sums.get(name, 0) + value.detach()

    def is_finite(self) -> bool:
        """Whether all that was added since the last step is."""
        values = [value.float() for value in (*self.sums.values(), *self.terms.values())]
        return not values or bool(torch.stack(values).isfinite().all())

    def add_mismatch(self, micro: MicroBatch, logprobs: torch.Tensor) -> None:
        """Compares the engine's log-probabilities with the trainer's at the same weights: stale groups are left out."""
        self.mismatched.append((logprobs.detach()[micro.fresh], micro.logprobs_engine[micro.fresh]))

    def add_step(self, result: StepResult, weight: float) -> None:
        """Closes a mini-batch whose tokens weigh `weight` together."""
        sums, self.sums = self.ranks.sums(self.sums), {}
        terms, self.terms = self.ranks.sums(self.terms), {}
        self.steps.append(result)
        blamed = terms if sums and result.skipped and sums["loss"].isfinite() else {}
        self.broken_terms = tuple(name for name, value in blamed.items() if not value.isfinite())
        if sums and not result.skipped:
            row = {"actor/pg_loss": sums["loss"]}
            row["actor/pg_clipfrac"] = sums["clip_fraction"] / weight
            row["actor/pg_clipfrac_lower"] = sums["clip_fraction_lower"] / weight
            row["actor/ppo_kl"] = sums["kl"] / sums["weight"]
            row["actor/entropy"] = sums["entropy"] / sums["weight"]
            row |= {f"actor/{name}_loss": value for name, value in terms.items()}
            self.mini_batch_rows.append(row)

    def row(self) -> dict[str, float]:
        """A mini-batch without any gradient to compute is in `actor/grad_norm` and `actor/lr` only."""
        row: dict[str, float] = {}
        for name in self.mini_batch_rows[0] if self.mini_batch_rows else ():
            row[name] = float(torch.stack([values[name] for values in self.mini_batch_rows]).mean())
        finite = [step.grad_norm for step in self.steps if not step.skipped]
        if finite:
            row["actor/grad_norm"] = sum(finite) / len(finite)
        if self.steps:  # none while only a critic learns
            row["actor/lr"] = self.steps[-1].learning_rate
        row["actor/skipped_steps"] = float(len(self.steps) - len(finite))
        if self.tokens:
            row[COMPUTED] = self.computed_tokens / self.tokens
        return row | self._mismatch_row()

    def _mismatch_row(self) -> dict[str, float]:
        """|p - p_engine| under verl's names, and the k3 estimate of KL(engine, trainer)."""
        mismatched = [pair for pairs in self._mismatched_of_all() for pair in pairs]
        if not sum(len(logprobs) for logprobs, _ in mismatched):
            return {}
        ours, engine = (torch.cat(tensors) for tensors in zip(*mismatched, strict=True))
        difference = (ours.exp() - engine.exp()).abs()
        return {
            "training/rollout_probs_diff_mean": float(difference.mean()),
            "training/rollout_probs_diff_max": float(difference.max()),
            "training/rollout_probs_diff_std": float(difference.std(correction=0)),
            "training/rollout_k3": float(low_var_kl(engine, ours).mean()),
        }

    def _mismatched_of_all(self) -> list[list[tuple[torch.Tensor, torch.Tensor]]]:
        if self.ranks.alone:
            return [self.mismatched]
        return self.ranks.gather([(ours.cpu(), engine.cpu()) for ours, engine in self.mismatched])
