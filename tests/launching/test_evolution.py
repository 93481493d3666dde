"""A whole search with runs that are made up: what is run on which split, what is taken up after a kill, and what is said of
mistakes."""

import json
from pathlib import Path

import pytest
from fake_search import SPACE, FakeLaunch, Killed
from parts import Listening, smallest, write_tasks

pytest.importorskip("deap", reason="needs gapo-cli[evolve]")
import gapo_cli.conf
from gapo_cli.errors import UserError
from gapo_cli.interfaces import QuietDisplay
from gapo_cli.launching.composition import open_tree
from gapo_cli.launching.evolution import Search, check_space, evolve, make_plan
from gapo_cli.launching.evolve_words import requested_search
from gapo_cli.launching.sweeps import experiments_of
from gapo_cli.runs.family import INDEPENDENT, LONG, MEASURED, Family, Individual, save_family
from gapo_cli.runs.sweep_plan import SweepPlan, read_plan

SPACES = sorted(path.stem for path in (Path(gapo_cli.conf.__path__[0]) / "evolve").glob("*.yaml"))


@pytest.fixture
def words(tmp_path, monkeypatch, tiny_model_folder):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own/evolve").mkdir(parents=True)
    (tmp_path / "own/evolve/mine.yaml").write_text(SPACE)
    tasks = write_tasks(tmp_path / "mine.jsonl", splits=("train", "dev", "eval"))
    return ["mine", *smallest(tasks, tiny_model_folder), "hydra.sweep.dir=one"]


def search(words, launch, display=None, **keywords):
    return evolve(words, display or QuietDisplay(), Path("own"), launch=launch, **keywords)


@pytest.mark.slow
def test_a_search_breeds_compares_and_measures_and_never_sees_eval_before(words, tmp_path):
    fake = FakeLaunch(fails=[1])
    result = search(words, fake)
    found = result.findings
    # 24 steps pay for three generations of four with two each
    assert [len(found.family.generation(number)) for number in range(4)] == [4, 4, 4, 0]
    assert 1 not in found.fitness
    assert all(1 not in survivors for survivors in found.family.survivors)
    assert [record.error for record in found.failed] == ["diverged"]
    best = max(found.fitness[one.number][0] for one in found.family.individuals if one.number in found.fitness)
    assert found.values[found.winner]["val/exact_match"] == best
    (long,) = found.family.of_kind(LONG)
    apart = found.family.of_kind(INDEPENDENT)
    assert "trainer.steps=24" in long.overrides
    assert ["trainer.steps=2" in one.overrides for one in apart] == [True] * 12
    assert len({word for one in apart for word in one.overrides if word.startswith("seed=")}) == 12
    assert [one.name for one in found.held][:2] == [
        "the winner, measured on eval", "the model that all start from, measured on eval",
    ]  # fmt: skip
    assert [(one.work, one.seconds) for one in found.held] == [(24, 110.0), (0, 0), (24, 10.0), (24, 120.0)]
    measured = [one.number for one in found.family.of_kind(MEASURED)]
    plan = read_plan(tmp_path / "one")
    assert [job.number for job in fake.ran] == list(range(12 + 13 + 4))
    with open_tree(Path("own")) as hydra:
        chosen = [plan.jobs[number] for number in (11, long.number, measured[1])]
        verbs = [(one.verb, one.evaluation.split, one.data.train_split) for one in experiments_of(hydra, plan, chosen)]
    assert verbs == [("train", "dev", "train")] * 2 + [("eval", "eval", "train")]
    # every other job says what these say
    for job in plan.jobs:
        splits = [word for word in (*plan.overrides, *job.overrides) if word.startswith("evaluation.split")]
        assert splits == (
            ["evaluation.split=dev", "evaluation.split=eval"] if job.number in measured else ["evaluation.split=dev"]
        )


@pytest.mark.slow
def test_a_search_killed_again_and_again_ends_as_one_that_was_left_alone(words, tmp_path):
    alone = search(words, FakeLaunch())
    others = [word for word in words if not word.startswith("hydra.sweep.dir")] + ["hydra.sweep.dir=two"]
    ran = 0
    for at in (3, 7, 11):  # in the first generation, between two others, among the runs beside them
        fake = FakeLaunch(killed_after=at)
        with pytest.raises(Killed):
            search(["resume=two"] if ran else others, fake)
        assert len(fake.ran) == at
        ran += at
    # a kill may come between the writing of the two files
    (tmp_path / "two/sweep.json").write_text(json.dumps(json.loads((tmp_path / "two/sweep.json").read_text()) | {"jobs": []}))
    last = FakeLaunch()
    result = search(["resume=two"], last)
    assert ran + len(last.ran) == 29
    # the folder's name is a part of the overrides that name a model
    ended = (tmp_path / "two/family.json").read_text().replace("/two/", "/one/")
    family = json.loads((tmp_path / "one/family.json").read_text())
    assert json.loads(ended) == family
    assert json.loads((tmp_path / "two/evolve.json").read_text()) == json.loads((tmp_path / "one/evolve.json").read_text())
    assert result.findings.winner == alone.findings.winner
    display = Listening()
    nothing = FakeLaunch()
    search(["resume=two"], nothing, display)
    assert nothing.ran == []


