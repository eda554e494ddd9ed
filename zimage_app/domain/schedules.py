"""Noise schedules: name -> sigmas. Pure arithmetic, following HOW-IT-COMPUTES.md sections 3 and 4.4.

A schedule function takes ``(shift, steps)`` and returns the noise levels of a whole run, from high to low, ending in 0.
``stage_sigmas`` cuts the part that a denoise below 1 leaves. Values are rounded to float32 where ComfyUI rounds them,
because a later index or comparison may depend on the last bit. ``exp``, ``tan`` and ``pow`` are computed in
float64 and rounded once, so that every machine gets the same list; torch's own float32 versions differ from one
processor to the next, by one last bit where the exact value lies almost midway between two float32 numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Schedule = Callable[[float, int], Floats]

TABLE_SIZE = 1000
_BETA = 0.6
_LINEAR_QUADRATIC_THRESHOLD = 0.025
_KARRAS_RHO = 7.0


def shifted(shift: float, u: Floats) -> Floats:
    """The time shift of flow models, ``S u / (1 + (S-1) u)``; u and result in [0, 1]."""
    return shift * u / (1.0 + (shift - 1.0) * u)


def percent_to_sigma(shift: float, percent: float) -> float:
    """The noise level at which ``percent`` (0…1) of the sampling is done."""
    if percent <= 0.0:
        return 1.0
    if percent >= 1.0:
        return 0.0
    return shift * (1.0 - percent) / (1.0 + (shift - 1.0) * (1.0 - percent))


def as_float32(value: float) -> float:
    """The nearest float32 number."""
    return float(np.float32(value))


def sigma_table(shift: float) -> Floats:
    """The model's own 1000 noise levels, ascending, rounded to float32."""
    return _shifted_f32(shift, (np.arange(1, TABLE_SIZE + 1, dtype=np.float64) / TABLE_SIZE).astype(np.float32))


def _shifted_f32(shift: float, u: NDArray[np.float32]) -> Floats:
    """``shifted``, rounded to float32 after every operation; a shift near 0 must not round a level above 1."""
    levels = np.float32(shift) * u / (np.float32(1.0) + np.float32(shift - 1.0) * u)
    return np.minimum(levels, np.float32(1.0)).astype(np.float64)


def _f32(values: Floats | NDArray[np.float32]) -> Floats:
    return values.astype(np.float32).astype(np.float64)


def _with_zero(values: Floats) -> Floats:
    return np.append(values, 0.0)


def _flow_match(shift: float, steps: int) -> Floats:
    """Evenly spaced from 1 to the table's lowest level, then shifted, so that the low end is shifted twice."""
    times = np.linspace(TABLE_SIZE, sigma_table(shift)[0] * TABLE_SIZE, steps) / TABLE_SIZE
    return shifted(shift, times)


def flow_match(shift: float, steps: int) -> Floats:
    """The FlowMatchEuler node's list: its constructor shifts the table, then the list is shifted again."""
    return _with_zero(_flow_match(shift, steps))


def flow_match_karras(shift: float, steps: int) -> Floats:
    """The FlowMatchEuler node's ``use_karras_sigmas``: rho 7 between the ends of ``flow_match``."""
    high, low = _flow_match(shift, steps)[[0, -1]] ** (1.0 / _KARRAS_RHO)
    return _with_zero((high + np.linspace(0.0, 1.0, steps) * (low - high)) ** _KARRAS_RHO)


def flow_match_exponential(shift: float, steps: int) -> Floats:
    """The FlowMatchEuler node's ``use_exponential_sigmas``: log-linear between the ends of ``flow_match``."""
    high, low = np.log(_flow_match(shift, steps)[[0, -1]])
    return _with_zero(np.exp(np.linspace(high, low, steps)))


def _beta_quantiles(shares: Floats) -> Floats:
    """Return quantiles of the distribution Beta(0.6, 0.6)."""
    from scipy.special import betaincinv  # takes half a second, so only when needed

    quantiles: Floats = betaincinv(_BETA, _BETA, shares)
    return quantiles


def flow_match_beta(shift: float, steps: int) -> Floats:
    """The FlowMatchEuler node's ``use_beta_sigmas``: quantiles of Beta(0.6, 0.6) between the ends of ``flow_match``."""
    high, low = _flow_match(shift, steps)[[0, -1]]
    return _with_zero(low + _beta_quantiles(1.0 - np.linspace(0.0, 1.0, steps)) * (high - low))


def flow_match_linear(shift: float, steps: int) -> Floats:
    """The list registered for KSampler: dynamic shifting with mu 0, so no shift at all."""
    del shift
    times = np.linspace(TABLE_SIZE, sigma_table(1.0)[0] * TABLE_SIZE, steps) / TABLE_SIZE
    # The formula of dynamic shifting; at mu 0 it changes at most the last bit.
    return _with_zero(1.0 / (1.0 + (1.0 / times - 1.0)))


def simple(shift: float, steps: int) -> Floats:
    """Every (1000 / steps)-th entry of the table."""
    table = sigma_table(shift)
    return _with_zero(np.array([table[-(1 + int(k * TABLE_SIZE / steps))] for k in range(steps)]))


