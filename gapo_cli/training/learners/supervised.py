"""Supervised training on an edit log (stage=sft): one optimizer step a batch, in an order that is fixed by the seed.

The loss is the mean cross-entropy of the answers' tokens. The model is one that is loaded or, with `supervised.architecture`, one
that is made from nothing.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch

from gapo_cli.config.checks import require
from gapo_cli.config.typed import show
from gapo_cli.errors import CheckpointError
from gapo_cli.experiment import Experiment, check_engine, check_sharing
from gapo_cli.interfaces import Engine, LearnerWords
from gapo_cli.metric_names import TOKENS_COMPUTED
from gapo_cli.models.load import save_model, take_over
from gapo_cli.models.loaded import LoadedModel
from gapo_cli.models.nano.model import build_nano
from gapo_cli.models.nano.tokenizer import train_tokenizer, word_tokens
from gapo_cli.models.packing.logprobs import completion_logprobs
from gapo_cli.models.policy import load_policy
from gapo_cli.models.saving import save_plain
from gapo_cli.models.sharding import whole_on_first
from gapo_cli.models.usable_layout import usable_layout
from gapo_cli.prompts import calls
from gapo_cli.records import EditTask
from gapo_cli.rollouts.encoding import limit_in_words
from gapo_cli.runs.claim import check_new
from gapo_cli.runs.layout import CHECKPOINTS, FINAL, SUPERVISED
from gapo_cli.storage.files import write_json
from gapo_cli.training.batches.even_passes import even_passes
from gapo_cli.training.batches.example_batches import micro_batches
from gapo_cli.training.batches.examples import FIXED_WORDS, Example, Scrambler, encode_examples
from gapo_cli.training.batches.passes import Lengths
from gapo_cli.training.checkpoints.checkpoints import together, under
from gapo_cli.training.held_out import BEST_BY, HeldOut
from gapo_cli.training.learners.optimizer import Optimizer
from gapo_cli.training.learners.planned_examples import in_memory, outline_of_examples, scheduled, shape_of_new
from gapo_cli.training.learners.token_count import TokenCount
from gapo_cli.training.out_of_memory import Advise
from gapo_cli.training.outline import AsGroups, MeasuredTasks, Outline
from gapo_cli.training.run_context import RunContext

SAVED_AS = "bfloat16"
"""What `supervised.save_as` is written in."""
NOT_YET = "a new model"
"""In place of a path, for the model that `supervised.architecture` makes."""


@dataclass(frozen=True)
class Supervised:
    """stage=sft, a `gapo_cli.interfaces.Learner`."""

    name: ClassVar[str] = "sft"
    title: ClassVar[str] = "supervised"
    words: ClassVar[LearnerWords] = LearnerWords("batch", "supervised training", "choosing batch", "learning from")
    samples: ClassVar[bool] = False
    keys: ClassVar[Mapping[str, str]] = {
        f"trainer.{name}": f"supervised.{name}" for name in ("layout", "max_tokens_per_microbatch", "optimizer")
    }
    best_by: ClassVar[Sequence[str]] = BEST_BY

    def check(self, experiment: Experiment) -> None:
        self.check_settings(experiment)
        experiment.supervised.optimizer.check()
        check_save_as(experiment.run_dir, experiment.supervised.save_as)
        check_engine(experiment, experiment.evaluation.samplings(experiment.sampling).values())

    def check_settings(self, experiment: Experiment) -> None:
        check_sharing(experiment, experiment.supervised.optimizer)
        require(
            not experiment.trainer.shard or experiment.supervised.architecture is None,
            "trainer.shard=true: a model that supervised.architecture makes fits one device; set it to false",
        )

    def starts_from_folder(self, experiment: Experiment) -> bool:
        return experiment.supervised.architecture is None

    def unread(self, experiment: Experiment) -> Mapping[str, str]:
        """A `gapo_cli.interfaces.SelectiveLearner`."""
        return {
            **self.keys,
            "trainer.steps": "supervised.tokens",
            "trainer.prompts_per_mini_batch": "supervised.tokens_per_batch",
            "trainer.epochs_per_step": "supervised.epochs",
            **dict.fromkeys(("estimator", "algorithm", "reward", "dpo"), ""),
        }

    def as_rl(self, experiment: Experiment) -> Experiment:
        """With the layout, the limit and the optimizer that its own section says, of the model that it makes."""
        config, model = experiment.supervised, experiment.model
        trainer = replace(
            experiment.trainer,
            layout=config.layout,
            max_tokens_per_microbatch=config.max_tokens_per_microbatch,
            optimizer=config.optimizer,
        )
        if config.architecture is not None:
            model = replace(model, path=NOT_YET, shape=shape_of_new(config.architecture))
        return replace(experiment, model=model, trainer=trainer, algorithm=experiment.algorithm.without_terms())

    def outline(self, experiment: Experiment, measured: MeasuredTasks) -> Outline:
        return outline_of_examples(experiment, self.as_rl(experiment), measured)

    def begin(self, run: RunContext) -> SupervisedLearning:
        """Raises DataError for tasks that do not fit the context."""
        experiment, config = run.experiment, run.experiment.supervised
        with run.loading():
            policy = load_or_make(run)
        examples = encode_examples(
            policy, experiment.template, run.tasks, config.log, experiment.seed, experiment.data.on_long, run.display.progress
        )
        if examples.too_long:
            run.display.say(
                f"left out {len(examples.too_long)} of {len(run.tasks)} training tasks that do not fit "
                + limit_in_words(experiment.template, experiment.model.context_length)
            )
        held_out = run.encode_held_out(policy)

        def as_groups() -> AsGroups:
            lengths = [Lengths(len(one.prompt), (len(one.answer),)) for one in examples.kept]
            batches = scheduled([one.tokens for one in lengths], experiment)
            asked = [len(one.token_ids) for one in held_out.tasks]
            batched = [[lengths[index] for index in batch] for batch in batches]
            return in_memory(self.as_rl(experiment), batched, len(asked), max(asked, default=1))

        advise = run.advice(experiment, policy, as_groups)
        engine = run.start_engine(policy, advise)
        return SupervisedLearning(run, policy, examples.tasks, examples.kept, held_out, engine, advise)


def check_save_as(run_dir: Path, save_as: str | None) -> None:
    """Raises UserError where the folder `save_as` holds anything but the model that this run put there at an earlier end."""
    if save_as is None or saved_earlier(run_dir) == save_as:
        return
    check_new(Path(save_as), f"supervised.save_as={save_as}")


def saved_earlier(run_dir: Path) -> str | None:
    """`supervised.save_as` of the run's last end, None where it has not ended yet."""
    path = run_dir / SUPERVISED
    return json.loads(path.read_text(encoding="utf-8"))["settings"]["save_as"] if path.is_file() else None


