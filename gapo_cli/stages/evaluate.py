"""gapo eval: a model's answers to held-out tasks, measured beside the baselines' answers to the same tasks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from gapo_cli.config.sampling import EvaluationConfig, SamplingConfig
from gapo_cli.errors import UserError, batch_kept
from gapo_cli.evaluation.paired import Comparison, compare
from gapo_cli.evaluation.predictions import Mode, Prediction
from gapo_cli.evaluation.robustness import Robustness
from gapo_cli.evaluation.summary import Breakdown, Summary
from gapo_cli.experiment import Experiment, check_engine
from gapo_cli.interfaces import Display, Progress, TextEngine
from gapo_cli.records import EditTask
from gapo_cli.runs.earlier_answers import check_overlap, read_answers
from gapo_cli.runs.layout import ANSWERS, CASES, COMPARISON, EVALUATION_TABLE, EVALUATIONS, ROBUSTNESS, SCORES
from gapo_cli.stages.robustness import answer_perturbed, keep_answers, perturbed_tasks, read_kept, write_robustness
from gapo_cli.stages.run_setup import check_model_there, set_up_run
from gapo_cli.tasks.sets.prepared import load_tasks

STEP = 0
"""Nothing is learnt here: an evaluation's files are those of a run's step 0."""


@dataclass(frozen=True)
class EvaluationResult:
    """What was measured and where it lies: `json` the numbers, `predictions` every answer, `table` as markdown.
    `comparison`: with the run that `evaluation.against` names. `robustness`: None where nothing was perturbed."""

    run_dir: Path
    summary: Summary
    baselines: Mapping[str, Breakdown]
    json: Path
    predictions: Path
    table: Path
    comparison: Mapping[Mode, Comparison] = field(default_factory=dict)
    robustness: Robustness | None = None


def evaluate(experiment: Experiment, display: Display) -> EvaluationResult:
    """With `evaluation.rescore`, measures that run's answers again; else as `ask`."""
    if experiment.evaluation.rescore is not None:
        return rescore(experiment, Path(experiment.evaluation.rescore), display)
    return ask(experiment, display)


def ask(experiment: Experiment, display: Display) -> EvaluationResult:
    """Answers `evaluation.tasks` tasks of `evaluation.split`: greedily, and `evaluation.samples` times at its temperature;
    with `evaluation.baseline`, that rule answers and no model is loaded; with `evaluation.robustness`, perturbed tasks are answered too.
    Tasks whose prompt does not fit the context count as wrong. Raises UserError for a split without tasks."""
    if experiment.evaluation.baseline is None:
        check_engine(experiment, experiment.evaluation.samplings(experiment.sampling).values())
        if not isinstance(experiment.engine, TextEngine):
            check_model_there(experiment.model)
    tasks = load_tasks(experiment, experiment.evaluation.split, display)
    # torch and pandas only from here on: a wrong setting is answered at once
    from gapo_cli.evaluation.baselines import measure_baselines
    from gapo_cli.evaluation.summary import summarise
    from gapo_cli.models.nano.base_note import base_note
    from gapo_cli.reports.cases import write_cases
    from gapo_cli.reports.paired_words import comparison_lines
    from gapo_cli.reports.tables import BASELINE_NAMES, answers_of, evaluation_tables
    from gapo_cli.rollouts.validation import select_tasks
    from gapo_cli.runs.run_files import RunFiles
    from gapo_cli.storage.files import write_json, write_text

    selected = select_tasks(tasks, experiment.evaluation.tasks)
    rule, against = experiment.evaluation.baseline, experiment.evaluation.against
    other, earlier = read_answers(Path(against)) if against else (None, [])
    if against:
        check_overlap(against, earlier, selected, modes_of(experiment.evaluation, experiment.sampling))
    changed = perturbed_tasks(experiment, selected, display.progress) if experiment.perturbations else None
    set_up_run(experiment, experiment.run_dir, display)
    answer = rule_answers(rule) if rule else model_answers(experiment, display)
    predictions = answer(selected, experiment.evaluation, "")
    greedy = replace(experiment.evaluation, greedy=True, samples=0)
    with batch_kept(lambda answers: keep_answers(experiment.run_dir, predictions, answers)):
        perturbed = answer_perturbed(changed, lambda some, what: answer(some, greedy, what)) if changed else []
    constants = experiment.evaluation.delta_chrf
    summary = summarise(predictions, constants=constants)
    baselines = {} if rule else measure_baselines(selected, constants)
    json, parquet = RunFiles(experiment.run_dir).write_evaluation(STEP, predictions, summary, baselines)
    name = BASELINE_NAMES[rule] if rule else experiment.model.name
    answers = {name: summary.greedy} if rule and summary.greedy else answers_of(summary, baselines, name)
    tables = evaluation_tables(answers)
    robustness, left_out = None, []
    if changed:
        robustness, of_perturbed, left_out = write_robustness(
            experiment.run_dir, predictions, perturbed, experiment.evaluation.temperature, changed.left_out
        )
        tables.append(of_perturbed)
    heading = f"{name} on {experiment.data.name}, split {experiment.evaluation.split}"
    if len(selected) < len(tasks):
        heading += f", {len(selected):,} of {len(tasks):,} tasks"
    comparison = compare(predictions, earlier) if other else {}
    compared = comparison_lines(comparison, name, str(other)) if comparison else []
    if comparison:
        row = {"against": str(other), **{mode: one.to_dict() for mode, one in comparison.items()}}
        write_json(experiment.run_dir / COMPARISON, row)
    write_scores(experiment.run_dir / SCORES, predictions, constants)
    said = (cut_line(predictions), constants_line(constants), None if rule else base_note(experiment.model.path))
    notes = [line for line in (*left_out, *said) if line]
    table = experiment.run_dir / EVALUATION_TABLE
    parts = [f"# {heading}\n", *(table.to_markdown() for table in tables), *(f"{line}\n" for line in (*compared, *notes))]
    write_text(table, "\n".join(parts))
    cases = write_cases(selected, predictions, heading, experiment.run_dir / CASES)
    # said when all is written: a reader who goes away, as `head` does, ends the command
    for text in (heading, *(table.to_text() for table in tables), "\n".join(compared), *notes):
        if text:
            display.say(f"{text}\n")
    of_robustness = f"\nrobustness: {experiment.run_dir / ROBUSTNESS}" if robustness else ""
    display.say(f"numbers: {json}\npredictions: {parquet}\ntable: {table}\ncases: {cases}{of_robustness}")
    return EvaluationResult(experiment.run_dir, summary, baselines, json, parquet, table, comparison, robustness)


