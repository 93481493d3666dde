"""gapo study: what the jobs of a study left in their folders, with a verdict in words for each comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path

from gapo_cli.config.keys import flatten
from gapo_cli.errors import UserError
from gapo_cli.lab.paired_jobs import Compared, Findings, StudyJob, compare_jobs
from gapo_cli.reports.study_page import render_study
from gapo_cli.reports.study_tables import study_markdown
from gapo_cli.runs.claim import check_free
from gapo_cli.runs.layout import STUDY, STUDY_PAGE, STUDY_TABLE, STUDY_VERDICTS, SWEEP_PLAN
from gapo_cli.runs.run_data import RunData, is_training_run, read_run, read_runs, run_folders
from gapo_cli.runs.study_definition import StudyDefinition, read_definition, setting_name
from gapo_cli.runs.sweep_plan import PlannedJob, folder_of, read_plan
from gapo_cli.stages.sweep import read_job, read_jobs
from gapo_cli.storage.files import write_json, write_text

NOT_SETTINGS = ("seed", "resume", "verb", "allow_targets")


@dataclass(frozen=True)
class StudyResult:
    definition: StudyDefinition
    jobs: tuple[StudyJob, ...]
    findings: Findings
    files: tuple[Path, ...]

    @property
    def decisive(self) -> tuple[Compared, ...]:
        """The comparisons in the measure that decides."""
        return tuple(one for one in self.findings.compared if one.measure == self.definition.measure)

    @property
    def failed(self) -> int:
        return sum(job.record.error is not None for job in self.jobs)

    @property
    def more_seeds(self) -> int | None:
        """How many more seeds would decide the comparison that needs the most of them; None where all are decided. A comparison
        that gives no number, for having too few pairs, asks for two."""
        undecided = [one.verdict.more_seeds or 2 for one in self.decisive if one.verdict.word == "undecided"]
        return max(undecided, default=None)


def study_of_folder(folder: Path) -> StudyResult:
    """Compares the jobs of the study in `folder` and writes study.md, study.html and verdicts.json there. Raises DataError."""
    return compare(folder, read_definition(folder), planned_jobs(folder))


def study_of_runs(paths: Sequence[Path], tuned: Mapping[str, object], folder: Path | None) -> StudyResult:
    """`gapo study report`: of a study's folder, of a sweep's, whose settings are compared with its first, or of several runs, whose
    settings are told apart by their configs. `tuned`: keys of a definition that are to be other. Raises UserError."""
    first = paths[0]
    if folder is not None:
        check_free(folder, f"--output {folder}")
    if len(paths) == 1 and (first / STUDY).is_file():
        return compare(folder or first, replace(read_definition(first), **tuned), planned_jobs(first))
    if len(paths) == 1 and (first / SWEEP_PLAN).is_file():
        jobs, named = planned_jobs(first), {job.setting: job.overrides for job in read_plan(first).jobs}
    else:
        jobs, named = jobs_of_runs(paths)
    settings = list(dict.fromkeys(job.record.setting for job in jobs))
    if len(settings) < 2:
        raise UserError(f"{', '.join(map(str, paths))}: all runs have the same settings, there is nothing to compare")
    definition = StudyDefinition(
        name="report",
        about="Runs that were there already.",
        settings={name: tuple(word for word in named[name] if not word.startswith("seed=")) for name in settings},
        comparisons=tuple((name, settings[0]) for name in settings[1:]),
        **tuned,
    )
    return compare(folder or (first if len(paths) == 1 else new_report_folder()), definition, jobs)


def new_report_folder() -> Path:
    return Path("outputs/study") / f"report_{datetime.now():%Y-%m-%d_%H-%M-%S-%f}"


def planned_jobs(folder: Path) -> tuple[StudyJob, ...]:
    plan = read_plan(folder)
    records = read_jobs(folder, plan)
    return tuple(
        StudyJob(record, read_run(folder_of(folder, job), record.setting))
        for job, record in zip(plan.jobs, records, strict=True)
    )


def jobs_of_runs(paths: Sequence[Path]) -> tuple[tuple[StudyJob, ...], dict[str, list[str]]]:
    """Runs as jobs, each once, those of sweeps and studies among them, and for each setting the KEY=VALUE that tell it from the others."""
    folders: dict[Path, Path] = {}
    for path in paths:
        found = run_folders(path)
        if not found or not all(map(is_training_run, found)):
            raise UserError(f"{path}: is no training run; name folders that gapo train wrote, or those of sweeps and studies")
        for folder in found:
            folders.setdefault(folder.resolve(), folder)
    runs = read_runs(list(folders.values()))
    named = {}
    jobs = []
    for number, (run, words) in enumerate(zip(runs, telling_apart(runs), strict=True)):
        setting = " ".join(words) or "as configured"
        named[setting] = words
        record = read_job(run.path, PlannedJob(number, setting, "", ()))
        # one run is nobody's job: what it says of its end may be missing
        jobs.append(StudyJob(record, run))
    return tuple(jobs), named


def telling_apart(runs: Sequence[RunData]) -> list[list[str]]:
    """For each run KEY=VALUE of the config that not all of them have alike; a class by its name."""
    # a section has no value of its own
    flat = [{key: value for key, value in flatten(run.config) if not isinstance(value, Mapping)} for run in runs]
    keys = [
        key
        for key in dict.fromkeys(key for one in flat for key in one)
        if key not in NOT_SETTINGS and len({str(one.get(key)) for one in flat}) > 1
    ]
    return [
        [
            f"{key.removesuffix('._target_')}={str(one[key]).rsplit('.', 1)[-1] if key.endswith('_target_') else one[key]}"
            for key in keys
            if key in one
        ]
        for one in flat
    ]


def compare(folder: Path, definition: StudyDefinition, jobs: Sequence[StudyJob]) -> StudyResult:
    pairs = [
        (setting_name(setting, place), setting_name(other, place))
        for setting, other in definition.comparisons
        for place in definition.places
    ]
    named = {
        setting_name(setting, place): [word.lstrip("+~").split("=", 1)[0] for word in (*own, *overrides)]
        for place, own in definition.places.items()
        for setting, overrides in definition.settings.items()
    }
    findings = compare_jobs(jobs, pairs, definition.measure, definition.delta, named)
    files = tuple(folder / name for name in (STUDY_PAGE, STUDY_TABLE, STUDY_VERDICTS))
    result = StudyResult(definition, tuple(jobs), findings, files)
    write_text(files[0], render_study(definition, result.jobs, findings))
    write_text(files[1], study_markdown(definition, result.jobs, findings))
    write_json(
        files[2],
        {
            "study": definition.name,
            "scale": definition.scale,
            "measure": definition.measure,
            "delta": definition.delta,
            "settings": [asdict(one) for one in findings.sides],
            "comparisons": [asdict(one) for one in findings.compared],
            "warnings": list(findings.warnings),
        },
    )
    return result
