"""The command line: names, help and exit codes. Imports nothing heavy.

Exit codes: 0 done, 1 something failed, 2 a mistake in what was asked for, 130 stopped with Ctrl-C, 143 by SIGTERM, 129 by SIGHUP.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from gapo_cli.errors import UserError, did_you_mean
from gapo_cli.hardware import let_threads_yield
from gapo_cli.processes.ranks import LostRank, ProcessesFailed
from gapo_cli.processes.screen import hide_screen
from gapo_cli.storage.streams import make_lasting
from gapo_cli.training.interrupts import Stopped, stop_by_signals

if TYPE_CHECKING:
    from gapo_cli.interfaces import Display

FAILED, MISTAKE, STOPPED = 1, 2, 130
# click's, or the copy of it inside typer, by the version of typer
UsageError: Any = typer.BadParameter.__base__


class Verbs(TyperGroup):
    """The commands; an unknown one is answered with the nearest."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        verbs = self.list_commands(ctx)
        if args[0] not in verbs and not args[0].startswith("-"):
            near = did_you_mean(args[0], verbs)
            raise UserError(f"gapo {args[0]}: unknown command; {near + ' ' if near else 'need one of '}({', '.join(verbs)})")
        return super().resolve_command(ctx, args)


app = typer.Typer(
    name="gapo",
    cls=Verbs,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Words = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="Settings, such as trainer.steps=40 or estimator=grpo.", show_default=False),
]
ConfigDir = Annotated[
    Path | None, typer.Option("--config-dir", metavar="DIR", help="A folder with your own yaml files, searched first.")
]
PrintConfig = Annotated[bool, typer.Option("--print-config", help="Show all settings with every choice applied, and stop.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show only errors.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


@app.callback(invoke_without_command=True)
def gapo(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version and stop.")] = False,
) -> None:
    """Reinforcement learning for models that edit code: GAPO, GRPO and DAPO, from the data set to the report.

    \b
    Start with:
      gapo train experiment=debug     a tiny run of every step, in under 30 seconds
      gapo train                      the default run, about two minutes on two CPU cores
    """
    if version:
        from importlib.metadata import version as installed_version

        typer.echo(installed_version("gapo-cli"))
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


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
        Path | None, typer.Option("--rerun", metavar="RUN", help="Repeat a finished run and say whether the results match.")
    ] = None,
    config_dir: ConfigDir = None,
    print_config: PrintConfig = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Train with GAPO, GRPO or DAPO. Prepares the data if it is missing. Ctrl-C stops the run with a checkpoint.

    \b
    Examples:
      gapo train
      gapo train estimator=grpo trainer.steps=40
      gapo train estimator=dapo seed=1
      gapo train tau=0.3 algorithm=dapo
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
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="FOLDER", help="Where to write the results.")] = None,
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
        Path | None, typer.Option("--output", "-o", metavar="FOLDER", help="With report: where to write the results.")
    ] = None,
    config_dir: ConfigDir = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Run a whole comparison, settings x seeds, paired by seed, and end with a verdict in words.

    Studies: main, ablation, tau, kl, corruption, robustness, or a yaml of your own in study/ of --config-dir. scale= nano, smollm2 or paper.
    study.seeds, study.budget, study.delta, study.measure and study.until_decided=true change a study.

    \b
    Examples:
      gapo study main scale=nano
      gapo study tau study.seeds=3 study.until_decided=true hydra/launcher=joblib
      gapo study main scale=paper --dry-run
      gapo study resume=outputs/study/FOLDER --retry-failed
      gapo study report outputs/study/FOLDER study.delta=0.02
      gapo study report outputs/train/A outputs/train/B
    """
    with open_display(quiet) as display:
        if words[0] == "report":
            from gapo_cli.launching.study_words import report_request
            from gapo_cli.stages.study import study_of_runs

            result = study_of_runs(*report_request(words[1:]), output, display)
        else:
            from gapo_cli.launching.studies import study as run_study

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
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="Where to write the page.")] = None,
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


@app.command()
def plan(
    words: Words = None,
    config_dir: ConfigDir = None,
    print_config: PrintConfig = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Estimate what a training run does and needs: tokens, optimizer steps, memory by part, operations, hours. Loads no model.

    \b
    Examples:
      gapo plan
      gapo plan model=qwen-coder-7b plan.memory_gib=80 plan.flops=4e14
      gapo plan trainer.layout=padded sampling.group_size=16 --json
    """
    found = enquire("plan", words, config_dir, print_config, quiet or as_json)
    if found is None:
        return
    from gapo_cli.reports.plan_tables import as_json as plan_json

    if as_json:
        print_json(plan_json(found))
    elif not quiet:
        from gapo_cli.console import show_plan

        show_plan(found)


