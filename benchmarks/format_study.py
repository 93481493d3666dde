"""What a format costs and gains on a small model: prompt=zeta1, zeta2_qwen and sweep, taught to the nano model.

    python benchmarks/format_study.py --seeds 3

--runs keeps a folder for each run; a second call goes on with what is missing. Every run starts from nano's clean base, which was
trained on its own format only. Its tokenizer has none of these formats' tokens: they are added, a token each as in Qwen2.5-Coder,
and begin as the mean of all others. Tasks are the same for all: once through (`one pass`), and, since prompts differ in length, for
as many tokens as zeta1's pass has (`same tokens`).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from measure import machine
from tables import command_of, into_page, table_line, write

from gapo_cli.evaluation.predictions import Prediction, from_rows
from gapo_cli.prompts.sweep import Sweep
from gapo_cli.prompts.zeta1 import Zeta1
from gapo_cli.prompts.zeta2_qwen import Zeta2Qwen
from gapo_cli.records import EditTask
from gapo_cli.runs.outcome import DONE, read_outcome
from gapo_cli.statistics.intervals import Measure, measure_differences, wilson
from gapo_cli.statistics.seeds_and_tasks import seeds_and_tasks

FORMATS = {"zeta1": Zeta1(), "zeta2_qwen": Zeta2Qwen(), "sweep": Sweep()}
BASIS = "zeta1"
ONE_PASS, SAME_TOKENS = "one pass", "same tokens"
RUNS = Path("outputs/format_study")
CONTEXT = 1024
"""Tokens of prompt and answer; nano's own prompts are shorter, and its 512 would cut some of these."""


@dataclass(frozen=True)
class Setting:
    format: str
    budget: str


def settings(budgets: Sequence[str]) -> list[Setting]:
    """All that are compared; the basis has one pass in any case, and its own tokens are those of the others."""
    return [
        Setting(name, budget)
        for budget in (ONE_PASS, SAME_TOKENS)
        if budget in budgets
        for name in FORMATS
        if (name, budget) != (BASIS, SAME_TOKENS)
    ]


def make_base(folder: Path) -> None:
    """nano's clean base with the formats' tokens in its vocabulary and CONTEXT positions."""
    import torch
    from tokenizers import AddedToken
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

    import gapo_cli.assets

    clean = Path(gapo_cli.assets.__file__).parent / "nano-clean"
    tokenizer = PreTrainedTokenizerFast.from_pretrained(clean)
    model = AutoModelForCausalLM.from_pretrained(clean, dtype=torch.float32)
    known = len(tokenizer)
    tokens = dict.fromkeys(token for template in FORMATS.values() for token in getattr(template, "tokens", ()))
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in tokens])
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    with torch.no_grad():
        for weight in (model.get_input_embeddings().weight, model.get_output_embeddings().weight):
            weight[known:] = weight[:known].mean(0)
    model.config.max_position_embeddings = CONTEXT
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def train(runs: Path, setting: Setting, seed: int, given: argparse.Namespace) -> Path:
    """The folder of the run, made or finished where it is not."""
    folder = runs / f"{setting.format}-{setting.budget.replace(' ', '-')}-{seed}"
    outcome = read_outcome(folder)
    if outcome is not None and outcome.status == DONE:
        return folder
    tokens = ["supervised.tokens=null", "supervised.epochs=1"]
    if setting.budget == SAME_TOKENS:
        tokens = [f"supervised.tokens={trained(train(runs, Setting(BASIS, ONE_PASS), seed, given))['tokens']}"]
    words = [
        "stage=sft", f"model.path={runs / 'base'}", f"model.context_length={CONTEXT}", f"prompt={setting.format}", f"seed={seed}",
        f"data.directory={runs / 'data'}", f"data.limit={given.tasks}", *tokens, "supervised.checkpoint_every=100000",
        f"evaluation.tasks={given.held_out}", "evaluation.samples=0", f"sampling.max_new_tokens={given.new_tokens}",
        "trainer.threads=1", f"hydra.run.dir={folder}", "resume=auto", *given.overrides,
    ]  # fmt: skip
    if setting.format == "zeta1":
        words.append("prompt.counter=null")
    print(f"gapo train {' '.join(words)}", flush=True)
    subprocess.run(
        [sys.executable, "-m", "gapo_cli", "train", *words, "-q"], check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    return folder


def trained(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "supervised.json").read_text(encoding="utf-8"))


def predictions(folder: Path) -> list[Prediction]:
    """The greedy answers after training, by task."""
    import pandas as pd

    last = max((folder / "eval").glob("step-*.parquet"))
    return sorted(from_rows(pd.read_parquet(last).to_dict("records")), key=lambda one: one.task_id)


def lengths(base: Path, tasks: Sequence[EditTask]) -> dict[str, dict[str, float]]:
    """Tokens of prompts and answers by the base's tokenizer, for each format."""
    from transformers import PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast.from_pretrained(base)
    found = {}
    for name, template in FORMATS.items():
        texts = [template.render(task).text for task in tasks], [template.answer(task, task.target) for task in tasks]
        prompts, answers = ([len(ids) for ids in tokenizer(column)["input_ids"]] for column in texts)
        found[name] = {
            "prompt_mean": statistics.mean(prompts), "prompt_95": float(np.quantile(prompts, 0.95)),
            "answer_mean": statistics.mean(answers), "answer_95": float(np.quantile(answers, 0.95)),
        }  # fmt: skip
    return found


