"""Groups that the starting model answers before the first step, for pairs of its own answers (dpo.pairs=sampled).

They are kept among the run's rollouts as those of its first step, from which a resumed run has them again.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from gapo_cli.config.checks import require
from gapo_cli.errors import DataError
from gapo_cli.experiment import Experiment, check_length_penalty
from gapo_cli.interfaces import Engine
from gapo_cli.models.loaded import LoadedModel
from gapo_cli.records import Group
from gapo_cli.rollouts.chain import Chain
from gapo_cli.rollouts.encoding import encode_tasks, fit_training_tasks
from gapo_cli.rollouts.validation import select_tasks
from gapo_cli.runs.group_files import iterate_groups
from gapo_cli.runs.layout import ROLLOUTS, step_name
from gapo_cli.seeds import derived_seed
from gapo_cli.training.run_context import RunContext

KEPT_AS = 1
"""The step whose rollouts they are kept as."""


def check_sampled(experiment: Experiment) -> None:
    """Raises UserError for settings that give no two different answers."""
    sampling = experiment.sampling
    require(
        sampling.group_size >= 2, f"sampling.group_size={sampling.group_size}: a pair is made of 2 answers, need at least that"
    )
    require(sampling.temperature > 0, f"sampling.temperature={sampling.temperature}: need above 0, all answers are equal at 0")
    check_length_penalty(experiment)


def sample_groups(run: RunContext, policy: LoadedModel, engine: Engine) -> list[Group]:
    """`sampling.group_size` answers to each of `dpo.sampled_tasks` training tasks, scored as in stage=rl; they have no
    advantages."""
    experiment, progress = run.experiment, run.display.progress
    tasks = select_tasks(run.tasks, experiment.dpo.sampled_tasks, experiment.seed)
    encoded = encode_tasks(policy, experiment.template, tasks, progress)
    context, answer = experiment.model.context_length, experiment.sampling.max_new_tokens
    fitted = fit_training_tasks(encoded, context, answer, experiment.data.on_long).kept
    chain = Chain.of(experiment, run.display.say)
    groups: list[Group] = []
    at_once = experiment.trainer.prompts_per_step
    for start in range(0, len(fitted), at_once):
        some = fitted[start : start + at_once]
        seeds = [derived_seed(experiment.seed, KEPT_AS, start + place) for place in range(len(some))]
        sampled = chain.sample(engine, some, seeds)
        groups += run.ranks.from_first(partial(chain.score, sampled, KEPT_AS, experiment.corruption, seeds))
        progress("sampling answers for pairs", len(groups), len(fitted))
    return groups


def kept_groups(run_dir: Path) -> list[Group]:
    """Those of a run that is resumed. Raises DataError where they are not there."""
    path = run_dir / ROLLOUTS / f"{step_name(KEPT_AS)}.parquet"
    if not path.is_file():
        raise DataError(
            f"{path}: missing; a resumed run with dpo.pairs=sampled has its pairs from there; give the dpo.pairs that the run was "
            "started with, or start a new run"
        )
    return list(iterate_groups(path))