def rescore(experiment: Experiment, run: Path, display: Display) -> EvaluationResult:
    """Every measure of the answers that a run has kept, and of the copied region beside them; of its answers to perturbed tasks too,
    where it has any. No model and no torch is loaded, and no task set is needed. Raises UserError where the run has no answers."""
    from gapo_cli.evaluation.predictions import copied
    from gapo_cli.evaluation.summary import summarise
    from gapo_cli.reports.tables import answers_of, evaluation_tables
    from gapo_cli.runs.run_files import RunFiles
    from gapo_cli.storage.files import write_text

    found, predictions = read_answers(run, "rescore")
    # beside the answers of `gapo eval`; a training run has none
    kept = read_kept(found.parent.parent) if found.parent.name == EVALUATIONS else None
    if kept is None and experiment.evaluation.robustness:
        raise UserError(
            f"rescore={run}: has no answers to perturbed tasks; leave out robustness=, or evaluate the model with it"
        )
    constants = experiment.evaluation.delta_chrf
    summary = summarise(predictions, constants=constants)
    copy = summarise(copied(predictions), constants=constants).greedy
    baselines = {"copy": copy} if copy else {}
    json, parquet = RunFiles(experiment.run_dir).write_evaluation(STEP, predictions, summary, baselines)
    write_scores(experiment.run_dir / SCORES, predictions, constants)
    tables = evaluation_tables(answers_of(summary, baselines, "answers"))
    robustness = None
    if kept is not None:
        robustness, of_perturbed, _ = write_robustness(
            experiment.run_dir, predictions, kept.answers, kept.temperature, kept.left_out
        )
        tables.append(of_perturbed)
    heading, note = f"the answers of {found}, measured again", constants_line(constants)
    table = experiment.run_dir / EVALUATION_TABLE
    write_text(table, "\n".join([f"# {heading}\n", *(one.to_markdown() for one in tables), f"{note}\n"]))
    for text in (heading, *(one.to_text() for one in tables), note):
        display.say(f"{text}\n")
    display.say(f"numbers: {json}\npredictions: {parquet}\nscores: {experiment.run_dir / SCORES}\ntable: {table}")
    return EvaluationResult(experiment.run_dir, summary, baselines, json, parquet, table, robustness=robustness)