def train_tasks(runs: Path) -> list[EditTask]:
    (path,) = (runs / "data").glob("*/train.jsonl")
    return [EditTask.from_dict(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


def matrix(answers: Sequence[Sequence[Prediction]], has: Any) -> np.ndarray:
    """(seeds, tasks) of 0 and 1."""
    return np.array([[float(has(one)) for one in of_seed] for of_seed in answers])


def share(values: np.ndarray) -> dict[str, float | None]:
    """Of (seeds, tasks) zeros and ones: over both, or, of one seed, Wilson's over its tasks."""
    return numbers(wilson(float(values.sum()), values.size) if len(values) == 1 else seeds_and_tasks(values))


def difference(values: np.ndarray) -> dict[str, float | None]:
    return numbers(measure_differences(values[0]) if len(values) == 1 else seeds_and_tasks(values))


def numbers(found: Measure) -> dict[str, float | None]:
    return {"value": found.value, "low": found.low, "high": found.high}


def shown(found: dict[str, float | None], sign: str = "") -> str:
    """In percent, or in points."""
    value = f"{100 * found['value']:{sign}.1f}"
    return value if found["low"] is None else f"{value} [{100 * found['low']:{sign}.1f}, {100 * found['high']:{sign}.1f}]"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--runs", type=Path, default=RUNS)
    arguments.add_argument("--seeds", type=int, default=3)
    arguments.add_argument("--budgets", nargs="+", choices=(ONE_PASS, SAME_TOKENS), default=[ONE_PASS, SAME_TOKENS])
    arguments.add_argument(
        "--tasks", type=int, default=2500, help="of the training split, evenly spaced; all of a held-out pool too"
    )
    arguments.add_argument("--held-out", type=int, default=500, help="tasks that are measured")
    arguments.add_argument("--new-tokens", type=int, default=128)
    arguments.add_argument("--overrides", nargs="*", default=[], help="further settings of gapo train")
    given = arguments.parse_args()
    runs = given.runs.resolve()
    if not (runs / "base").is_dir():
        make_base(runs / "base")
    compared = settings(given.budgets)
    folders = {(setting, seed): train(runs, setting, seed, given) for seed in range(given.seeds) for setting in compared}
    size = lengths(runs / "base", train_tasks(runs))
    answers = {setting: [predictions(folders[setting, seed]) for seed in range(given.seeds)] for setting in compared}
    right = {setting: matrix(of_setting, lambda one: one.is_right) for setting, of_setting in answers.items()}
    rows = []
    for setting in compared:
        malformed = matrix(answers[setting], lambda one: one.malformed is not None)
        reasons = [one.malformed for of_seed in answers[setting] for one in of_seed if one.malformed]
        rows.append({
            "format": setting.format, "budget": setting.budget, **size[setting.format],
            "tokens": [trained(folders[setting, seed])["tokens"] for seed in range(given.seeds)],
            "cpu_seconds": [trained(folders[setting, seed])["cpu_seconds"] for seed in range(given.seeds)],
            "exact_match": share(right[setting]), "by_seed": right[setting].mean(axis=1).tolist(),
            "difference": difference(right[setting] - right[Setting(BASIS, ONE_PASS)]),
            "malformed": share(malformed),
            "reasons": {reason: reasons.count(reason) / malformed.size for reason in sorted(set(reasons))},
            "no_op": float(matrix(answers[setting], lambda one: one.is_noop).mean()),
        })  # fmt: skip
    given.runs = RUNS  # where they lie on this machine is not part of the command
    publish(rows, given, command_of(__file__, arguments, given))


def publish(rows: list[dict[str, Any]], given: argparse.Namespace, command: str) -> None:
    head = ("prompt", "trained on", "tokens trained", "prompt, tokens", "answer, tokens", "exact match, %", f"against {BASIS}, points",
            "malformed, %", "no-op, %")  # fmt: skip
    lines = [
        table_line([
            f"`{row['format']}`", row["budget"], f"{statistics.mean(row['tokens']):,.0f}", f"{row['prompt_mean']:.0f} ({row['prompt_95']:.0f})",
            f"{row['answer_mean']:.0f} ({row['answer_95']:.0f})", shown(row["exact_match"]),
            "" if row["format"] == BASIS else shown(row["difference"], "+"), shown(row["malformed"]), f"{100 * row['no_op']:.1f}",
        ])
        for row in rows
    ]  # fmt: skip
    about = machine("torch", "transformers")
    text = (
        f"{given.tasks:,} training tasks, {given.held_out} held-out ones, {given.seeds} {'seed' if given.seeds == 1 else 'seeds'}; greedy answers of at most "
        f"{given.new_tokens} tokens. Lengths: mean (95th percentile). Brackets: 95 % over {'tasks' if given.seeds == 1 else 'seeds and tasks'}. "
        f"{', '.join(f'{key} {value}' for key, value in about.items())}."
    )
    table = "\n".join([table_line(head), "|---|---|" + "---:|" * 3 + "---|" * 3 + "---:|", *lines, "", text])
    write(
        "format_study",
        ["# What a format costs and gains on a small model", "", table, "", f"Run it again: `{command}`"],
        about,
        rows,
    )
    into_page("format_study", table, "results.md")


if __name__ == "__main__":
    main()
