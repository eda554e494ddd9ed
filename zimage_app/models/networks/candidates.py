"""The table of kernels that may be faster than plain torch; ``kernels.py`` measures them and chooses."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from zimage_app.models.networks.attention import Attend
from zimage_app.models.networks.block import block
from zimage_app.models.networks.kernels import STEP, Candidate, NormRope, Step, gated, norm_rope


def _half_on_cuda(device: torch.device, dtype: torch.dtype) -> bool:
    return device.type == "cuda" and dtype in (torch.bfloat16, torch.float16)


def _with_package(package: str, device: torch.device, dtype: torch.dtype) -> bool:
    return _half_on_cuda(device, dtype) and importlib.util.find_spec(package) is not None


def _by_backend(backend: SDPBackend) -> Attend:
    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        with sdpa_kernel(backend):
            return F.scaled_dot_product_attention(q, k, v)

    return attend


def kitchen_norm_rope() -> NormRope:
    """Return comfy-kitchen's fused RMS norm and rotary embedding."""
    import comfy_kitchen

    def fused(x: Tensor, weight: Tensor, rope: Tensor, eps: float) -> Tensor:
        cos, sin = rope.unbind(-1)
        matrices = torch.unflatten(torch.stack((cos, -sin, sin, cos), -1), -1, (2, 2))
        rotated: Tensor = comfy_kitchen.rms_rope1(x, matrices, weight, eps)
        return rotated

    return fused


def captured(plain: Step, inputs: Sequence[Tensor]) -> Step:
    """Capture a step as a CUDA graph, whose kernels are launched all at once instead of one by one from Python.

    The graph reads its weights in place, so LoRAs may change them, but they must stay where they are. It keeps the
    memory of one evaluation.
    """
    static = [each.clone() for each in inputs]
    graph = torch.cuda.CUDAGraph()
    # Other threads, such as that of the previews, may allocate memory meanwhile.
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        out = plain(*static)

    def replay(*new: Tensor) -> Tensor:
        for place, value in zip(static, new, strict=True):
            place.copy_(value)
        graph.replay()
        return out.clone()

    return replay


CANDIDATES = (
    *(
        Candidate("attend", name, _half_on_cuda, partial(_by_backend, backend))
        for name, backend in (
            ("cuDNN", SDPBackend.CUDNN_ATTENTION),
            ("flash", SDPBackend.FLASH_ATTENTION),
            ("memory-efficient", SDPBackend.EFFICIENT_ATTENTION),
        )
    ),
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
