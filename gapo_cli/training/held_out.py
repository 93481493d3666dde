"""Held-out tasks, tokenised once and asked every so often: the numbers go into the metrics, the answers to the disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

from gapo_cli.config.sampling import EvaluationConfig, SamplingConfig
from gapo_cli.errors import batch_kept
from gapo_cli.evaluation.baselines import measure_baselines
from gapo_cli.evaluation.summary import Breakdown, summarise
from gapo_cli.interfaces import Engine, Progress, Template
from gapo_cli.models.loaded import LoadedModel
from gapo_cli.rollouts.encoding import EncodedTask
from gapo_cli.rollouts.validation import validate_encoded
from gapo_cli.runs.group_files import decoded_prompt
from gapo_cli.runs.run_files import RunFiles

BEST_BY = ("val/exact_match", "val/sampled/exact_match")
"""What the best model is chosen by where the learner does not say otherwise: the first of these that an evaluation has."""


class HeldOut:
    """The evaluations of one run."""

    def __init__(
        self,
        tasks: Sequence[EncodedTask],
        template: Template,
        evaluation: EvaluationConfig,
        sampling: SamplingConfig,
        seed: int,
        files: RunFiles,
    ) -> None:
        self.tasks, self.template, self.evaluation, self.sampling = tasks, template, evaluation, sampling
        self.seed, self.files = seed, files

    def evaluate(self, step: int, policy: LoadedModel, engine: Engine, progress: Progress) -> dict[str, float]:
        """The val/* metrics of the policy after `step`; the evaluation's files are written. Raises PartError, with the answers at
        hand kept, for a template that fails."""
        prompt_text = decoded_prompt(policy.tokenizer.decode)
        with batch_kept(lambda groups: self.files.write_for_inspection(step, groups, prompt_text)):
            predictions = validate_encoded(
                policy, engine, self.template, self.tasks, self.evaluation, self.sampling, self.seed, progress
            )
        summary = summarise(predictions, constants=self.evaluation.delta_chrf)
        self.files.write_evaluation(step, predictions, summary, self._baselines)
        return summary.metrics()

    @cached_property
    def _baselines(self) -> Mapping[str, Breakdown]:
        return measure_baselines([one.task for one in self.tasks], self.evaluation.delta_chrf)


def better(
    row: Mapping[str, float], step: int, best: Mapping[str, float] | None, best_by: Sequence[str] = BEST_BY
) -> dict[str, float | str] | None:
    """What best.json will say where the evaluation in `row` is better than the `best` before it; None where it is not, or
    where the row has none."""
    metric = next((name for name in best_by if name in row), None)
    if metric is None or (best is not None and row[metric] <= best["value"]):
        return None
    return {"step": step, "metric": metric, "value": row[metric]}
