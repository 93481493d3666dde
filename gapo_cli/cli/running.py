"""How a command runs: a verb's stage under a display, or the composed settings shown instead."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from gapo_cli.interfaces import Display

FAILED, MISTAKE, STOPPED = 1, 2, 130
"""Exit codes; a signal that stops a command has its own."""


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


@contextlib.contextmanager
def open_display(quiet: bool) -> Iterator[Display]:
    if quiet:
        from gapo_cli.interfaces import QuietDisplay

        yield QuietDisplay()
    else:
        from gapo_cli.console import ConsoleDisplay

        with ConsoleDisplay() as display:
            yield display


def new_folder(verb: str) -> Path:
    """outputs/VERB/TIME, as Hydra names the folders of runs."""
    from datetime import datetime

    return Path("outputs") / verb / f"{datetime.now():%Y-%m-%d_%H-%M-%S-%f}"


def print_json(value: Any) -> None:
    import json

    typer.echo(json.dumps(value, indent=2))
