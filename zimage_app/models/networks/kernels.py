"""Chooses faster kernels for the transformer by measuring them on the device.

Candidates replace a part of a block, a whole block, or a whole evaluation; ``candidates.py`` has their table. A shape
uses one that is at least 3 % faster there than plain torch, and agrees with it within the dtype's rounding. One that is
wrong or fails is logged and not used.
"""

from __future__ import annotations

import logging
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from zimage_app.domain.text import Text
from zimage_app.models.device import has_bfloat16_kernels, is_out_of_memory, seconds_of
from zimage_app.models.networks.attention import Attend

log = logging.getLogger(__name__)

_ROUNDS = 7
"""Number of measurements, each of plain kernel and candidate; the median of the ratios counts."""
_QUICKER = 1.03
"""Minimum speedup."""
_ROUNDING = {torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 3e-3}
"""Maximum relative L2 distance between two correct results of a block."""

NormRope = Callable[[Tensor, Tensor, Tensor, float], Tensor]
Gate = Callable[[Tensor, Tensor], Tensor]


class Kernels(NamedTuple):
    """The functions that compute a block or its parts."""

    attend: Attend
    norm_rope: NormRope
    """(x, weight, rope, eps): RMS norm and rotary embedding of queries or keys."""
    gate: Gate
    """(gate, up) -> silu(gate) * up."""
    block: Callable[..., Tensor] | None = None
    """A compiled ``block.block``, which uses only ``attend`` of the others; None: not compiled."""


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


def norm_rope(x: Tensor, weight: Tensor, rope: Tensor, eps: float) -> Tensor:
    """Apply RMS norm and rotary embedding to queries or keys."""
    return rotate(F.rms_norm(x, (x.shape[-1],), weight, eps), rope)


