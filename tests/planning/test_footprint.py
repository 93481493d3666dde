"""Memory and operations of a run, derived by hand from a shape of two small layers."""

from dataclasses import dataclass, replace

import pytest

from gapo_cli.config.algorithm import AlgorithmConfig, PPOConfig
from gapo_cli.config.model import LoraConfig, ModelConfig, ShapeConfig
from gapo_cli.config.sampling import SamplingConfig
from gapo_cli.config.trainer import OptimizerConfig, TrainerConfig
from gapo_cli.interfaces import EngineMemory
from gapo_cli.planning import cost, footprint
from gapo_cli.planning.advice import possible
from gapo_cli.planning.footprint import LIBRARIES, Settings
from gapo_cli.planning.operations import busiest_flops, run_flops, sampling_flops
from gapo_cli.training.batches.passes import Lengths, Pass, answered
from gapo_cli.training.learners.planned_rollouts import at_limit, mini_batches
from gapo_cli.training.learners.planned_rollouts import step_tokens as tokens_of_step
from gapo_cli.training.objectives.jacobian import Jacobian
from gapo_cli.training.objectives.kl import LowVarKL
from gapo_cli.training.objectives.smoothness import Smoothness

# 364 parameters: 264 in matrices, 20 in norms, 40 each in embedding and head (tests/models/test_cost.py)
SHAPE = ShapeConfig(layers=2, hidden_size=4, heads=2, key_value_heads=1, head_size=3, feed_forward_size=5, vocabulary=10)


@dataclass(frozen=True)
class Holding:
    """An engine with the policy's own weights that takes 1,000 bytes, and keeps them if it `stays`."""

    stays: bool = False
    shares_weights = True

    def memory(self, scale):
        return EngineMemory({"engine's": 1000}, self.stays)


SETTINGS = Settings(
    shape=SHAPE,
    model=ModelConfig("x", "x", context_length=100),
    trainer=TrainerConfig(steps=1, prompts_per_step=4, prompts_per_mini_batch=2, optimizer=OptimizerConfig(1e-3)),
    algorithm=AlgorithmConfig("grpo"),
    sampling=SamplingConfig(group_size=2, max_new_tokens=3),
    engine=Holding(),
)


def groups_of(settings, prompts, answers):
    return answered(prompts, answers, settings.sampling.group_size)


def micro_batches(settings, prompts, answers, layout):
    return footprint.micro_batches(settings, groups_of(settings, prompts, answers), layout)


def memory(settings, prompts):
    """With every answer at the limit."""
    return footprint.memory(settings, at_limit(settings.sampling, prompts))


def step_flops(settings, prompts, answers, layout):
    """Of a rollout batch, mini-batch by mini-batch."""
    groups = groups_of(settings, prompts, answers)
    return run_flops(settings, mini_batches(settings.trainer, groups), [groups], layout)


def step_tokens(settings, prompts, answers):
    return tokens_of_step(settings.trainer, settings.algorithm, settings.engine, groups_of(settings, prompts, answers))


# of 5 and 8 tokens, two answers of 3 each: 9 + 12 tokens, 41 pairs as below, and 36 + 2 x (2 x 8 + 3) = 74
TWO_GROUPS = Pass(9 + 12, 12, 41 + 74)


def changed(**values):
    """SETTINGS with fields changed, of the first of trainer, model and algorithm that has them."""
    found = SETTINGS
    for name in ("trainer", "model", "algorithm"):
        section = getattr(found, name)
        own = {key: values.pop(key) for key in list(values) if hasattr(section, key)}
        found = replace(found, **{name: replace(section, **own)})
    return found


