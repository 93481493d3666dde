"""gapo's settings as verl's: what they become, what is refused, what is only named."""

from dataclasses import replace

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from parts import make_experiment

from gapo_cli.config.algorithm import AlgorithmConfig, OverlongConfig
from gapo_cli.config.corruption import Corruption
from gapo_cli.config.model import LoraConfig, ModelConfig
from gapo_cli.config.sampling import EvaluationConfig, SamplingConfig
from gapo_cli.config.trainer import OptimizerConfig, TrainerConfig
from gapo_cli.errors import UserError
from gapo_cli.integrations.verl_limits import check, named
from gapo_cli.integrations.verl_settings import Cluster, Handed, settings_lines, written
from gapo_cli.rewards.em import ExactMatch
from gapo_cli.rewards.mix import Mix
from gapo_cli.training.objectives.entropy import EntropyBonus
from gapo_cli.training.objectives.kl import LowVarKL
from gapo_cli.training.objectives.smoothness import Smoothness

HANDED = Handed("/models/base", "gapo", {"tau": 0.3}, rows=100, longest_prompt=30)
SMALL = Cluster(nodes=1, gpus=2)
OPTIMIZER = OptimizerConfig(learning_rate=1e-5, betas=(0.9, 0.95), weight_decay=0.1, warmup_steps=5, max_grad_norm=0.5)
TRAINER = TrainerConfig(20, 8, 4, OPTIMIZER, epochs_per_step=2, max_tokens_per_microbatch=4096, checkpoint_every=7)


@pytest.fixture
def experiment(tmp_path):
    """Settings that are all different from gapo's and verl's defaults, where they can be."""
    return make_experiment(
        tmp_path / "run",
        ModelConfig("base", "/models/base", 256, lora=LoraConfig(rank=8, targets=("q_proj", "v_proj"))),
        seed=3,
        algorithm=AlgorithmConfig(
            "dapo", clip_low=0.1, clip_high=0.3, dual_clip=5.0, aggregation="constant", constant_divisor=64.0, dynamic_sampling=True,
            max_generation_rounds=4, overlong=OverlongConfig(4), importance_cap=2.5,
            terms={"kl": LowVarKL(0.02), "entropy": EntropyBonus(0.003)},
        ),
        sampling=SamplingConfig(group_size=4, max_new_tokens=16, temperature=0.8, top_p=0.9, top_k=50),
        evaluation=EvaluationConfig(tasks=5, every_steps=6),
        trainer=TRAINER,
    )  # fmt: skip


def settings(experiment, cluster=SMALL, handed=HANDED):
    lines = [line for line in settings_lines(experiment, cluster, handed) if line and not line.startswith("#")]
    parsed = OverridesParser.create().parse_overrides(lines)
    assert len({entry.key_or_group for entry in parsed}) == len(parsed)
    return {entry.key_or_group: entry.value() for entry in parsed}


def test_every_setting_has_its_counterpart(experiment):
    actor, rollout = "actor_rollout_ref.actor", "actor_rollout_ref.rollout"
    wanted = {
        "data.train_batch_size": 8,
        "data.max_prompt_length": 30,
        "data.max_response_length": 16,
        "actor_rollout_ref.model.path": "/models/base",
        "actor_rollout_ref.model.lora_rank": 8,
        "actor_rollout_ref.model.lora_alpha": 8,  # gapo's null scales by 1, which is alpha = rank
        "actor_rollout_ref.model.target_modules": ["q_proj", "v_proj"],
        "algorithm.adv_estimator": "gapo_cli.gapo",
        "algorithm.gapo.tau": 0.3,
        f"{actor}.clip_ratio_low": 0.1,
        f"{actor}.clip_ratio_high": 0.3,
        f"{actor}.clip_ratio_c": 5.0,
        f"{actor}.loss_agg_mode": "seq-mean-token-sum-norm",
        f"{actor}.loss_scale_factor": 64.0,
        f"{actor}.use_kl_loss": True,
        f"{actor}.kl_loss_coef": 0.02,
        f"{actor}.entropy_coeff": 0.003,
        "algorithm.filter_groups.enable": True,
        "algorithm.filter_groups.metric": "gapo_score",
        "algorithm.rollout_correction.rollout_is": "token",
        "algorithm.rollout_correction.rollout_is_threshold": 2.5,
        f"{rollout}.n": 4,
        f"{rollout}.temperature": 0.8,
        f"{rollout}.top_p": 0.9,
        f"{rollout}.top_k": 50,
        f"{rollout}.max_model_len": 256,
        "trainer.test_freq": 6,
        f"{actor}.optim.lr": 1e-5,
        f"{actor}.optim.betas": [0.9, 0.95],
        f"{actor}.optim.weight_decay": 0.1,
        f"{actor}.optim.clip_grad": 0.5,
        f"{actor}.optim.lr_warmup_steps": 2,  # 5 optimizer steps at 2 mini-batches x 2 epochs a rollout batch
        f"{actor}.ppo_mini_batch_size": 4,
        f"{actor}.ppo_epochs": 2,
        f"{actor}.ppo_max_token_len_per_gpu": 4096,
        "trainer.nnodes": 1,
        "trainer.n_gpus_per_node": 2,
        "trainer.total_training_steps": 20,
        "trainer.total_epochs": 7,  # 100 rows are 12 batches; 20 steps of at most 4 rounds are 80
        "trainer.save_freq": 7,
        "trainer.max_actor_ckpt_to_keep": 2,
    }
    found = settings(experiment)
    assert {key: found.get(key) for key in wanted} == wanted
    check(experiment, SMALL)


