"""Runs a genetic search through the sweep's machinery: generation by generation, then what it is compared with, then the
measurements on eval. All that was decided stands in family.json before its jobs start, so a search that was killed goes on there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from gapo_cli.errors import UserError
from gapo_cli.experiment import Experiment
from gapo_cli.interfaces import Display, TextEngine
from gapo_cli.launching.composition import command_overrides, compose_overrides, open_tree
from gapo_cli.launching.evolve_words import requested_search
from gapo_cli.launching.launch import only_process_in
from gapo_cli.launching.overrides import key_of, quoted, unquoted
from gapo_cli.launching.sweeps import (
    JOB_DIR,
    SWEEP_DIR,
    experiments_of,
    jobs_left,
    launch,
    prepare_data,
    refuse_job_folders,
    threads_per_job,
    trusting_only,
    without_trust,
)
from gapo_cli.launching.unread import unread_words, way_of_training
from gapo_cli.models.averaging import average_models
from gapo_cli.runs.claim import check_free, folder_named
from gapo_cli.runs.family import MEASURED, Family, read_family, save_family
from gapo_cli.runs.layout import AVERAGED
from gapo_cli.runs.search_definition import SearchDefinition, read_definition, save_definition
from gapo_cli.runs.sweep_plan import JobsByState, PlannedJob, SweepPlan, read_plan, save_plan
from gapo_cli.search.breeding import first_generation, next_generation, work_of
from gapo_cli.search.companions import HELD_OUT, baselines, best_model, last_model, measurements
from gapo_cli.search.findings import Findings
from gapo_cli.search.genomes import probes
from gapo_cli.search.objectives import DEV, check_objectives
from gapo_cli.search.selection import import_deap
from gapo_cli.stages.evolve import SearchResult, search_of_folder, standing
from gapo_cli.tasks.sets.prepared import has_dev, load_tasks, prepare

OUTPUTS = Path("outputs/evolve")
Launch = Callable[..., None]
"""Called as `launch` of the sweep: a test may give one that runs nothing."""


def evolve(
    words: Sequence[str],
    display: Display,
    config_dir: Path | None = None,
    *,
    quiet: bool = False,
    retry_failed: bool = False,
    launch: Launch = launch,
) -> SearchResult:
    """Runs the search that the words name, or goes on with the one in `resume=FOLDER`. Individuals that fail are named and have
    no children. Raises UserError for the user's mistakes; KeyboardInterrupt, with the page written, when stopped."""
    import_deap()
    refuse_job_folders(words)
    resume = next((unquoted(word.split("=", 1)[1]) for word in words if key_of(word) == "resume"), None)
    if resume is not None:
        return go_on(Path(resume), words, display, config_dir, quiet=quiet, retry_failed=retry_failed, launch=launch)
    if retry_failed:
        raise UserError("--retry-failed: say of which search, by resume=FOLDER")
    definition = requested_search(words, config_dir)
    with open_tree(config_dir) as hydra:
        plan, folder = make_plan(hydra, definition, words, config_dir)
        experiments = check_space(hydra, definition, plan)
        check_free(folder, f"{SWEEP_DIR}={folder}", resumed_by="evolve")
        prepare_data(experiments, display)
        check_dev(experiments[0], display)
        with only_process_in(folder, display):
            save_definition(folder, definition)
            save_plan(folder, plan)
            return Search(hydra, folder, plan, definition, display, quiet, launch).run()


def go_on(
    folder: Path,
    words: Sequence[str],
    display: Display,
    config_dir: Path | None,
    *,
    quiet: bool,
    retry_failed: bool,
    launch: Launch,
) -> SearchResult:
    """Runs what is left of the search in `folder`; of the words only Hydra's (another launcher) go in."""
    definition, plan = read_definition(folder), read_plan(folder)
    plan = trusting_only(plan, [word for word in words if "=" in word and key_of(word) != "resume"])
    with (
        only_process_in(folder, display),
        open_tree(config_dir or (Path(plan.config_dir) if plan.config_dir else None)) as hydra,
    ):
        search = Search(hydra, folder, plan, definition, display, quiet, launch)
        prepare_data(experiments_of(hydra, search.plan, search.plan.jobs[:1]), display)
        if retry_failed:
            search.launch_all(jobs_left(folder, search.plan, display, retry_failed=True))
        return search.run()


