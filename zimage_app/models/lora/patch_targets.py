"""Applies patches to a model's weights: plain parameters are written, packed weights get a branch or a merged copy.

Packed weights are never repacked. If all updates of a weight are low-rank, they run as one branch beside it,
x -> up (down x) over all LoRAs; otherwise an unpacked patched copy replaces the weight while the LoRAs are applied.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from zimage_app.models.lora.parsing import Patch
from zimage_app.models.lora.updates import Delta, LowRank
from zimage_app.models.weights.packed_weights import LowRankBranch, PackedLinear, packed_linears

Job = Sequence[tuple[float, Patch]]
"""(strength, patch) of all patches of one unit, in order."""


@dataclass(frozen=True, slots=True)
class PatchTarget:
    """The weights of one unit, stacked by rows: q, k and v, or a single weight."""

    names: tuple[str, ...]
    weights: tuple[nn.Parameter | PackedLinear, ...]
    device: torch.device
    """Where the model computes; its weights may wait elsewhere."""

    def patch(self, job: Job, pristine: Callable[[str], Tensor], dtype: torch.dtype) -> bool:
        """Apply patches to the pristine weights. Returns whether all results are finite; if not, nothing is written.

        ``dtype`` is used for branches and copies of packed weights; parameters keep their own.
        """
        dtype = next((weight.dtype for weight in self.weights if isinstance(weight, nn.Parameter)), dtype)
        runs_beside = all(_low_rank(patch) is not None for _, patch in job)
        spans = self._spans()
        whole = None
        if not runs_beside or any(isinstance(weight, nn.Parameter) for weight in self.weights):
            whole = self._patched(job, pristine, dtype)
        branches = {span: _low_rank_branch(job, span, dtype, self.device) for span in spans} if runs_beside else {}
        written = [whole] if whole is not None else []
        if not all(torch.isfinite(item).all() for item in (*written, *(branch.up for branch in branches.values()))):
            return False
        for weight, (first, last) in zip(self.weights, spans, strict=True):
            if isinstance(weight, PackedLinear):
                weight.branch = branches.get((first, last))
                # Cloned, because a view would keep the other rows in memory.
                weight.patched_weight = None if runs_beside or whole is None else whole[first:last].clone()
            elif whole is not None:
                weight.copy_(whole[first:last])
        return True

    def restore(self, pristine: Callable[[str], Tensor]) -> None:
        """Remove all patches; the weights are restored bit for bit."""
        for name, weight in zip(self.names, self.weights, strict=True):
            if isinstance(weight, PackedLinear):
                weight.branch = weight.patched_weight = None
            else:
                weight.copy_(pristine(name))

    def unpacked_bytes(self, patches: Sequence[Patch], dtype: torch.dtype) -> int:
        """Return the bytes of the unpacked copies that the patches need; 0 if all are low-rank."""
        if all(_low_rank(patch) is not None for patch in patches):
            return 0
        packed = [weight.shape for weight in self.weights if isinstance(weight, PackedLinear)]
        return sum(rows * columns for rows, columns in packed) * dtype.itemsize

    def _spans(self) -> list[tuple[int, int]]:
        spans, last = [], 0
        for weight in self.weights:
            first, last = last, last + weight.shape[0]
            spans.append((first, last))
        return spans

    def _patched(self, job: Job, pristine: Callable[[str], Tensor], dtype: torch.dtype) -> Tensor:
        """Return all rows of the unit, patched in float32 and rounded once to ``dtype``."""
        pairs = zip(self.names, self.weights, strict=True)
        rows = [item.dense() if isinstance(item, PackedLinear) else pristine(name) for name, item in pairs]
        weight = torch.cat([part.to(self.device, torch.float32) for part in rows])
        for strength, patch in job:
            first, last = patch.target.rows
            weight[first:last] = patch.update.patched(weight[first:last], strength)
        return weight.to(dtype)


class PatchTargets:
    """All weights of a model by their names; it computes on ``device``."""

    def __init__(self, module: nn.Module, device: torch.device) -> None:
        self._device = device
        packed = {f"{name}.weight": linear for name, linear in packed_linears(module).items()}
        self._weights: dict[str, nn.Parameter | PackedLinear] = dict(module.named_parameters()) | packed

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return name -> shape; for packed weights, the shape of the unpacked weight."""
        return {name: tuple(weight.shape) for name, weight in self._weights.items()}

    def unit(self, names: tuple[str, ...]) -> PatchTarget:
        """Return the named weights, stacked by rows in this order."""
        return PatchTarget(names, tuple(self._weights[name] for name in names), self._device)


def _low_rank(patch: Patch) -> LowRank | None:
    update = patch.update
    return update.product if isinstance(update, Delta) and isinstance(update.product, LowRank) else None


def _low_rank_branch(job: Job, span: tuple[int, int], dtype: torch.dtype, device: torch.device) -> LowRankBranch:
    """Combine the low-rank updates of all patches into one branch for the rows ``span`` of the unit."""
    downs, ups = [], []
    for strength, patch in job:
        factors, update = _low_rank(patch), patch.update
        if factors is None or not isinstance(update, Delta):
            raise TypeError("only low-rank updates can run beside a weight")
        first, last = patch.target.rows
        rows = factors.up.new_zeros(span[1] - span[0], factors.up.shape[1], dtype=torch.float32)
        begin, end = max(first, span[0]), min(last, span[1])
        if begin < end:
            part = factors.up[begin - first : end - first].float()
            rows[begin - span[0] : end - span[0]] = (strength * update.scale) * part
        downs.append(factors.down.float())
        ups.append(rows)
    return LowRankBranch(torch.cat(downs).to(device, dtype), torch.cat(ups, 1).to(device, dtype))
