"""Other ways to compute the parts of a block, tried on the device itself against the plain arithmetic.

A candidate is taken for a shape where it is quicker by 3 % and equal within the dtype's rounding; one that is wrong or
fails is told in the log and never used. Knows no weights and no files.
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
"""In which plain and candidate take turns; the median of their ratios counts."""
_QUICKER = 1.03
_ROUNDING = {torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 3e-3}
"""Relative L2 distance of two right results of a block."""

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
Turn = Callable[[Tensor, Tensor, Tensor, float], Tensor]
Gate = Callable[[Tensor, Tensor], Tensor]


class Kernels(NamedTuple):
    """How the parts of a block are computed."""

    attend: Attend
    """(q, k, v), each (rows, heads, N, head) -> the same."""
    turn: Turn
    """(x, weight, rope, eps): RMS norm and rotary embedding of queries or keys."""
    gate: Gate
    """(gate, up) -> silu(gate) * up."""


def rotate(x: Tensor, rope: Tensor) -> Tensor:
    """Rotary embedding of interleaved pairs (Su et al. 2021, arXiv 2104.09864), in float32.

    ``x`` (rows, N, heads, head), ``rope`` (rows, N, 1, head/2, 2) as cosine and sine.
    """
    pairs = x.float().reshape(*x.shape[:-1], -1, 2)
    if torch.compiler.is_compiling():
        # The compiler fuses real arithmetic and not complex; run op by op, one complex product is ten times quicker.
        (a, b), (cos, sin) = pairs.unbind(-1), rope.unbind(-1)
        turned = torch.stack((a * cos - b * sin, b * cos + a * sin), -1)
    else:
        turned = torch.view_as_real(torch.view_as_complex(pairs) * torch.view_as_complex(rope))
    return turned.flatten(-2).to(x.dtype)


def _turned(x: Tensor, weight: Tensor, rope: Tensor, eps: float) -> Tensor:
    return rotate(F.rms_norm(x, (x.shape[-1],), weight, eps), rope)


def _gated(gate: Tensor, up: Tensor) -> Tensor:
    return F.silu(gate) * up


PLAIN = Kernels(F.scaled_dot_product_attention, _turned, _gated)


@dataclass(frozen=True, slots=True)
class Candidate:
    """Another way to compute one part."""

    part: str
    """The field of ``Kernels``."""
    name: str
    fits: Callable[[torch.device, torch.dtype], bool]
    """Where it is worth a trial."""
    make: Callable[[], Callable[..., Tensor]]
    compiled: bool = False
    """It takes seconds when it is first used at a shape: only for a process that makes many pictures."""


def _half_on_cuda(device: torch.device, dtype: torch.dtype) -> bool:
    return device.type == "cuda" and dtype in (torch.bfloat16, torch.float16)


def _with_package(package: str, device: torch.device, dtype: torch.dtype) -> bool:
    return _half_on_cuda(device, dtype) and importlib.util.find_spec(package) is not None


def _by_backend(backend: SDPBackend) -> Attend:
    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        with sdpa_kernel(backend):
            return F.scaled_dot_product_attention(q, k, v)

    return attend


def kitchen_turn() -> Turn:
    """comfy-kitchen's norm and rotary embedding in one."""
    import comfy_kitchen

    def turn(x: Tensor, weight: Tensor, rope: Tensor, eps: float) -> Tensor:
        cos, sin = rope.unbind(-1)
        matrices = torch.unflatten(torch.stack((cos, -sin, sin, cos), -1), -1, (2, 2))
        turned: Tensor = comfy_kitchen.rms_rope1(x, matrices, weight, eps)
        return turned

    return turn


CANDIDATES = (
    *(
        Candidate("attend", name, _half_on_cuda, partial(_by_backend, backend))
        for name, backend in (
            ("cuDNN", SDPBackend.CUDNN_ATTENTION),
            ("flash", SDPBackend.FLASH_ATTENTION),
            ("memory-efficient", SDPBackend.EFFICIENT_ATTENTION),
        )
    ),
    Candidate("turn", "comfy-kitchen", partial(_with_package, "comfy_kitchen"), kitchen_turn),
    Candidate("turn", "compiled", partial(_with_package, "triton"), lambda: torch.compile(_turned), compiled=True),
    Candidate("gate", "compiled", partial(_with_package, "triton"), lambda: torch.compile(_gated), compiled=True),
)
_TITLES = {
    "attend": Text("attention", "注意力"),
    "turn": Text("norm and rotary embedding", "归一化与旋转编码"),
    "gate": Text("SwiGLU", "SwiGLU"),
}
_NOTHING = "plain"


