"""The studies that ship, at every scale, and the words that change them."""

from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf

import gapo_cli.conf
from gapo_cli.errors import UserError
from gapo_cli.interfaces import QuietDisplay
from gapo_cli.launching.building import build_experiment
from gapo_cli.launching.composition import compose_overrides, open_tree, without_hydra
from gapo_cli.launching.studies import make_plan, one_seed, study
from gapo_cli.launching.study_words import report_request, requested_study
from gapo_cli.planning.cost import parameters
from gapo_cli.planning.model_shape import find_shape
from gapo_cli.runs.layout import CONFIG, OUTCOME, SWEEP_PLAN
from gapo_cli.runs.study_definition import save_definition
from gapo_cli.runs.sweep_plan import SweepPlan, folder_of, save_plan
from gapo_cli.storage.files import write_json

STUDY = Path(gapo_cli.conf.__path__[0]) / "study"
STUDIES, SCALES = (sorted(path.stem for path in folder.glob("*.yaml")) for folder in (STUDY, STUDY / "scale"))


def experiments(name, scale):
    """Of one seed's jobs: at scale=nano every setting, at the others every model."""
    definition = requested_study([name, f"scale={scale}"])
    with open_tree(None) as hydra:
        plan, _ = make_plan(hydra, definition, [name], None)
        jobs = one_seed(plan.jobs)
        chosen = jobs if scale == "nano" else jobs[:: len(definition.settings)]
        for job in chosen:
            config = compose_overrides(hydra, [*plan.overrides, *job.overrides])
            yield job, build_experiment(without_hydra(config), config.hydra.runtime.choices, Path())


@pytest.mark.slow
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", STUDIES)
def test_every_study_composes_at_every_scale(name, scale):
    for job, experiment in experiments(name, scale):
        assert experiment.verb == "train"
        if scale == "paper":
            trainer = experiment.trainer
            assert (trainer.prompts_per_step, trainer.prompts_per_mini_batch, experiment.sampling.group_size) == (512, 32, 8)
            assert trainer.optimizer.learning_rate == 1e-6
            assert parameters(find_shape(experiment.model)) > 3e9, job.setting


def test_the_main_study_at_the_papers_scale_has_its_nine_models_and_four_settings():
    definition = requested_study(["main", "scale=paper"])
    assert (len(definition.across), len(definition.settings), definition.seeds) == (9, 4, 3)
    assert len(definition.jobs(range(3))) == 9 * 4 * 3


@pytest.mark.slow
def test_corruption_reaches_the_experiment_and_no_corruption_is_none():
    found = {job.setting: experiment.corruption for job, experiment in experiments("corruption", "nano")}
    assert found["gapo, p = 0"] is None
    assert (found["gapo, p = 0.05"].kind, found["gapo, p = 0.05"].probability) == ("flip", 0.05)


def test_jobs_run_seed_by_seed_and_the_users_experiment_replaces_the_scales(tmp_path):
    definition = requested_study(["tau", "study.seeds=2", "experiment=nano_16_updates"])
    assert [job.label for job in definition.jobs(range(2))][4:6] == ["tau 0.9 seed=0", "tau 0.1 seed=1"]
    assert definition.settings["tau 0.3"] == ("estimator=gapo", "estimator.tau=0.3")
    assert "experiment=nano_16_updates" in definition.overrides


@pytest.mark.slow
def test_the_preset_takes_16_optimizer_steps_a_rollout_batch():
    (_, experiment), *_ = [(job, one) for job, one in experiments("main", "nano")]
    assert experiment.trainer.prompts_per_step // experiment.trainer.prompts_per_mini_batch == 2
    with open_tree(None) as hydra:
        config = compose_overrides(hydra, ["verb=train", "experiment=nano_16_updates"])
    assert config.trainer.prompts_per_step // config.trainer.prompts_per_mini_batch == 16