def load_or_make(run: RunContext) -> LoadedModel:
    """The model of the checkpoint that is resumed, else the one at `model.path` or, with `supervised.architecture`, a new one
    whose tokenizer is trained on the tasks' prompts and answers."""
    experiment, shape = run.experiment, run.experiment.supervised.architecture
    model, trainer, template = experiment.model, experiment.trainer, experiment.template
    if run.checkpoint is not None or shape is None:
        return load_policy(run.starting_model, trainer)
    tokenizer = train_tokenizer(
        (text for task in run.tasks for text in (calls.render(template, task).text, calls.answer(template, task, task.target))),
        shape.vocabulary,
    )
    made = build_nano(tokenizer, shape, model.context_length, experiment.seed)
    return take_over(made, tokenizer, model, trainer.device, trainer.dtype)


@dataclass(frozen=True)
class SupervisedResult:
    """What supervised.json says of a finished run, beside its settings. The losses are those of the first and the last row."""

    steps: int
    skipped_steps: int
    tokens: int
    seconds: float
    cpu_seconds: float
    first_loss: float
    last_loss: float


class SupervisedLearning:
    """A `gapo_cli.interfaces.Learning`. `examples[n]` was made of `tasks[n]`. The result depends on seed, data and config alone."""

    def __init__(
        self,
        run: RunContext,
        policy: LoadedModel,
        tasks: Sequence[EditTask],
        examples: Sequence[Example],
        held_out: HeldOut | None,
        engine: Engine | None,
        advise: Advise,
    ) -> None:
        self.run, self.policy, self.tasks, self.examples = run, policy, tasks, examples
        self.held_out, self.engine, self.advise = held_out, engine, advise
        self.config = config = run.experiment.supervised
        self.layout, notice = usable_layout(config.layout, policy, "supervised.layout", otherwise="padded", dropout=True)
        if notice is not None:
            run.display.say(notice)
        self.generator = random.Random(run.experiment.seed)
        self.count = TokenCount()
        self.plan = scheduled([len(example) for example in examples], run.experiment, generator=self.generator)
        words = word_tokens(policy.tokenizer, FIXED_WORDS) if config.scramble else []
        self.scramble = Scrambler(words, config.scramble, self.generator)
        self.optimizer = Optimizer(policy.model.parameters(), config.optimizer, len(self.plan), run.ranks)
        self.steps = len(self.plan)
        self.extent = (
            f"{self.steps} batches of supervised.tokens={show(config.tokens)} and supervised.epochs={show(config.epochs)}"
        )
        self.evaluate_every, self.checkpoint_every = config.evaluate_every, config.checkpoint_every
        self.seen = self.skipped = 0
        self.losses: list[float] = []
        self.means: list[float] = []

    def gather(self, step: int) -> Sequence[int]:
        """The numbers of the batch's examples."""
        return self.plan[step - 1]

    def learn(self, step: int, gathered: Sequence[int]) -> dict[str, float]:
        examples = [self.scramble(self.examples[index]) for index in gathered]
        self.policy.model.train()  # for the dropout of adapters and attention
        ranks = self.run.ranks
        with self.count.added_up(ranks):
            loss = ranks.total(ranks.together(lambda: self.accumulate(examples), waiting=self.policy.sharded))
        result = self.optimizer.step(math.isfinite(loss))
        self.policy.model.eval()
        self.skipped += result.skipped
        if not result.skipped:
            self.losses.append(loss)
        self.run.guard.saw(result.skipped, [(self.tasks[index], one) for index, one in zip(gathered, examples, strict=True)])
        self.seen += sum(map(len, examples))
        if step % self.config.log_every and step != self.steps:
            return {}
        row: dict[str, float] = {
            "sft/tokens": self.seen,
            TOKENS_COMPUTED: self.count.tokens,
            "sft/skipped_steps": self.skipped,
            "actor/lr": result.learning_rate,
            "perf/throughput": self.seen / self.run.clock.seconds,
        }
        if self.losses:  # not where every step was skipped
            row["sft/loss"] = sum(self.losses) / len(self.losses)
            self.means.append(row["sft/loss"])
            self.losses = []
        if not result.skipped:
            row["actor/grad_norm"] = result.grad_norm
        return row

    def accumulate(self, examples: Sequence[Example]) -> float:
        """Adds the gradient of the mean cross-entropy (nats a token) over the answers' tokens, this rank's part of it, and returns
        the loss of that part. Logits are made for those positions only."""
        policy, chunk = self.policy, self.run.experiment.trainer.logprob_chunk_tokens
        tokens = sum(len(example.answer) for example in examples)
        total = torch.zeros((), device=policy.device)
        mine = self.run.ranks.mine([len(example) for example in examples])
        own = [example for example, is_mine in zip(examples, mine, strict=True) if is_mine]
        batches = micro_batches(own, self.layout, self.config.max_tokens_per_microbatch, policy.pad_token_id)
        nothing = partial(micro_batches, [Example((0,), (0,))], self.layout, 0, policy.pad_token_id)
        for batch, counts in even_passes(batches, nothing, self.run.ranks, sharded=policy.sharded):
            self.count.learnt(batch)
            with policy.autocast():
                found = completion_logprobs(policy.model, batch.to(policy.device), chunk=chunk)
            loss = -counts * found.logprobs.sum() / tokens
            loss.backward()
            total += loss.detach()
        return total.item()

    def keep_for_inspection(self, step: int, batch: Sequence[tuple[EditTask, Example]]) -> Path:
        decode = self.policy.tokenizer.decode
        texts = [(decode(example.prompt), decode(example.answer)) for _, example in batch]
        return self.run.files.write_examples(step, [task for task, _ in batch], texts)

    def values(self) -> dict[str, Any]:
        return {
            "updates": self.optimizer.updates,
            "generator": self.generator.getstate(),
            "seen": self.seen,
            "computed_tokens": self.count.tokens,
            "skipped": self.skipped,
            "losses": list(self.losses),
            "means": list(self.means),
        }

    def tensors(self) -> dict[str, torch.Tensor]:
        return together(optimizer=self.optimizer.tensors())

    def restore(self, checkpoint: Path, values: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> None:
        if values["updates"] > self.steps:
            raise CheckpointError(
                f"resume={checkpoint}: is of batch {values['updates']}, and supervised.tokens={show(self.config.tokens)} or "
                f"supervised.epochs={show(self.config.epochs)} are reached in {self.steps} batches; give more of them"
            )
        self.optimizer.restore(under("optimizer", tensors), values["updates"])
        version, internal, gauss = values["generator"]
        self.generator.setstate((version, tuple(internal), gauss))
        self.seen, self.skipped, self.losses, self.means = (values[name] for name in ("seen", "skipped", "losses", "means"))
        self.count.tokens = values["computed_tokens"]

    def finish(self) -> Path:
        """The model lies in checkpoints/final and, its adapters merged and in bfloat16, where `supervised.save_as` says."""
        policy = whole_on_first(self.policy, self.run.ranks)
        return self.run.ranks.from_first(lambda: self._write_model(policy))

    def _write_model(self, policy: LoadedModel) -> Path:
        run, config = self.run, self.config
        checkpoint = run.run_dir / CHECKPOINTS / FINAL
        save_model(policy, checkpoint)
        check_save_as(run.run_dir, config.save_as)
        write_json(run.run_dir / SUPERVISED, {"settings": asdict(config), **asdict(self.result())})
        if config.save_as:
            save_plain(policy, Path(config.save_as), SAVED_AS)
            run.display.say(f"saved in {SAVED_AS}: {config.save_as}")
        return checkpoint

    @property
    def finished(self) -> bool:
        return (self.run.run_dir / SUPERVISED).is_file()

    def result(self) -> SupervisedResult:
        clock = self.run.clock
        first, last = (self.means[0], self.means[-1]) if self.means else (math.nan, math.nan)
        return SupervisedResult(self.steps, self.skipped, self.seen, clock.seconds, clock.cpu_seconds, first, last)
