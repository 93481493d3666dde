"""A run on several ranks is the run of one process: the same tokens, rewards and evaluations, the weights within rounding.

How ranks are made of forked processes is told in ranks_parts; the command itself, under torchrun, is tested in tests/cli/test_ranks.py.
"""

import json
import math
import os
import shutil
import signal
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
import torch
from parts import OPTIMIZER as USUAL
from parts import LengthReward, Listening, edit_task, make_experiment, run_of
from ranks_parts import on_ranks
from safetensors.torch import load_file

from gapo_cli.config.algorithm import AlgorithmConfig, PPOConfig
from gapo_cli.config.model import LoraConfig, ModelConfig
from gapo_cli.config.preference import PreferenceConfig
from gapo_cli.config.sampling import EvaluationConfig
from gapo_cli.config.supervised import SupervisedConfig
from gapo_cli.config.trainer import TrainerConfig
from gapo_cli.engines.torch_engine import Torch, TorchEngine
from gapo_cli.errors import UserError
from gapo_cli.models.plain_weights import plain_weights
from gapo_cli.processes.ranks import ALONE, LostRank
from gapo_cli.training.checkpoints.checkpoints import newest_whole
from gapo_cli.training.learners.preference import Preference
from gapo_cli.training.learners.supervised import Supervised
from gapo_cli.training.lifecycle import Life
from gapo_cli.training.objectives.kl import LowVarKL
from gapo_cli.training.objectives.smoothness import Smoothness

TASKS = [
    replace(edit_task(number, region=f"a = {'b' * (number % 5)}\n"), rejected=("d" * (number % 3 + 1) + "\n",))
    for number in range(10)
]
KL = AlgorithmConfig(name="grpo", terms={"kl": LowVarKL(0.01)})
DAPO = AlgorithmConfig(name="dapo", dynamic_sampling=True, max_generation_rounds=50)
LORA = LoraConfig(rank=2)
OPTIMIZER = replace(USUAL, learning_rate=1e-4)
PPO = PPOConfig(replace(OPTIMIZER, learning_rate=1e-3), kl_in_reward=0.1)
OF_CRITIC = ("advantage", "baseline")
"""Columns of rollouts that a critic gives."""
ROUNDING = 0.02
"""How far apart weights may end, by norm, as a share of what the last step has moved them: Adam makes full steps of gradients that
are nothing but rounding."""


class NoisyReward:
    """What an answer earns is where it stands, from 0 to 0.75: the tiny model's answers earn nothing by themselves. And noise, from
    the global source of chance of the rank that scores."""

    def __call__(self, predictions, tasks):
        return {"score": np.arange(len(predictions)) % 4 / 4 + np.random.random(len(predictions)) / 100}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """As forked ranks must have, so that one process adds up in the same order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def begin(tmp_path, tiny_model_folder):
    """Makes a function of ranks that begins a run in a folder: one of the test's, or anywhere."""

    def of(name, learner=None, algorithm=KL, lora=None, steps=2, resume=False, reward=None, engine=None, **trainer):
        def life(ranks):
            run_dir = tmp_path / name
            run_dir.mkdir(exist_ok=True)
            settings = {"prompts_per_step": 4, "prompts_per_mini_batch": 2, "checkpoint_every": 1, "optimizer": OPTIMIZER}
            experiment = make_experiment(
                run_dir,
                ModelConfig("tiny", str(tiny_model_folder), 64, lora=lora or LoraConfig()),
                seed=5,
                ranks=ranks,
                algorithm=algorithm,
                reward=reward or NoisyReward(),
                engine=engine or Torch(max_rows=16),
                trainer=TrainerConfig(steps=steps, **settings | trainer),
                evaluation=EvaluationConfig(samples=2, every_steps=1),
                supervised=SupervisedConfig(
                    tokens=90 * steps,
                    tokens_per_batch=80,
                    log_every=1,
                    checkpoint_every=1,
                    layout="packed",
                    optimizer=OPTIMIZER,
                ),
                dpo=PreferenceConfig(pairs_per_batch=3, epochs=None, steps=steps, optimizer=OPTIMIZER),
                **({"learner": learner} if learner else {}),
            )
            torch.manual_seed(5)
            np.random.seed(5)
            checkpoint = newest_whole(run_dir).checkpoint if resume else None
            return Life.begin(run_of(experiment, TASKS[:7], TASKS[7:], checkpoint, Listening()))

        return life

    return of


