"""gapo prepare: the task set, and beside its manifest what it is made of: statistics.json, statistics.md, statistics.svg.

Only this verb counts tokens; the others prepare what they miss by `stages.prepare` alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gapo_cli.errors import UserError
from gapo_cli.evaluation.task_statistics import ALL, Measured, SplitStatistics, task_statistics
from gapo_cli.files import write_json, write_text
from gapo_cli.interfaces import Display, Experiment
from gapo_cli.records import EditTask, Prompt
from gapo_cli.reports.tables import Table
from gapo_cli.reports.task_tables import draw, markdown, task_tables
from gapo_cli.stages.prepare import Prepared, prepare
from gapo_cli.tasks.store import load_split

TASKS_AT_ONCE = 512
JSON_FILE, MARKDOWN_FILE, FIGURE_FILE = "statistics.json", "statistics.md", "statistics.svg"


@dataclass(frozen=True)
class Described:
    """A prepared set, its statistics by split (and "all"), and the tables that show them; `note` says what was measured.
    `markdown`: the file."""

    prepared: Prepared
    statistics: Mapping[str, SplitStatistics]
    tables: tuple[Table, ...]
    note: str
    markdown: Path


def prepare_and_describe(experiment: Experiment, display: Display) -> Described:
    """Prepares the set where it is missing, and writes its statistics as the model and the template of this experiment see
    it. Without the model's tokenizer, lengths are in characters only. Raises DataError as `prepare` does."""
    prepared = prepare(experiment, display)
    folder, manifest = prepared.folder, prepared.manifest
    splits = {split: load_split(folder, split) for split in manifest["splits"]}
    tokenizer = find_tokenizer(experiment, display)
    measured = {}
    if tokenizer is not None:
        try:
            measured = measure_all(experiment, splits, tokenizer, display)
        except UserError as error:
            display.say(f"lengths in characters only: {error}")
            tokenizer = None
    if tokenizer is None:
        measured = measure_all(experiment, splits, None, display)
    statistics = task_statistics(splits, measured, experiment.model.context_length)
    tables = task_tables(statistics, manifest["repeats"], manifest["overlaps"])
    template = type(experiment.template).__name__
    note = f"Prompts and answers as {template} writes them, in characters" + (
        "." if tokenizer is None else f" and in tokens of {experiment.model.path} (an answer's with its end token)."
    )
    write_json(
        folder / JSON_FILE,
        {
            "data": manifest["name"],
            "template": template,
            "tokenizer": None if tokenizer is None else experiment.model.path,
            "context_length": experiment.model.context_length,
            "splits": {split: one.to_dict() for split, one in statistics.items() if split != ALL},
            "all": statistics[ALL].to_dict(),
            "repeats": manifest["repeats"],
            "overlaps": manifest["overlaps"],
            "skipped": manifest["report"].get("skipped", 0),
        },
    )
    draw(statistics, folder / FIGURE_FILE)
    notes = [note, *manifest["report"].get("notes", ())]
    write_text(folder / MARKDOWN_FILE, markdown(f"Tasks of data={manifest['name']}", notes, tables, FIGURE_FILE))
    return Described(prepared, statistics, tuple(tables), note, folder / MARKDOWN_FILE)


def find_tokenizer(experiment: Experiment, display: Display) -> Any:
    """The tokenizer of the chosen model, or None, said in one line, where it cannot be had."""
    from gapo_cli.models.folders import TOKENIZER_FILES, find_folder
    from gapo_cli.models.tokenizer_files import load_tokenizer

    try:
        return load_tokenizer(experiment.model, find_folder(experiment.model, TOKENIZER_FILES))
    except UserError as error:
        display.say(f"lengths in characters only: {error}")
        return None


def measure_all(
    experiment: Experiment, splits: Mapping[str, Sequence[EditTask]], tokenizer: Any, display: Display
) -> dict[str, list[Measured]]:
    total = sum(map(len, splits.values()))
    measured: dict[str, list[Measured]] = {split: [] for split in splits}
    done = 0
    for split, tasks in splits.items():
        for start in range(0, len(tasks), TASKS_AT_ONCE):
            display.progress("measuring the tasks", done, total)
            some = tasks[start : start + TASKS_AT_ONCE]
            measured[split].extend(measure(experiment, some, tokenizer))
            done += len(some)
    display.progress("measuring the tasks", total, total)
    return measured


def measure(experiment: Experiment, tasks: Sequence[EditTask], tokenizer: Any) -> Iterator[Measured]:
    """The lengths of some tasks' prompts and answers; `tokenizer` None: in characters only."""
    from gapo_cli.models.prompt_tokens import encode_texts, prompt_text

    prompts = [experiment.template.render(task) for task in tasks]
    answers = [experiment.template.answer(task, task.target) for task in tasks]
    if tokenizer is None:
        for prompt, answer in zip(prompts, answers, strict=True):
            yield Measured(characters(prompt), len(answer), cut=bool(prompt.cut))
        return
    prompt_ids = encode_texts(tokenizer, [prompt_text(tokenizer, experiment.model, prompt) for prompt in prompts])
    answer_ids = encode_texts(tokenizer, answers)
    for prompt, answer, of_prompt, of_answer in zip(prompts, answers, prompt_ids, answer_ids, strict=True):
        yield Measured(characters(prompt), len(answer), len(of_prompt), len(of_answer) + 1, bool(prompt.cut))


def characters(prompt: Prompt) -> int:
    """What the template wrote, without what a chat template puts around it."""
    return sum(len(message.content) for message in prompt.messages) + len(prompt.text)
