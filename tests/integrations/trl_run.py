"""Two steps of TRL with one of our estimators, in one process or in several (torchrun): what was scored and what went into the loss
of this rank is written to OUT/seen-RANK.json.

    torchrun --nproc-per-node 2 trl_run.py MODEL OUT ANSWERS_A_PROCESS
"""

import json
import os
import sys
from pathlib import Path
from typing import ClassVar

import torch
from parts import LengthReward, PlainTemplate, small_task
from transformers import AutoModelForCausalLM
from trl import GRPOConfig

from gapo_cli.config.model import ModelConfig
from gapo_cli.estimators.gapo import GAPO
from gapo_cli.integrations.trl import EditReward, EstimatorGRPOTrainer, edit_dataset
from gapo_cli.models.tokenizer_files import load_tokenizer

G = 4


class Watched(EstimatorGRPOTrainer):
    used: ClassVar[list] = []

    def _compute_loss(self, model, inputs):
        for ids, mask, advantage in zip(inputs["completion_ids"], inputs["completion_mask"], inputs["advantages"], strict=True):
            self.used.append({"ids": ids[mask.bool()].tolist(), "advantage": float(advantage)})
        return super()._compute_loss(model, inputs)


class Keeping(EditReward):
    scored: ClassVar[list] = []

    def __call__(self, prompts, completion_ids, task, **others):
        scores = super().__call__(prompts, completion_ids, task, **others)
        self.scored.append(
            [
                {"task": one, "ids": list(map(int, ids)), "score": value}
                for one, ids, value in zip(task, completion_ids, scores, strict=True)
            ]
        )
        return scores


def main(folder: str, out: str, answers: int) -> None:
    torch.set_num_threads(1)
    world = int(os.environ.get("WORLD_SIZE", "1"))
    tokenizer = load_tokenizer(ModelConfig("tiny", folder, 256), Path(folder))
    tasks = [small_task(f"task-{number}", region=f"a{number}", target=f"b{number}") for number in range(6)]
    template = PlainTemplate()
    trainer = Watched(
        model=AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32),
        processing_class=tokenizer,
        args=GRPOConfig(
            output_dir=f"{out}/trl", use_cpu=True, bf16=False, per_device_train_batch_size=answers, num_generations=G,
            gradient_accumulation_steps=1, max_completion_length=6, max_steps=2, learning_rate=1e-3, beta=0.0, logging_steps=1,
            save_strategy="no", report_to=[], loss_type="dapo", seed=3, mask_truncated_completions=False, gradient_checkpointing=False,
        ),
        estimator=GAPO(0.3),
        # half of the tokens end an answer, so that some are whole and earn something
        reward_funcs=Keeping(LengthReward(), template, tokenizer, range(1, 128)),
        train_dataset=edit_dataset(tasks, template),
    )  # fmt: skip
    before = [value.clone() for value in trainer.model.parameters()]
    trainer.train()
    moved = sum(float((one - old).abs().sum()) for one, old in zip(trainer.model.parameters(), before, strict=True))
    seen = {
        "world": world,
        "scored": Keeping.scored,
        "used": Watched.used,
        "moved": moved,
        "logged": list(trainer._logs["advantages"]),
    }
    Path(out, f"seen-{os.environ.get('RANK', '0')}.json").write_text(json.dumps(seen))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
