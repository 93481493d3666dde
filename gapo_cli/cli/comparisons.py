"""The commands that compare: sweep, lab, study, evolve, report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gapo_cli.cli.app import ConfigDir, Debug, PrintConfig, Quiet, app, path
from gapo_cli.cli.running import FAILED, new_folder, open_display
from gapo_cli.errors import UserError


@app.command()
def sweep(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=A,B,C", help="Settings, one or more of them with several values.", show_default=False),
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="With resume=: run the failed jobs again, and only those.")
    ] = False,
    config_dir: ConfigDir = None,
    print_config: PrintConfig = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Train with every combination of values and compare.

    The result is one table and one plot, paired by seed. A job that fails is shown, and the others continue. A sweep that was
    stopped or killed can be resumed.

    \b
    Examples:
      gapo sweep tau=0.3,0.5,0.7 seed=0,1,2
      gapo sweep estimator=grpo,gapo seed=0,1,2 trainer.steps=40
      gapo sweep algorithm=grpo,dapo hydra/launcher=joblib hydra.sweep.dir=outputs/my_sweep
      gapo sweep resume=outputs/sweep/TIME        run the remaining jobs; resume=auto: of the unfinished sweep started last
      gapo sweep resume=outputs/sweep/TIME --retry-failed
    """
    if print_config:
        from gapo_cli.launching.composition import composed_yaml

        typer.echo(composed_yaml("train", words or [], config_dir, sweep=True), nl=False)
        return
    from gapo_cli.launching import sweeps as sweep_launch

    with open_display(quiet) as display:
        swept = sweep_launch.sweep(words or [], display, config_dir, quiet=quiet, retry_failed=retry_failed)
    if not quiet:
        from gapo_cli.console import show_sweep

        show_sweep(swept)
    if swept.failed:
        raise typer.Exit(FAILED)


@app.command()
def lab(
    words: Annotated[
        list[str],
        typer.Argument(metavar="ROLLOUTS... [KEY=VALUE ...]", help="A rollouts.parquet, a run's folder, or several; settings."),
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FOLDER", parser=path, help="Where to write the results.")
    ] = None,
    config_dir: ConfigDir = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Replay estimators on saved rollouts and measure how close they come to the true advantages. Loads no model.

    The true advantages need a pool: many answers per prompt, made with `gapo rollout sampling.group_size=128`. For the groups
    of a training run, the page shows what can be known without a pool. Keys: estimators, tau and other settings of theirs,
    group_size, corruption and kind (flip, uniform, zero, one), trials, seed, smallest_pool.

    `gapo lab gradients FOLDER` asks the same of the model's gradients, and loads the model that made the rollouts. Keys: estimators
    and their settings, group_size, prompts, completions, trials, seed, sketch, and keys of model and trainer.

    \b
    Examples:
      gapo lab outputs/rollout/TIME
      gapo lab outputs/rollout/TIME estimators=gapo,grpo tau=0.1,0.5,0.9 group_size=4,8,16
      gapo lab before/ after/ corruption=0.05,0.2 kind=flip,zero
      gapo lab outputs/train/TIME
      gapo lab gradients outputs/rollout/TIME prompts=32 completions=64
    """
    if words[0] == "gradients":
        from gapo_cli.console import show_gradients
        from gapo_cli.launching.gradient_words import gradient_request
        from gapo_cli.stages.lab_gradients import lab_gradients

        with open_display(quiet) as display:
            asked = gradient_request(words[1:], config_dir)
            found = lab_gradients(
                asked.rollouts,
                asked.model,
                asked.trainer,
                asked.temperature,
                asked.settings,
                output or new_folder("lab"),
                display,
            )
        if not quiet:
            show_gradients(found)
        return
    from gapo_cli.launching.lab_words import lab_request
    from gapo_cli.stages.lab import lab as examine

    with open_display(quiet) as display:
        request = lab_request(words, config_dir)
        result = examine(request.rollouts, request.settings, output or new_folder("lab"), display)
    if not quiet:
        from gapo_cli.console import show_lab

        show_lab(result)


@app.command()
def study(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME [KEY=VALUE ...] | report FOLDER...", help="A study and its settings, or runs that are there already."
        ),
    ],
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="With resume=: run the failed jobs again, and only those.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Compose and check every job, say what would be run, and stop.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FOLDER", parser=path, help="With report: where to write the results."),
    ] = None,
    config_dir: ConfigDir = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Run a whole comparison, settings x seeds, paired by seed, and end with a verdict in words.

    Studies: main, ablation, tau, kl, corruption, baselines, robustness, or a yaml of your own in study/ of --config-dir.
    scale= nano, smollm2 or paper. study.seeds, study.budget, study.delta, study.measure and study.until_decided=true change a study.

    \b
    Examples:
      gapo study main scale=nano
      gapo study tau study.seeds=3 study.until_decided=true hydra/launcher=joblib
      gapo study main scale=paper --dry-run
      gapo study resume=outputs/study/FOLDER --retry-failed
      gapo study report outputs/study/FOLDER study.delta=0.02
      gapo study report outputs/train/A outputs/train/B
    """
    if output is not None and words[0] != "report":
        raise UserError(f"--output {output}: is for gapo study report; name a study's folder by hydra.sweep.dir={output}")
    if words[0] == "report":
        from gapo_cli.launching.study_words import report_request
        from gapo_cli.stages.study import study_of_runs

        result = study_of_runs(*report_request(words[1:]), output)
    else:
        from gapo_cli.launching.studies import study as run_study

        with open_display(quiet) as display:
            result = run_study(words, display, config_dir, quiet=quiet, retry_failed=retry_failed, dry_run=dry_run)
    if result is None:
        return
    if not quiet:
        from gapo_cli.console import show_study

        show_study(result)
    if result.failed:
        raise typer.Exit(FAILED)


@app.command()
def evolve(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SPACE] [KEY=VALUE ...]", help="A search space and settings of all its runs.", show_default=False
        ),
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="With resume=: run the failed jobs again, then go on.")
    ] = False,
    config_dir: ConfigDir = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Search for settings, or for policies that inherit weights, by a genetic algorithm (NSGA-II).

    Spaces: settings, prompt, or a yaml of your own in evolve/ of --config-dir. evolve.population, evolve.each (what an individual
    trains), evolve.budget or evolve.seconds (of the whole search), evolve.inherit (none, parent or average) and others change a
    search. Fitness is measured on the dev split; at the end the winner is measured on eval, beside the same work in one long run
    and in independent runs.

    \b
    Examples:
      gapo evolve
      gapo evolve settings evolve.population=8 evolve.each=20 evolve.budget=480
      gapo evolve settings evolve.inherit=average
      gapo evolve prompt evolve.seconds=3600 hydra/launcher=joblib
      gapo evolve resume=outputs/evolve/FOLDER
    """
    from gapo_cli.launching.evolution import evolve as run_search

    with open_display(quiet) as display:
        result = run_search(words or [], display, config_dir, quiet=quiet, retry_failed=retry_failed)
    if not quiet:
        from gapo_cli.console import show_search

        show_search(result)
    if result.failed:
        raise typer.Exit(FAILED)


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders, such as outputs/train/TIME.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", parser=path, help="Where to write the page.")
    ] = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Write one self-contained HTML page about one run or several.

    \b
    Examples:
      gapo report outputs/train/RUN
      gapo report outputs/sweep/TIME/0 outputs/sweep/TIME/1 --output compare.html
    """
    from gapo_cli.stages.report import report as write_report

    with open_display(quiet) as display:
        write_report(runs, output, display)
