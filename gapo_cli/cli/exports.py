"""The commands that hand on what is there: export, export-tasks, handover."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gapo_cli.cli.app import ConfigDir, Debug, Quiet, app, path
from gapo_cli.cli.running import open_display


@app.command()
def export(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="RUN_OR_CHECKPOINT", parser=path, help="A run's folder, one of its checkpoints, or a model's folder."
        ),
    ],
    target: Annotated[Path, typer.Argument(metavar="FOLDER", parser=path, help="A new folder.")],
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
    source: Annotated[Path, typer.Argument(metavar="SET", parser=path, help="A prepared task set, as data/git-1a2b3c4d.")],
    target: Annotated[Path, typer.Argument(metavar="FOLDER", parser=path, help="A new folder.")],
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


@app.command()
def handover(
    trainer: Annotated[str, typer.Argument(metavar="TRAINER", help="verl")],
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE ...] FOLDER", help="Settings, and a new folder.", show_default=False),
    ] = None,
    back: Annotated[
        Path | None,
        typer.Option(
            "--back", metavar="FOLDER", parser=path, help="Merge verl's newest checkpoint in FOLDER into a plain model."
        ),
    ] = None,
    nodes: Annotated[int, typer.Option("--nodes", metavar="N", help="Machines.")] = 1,
    gpus: Annotated[int, typer.Option("--gpus", metavar="N", help="GPUs of each machine.")] = 8,
    config_dir: ConfigDir = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Hand an experiment to verl on Ray, for several GPUs and machines, and take the trained model back.

    FOLDER gets the tasks as parquet, verl's settings and a run.sh that starts it. What verl cannot follow is refused.

    \b
    Examples:
      gapo handover verl model=qwen-coder-7b my_run --gpus 8
      my_run/run.sh
      gapo handover verl --back my_run my_model
      gapo eval model.path=my_model
    """
    from gapo_cli.launching import handover as handing

    handing.check_trainer(trainer)
    with open_display(quiet) as display:
        if back is not None:
            handing.take_back(back, words or [], display)
        else:
            handing.hand_over(words or [], nodes, gpus, display, config_dir)