class Remembered(Protocol):
    """What was chosen before, on this machine with these versions."""

    def get(self, key: str) -> Mapping[str, str]:
        """Names of candidates by part; empty where nothing was chosen for a key."""
        ...

    def put(self, key: str, names: Mapping[str, str]) -> None:
        """Remember a choice; what cannot be written is worked out anew the next time."""
        ...


class KernelChoice:
    """Chooses between candidates on one device, once per shape.

    Args:
        seconds: how long some work takes on the device.
    """

    def __init__(
        self,
        device: torch.device,
        dtype: torch.dtype,
        remembered: Remembered,
        candidates: Sequence[Candidate] = CANDIDATES,
        seconds: Callable[[Callable[[], object]], float] | None = None,
    ) -> None:
        self._candidates = [each for each in candidates if each.fits(device, dtype)]
        self._dtype = dtype
        self._remembered = remembered
        self._seconds = seconds or partial(seconds_of, device)
        self._chosen: dict[str, Kernels] = {}
        self._names: dict[str, Mapping[str, str]] = {}

    @property
    def notes(self) -> tuple[Text, ...]:
        """What was chosen so far, by shape."""
        return tuple(
            _sentence(shape, names) for shape, names in self._names.items() if set(names.values()) != {_NOTHING}
        )

    def kernels(self, shape: str, trial: Callable[[Kernels], Tensor]) -> Kernels:
        """What to compute blocks of a shape with; ``trial`` computes one with given kernels."""
        if not self._candidates:
            return PLAIN
        if shape not in self._chosen:
            names = self._remembered.get(shape) or self._judged(shape, trial)
            self._names[shape] = names
            self._chosen[shape] = self._made(names)
        return self._chosen[shape]

    def _judged(self, shape: str, trial: Callable[[Kernels], Tensor]) -> Mapping[str, str]:
        wanted = trial(PLAIN)
        names: dict[str, str] = {}
        for part in dict.fromkeys(each.part for each in self._candidates):
            gains = {each.name: self._gain(each, trial, wanted) for each in self._candidates if each.part == part}
            best = max(gains, key=lambda name: gains[name])
            names[part] = best if gains[best] >= _QUICKER else _NOTHING
        self._remembered.put(shape, names)
        log.info("kernels for %s: %s", shape, names)
        return names

    def _gain(self, candidate: Candidate, trial: Callable[[Kernels], Tensor], wanted: Tensor) -> float:
        """How many times as quick as the plain one; 0 for one that must not be used."""
        try:
            kernels = PLAIN._replace(**{candidate.part: candidate.make()})
            found = trial(kernels)
            distance = float((found.double() - wanted.double()).norm() / wanted.double().norm())
            if not distance <= _ROUNDING[self._dtype]:
                log.warning("%s by %s is wrong here (%.1e off) and not used", candidate.part, candidate.name, distance)
                return 0.0
            ratios = [
                self._seconds(lambda: trial(PLAIN)) / self._seconds(lambda: trial(kernels)) for _ in range(_ROUNDS)
            ]
        except Exception as error:  # noqa: BLE001  # whatever a library raises, its kernel is not for this device
            log.warning("%s by %s fails here and is not used: %s", candidate.part, candidate.name, error)
            return 0.0
        return statistics.median(ratios)

    def _made(self, names: Mapping[str, str]) -> Kernels:
        chosen = {each.part: each.make() for each in self._candidates if names.get(each.part) == each.name}
        return PLAIN._replace(**chosen)


def _sentence(shape: str, names: Mapping[str, str]) -> Text:
    taken = {part: name for part, name in names.items() if name != _NOTHING}
    en = ", ".join(f"{_TITLES[part].en} by {name}" for part, name in taken.items())
    zh = "，".join(f"{_TITLES[part].zh} 使用 {name}" for part, name in taken.items())
    return Text(f"Measured to be quicker at {shape}: {en}.", f"实测 {shape} 下更快：{zh}。")
