"""Converts a ComfyUI server's messages to the events of a run: stage, step and preview."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from zimage_app.domain.events import Picture, StageDone, StageStarted, StepDone
from zimage_app.domain.plan import GenerationPlan, StagePlan
from zimage_app.domain.text import Text
from zimage_app.service.exports.comfy.workflow import Nodes
from zimage_app.service.jobs.progress import RunEvent
from zimage_app.service.pictures.decoding import DecodeOptions, UnreadablePicture, decode

SAMPLERS = ("KSampler", "SamplerCustom")
"""Classes of the nodes that run stages; a workflow has one such node per stage, in the stages' order."""


@dataclass(slots=True)
class ServerRun:
    """A job that the server has."""

    plan: GenerationPlan
    nodes: Nodes
    warnings: tuple[Text, ...] = ()
    begun: float = field(default_factory=time.monotonic)
    seconds: dict[int, float] = field(default_factory=dict)
    """Stage number -> its seconds."""


class EventConverter:
    """Converts a server's messages to the events of a run."""

    def __init__(self, run: ServerRun) -> None:
        self._run = run
        self._stages = _sampler_nodes(run)
        self._current: StagePlan | None = None
        self._since = 0.0
        self._picture: Picture | None = None
        self.preview: bytes | None = None
        """Image file of the newest preview, not decoded yet."""

    def events(self, kind: str, data: Mapping[str, Any]) -> Iterator[RunEvent]:
        """Yield the events that follow from a message."""
        if kind == "executing":
            yield from self._entered(self._stages.get(str(data.get("node"))))
        elif kind == "progress" and (stage := self._stages.get(str(data.get("node")))) is not None:
            yield from self._entered(stage)
            value, most = data.get("value"), data.get("max")
            if isinstance(value, int) and isinstance(most, int) and 0 < value <= most:
                yield StepDone(stage, max(1, round(stage.steps * value / most)), self._shown(stage))

    def _entered(self, stage: StagePlan | None) -> Iterator[RunEvent]:
        if stage is self._current:
            return
        now = time.monotonic()
        if self._current is not None:
            seconds = now - self._since
            self._run.seconds[self._current.number] = round(seconds, 3)
            yield StageDone(self._current, self._shown(self._current), seconds, self._current.evaluations, ())
        self._current, self._since, self._picture, self.preview = stage, now, None, None
        if stage is not None:
            yield StageStarted(stage)

    def _shown(self, stage: StagePlan) -> Picture:
        """Return the newest preview, in the latent's size; grey if there is none."""
        height, width = stage.latent_size
        if self.preview is not None:
            with suppress(UnreadablePicture):
                decoded = decode(self.preview, DecodeOptions((width, height), "stretch", as_jpeg=False))
                self._picture = np.frombuffer(decoded.data, np.uint8).reshape(height, width, 3)
            self.preview = None
        return np.full((height, width, 3), 127, np.uint8) if self._picture is None else self._picture


def _sampler_nodes(run: ServerRun) -> dict[str, StagePlan]:
    samplers = [key for key, node in run.nodes.items() if node["class_type"] in SAMPLERS]
    return dict(zip(samplers, run.plan.stages, strict=True))