def gated(gate: Tensor, up: Tensor) -> Tensor:
    """Return silu(gate) * up, the middle of a SwiGLU."""
    return F.silu(gate) * up


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Compute attention by the kernel that torch chooses; in float32 where bfloat16 would need the whole scores."""
    # A compiler can't follow the question, and has no bfloat16 on such devices either.
    if not torch.compiler.is_compiling() and q.dtype == torch.bfloat16 and not has_bfloat16_kernels(q.device):
        return F.scaled_dot_product_attention(q.float(), k.float(), v.float()).to(q.dtype)
    return F.scaled_dot_product_attention(q, k, v)


DEFAULT = Kernels(attend, norm_rope, gated)


STEP = "step"
"""The part that is a whole evaluation, which is not in ``Kernels``."""
Step = Callable[..., Tensor]
"""Computes an evaluation from its input tensors."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """An alternative kernel for one part."""

    part: str
    """The field of ``Kernels``, or ``STEP``."""
    name: str
    fits: Callable[[torch.device, torch.dtype], bool]
    """Whether to try the kernel on this device with this dtype."""
    make: Callable[..., Callable[..., Tensor]]
    """Makes the kernel without arguments; for ``STEP`` from the plain step and its first inputs."""
    compiled: bool = False
    """Whether the first use at a shape takes seconds, which only pays off in a process that makes many pictures."""
    gain: float = _QUICKER
    """Minimum speedup; higher if it costs something in each stage."""


_TITLES = {
    "attend": Text("attention", "注意力"),
    "norm_rope": Text("norm and rotary embedding", "归一化与旋转编码"),
    "gate": Text("SwiGLU", "SwiGLU"),
    "block": Text("whole blocks", "整个模块"),
    STEP: Text("whole evaluations", "整步计算"),
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
        candidates: the kernels to try, those of a part after another.
        seconds: measures the seconds that a function takes on the device.
    """

    def __init__(
        self,
        device: torch.device,
        dtype: torch.dtype,
        cache: ChoiceCache,
        candidates: Sequence[Candidate],
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

    def step(self, shape: str, plain: Step, inputs: Sequence[Tensor]) -> Step | None:
        """Return a faster version of ``plain``, which computes evaluations of a shape; None if there is none.

        Call ``kernels`` for the shape first, and ``plain`` once. ``inputs`` are those of the next evaluation.
        """
        candidates = [each for each in self._candidates if each.part == STEP]
        names = self._names.get(shape)
        if not candidates or names is None:
            return None
        if STEP not in names:
            gains = {each.name: self._step_gain(each, plain, inputs) for each in candidates}
            names = {**names, STEP: _best(candidates, gains)}
            self._keep(shape, names, lasting=None not in gains.values())
        for each in candidates:
            if each.name == names[STEP]:
                try:
                    return each.make(plain, inputs)
                except Exception as error:  # noqa: BLE001  # as in _gain
                    log.warning("%s fails and is not used again until restart: %s", each.name, error)
                    self._names[shape] = {**names, STEP: _NOTHING}
        return None

    def _measure(self, shape: str, trial: Callable[[Kernels], Tensor]) -> Mapping[str, str]:
        """Choose the kernels part by part; each candidate runs with those already chosen for earlier parts."""
        wanted = trial(DEFAULT)
        names: dict[str, str] = {}
        lasting = True
        for part in dict.fromkeys(each.part for each in self._candidates if each.part != STEP):
            candidates = [each for each in self._candidates if each.part == part]
            before = self._build(names)
            gains = {each.name: self._kernel_gain(each, before, trial, wanted) for each in candidates}
            names[part] = _best(candidates, gains)
            lasting = lasting and None not in gains.values()
        self._keep(shape, names, lasting)
        return names

    def _keep(self, shape: str, names: Mapping[str, str], lasting: bool) -> None:
        self._names[shape] = names
        if lasting:
            self._cache.put(shape, names)
        log.info("kernels for %s: %s", shape, names)

    def _kernel_gain(
        self, candidate: Candidate, before: Kernels, trial: Callable[[Kernels], Tensor], wanted: Tensor
    ) -> float | None:
        def make() -> Callable[[], Tensor]:
            return partial(trial, before._replace(**{candidate.part: candidate.make()}))

        return self._gain(candidate, make, partial(trial, before), wanted)

    def _step_gain(self, candidate: Candidate, plain: Step, inputs: Sequence[Tensor]) -> float | None:
        # Judged by other inputs than those it is made with, or one that only repeats its first result would pass.
        others = [each * 0.9 for each in inputs]

        def make() -> Callable[[], Tensor]:
            return partial(candidate.make(plain, inputs), *others)

        return self._gain(candidate, make, partial(plain, *others), plain(*others))

    def _gain(
        self,
        candidate: Candidate,
        make: Callable[[], Callable[[], Tensor]],
        before: Callable[[], Tensor],
        wanted: Tensor,
    ) -> float | None:
        """Return the speedup over ``before``; 0 if the candidate is wrong or fails, None if memory ran out."""
        try:
            new = make()
            found = new()
            distance = float((found.double() - wanted.double()).norm() / wanted.double().norm())
            if not distance <= _ROUNDING[self._dtype]:
                log.warning("%s by %s is wrong here (%.1e off) and not used", candidate.part, candidate.name, distance)
                return 0.0
            ratios = [self._seconds(before) / self._seconds(new) for _ in range(_ROUNDS)]
        except Exception as error:  # noqa: BLE001  # libraries raise anything on devices that they don't support
            log.warning("%s by %s fails here and is not used: %s", candidate.part, candidate.name, error)
            return None if is_out_of_memory(error) else 0.0
        return statistics.median(ratios)

    def _build(self, names: Mapping[str, str]) -> Kernels:
        kernels = [each for each in self._candidates if each.part != STEP and names.get(each.part) == each.name]
        return DEFAULT._replace(**{each.part: each.make() for each in kernels})

    def without_kernels(self, shape: str, error: Exception) -> bool:
        """Use the plain kernels for a shape until restart, as a chosen one fails; return whether any was chosen.

        The caption's length is no part of a shape, and a kernel may refuse another one than it was tried with.
        """
        if self._chosen.get(shape, DEFAULT) == DEFAULT:
            return False
        log.warning("a kernel chosen for %s fails; none is used there until restart: %s", shape, error)
        self._chosen[shape] = DEFAULT
        self._names[shape] = dict.fromkeys((*self._names[shape], STEP), _NOTHING)
        return True


def _best(candidates: Sequence[Candidate], gains: Mapping[str, float | None]) -> str:
    """Return the name of the fastest candidate, if it is fast enough."""
    best = max(candidates, key=lambda each: gains[each.name] or 0.0)
    return best.name if (gains[best.name] or 0.0) >= best.gain else _NOTHING


def _sentence(shape: str, names: Mapping[str, str]) -> Text:
    taken = {part: name for part, name in names.items() if name != _NOTHING}
    en = ", ".join(f"{_TITLES[part].en} by {name}" for part, name in taken.items())
    zh = "，".join(f"{_TITLES[part].zh} 使用 {name}" for part, name in taken.items())
    return Text(f"Measured to be quicker at {shape}: {en}.", f"实测 {shape} 下更快：{zh}。")