def test_passes_by_layout():
    # a prompt of 5 and two answers of 3, whose last token is a label only: 5 + 2 x 2 packed, 2 rows of 5 + 2 padded; 6 labels
    # pairs: 15 in the prompt, 2 x (2 x 5 + 3) of the answers; 2 x 28; 9 x 9
    assert micro_batches(SETTINGS, [5], [3], "packed") == [Pass(9, 6, 15 + 26)]
    assert micro_batches(SETTINGS, [5], [3], "padded") == [Pass(14, 6, 56)]
    assert micro_batches(SETTINGS, [5], [3], "masked") == [Pass(9, 6, 81, 81)]
    # groups share a pass, under a mask as wide as its longest row, unless the budget of tokens parts them
    assert micro_batches(SETTINGS, [5, 8], [3, 3], "packed") == [TWO_GROUPS]
    assert micro_batches(SETTINGS, [5, 8], [3, 3], "masked") == [Pass(24, 12, 288, 288)]
    assert micro_batches(changed(max_tokens_per_microbatch=12), [5, 8], [3, 3], "masked") == [
        Pass(9, 6, 81, 81),
        Pass(12, 6, 144, 144),
    ]


def test_memory_by_part_in_float32():
    found = memory(SETTINGS, [8, 5])
    always = {"weights": 4 * 364, "reference": 0, "optimizer": 8 * 364, "libraries": LIBRARIES}
    assert found.rollout == always | {"engine's": 1000}
    activations = cost.activations(SHAPE, TWO_GROUPS, "float32", adapters=False, checkpointing=False)
    assert found.update == always | {
        "gradients": 0,  # 4 x 364, fewer than the activations that they take the place of
        "activations": activations,
        "logits": 3 * 4 * 12 * 10,
        "heap slack": int(0.6 * (activations + 1440)),
    }
    assert activations + 1440 > 4 * 364
    assert found.peak == sum(found.update.values())


def test_gradients_of_a_micro_batch_are_there_while_the_next_one_is_passed():
    # a packed row of 9 tokens and one of 12 are two passes, and 21 together are one
    parted = memory(changed(max_tokens_per_microbatch=12), [5, 8])
    assert parted.update["gradients"] == 4 * 364
    assert memory(changed(max_tokens_per_microbatch=21), [5, 8]).update["gradients"] == 0
    # without heads to speak of, one pass of one short row keeps less than all gradients are
    large = replace(
        SETTINGS, shape=replace(SHAPE, vocabulary=100_000), trainer=replace(SETTINGS.trainer, logprob_chunk_tokens=1)
    )
    found = memory(large, [5]).update
    trained = cost.parameters(large.shape)
    assert found["gradients"] == 4 * trained - found["activations"] - found["logits"] > 0


def test_a_reference_is_a_second_copy_of_the_weights():
    held_back = changed(terms={"kl": LowVarKL(0.1)})
    assert memory(held_back, [5]).update["reference"] == 4 * 364
    # in bfloat16 the matrices and the head are halved: 264 + 40 numbers of 2 bytes less
    halved = changed(terms={"kl": LowVarKL(0.1)}, dtype="bfloat16", reference_dtype="bfloat16")
    assert memory(halved, [5]).update["reference"] == 4 * 364 - 2 * 304


PPO = PPOConfig(OptimizerConfig(1e-3))


def test_a_critic_has_weights_and_moments_of_its_own():
    # all but the policy's head of 40, and a head of 4 weights and a bias
    copied = memory(changed(critic="copy", ppo=PPO), [5])
    assert copied.update["critic"] == copied.rollout["critic"] == (4 + 8) * (364 - 40 + 5)
    assert memory(changed(critic="head", ppo=PPO), [5]).update["critic"] == 12 * 5
    lora = LoraConfig(rank=2, targets=("q_proj",))
    assert memory(changed(critic="copy", ppo=PPO, lora=lora), [5]).update["critic"] == 12 * (2 * 2 * (4 + 6) + 5)


def test_operations_of_a_critic_are_those_of_a_trunk():
    without, head, copied = (
        step_flops(one, [5], [3], "packed")
        for one in (SETTINGS, changed(critic="head", ppo=PPO), changed(critic="copy", ppo=PPO))
    )
    trunk = Pass(9, 0, 41)
    assert without.critic == 0
    assert head.critic == cost.forward_flops(SHAPE, trunk)
    assert copied.critic == 2 * cost.forward_flops(SHAPE, trunk) + cost.backward_flops(SHAPE, trunk)
    assert (head.update, copied.update) == (without.update, without.update)