def whole(begun):
    return lambda ranks: str(begun(ranks).run().checkpoint)


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A folder for the runs that several tests compare with."""
    return tmp_path_factory.mktemp("kept")


@pytest.fixture
def alone(begin, kept):
    """The run of one process; made once by each name."""

    def of(name="packed", **settings):
        run = kept / name
        if not run.exists():
            whole(begin(run, **settings | {"shard": False}))(ALONE)
        return run

    return of


@pytest.fixture
def together(begin, kept):
    """A run of RL on two ranks and, as a kill in its second step would have left it, that run once more; made once of each kind."""

    def of(kind):
        run, cut = kept / f"two, {kind}", kept / f"two, {kind}, cut"

        def work(ranks):
            life = begin(run, **RL[kind])(ranks)
            learn = life.learning.learn

            def learning(step, gathered):
                if step == 2 and ranks.first:
                    shutil.copytree(run, cut)
                return learn(step, gathered)

            life.learning.learn = learning
            return str(life.run().checkpoint)

        if not run.exists():
            assert on_ranks(2, work, kept / "ranks") == [str(run / "checkpoints" / "step-00002")] * 2
        return run, cut

    return of


def rows_of(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def assert_same_run(ours, theirs, weights=ROUNDING):
    """Answers, rewards and advantages equal bit for bit; log-probabilities and metrics, weights and moments within rounding. So are
    a critic's advantages, which come from weights."""
    with_critic = "critic/vf_loss" in rows_of(theirs)[-1]
    for folder in ("rollouts", "eval"):
        names = sorted(path.name for path in theirs.glob(f"{folder}/*.parquet"))
        assert sorted(path.name for path in ours.glob(f"{folder}/*.parquet")) == names
        for name in names:
            found, expected = (pd.read_parquet(run / folder / name) for run in (ours, theirs))
            for column in expected.columns:
                if column == "logprobs":
                    assert np.concatenate(list(found[column])) == pytest.approx(
                        np.concatenate(list(expected[column])), abs=1e-3
                    )
                elif with_critic and column in OF_CRITIC:
                    assert list(found[column]) == pytest.approx(list(expected[column]), abs=1e-4)
                else:
                    assert found[column].astype(str).tolist() == expected[column].astype(str).tolist(), (name, column)
    for found, expected in zip(rows_of(ours), rows_of(theirs), strict=True):
        assert {key for key in found.keys() ^ expected.keys() if not key.startswith("timing")} == set()
        for key in expected:
            if with_critic and key.startswith(("critic/", "group/")):
                assert found[key] == pytest.approx(expected[key], rel=1e-2, abs=1e-4), key
            elif key.startswith(("val/", "critic/", "group/", "reward/", "response_length/", "actor/computed", "actor/lr")):
                assert found[key] == expected[key], key
            elif key.startswith(("actor/", "sft/", "dpo/")):
                assert found[key] == pytest.approx(expected[key], rel=1e-2, abs=1e-5), key
    before, last = sorted(theirs.glob("checkpoints/step-*"))[-2:]
    expected = weights_of(last)
    assert distance(weights_of(ours / "checkpoints" / last.name), expected) <= weights * distance(weights_of(before), expected)


def weights_of(checkpoint):
    (file,) = checkpoint.glob("*model.safetensors")
    return load_file(file)


def distance(first, second):
    assert first.keys() == second.keys()
    return math.hypot(*(float((first[key] - second[key]).norm()) for key in second))


RL = {
    "packed": {},
    "padded, cut": {"layout": "padded", "max_tokens_per_microbatch": 90},
    "recomputed": {"recompute_logprobs": True, "epochs_per_step": 2},
    "dapo": {"algorithm": DAPO},
    "lora": {"lora": LORA},
    "shard": {"shard": True},
    "ppo, critic=copy": {"algorithm": AlgorithmConfig("ppo", critic="copy", ppo=PPO)},
    "ppo, critic=head": {"algorithm": AlgorithmConfig("ppo", critic="head", ppo=replace(PPO, kl_in_reward=0.0))},
}


