"""gapo doctor: is this machine fit for the composed configuration, and does the trainer keep here what it promises?"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from gapo_cli.config.checks import require
from gapo_cli.doctor.invariants import INVARIANTS, OF_RANKS, Finding
from gapo_cli.doctor.machine import MACHINE
from gapo_cli.doctor.subject import Subject
from gapo_cli.errors import UserError
from gapo_cli.experiment import Experiment, check_settings
from gapo_cli.interfaces import Display, TextEngine
from gapo_cli.processes.place import check_processes
from gapo_cli.processes.ranks import LostRank, Ranks
from gapo_cli.stages.run_setup import threads_of

MODEL = "model"
"""The name of the check that all invariants need: that there is a model to try them on."""


@dataclass(frozen=True)
class Check:
    """One line of a diagnosis. `about`: machine or invariant; `seconds`: what it took."""

    about: str
    name: str
    holds: bool
    sentence: str
    seconds: float


@dataclass(frozen=True)
class Diagnosis:
    """Every check that was made, of the model `model`."""

    model: str
    checks: tuple[Check, ...]

    @property
    def healthy(self) -> bool:
        return all(check.holds for check in self.checks)

    def as_json(self) -> dict[str, Any]:
        return {"model": self.model, "healthy": self.healthy, "checks": [asdict(check) for check in self.checks]}


def doctor(experiment: Experiment, display: Display) -> Diagnosis:
    """Checks the machine, then, on the model as the configuration loads it, every invariant of training. Nothing is written
    that stays, no data is prepared. Raises UserError for settings that cannot be trained with."""
    require(
        not isinstance(experiment.engine, TextEngine),
        "gapo doctor: a served model (engine=openai) has no weights here to examine; leave engine= out",
    )
    ranks = experiment.ranks
    check_processes(experiment.trainer.processes, ranks.count)
    check_settings(experiment)
    invariants = INVARIANTS if ranks.alone else {**OF_RANKS, **INVARIANTS}
    checks: list[Check] = []
    total = len(MACHINE) + 1 + len(invariants)

    def look(about: str, name: str, find: Callable[[], Finding]) -> bool:
        display.progress("examining", len(checks), total)
        checks.append(timed(about, name, find))
        return checks[-1].holds

    for name, check in MACHINE.items():
        look("machine", name, partial(check, experiment))
    examined: list[Subject] = []
    if ranks.all_agree(look("machine", MODEL, partial(load_subject, experiment, examined))):
        for name, invariant in invariants.items():
            look("invariant", name, partial(invariant, examined[0]))
    display.progress("examining", total, total)
    return Diagnosis(experiment.model.name, of_all(ranks, checks))


def of_all(ranks: Ranks, own: Sequence[Check]) -> tuple[Check, ...]:
    """Of each check that of the first rank that it fails on, and rank 0's where it fails on none."""
    merged = []
    for found in zip(*ranks.gather(own), strict=True):
        rank = next((rank for rank, check in enumerate(found) if not check.holds), 0)
        merged.append(replace(found[rank], sentence=f"rank {rank}: {found[rank].sentence}") if rank else found[0])
    return tuple(merged)


def timed(about: str, name: str, find: Callable[[], Finding]) -> Check:
    """A check that cannot be made has failed: the others are made all the same."""
    started = time.perf_counter()
    try:
        found = find()
    except LostRank:
        raise
    except UserError as error:
        found = Finding(False, str(error))
    except Exception as error:  # noqa: BLE001 - a device out of memory, a kernel that is not there: that is what is asked
        found = Finding(False, f"stopped with {type(error).__name__}: {error}")
    return Check(about, name, found.holds, " ".join(found.sentence.split()), time.perf_counter() - started)


def load_subject(experiment: Experiment, examined: list[Subject]) -> Finding:
    """Adds the model and the engine that training would have, with its threads and seeds, to `examined`."""
    import torch

    from gapo_cli.engines import calls
    from gapo_cli.engines.divided import divided
    from gapo_cli.models.policy import load_policy
    from gapo_cli.models.special_tokens import in_words
    from gapo_cli.training.checkpoints.random_state import seed_all

    torch.set_num_threads(threads_of(experiment))
    seed_all(experiment.seed)
    policy = load_policy(experiment.model, experiment.trainer)
    engine = calls.start(experiment.engine, policy)
    subject = Subject(
        policy=policy,
        engine=divided(engine, experiment.ranks) if experiment.trainer.shard else engine,
        template=experiment.template,
        estimator=experiment.estimator,
        algorithm=experiment.algorithm,
        sampling=experiment.sampling,
        trainer=experiment.trainer,
        seed=experiment.seed,
        scratch=Path(),
        ranks=experiment.ranks,
    )
    examined.append(subject)
    sentence = f"{experiment.model.path} loads, and {type(engine).__name__} starts; answers end at "
    sentence += in_words(policy.tokenizer, policy.eos_token_ids)
    if not experiment.model.chat:
        sentence += f"; prompts begin with {in_words(policy.tokenizer, policy.begin_ids)}"
    if policy.phantom_ids:
        sentence += f"; {len(policy.phantom_ids)} ids without a token are never drawn"
    return Finding(True, sentence)
