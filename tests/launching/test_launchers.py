"""Our three launchers of Hydra: what they set, what is said where their plugin is missing, and a sweep by each whose plugin is installed."""

import importlib.util
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf
from parts import smallest, write_tasks
from warm_python import warm_up

from gapo_cli.cli.entry import run_command
from gapo_cli.launching import sweeps
from gapo_cli.launching.composition import LAUNCHER, PLUGINS, compose_overrides, open_tree

MODULES = {
    "cores": "hydra_plugins.hydra_joblib_launcher",
    "slurm": "hydra_plugins.hydra_submitit_launcher",
    "local_ray": "hydra_plugins.hydra_ray_launcher",
}
EXTRAS = {"cores": "joblib", "slurm": "slurm", "local_ray": "ray"}


def is_installed(launcher):
    try:
        return importlib.util.find_spec(MODULES[launcher]) is not None
    except ModuleNotFoundError:
        return False


def need(launcher):
    if not is_installed(launcher):
        pytest.skip(f"the plugin behind hydra/launcher={launcher} is not installed: pip install 'gapo-cli[{EXTRAS[launcher]}]'")


@pytest.mark.parametrize("launcher", PLUGINS)
def test_each_launcher_composes_or_says_what_to_install(launcher, tmp_path, capsys, monkeypatch):
    if is_installed(launcher):
        with open_tree(None) as hydra:
            config = compose_overrides(hydra, [f"{LAUNCHER}={launcher}", "verb=train"], sweep=True)
        assert config.hydra.launcher._target_.startswith(MODULES[launcher])
    else:
        monkeypatch.chdir(tmp_path)
        assert run_command(["sweep", "seed=0,1", f"{LAUNCHER}={launcher}"]) == 2
        wanted = f"gapo: hydra/launcher={launcher}: needs: pip install 'gapo-cli[{EXTRAS[launcher]}]'\n"
        assert capsys.readouterr().err == wanted


def test_a_job_gets_the_cores_that_its_launcher_asks_for(monkeypatch):
    monkeypatch.setattr(sweeps, "usable_cores", lambda: 12)

    def threads(launcher, jobs):
        return sweeps.threads_per_job(OmegaConf.create({"hydra": {"launcher": launcher}}), jobs)

    assert threads({"cpus_per_task": 8}, 30) == 8
    assert threads({"ray": {"remote": {"num_cpus": 3}}}, 30) == 3
    assert threads({"ray": {"remote": {"num_cpus": 0.5}}}, 30) == 1
    assert threads({"cpus_per_task": None}, 4) == 3
    assert threads({"n_jobs": 2}, 4) == 6
    assert threads({"n_jobs": -1}, 4) == 3


def test_a_job_that_a_cluster_starts_again_goes_on_from_its_checkpoint(tmp_path, monkeypatch):
    folder, seen = tmp_path / "0", []
    folder.mkdir()
    monkeypatch.setattr(sweeps.HydraConfig, "get", lambda: SimpleNamespace(runtime=SimpleNamespace(output_dir=str(folder))))

    def stage(config, display):
        seen.append(config.resume)
        if len(seen) == 1:
            raise KeyboardInterrupt  # the machine is taken away

    monkeypatch.setattr(sweeps, "run_stage", stage)
    config = OmegaConf.create({"resume": None})
    with pytest.raises(KeyboardInterrupt):
        sweeps.perform_job(config, ["seed=0"], quiet=True, parallel=True)
    sweeps.perform_job(config, ["seed=0"], quiet=True, parallel=True)
    assert seen == [None, "auto"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("launcher", "plugin", "settings"),
    [
        # Slurm's jobs as processes of this machine: the same code, without sbatch
        ("submitit_local", "slurm", ["hydra.launcher.cpus_per_task=1"]),
        ("local_ray", "local_ray", []),
    ],
)
def test_a_sweep_by_each_launcher_trains_every_job_and_goes_on_with_one_that_is_missing(
    launcher, plugin, settings, tmp_path, monkeypatch, tiny_model_folder
):
    need(plugin)
    monkeypatch.chdir(tmp_path)
    words = [word for word in smallest(write_tasks(tmp_path / "mine.jsonl"), tiny_model_folder) if "threads" not in word]
    given = ["seed=0,1", f"{LAUNCHER}={launcher}", *settings, "trainer.steps=1", "hydra.sweep.dir=one", "data.directory=made"]
    with monkeypatch.context() as patch:
        if plugin == "slurm":
            warm_up(patch)
        assert run_command(["sweep", *words, *given, "-q"]) == 0
    for job in ("0", "1"):
        assert json.loads(Path("one", job, "outcome.json").read_text())["status"] == "done"
        assert json.loads(Path("one", job, "environment.json").read_text())["threads"] == 1
    kept = Path("one", "0", "outcome.json").stat().st_mtime_ns
    # as a job is left that its cluster never started; it has a new interpreter
    shutil.rmtree(Path("one", "1"))
    assert run_command(["sweep", "resume=one", "-q"]) == 0
    assert json.loads(Path("one", "1", "outcome.json").read_text())["status"] == "done"
    assert Path("one", "0", "outcome.json").stat().st_mtime_ns == kept