@pytest.mark.parametrize("kind", [name if name == "packed" else pytest.param(name, marks=pytest.mark.slow) for name in RL])
def test_two_ranks_do_the_run_of_one_process(alone, together, kind):
    if kind == "lora":
        pytest.importorskip("peft", reason="the extra lora is not installed")
    run, _ = together(kind)
    assert_same_run(run, alone() if kind == "shard" else alone(kind, **RL[kind]))


@pytest.mark.slow
def test_of_three_ranks_one_has_no_group_to_learn_from(begin, alone, tmp_path):
    on_ranks(3, whole(begin("three")), tmp_path / "ranks")
    assert_same_run(tmp_path / "three", alone())


@pytest.mark.slow
@pytest.mark.parametrize("shard", [False, True], ids=["whole", "shard"])
@pytest.mark.parametrize("learner", [Supervised(), Preference()], ids=["sft", "dpo"])
def test_two_ranks_learn_from_examples_and_pairs_as_one_process_does(begin, alone, tmp_path, learner, shard):
    on_ranks(2, whole(begin("two", learner=learner, shard=shard)), tmp_path / "ranks")
    assert_same_run(tmp_path / "two", alone(type(learner).__name__, learner=learner))


class OwnWeights(TorchEngine):
    """As vLLM, it has a copy of the weights, in a model of its own, and is given them one by one."""

    shares_weights = False

    def __init__(self, policy):
        from gapo_cli.models.load import load_model

        super().__init__(load_model(policy.config), max_rows=16)
        self.sync(policy)

    def sync(self, policy):
        named = dict(self.policy.model.named_parameters())
        with torch.no_grad():
            for name, tensor in plain_weights(policy):
                named.pop(name).copy_(tensor)
        assert not named


@pytest.mark.slow
def test_an_engine_with_weights_of_its_own_gets_whole_ones_from_ranks_that_share_them(begin, alone, tmp_path):
    on_ranks(2, whole(begin("two", engine=OwnWeights, shard=True)), tmp_path / "ranks")
    assert_same_run(tmp_path / "two", alone())


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"processes": None}, "one process has no other to share the weights with; give trainer.processes=N"),
        ({"lora": LORA}, "is for training all weights; with model.lora.rank=2 set it to false"),
        ({"optimizer": replace(OPTIMIZER, name="adamw_8bit")}, "the moments of optimizer.name=adamw_8bit cannot be divided"),
        ({"algorithm": RL["ppo, critic=head"]["algorithm"]}, "algorithm=ppo has a critic, which is not divided"),
        (
            {"algorithm": AlgorithmConfig(name="grpo", terms={"smoothness": Smoothness(0.1)})},
            "algorithm.terms.smoothness reads weights that no process has whole",
        ),
    ],
)
def test_what_cannot_be_shared_is_refused_in_a_sentence(tmp_path, tiny_config, settings, sentence):
    trainer = {"processes": 2, "optimizer": OPTIMIZER} | {
        name: value for name, value in settings.items() if name in ("processes", "optimizer")
    }
    experiment = make_experiment(
        tmp_path,
        replace(tiny_config, lora=settings.get("lora", LoraConfig())),
        algorithm=settings.get("algorithm", KL),
        trainer=TrainerConfig(2, 4, 2, shard=True, **trainer),
    )
    with pytest.raises(UserError, match=f"trainer.shard=true: {sentence}"):
        experiment.learner.check(experiment)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["packed", "ppo, critic=copy", "shard"])
def test_resumed_on_as_many_ranks_a_run_is_the_same_bit_for_bit_and_on_one_its_tokens_are(begin, together, tmp_path, kind):
    run, cut = together(kind)
    for name in ("again", "alone"):
        shutil.copytree(cut, tmp_path / name)
    on_ranks(2, whole(begin("again", resume=True, **RL[kind])), tmp_path / "ranks")
    whole(begin("alone", resume=True, **RL[kind] | {"shard": False}))(ALONE)
    assert_same_run(tmp_path / "again", run, weights=0.0)
    first, second = (load_file(one / "checkpoints/step-00002/trainer_state.safetensors") for one in (run, tmp_path / "again"))
    assert first.keys() == second.keys() and "random_1.torch" in first
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert_same_run(tmp_path / "alone", run)


