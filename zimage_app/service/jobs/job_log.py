"""A job's one line in the log: how it ended, and where its time went. Knows the log's fields, not its shape."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

from zimage_app.domain.request import GenerationRequest
from zimage_app.service.diagnostics.logs import log_event
from zimage_app.service.jobs.view import JobView

log = logging.getLogger(__name__)

_PLACES = 3
"""Of seconds behind the point."""


@dataclass(frozen=True, slots=True)
class JobTimes:
    """When what happened to a job; seconds of the monotonic clock."""

    asked: float
    """When it was asked for, or found in the queue after a restart."""
    begun: float | None
    """None where it never was."""
    loaded: float | None
    """When the model was there; None where it never was."""


def log_job(view: JobView, request: GenerationRequest | None, times: JobTimes, *, private: bool) -> None:
    """Tell of a job that is over, or was put back. ``private``: strangers share the app; nothing of what they asked."""
    outcome = view.state if view.over else "put back into the queue"
    log_event(log, f"job {view.id}: {outcome}", _facts(view, request, times, private))


def _facts(view: JobView, request: GenerationRequest | None, times: JobTimes, private: bool) -> dict[str, object]:
    now = time.monotonic()
    facts: dict[str, object] = {"model": view.model}
    if view.stages:
        facts["size"] = f"{view.stages[-1].width}x{view.stages[-1].height}"
        facts["steps"] = [stage.steps for stage in view.stages]
    begun = now if times.begun is None else times.begun
    facts["queued"] = round(begun - times.asked, _PLACES)
    if times.loaded is not None:
        stages = [round(stage.seconds, _PLACES) for stage in view.stages if stage.seconds is not None]
        facts["load"] = round(times.loaded - begun, _PLACES)
        facts["stages"] = stages
        # Reading the prompt, decoding, packing and saving.
        facts["other"] = round(max(0.0, now - times.loaded - sum(stages)), _PLACES)
    facts["total"] = round(now - begun, _PLACES)
    if view.picture is not None:
        facts["picture"] = view.picture.record.id
    if view.error is not None:
        facts["error"] = type(view.error).__name__ if private else str(view.error)
    if request is not None and not private:
        facts["prompt"] = request.prompt
    return facts
