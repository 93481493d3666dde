"""Preference optimisation (stage=dpo): one optimizer step a batch of pairs, in an order that is fixed by the seed.

The loss is told in `gapo_cli.training.objectives.preference`; it is the mean over the pairs of a batch, however that is cut into
passes. The reference is the model that training started from, as in stage=rl. Dropout is off: policy and reference must differ
by what was learnt alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch

from gapo_cli.config.preference import PreferenceConfig
from gapo_cli.config.typed import show
from gapo_cli.errors import CheckpointError
from gapo_cli.experiment import Experiment, check_engine, check_sharing
from gapo_cli.interfaces import Engine, LearnerWords
from gapo_cli.metric_names import (
    GRADIENT_NORM,
    PREFERENCE_ACCURACY,
    PREFERENCE_CHOSEN,
    PREFERENCE_LOSS,
    PREFERENCE_MARGIN,
    PREFERENCE_REJECTED,
    TOKENS_COMPUTED,
)
from gapo_cli.models.loaded import LoadedModel
from gapo_cli.models.packing.logprobs import completion_logprobs
from gapo_cli.models.policy import load_policy
from gapo_cli.models.reference import make_reference
from gapo_cli.models.usable_layout import usable_layout
from gapo_cli.processes.ranks import Ranks
from gapo_cli.records import EditTask, Group
from gapo_cli.rollouts.encoding import limit_in_words
from gapo_cli.runs.recorded import rollout_files
from gapo_cli.training.batches.even_passes import even_passes
from gapo_cli.training.batches.pair_sources import Pairs, encode_pairs
from gapo_cli.training.batches.pairs import Pair, PairBatch, hash_of_pairs, pair_batches
from gapo_cli.training.checkpoints.checkpoints import together, under
from gapo_cli.training.held_out import BEST_BY, HeldOut
from gapo_cli.training.learners.optimizer import Optimizer
from gapo_cli.training.learners.planned_pairs import in_memory, outline_of_pairs, scheduled
from gapo_cli.training.learners.sampled_pairs import KEPT_AS, check_sampled, kept_groups, sample_groups
from gapo_cli.training.learners.token_count import TokenCount
from gapo_cli.training.objectives.preference import PairLogprobs, preference_losses, reward_margins
from gapo_cli.training.out_of_memory import Advise, memory_watched
from gapo_cli.training.outline import AsGroups, MeasuredTasks, Outline
from gapo_cli.training.run_context import RunContext


@dataclass(frozen=True)
class Preference:
    """stage=dpo, a `gapo_cli.interfaces.Learner`."""

    name: ClassVar[str] = "dpo"
    title: ClassVar[str] = "preference (DPO)"
    words: ClassVar[LearnerWords] = LearnerWords("batch", "learning from pairs", "choosing batch", "learning from")
    samples: ClassVar[bool] = False
    keys: ClassVar[Mapping[str, str]] = {"trainer.optimizer": "dpo.optimizer"}
    best_by: ClassVar[Sequence[str]] = BEST_BY

    def check(self, experiment: Experiment) -> None:
        self.check_settings(experiment)
        experiment.dpo.optimizer.check()
        samplings = list(experiment.evaluation.samplings(experiment.sampling).values())
        check_engine(experiment, samplings + [experiment.sampling] * (experiment.dpo.pairs == "sampled"))

    def check_settings(self, experiment: Experiment) -> None:
        check_sharing(experiment, experiment.dpo.optimizer)
        if experiment.dpo.rollouts is not None:
            rollout_files(Path(experiment.dpo.rollouts))
        if experiment.dpo.pairs == "sampled":
            check_sampled(experiment)

    def starts_from_folder(self, experiment: Experiment) -> bool:
        return True

    def unread(self, experiment: Experiment) -> Mapping[str, str]:
        """A `gapo_cli.interfaces.SelectiveLearner`. Of sampled answers a reward is asked, and an algorithm for its length penalty."""
        config, others = experiment.dpo, ["estimator", "supervised"]
        if config.pairs != "sampled":
            others += ["algorithm", "reward", "dpo.sampled_tasks"]
        if not config.from_groups:
            others += ["dpo.margin", "dpo.pairs_per_prompt"]
        return {
            **self.keys,
            "trainer.steps": "dpo.steps",
            "trainer.prompts_per_mini_batch": "dpo.pairs_per_batch",
            "trainer.epochs_per_step": "dpo.epochs",
            **dict.fromkeys(others, ""),
        }

    def as_rl(self, experiment: Experiment) -> Experiment:
        """With this optimizer. The reference is not in it: no setting does without, as stage=rl can (`AsGroups.reference`)."""
        trainer = replace(experiment.trainer, optimizer=experiment.dpo.optimizer)
        return replace(experiment, trainer=trainer, algorithm=experiment.algorithm.without_terms())

    def outline(self, experiment: Experiment, measured: MeasuredTasks) -> Outline:
        return outline_of_pairs(experiment, self.as_rl(experiment), measured)

    def begin(self, run: RunContext) -> PreferenceLearning:
        """Raises DataError where there is no pair, and for pairs that do not fit the context."""
        experiment, say = run.experiment, run.display.say
        with run.loading():
            policy = load_policy(run.starting_model, experiment.trainer)
            reference = make_reference(
                policy, experiment.model, experiment.trainer.reference_dtype, at_start=run.checkpoint is None
            )
        held_out = run.encode_held_out(policy)
        pairs = Pairs((), (), 0)

        def as_groups() -> AsGroups:
            lengths = [pair.lengths for pair in pairs.kept]
            batches = [[lengths[index] for index in batch] for batch in scheduled(lengths, experiment, 0)] if lengths else []
            asked = [len(one.token_ids) for one in held_out.tasks]
            return in_memory(self.as_rl(experiment), batches, len(asked), max(asked, default=1))

        advise = run.advice(experiment, policy, as_groups)
        engine, sampled = None, []
        if experiment.dpo.pairs == "sampled" and run.checkpoint is not None:
            sampled = kept_groups(run.run_dir)
        elif experiment.dpo.pairs == "sampled":
            engine = run.start_engine(policy, advise)
            with memory_watched("sampling answers for pairs", "rollout", advise):
                sampled = sample_groups(run, policy, engine)
        pairs = encode_pairs(
            policy, experiment.template, run.tasks, experiment.dpo, experiment.data.on_long, run.display.progress, sampled
        )
        say(f"{len(pairs.kept)} pairs of {len({task.id for task in pairs.tasks})} tasks" + left_out(pairs, experiment))
        known = {task.id for task in run.held_out}
        shared = len({task.id for task in pairs.tasks if task.id in known})
        if shared:
            say(f"warning: {shared} of these tasks are also held out, so their evaluation does not measure new tasks")
        engine = engine or run.start_engine(policy, advise)
        return PreferenceLearning(run, policy, reference, pairs, sampled, held_out, engine, advise)


def left_out(pairs: Pairs, experiment: Experiment) -> str:
    if not pairs.too_long:
        return ""
    limit = limit_in_words(experiment.template, experiment.model.context_length)
    return f"; left out {pairs.too_long} pairs that do not fit {limit}"


@dataclass
class StepSums:
    """What a step's row is made of: its loss, and sums over its pairs by the names of their metrics."""

    loss: float = 0.0
    values: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of_all(cls, ranks: Ranks, own: StepSums) -> StepSums:
        """Those of all ranks."""
        return cls(ranks.total(own.loss), ranks.sums(own.values))

    def add(self, loss: torch.Tensor, values: Mapping[str, torch.Tensor]) -> None:
        self.loss += loss.item()
        for name, value in values.items():
            self.values[name] = self.values.get(name, 0.0) + value.detach().sum().item()


