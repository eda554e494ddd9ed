"""Applies LoRAs to a model in memory and removes them again, restoring the weights exactly.

Every patched weight is computed from the pristine one in float32, in the order of the stack, rounded once and written
in place. So addresses stay valid for views, compiled code and graphs, and rounding errors don't accumulate. Pristine
weights are reread from the model's files. Packed weights are not changed (``patch_targets.py``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from zimage_app.domain.errors import LoraError
from zimage_app.domain.text import Text
from zimage_app.models.components import Transformer
from zimage_app.models.lora.files import fault, modified
from zimage_app.models.lora.names import Names
from zimage_app.models.lora.parsing import LoraFile, Patch, read_lora
from zimage_app.models.lora.patch_targets import PatchTargets

_Unit = tuple[str, ...]
_Identity = tuple[Path, int, int]


@dataclass(frozen=True, slots=True)
class ResolvedLora:
    """A LoRA of the stack: its file and strength (0 means off)."""

    path: Path
    strength: float = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class _Use:
    """A LoRA of the stack with the content of its file at the time it was read."""

    identity: _Identity
    file: LoraFile
    strength: float


LoraStack = tuple[_Use, ...]
"""LoRAs in the order of application, with their files' contents."""
_Job = list[tuple[_Use, Patch]]
_Signature = tuple[tuple[_Identity, float], ...]


class LoraManager:
    """The LoRAs of one model. Parameters may be moved or cast only while no LoRA is applied."""

    def __init__(self, transformer: Transformer) -> None:
        self._transformer = transformer
        self._targets = PatchTargets(transformer.module, transformer.device)
        self._names = Names(self._targets.shapes())
        self._stack: LoraStack = ()
        self._last_read: LoraStack = ()
        """Kept so that files of LoRAs that are applied in some stages only aren't reread for the next picture."""
        self._merged: dict[_Unit, _Signature | None] = {}
        """Unit -> the LoRAs merged into it; None while the unit is being written."""

    def apply(self, uses: Sequence[ResolvedLora]) -> list[Text]:
        """Replace the applied LoRAs by these; an empty sequence removes all.

        Only weights whose LoRAs or strengths changed are written. After an exception the weights are as before.

        Returns:
            Warnings for the user: keys of a file that have no effect, and LoRAs that take extra memory.

        Raises:
            LoraError: a file cannot be applied.
        """
        stack, warnings = self.read(uses)
        self.switch(stack)
        return warnings

    def read(self, uses: Sequence[ResolvedLora]) -> tuple[LoraStack, list[Text]]:
        """Read and check LoRA files without applying them; LoRAs of strength 0 are left out.

        Returns the stack for ``switch`` and the warnings of ``apply``; raises what ``apply`` raises.
        """
        strong = [_checked(use) for use in uses if use.strength != 0.0]
        loaded: dict[_Identity, LoraFile] = {use.identity: use.file for use in (*self._last_read, *self._stack)}
        self._last_read = stack = tuple(self._load(use, loaded) for use in strong)
        files = {use.identity: use.file for use in stack}
        warnings = [warning for file in files.values() for warning in file.warnings()]
        return stack, warnings + self._memory_warnings(list(files.values()))

    def _load(self, use: ResolvedLora, loaded: dict[_Identity, LoraFile]) -> _Use:
        identity = (use.path, *modified(use.path))
        if identity not in loaded:
            loaded[identity] = read_lora(use.path, self._names)
        return _Use(identity, loaded[identity], use.strength)

    def _memory_warnings(self, files: Sequence[LoraFile]) -> list[Text]:
        """Return warnings for LoRAs that need unpacked copies of packed weights."""
        needed = [(file.name, self._unpacked_bytes(file)) for file in files]
        return [_memory_sentence(name, count) for name, count in needed if count]

    def _unpacked_bytes(self, file: LoraFile) -> int:
        units: dict[_Unit, list[Patch]] = {}
        for patch in file.patches:
            units.setdefault(patch.target.unit, []).append(patch)
        dtype = self._transformer.dtype
        return sum(self._targets.unit(unit).unpacked_bytes(patches, dtype) for unit, patches in units.items())

    def switch(self, stack: LoraStack) -> bool:
        """Apply a stack from ``read``, or a subset of one; all or nothing. Returns whether any weight was written."""
        before = self._stack
        try:
            written = self._write(stack)
        except BaseException:
            self._go_back(before)
            raise
        self._stack = stack
        return written

    def _go_back(self, before: LoraStack) -> None:
        try:
            self._write(before)
        except BaseException:
            # The previous LoRAs can't be merged again (out of memory, say), but restoring pristine weights only copies.
            self._stack = ()
            self._write(())
            raise

    # Parameters made inside inference mode can be written only in it; others can be written in it too.
    @torch.inference_mode()
    def _write(self, stack: LoraStack) -> bool:
        jobs: dict[_Unit, _Job] = {}
        for use in stack:
            for patch in use.file.patches:
                jobs.setdefault(patch.target.unit, []).append((use, patch))
        off = [unit for unit in self._merged if unit not in jobs]
        on = {unit: job for unit, job in jobs.items() if self._merged.get(unit) != _signature(job)}
        try:
            for unit in off:
                self._restore(unit)
            for unit, job in on.items():
                self._merge(unit, job)
        finally:
            if off or on:
                self._transformer.weights_changed()
        return bool(off or on)

    def _restore(self, unit: _Unit) -> None:
        self._merged[unit] = None
        self._targets.unit(unit).restore(self._transformer.origin)
        del self._merged[unit]

    def _merge(self, unit: _Unit, job: _Job) -> None:
        self._merged[unit] = None
        patches = [(use.strength, patch) for use, patch in job]
        if not self._targets.unit(unit).patch(patches, self._transformer.origin, self._transformer.dtype):
            raise _overflow(unit, job)
        self._merged[unit] = _signature(job)


def _checked(use: ResolvedLora) -> ResolvedLora:
    if not math.isfinite(use.strength):
        raise fault(
            use.path.name,
            f"strength {use.strength} is not a finite number; use one from -2 to 2",
            f"强度 {use.strength} 不是有限的数；请填写 -2 到 2 之间的数",
        )
    return use


def _signature(job: _Job) -> _Signature:
    return tuple((use.identity, use.strength) for use, _ in job)


def _overflow(unit: _Unit, job: _Job) -> LoraError:
    files = ", ".join(dict.fromkeys(use.file.name for use, _ in job))
    return fault(
        files,
        f"{unit[0]} is no longer finite with this; lower the strength or leave the LoRA out",
        f"应用后 {unit[0]} 不再是有限的数；请降低强度或移除该 LoRA",
    )


def _memory_sentence(file: str, count: int) -> Text:
    gigabytes = f"{count / 1e9:.2g}"
    return Text(
        f"{file}: the model's weights are packed and this is no plain LoRA, so it takes {gigabytes} GB while it is on.",
        f"{file}：模型权重是量化的，而它不是普通 LoRA，启用时将额外占用 {gigabytes} GB 内存。",
    )