@app.command()
def doctor(
    words: Words = None,
    config_dir: ConfigDir = None,
    print_config: PrintConfig = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Check this machine, and that training computes correctly on it; exit code 1 if something is wrong.

    The checks on the model: the engine has the trainer's log-probabilities and samples with the settings that were asked for;
    micro-batches and packing do not change the gradient; groups of equal rewards have advantage 0; new weights reach the
    engine; a checkpoint is read back as it was written.

    On several processes, each checks its own device.

    \b
    Examples:
      gapo doctor
      gapo doctor model=hf model.path=FOLDER trainer=cpu
      gapo doctor model=qwen-coder-7b engine=vllm --json
      gapo doctor trainer.processes=4     also: the processes compute the gradient of one
    """
    options = [*(["--json"] if as_json else []), *(["--quiet"] if quiet else []), *(["--debug"] if debug else [])]
    found = enquire("doctor", words, config_dir, print_config, quiet or as_json, options)
    if found is None:
        return
    if as_json:
        print_json(found.as_json())
    else:
        from gapo_cli.console import show_diagnosis

        show_diagnosis(found, only_failures=quiet)
    if not found.healthy:
        raise typer.Exit(FAILED)


def enquire(
    verb: str,
    words: Sequence[str] | None,
    config_dir: Path | None,
    print_config: bool,
    quiet: bool,
    options: Sequence[str] = (),
) -> Any:
    """Runs a verb that leaves no run behind and returns its stage's result; with `print_config` as `run_verb`. `options`: for the
    processes that it starts."""
    if print_config:
        return run_verb(verb, words, config_dir, print_config, quiet)
    from gapo_cli.launching import launch

    with open_display(quiet) as display:
        return launch.enquire(verb, words or [], display, config_dir, options)


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


def new_folder(verb: str) -> Path:
    """outputs/VERB/TIME, as Hydra names the folders of runs."""
    from datetime import datetime

    return Path("outputs") / verb / f"{datetime.now():%Y-%m-%d_%H-%M-%S-%f}"


def print_json(value: Any) -> None:
    import json

    typer.echo(json.dumps(value, indent=2))


def run_verb(
    verb: str,
    words: Sequence[str] | None,
    config_dir: Path | None,
    print_config: bool,
    quiet: bool,
    options: Sequence[str] = (),
) -> Any:
    """Runs a verb's stage and returns its result; with `print_config`, prints the composed config and returns None. `options`: for
    the processes that a run on several starts, beside --quiet."""
    if print_config:
        from gapo_cli.launching.composition import composed_yaml

        typer.echo(composed_yaml(verb, words or [], config_dir), nl=False)
        return None
    from gapo_cli.launching import launch

    with open_display(quiet) as display:
        return launch.run(verb, words or [], display, config_dir, [*options, *(["--quiet"] if quiet else [])])


@contextlib.contextmanager
def open_display(quiet: bool) -> Iterator[Display]:
    if quiet:
        from gapo_cli.interfaces import QuietDisplay

        yield QuietDisplay()
    else:
        from gapo_cli.console import ConsoleDisplay

        with ConsoleDisplay() as display:
            yield display


def run_command(arguments: Sequence[str]) -> int:
    """Runs one command line and returns its exit code; errors go to stderr as one sentence each."""
    debug = "--debug" in arguments
    try:
        code = app(args=[at_home(word) for word in arguments], prog_name="gapo", standalone_mode=False) or 0
    except (KeyboardInterrupt, typer.Abort):
        code = STOPPED
    except (UserError, UsageError) as error:
        if debug:
            raise
        say_error(error.format_message() if isinstance(error, UsageError) else str(error))
        return MISTAKE
    except ProcessesFailed as error:  # rank 0 has said why
        return error.exit_code
    except LostRank as error:
        say_error(str(error))
        return FAILED
    except Exception as error:
        if debug:
            raise
        if isinstance(error, OSError) and error.filename is not None:  # the machine's word: missing, read-only, full
            say_error(f"{error.filename}: cannot be read or written ({error.strerror}); name another file or folder")
            return MISTAKE
        say_error(f"internal error: {type(error).__name__}: {error}; rerun with --debug for the traceback")
        return FAILED
    if code == STOPPED:  # some versions of typer hand Ctrl-C on, others return this code for it
        say_error("stopped")
        return Stopped.exit_code
    return code


def at_home(word: str) -> str:
    """`~/x` and `--option=~/x` written out, as not every shell does; the values of settings are written out where they are read."""
    option, equals, path = word.rpartition("=")
    if not path.startswith("~/") or (equals and not option.startswith("--")):
        return word
    return option + equals + str(Path(path).expanduser())


def say_error(sentence: str) -> None:
    typer.echo(f"gapo: {sentence}", err=True)


def main() -> None:
    hidden = hide_screen()
    screen = make_lasting()
    stop_by_signals()
    let_threads_yield()
    code = run_command(sys.argv[1:])
    screen.flush()
    if screen.failure is not None:
        say_error(f"standard output cannot be written ({screen.failure}); send it somewhere else")
        code = code or MISTAKE
    if code and hidden is not None:
        hidden.show_what_is_kept_nowhere()
    sys.exit(code)