def test_terms_that_make_passes_or_keep_weights_are_counted():
    jacobian, smoothness = (
        changed(terms={"robust": term}, prompts_per_step=2, prompts_per_mini_batch=1)
        for term in (Jacobian(0.1, share=0.5), Smoothness(0.1))
    )
    row = Pass(9, 6, 41)
    assert step_flops(SETTINGS, [5], [3], "packed").terms == 0
    both = cost.forward_flops(SHAPE, row) + cost.backward_flops(SHAPE, row)
    assert step_flops(jacobian, [5], [3], "packed").terms == 0.5 * both
    # the first of two optimizer steps costs none
    assert step_flops(smoothness, [5], [3], "packed").terms == 0.5 * cost.forward_flops(SHAPE, row)
    assert memory(smoothness, [5]).update["terms' weights"] == 4 * 364
    assert memory(jacobian, [5]).update["activations"] == 2 * memory(SETTINGS, [5]).update["activations"]


def test_tokens_of_a_step_are_counted_as_a_run_counts_them():
    # sampled: a prompt of 5 and two answers of 3. A pass is of 9 tokens: three times where it learns
    assert step_tokens(SETTINGS, [5], [3]) == 11 + 3 * 9
    assert step_tokens(changed(terms={"kl": LowVarKL(0.1)}), [5], [3]) == 11 + 4 * 9
    assert step_tokens(changed(critic="head", ppo=PPO), [5], [3]) == 11 + 4 * 9
    assert step_tokens(changed(critic="copy", ppo=PPO), [5], [3]) == 11 + 7 * 9
    assert step_tokens(changed(critic="copy", ppo=PPO, epochs_per_step=2), [5], [3]) == 11 + 13 * 9


def test_adapters_are_all_that_has_gradients_and_moments_and_need_no_reference():
    adapted = changed(terms={"kl": LowVarKL(0.1)}, lora=LoraConfig(rank=2, targets=("q_proj",)), max_tokens_per_microbatch=12)
    found = memory(adapted, [5, 8]).update
    trained = 2 * 2 * (4 + 6)  # two layers, rank 2, queries 4 -> 6
    assert (found["gradients"], found["optimizer"], found["reference"]) == (4 * trained, 8 * trained, 0)
    assert found["weights"] == 4 * 364 + 4 * trained


def test_autocast_copies_what_is_not_held_in_half_precision_already():
    assert memory(changed(dtype="bfloat16"), [5]).update["half-precision weights"] == 2 * (264 + 40)
    lora = LoraConfig(rank=2)
    assert memory(changed(dtype="bfloat16"), [5]).update["weights"] == 4 * 364
    held = replace(changed(dtype="bfloat16"), model=ModelConfig("x", "x", 100, dtype="bfloat16", lora=lora))
    assert memory(held, [5]).update["half-precision weights"] == 0
    tied = replace(held, shape=replace(SHAPE, tied_embeddings=True))
    assert memory(tied, [5]).update["half-precision weights"] == 2 * 40  # a tied head stays float32 with the embedding


def test_a_gpu_has_neither_our_libraries_nor_the_heap():
    assert not {"libraries", "heap slack"} & set(memory(changed(device="cuda"), [5]).update)


@pytest.mark.parametrize(("stays", "held"), [(False, 0), (True, 1000)])
def test_an_engine_that_stays_is_there_while_the_policy_learns(stays, held):
    assert memory(replace(SETTINGS, engine=Holding(stays)), [5]).update.get("engine's", 0) == held


def test_chunked_logits_are_those_of_one_chunk():
    # 12 labels in chunks of 5
    assert memory(changed(logprob_chunk_tokens=5), [8, 5]).update["logits"] == 3 * 4 * 5 * 10


def test_sampling_runs_a_prompt_once_and_every_answer_token_but_the_last():
    # prompt of 5: matrices 2 x 264 x 5, attention 48 a pair (2 products x 2 x 6 numbers x 2 layers) x 15, one head 80;
    # an answer of 3: two tokens are run, they see 6 and 7 tokens; two answers
    assert sampling_flops(SHAPE, Lengths(5, (3, 3))) == (2640 + 48 * 15 + 80, 2 * (2 * (528 + 80) + 48 * 13))