@pytest.mark.slow
def test_a_dry_run_says_what_is_needed_and_what_would_be_run(tmp_path, monkeypatch):
    lines = []

    class Said(QuietDisplay):
        def say(self, text):
            lines.append(text)

    monkeypatch.chdir(tmp_path)
    assert study(["main", "scale=nano", "study.seeds=2"], Said(), dry_run=True) is None
    assert lines[0] == "scale=nano needs: two CPU cores, 2 to 3 minutes a job"
    assert lines[1] == "8 jobs: 4 settings x 2 seeds, every one composes"
    assert lines[2].startswith("GRPO: gapo plan evaluation.every_steps=40 algorithm=grpo estimator=grpo")
    assert list(tmp_path.iterdir()) == []
    lines.clear()
    study(["baselines", "scale=nano", "study.seeds=1", "trainer.budget_tokens=1000000"], Said(), dry_run=True)
    assert all(": gapo plan " in line for line in lines if line.startswith(("SFT", "DPO", "GAPO")))


OWN = {
    "settings": {"a": ["estimator=grpo"], "b": ["estimator=gapo"]},
    "comparisons": [["b", "a"]],
    "overrides": ["trainer.steps=2"],
}


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"seeds": 1.5}, "study own.seeds=1.5: need a whole number"),
        ({"seeds": "two"}, "study own.seeds=two: need a whole number"),
        ({"delta": "abc"}, "study own.delta=abc: need a number"),
        ({"sedes": 3}, "study own.sedes: unknown key; did you mean study own.seeds?"),
        ({"settings": ["a", "b"]}, "study own.settings=[a,b]: need a section of names, each with its value"),
        ({"settings": {"a": None, "b": []}}, "study own.settings.a=null: need a list"),
        ({"settings": {"a": [3], "b": []}}, "3: need KEY=VALUE"),
        ({"settings": {"a": "estimator=grpo", "b": []}}, "study own.settings.a=estimator=grpo: need a list"),
        ({"settings": {"a": ["seed=3"], "b": ["estimator=gapo"]}}, "study own: a setting sets seed, which the study does"),
        ({"settings": {"a": ["tau=0.5"], "b": ["tau=0.5"]}}, "study own: settings a and b: are the same"),
        ({"overrides": "trainer.steps=3"}, "study own.overrides=trainer.steps=3: need a list"),
        ({"comparisons": []}, "study own: comparisons: need at least one pair of a, b"),
        ({"comparisons": [["b", "b"]]}, "study own: comparison ['b', 'b']: need two of a, b"),
        ({"comparisons": [["c", "a"]]}, "study own: comparison ['c', 'a']: need two of a, b"),
        ({"comparisons": [["b", "a"], ["b", "a"]]}, "study own: comparison ['b', 'a']: stands there twice"),
        ({"paper": [{"title": "no rows"}]}, "study own.paper.columns: needs a value"),
    ],
)
def test_a_study_of_ones_own_that_cannot_be_is_refused_in_a_sentence(changed, sentence, tmp_path):
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "own.yaml").write_text(yaml.safe_dump(OWN | changed))
    with pytest.raises(UserError) as caught:
        requested_study(["own"], tmp_path)
    assert str(caught.value).startswith(sentence)


def test_names_of_settings_are_texts_also_where_yaml_reads_numbers(tmp_path):
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "own.yaml").write_text("settings: {1: [tau=0.1], 2: [tau=0.2]}\ncomparisons: [[2, 1]]\n")
    definition = requested_study(["own"], tmp_path)
    assert (list(definition.settings), definition.comparisons) == (["1", "2"], (("2", "1"),))


def test_the_last_scale_that_is_typed_counts():
    assert requested_study(["main", "scale=huge", "scale=smollm2"]).scale == "smollm2"


@pytest.mark.parametrize("only", ["['grpo, p = 0','gapo, p = 0']", "'grpo, p = 0', \"gapo, p = 0\""])
def test_settings_whose_names_hold_commas_are_chosen_in_quotes(only):
    assert list(requested_study(["corruption", f"study.only={only}"]).settings) == ["grpo, p = 0", "gapo, p = 0"]
    with pytest.raises(UserError, match=r"study\.only=grpo: no setting is called so; need one of 'grpo, p = 0'; "):
        requested_study(["corruption", "study.only=grpo, p = 0,gapo, p = 0"])


def test_one_name_with_a_comma_needs_no_quotes():
    with pytest.raises(UserError, match="settings: need at least two"):  # it is found, and there is nothing to compare it with
        requested_study(["corruption", "study.only=grpo, p = 0"])


