"""A "cuda:0" that computes on the CPU, in a torch without CUDA: real numbers, and a GPU's rules about devices.

A tensor there is a wrapper around a CPU tensor. Every operation is looked at before it runs: tensors of both devices in one
operation are refused in torch's words, as are `.numpy()` and pickling of a tensor on the device. So code that forgets a
`.to(device)` or a `.cpu()` fails here as it would on a GPU. One rule is stricter than torch's: the device's tensors are not indexed by
tensors on the CPU, which torch allows and pays for with a copy in each call.

Not looked at: kernels, memory, speed, streams, pinned memory, copies that do not wait, torch.compile.

torch and what is loaded by it must find the device stub (device_stub.cpp) in the process from the start; `worker.py` sees to it.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any, Self
from unittest import mock

import torch
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

CPU, DEVICE = torch.device("cpu"), torch.device("cuda", 0)
MEMORY = 16 << 30

_aten = torch.ops.aten
BETWEEN_DEVICES = {_aten.copy_.default, _aten._to_copy.default, _aten.set_.source_Tensor}
INDEXING = {
    _aten.index.Tensor, _aten._unsafe_index.Tensor, _aten.index_put.default, _aten.index_put_.default, _aten._index_put_impl_.default,
}  # fmt: skip


class Counts:
    """Operations that ran on the device in this process."""

    operations = 0


class OnDevice(torch.Tensor):
    """`inner`: the CPU tensor that is computed with."""

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> Self:
        return torch.Tensor._make_wrapper_subclass(
            cls, inner.shape, strides=inner.stride(), storage_offset=inner.storage_offset(), dtype=inner.dtype, device=DEVICE
        )

    def __init__(self, inner: torch.Tensor) -> None:
        self.inner = inner

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(function, args, kwargs or {})

    def numpy(self, *_: Any, **__: Any) -> Any:
        raise TypeError(
            "can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() to copy the tensor to host memory first."
        )

    __array__ = numpy

    def tolist(self) -> Any:
        return self.inner.tolist()

    def data_ptr(self) -> int:
        return self.inner.data_ptr()

    def untyped_storage(self) -> torch.UntypedStorage:
        return self.inner.untyped_storage()

    def __repr__(self, **_: Any) -> str:
        return f"{self.inner!r} on cuda:0"

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError("a tensor on cuda:0 was pickled: it could be read on a machine with a GPU only")

    def __deepcopy__(self, memo: dict[int, Any]) -> OnDevice:
        copied = OnDevice(self.inner.detach().clone())
        if isinstance(self, torch.nn.Parameter):
            copied = torch.nn.Parameter(copied, self.requires_grad)
        memo[id(self)] = copied
        return copied


class Pretence(TorchDispatchMode):
    """Tensors that are made for the device come into being on it."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(function, args, kwargs or {})


