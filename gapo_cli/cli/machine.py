"""The commands that ask about a machine before a run: plan, doctor."""

from __future__ import annotations

import typer

from gapo_cli.cli.app import AsJson, ConfigDir, Debug, PrintConfig, Quiet, Words, app
from gapo_cli.cli.running import FAILED, enquire, print_json


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
      gapo plan stage=dpo dpo.pairs=sampled
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
