"""What learners say of a run before it is started, beside what the run then does: batches, tokens, memory."""

import json
from dataclasses import replace

import pytest
from parts import OPTIMIZER, LengthReward, completion_of, edit_task, make_experiment, run_of, small_task

from gapo_cli.config.preference import PreferenceConfig
from gapo_cli.config.sampling import EvaluationConfig, SamplingConfig
from gapo_cli.config.supervised import ArchitectureConfig, SupervisedConfig
from gapo_cli.config.trainer import TrainerConfig
from gapo_cli.errors import UserError
from gapo_cli.interfaces import PlannedLearner
from gapo_cli.models.policy import load_policy
from gapo_cli.planning.cost import parameters
from gapo_cli.planning.task_lengths import answer_tokens
from gapo_cli.records import Group
from gapo_cli.rollouts.encoding import encode_tasks
from gapo_cli.runs.group_files import write_groups
from gapo_cli.training.batches.pairs import ByPair
from gapo_cli.training.batches.passes import Lengths
from gapo_cli.training.learners.policy_gradient import PolicyGradient
from gapo_cli.training.learners.preference import Preference
from gapo_cli.training.learners.supervised import Supervised
from gapo_cli.training.lifecycle import Life
from gapo_cli.training.outline import MeasuredTasks

TASKS = [
    small_task(f"task-{n}", region=f"a{n}\n", target="b" * (n % 3 + 1), rejected=(f"c{n}", "d" * n), before="x" * n)
    for n in range(1, 8)
]
EXAMPLES = SupervisedConfig(tokens_per_batch=24, epochs=1.5, log_every=1, optimizer=OPTIMIZER)
PAIRS = PreferenceConfig(epochs=1.5, pairs_per_batch=3, optimizer=OPTIMIZER)


@pytest.fixture
def make(tmp_path, tiny_config):
    def of(learner, tasks=TASKS, trainer=None, **parts):
        experiment = make_experiment(
            tmp_path / "run",
            tiny_config,
            learner=learner,
            sampling=SamplingConfig(group_size=3, max_new_tokens=4),
            trainer=TrainerConfig(2, 4, 2, OPTIMIZER, **(trainer or {})),
            evaluation=EvaluationConfig(samples=0),
            **{"supervised": EXAMPLES, "dpo": PAIRS} | parts,
        )
        policy = load_policy(experiment.model, experiment.trainer)
        prompts = [len(one.token_ids) for one in encode_tasks(policy, experiment.template, tasks)]
        measured = MeasuredTasks(
            tasks, prompts, lambda texts: answer_tokens(policy.tokenizer, texts), len(tasks), estimated=False
        )
        return experiment, measured

    return of


def computed_by(experiment, tasks=TASKS):
    """(steps, tokens) of a run."""
    loop = Life.begin(run_of(experiment, tasks, TASKS[:1]))
    steps = loop.run().step
    rows = [json.loads(line) for line in loop.files.metrics.read_text().splitlines()]
    return steps, [row["training/computed_tokens"] for row in rows if "training/computed_tokens" in row][-1]


def amounts_of(outline):
    return {one.key: one.value for one in outline.amounts}


@pytest.mark.parametrize("layout", ["packed", "padded"])
def test_tokens_of_a_supervised_run_are_known_exactly(make, layout):
    config = replace(EXAMPLES, layout=layout, max_tokens_per_microbatch=16, scramble=0.5)
    experiment, measured = make(Supervised(), supervised=config, trainer={"budget_tokens": 300})
    outline = experiment.learner.outline(experiment, measured)
    assert (outline.steps, outline.computed) == computed_by(experiment)


@pytest.mark.parametrize(("layout", "budget"), [("packed", 0), ("padded", 40), ("masked", 40)])
def test_tokens_of_a_preference_run_on_rejected_texts_are_known_exactly(make, layout, budget):
    experiment, measured = make(Preference(), trainer={"layout": layout, "max_tokens_per_microbatch": budget})
    outline = experiment.learner.outline(experiment, measured)
    assert (outline.steps, outline.computed) == computed_by(experiment)
    # two rejected texts a task, 7 tasks, 3 pairs a batch: 5 batches an epoch
    amounts = amounts_of(outline)
    assert (amounts["pairs"], amounts["pairs_per_step"], outline.steps) == (14, 3, 8)


def test_pairs_of_answers_that_are_yet_to_be_sampled_are_one_a_task(make):
    dpo = replace(PAIRS, pairs="sampled", sampled_tasks=6, epochs=1)
    experiment, measured = make(Preference(), dpo=dpo)
    outline = experiment.learner.outline(experiment, measured)
    # three answers to each of six tasks; two batches of three pairs
    assert (len(outline.first), {len(group.answers) for group in outline.first}) == (6, {3})
    assert (outline.steps, sum(map(len, outline.batches))) == (2, 6)
    read = sum(group.prompt + sum(group.answers) for group in outline.first)
    # each pair in a pass of the reference and one that learns, which counts three times
    assert outline.computed == read + 4 * sum(pair.tokens - 2 for batch in outline.batches for pair in batch)
    assert any("how many groups differ by dpo.margin=0.5 is known" in note.lower() for note in outline.notes)