def run(function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """One operation of torch: refused, or run on the CPU and wrapped where its result is the device's."""
    if _is_composite(function):  # in inference mode it comes whole
        with Pretence():
            found = function.decompose(*args, **kwargs)
        if found is not NotImplemented:
            return found
    known: dict[int, OnDevice] = {}
    stray: list[torch.Tensor] = []

    def inner(one: Any) -> Any:
        if isinstance(one, OnDevice):
            known[id(one.inner)] = one
            return one.inner
        if isinstance(one, torch.Tensor) and one.dim():  # a number on the CPU may take part anywhere
            stray.append(one)
        return one

    plain, settings = _each(inner, args), {name: _each(inner, one) for name, one in kwargs.items()}
    if known and stray:
        _refuse_two_devices(function, args, stray)
    asked = kwargs.get("device")
    target = None if asked is None else torch.device(asked).type
    if target not in (None, "cpu", "cuda"):  # "meta"
        return function(*args, **kwargs)
    if asked is not None:
        settings["device"] = CPU
    if kwargs.get("pin_memory"):
        settings["pin_memory"] = False
    found = function(*plain, **settings)
    if target == "cpu" or (target is None and not known):
        return found
    Counts.operations += 1

    def wrapped(one: Any) -> Any:
        if not isinstance(one, torch.Tensor):
            return one
        return known[id(one)] if id(one) in known else OnDevice(one)  # what an operation wrote into is the tensor that it was

    return _each(wrapped, found)


def _each(change: Callable[[Any], Any], value: Any) -> Any:
    """`change` of a value, or of each in lists and tuples: operations know nothing deeper, and torch's own walk takes longer than
    they do."""
    return type(value)([_each(change, one) for one in value]) if type(value) in (list, tuple) else change(value)


@functools.cache
def _is_composite(function: Any) -> bool:
    return isinstance(function, torch._ops.OpOverload) and torch._C._dispatch_has_kernel_for_dispatch_key(
        function.name(), "CompositeImplicitAutograd"
    )


def _refuse_two_devices(function: Any, args: Any, stray: list[torch.Tensor]) -> None:
    """`stray`: the tensors on the CPU in an operation that has others on the device."""
    if function in BETWEEN_DEVICES:
        return
    if function in INDEXING and isinstance(args[0], OnDevice):
        values = args[2] if len(args) > 2 else None
        if not (isinstance(values, torch.Tensor) and any(values is one for one in stray)):
            raise RuntimeError(
                f"a tensor on cuda:0 is indexed by a {tuple(stray[0].shape)} tensor on the CPU: torch copies it in each call"
            )
    raise RuntimeError(
        "Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu! "
        f"({function}, {tuple(stray[0].shape)} on the CPU)"
    )


def outside(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` without the pretence: for loading files, which transformers does in threads that know nothing of it."""

    def called(*args: Any, **kwargs: Any) -> Any:
        with _disable_current_modes(), mock.patch.object(torch.cuda, "is_available", lambda: False):
            return function(*args, **kwargs)

    return called


CUDA_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "is_available": lambda: True,
    "is_initialized": lambda: True,
    "is_bf16_supported": lambda *_, **__: True,
    "is_current_stream_capturing": lambda: False,
    "device_count": lambda: 1,
    "current_device": lambda: 0,
    "get_device_name": lambda *_: "pretended",
    "get_device_capability": lambda *_: (9, 0),
    "mem_get_info": lambda *_: (MEMORY, MEMORY),
    "max_memory_allocated": lambda *_: 0,
    "reset_peak_memory_stats": lambda *_: None,
    "get_rng_state_all": lambda: [torch.get_rng_state()],
    "set_rng_state": lambda *_: None,
    "manual_seed": lambda *_: None,
    "manual_seed_all": lambda *_: None,
    "empty_cache": lambda: None,
    "synchronize": lambda *_: None,
    "_lazy_init": lambda: None,
}


def _through_the_cpu(plain: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """torch.tensor and torch.as_tensor make theirs below what a dispatch mode sees."""

    def made(data: Any, *, dtype: Any = None, device: Any = None, **settings: Any) -> torch.Tensor:
        found = plain(data, dtype=dtype, **settings)
        return found if device is None else found.to(device)

    return made


@contextlib.contextmanager
def pretended_cuda() -> Iterator[None]:
    """Within, torch has one CUDA device."""
    with contextlib.ExitStack() as stack:
        for name, value in CUDA_FUNCTIONS.items():
            stack.enter_context(mock.patch.object(torch.cuda, name, value))
        for name in ("tensor", "as_tensor"):
            stack.enter_context(mock.patch.object(torch, name, _through_the_cpu(getattr(torch, name))))
        # a parameter that is moved stays the same object, so that tied ones stay tied: `.data =` cannot change a tensor's class
        before = torch.__future__.get_swap_module_params_on_conversion()
        torch.__future__.set_swap_module_params_on_conversion(True)
        stack.callback(torch.__future__.set_swap_module_params_on_conversion, before)
        stack.enter_context(Pretence())
        yield
