"""What the faces see of jobs: immutable snapshots that only move forward. Knows no files, no models and no page."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Sequence
from contextvars import Context
from dataclasses import dataclass, field, replace

from PIL import Image

from zimage_app.domain.errors import GenerationError, StudioError
from zimage_app.domain.events import Picture, StageDone, StepDone
from zimage_app.domain.plan import GenerationPlan
from zimage_app.domain.text import Text
from zimage_app.service.jobs import Job, Turn
from zimage_app.service.views import JobView, QueueView

_KEPT = 24
"""Jobs that are over and remembered with their previews; of older ones the queue still knows the outcome."""
_MOST = 0.995
"""Of the progress, until the picture is saved."""


@dataclass(eq=False)
class Watched:
    """A job and what is to be seen of it. Change ``view`` through the board only."""

    job: Job
    view: JobView
    plan: GenerationPlan | None = None
    """As it was made when the job was asked for; None after a restart."""
    context: Context | None = None
    """Where a GPU is borrowed: the asking visitor's, in whose name it is."""
    stop: threading.Event = field(default_factory=threading.Event)
    asked: float = field(default_factory=time.monotonic)
    """When it was put here."""
    accepted: bool = True
    """It is in the queue on disk."""
    started: float | None = None
    loaded: float | None = None
    """When the model was there."""
    done_cost: float = 0.0
    """Cost of the stages that are over."""
    queued_seconds: float | None = 0.0
    """Estimated seconds of the jobs that wait before this one."""