def test_pairs_of_saved_rollouts_are_those_of_the_file(make, tmp_path, tiny_policy):
    experiment, measured = make(Preference())
    (prompt,) = encode_tasks(tiny_policy, experiment.template, TASKS[:1])
    completions = tuple(completion_of(text) for text in ("a", "bbb", "cc"))
    rewards = LengthReward()(["a", "b" * 12, "cc"], [])["score"]
    (tmp_path / "saved").mkdir()
    group = Group(TASKS[0], prompt.token_ids, completions, {"score": rewards}, rewards, rewards)
    write_groups(tmp_path / "saved" / "rollouts.parquet", 0, [group], lambda one: "prompt")
    dpo = replace(PAIRS, pairs="rollouts", rollouts=str(tmp_path / "saved"), epochs=1)
    outline = experiment.learner.outline(replace(experiment, dpo=dpo), measured)
    # the best is of three letters and the worst of one, each with its end token
    assert [list(batch) for batch in outline.batches] == [[Lengths(len(prompt.token_ids), (4, 2))]]


def test_a_preference_run_holds_its_reference_and_the_largest_batch_of_pairs(make):
    experiment, measured = make(Preference())
    told = experiment.learner.outline(experiment, measured).memory
    assert (told.reference, told.division) == (True, ByPair())
    assert told.groups == sorted(told.groups, key=lambda pair: -pair.tokens)
    # the packed batch of the most tokens, of those that are learnt
    assert sum(pair.tokens for pair in told.groups) == max(
        sum(pair.tokens for pair in batch) for batch in experiment.learner.outline(experiment, measured).batches
    )


def test_the_engine_of_sampled_pairs_is_asked_as_in_a_step_of_rl_where_that_is_more_than_an_evaluation(make):
    experiment, measured = make(Preference(), dpo=replace(PAIRS, pairs="sampled"))
    told = experiment.learner.outline(experiment, measured).memory.experiment
    # four prompts of three answers against seven greedy ones
    assert (told.trainer.prompts_per_step, told.sampling.group_size) == (4, 3)
    of_one = replace(experiment, evaluation=EvaluationConfig(samples=2))
    told = of_one.learner.outline(of_one, measured).memory.experiment
    assert (told.trainer.prompts_per_step, told.sampling.group_size) == (7, 2)


def test_a_model_that_is_made_from_nothing_has_the_shape_that_the_settings_say(make):
    architecture = ArchitectureConfig(hidden_size=8, layers=2, heads=2, feed_forward_size=16, vocabulary=100)
    experiment, _ = make(Supervised(), supervised=replace(EXAMPLES, architecture=architecture))
    model = experiment.learner.as_rl(experiment).model
    # a layer: 4 x 8 x 8 and 3 x 8 x 16 in matrices, 24 of biases, norms of 16; two tables of 800 and a last norm
    assert parameters(model.shape) == 2 * (256 + 384 + 24 + 16) + 1600 + 8


def test_what_does_not_fit_the_context_is_counted_and_where_nothing_fits_a_sentence_says_so(make):
    experiment, measured = make(Supervised())
    prompts = sorted(measured.prompts)
    shorter = replace(experiment, model=replace(experiment.model, context_length=prompts[2] + 4))
    outline = experiment.learner.outline(shorter, measured)
    assert outline.lengths.too_long > 0
    assert any(
        "of 7 tasks with their answers do not fit model.context_length" in note and "the run stops at them" in note
        for note in outline.notes
    )
    tiny = replace(experiment, model=replace(experiment.model, context_length=2))
    with pytest.raises(UserError, match="model.context_length=2: none of the prompts fits it with its answer"):
        experiment.learner.outline(tiny, measured)
    preference, measured = make(Preference())
    tiny = replace(preference, model=replace(preference.model, context_length=2))
    with pytest.raises(UserError, match="model.context_length=2: none of the 14 pairs fits it"):
        preference.learner.outline(tiny, measured)


def test_of_a_part_of_the_tasks_a_run_of_epochs_has_as_many_batches_as_of_all(make):
    experiment, measured = make(Preference(), dpo=replace(PAIRS, epochs=1))
    assert experiment.learner.outline(experiment, measured).steps == 5
    assert experiment.learner.outline(experiment, replace(measured, total=3 * len(TASKS))).steps == 15


def test_all_learners_of_the_house_can_be_planned():
    assert all(isinstance(learner(), PlannedLearner) for learner in (PolicyGradient, Supervised, Preference))


def test_the_plan_of_rl_is_of_the_longest_prompts_with_every_answer_at_the_limit(make):
    tasks = [edit_task(number, region="a" * number + "\n") for number in range(1, 6)]
    experiment, measured = make(PolicyGradient(), tasks)
    told = experiment.learner.outline(experiment, measured).memory
    longest = sorted(measured.prompts, reverse=True)[:2]
    assert told.groups == [Lengths(prompt, (4, 4, 4)) for prompt in longest]