class PreferenceLearning:
    """A `gapo_cli.interfaces.Learning`. `reference`: the frozen starting model; `sampled`: its answers that pairs are made of,
    where it was asked. The result depends on seed, pairs and config
    alone."""

    def __init__(
        self,
        run: RunContext,
        policy: LoadedModel,
        reference: Any,
        pairs: Pairs,
        sampled: Sequence[Group],
        held_out: HeldOut | None,
        engine: Engine | None,
        advise: Advise,
    ) -> None:
        self.run, self.policy, self.reference = run, policy, reference
        self.tasks, self.pairs = pairs.tasks, pairs.kept
        self.held_out, self.engine, self.advise = held_out, engine, advise
        experiment = run.experiment
        self.config: PreferenceConfig = experiment.dpo
        self.layout, notice = usable_layout(experiment.trainer.layout, policy)
        if notice is not None:
            run.display.say(notice)
        self.sampled, self.count = sampled, TokenCount()
        self.count.sampled(sampled)
        self.plan = scheduled([pair.lengths for pair in self.pairs], experiment, self.count.tokens)
        self.optimizer = Optimizer(policy.model.parameters(), self.config.optimizer, len(self.plan), run.ranks)
        self.steps = len(self.plan)
        self.extent = f"{self.steps} batches of dpo.epochs={show(self.config.epochs)} and dpo.steps={show(self.config.steps)}"
        self.evaluate_every, self.checkpoint_every = experiment.evaluation.every_steps, experiment.trainer.checkpoint_every
        self.seen = self.seen_tokens = 0

    def gather(self, step: int) -> Sequence[int]:
        """The numbers of the batch's pairs."""
        return self.plan[step - 1]

    def learn(self, step: int, gathered: Sequence[int]) -> dict[str, float]:
        if self.sampled and step == KEPT_AS:
            self.run.files.write_rollouts(step, self.sampled, (), self.policy.tokenizer.decode)
        pairs = [self.pairs[index] for index in gathered]
        ranks = self.run.ranks
        with self.count.added_up(ranks):
            sums = StepSums.of_all(ranks, ranks.together(lambda: self.accumulate(pairs), waiting=self.policy.sharded))
        result = self.optimizer.step(math.isfinite(sums.loss))
        self.run.guard.saw(result.skipped, [(self.tasks[index], self.pairs[index]) for index in gathered])
        self.seen += len(pairs)
        self.seen_tokens += sum(pair.tokens for pair in pairs)
        row: dict[str, float] = {
            "dpo/pairs": self.seen,
            TOKENS_COMPUTED: self.count.tokens,
            "actor/lr": result.learning_rate,
            "actor/skipped_steps": float(result.skipped),
            "perf/throughput": self.seen_tokens / self.run.clock.seconds,
        }
        if not result.skipped:
            row |= {name: value / len(pairs) for name, value in sums.values.items()}
            row |= {PREFERENCE_LOSS: sums.loss, GRADIENT_NORM: result.grad_norm}
        return row

    def accumulate(self, pairs: Sequence[Pair]) -> StepSums:
        """Adds the gradient of the mean loss of the pairs, this rank's part of it, pass by pass, and returns what there is to say
        about that part."""
        config, sums = self.config, StepSums()
        chosen_tokens = sum(len(pair.chosen) for pair in pairs)
        budget = self.run.experiment.trainer.max_tokens_per_microbatch
        mine = self.run.ranks.mine([pair.tokens for pair in pairs])
        own = [pair for pair, is_mine in zip(pairs, mine, strict=True) if is_mine]
        batches = pair_batches(own, self.layout, budget, self.policy.pad_token_id)
        nothing = partial(pair_batches, [Pair((0,), (0,), (0,))], self.layout, 0, self.policy.pad_token_id)
        for batch, counts in even_passes(batches, nothing, self.run.ranks, sharded=self.policy.sharded):
            self.count.passed(batch.tokens)
            self.count.learnt(batch.tokens)
            with torch.no_grad():
                reference = self._logprobs(self.reference, batch)
            policy = self._logprobs(self.policy.model, batch)
            margins = reward_margins(policy, reference, beta=config.beta, per_token=config.per_token)
            loss = preference_losses(margins, config.label_smoothing).sum() / len(pairs)
            if config.supervised_weight:
                loss = loss - config.supervised_weight * policy.chosen.sum() / chosen_tokens
            loss = counts * loss
            loss.backward()
            found = {
                PREFERENCE_ACCURACY: margins > 0,
                PREFERENCE_MARGIN: margins,
                PREFERENCE_CHOSEN: policy.chosen,
                PREFERENCE_REJECTED: policy.rejected,
            }
            sums.add(loss, {name: counts * value for name, value in found.items()})
        return sums

    def _logprobs(self, model: Any, batch: PairBatch) -> PairLogprobs:
        chunk = self.run.experiment.trainer.logprob_chunk_tokens
        with self.policy.autocast():
            found = completion_logprobs(model, batch.tokens.to(self.policy.device), chunk=chunk)
        return PairLogprobs.of(found.logprobs, batch.lengths)

    def keep_for_inspection(self, step: int, batch: Sequence[tuple[EditTask, Pair]]) -> Path:
        """Two rows a pair, its better answer first."""
        decode = self.policy.tokenizer.decode
        texts = [(decode(pair.prompt), decode(answer)) for _, pair in batch for answer in (pair.chosen, pair.rejected)]
        return self.run.files.write_examples(step, [task for task, _ in batch for _ in range(2)], texts)

    def values(self) -> dict[str, Any]:
        return {
            "updates": self.optimizer.updates,
            "seen": self.seen,
            "seen_tokens": self.seen_tokens,
            "computed_tokens": self.count.tokens,
            "pairs": hash_of_pairs(self.pairs),
        }

    def tensors(self) -> dict[str, torch.Tensor]:
        return together(optimizer=self.optimizer.tensors())

    def restore(self, checkpoint: Path, values: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> None:
        if values["pairs"] != hash_of_pairs(self.pairs):
            raise CheckpointError(
                f"resume={checkpoint}: was trained on other pairs; give the dpo and prompt settings that the run was started with"
            )
        self.optimizer.restore(under("optimizer", tensors), values["updates"])
        self.seen, self.seen_tokens, self.count.tokens = (values[name] for name in ("seen", "seen_tokens", "computed_tokens"))

    def finish(self) -> None:
        """The last checkpoint is the trained model."""

    @property
    def finished(self) -> bool:
        return True
