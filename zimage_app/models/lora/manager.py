"""Puts LoRAs on a model and takes them off again, exactly. Knows parameters in memory; no pages, no requests.

Every patched weight is worked out anew from the pristine one in float32, in the order of the stack, rounded once, and
written in place: the addresses stay, so views, compiled code and graphs stay valid, and nothing drifts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from zimage_app.domain.errors import LoraError
from zimage_app.domain.text import Text
from zimage_app.models.lora.files import fault, modified, read_tensors
from zimage_app.models.lora.names import Names
from zimage_app.models.lora.parsing import LoraFile, Patch, parse_lora

_PLAIN_DTYPES = frozenset({torch.float32, torch.bfloat16, torch.float16})

_Unit = tuple[str, ...]
_Identity = tuple[Path, int, int]


@dataclass(frozen=True, slots=True)
class ResolvedLora:
    """A LoRA of the stack: which file, and how strongly (0 is off)."""

    path: Path
    strength: float = 1.0


@runtime_checkable
class Patchable(Protocol):
    """A transformer that keeps values which follow from its weights."""

    module: nn.Module

    def weights_changed(self) -> None:
        """Called after weights were written."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class _Use:
    """A file of the stack as it was when it was read."""

    identity: _Identity
    file: LoraFile
    strength: float


LoraStack = tuple[_Use, ...]
"""LoRAs in order, with their files' contents."""
_Job = list[tuple[_Use, Patch]]
_Signature = tuple[tuple[_Identity, float], ...]


class LoraManager:
    """The LoRAs of one model.

    Args:
        transformer: the diffusers module, or a ``Patchable`` that holds it. Parameters may be moved or cast only while
            no LoRA is on. Any other object is a model that takes no LoRAs.
    """

    def __init__(self, transformer: object) -> None:
        self._patchable = transformer if isinstance(transformer, Patchable) else None
        module = transformer.module if isinstance(transformer, Patchable) else transformer
        self._module = module if isinstance(module, nn.Module) else None
        parameters = {} if self._module is None else dict(self._module.named_parameters())
        self._names = Names({name: tuple(parameter.shape) for name, parameter in parameters.items()})
        self._stack: LoraStack = ()
        self._last_read: LoraStack = ()
        """Kept, since a file that is on in some stages only is wanted again for the next picture."""
        self._pristine: dict[str, Tensor] = {}
        self._merged: dict[_Unit, _Signature | None] = {}
        """What each touched unit holds; None while that is uncertain."""

    @property
    def stack(self) -> LoraStack:
        """What is on, with the files' contents, for ``switch``."""
        return self._stack

    @property
    def uses(self) -> tuple[ResolvedLora, ...]:
        """What is on, in order."""
        return tuple(ResolvedLora(use.identity[0], use.strength) for use in self._stack)

    def apply(self, uses: Sequence[ResolvedLora]) -> list[Text]:
        """Make these the LoRAs that are on; an empty sequence takes all off.

        Only weights whose part of the stack changed are written. On any exception the weights are as before the call.

        Returns:
            What the user should know: keys of a file that have no effect, and why.

        Raises:
            LoraError: a file cannot be applied.
        """
        stack, warnings = self.read(uses)
        self.switch(stack)
        return warnings

    def read(self, uses: Sequence[ResolvedLora]) -> tuple[LoraStack, list[Text]]:
        """A stack with its files' contents, checked against the model, for ``switch``; uses at strength 0 are left out.

        Gives the warnings of ``apply`` with it, and raises what that raises. Nothing is put on or taken off.
        """
        strong = [_checked(use) for use in uses if use.strength != 0.0]
        if strong:
            self._require_plain_weights(strong[0].path.name)
        loaded: dict[_Identity, LoraFile] = {use.identity: use.file for use in (*self._last_read, *self._stack)}
        self._last_read = stack = tuple(self._load(use, loaded) for use in strong)
        files = {use.identity: use.file for use in stack}
        return stack, [warning for file in files.values() for warning in file.warnings()]

    def _load(self, use: ResolvedLora, loaded: dict[_Identity, LoraFile]) -> _Use:
        identity = (use.path, *modified(use.path))
        if identity not in loaded:
            loaded[identity] = parse_lora(use.path.name, read_tensors(use.path), self._names)
        return _Use(identity, loaded[identity], use.strength)

    def _require_plain_weights(self, file: str) -> None:
        if self._module is None:
            raise fault(file, "this model takes no LoRAs; choose another model", "此模型不支持 LoRA；请换一个模型")
        for name, parameter in self._module.named_parameters():
            if parameter.dtype not in _PLAIN_DTYPES or type(parameter.data) is not Tensor:
                raise fault(
                    file,
                    f"cannot be put on quantised weights ({name} is {_kind(parameter)}); load the bfloat16 model",
                    f"无法用于量化权重（{name} 为 {_kind(parameter)}）；请加载 bfloat16 模型",
                )

    def switch(self, stack: LoraStack) -> bool:
        """Put on a stack, or a part of one, that was read before; all or nothing. Says whether a weight was written."""
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
            # What was on cannot be worked out again; the pristine weights can always be copied back.
            self._stack = ()
            self._write(())
            raise

    # Inference mode writes parameters that were made in it and parameters that were not.
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
            if self._patchable is not None and (off or on):
                self._patchable.weights_changed()
        return bool(off or on)

    def _restore(self, unit: _Unit) -> None:
        self._merged[unit] = None
        copies = {name: self._pristine[name] for name in unit if name in self._pristine}
        for name, copy in copies.items():
            self._parameter(name).copy_(copy)
        # Forgotten only now, when the parameters hold what the copies held.
        del self._merged[unit]
        for name in copies:
            del self._pristine[name]

    def _merge(self, unit: _Unit, job: _Job) -> None:
        parameters = [self._parameter(name) for name in unit]
        self._merged[unit] = None
        for name, parameter in zip(unit, parameters, strict=True):
            if name not in self._pristine:
                self._pristine[name] = parameter.detach().to("cpu", copy=True)
        device = parameters[0].device
        weight = torch.cat([self._pristine[name].to(device, torch.float32) for name in unit])
        for use, patch in job:
            first, last = patch.target.rows
            weight[first:last] = patch.update.patched(weight[first:last], use.strength)
        merged = weight.to(parameters[0].dtype)
        if not torch.isfinite(merged).all():
            raise _overflow(unit, job)
        for parameter, rows in zip(
            parameters, torch.split(merged, [item.shape[0] for item in parameters]), strict=True
        ):
            parameter.copy_(rows)
        self._merged[unit] = _signature(job)

    def _parameter(self, name: str) -> nn.Parameter:
        if self._module is None:
            raise LookupError(name)
        return self._module.get_parameter(name)


@contextmanager
def applied(manager: LoraManager, uses: Sequence[ResolvedLora]) -> Iterator[list[Text]]:
    """These LoRAs while the context lasts, then again what was on before, even if its files are gone by then.

    Gives the warnings of ``LoraManager.apply`` and raises what it raises.
    """
    before = manager.stack
    try:
        yield manager.apply(uses)
    finally:
        manager.switch(before)


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


def _kind(parameter: nn.Parameter) -> str:
    plain = type(parameter.data) is Tensor
    return str(parameter.dtype).removeprefix("torch.") if plain else type(parameter.data).__name__
