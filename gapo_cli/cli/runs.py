"""The commands of one run: prepare, rollout, train, eval."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from gapo_cli.cli.app import ConfigDir, Debug, PrintConfig, Quiet, Words, app, path
from gapo_cli.cli.running import FAILED, open_display, run_verb


@app.command()
def prepare(
    words: Words = None,
    config_dir: ConfigDir = None,
    print_config: PrintConfig = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Build a task set under data/ and show its statistics.

    The statistics are languages, lengths in characters and in the model's tokens, history, and repeated edits. They are also
    written to statistics.md, .json and .svg.

    \b
    Examples:
      gapo prepare
      gapo prepare data=zeta model=hf model.path=Qwen/Qwen2.5-Coder-7B
      gapo prepare data.source.families=[rename_function,add_argument]
      gapo prepare data=jsonl data.path=my_tasks/
    """
    described = run_verb("prepare", words, config_dir, print_config, quiet)
    if described is not None and not quiet:
        from gapo_cli.console import show_described

        show_described(described)


@app.command()
def rollout(
    words: Words = None,
    config_dir: ConfigDir = None,
    print_config: PrintConfig = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Sample and score groups of answers, and save them as parquet. A stopped rollout can be resumed.

    \b
    Examples:
      gapo rollout
      gapo rollout rollout.tasks=200 sampling.group_size=128
      gapo rollout resume=outputs/rollout/RUN
      gapo rollout reward=em engine=replay engine.path=outputs/rollout/RUN
      gapo rollout model.path=outputs/train/RUN/checkpoints/best
    """
    run_verb("rollout", words, config_dir, print_config, quiet)


@app.command()
def train(
    words: Words = None,
    rerun: Annotated[
        Path | None,
        typer.Option("--rerun", metavar="RUN", parser=path, help="Repeat a finished run and say whether the results match."),
    ] = None,
    config_dir: ConfigDir = None,
    print_config: PrintConfig = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Train with GAPO, GRPO, DAPO, PPO or DPO. Prepares the data if it is missing. Ctrl-C stops the run with a checkpoint.

    \b
    Examples:
      gapo train
      gapo train estimator=grpo trainer.steps=40
      gapo train estimator=dapo seed=1
      gapo train tau=0.3 algorithm=dapo
      gapo train algorithm=ppo
      gapo train resume=auto          continue the unfinished run that was started last
      gapo train resume=outputs/train/RUN
      gapo train stage=sft
      gapo train trainer.processes=4  on four GPUs, or four processors
      gapo train stage=dpo data=zeta data.train_split=dpo
      gapo train --rerun outputs/train/RUN    exit code 1 if the results differ
    """
    if rerun is not None:
        repeat(rerun, words or [], config_dir, quiet)
        return
    run_verb("train", words, config_dir, print_config, quiet, ["--debug"] if debug else [])


@app.command("eval")
def evaluate(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="Settings; `on DATA` is short for data=DATA.", show_default=False),
    ] = None,
    config_dir: ConfigDir = None,
    print_config: PrintConfig = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Measure exact match on held-out tasks, beside baselines.

    \b
    Examples:
      gapo eval
      gapo eval samples=8
      gapo eval on jsonl data.path=my_tasks/ evaluation.split=eval
      gapo eval run=outputs/train/RUN against=outputs/eval/RUN
      gapo eval robustness=all                    also under perturbations of the prompt, such as renamed identifiers
      gapo eval on zeta baseline=copy
      gapo eval rescore=outputs/eval/RUN          measure its answers again, without a model

    If you name no model, the newest trained checkpoint under outputs/ is measured. The line above the table says which.
    """
    run_verb("eval", words, config_dir, print_config, quiet)


def repeat(folder: Path, words: Sequence[str], config_dir: Path | None, quiet: bool) -> None:
    """`gapo train --rerun`: runs, shows what differs, and exits with 1 where the results are not the same."""
    from gapo_cli.launching.reruns import rerun

    with open_display(quiet) as display:
        result = rerun(folder, words, display, config_dir)
        for sentence in result.environment:
            display.say(f"environment: {sentence}")
    if not quiet:
        typer.echo(result.verdict())
    if not result.matched:
        raise typer.Exit(FAILED)
