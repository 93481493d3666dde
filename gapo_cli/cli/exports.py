"""The commands that hand on what is there: export, export-tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gapo_cli.cli.app import Debug, Quiet, app
from gapo_cli.cli.running import open_display


@app.command()
def export(
    source: Annotated[
        Path, typer.Argument(metavar="RUN_OR_CHECKPOINT", help="A run's folder, one of its checkpoints, or a model's folder.")
    ],
    target: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new folder.")],
    dtype: Annotated[str, typer.Option("--dtype", metavar="DTYPE", help="auto (as stored), float32 or bfloat16.")] = "auto",
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Write a checkpoint as a plain model folder for transformers and vLLM. Adapters are merged.

    Of a run, the best checkpoint is taken, or the last one if none was evaluated.

    \b
    Examples:
      gapo export outputs/train/RUN my_model
      gapo export outputs/train/RUN/checkpoints/step-00040 my_model --dtype bfloat16
    """
    from gapo_cli.stages.export import export as write_model

    with open_display(quiet) as display:
        write_model(source, target, dtype, display)


@app.command("export-tasks")
def export_tasks(
    source: Annotated[Path, typer.Argument(metavar="SET", help="A prepared task set, as data/git-1a2b3c4d.")],
    target: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new folder.")],
    form: Annotated[str, typer.Option("--form", metavar="FORM", help="jsonl, json or md.")] = "jsonl",
    split: Annotated[str, typer.Option("--split", metavar="NAME", help="One split, or all.")] = "all",
    repository: Annotated[
        str | None, typer.Option("--repository", metavar="URL", help="Where others find the tasks' revisions.")
    ] = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Write a prepared task set as example files of Zed's edit-prediction tool, which data=zed reads again.

    \b
    Examples:
      gapo export-tasks data/git-1a2b3c4d examples
      gapo export-tasks data/git-1a2b3c4d examples --form md --split eval --repository https://github.com/OWNER/NAME
    """
    from gapo_cli.stages.export_tasks import export_tasks as write_tasks

    with open_display(quiet) as display:
        write_tasks(source, target, form, split, repository, display)
