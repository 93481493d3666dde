"""The app, what it says of itself, and the options that its commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from gapo_cli.errors import UserError, did_you_mean


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


def path(text: str) -> Path:
    """What is typed for a file or folder. Path("") would be the working folder."""
    if not text.strip():
        raise typer.BadParameter("it is empty (perhaps a variable that is not set)")
    return Path(text)


Words = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="Settings, such as trainer.steps=40 or estimator=grpo.", show_default=False),
]
ConfigDir = Annotated[
    Path | None,
    typer.Option("--config-dir", metavar="DIR", parser=path, help="A folder with your own yaml files, searched first."),
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
    """Reinforcement learning for models that edit code: GAPO, GRPO, DAPO, PPO and DPO, from the data set to the report.

    \b
    Start with:
      gapo train experiment=debug     a tiny run, about 30 seconds on two free cores
      gapo train                      the default run, about two minutes on two free cores
    """
    if version:
        from importlib.metadata import version as installed_version

        typer.echo(installed_version("gapo-cli"))
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())