def test_what_is_off_in_gapo_is_off_in_verl(tmp_path):
    plain = make_experiment(tmp_path, ModelConfig("base", "/models/base", 256), algorithm=AlgorithmConfig("grpo"))
    found = settings(plain)
    assert found["actor_rollout_ref.actor.use_kl_loss"] is False
    assert found["actor_rollout_ref.actor.entropy_coeff"] == 0
    assert found["algorithm.filter_groups.enable"] is False
    assert found["actor_rollout_ref.rollout.top_k"] == -1
    assert found["trainer.test_freq"] == plain.trainer.steps
    assert not any("lora" in key or "rollout_correction" in key for key in found)


def test_a_micro_batch_holds_the_longest_answer(experiment):
    small = replace(experiment, trainer=replace(TRAINER, max_tokens_per_microbatch=10))
    assert settings(small)["actor_rollout_ref.actor.ppo_max_token_len_per_gpu"] == 30 + 16
    whole = replace(experiment, trainer=replace(TRAINER, max_tokens_per_microbatch=0))
    assert settings(whole)["actor_rollout_ref.actor.ppo_max_token_len_per_gpu"] == (30 + 16) * 4 * 4


def test_only_a_cpu_goes_without_flash_attention(experiment):
    on_gpu = settings(replace(experiment, trainer=replace(TRAINER, device="cuda", dtype="bfloat16")))
    assert "actor_rollout_ref.model.use_remove_padding" not in on_gpu
    assert on_gpu["actor_rollout_ref.actor.fsdp_config.mixed_precision.param_dtype"] == "bf16"
    assert settings(experiment)["actor_rollout_ref.model.use_remove_padding"] is False


def test_values_are_read_back_by_hydra_as_they_were():
    for value in (0.3, 1e-06, 5, True, None, "a,b", "it's [a] {text}", "tail\\", ["x", "y,z"], "$FOLDER/train.parquet"):
        (entry,) = OverridesParser.create().parse_overrides([f"key={written(value)}"])
        assert entry.value() == value


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"algorithm": AlgorithmConfig("grpo", terms={"smooth": Smoothness(0.1)})}, "algorithm.terms.smooth (Smoothness): has no"),
        (
            {"algorithm": AlgorithmConfig("grpo"), "trainer": replace(TRAINER, recompute_logprobs=False)}, "trainer.recompute_logprobs=false: has no counterpart",
        ),
        ({"trainer": replace(TRAINER, optimizer=replace(OPTIMIZER, decay_from=0.5))}, "trainer.optimizer.decay_from=0.5: has no"),
        ({"trainer": replace(TRAINER, optimizer=replace(OPTIMIZER, name="adamw_8bit"))}, "optimizer.name=adamw_8bit: has no"),
        ({"model": ModelConfig("base", "b", 256, lora=LoraConfig(8, alpha=4.5))}, "model.lora.alpha=4.5: has no counterpart"),
        ({"corruption": Corruption("flip", 0.1)}, "reward.corruption: has no counterpart"),
        ({"reward_on_error": "missing"}, "reward.on_error=missing: has no counterpart"),
        ({"reward": Mix({"em": ExactMatch}, {"em": 1}, normalise=True)}, "verl scores each answer alone"),
        ({"trainer": replace(TRAINER, prompts_per_mini_batch=3)}, "verl needs a divisor of trainer.prompts_per_step=8"),
        ({"sampling": SamplingConfig(3, 16), "trainer": replace(TRAINER, prompts_per_mini_batch=1)}, "verl's 2 workers"),
    ],
)  # fmt: skip
def test_what_verl_cannot_follow_is_refused_in_one_sentence(changes, said, experiment):
    with pytest.raises(UserError) as error:
        check(replace(experiment, **changes), SMALL)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_what_verl_does_otherwise_is_named(experiment):
    lines = " ".join(named(experiment))
    for word in ("warmup_steps", "max_generation_rounds", "model.lora", "trainer.device=cpu"):
        assert word in lines
