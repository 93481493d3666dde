"""Our estimators, rewards and templates inside verl 0.9.1, through its own plugin points: nothing of verl is changed.

verl imports this module in each process that needs it (`actor_rollout_ref.model.external_lib`). `gapo handover verl` writes the
settings that name what is registered here: the estimators as `gapo_cli.NAME`, NAME being a yaml of conf/estimator, the agent loop
`gapo_cli`, and `compute_score` as the custom reward.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from verl.experimental.agent_loop.agent_loop import AgentLoopBase, AgentLoopOutput, register
from verl.trainer.ppo.core_algos import register_adv_est

from gapo_cli.config.model import ModelConfig
from gapo_cli.engines.token_answers import answer_text
from gapo_cli.integrations.verl_advantages import outcome_advantages
from gapo_cli.integrations.verl_parts import Judge, build, shipped_estimators
from gapo_cli.integrations.verl_settings import AGENT_LOOP, ESTIMATOR_PREFIX, OWN_ESTIMATOR, TOKENIZER_FOLDER
from gapo_cli.models.tokenizer_files import load_tokenizer
from gapo_cli.records import EditTask


def register_estimator(name: str, defaults: Mapping[str, Any]) -> None:
    """As `gapo_cli.NAME`; what stands under `algorithm.gapo` goes before the defaults."""

    @register_adv_est(f"{ESTIMATOR_PREFIX}{name}")
    def compute(
        token_level_rewards: torch.Tensor, response_mask: torch.Tensor, index: Any, config: Any = None, **_: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        given = dict((config or {}).get("gapo") or {})
        with torch.no_grad():
            estimator = build({**defaults, **given})
            values = outcome_advantages(estimator, token_level_rewards, response_mask, index)
        return values, values


for _name, _defaults in {**shipped_estimators(), OWN_ESTIMATOR: {}}.items():
    register_estimator(_name, _defaults)


def compute_score(
    data_source: str, solution_str: str, ground_truth: str, extra_info: Mapping[str, Any], parts: str, **_: Any
) -> dict[str, float]:
    """What an answer earns. The text is the agent loop's: verl's `solution_str` has lost the special tokens, which may be markers of
    the format. `parts`: the file of a HandedOver."""
    task = EditTask.from_dict(json.loads(extra_info["task"]))
    return Judge.of(parts).judge(task, extra_info["answer_text"], int(extra_info["answer_tokens"]))


@functools.cache
def tokenizer_at(folder: str) -> Any:
    return load_tokenizer(ModelConfig(folder, folder, context_length=1), Path(folder))


@register(AGENT_LOOP)
class GapoAgentLoop(AgentLoopBase):
    """One turn, from gapo's own token ids: neither a chat template nor another tokenizer stands between."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # verl joins the turns of a known model type by tokens that this tokenizer may not have; there is one turn here
        super().__init__(*args, **{**kwargs, "hf_model_type": None})

    async def run(self, sampling_params: dict[str, Any], **kwargs: Any) -> AgentLoopOutput:
        parts = Path(self.config.reward.custom_reward_function.reward_kwargs.parts)
        judge, tokenizer = Judge.of(str(parts)), tokenizer_at(str(parts.with_name(TOKENIZER_FOLDER)))
        prompt = [int(token) for token in kwargs["extra_info"]["prompt_token_ids"]]
        ends = [*judge.handed_over.end_ids, *judge.handed_over.stop_ids]
        output = await self.server_manager.generate(
            request_id=f"{kwargs['uid']}-{kwargs.get('session_id', 0)}",
            prompt_ids=prompt,
            sampling_params={**sampling_params, "stop_token_ids": ends},
        )
        limit = self.rollout_config.response_length
        tokens = list(output.token_ids)[:limit]
        logprobs = None if output.log_probs is None else list(output.log_probs)[:limit]
        text = None
        if judge.ends(tokens) and not judge.is_phantom(tokens):
            said = tokens[:-1] if tokens[-1] in judge.handed_over.end_ids else tokens
            text = answer_text(tokenizer, prompt[-1], said)
        return AgentLoopOutput(
            prompt_ids=prompt,
            response_ids=tokens,
            response_mask=[1] * len(tokens),
            response_logprobs=logprobs,
            num_turns=2,
            metrics={"num_preempted": -1 if output.num_preempted is None else output.num_preempted},
            extra_fields={**output.extra_fields, "answer_text": text, "answer_tokens": len(tokens)},
        )
