"""The sections `sampling`, `evaluation` and `rollout`: how answers are drawn, and how many."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from gapo_cli.config.checks import one_of, positive, require
from gapo_cli.config.typed import show

BASELINES = ("copy", "replace")
EVERY = "all"
"""In `evaluation.robustness`: every perturbation that applies to a task."""
SOME_TASKS = 256
"""What a rollout takes where nobody says how many: minutes with a small model, and a share of 256 groups is known within 6
points."""
DELTA_CHRF = ("zed-2026-04", "zed-2026-03", "zed-2026-02")
"""The definitions of delta-chrF, by the month in which Zed began to count so; gapo_cli/edits/delta_chrf.py has their constants."""


@dataclass(frozen=True)
class SamplingConfig:
    """How rollouts are drawn. Every setting is explicit: a model's own generation_config never leaks in.
    `temperature` 0 is greedy; `top_p` 1 and `top_k` 0 are off. `stop`: texts that end an answer and are the last part of it,
    beside those of the prompt template and the model's end tokens."""

    group_size: int
    max_new_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        require(self.group_size >= 1, f"sampling.group_size={self.group_size}: need at least 1")
        positive("sampling", max_new_tokens=self.max_new_tokens)
        require(self.temperature >= 0, f"sampling.temperature={self.temperature}: need 0 (greedy) or more")
        require(0 < self.top_p <= 1, f"sampling.top_p={self.top_p}: need 0 < top_p <= 1")
        require(self.top_k >= 0, f"sampling.top_k={self.top_k}: need 0 (off) or more")
        require(
            not isinstance(self.stop, str) and all(isinstance(one, str) and one for one in self.stop),
            f"sampling.stop={self.stop}: need a list of texts, as in sampling.stop=['<|end|>']",
        )
        object.__setattr__(self, "stop", tuple(self.stop))


@dataclass(frozen=True)
class RolloutConfig:
    """How much `gapo rollout` samples. `tasks` of the split (None: all; auto: SOME_TASKS, and of a recording all) are chosen
    by `seed` (None: the experiment's). `completions_per_part`: completions sampled and written at a time, at least one group;
    this bounds the memory, and what a rollout that is stopped has to sample again."""

    tasks: int | None | Literal["auto"] = "auto"
    seed: int | None = None
    split: str = "train"
    completions_per_part: int = 1024

    def __post_init__(self) -> None:
        require(
            self.tasks in (None, "auto") or self.tasks > 0,
            f"rollout.tasks={self.tasks}: need at least 1, auto, or null for all",
        )
        require(self.seed is None or self.seed >= 0, f"rollout.seed={self.seed}: need 0 or more, or null for the seed")
        positive("rollout", completions_per_part=self.completions_per_part)


@dataclass(frozen=True)
class EvaluationConfig:
    """Held-out evaluation. `tasks` None: all of the split. `samples` answers a task at `temperature` beside the greedy
    one (0: greedy only). `every_steps` 0: only before and after training. `delta_chrf`: which of its definitions. For gapo
    eval alone: `baseline` is the rule that answers instead of a model; `against` is an earlier run to compare with, task by
    task; `rescore` an earlier run whose answers are measured again, without a model; `robustness`: names of perturbations, or
    EVERY alone, under which the tasks are answered too, drawn by `perturbation_seed`."""

    split: str = "eval"
    tasks: int | None = None
    samples: int = 0
    temperature: float = 1.0
    every_steps: int = 0
    greedy: bool = True
    baseline: str | None = None
    against: str | None = None
    rescore: str | None = None
    delta_chrf: str = DELTA_CHRF[0]
    robustness: tuple[str, ...] = ()
    perturbation_seed: int = 0

    def samplings(self, sampling: SamplingConfig) -> dict[Literal["greedy", "sampled"], SamplingConfig]:
        """How held-out tasks are answered: `sampling` gives the token limit; nothing is cut from the distribution."""
        plain = replace(sampling, top_p=1.0, top_k=0)
        greedy = {"greedy": replace(plain, group_size=1, temperature=0.0)} if self.greedy else {}
        sampled = {"sampled": replace(plain, group_size=self.samples, temperature=self.temperature)} if self.samples else {}
        return greedy | sampled

    def __post_init__(self) -> None:
        if self.baseline is not None:
            one_of("baseline", self.baseline, BASELINES)
        one_of("evaluation.delta_chrf", self.delta_chrf, DELTA_CHRF)
        require(
            self.rescore is None or self.baseline is None and self.against is None,
            f"rescore={self.rescore}: measures answers that are there; leave out baseline= and against=",
        )
        require(
            not self.robustness or self.greedy,
            f"robustness={show(self.robustness)}: compares greedy answers; leave out evaluation.greedy=false",
        )
        require(
            self.perturbation_seed >= 0, f"evaluation.perturbation_seed={self.perturbation_seed}: need a whole number from 0 on"
        )
        require(self.tasks is None or self.tasks > 0, f"evaluation.tasks={self.tasks}: need at least 1, or null for all")
        require(self.samples >= 0, f"evaluation.samples={self.samples}: need 0 or more")
        require(self.greedy or self.samples > 0, "evaluation.greedy=false needs evaluation.samples above 0")
        require(self.temperature > 0, f"evaluation.temperature={self.temperature}: need above 0 (greedy is evaluation.greedy)")