def test_a_step_makes_forward_and_backward_passes_and_those_that_the_settings_ask_for():
    groups = ([5, 8, 5, 8], [3, 3, 3, 3])
    forward = 2 * cost.forward_flops(SHAPE, TWO_GROUPS)
    backward = 2 * cost.backward_flops(SHAPE, TWO_GROUPS)
    plain = step_flops(SETTINGS, *groups, "packed")
    assert (plain.update, plain.reference, plain.old_logprobs) == (forward + backward, 0, 0)
    asked = step_flops(changed(terms={"kl": LowVarKL(0.1)}, recompute_logprobs=True, epochs_per_step=3), *groups, "packed")
    assert (asked.update, asked.reference, asked.old_logprobs) == (3 * (forward + backward), forward, forward)
    # of an engine with weights of its own they are recomputed where nothing is said
    assert step_flops(replace(SETTINGS, engine=object()), *groups, "packed").old_logprobs == forward
    # with one optimizer step a batch the current log-probabilities are the old ones
    single = changed(recompute_logprobs=True, prompts_per_mini_batch=4)
    assert step_flops(single, *groups, "packed").old_logprobs == 0
    assert step_flops(changed(gradient_checkpointing=True), *groups, "packed").update == 2 * forward + backward


def test_padded_rows_cost_more_the_longer_the_prompt():
    def ratio(prompt):
        groups = ([prompt] * 2, [3] * 2)
        return step_flops(SETTINGS, *groups, "padded").update / step_flops(SETTINGS, *groups, "packed").update

    assert 1 < ratio(20) < ratio(40)


def test_of_several_processes_the_busiest_is_counted_mini_batch_by_mini_batch():
    two = replace(SETTINGS, processes=2)
    prompts, answers = [9, 5, 5, 7], [3, 3, 3, 3]
    groups = groups_of(two, prompts, answers)
    batches = mini_batches(two.trainer, groups)
    found = busiest_flops(two, batches, [groups])
    # sampling: 9 and 5 for one, 7 and 5 for the other; learning: of 9 and 5 the 9, of 5 and 7 the 7
    sampled, learnt = step_flops(two, [9, 5], [3, 3], "packed"), [step_flops(two, [one], [3], "packed") for one in (9, 7)]
    assert (found.prompts, found.decoding) == (sampled.prompts, sampled.decoding)
    assert found.update == pytest.approx(sum(one.update for one in learnt))
    assert busiest_flops(SETTINGS, batches, [groups]) == step_flops(SETTINGS, prompts, answers, "packed")


def test_a_process_holds_its_share_of_a_mini_batch():
    # without a budget a process makes one pass of its own groups: of two groups it has one
    assert memory(replace(SETTINGS, processes=2), [9, 9]).update["activations"] == memory(SETTINGS, [9]).update["activations"]
    assert memory(replace(SETTINGS, processes=2), [9, 9]).update["weights"] == memory(SETTINGS, [9]).update["weights"]


def test_processes_that_share_the_weights_hold_a_part_and_gather_two_layers():
    # a process has one of the groups, whose two answers are cut into two passes
    found = memory(replace(changed(shard=True, max_tokens_per_microbatch=12), processes=2), [9, 9])
    # of 364 parameters half: 4 bytes a weight and a gradient, 8 of moments
    assert (found.update["weights"], found.update["optimizer"], found.update["gradients"]) == (728, 1456, 728)
    # embedding and head of 40 each and two layers of 132 each, weights and gradients of 4 bytes
    assert found.update["gathered weights"] == 8 * (80 + 2 * 132)
    # the engine samples with the policy's own weights: all of them
    assert found.rollout["whole weights to sample with"] == 4 * 364
    assert "whole weights to sample with" not in found.update


def test_several_processes_are_told_that_they_may_share_the_weights_and_not_what_then_cannot_be():
    two = replace(SETTINGS, processes=2)
    assert "trainer.shard=true" in {words for words, *_ in possible(two)}
    assert "trainer.shard=true" not in {words for words, *_ in possible(SETTINGS)}
    changes = {words: found for words, _, found in possible(replace(changed(shard=True), processes=2))}
    assert not {"trainer.shard=true", "trainer.optimizer.name=adamw_8bit"} & set(changes)
    (adapters,) = [words for words in changes if "lora" in words]
    assert adapters.startswith("trainer.shard=false ") and not changes[adapters].trainer.shard