def _linspace(start: float, end: float, points: int) -> Floats:
    """Evenly spaced float32 values as ``torch.linspace`` computes them: from both ends inwards, each rounded once."""
    if points == 1:
        return _f32(np.array([start]))
    first, last = np.float32(start), np.float32(end)
    step = np.float64((last - first) / np.float32(points - 1))
    k = np.arange(points)
    return _f32(np.where(k < points // 2, first + step * k, last - step * (points - 1 - k)))


def _uniform(shift: float, points: int) -> Floats:
    """Linear in time; the low end is shifted twice, because a flow model uses its (shifted) sigma as the time."""
    return _shifted_f32(shift, _linspace(1.0, sigma_table(shift)[0], points).astype(np.float32))


def normal(shift: float, steps: int) -> Floats:
    """Linear in time, both ends included."""
    return _with_zero(_uniform(shift, steps))


def sgm_uniform(shift: float, steps: int) -> Floats:
    """``normal`` with one point more, without the last one."""
    return _with_zero(_uniform(shift, steps + 1)[:-1])


def ddim_uniform(shift: float, steps: int) -> Floats:
    """Evenly spaced entries of the table; may have more entries than steps + 1."""
    table = sigma_table(shift)
    stride = max(TABLE_SIZE // steps, 1)
    return _with_zero(table[1::stride][::-1])


def beta(shift: float, steps: int) -> Floats:
    """Quantiles of Beta(0.6, 0.6) as indices into the table; equal neighbours are dropped."""
    table = sigma_table(shift)
    quantiles = 1.0 - np.linspace(0.0, 1.0, steps, endpoint=False)
    indices = np.rint(_beta_quantiles(quantiles) * (TABLE_SIZE - 1)).astype(int)
    distinct = [index for k, index in enumerate(indices) if k == 0 or index != indices[k - 1]]
    return _with_zero(table[distinct])


def karras(shift: float, steps: int) -> Floats:
    """Karras et al. 2022 (arXiv 2206.00364), equation 5, rho 7, between the table's ends."""
    low = sigma_table(shift)[0] ** (1.0 / _KARRAS_RHO)
    fall = _f32(_linspace(0.0, 1.0, steps) * np.float64(np.float32(low - 1.0)))
    return _with_zero(_f32(1.0 + fall) ** _KARRAS_RHO)


def exponential(shift: float, steps: int) -> Floats:
    """Log-linear between the table's ends."""
    return _with_zero(np.exp(_linspace(0.0, math.log(sigma_table(shift)[0]), steps)))


def linear_quadratic(shift: float, steps: int) -> Floats:
    """Linear down to a threshold, then quadratic (HOW-IT-COMPUTES.md section 4.4)."""
    del shift
    if steps == 1:
        return np.array([1.0, 0.0])
    linear = steps // 2
    quadratic = steps - linear
    gap = linear - _LINEAR_QUADRATIC_THRESHOLD * steps
    a = gap / (linear * quadratic**2)
    b = _LINEAR_QUADRATIC_THRESHOLD / linear - 2.0 * gap / quadratic**2
    k = np.arange(steps, dtype=np.float64)
    levels = np.where(k < linear, _LINEAR_QUADRATIC_THRESHOLD * k / linear, a * k**2 + b * k + a * linear**2)
    return _with_zero(1.0 - levels)


def kl_optimal(shift: float, steps: int) -> Floats:
    """Sabour et al. 2024 (Align Your Steps, arXiv 2404.14507), equation 8: linear in the arc tangent."""
    ramp = np.arange(steps, dtype=np.float32) / np.float32(max(steps - 1, 1))
    low, high = (np.float32(math.atan(end)) for end in (sigma_table(shift)[0], 1.0))
    return _with_zero(np.tan((ramp * low + (np.float32(1.0) - ramp) * high).astype(np.float64)))


SCHEDULERS: dict[str, Schedule] = {
    "flow_match": flow_match,
    "flow_match_karras": flow_match_karras,
    "flow_match_exponential": flow_match_exponential,
    "flow_match_beta": flow_match_beta,
    "flow_match_linear": flow_match_linear,
    "simple": simple,
    "normal": normal,
    "sgm_uniform": sgm_uniform,
    "ddim_uniform": ddim_uniform,
    "beta": beta,
    "karras": karras,
    "exponential": exponential,
    "linear_quadratic": linear_quadratic,
    "kl_optimal": kl_optimal,
}


def list_length(steps: int, denoise: float) -> int:
    """Steps of the full schedule, whose last ``steps`` ``denoise`` keeps (rule of KSampler and BasicScheduler)."""
    return steps if denoise >= 1.0 else int(steps / denoise)


def whole_sigmas(scheduler: str, shift: float, steps: int, *, discard_penultimate: bool = False) -> Floats:
    """The noise levels that a schedule gives for ``steps`` steps, in float32: with ddim_uniform, maybe more."""
    sigmas = SCHEDULERS[scheduler](shift, steps + 1 if discard_penultimate else steps)
    return _f32(np.delete(sigmas, -2) if discard_penultimate else sigmas)


def stage_sigmas(
    scheduler: str, shift: float, steps: int, denoise: float, *, discard_penultimate: bool = False
) -> tuple[float, ...]:
    """The noise levels of one stage: float32 values, strictly falling, the last 0.

    ``denoise`` keeps the last ``steps`` of ``int(steps / denoise)`` steps (KSampler's and BasicScheduler's rule).
    ``discard_penultimate`` is for samplers whose schedule is computed one step longer and whose last non-zero sigma
    is then dropped. The result is shorter than ``steps + 1`` where some of the schedule's levels coincide.
    """
    total = list_length(steps, denoise)
    # BasicScheduler and KSampler differ for a list longer than steps + 1 at denoise 1; the reference uses the former.
    kept = whole_sigmas(scheduler, shift, total, discard_penultimate=discard_penultimate)[-(steps + 1) :]
    # A repeated level would be a step of length 0, where a multistep sampler divides by 0.
    falling = np.append(True, kept[1:] < kept[:-1])
    return tuple(float(value) for value in kept[falling])
