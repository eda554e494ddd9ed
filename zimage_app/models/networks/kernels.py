"""Chooses faster kernels for the parts of a transformer block, by measuring them on the device.

A candidate is used for a shape if it is at least 3 % faster than plain torch and agrees with it within the dtype's
rounding; one that is wrong or fails is logged and not used.
"""

from __future__ import annotations

import importlib.util
import logging
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from zimage_app.domain.text import Text
from zimage_app.models.device import seconds_of

log = logging.getLogger(__name__)

_ROUNDS = 7
"""Number of measurements, each of plain kernel and candidate; the median of the ratios counts."""
_QUICKER = 1.03
"""Minimum speedup."""
_ROUNDING = {torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 3e-3}
"""Maximum relative L2 distance between two correct results of a block."""

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
NormRope = Callable[[Tensor, Tensor, Tensor, float], Tensor]
Gate = Callable[[Tensor, Tensor], Tensor]


class Kernels(NamedTuple):
    """The functions that compute the parts of a block."""

    attend: Attend
    """Attention of (q, k, v), each (rows, heads, N, head) -> the same shape."""
    norm_rope: NormRope
    """(x, weight, rope, eps): RMS norm and rotary embedding of queries or keys."""
    gate: Gate
    """(gate, up) -> silu(gate) * up."""


def rotate(x: Tensor, rope: Tensor) -> Tensor:
    """Apply the rotary embedding to interleaved pairs (Su et al. 2021, arXiv 2104.09864), in float32.

    ``x`` (rows, N, heads, head), ``rope`` (rows, N, 1, head/2, 2) as cosine and sine.
    """
    pairs = x.float().reshape(*x.shape[:-1], -1, 2)
    if torch.compiler.is_compiling():
        # The compiler fuses real arithmetic but not complex; in eager mode, one complex product is ten times faster.
        (a, b), (cos, sin) = pairs.unbind(-1), rope.unbind(-1)
        rotated = torch.stack((a * cos - b * sin, b * cos + a * sin), -1)
    else:
        rotated = torch.view_as_real(torch.view_as_complex(pairs) * torch.view_as_complex(rope))
    return rotated.flatten(-2).to(x.dtype)


def _norm_rope(x: Tensor, weight: Tensor, rope: Tensor, eps: float) -> Tensor:
    return rotate(F.rms_norm(x, (x.shape[-1],), weight, eps), rope)


def _gated(gate: Tensor, up: Tensor) -> Tensor:
    return F.silu(gate) * up


DEFAULT = Kernels(F.scaled_dot_product_attention, _norm_rope, _gated)


@dataclass(frozen=True, slots=True)
class Candidate:
    """An alternative kernel for one part."""

    part: str
    """The field of ``Kernels``."""
    name: str
    fits: Callable[[torch.device, torch.dtype], bool]
    """Whether to try the kernel on this device with this dtype."""
    make: Callable[[], Callable[..., Tensor]]
    compiled: bool = False
    """Whether the first use at a shape takes seconds, which only pays off in a process that makes many pictures."""


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

    def norm_rope(x: Tensor, weight: Tensor, rope: Tensor, eps: float) -> Tensor:
        cos, sin = rope.unbind(-1)
        matrices = torch.unflatten(torch.stack((cos, -sin, sin, cos), -1), -1, (2, 2))
        rotated: Tensor = comfy_kitchen.rms_rope1(x, matrices, weight, eps)
        return rotated

    return norm_rope


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
        "norm_rope", "compiled", partial(_with_package, "triton"), lambda: torch.compile(_norm_rope), compiled=True
    ),
    Candidate("gate", "compiled", partial(_with_package, "triton"), lambda: torch.compile(_gated), compiled=True),
)
_TITLES = {
    "attend": Text("attention", "注意力"),
    "norm_rope": Text("norm and rotary embedding", "归一化与旋转编码"),
    "gate": Text("SwiGLU", "SwiGLU"),
}
_NOTHING = "plain"


