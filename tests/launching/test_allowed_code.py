"""A yaml from somebody else's folder runs no code: each attack is composed by the real command."""

import pytest
import yaml

from gapo_cli.cli.entry import run_command
from gapo_cli.errors import UserError
from gapo_cli.launching.allowed_code import check_hydra, check_parts
from gapo_cli.launching.composition import command_overrides
from gapo_cli.launching.sweeps import settings_of, without_trust

MODULE = """\
from pathlib import Path
Path({marker!r}).write_text("imported")

def spring(*arguments, **settings):
    Path({marker!r}).write_text("called")

class Estimator:
    def __call__(self, rewards, lengths=None):
        raise NotImplementedError
"""


@pytest.fixture
def trap(tmp_path, monkeypatch):
    """A module `their_trap` on the Python path, whose import and whose `spring` leave a file behind."""
    marker = tmp_path / "sprung"
    (tmp_path / "their_trap.py").write_text(MODULE.format(marker=str(marker)))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return marker


CALL = {"_target_": "their_trap.spring"}
NANO = {"_target_": "gapo_cli.prompts.nano.NanoTemplate"}
IN_YAML = [
    (
        "estimator/mine",
        CALL,
        "estimator._target_=their_trap.spring: is code that is not gapo's own; if you trust it, say so on the command line",
    ),
    ("estimator/mine", {"_target_": "builtins.exec"}, "by allow_targets=[builtins]"),
    ("prompt/mine", NANO | {"history_events": CALL}, "prompt.history_events._target_=their_trap.spring: is code"),
    ("prompt/mine", NANO | {"history_events": [CALL]}, "prompt.history_events.0._target_=their_trap.spring: is code"),
    (
        "prompt/mine",
        NANO | {"history_events": "${oc.create:{_target_:their_trap.spring}}"},
        "history_events._target_=their_trap.spring: is code",
    ),
    # a module of gapo's is no door to what it imports, and a function that writes or removes is no part
    (
        "estimator/mine",
        {"_target_": "gapo_cli.storage.files.shutil.rmtree", "path": "their_trap.py"},
        "is code that is not gapo's own",
    ),
    ("estimator/mine", {"_target_": "gapo_cli.tasks.git.git_folder.subprocess.run"}, "cannot be imported"),
    ("estimator/mine", {"_target_": "gapo_cli.tasks.git.git_folder.shutil"}, "is no class of gapo's own"),
    (
        "prompt/mine",
        NANO | {"history_events": {"_target_": "gapo_cli.tasks.sets.store.save_task_set"}},
        "is no class of gapo's own",
    ),
    ("estimator/mine", {"_target_": "gapo_cli.tasks.git_history.Path"}, "is no class of gapo's own"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("option", "section", "sentence"), IN_YAML)
def test_a_part_of_a_strangers_yaml_runs_nothing(trap, tmp_path, capsys, option, section, sentence):
    file = tmp_path / "theirs" / f"{option}.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(yaml.safe_dump(section))
    assert run_command(["train", "--config-dir", "theirs", option.replace("/", "=")]) == 2
    assert sentence in capsys.readouterr().err
    assert not trap.exists()


WHOLE = [
    (
        {"hydra": {"callbacks": {"theirs": CALL}}},
        "hydra.callbacks.theirs._target_=their_trap.spring: is code that is not gapo's own",
    ),
    (
        {"hydra": {"callbacks": "${oc.create:{theirs:{_target_:their_trap.spring}}}"}},
        "could resolve to any code; write the value out",
    ),
    ({"hydra": {"launcher": CALL}}, "hydra.launcher._target_=their_trap.spring: is code"),
    (
        {"hydra": {"job_logging": {"version": 1, "formatters": {"theirs": {"()": "their_trap.spring"}}}}},
        "job_logging.formatters.theirs.()=their_trap",
    ),
    (
        {"hydra": {"job_logging": {"version": 1, "filters": {"theirs": {"x": "ext://their_trap.spring"}}}}},
        "could resolve to any code",
    ),
    (
        {"hydra": {"job": {"env_set": {"LD_PRELOAD": "their.so"}}}},
        "hydra.job.env_set: environment variables can make programs run code",
    ),
    ({"allow_targets": ["their_trap"]}, "allow_targets=['their_trap']: is set in a yaml; only the command line"),
    ({"model": {"trust_remote_code": True}}, "model.trust_remote_code: is set in a yaml; only the command line"),
]


@pytest.mark.parametrize(("values", "sentence"), WHOLE)
def test_an_overlay_of_a_stranger_runs_nothing(trap, tmp_path, capsys, values, sentence):
    (tmp_path / "theirs" / "experiment").mkdir(parents=True)
    (tmp_path / "theirs" / "experiment" / "nice.yaml").write_text("# @package _global_\n" + yaml.safe_dump(values))
    assert run_command(["train", "--config-dir", "theirs", "experiment=nice"]) == 2
    assert sentence in capsys.readouterr().err
    assert not trap.exists()


def test_the_command_line_can_allow_a_package(trap, tmp_path, capsys):
    served = ["engine=openai", "engine.base_url=http://127.0.0.1:9/v1", "engine.model=m"]
    words = ["plan", *served, "estimator._target_=their_trap.Estimator", "~estimator.tau"]
    assert run_command(words) == 2
    assert not trap.exists()
    assert run_command([*words, "allow_targets=[their_trap]"]) == 2
    assert "gapo plan: a served model" in capsys.readouterr().err  # what comes after the parts are built
    assert trap.read_text() == "imported"


@pytest.mark.parametrize("value", ["their_trap", "[1]", "['a b']", "['']"])
def test_what_is_allowed_is_a_list_of_names(capsys, value):
    assert run_command(["plan", f"allow_targets={value}"]) == 2
    assert "need names of packages, as allow_targets=[my_package]" in capsys.readouterr().err


def test_a_package_whose_name_begins_alike_is_another():
    values = {"model": {}, "estimator": {"_target_": "their_trap_too.spring"}}
    with pytest.raises(UserError, match=r"allow_targets=\[their_trap_too\]"):
        check_parts(values, ["their_trap"])
    check_parts(values, ["their_trap_too"])


def test_a_part_trusts_a_models_code_only_where_the_command_line_does():
    values = {"model": {"trust_remote_code": False}, "prompt": {"counter": {"trust_remote_code": True}}}
    with pytest.raises(UserError, match=r"prompt.counter.trust_remote_code=True: lets a model's own code run"):
        check_parts(values, [])
    check_parts(values | {"model": {"trust_remote_code": True}}, [])


def test_launchers_that_are_installed_and_plain_logging_are_fine():
    handler = {"class": "logging.StreamHandler", "stream": "ext://sys.stdout"}
    check_hydra(
        {
            "launcher": {"_target_": "hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher"},
            "job_logging": {
                "handlers": {"console": handler, "file": {"class": "logging.FileHandler", "filename": "${hydra.job.name}.log"}}
            },
        },
        [],
    )


def test_a_run_that_is_resumed_does_not_bring_its_trust_along(tmp_path):
    saved = ["estimator=grpo", "allow_targets=[their_trap]", "model.trust_remote_code=true", "verb=train"]
    (tmp_path / ".hydra").mkdir()
    (tmp_path / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump(saved))
    words = command_overrides("train", [f"resume={tmp_path}", "model.trust_remote_code=false"])
    assert "estimator=grpo" in words
    assert not [word for word in words if "their_trap" in word or word == "model.trust_remote_code=true"]


def test_a_sweep_that_goes_on_does_not_bring_its_trust_along():
    words = ["tau=0.3,0.5", "allow_targets=[their_trap]", "model.trust_remote_code=true"]
    assert without_trust(words) == ("tau=0.3,0.5",)
    assert settings_of(words) == settings_of(words[:1])  # said again or not, it is the same sweep


def test_a_run_that_is_repeated_does_not_bring_its_trust_along(trap, tmp_path, capsys):
    run = tmp_path / "run"
    (run / ".hydra").mkdir(parents=True)
    (run / "outcome.json").write_text('{"status": "done"}')
    (run / "environment.json").write_text('{"threads": 1}')
    theirs = {"allow_targets": ["their_trap"], "trainer": {"threads": 1}, "estimator": {"_target_": "their_trap.Estimator"}}
    (run / "config.resolved.yaml").write_text(yaml.safe_dump(theirs))
    (run / ".hydra" / "overrides.yaml").write_text(
        yaml.safe_dump(["estimator._target_=their_trap.Estimator", "~estimator.tau", "allow_targets=[their_trap]"])
    )
    (run / ".hydra" / "hydra.yaml").write_text(yaml.safe_dump({"hydra": {"runtime": {"config_sources": []}}}))
    assert run_command(["train", "--rerun", str(run)]) == 2
    assert "their_trap.Estimator: is code that is not gapo's own" in capsys.readouterr().err
    assert not trap.exists()
