"""A folder that holds something is never written over, whoever asks."""

from pathlib import Path

import pytest

from gapo_cli.errors import UserError
from gapo_cli.runs.claim import check_free, check_new, claim_run, folder_named, names_in, verb_of


def settled(folder, verb, *others):
    """What a run of `verb` leaves: its settings and `others`."""
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "config.yaml").write_text(f"verb: {verb}\n")
    (folder / "config.resolved.yaml").write_text(f"verb: {verb}\n")
    for name in others:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def refusal(folder, verb="train", resume=None, keeps_answers=False):
    """The words between the folder and the way out; None where the run may write there."""
    try:
        claim_run(folder, verb, resume, keeps_answers=keeps_answers)
    except UserError as error:
        named, _, rest = str(error).partition(": holds ")
        assert named == f"hydra.run.dir={folder}"
        return rest
    return None


def test_a_folder_that_is_missing_or_empty_is_free(tmp_path):
    assert refusal(tmp_path / "none") is None
    assert refusal(tmp_path) is None


def test_what_a_run_left_that_never_got_anywhere_is_free(tmp_path):
    settled(tmp_path, "rollout", ".lock", "outcome.json", "environment.json", "learner.json", ".metrics.jsonl.abcd1234.tmp")
    assert refusal(tmp_path) is None


def test_a_run_that_was_killed_as_it_began_is_free(tmp_path):
    (tmp_path / ".hydra").mkdir()
    (tmp_path / ".lock").touch()
    assert refusal(tmp_path) is None
    (tmp_path / ".hydra" / "config.yaml").touch()
    assert refusal(tmp_path) is None


def test_files_of_another_program_that_are_called_as_ours_are_not_free(tmp_path):
    (tmp_path / "environment.json").write_text("{}")
    assert refusal(tmp_path) == "files that this command did not write (environment.json); name another folder"
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / ".hydra").mkdir()
    (tmp_path / "b" / ".hydra" / "config.yaml").write_text("lr: 0.1\n")
    assert refusal(tmp_path / "b") == "files that this command did not write (.hydra); name another folder"


@pytest.mark.parametrize("verb", ["prepare", "rollout", "eval", "train"])
def test_no_verb_writes_into_the_run_of_a_training(verb, tmp_path):
    settled(tmp_path, "train", "metrics.jsonl", "checkpoints/step-00002/manifest.json")
    resume = f", or go on with it by resume={tmp_path}" if verb == "train" else ""
    assert refusal(tmp_path, verb) == f"a run of gapo train; name another folder{resume}"


def test_training_does_not_write_over_an_evaluation(tmp_path):
    settled(tmp_path, "eval", "eval/step-00000.json")
    assert refusal(tmp_path) == "a run of gapo eval; name another folder"
    assert refusal(tmp_path, resume="auto") == "a run of gapo eval; name another folder"


def test_checkpoints_and_files_of_somebody_else_are_named(tmp_path):
    for step in (60, 80, 100, 120):
        (tmp_path / "a" / "checkpoints" / f"step-{step:05d}").mkdir(parents=True)
    assert refusal(tmp_path / "a") == ("checkpoints/ with step-00060, step-00080, step-00100 and 1 more; name another folder")
    for name in ("report.html", "notes.txt"):
        (tmp_path / name).touch()
    assert refusal(tmp_path) == "files that this command did not write (a, notes.txt, report.html); name another folder"


def test_training_goes_on_in_its_folder_by_resume_and_not_by_that_of_another_run(tmp_path):
    run = settled(tmp_path / "run", "train", "metrics.jsonl")
    other = settled(tmp_path / "other", "train", "metrics.jsonl")
    assert refusal(run, resume="auto") is None
    assert refusal(run, resume=str(run)) is None
    assert refusal(run, resume=str(run / "checkpoints" / "step-00002")) is None
    assert refusal(run, resume=str(other)).startswith("a run of gapo train; ")


def test_resume_auto_does_not_begin_among_files_of_somebody_else(tmp_path):
    (tmp_path / "report.html").touch()
    assert refusal(tmp_path, resume="auto") == "files that this command did not write (report.html); name another folder"
    (tmp_path / "checkpoints" / "step-00080").mkdir(parents=True)
    assert refusal(tmp_path, resume=str(tmp_path)) == "checkpoints/ with step-00080; name another folder"


def test_rollouts_and_answers_under_way_go_on_and_results_stay(tmp_path):
    run = settled(tmp_path / "rollout", "rollout", "rollouts.parts/plan.json")
    assert refusal(run, "rollout") is None
    assert refusal(run, "eval") == "a run of gapo rollout; name another folder"
    (run / "rollouts.parquet").touch()
    assert refusal(run, "rollout") == "a run of gapo rollout; name another folder"
    asked = settled(tmp_path / "eval", "eval", "answers.jsonl")
    assert refusal(asked, "eval", keeps_answers=True) is None


@pytest.mark.parametrize(("files", "kind"), [(["sweep.json"], "sweep"), (["sweep.json", "study.json"], "study")])
def test_a_sweep_and_a_study_say_how_to_go_on(files, kind, tmp_path):
    for name in files:
        (tmp_path / name).touch()
    with pytest.raises(UserError) as raised:
        check_free(tmp_path, f"hydra.sweep.dir={tmp_path}", resumed_by=kind)
    assert str(raised.value) == (
        f"hydra.sweep.dir={tmp_path}: holds a {kind} already; name another folder, or go on with it by resume={tmp_path}"
    )


@pytest.mark.parametrize(
    ("file", "what"), [("lab.json", "the results of gapo lab"), ("verdicts.json", "the results of gapo study report")]
)
def test_results_are_not_written_over(file, what, tmp_path):
    (tmp_path / file).touch()
    with pytest.raises(UserError, match=f"--output {tmp_path}: holds {what}; name another folder"):
        check_free(tmp_path, f"--output {tmp_path}")


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="--output x: is a file; name a folder"):
        check_free(tmp_path / "file", "--output x")


@pytest.mark.parametrize("value", ["", " ", None])
def test_an_empty_value_has_a_sentence_of_its_own(value):
    with pytest.raises(UserError, match="hydra.run.dir=: is empty"):
        folder_named("hydra.run.dir", value)


def test_a_damaged_config_names_no_verb(tmp_path):
    (tmp_path / "config.resolved.yaml").write_text("verb: [")
    assert verb_of(tmp_path) is None
    assert names_in(tmp_path / "none") == set()


def test_a_link_to_what_is_not_there_is_named(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    with pytest.raises(UserError, match="^link: is a link to what is not there; name a folder$"):
        check_free(tmp_path / "link", "link")


def test_a_folder_that_a_shell_is_in_or_a_disk_is_mounted_at_is_no_new_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"^\.: is the folder that you are in; name a new folder in it$"):
        check_new(Path(), ".")
    check_new(tmp_path / "new", "new")
    monkeypatch.setattr(Path, "is_mount", lambda path: path.name == "disk")
    with pytest.raises(UserError, match="^disk: a disk is mounted there; name a new folder in it$"):
        check_new(tmp_path / "disk", "disk")