@pytest.mark.parametrize(
    "word", ["study.seeds=1", "study.budget=3", "study.until_decided=true", "study.only=a", "study.reuse=b"]
)
def test_a_report_is_over_the_jobs_that_have_been_run(word, tmp_path):
    with pytest.raises(UserError, match=rf"{word.partition('=')[0]}: gapo study report trains nothing"):
        report_request([str(tmp_path), word])


@pytest.mark.parametrize("words", [["main"], ["tau=0.3"], ["study.seeds=3"]])
def test_a_study_goes_on_with_the_words_that_it_was_started_with_and_no_others(words, tmp_path):
    definition = requested_study(["main", "scale=nano"])
    save_definition(tmp_path, definition)
    save_plan(tmp_path, SweepPlan(("main", "scale=nano"), None, (), definition.jobs(range(1)), "study"))
    with pytest.raises(
        UserError, match="was started as `gapo study main scale=nano`; leave other settings out, or start another study"
    ):
        study([*words, f"resume={tmp_path}"], QuietDisplay())


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], f"gapo study: name a study first: {', '.join(STUDIES)}"),
        (["mian"], "mian: unknown study; did you mean main?"),
        (["main", "scale=pico"], "pico: unknown scale; "),
        (["main", "estimator=gapo"], "estimator=gapo: is what the study sets itself; leave it out"),
        (["main", "seed=3"], "seed=3: is what the study sets itself; leave it out, study.seeds=N says how many seeds"),
        (["main", "study.seads=3"], "study.seads=3: no such setting of a study; did you mean seeds?"),
        (["main", "study.delta=-1"], "study.delta=-1.0: need 0 or more"),
        (["main", "study.seeds=many"], "study.seeds=many: need a whole number"),
        (["main", "study.measure=loss"], "study.measure=loss: need one of greedy_final, sampled_final"),
    ],
)
def test_mistakes_are_answered_in_one_sentence(words, sentence):
    with pytest.raises(UserError) as caught:
        requested_study(words)
    assert sentence in str(caught.value)


def test_a_part_of_a_study_is_chosen_by_patterns_of_its_settings_names():
    definition = requested_study(["corruption", "study.only=*p = 0,*p = 0.2"])
    assert list(definition.settings) == [
        "grpo, p = 0",
        "gapo, p = 0",
        "median, p = 0",
        "grpo, p = 0.2",
        "gapo, p = 0.2",
        "median, p = 0.2",
    ]
    assert ("gapo, p = 0.2", "grpo, p = 0.2") in definition.comparisons
    assert all("0.05" not in name for pair in definition.comparisons for name in pair)
    with pytest.raises(UserError, match=r"study\.only=tau: no setting is called so"):
        requested_study(["corruption", "study.only=tau"])


@pytest.mark.slow
def test_a_finished_run_of_the_same_settings_stands_for_a_job_and_no_other_does(tmp_path):
    words = ["tau", "study.seeds=1", "study.only=tau 0.3,tau 0.5"]
    with open_tree(None) as hydra:
        plan, _ = make_plan(hydra, requested_study(words), words, None)
        for number, (job, status) in enumerate(zip(plan.jobs, ("done", "failed"), strict=True)):
            config = without_hydra(compose_overrides(hydra, [*plan.overrides, *job.overrides, "trainer.threads=7"]))
            run = tmp_path / str(number)
            run.mkdir()
            (run / CONFIG).write_text(OmegaConf.to_yaml(config, resolve=True))
            write_json(run / OUTCOME, {"status": status})
            write_json(tmp_path / SWEEP_PLAN, {})
        reusing = requested_study([*words, f"study.reuse={tmp_path}"])
        again, _ = make_plan(hydra, reusing, words, None)
        other_lengths, _ = make_plan(
            hydra, requested_study([*words, f"study.reuse={tmp_path}", "trainer.steps=7"]), words, None
        )
    assert [job.taken_from for job in again.jobs] == [str(tmp_path / "0"), ""]
    assert [job.taken_from for job in other_lengths.jobs] == ["", ""]
    assert folder_of(tmp_path / "study", again.jobs[0]) == tmp_path / "0"


def test_a_folder_without_runs_cannot_be_reused(tmp_path):
    words = ["tau", f"study.reuse={tmp_path}"]
    with open_tree(None) as hydra, pytest.raises(UserError, match="holds no training run"):
        make_plan(hydra, requested_study(words), words, None)
