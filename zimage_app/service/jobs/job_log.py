"""The log line of a job: its outcome and timings. Chooses the fields; ``diagnostics/logs.py`` formats them."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

from zimage_app.domain.request import GenerationRequest
from zimage_app.service.diagnostics.logs import log_event
from zimage_app.service.jobs.view import JobView

log = logging.getLogger(__name__)

_PLACES = 3
"""Decimal places of seconds."""


@dataclass(frozen=True, slots=True)
class JobTimes:
    """Times of a job, in seconds of the monotonic clock."""

    submitted_at: float
    """When it was submitted, or found in the queue after a restart."""
    started_at: float | None
    """When a runner took it; None if none did."""
    loaded_at: float | None
    """When its model was loaded; None if it wasn't."""


def log_job(view: JobView, request: GenerationRequest | None, times: JobTimes, *, private: bool) -> None:
    """Log a job that has ended or was requeued; ``private`` leaves out the prompt and the error message."""
    outcome = view.state if view.ended else "put back into the queue"
    log_event(log, f"job {view.id}: {outcome}", _facts(view, request, times, private))


def _facts(view: JobView, request: GenerationRequest | None, times: JobTimes, private: bool) -> dict[str, object]:
    now = time.monotonic()
    facts: dict[str, object] = {"model": view.model}
    if view.stages:
        facts["size"] = f"{view.stages[-1].width}x{view.stages[-1].height}"
        facts["steps"] = [stage.steps for stage in view.stages]
    begun = now if times.started_at is None else times.started_at
    facts["queued"] = round(begun - times.submitted_at, _PLACES)
    if times.loaded_at is not None:
        stages = [round(stage.seconds, _PLACES) for stage in view.stages if stage.seconds is not None]
        facts["load"] = round(times.loaded_at - begun, _PLACES)
        facts["stages"] = stages
        # The rest: encoding the prompt; decoding, compressing and saving the picture.
        facts["other"] = round(max(0.0, now - times.loaded_at - sum(stages)), _PLACES)
    facts["total"] = round(now - begun, _PLACES)
    if view.picture is not None:
        facts["picture"] = view.picture.record.id
    if view.error is not None:
        facts["error"] = type(view.error).__name__ if private else str(view.error)
    if request is not None and not private:
        facts["prompt"] = request.prompt
    return facts