class ChoiceCache(Protocol):
    """A cache of earlier choices, made on this machine with the same versions."""

    def get(self, key: str) -> Mapping[str, str]:
        """Return the chosen candidate's name by part; empty if nothing was chosen for this key."""
        ...

    def put(self, key: str, names: Mapping[str, str]) -> None:
        """Save a choice; if it can't be written, it is measured again next time."""
        ...


class KernelChoice:
    """Chooses between candidates on one device, once per shape.

    Args:
        device: the device to measure on.
        dtype: the dtype of the blocks.
        cache: the cache of choices.
        candidates: the kernels to try.
        seconds: measures the seconds that a function takes on the device.
    """

    def __init__(
        self,
        device: torch.device,
        dtype: torch.dtype,
        cache: ChoiceCache,
        candidates: Sequence[Candidate] = CANDIDATES,
        seconds: Callable[[Callable[[], object]], float] | None = None,
    ) -> None:
        self._candidates = [each for each in candidates if each.fits(device, dtype)]
        self._dtype = dtype
        self._cache = cache
        self._seconds = seconds or partial(seconds_of, device)
        self._chosen: dict[str, Kernels] = {}
        self._names: dict[str, Mapping[str, str]] = {}

    @property
    def notes(self) -> tuple[Text, ...]:
        """Messages for the user about the faster kernels chosen so far, one per shape."""
        return tuple(
            _sentence(shape, names) for shape, names in self._names.items() if set(names.values()) != {_NOTHING}
        )

    def kernels(self, shape: str, trial: Callable[[Kernels], Tensor]) -> Kernels:
        """Return the kernels for blocks of a shape; ``trial`` computes such a block with given kernels."""
        if not self._candidates:
            return DEFAULT
        if shape not in self._chosen:
            cached = self._cache.get(shape)
            known = cached and cached.keys() <= _TITLES.keys()  # other versions may have other parts
            names = cached if known else self._measure(shape, trial)
            self._names[shape] = names
            self._chosen[shape] = self._build(names)
        return self._chosen[shape]

    def _measure(self, shape: str, trial: Callable[[Kernels], Tensor]) -> Mapping[str, str]:
        wanted = trial(DEFAULT)
        names: dict[str, str] = {}
        for part in dict.fromkeys(each.part for each in self._candidates):
            gains = {each.name: self._gain(each, trial, wanted) for each in self._candidates if each.part == part}
            best = max(gains, key=lambda name: gains[name])
            names[part] = best if gains[best] >= _QUICKER else _NOTHING
        self._cache.put(shape, names)
        log.info("kernels for %s: %s", shape, names)
        return names

    def _gain(self, candidate: Candidate, trial: Callable[[Kernels], Tensor], wanted: Tensor) -> float:
        """Return the speedup over the plain kernel; 0 if the candidate is wrong or fails."""
        try:
            kernels = DEFAULT._replace(**{candidate.part: candidate.make()})
            found = trial(kernels)
            distance = float((found.double() - wanted.double()).norm() / wanted.double().norm())
            if not distance <= _ROUNDING[self._dtype]:
                log.warning("%s by %s is wrong here (%.1e off) and not used", candidate.part, candidate.name, distance)
                return 0.0
            ratios = [
                self._seconds(lambda: trial(DEFAULT)) / self._seconds(lambda: trial(kernels)) for _ in range(_ROUNDS)
            ]
        except Exception as error:  # noqa: BLE001  # libraries raise anything on devices that they don't support
            log.warning("%s by %s fails here and is not used: %s", candidate.part, candidate.name, error)
            return 0.0
        return statistics.median(ratios)

    def _build(self, names: Mapping[str, str]) -> Kernels:
        chosen = {each.part: each.make() for each in self._candidates if names.get(each.part) == each.name}
        return DEFAULT._replace(**chosen)


def _sentence(shape: str, names: Mapping[str, str]) -> Text:
    taken = {part: name for part, name in names.items() if name != _NOTHING}
    en = ", ".join(f"{_TITLES[part].en} by {name}" for part, name in taken.items())
    zh = "，".join(f"{_TITLES[part].zh} 使用 {name}" for part, name in taken.items())
    return Text(f"Measured to be quicker at {shape}: {en}.", f"实测 {shape} 下更快：{zh}。")