def constants_line(constants: str) -> str:
    from gapo_cli.edits.delta_chrf import CONSTANTS

    return f"delta-chrF: {constants} ({CONSTANTS[constants]}); numbers of other constants cannot be compared with it."


def write_scores(path: Path, predictions: Sequence[Prediction], constants: str) -> None:
    """Every answer's own measures as parquet, and the target that they are of: `best` counts a task's targets from 0."""
    import pandas as pd

    from gapo_cli.edits.delta_chrf import CONSTANTS
    from gapo_cli.evaluation.scores import score
    from gapo_cli.storage.files import atomic_path

    rows = []
    for one in predictions:
        measured = asdict(score(one, CONSTANTS[constants]))
        lines = {f"lines_{name}": count for name, count in measured.pop("lines").items()}
        rows.append({"task_id": one.task_id, "mode": one.mode, "sample": one.sample, **measured, **lines})
    with atomic_path(path) as temporary:
        pd.DataFrame(rows).to_parquet(temporary, index=False)


def cut_line(predictions: Sequence[Prediction]) -> str | None:
    """For how many tasks the prompt left something out, and what; None where it showed all of every task."""
    cuts = {one.task_id: one.cut for one in predictions}
    parts = Counter(part for cut in cuts.values() if cut for part in sorted({one.split(":")[0] for one in cut.split("; ")}))
    if not parts:
        return None
    listed = ", ".join(f"{part} {count:,}" for part, count in parts.most_common())
    return (
        f"The prompts of {sum(map(bool, cuts.values())):,} of {len(cuts):,} tasks leave something out ({listed}); the column `cut` of "
        "the predictions says what."
    )


def modes_of(evaluation: EvaluationConfig, sampling: SamplingConfig) -> list[Mode]:
    """How the tasks will be answered."""
    if evaluation.baseline:
        return ["greedy"]
    return list(evaluation.samplings(sampling))


Answers = Callable[[Sequence[EditTask], EvaluationConfig, str], list[Prediction]]
"""(Tasks, how they are answered, what progress calls them: "" for the tasks as they are) → predictions."""


def rule_answers(rule: str) -> Answers:
    """What a baseline makes of tasks."""
    from gapo_cli.evaluation.baselines import BASELINES
    from gapo_cli.evaluation.predictions import predicted_region

    return lambda tasks, evaluation, what: [predicted_region(task, BASELINES[rule](task)) for task in tasks]


def model_answers(experiment: Experiment, display: Display) -> Answers:
    """The predictions of the model that is named: loaded here, once, or asked where it lies. They raise PartError, with the answers
    at hand kept, for a template that fails."""
    from gapo_cli.engines import calls
    from gapo_cli.models.load import load_model
    from gapo_cli.planning.memory_advice import before_lengths
    from gapo_cli.rollouts.validation import validate, validate_texts
    from gapo_cli.runs.group_files import decoded_prompt
    from gapo_cli.runs.run_files import RunFiles
    from gapo_cli.training.out_of_memory import memory_watched

    def named(what: str) -> Progress:
        return lambda stage, done, total: display.progress(f"{stage}: {what}" if what else stage, done, total)

    template, sampling, seed = experiment.template, experiment.sampling, experiment.seed
    files = RunFiles(experiment.run_dir)
    if isinstance(experiment.engine, TextEngine):
        journal = experiment.run_dir / ANSWERS

        def ask_server(tasks: Sequence[EditTask], evaluation: EvaluationConfig, what: str) -> list[Prediction]:
            with batch_kept(lambda groups: files.write_for_inspection(STEP, groups, lambda group: "")):
                return validate_texts(experiment.engine, template, tasks, evaluation, sampling, seed, journal, named(what))

        return ask_server
    advise = before_lengths(experiment)
    with memory_watched("loading the model", "loading", advise):
        policy = load_model(experiment.model, experiment.trainer.device, experiment.trainer.dtype)
    with memory_watched("sampling", "rollout", advise):
        engine = calls.start(experiment.engine, policy)
    prompt_text = decoded_prompt(policy.tokenizer.decode)

    def answer(tasks: Sequence[EditTask], evaluation: EvaluationConfig, what: str) -> list[Prediction]:
        with (
            memory_watched("sampling", "rollout", advise),
            batch_kept(lambda groups: files.write_for_inspection(STEP, groups, prompt_text)),
        ):
            return validate(policy, engine, template, tasks, evaluation, sampling, seed, named(what))

    return answer
