"""TRL's GRPOTrainer with any of our estimators, templates and rewards. For TRL 1.16, which has no hook for advantages: two of its
methods are overridden, and nothing of them is copied.

    trainer = EstimatorGRPOTrainer(
        model=model, processing_class=tokenizer, args=GRPOConfig(...), estimator=GAPO(0.5),
        reward_funcs=EditReward(ExactMatchAndSimilarity(), template, tokenizer, end_ids), train_dataset=edit_dataset(tasks, template),
    )

Give it a tokenizer of `gapo_cli.models.tokenizer_files.load_tokenizer`: for some model types AutoTokenizer gives the same prompt other
tokens. Several processes are started with torchrun: `accelerate launch --cpu` starts one and says nothing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from trl import GRPOTrainer

from gapo_cli.engines.token_answers import answer_text
from gapo_cli.errors import UserError
from gapo_cli.interfaces import Estimator, Reward, Template
from gapo_cli.models.prompt_tokens import encode_texts
from gapo_cli.prompts import calls
from gapo_cli.records import Completion, EditTask
from gapo_cli.rollouts.sampling import Sampled, read_answer
from gapo_cli.rollouts.scoring import score


class EstimatorGRPOTrainer(GRPOTrainer):
    """The advantages are those of `estimator`, called with rewards (B, G), NaN for a missing one, and lengths (B, G) in tokens. Groups
    may span processes. TRL's `scale_rewards` then only says what spread is logged. Raises RuntimeError where this TRL keeps its
    advantages in another shape."""

    def __init__(self, *args: Any, estimator: Estimator, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.estimator = estimator

    def _calculate_rewards(self, inputs: Any, prompts: Any, completions: Any, completion_ids_list: Any) -> torch.Tensor:
        # of all processes, (N, reward functions)
        self._all_rewards = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        lengths = torch.tensor([len(ids) for ids in completion_ids_list], device=self._all_rewards.device)
        self._all_lengths = self.accelerator.gather(lengths)
        return self._all_rewards

    def _generate_and_score_completions(self, inputs: Any) -> dict[str, Any]:
        output = super()._generate_and_score_completions(inputs)
        own = output["advantages"]
        size = self.num_generations if self.model.training else self.num_generations_eval
        weighted = (self._all_rewards * self.reward_weights.to(self._all_rewards.device)).nansum(dim=1)
        rewards = weighted.masked_fill(self._all_rewards.isnan().all(dim=1), torch.nan)
        if own.shape != (len(inputs),):
            raise RuntimeError(f"TRL's advantages have shape {tuple(own.shape)}, not one an answer; install trl==1.16.*")
        found = self.estimator(rewards.view(-1, size).double().cpu().numpy(), self._all_lengths.view(-1, size).cpu().numpy())
        values = torch.from_numpy(found.values).reshape(-1)
        first = self.accelerator.process_index * len(own)
        output["advantages"] = values[first : first + len(own)].to(own)
        # the table of answers that TRL logs
        logged = self._logs["advantages"]
        for _ in range(len(values)):
            logged.pop()
        logged.extend(values.tolist())
        return output


def edit_dataset(tasks: Sequence[EditTask], template: Template) -> Dataset:
    """One row a task: `prompt`, and `task` as JSON for EditReward. Raises UserError for a template that makes chat prompts whose answer it
    begins itself, which TRL has no place for."""
    rows = []
    for task in tasks:
        prompt = calls.render(template, task)
        if prompt.messages and prompt.text:
            raise UserError(
                f"task {task.id}: the prompt begins the answer of a chat, which TRL cannot pass on; choose a raw prompt"
            )
        messages = [{"role": message.role, "content": message.content} for message in prompt.messages]
        rows.append({"prompt": messages or prompt.text, "task": json.dumps(task.to_dict())})
    return Dataset.from_list(rows)


@dataclass
class EditReward:
    """A reward function for TRL. Answers are read from their token ids with `template`, as gapo reads them: TRL's own text has lost the
    special tokens that may be markers. An answer whose last token is none of `end_ids` was cut and stands for no region. A
    missing reward is None."""

    reward: Reward
    template: Template
    tokenizer: Any
    end_ids: Sequence[int]

    @property
    def __name__(self) -> str:
        """What TRL logs it under."""
        return type(self.reward).__name__

    def __call__(
        self, prompts: Sequence[Any], completion_ids: Sequence[Sequence[int]], task: Sequence[str], **_: Any
    ) -> list[float | None]:
        sampled = []
        for prompt, ids, text in zip(prompts, completion_ids, task, strict=True):
            one = EditTask.from_dict(json.loads(text))
            answer = read_answer(self.template, one, self._completion(prompt, ids))
            sampled.append(Sampled(one, calls.render(self.template, one), (), (answer,)))
        scores = np.concatenate([group.scores for group in score(sampled, self.reward)])
        return [None if np.isnan(value) else float(value) for value in scores]

    def _completion(self, prompt: Any, ids: Sequence[int]) -> Completion:
        tokens = tuple(int(one) for one in ids)
        ended = bool(tokens) and tokens[-1] in self.end_ids
        # the token before the answer matters to tokenizers that write a blank into the first token; a chat's is a special one
        before = encode_texts(self.tokenizer, [prompt])[0][-1] if isinstance(prompt, str) else self.end_ids[0]
        text = answer_text(self.tokenizer, before, tokens[:-1] if ended else tokens)
        return Completion(tokens, (), text, "stop" if ended else "length")
