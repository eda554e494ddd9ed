"""The table of kernels that may be faster than plain torch; ``kernels.py`` measures them and chooses."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

from zimage_app.models.device import free_memory
from zimage_app.models.networks.block import block
from zimage_app.models.networks.kernels import STEP, Candidate, NormRope, Step, gated, norm_rope

_CAPTURE_MEMORY = 2**30
"""Bytes that must be free to capture a graph; an evaluation of Z-Image at 1024 x 1024 takes less."""


def _half_on_cuda(device: torch.device, dtype: torch.dtype) -> bool:
    return device.type == "cuda" and dtype in (torch.bfloat16, torch.float16)


def _with_package(package: str, device: torch.device, dtype: torch.dtype) -> bool:
    return _half_on_cuda(device, dtype) and importlib.util.find_spec(package) is not None


# The operators themselves: torch's context manager for choosing one changes it for all threads of the process.


def _cudnn(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    found: Tensor = torch.ops.aten._scaled_dot_product_cudnn_attention(q, k, v, None, False)[0]
    return found


def _flash(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    found: Tensor = torch.ops.aten._scaled_dot_product_flash_attention(q, k, v)[0]
    return found


def _memory_efficient(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    found: Tensor = torch.ops.aten._scaled_dot_product_efficient_attention(q, k, v, None, False)[0]
    return found


def kitchen_norm_rope() -> NormRope:
    """Return comfy-kitchen's fused RMS norm and rotary embedding."""
    import comfy_kitchen

    def fused(x: Tensor, weight: Tensor, rope: Tensor, eps: float) -> Tensor:
        cos, sin = rope.unbind(-1)
        matrices = torch.unflatten(torch.stack((cos, -sin, sin, cos), -1), -1, (2, 2))
        rotated: Tensor = comfy_kitchen.rms_rope1(x, matrices, weight, eps)
        return rotated

    return fused


@cache
def _capture_stream(device: torch.device) -> Any:
    """Return the stream on which a device's graphs are captured.

    By default, torch captures on the first GPU, where work on another one leaves the graph empty. It is the same stream
    each time, because cuBLAS keeps a workspace for every stream.
    """
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


@contextmanager
def _pool_released_on_failure(graph: Any, pool: Any) -> Iterator[None]:
    """Release a graph's pool of memory if its capture fails, on the current device.

    Torch before 2.14 keeps it until the process ends (pytorch#190348; AMD's own builds have the mending before). Where
    the capture itself ended well, the graph releases its pool, and a second time would end the process.
    """
    try:
        yield
    except BaseException:
        if torch.version.hip is None and torch.__version__ < "2.14" and not _has_ended(graph):
            for release in (torch._C._cuda_endAllocateToPool, torch._C._cuda_releasePool):
                with suppress(RuntimeError):  # it didn't begin, or torch has done it
                    release(torch.cuda.current_device(), pool)
        raise


def _has_ended(graph: Any) -> bool:
    """Return whether a graph was captured to its end, so that its pool is its own."""
    try:
        graph.pool()
    except RuntimeError:
        return False
    return True


def captured(plain: Step, inputs: Sequence[Tensor]) -> Step:
    """Capture a step as a CUDA graph, whose kernels are launched all at once instead of one by one from Python.

    The graph reads its weights in place, so LoRAs may change them, but they must stay where they are. It keeps the
    memory of one evaluation.

    Raises:
        torch.OutOfMemoryError: too little memory is free to begin.
    """
    device = inputs[0].device
    torch.cuda.empty_cache()
    if (free_memory(device) or 0) < _CAPTURE_MEMORY:  # less costs the seconds of a capture that fails
        raise torch.OutOfMemoryError("out of memory: too little is free for a CUDA graph")
    static = [each.clone() for each in inputs]
    graph, pool = torch.cuda.CUDAGraph(), torch.cuda.graph_pool_handle()
    stream = _capture_stream(device)
    # Other threads, such as that of the previews, may allocate memory meanwhile.
    capture = torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local")
    # The outer context leaves the stream after a capture that fails, which torch's own doesn't.
    with torch.cuda.device(device), _pool_released_on_failure(graph, pool), torch.cuda.stream(stream), capture:
        out = plain(*static)

    def replay(*new: Tensor) -> Tensor:
        for place, value in zip(static, new, strict=True):
            place.copy_(value)
        graph.replay()
        return out.clone()

    return replay


CANDIDATES = (
    Candidate("attend", "cuDNN", _half_on_cuda, lambda: _cudnn),
    Candidate("attend", "flash", _half_on_cuda, lambda: _flash),
    Candidate("attend", "memory-efficient", _half_on_cuda, lambda: _memory_efficient),
    Candidate("norm_rope", "comfy-kitchen", partial(_with_package, "comfy_kitchen"), kitchen_norm_rope),
    Candidate(
        "norm_rope", "compiled", partial(_with_package, "triton"), lambda: torch.compile(norm_rope), compiled=True
    ),
    Candidate("gate", "compiled", partial(_with_package, "triton"), lambda: torch.compile(gated), compiled=True),
    # Captions of other lengths would be compiled anew, were the shapes not dynamic.
    Candidate(
        "block", "compiled", partial(_with_package, "triton"), lambda: torch.compile(block, dynamic=True), compiled=True
    ),
    # Capturing takes about as long as one evaluation in each stage, so it must gain more.
    Candidate(STEP, "CUDA graph", _half_on_cuda, captured, gain=1.15),
)