def make_plan(
    hydra: Any, definition: SearchDefinition, words: Sequence[str], config_dir: Path | None
) -> tuple[SweepPlan, Path]:
    """The plan without its jobs, and the folder that they go into."""
    overrides = command_overrides("train", definition.overrides)
    named = next((unquoted(word.split("=", 1)[1]) for word in overrides if key_of(word) == SWEEP_DIR), None)
    new = OUTPUTS / f"{definition.name}_{datetime.now():%Y-%m-%d_%H-%M-%S-%f}"
    folder = folder_named(SWEEP_DIR, named) if named is not None else new
    shared = [word for word in overrides if key_of(word) not in (SWEEP_DIR, JOB_DIR)]
    config = compose_overrides(hydra, shared, sweep=True)
    if config.hydra.runtime.choices["hydra/launcher"] != "basic" and "trainer.threads" not in {key_of(word) for word in shared}:
        shared.append(f"trainer.threads={threads_per_job(config, definition.population)}")
    settled = str(config_dir.resolve()) if config_dir else None
    return SweepPlan(tuple(words), settled, tuple(shared), (), "evolve"), folder


def check_space(hydra: Any, definition: SearchDefinition, plan: SweepPlan) -> list[Experiment]:
    """Composes and builds a run with every choice and both ends of every range. Raises UserError for what no run can have."""
    work, own = work_of(definition, definition.each), probes(definition.genes)
    jobs = [PlannedJob(0, "", "", (*definition.trial, *words, work)) for words in own]
    measurement = PlannedJob(0, "", "", (*definition.final, *HELD_OUT))
    try:
        experiments = experiments_of(hydra, plan, jobs)
        experiments_of(hydra, plan, [measurement])
        check_all_read(list(zip(experiments, own, strict=True)), work)
    except UserError as error:
        raise UserError(f"search space {definition.name}: {error}") from error
    first = experiments[0]
    check_objectives(list(definition.objectives), first.evaluation)
    if any(isinstance(one.engine, TextEngine) for one in experiments):
        raise UserError("gapo evolve: a search trains, and a served model (engine=openai) cannot be trained; leave engine= out")
    if definition.inherit == "average" and first.model.lora.rank:
        raise UserError(
            f"evolve.inherit=average: adapters (model.lora.rank={first.model.lora.rank}) cannot be averaged; need parent"
        )
    return experiments


def check_all_read(runs: Sequence[tuple[Experiment, Sequence[str]]], work: str) -> None:
    """`runs`: experiments and what their genes say. Raises UserError for what is searched and changes nothing in any of them, and for
    what the search counts and one of them does not train by."""
    read: set[str] = set()
    for experiment, words in runs:
        how = way_of_training(experiment)
        if unread_words(experiment, [work]):
            raise UserError(
                f"evolve.each counts {key_of(work)}, which {how} does not read; give the stage that does, or name another space"
            )
        read |= set(words) - set(unread_words(experiment, words))
    for experiment, words in runs:
        for word in words:
            if word not in read:
                raise UserError(
                    f"{word}: is not read with {way_of_training(experiment)}, so it would change nothing; leave that out, or name "
                    "another space"
                )


def check_dev(experiment: Experiment, display: Display) -> None:
    """Raises UserError for data without a split that fitness can be measured on."""
    if experiment.data.dev_share is None and not has_dev(prepare(experiment, display)):
        raise UserError(
            f"data={experiment.data.name}: has no {DEV} split, and fitness may not be measured on eval; cut one from the training "
            "split by data.dev_share=0.1"
        )
    load_tasks(experiment, DEV, display)


