"""Loss and gradient of a batch of pairs beside those of TRL's DPOTrainer, of the same two models and the same tokens."""

import importlib.util

import pytest
import torch
from parts import OPTIMIZER, make_experiment, run_of, small_task

from gapo_cli.config.preference import PreferenceConfig
from gapo_cli.training.learners.preference import Preference
from gapo_cli.training.lifecycle import Life

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("trl") is None, reason="trl is not installed: pip install trl==1.16.*"),
]
TASKS = [small_task(f"task-{n}", region=f"a{n}\n", target="b" * n, rejected=("c", "dd")) for n in range(1, 4)]
OURS_AND_THEIRS = {
    "sigmoid": ({}, {"loss_type": ["sigmoid"]}),
    "supervised": ({"supervised_weight": 0.5}, {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 0.5]}),
    "per token": ({"per_token": True}, {"loss_type": ["sigmoid_norm"]}),
}


@pytest.mark.parametrize("case", OURS_AND_THEIRS)
def test_loss_and_gradient_are_trls(case, tiny_config, tmp_path):
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import DPOConfig, DPOTrainer

    ours, theirs = OURS_AND_THEIRS[case]
    experiment = make_experiment(
        tmp_path / "run", tiny_config, learner=Preference(), dpo=PreferenceConfig(beta=0.3, optimizer=OPTIMIZER, **ours)
    )
    learning = Life.begin(run_of(experiment, TASKS)).learning
    policy = learning.policy.model
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter += 0.02 * torch.randn(parameter.shape, generator=generator)

    start, same = (AutoModelForCausalLM.from_pretrained(tiny_config.path) for _ in range(2))
    same.load_state_dict(policy.state_dict())
    trainer = DPOTrainer(
        model=same,
        ref_model=start,
        args=DPOConfig(
            str(tmp_path / "trl"), beta=0.3, report_to="none", use_cpu=True, bf16=False, gradient_checkpointing=False, **theirs
        ),
        train_dataset=Dataset.from_list([{"prompt": "a", "chosen": "b", "rejected": "c"}]),  # it takes none without
        processing_class=AutoTokenizer.from_pretrained(tiny_config.path),
    )
    batch = trainer.data_collator(
        [
            {"prompt_ids": list(pair.prompt), "chosen_ids": list(pair.chosen), "rejected_ids": list(pair.rejected)}
            for pair in learning.pairs
        ]
    )
    expected = trainer.compute_loss(trainer.model, batch)
    expected.backward()

    sums = learning.accumulate(learning.pairs)
    assert sums.loss == pytest.approx(expected.item(), rel=1e-5)
    for (name, parameter), other in zip(policy.named_parameters(), same.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, other.grad, rtol=1e-4, atol=1e-6, msg=name)
