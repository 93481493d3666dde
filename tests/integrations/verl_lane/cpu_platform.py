"""Test code: verl on CPUs. A platform for its registry, which is meant for such, and one function of verl that is given another
backend. Loaded by VERL_USE_EXTERNAL_MODULES=cpu_platform VERL_PLATFORM=cpu."""

from __future__ import annotations

import contextlib
import functools
import types

import torch
from verl.plugin.platform import PlatformBase, PlatformRegistry
from verl.utils import distributed

NOTHING = (
    "empty_cache", "ipc_collect", "manual_seed", "manual_seed_all", "reset_peak_memory_stats", "set_device",
    "set_per_process_memory_fraction", "synchronize",
)  # fmt: skip
NONE_USED = ("max_memory_allocated", "max_memory_reserved", "memory_allocated", "memory_reserved")


def device_module() -> types.ModuleType:
    """torch.cpu with what verl asks of torch.cuda."""
    module = types.ModuleType("torch_cpu_as_device")
    module.__dict__.update({name: value for name, value in vars(torch.cpu).items() if not name.startswith("__")})
    module.__dict__.update({name: lambda *_, **__: None for name in NOTHING})
    module.__dict__.update({name: lambda *_, **__: 0 for name in NONE_USED})
    module.mem_get_info = lambda *_, **__: (1 << 34, 1 << 34)
    module.get_rng_state, module.set_rng_state = torch.get_rng_state, torch.set_rng_state
    module.get_device_name = lambda *_: "cpu"
    return module


@PlatformRegistry.register(platform="cpu")
class PlatformCPU(PlatformBase):
    device_name = vendor_name = "cpu"
    device_module = device_module()

    def is_available(self):
        return True

    def current_device(self):
        return "cpu"  # it goes into tensor.to(...)

    def device_count(self):
        return 1

    def set_device(self, device_index): ...

    def synchronize(self, device_index=None): ...

    def manual_seed(self, seed):
        torch.manual_seed(seed)

    def manual_seed_all(self, seed):
        torch.manual_seed(seed)

    def set_allocator_settings(self, settings): ...

    def empty_cache(self): ...

    def get_device_capability(self, device_index=0):
        return None, None

    def communication_backend_name(self):
        return "gloo"

    def visible_devices_envvar(self):
        return "CUDA_VISIBLE_DEVICES"

    def nvtx_range(self, msg):
        return contextlib.nullcontext()

    def profiler_start(self): ...

    def profiler_stop(self): ...

    def ray_resource_name(self):
        return "GPU"  # ray_init.num_gpus says how many there are

    def ray_noset_envvars(self):
        return ["RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES"]

    def is_ipc_supported(self):
        return False

    def cudart(self): ...


# verl asks for "cpu:gloo,cpu:gloo", which torch refuses ("Duplicate device type cpu")
distributed.initialize_global_process_group_ray = functools.partial(
    distributed.initialize_global_process_group_ray, backend="cpu:gloo"
)
