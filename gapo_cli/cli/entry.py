"""From the words of a command line to an exit code: errors as one sentence each, signals, and what becomes of the screen."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import typer

# the commands, in the order in which help lists them
# isort: off
from gapo_cli.cli import runs  # noqa: F401
from gapo_cli.cli import comparisons  # noqa: F401
from gapo_cli.cli import exports  # noqa: F401
from gapo_cli.cli import machine  # noqa: F401

# isort: on
from gapo_cli.cli.app import app
from gapo_cli.cli.running import FAILED, MISTAKE, STOPPED
from gapo_cli.errors import UserError, first_line
from gapo_cli.hardware import let_threads_yield
from gapo_cli.launching.overrides import at_home
from gapo_cli.processes.ranks import LostRank, ProcessesFailed
from gapo_cli.processes.screen import hide_screen
from gapo_cli.storage.streams import make_lasting
from gapo_cli.training.interrupts import Stopped, stop_by_signals

# click's, or the copy of it inside typer, by the version of typer
UsageError: Any = typer.BadParameter.__base__


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
        say_error(f"internal error: {type(error).__name__}: {first_line(error)}; rerun with --debug for the traceback")
        return FAILED
    if code == STOPPED:  # some versions of typer hand Ctrl-C on, others return this code for it
        say_error("stopped")
        return Stopped.exit_code
    return code


def say_error(sentence: str) -> None:
    typer.echo(f"gapo: {sentence}", err=True)