def signalled_at(call, rank):
    """An engine that gets SIGTERM on one rank, in the call of a number."""

    class Signalled(TorchEngine):
        calls = 0

        def generate(self, *arguments, **keywords):
            self.calls += 1
            if self.calls == call and os.environ["RANK"] == str(rank):
                os.kill(os.getpid(), signal.SIGTERM)
            return super().generate(*arguments, **keywords)

    return lambda policy: Signalled(policy, max_rows=16)


@pytest.mark.slow
def test_a_signal_to_one_rank_stops_all_at_the_same_step(begin, alone, tmp_path):
    def work(ranks):
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        outcome = begin("two", engine=signalled_at(4, 1))(ranks).run()  # after two evaluations and the step before
        return outcome.interrupted, outcome.step, outcome.checkpoint.name

    assert on_ranks(2, work, tmp_path / "ranks") == [(True, 1, "step-00001")] * 2
    on_ranks(2, whole(begin("two", resume=True)), tmp_path / "ranks")
    assert_same_run(tmp_path / "two", alone())


def failing_at(call, rank, error):
    class Failing(TorchEngine):
        calls = 0

        def generate(self, *arguments, **keywords):
            self.calls += 1
            if self.calls == call and os.environ["RANK"] == str(rank):
                raise error
            return super().generate(*arguments, **keywords)

    return lambda policy: Failing(policy, max_rows=16)


@pytest.mark.slow
def test_memory_that_runs_out_on_one_rank_stops_all_with_a_checkpoint(begin, tmp_path):
    engine = failing_at(6, 1, RuntimeError("can't allocate memory: you tried to allocate 2147483648 bytes"))

    def work(ranks):
        life = begin("two", engine=engine)(ranks)
        with pytest.raises(UserError) as raised:
            life.run()
        return str(raised.value), life.display.said[-1:]

    (first, said), (second, _) = on_ranks(2, work, tmp_path / "ranks")
    assert first.startswith("rank 1: out of memory sampling for step 2 (2.00 GiB more were asked for): ")
    assert second == first.removeprefix("rank 1: ")
    assert said[0].startswith("stopped after step 1 of 2: ")
    assert newest_whole(tmp_path / "two").checkpoint.name == "step-00001"


@pytest.mark.slow
def test_memory_that_runs_out_as_one_rank_learns_stops_all(begin, tmp_path):
    def work(ranks):
        life = begin("two")(ranks)
        accumulate = life.learning.updater.accumulate

        def breaking(*arguments):
            if ranks.rank == 1:
                raise MemoryError("out of memory")
            accumulate(*arguments)

        life.learning.updater.accumulate = breaking
        with pytest.raises(UserError) as raised:
            life.run()
        return str(raised.value), life.display.said[-1]

    (first, said), _ = on_ranks(2, work, tmp_path / "ranks")
    assert first.startswith("rank 1: out of memory learning in step 1: ")
    assert said == "stopped in the middle of step 1 of 2: there is no checkpoint yet"


@pytest.mark.slow
def test_a_failure_in_a_pass_that_others_wait_in_ends_all_and_is_told(begin, tmp_path, monkeypatch):
    monkeypatch.setattr("gapo_cli.processes.group.MEETING", timedelta(seconds=0.5))

    def work(ranks):
        life = begin("two", shard=True)(ranks)
        accumulate = life.learning.updater.accumulate

        def breaking(*arguments):
            if ranks.rank == 1 and life.step == 1:
                raise MemoryError("out of memory")
            accumulate(*arguments)

        life.learning.updater.accumulate = breaking
        life.run()

    first, second = on_ranks(2, work, tmp_path / "ranks")
    assert isinstance(second, UserError) and str(second).startswith("out of memory learning in step 2: ")
    run = tmp_path / "two"
    assert isinstance(first, LostRank) and str(first) == (
        f"rank 1: {second}; the last checkpoint is {run}/checkpoints/step-00001; go on with resume=auto hydra.run.dir={run}"
    )


