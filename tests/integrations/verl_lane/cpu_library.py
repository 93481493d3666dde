"""Test code, verl's external_lib in this lane: ours, watched, and what a CPU needs beside it: verl's FSDP2 engine for the device
"cpu", and a rollout server in plain torch, `rollout.name=plain_torch`. What is watched goes to the file WATCHED, a JSON line each."""

from __future__ import annotations

import asyncio
import functools
import json
import os
import threading

import numpy as np
import ray
import torch
from verl.trainer.ppo import core_algos
from verl.workers.engine import EngineRegistry
from verl.workers.engine.fsdp import transformer_impl
from verl.workers.rollout import base
from verl.workers.rollout.replica import RolloutReplica, RolloutReplicaRegistry, TokenOutput

from gapo_cli.integrations import verl as ours

if "cpu" not in EngineRegistry._engines["language_model"].get("fsdp2", {}):
    register = EngineRegistry.register(model_type="language_model", backend=["fsdp2"], device="cpu")
    register(transformer_impl.FSDPEngineWithLMHead)
# verl keeps the KL reference in pinned memory, which torch has only beside an accelerator
transformer_impl.CPUOffloadPolicy = lambda pin_memory=True: None


def watched(**row) -> None:
    with open(os.environ["WATCHED"], "a") as file:
        file.write(json.dumps(row) + "\n")


def watch_estimator(name: str) -> None:
    compute = core_algos.ADV_ESTIMATOR_REGISTRY[name]

    @functools.wraps(compute)
    def watching(token_level_rewards, response_mask, index, config=None, **others):
        advantages, returns = compute(token_level_rewards, response_mask, index, config, **others)
        watched(
            what="advantages",
            index=np.asarray(index).astype(str).tolist(),
            scores=token_level_rewards.sum(-1).tolist(),
            lengths=response_mask.sum(-1).tolist(),
            values=((advantages * response_mask).sum(-1) / response_mask.sum(-1).clamp(min=1)).tolist(),
            token_mean=float((advantages * response_mask).sum() / response_mask.sum()),
        )
        return advantages, returns

    core_algos.ADV_ESTIMATOR_REGISTRY[name] = watching


for _name in [name for name in core_algos.ADV_ESTIMATOR_REGISTRY if str(name).startswith(ours.ESTIMATOR_PREFIX)]:
    watch_estimator(_name)


def compute_score(data_source, solution_str, ground_truth, extra_info, **settings):
    found = ours.compute_score(data_source, solution_str, ground_truth, extra_info, **settings)
    watched(what="reward", task=json.loads(extra_info["task"])["id"], text=extra_info["answer_text"], **found)
    return found


NAME = "plain_torch"


class TorchServer:
    """One replica: one answer at a time."""

    def __init__(self, config, model_config, replica_rank: int):
        from transformers import AutoModelForCausalLM

        torch.set_num_threads(1)
        torch.manual_seed(replica_rank)
        self.config, self.rank, self.steps = config, replica_rank, None
        self.model = AutoModelForCausalLM.from_pretrained(model_config.path, dtype=torch.float32).eval()
        self.lock = threading.Lock()

    async def generate(self, prompt_ids, sampling_params, request_id, **_) -> TokenOutput:
        return await asyncio.to_thread(self._generate, prompt_ids, sampling_params)

    @torch.no_grad()
    def _generate(self, prompt_ids, sampling_params) -> TokenOutput:
        temperature, ends = sampling_params["temperature"], set(sampling_params["stop_token_ids"])
        tokens, logprobs, past = [], [], None
        with self.lock:
            inputs = torch.tensor([list(prompt_ids)])
            while len(tokens) < self.config.response_length and not (tokens and tokens[-1] in ends):
                found = self.model(input_ids=inputs, past_key_values=past, use_cache=True)
                past = found.past_key_values
                logp = torch.log_softmax(found.logits[0, -1] / (temperature or 1.0), -1)
                tokens.append(int(torch.multinomial(logp.exp(), 1)) if temperature else int(logp.argmax()))
                logprobs.append(float(logp[tokens[-1]]))
                inputs = torch.tensor([[tokens[-1]]])
        return TokenOutput(
            token_ids=tokens, log_probs=logprobs, stop_reason="completed", extra_fields={"global_steps": self.steps}
        )

    async def load(self, tensors: dict) -> None:
        state = self.model.state_dict()
        assert set(tensors) == set(state), set(tensors) ^ set(state)
        moved = sum(float((tensors[name] - state[name]).abs().sum()) for name in state)
        self.model.load_state_dict(tensors)
        watched(what="sync", replica=self.rank, moved=moved)

    async def set_global_steps(self, steps):
        self.steps = steps

    async def wake_up(self, **_): ...

    async def sleep(self, **_): ...

    async def clear_kv_cache(self): ...

    async def release_kv_cache(self): ...

    async def resume_kv_cache(self): ...

    async def abort_all_requests(self, **_):
        return {"aborted_count": 0, "request_ids": []}

    async def resume_generation(self): ...


class TorchReplica(RolloutReplica):
    async def launch_servers(self):
        actor = ray.remote(TorchServer).options(name=f"{NAME}_{self.replica_rank}", max_concurrency=64, num_cpus=0)
        server = actor.remote(self.config, self.model_config, self.replica_rank)
        self.servers = [server]
        await server.clear_kv_cache.remote()
        self._server_handle, self._server_address = server, f"{NAME}:{self.replica_rank}"


class TorchAdapter(base.BaseRollout):
    """In each training worker: hands its weights to its replica."""

    def __init__(self, config, model_config, device_mesh, replica_rank: int = -1):
        super().__init__(config, model_config, device_mesh)
        self.replica_rank = int(os.environ["RANK"]) if replica_rank == -1 else replica_rank
        self.server = None

    async def resume(self, tags): ...

    async def release(self): ...

    @torch.no_grad()
    async def update_weights(self, weights, global_steps=None, wire_format="named_tensors", **_):
        tensors = {name: tensor.detach().cpu().float().clone() for name, tensor in weights}
        if self.server is None:
            self.server = ray.get_actor(f"{NAME}_{self.replica_rank}")
        await self.server.load.remote(tensors)
        if global_steps is not None:
            await self.server.set_global_steps.remote(global_steps)


base._ROLLOUT_REGISTRY[(NAME, "async")] = f"{__name__}.TorchAdapter"
RolloutReplicaRegistry.register(NAME, lambda: TorchReplica)