class Search:
    """A search under way in its folder."""

    def __init__(
        self,
        hydra: Any,
        folder: Path,
        plan: SweepPlan,
        definition: SearchDefinition,
        display: Display,
        quiet: bool,
        launch: Launch,
    ) -> None:
        self.hydra, self.folder, self.definition = hydra, folder, definition
        self.display, self.quiet, self.launch = display, quiet, launch
        self.family = read_family(folder)
        self.plan = self.planned(plan)

    def run(self) -> SearchResult:
        """Until nothing is left to do, or the launcher gives up."""
        if not self.family.individuals:
            self.settle(first_generation(self.definition))
        while True:
            if not self.launch_unfinished():
                return search_of_folder(self.folder, self.display)
            following = self.following(standing(self.folder))
            if following is None:
                return search_of_folder(self.folder, self.display)
            self.settle(following)

    def settle(self, family: Family) -> None:
        """Writes down what is going to be run, before it is."""
        save_family(self.folder, family)
        self.family = family
        self.plan = self.planned(self.plan)
        save_plan(self.folder, self.plan)

    def planned(self, plan: SweepPlan) -> SweepPlan:
        """With the family's jobs. They lie in a folder, which may be a stranger's, so they give no trust."""
        jobs = tuple(replace(job, overrides=without_trust(job.overrides)) for job in self.family.jobs)
        return replace(plan, jobs=jobs)

    def launch_unfinished(self) -> bool:
        """Whether all jobs that are planned have ended."""
        states = JobsByState.of(self.folder, self.plan)
        jobs = states.unfinished
        if jobs and self.definition.seconds is not None and not (states.done or states.failed):
            self.launch_all(jobs[:1])  # how long one takes is not known before
            jobs = jobs[1:]
            self.check_pace()
        self.launch_all(jobs)
        left = JobsByState.of(self.folder, self.plan).unfinished
        if left:
            self.display.say(f"{len(left)} jobs have not ended; go on with: gapo evolve resume={self.folder}")
        return not left

    def launch_all(self, jobs: Sequence[PlannedJob]) -> None:
        if not jobs:
            return
        self.display.say(f"generation {self.family.newest}, {len(jobs)} {'job' if len(jobs) == 1 else 'jobs'} to run")
        try:
            self.launch(self.hydra, self.folder, self.plan, jobs, quiet=self.quiet)
        except KeyboardInterrupt:
            search_of_folder(self.folder, self.display)
            self.display.say(f"the search was stopped; go on with: gapo evolve resume={self.folder}")
            raise
        except Exception as error:  # noqa: BLE001 - a launcher that lost a worker; what the others did is kept
            self.display.say(f"the launcher stopped: {type(error).__name__}: {error}")

    def check_pace(self) -> None:
        """Raises UserError where the first individual shows that the seconds are too few for one generation."""
        took = standing(self.folder).seconds
        need = took * self.definition.population
        if self.definition.seconds is not None and need > self.definition.seconds:
            raise UserError(
                f"evolve.seconds={self.definition.seconds:g}: too small for one generation: its first individual took {took:.0f} s, and "
                f"it has {self.definition.population}; need about {need:.0f}, or a smaller evolve.population or evolve.each"
            )

    def following(self, now: Findings) -> Family | None:
        """What is to be run next; None: nothing. Raises UserError where all individuals have failed."""
        if not self.family.companions:
            if not now.fitness:
                reasons = [record.error for record in now.records.values() if record.error]
                raise UserError(
                    f"{self.folder}: no individual has a fitness; the first: {reasons[0] if reasons else 'not measured'}"
                )
            if self.pays_for_another(now):
                return next_generation(self.definition, self.family, now.fitness, self.start)
            if self.definition.baselines:
                return baselines(self.definition, self.family)
        if any(one.kind == MEASURED for one in self.family.companions):
            return None
        done = [number for number, record in now.records.items() if record.error is None]
        own = {one.number for one in self.family.individuals}
        # a run beside the search may take its best checkpoint, an individual is the model that its fitness was measured of
        models = {number: (last_model if number in own else best_model)(self.folder / str(number)) for number in done}
        words = {number: model_word(model) for number, model in models.items() if model is not None}
        return measurements(self.definition, self.family, now.fitness, words)

    def pays_for_another(self, now: Findings) -> bool:
        count = len(self.family.individuals)
        if self.definition.seconds is not None:
            return now.seconds * (1 + self.definition.population / count) <= self.definition.seconds
        return self.family.newest + 1 < self.definition.generations

    def start(self, number: int, parents: Sequence[int]) -> Sequence[str]:
        """What the weights of individual `number` start from."""
        if self.definition.inherit == "none":
            return ()
        models = [last_model(self.folder / str(parent)) for parent in parents]
        there = [model for model in models if model is not None]
        if self.definition.inherit == "average" and len(there) > 1:
            return (model_word(average_models(there, self.folder / AVERAGED / str(number))),)
        return (model_word(there[0]),) if there else ()


def model_word(model: Path) -> str:
    return f"model.path={quoted(str(model.resolve()))}"