class BrokenReward(LengthReward):
    calls = 0

    def __call__(self, predictions, tasks):
        self.calls += 1
        if self.calls > 1:
            raise OSError("the judge does not answer")
        return super().__call__(predictions, tasks)


@pytest.mark.slow
def test_a_reward_that_fails_stops_all_ranks_and_its_batch_is_kept_once(begin, tmp_path):
    def work(ranks):
        life = begin("two", reward=BrokenReward())(ranks)
        with pytest.raises(UserError) as raised:
            life.run()
        return str(raised.value), life.display.said[-1], life.learning.collector.reward.calls

    first, second = on_ranks(2, work, tmp_path / "ranks")
    assert first[:2] == second[:2]
    assert f"the answers at hand are in {tmp_path / 'two' / 'stopped' / 'step-00002.parquet'}" in first[0]
    assert first[1].startswith("stopped after step 1 of 2: ")
    assert second[2] == 0  # rank 0 alone scores
    assert pd.read_parquet(tmp_path / "two" / "stopped" / "step-00002.parquet")["group"].nunique() == 4


class StaleEngine(TorchEngine):
    """On rank 1 it samples from the starting weights, whatever is synced."""

    def __init__(self, policy):
        from gapo_cli.models.load import load_model

        stale = os.environ["RANK"] == "1"
        super().__init__(load_model(policy.config) if stale else policy, max_rows=16)
        self.stale = stale

    def sync(self, policy):
        if not self.stale:
            super().sync(policy)


@pytest.mark.slow
def test_a_stale_engine_on_one_rank_stops_all(begin, tmp_path):
    def work(ranks):
        with pytest.raises(UserError) as raised:
            begin("two", engine=StaleEngine, steps=8, optimizer=replace(OPTIMIZER, learning_rate=0.02))(ranks).run()
        return str(raised.value)

    first, second = on_ranks(2, work, tmp_path / "ranks")
    assert first == second
    assert first.startswith("the engine of rank 1 does not sample from the trainer's weights")


@pytest.mark.slow
def test_a_loss_that_is_not_finite_on_one_rank_is_skipped_by_all(begin, tmp_path):
    def work(ranks):
        life = begin("two", steps=1)(ranks)
        accumulate = life.learning.updater.accumulate

        def breaking(mini_batch, metrics):
            accumulate(mini_batch, metrics)
            if ranks.rank == 1:
                metrics.sums["loss"] = torch.tensor(float("nan"))

        life.learning.updater.accumulate = breaking
        before = [parameter.clone() for parameter in life.learning.policy.model.parameters()]
        life.run()
        return all(torch.equal(*pair) for pair in zip(before, life.learning.policy.model.parameters(), strict=True))

    assert on_ranks(2, work, tmp_path / "ranks") == [True, True]
    assert rows_of(tmp_path / "two")[1]["actor/skipped_steps"] == 2


@pytest.mark.slow
@pytest.mark.parametrize("shard", [False, True], ids=["whole", "shard"])
def test_a_rank_that_dies_ends_the_run_with_its_name_and_the_run_goes_on_from_there(begin, alone, tmp_path, shard):
    def work(ranks):
        life = begin("two", shard=shard)(ranks)
        learn = life.learning.learn

        def dying(step, gathered):
            if (step, ranks.rank) == (2, 1):
                os.kill(os.getpid(), signal.SIGKILL)
            return learn(step, gathered)

        life.learning.learn = dying
        with pytest.raises(LostRank) as raised:
            life.run()
        return str(raised.value)

    first, second = on_ranks(2, work, tmp_path / "ranks")
    assert second == -signal.SIGKILL
    run = tmp_path / "two"
    assert first.startswith("rank 1 (process ")
    assert first.endswith(
        f") was killed; the last checkpoint is {run}/checkpoints/step-00001; go on with resume=auto hydra.run.dir={run}"
    )
    on_ranks(2, whole(begin("two", resume=True, shard=shard)), tmp_path / "ranks")
    assert_same_run(run, alone())