@pytest.mark.slow
def test_seconds_are_a_budget_too_and_the_first_individual_shows_whether_they_are_enough(words):
    result = search([*words, "evolve.seconds=95", "evolve.baselines=false"], FakeLaunch())
    # 10 s each: two generations take 80, a third would make it 120
    assert len(result.findings.family.individuals) == 8
    assert result.findings.family.of_kind(LONG) == ()
    assert [one.name.split(",")[0] for one in result.findings.held] == ["the winner", "the model that all start from"]
    fake = FakeLaunch()
    short = [word for word in words if not word.startswith("hydra.sweep.dir")]
    with pytest.raises(
        UserError,
        match=r"evolve\.seconds=30: too small for one generation: its first individual took 10 s, and it has 4; need about 40",
    ):
        search([*short, "evolve.seconds=30", "hydra.sweep.dir=three"], fake)
    assert len(fake.ran) == 1


@pytest.mark.slow
def test_a_run_beside_the_search_that_failed_is_named_and_not_measured(words):
    result = search(words, FakeLaunch(fails=[12]))
    assert [one.name.split(",")[0] for one in result.findings.held] == [
        "the winner", "the model that all start from", "the best of 12 independent runs",
    ]  # fmt: skip
    assert result.failed == 1


@pytest.mark.slow
def test_where_all_fail_the_first_reason_is_told(words):
    with pytest.raises(UserError, match="one: no individual has a fitness; the first: diverged"):
        search(words, FakeLaunch(fails=range(99)))


def test_a_strangers_folder_lets_no_code_run(tmp_path):
    theirs = Individual(0, 0, (), "random", {}, "a", ("seed=0", "allow_targets=[theirs]", "model.trust_remote_code=true"))
    save_family(tmp_path, Family((theirs,)))
    under_way = Search(None, tmp_path, SweepPlan((), None, (), (), "evolve"), None, QuietDisplay(), True, FakeLaunch())
    assert under_way.plan.jobs[0].overrides == ("seed=0",)