class Board:
    """All jobs that are not over, and the last ones that are. Safe from any thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._jobs: dict[str, Watched] = {}
        self._running: Watched | None = None
        self._closing = False

    # For faces.

    def view(self, job_id: str) -> JobView | None:
        """The job as it is now; None where the board doesn't have it."""
        with self._changed:
            watched = self._jobs.get(job_id)
            return None if watched is None else self._timed(watched)

    def wait(self, job_id: str, version: int, timeout: float) -> JobView | None:
        """The job as soon as it is newer than ``version`` or the time is over; None where the board doesn't have it.

        Raises:
            GenerationError: the app is closing, and nothing more will be seen of the job.
        """
        with self._changed:
            watched = self._jobs.get(job_id)
            if watched is None:
                return None
            self._changed.wait_for(
                lambda: watched.view.version > version or watched.view.over or self._closing, timeout
            )
            if self._closing and not watched.view.over:
                raise closing()
            return self._timed(watched)

    def newest_open(self, owner: str) -> str | None:
        """The id of an owner's newest job that is not over; ``owner`` is a mark."""
        with self._changed:
            mine = [w for w in self._jobs.values() if w.view.owner == owner and not w.view.over]
            return mine[-1].job.id if mine else None

    def queue(self) -> QueueView:
        """How many jobs run and wait."""
        with self._changed:
            states = [watched.view.state for watched in self._jobs.values() if not watched.view.over]
            waiting = states.count("waiting")
            return QueueView(len(states) - waiting, waiting)

    # For the worker.

    def get(self, job_id: str) -> Watched | None:
        """A job of the board."""
        with self._changed:
            return self._jobs.get(job_id)

    def open(self) -> list[Watched]:
        """All jobs that are not over."""
        with self._changed:
            return [watched for watched in self._jobs.values() if not watched.view.over]

    def put(self, watched: Watched) -> None:
        """Add a job; the oldest of those that are over goes.

        Raises:
            GenerationError: the app is closing.
        """
        with self._changed:
            if self._closing:
                raise closing()
            self._jobs[watched.job.id] = watched
            over = [job_id for job_id, each in self._jobs.items() if each.view.over]
            for job_id in over[: max(0, len(over) - _KEPT)]:
                del self._jobs[job_id]

    def remove(self, watched: Watched) -> None:
        """Take a job off that the queue did not accept."""
        with self._changed:
            self._jobs.pop(watched.job.id, None)

    def update(self, watched: Watched, **changes: object) -> None:
        """Show another state of a job; one that is over stays as it is, but for its picture and warnings."""
        if isinstance(error := changes.get("error"), StudioError):
            _forget_frames(error)
        with self._changed:
            if watched.view.over and "state" in changes:
                return
            view = watched.view
            if changes.get("state") in ("done", "failed", "cancelled"):
                view = replace(self._timed(watched), remaining=None)
            watched.view = replace(view, version=view.version + 1, **changes)  # type: ignore[arg-type]
            self._changed.notify_all()

    def arrange(self, turns: Sequence[Turn], seconds: Sequence[float | None]) -> None:
        """Tell every waiting job how many run before it, and for how long; ``seconds`` is what each turn takes."""
        with self._changed:
            queued: float | None = 0.0
            for ahead, (turn, takes) in enumerate(zip(turns, seconds, strict=True)):
                watched = self._jobs.get(turn.id)
                if turn.state == "running":
                    continue  # what is left of it is counted when somebody looks
                if watched is not None:
                    watched.queued_seconds = queued
                    if watched.view.ahead != ahead:
                        self.update(watched, ahead=ahead)
                queued = None if queued is None or takes is None else queued + takes
            self._changed.notify_all()

    def begin(self, watched: Watched) -> None:
        """From now on this process runs that job."""
        with self._changed:
            self._running = watched
            self.update(watched, ahead=0)

    def end(self) -> None:
        """This process runs nothing."""
        with self._changed:
            self._running = None
            self._changed.notify_all()

    def is_at_work(self, watched: Watched) -> bool:
        """Whether this process runs that job."""
        with self._changed:
            return self._running is watched

    def idle(self, patience: float) -> bool:
        """Whether nothing runs here; the end of x"""
        with self._changed:
            self._changed.wait_for(lambda: self._running is None or not self._running.view.over, patience)
            return self._running is None

    def close(self) -> None:
        """Nothing more is accepted, and nobody waits any longer."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()

    @property
    def closing(self) -> bool:
        """Whether the app is on its way out."""
        return self._closing

    # What a run tells.

    def step_done(self, watched: Watched, event: StepDone, total_cost: float) -> None:
        """A step is over."""
        part = event.step / event.stage.steps
        progress = (watched.done_cost + part * event.stage.cost) / total_cost
        self._show_stage(watched, min(progress, _MOST), step=event.step, preview=_jpeg(event.preview))

    def stage_done(self, watched: Watched, event: StageDone, total_cost: float) -> None:
        """A stage is over."""
        watched.done_cost += event.stage.cost
        progress = min(watched.done_cost / total_cost, _MOST)
        preview = _jpeg(event.picture)
        self._show_stage(watched, progress, step=event.stage.steps, seconds=event.seconds, preview=preview)

    def _show_stage(self, watched: Watched, progress: float, **stage: object) -> None:
        stages = list(watched.view.stages)
        stages[watched.view.current] = replace(stages[watched.view.current], **stage)  # type: ignore[arg-type]
        # A stage that is begun anew, because memory ran out, keeps the bar where it was.
        self.update(watched, stages=tuple(stages), progress=max(progress, watched.view.progress))

    def _timed(self, watched: Watched) -> JobView:
        """The view with its clock read. Call with the lock held."""
        view = watched.view
        if view.over:
            return view
        if watched.started is None:
            return replace(view, starts_in=self._starts_in(watched)) if view.state == "waiting" else view
        elapsed = time.monotonic() - watched.started
        remaining = elapsed * (1.0 - view.progress) / view.progress if view.progress > 0.02 else None
        return replace(view, elapsed=elapsed, remaining=remaining if view.state == "running" else None)

    def _starts_in(self, watched: Watched) -> float | None:
        running = self._running
        if running is None or running.view.over:
            return watched.queued_seconds
        if running is watched:
            return 0.0
        remaining = None if running.started is None else self._timed(running).remaining
        if remaining is None or watched.queued_seconds is None:
            return None
        return watched.queued_seconds + remaining


def closing() -> GenerationError:
    """What is said while the app ends."""
    return GenerationError(
        Text(
            "The app is closing; what waits or runs stays in the queue and is made when the app starts again.",
            "程序正在退出；排队和进行中的任务会保留，下次启动后继续。",
        )
    )


def _forget_frames(error: StudioError) -> None:
    """Drop the traceback: a remembered job would keep its frames, and with them latents and a whole model."""
    error.__traceback__ = error.__cause__ = error.__context__ = None


def _jpeg(picture: Picture) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="JPEG", quality=88)
    return buffer.getvalue()
