"""A fake GPU that computes on the CPU: mixing its tensors with tensors in the computer's memory raises.

The fake tracks which storages are on the GPU, so that views, parameters and in-place writes stay where they are.
Python numbers and zero-dimensional tensors may be mixed with both, as on real GPUs. ``waits`` counts the operations
for which a real GPU would have to synchronize: numbers and tensors that are read back.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

GPU = torch.device("privateuseone", 0)
"""A device type that torch knows and that no device of this machine has."""
_ACROSS = {"copy_", "_to_copy", "set_", "detach", "_has_compatible_shallow_copy_type"}
"""Operations that accept tensors on both devices."""


_READ_BACK = {"_local_scalar_dense", "item", "is_nonzero"}
"""Operations that return an element of a tensor as a Python number."""


class MixUp(RuntimeError):
    """An operation got tensors on different devices, for which torch raises RuntimeError."""


class _Storages:
    """Tracks which storages are on the GPU."""

    def __init__(self) -> None:
        self._on_gpu: dict[int, StorageWeakRef] = {}

    def put(self, made: Any) -> None:
        """Mark the tensors in ``made`` as being on the GPU."""
        for tensor in _plain(tree_leaves(made)):
            storage = tensor.untyped_storage()
            self._on_gpu[storage._cdata] = StorageWeakRef(storage)  # type: ignore[no-untyped-call]

    def holds(self, tensor: Tensor) -> bool:
        """Return whether a tensor is on the GPU."""
        return any(part.untyped_storage()._cdata in self._on_gpu for part in _plain([tensor]))


def _plain(items: Sequence[Any]) -> Iterator[Tensor]:
    """Yield the tensors among some values; for a packed tensor, its data."""
    for item in items:
        if isinstance(item, Tensor):
            if hasattr(item, "_qdata"):
                yield item._qdata
            else:
                yield item


class FakeGpu(TorchFunctionMode):
    """Context in which ``GPU`` is a device of this machine, for the current thread."""

    def __init__(self) -> None:
        super().__init__()
        self.storages = _Storages()
        self.waits = 0
        self._checks = _Checks(self)

    def __enter__(self) -> FakeGpu:
        super().__enter__()  # type: ignore[no-untyped-call]
        self._checks.__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        self._checks.__exit__(*error)  # type: ignore[no-untyped-call]
        super().__exit__(*error)  # type: ignore[no-untyped-call]

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        del types
        named = dict(kwargs or {})
        special = _SPECIAL.get(func) or _SPECIAL.get(getattr(func, "__name__", ""))
        if special is not None and args and isinstance(args[0], Tensor):
            return special(self, func, args, named)
        if _is_gpu(named.get("device")):
            made = func(*args, **(named | {"device": "cpu"}))
            self.storages.put(made)
            return made
        return func(*args, **named)

    def moved(self, tensor: Tensor, device: Any, dtype: torch.dtype | None, *, copy: bool) -> Tensor:
        """Return a tensor moved to another device or dtype; the same tensor if nothing changes."""
        here = self.storages.holds(tensor)
        there = here if device is None else _is_gpu(device)
        if here == there and not copy and dtype in (None, tensor.dtype):
            return tensor
        if here and not there:
            self.waits += 1
        with self._checks.off():
            made = tensor.detach().clone() if dtype in (None, tensor.dtype) else tensor.detach().to(dtype)
        if made.untyped_storage()._cdata == tensor.untyped_storage()._cdata:
            made = made.clone()
        if there:
            self.storages.put(made)
        return made


class _Checks(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Checks every operation for tensors on different devices, and tracks where the results are."""

    def __init__(self, gpu: FakeGpu) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._gpu = gpu
        self._on = True

    @contextmanager
    def off(self) -> Iterator[None]:
        """Disable the checks, so that tensors can be moved."""
        self._on, before = False, self._on
        try:
            yield
        finally:
            self._on = before

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        del types
        named = dict(kwargs or {})
        if not self._on:
            return func(*args, **named)
        name = func.overloadpacket.__name__
        tensors = [item for item in tree_leaves((args, named)) if isinstance(item, Tensor)]
        on_gpu = [self._gpu.storages.holds(tensor) for tensor in tensors]
        if name in _READ_BACK and any(on_gpu):
            self._gpu.waits += 1
        strangers = [tensor for tensor, here in zip(tensors, on_gpu, strict=True) if not here and tensor.ndim > 0]
        if any(on_gpu) and strangers and name not in _ACROSS:
            raise MixUp(f"Expected all tensors to be on the same device: {name} of {GPU} and cpu")
        made = func(*args, **named)
        if (name not in _ACROSS and any(on_gpu)) or (name in _ACROSS and on_gpu and on_gpu[0]):
            self._gpu.storages.put(made)
        return made


def _is_gpu(device: Any) -> bool:
    return device is not None and torch.device(device).type == GPU.type


def _to(gpu: FakeGpu, func: Any, args: Sequence[Any], named: Mapping[str, Any]) -> Any:
    """Implement all signatures of ``Tensor.to``."""
    del func
    tensor, *others = args
    device, dtype, copy = named.get("device"), named.get("dtype"), bool(named.get("copy", False))
    if (like := named.get("other")) is not None:
        others = [like]
    for item in others:
        if isinstance(item, Tensor):
            device, dtype = (GPU if gpu.storages.holds(item) else "cpu"), item.dtype
        elif isinstance(item, torch.dtype):
            dtype = item
        elif isinstance(item, torch.device | str):
            device = item
    if hasattr(tensor, "_qdata"):
        raise TypeError("move the parts of a packed tensor")
    return gpu.moved(tensor, device, dtype, copy=copy)


def _cpu(gpu: FakeGpu, func: Any, args: Sequence[Any], named: Mapping[str, Any]) -> Any:
    del func, named
    return gpu.moved(args[0], "cpu", None, copy=False)


def _device(gpu: FakeGpu, func: Any, args: Sequence[Any], named: Mapping[str, Any]) -> Any:
    return GPU if gpu.storages.holds(args[0]) else func(*args, **named)


def _numbers(gpu: FakeGpu, func: Any, args: Sequence[Any], named: Mapping[str, Any]) -> Any:
    if gpu.storages.holds(args[0]):
        raise TypeError(f"can't convert {GPU} device type tensor to numpy; use Tensor.cpu() first")
    return func(*args, **named)


_SPECIAL: dict[Any, Callable[[FakeGpu, Any, Sequence[Any], Mapping[str, Any]], Any]] = {
    Tensor.device.__get__: _device,
    "to": _to,
    "cpu": _cpu,
    "numpy": _numbers,
    "__array__": _numbers,
    "tolist": _numbers,
}
"""Torch functions, or their names, that depend on the device."""


@contextmanager
def fake_gpu(patch: pytest.MonkeyPatch) -> Iterator[FakeGpu]:
    """Enter a ``FakeGpu``, and let random generators be created on it."""
    importlib.import_module("torch._dynamo")  # takes two seconds, and is impossible while torch.Generator is replaced
    generator = torch.Generator

    def made(device: Any = "cpu") -> torch.Generator:
        return generator("cpu" if _is_gpu(device) else device)

    with patch.context() as patched, FakeGpu() as gpu:
        patched.setattr(torch, "Generator", made)
        yield gpu