@pytest.mark.parametrize(
    ("space", "given", "sentence"),
    [
        ("trainer.optimizer.learning_rate: {low: 1", [], "cannot be read"),
        ("trainer.optimizer.lerning_rate: {low: 1.0, high: 2.0}", [], "search space mine: trainer.optimizer.lerning_rate=1.0: unknown key; did you mean trainer.optimizer.learning_rate?"),
        ("trainer.optimizer.learning_rate: {low: 1.0, hihg: 2.0}", [], "space: trainer.optimizer.learning_rate.hihg: no such key of a space; did you mean high?"),
        ("estimator: [gapo, grop]", [], "search space mine: estimator=grop: unknown estimator; did you mean grpo?"),
        ("seed: {low: abc, high: 2}", [], "space: seed.low=abc: need a number"),
        ("seed: {values: 3}", [], "space: seed.values=3: need a list"),
        ("seed: {low: 1, high: 2, whole: perhaps}", [], "space: seed.whole=perhaps: need true or false"),
        ("seed: {low: 1, high: 2, when: other}", [], "space: seed.when=other: need a section"),
        ("kind: {choices: [a, b]}", [], "space: kind.choices=[a,b]: need a section"),
        ("kind: {choices: {a: tau=0.5, b: []}}", [], "space: kind.choices.a=tau=0.5: need a list"),
        ("seed: [1, 2]", [], "space: seed: is set by the search itself; leave it out"),
        ("evaluation.split: [dev, eval]", [], "space: evaluation.split: is set by the search itself; leave it out"),
        ("tau: {key: estimator.tau, low: 0.1, high: 0.9}", ["stage=sft"], "search space mine: evolve.each counts trainer.steps, which stage=sft does not read; give the stage that does"),
        ("estimator: [gapo, grpo]", ["algorithm=ppo"], "search space mine: estimator=gapo: is not read with stage=rl algorithm=ppo, so it would change nothing"),
        ("estimator: gapo", [], "space: estimator=gapo: need a list of values, a range {low, high} or {choices}"),
    ],
)  # fmt: skip
def test_a_space_that_no_run_can_have_is_refused_in_a_sentence(words, space, given, sentence):
    Path("own/evolve/mine.yaml").write_text(
        f"space: {{{space}}}\nobjectives: {{val/exact_match: max}}\nbudget: 99\npopulation: 2\n"
    )
    with pytest.raises(UserError) as caught:
        search([*words, *given], FakeLaunch())
    assert sentence in str(caught.value)
    assert not Path("one").exists()


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ("objectives: [val/exact_match]", "search space mine.objectives=[val/exact_match]: need a section"),
        ("population: 2.5", "search space mine.population=2.5: need a whole number"),
        ("overrides: tau=0.3", "search space mine.overrides=tau=0.3: need a list"),
        ("trial: tau=0.3", "search space mine.trial=tau=0.3: need a list"),
        ("popluation: 2", "search space mine.popluation: unknown key; did you mean search space mine.population?"),
    ],
)
def test_a_search_of_ones_own_with_values_of_a_wrong_type_is_refused(words, changed, sentence):
    Path("own/evolve/mine.yaml").write_text(
        f"space: {{estimator: [gapo, grpo]}}\nobjectives: {{val/exact_match: max}}\n{changed}\n"
    )
    with pytest.raises(UserError) as caught:
        search(words, FakeLaunch())
    assert str(caught.value).startswith(sentence)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["evolve.budget=7"], "evolve.budget=7: too small for one generation, in which 4 individuals train 2 each"),
        (["evolve.bugdet=7"], "evolve.bugdet=7: no such setting of a search; did you mean budget?"),
        (["evolve.seconds=nan"], "evolve.seconds=nan: need a number"),
        (["evolve.each=many"], "evolve.each=many: need a whole number"),
        (["evaluation.split=eval"], "evaluation.split=eval: a search measures fitness on dev, and its winner on eval in the end; leave it out"),
        (["data.train_split=dev"], "data.train_split=dev: a search may not train on what it measures with"),
        (["trainer.steps=9"], "trainer.steps=9: evolve.each says how much an individual trains"),
        (["algorithm.clip_high=0.25"], "algorithm.clip_high=0.25: is what the space mine searches over; leave it out"),
        (["hydra.sweep.subdir=x"], "hydra.sweep.subdir=x: the jobs of a sweep lie in folders 0, 1, 2"),
        (["hydra.run.dir=x"], "hydra.run.dir=x: is the folder of a single run; name that of all runs by hydra.sweep.dir="),
    ],
)  # fmt: skip
def test_words_that_are_the_searchs_are_refused_in_a_sentence(words, given, sentence):
    with pytest.raises(UserError) as caught:
        requested_search([*words, *given], Path("own")) if "hydra" not in given[0] else search([*words, *given], FakeLaunch())
    assert sentence in str(caught.value)


def test_an_unknown_space_is_answered_with_the_nearest():
    with pytest.raises(UserError, match="promt: unknown search space; did you mean prompt?"):
        requested_search(["promt"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("work: trainer.stepz", "search space mine: trainer.stepz=2: unknown key; did you mean trainer.steps?"),
        ("final: [evaluation.taskz=9]", "search space mine: evaluation.taskz=9: unknown key; did you mean evaluation.tasks?"),
    ],
)
def test_an_unknown_key_outside_the_space_is_found_before_anything_is_trained(words, line, sentence):
    own = [kept for kept in SPACE.splitlines() if kept.partition(":")[0] != line.partition(":")[0]]
    Path("own/evolve/mine.yaml").write_text("\n".join([*own, line]))
    with pytest.raises(UserError) as caught:
        search(words, FakeLaunch())
    assert str(caught.value).startswith(sentence)


@pytest.mark.slow
def test_an_objective_that_no_evaluation_gives_is_refused(words):
    Path("own/evolve/mine.yaml").write_text(SPACE.replace("val/exact_match", "val/sampled/pass@8"))
    with pytest.raises(
        UserError,
        match=r"objectives: val/sampled/pass@8: no evaluation with evaluation\.greedy=true evaluation\.samples=1 gives it",
    ):
        search(words, FakeLaunch())


@pytest.mark.slow
def test_data_without_a_dev_split_have_one_cut_or_are_refused(words, tmp_path):
    write_tasks(tmp_path / "mine.jsonl")
    with pytest.raises(
        UserError,
        match=r"data=jsonl: has no dev split, and fitness may not be measured on eval; cut one .* by data\.dev_share=0\.1",
    ):
        search(words, FakeLaunch())


@pytest.mark.slow
@pytest.mark.parametrize("name", SPACES)
def test_every_space_that_ships_composes(name):
    definition = requested_search([name])
    with open_tree(None) as hydra:
        plan, _ = make_plan(hydra, definition, [name], None)
        experiments = check_space(hydra, definition, plan)
    assert {one.evaluation.split for one in experiments} == {"dev"}
    assert definition.generations >= 2
