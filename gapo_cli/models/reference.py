"""The frozen model that training started from: what the KL term compares with."""

from __future__ import annotations

import copy
from typing import Any

from gapo_cli.config.model import ModelConfig
from gapo_cli.models.folders import find_folder, is_adapter
from gapo_cli.models.load import hold_in_bfloat16, load_model
from gapo_cli.models.loaded import LoadedModel
from gapo_cli.models.lora import StartingModel, has_adapter
from gapo_cli.models.sharding import divide


def make_reference(policy: LoadedModel, start: ModelConfig, dtype: str, *, at_start: bool) -> Any:
    """For `completion_logprobs`. With adapters it is made of the policy's own weights (models/lora.py). Without, it is a
    copy, loaded from `start` unless the policy is still `at_start`; `dtype` "bfloat16" holds its matrices in half the memory,
    with the same results in bfloat16 autocast. Of a policy whose weights are shared, so are the reference's."""
    if has_adapter(policy.model):
        folder = find_folder(start)
        return StartingModel(policy, folder if is_adapter(folder) else None)
    if at_start and not policy.sharded:
        model = copy.deepcopy(policy.model)
    else:
        model = load_model(start, "cpu" if policy.sharded else policy.device, policy.dtype).model
    if dtype == "bfloat16":
        hold_in_bfloat16(model)
    model.eval().requires_grad_(False)
    if policy.sharded:
        divide(model, policy.device)
    return model
