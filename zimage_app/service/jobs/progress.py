"""Progress of jobs: immutable snapshots in memory, which page and REST watch. Uses no files and no models."""

from __future__ import annotations

import asyncio
import heapq
import io
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from contextvars import Context
from dataclasses import dataclass, field, replace

from PIL import Image

from zimage_app.domain.errors import GenerationError, StudioError
from zimage_app.domain.events import Picture, StageDone, StageStarted, StepDone, Warned
from zimage_app.domain.plan import GenerationPlan
from zimage_app.domain.text import Text
from zimage_app.service.jobs.state import JobState
from zimage_app.service.jobs.stop import StopReason, StopToken
from zimage_app.service.jobs.view import JobView, QueueView

MAX_ENDED = 24
"""Number of ended jobs kept with their previews; the store keeps only the outcome of older ones."""
_ALMOST = 0.995
"""Maximum progress shown before the picture is saved."""

RunEvent = Warned | StageStarted | StepDone | StageDone
"""Events of a run before its end."""


@dataclass(eq=False)
class LiveJob:
    """The state of a job in this process. Only ``Progress`` changes it."""

    view: JobView
    plan: GenerationPlan | None = None
    """The plan made when the job was submitted; None after a restart, until the job runs."""
    context: Context | None = None
    """The context of the visitor who submitted the job, if the GPU is borrowed in the visitor's name; else None."""
    token: StopToken = field(default_factory=StopToken)
    submitted_at: float = 0.0
    """Time of submission, or of discovery after a restart; in seconds of the clock, like the next two."""
    started_at: float | None = None
    """When a runner took the job."""
    loaded_at: float | None = None
    """When the model was loaded."""
    done_cost: float = 0.0
    """Cost of the completed stages."""
    free_cost: float = 0.0
    """The part of ``done_cost`` whose results came from stage memory."""
    starts_at: float | None = None
    """Estimated start of a waiting job; None if unknown."""


class Progress:
    """All unfinished jobs, and the last ended ones. Thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._jobs: dict[str, LiveJob] = {}
        self._order: tuple[str, ...] = ()
        self._paused = False
        self._closing = False
        self._watchers: dict[str, set[_Watcher]] = {}

    # For clients.

    def view(self, job_id: str) -> JobView | None:
        """Return the job's current view; None if it isn't known here, or no longer."""
        with self._changed:
            live = self._jobs.get(job_id)
            return None if live is None else self._timed(live)

    def wait(self, job_id: str, version: int, timeout: float) -> JobView | None:
        """Wait up to ``timeout`` seconds for a view newer than ``version``; None if the job isn't known here.

        Returns the current view after the timeout, and at once for a job that has ended.

        Raises:
            GenerationError: the app is closing before the job has ended.
        """
        with self._changed:
            live = self._jobs.get(job_id)
            if live is None:
                return None
            self._changed.wait_for(lambda: live.view.version > version or live.view.ended or self._closing, timeout)
            if self._closing and not live.view.ended:
                raise closing_error()
            return self._timed(live)

    async def watch(self, job_id: str, seconds: float) -> AsyncIterator[JobView]:
        """Yield the newest view of a job after every change and every ``seconds``, until the job has ended.

        Asynchronous: no thread waits. Yields nothing for a job that isn't known here.

        Raises:
            GenerationError: the app is closing.
        """
        watcher = _Watcher()
        with self._changed:
            self._watchers.setdefault(job_id, set()).add(watcher)
        try:
            while (view := self.view(job_id)) is not None:
                yield view
                if view.ended:
                    return
                if self._closing:
                    raise closing_error()
                await watcher.changed(seconds)
        finally:
            with self._changed:
                left = self._watchers[job_id]
                left.discard(watcher)
                if not left:
                    del self._watchers[job_id]

    def current(self, owner: str) -> str | None:
        """Return the id of the owner's running job, else of their next waiting one; ``owner`` is an owner mark."""
        with self._changed:
            return next((live.view.id for live in self._open() if live.view.owner == owner), None)

    def queue(self) -> QueueView:
        """Return the number of running and waiting jobs."""
        with self._changed:
            states = [live.view.state for live in self._open()]
            waiting = states.count(JobState.WAITING)
            return QueueView(len(states) - waiting, waiting, self._paused)

    def open_jobs(self) -> tuple[JobView, ...]:
        """Return all unfinished jobs in the order in which they run."""
        with self._changed:
            return tuple(map(self._timed, self._open()))

    # For dispatcher and runners.

    def get(self, job_id: str) -> LiveJob | None:
        """Return a job, or None if it isn't known here."""
        return self._jobs.get(job_id)

    def put(self, live: LiveJob) -> None:
        """Add a job, and drop the oldest ended ones above ``MAX_ENDED``."""
        with self._changed:
            live.submitted_at = self._clock()
            self._jobs[live.view.id] = live
            ended = [job_id for job_id, each in self._jobs.items() if each.view.ended]
            for job_id in ended[: max(0, len(ended) - MAX_ENDED)]:
                del self._jobs[job_id]

    def update(self, job_id: str, **changes: object) -> None:
        """Change fields of a job's view, and notify watchers. Ignores unknown jobs."""
        if isinstance(error := changes.get("error"), StudioError):
            _forget_frames(error)
        with self._changed:
            live = self._jobs.get(job_id)
            if live is None:
                return
            state = changes.get("state", live.view.state)
            if changes.get("state") is JobState.WAITING:  # requeued
                live.started_at = live.loaded_at = None
                live.done_cost = live.free_cost = 0.0
            view = self._timed(live)
            if state not in (JobState.LOADING, JobState.STOPPING):
                changes["loading"] = None
            live.view = replace(view, remaining=None, version=view.version + 1, **changes)  # type: ignore[arg-type]
            self._notify(job_id)

    def set_order(self, active: Sequence[str], waiting: Sequence[tuple[str, float | None]], *, runners: int) -> None:
        """Set the order of the queue.

        Args:
            active: ids of the jobs that runners have, or whose pictures are being saved.
            waiting: (id, estimated seconds of the run) of the waiting jobs, in queue order.
            runners: number of jobs that run at once.
        """
        with self._changed:
            left = [self._remaining(self._jobs[job_id]) for job_id in active]
            self._order = (*active, *(job_id for job_id, _ in waiting))
            starts = _starts(left, [seconds for _, seconds in waiting], runners)
            now = self._clock()
            for ahead, ((job_id, _), start) in enumerate(zip(waiting, starts, strict=True), len(active)):
                self._jobs[job_id].starts_at = None if start is None else now + start
                if self._jobs[job_id].view.ahead != ahead:
                    self.update(job_id, ahead=ahead)

    def pause(self, paused: bool) -> None:
        """Show whether the queue is paused."""
        with self._changed:
            self._paused = paused

    def cancel(self, job_ids: Iterable[str]) -> None:
        """Set the jobs' stop tokens, which a running job checks before every model evaluation."""
        with self._changed:
            for job_id in job_ids:
                if (live := self._jobs.get(job_id)) is not None:
                    live.token.stop(StopReason.CANCELLED)

    def begin(self, job_id: str) -> None:
        """Note that a runner took the job."""
        with self._changed:
            self._jobs[job_id].started_at = self._clock()
            self.update(job_id, ahead=0)

    def loaded(self, job_id: str, plan: GenerationPlan) -> None:
        """Note that the job's model is loaded; the time of the run counts from now on."""
        with self._changed:
            self._jobs[job_id].loaded_at, self._jobs[job_id].plan = self._clock(), plan

    def running_seconds(self, job_id: str) -> float:
        """Return the seconds since the job's model was loaded; 0 before that."""
        with self._changed:
            loaded = self._jobs[job_id].loaded_at
            return 0.0 if loaded is None else self._clock() - loaded

    def close(self) -> None:
        """Wake all waiting threads and watchers, which then raise."""
        with self._changed:
            self._closing = True
            for job_id in list(self._watchers):
                self._notify(job_id)
            self._changed.notify_all()

    # Events of a run.

    def show(self, job_id: str, event: RunEvent, plan: GenerationPlan) -> None:
        """Show an event of a run of ``plan``."""
        picture = event.preview if isinstance(event, StepDone) else getattr(event, "picture", None)
        preview = None if picture is None else _jpeg(picture)
        with self._changed:
            live = self._jobs[job_id]
            match event:
                case Warned(warnings):
                    self.update(job_id, warnings=live.view.warnings + warnings)
                case StageStarted(stage):
                    self.update(job_id, current=plan.stages.index(stage))
                case StepDone(stage, step):
                    done = live.done_cost + stage.cost * step / stage.steps
                    self._show_stage(live, done, plan, step=step, preview=preview)
                case StageDone(stage, _, seconds, from_memory=known):
                    live.done_cost += stage.cost
                    live.free_cost += stage.cost if known else 0.0
                    done = live.done_cost
                    shown = {"seconds": seconds, "preview": preview, "from_memory": known}
                    self._show_stage(live, done, plan, step=stage.steps, **shown)

    def _show_stage(self, live: LiveJob, done: float, plan: GenerationPlan, **stage: object) -> None:
        view = live.view
        stages = list(view.stages)
        stages[view.current] = replace(stages[view.current], **stage)  # type: ignore[arg-type]
        progress = min(done / sum(each.cost for each in plan.stages), _ALMOST)
        # The progress bar doesn't move back when a stage restarts because memory ran out.
        self.update(view.id, stages=tuple(stages), progress=max(progress, view.progress))

    # Call with the lock held.

    def _open(self) -> Iterator[LiveJob]:
        """Yield the unfinished jobs in order; skips those that ended after the order was set."""
        return (live for job_id in self._order if (live := self._jobs.get(job_id)) and not live.view.ended)

    def _notify(self, job_id: str) -> None:
        self._changed.notify_all()
        for watcher in self._watchers.get(job_id, ()):
            watcher.tell()

    def _timed(self, live: LiveJob) -> JobView:
        """Return the view with its times updated to now."""
        view = live.view
        if view.state is JobState.WAITING:
            left = live.starts_at
            return replace(view, starts_in=None if left is None else max(0.0, left - self._clock()))
        if view.ended or live.started_at is None:
            return view
        began = live.started_at if live.loaded_at is None else live.loaded_at
        remaining = self._remaining(live) if view.state is JobState.RUNNING else None
        return replace(view, elapsed=self._clock() - began, remaining=remaining, starts_in=None)

    def _remaining(self, live: LiveJob) -> float | None:
        """Estimate the seconds until a job is done; None if unknown."""
        progress = live.view.progress
        free = live.free_cost / live.plan.cost if live.plan else 0.0
        if live.loaded_at is None or progress - free <= 0.02:
            return None
        return (self._clock() - live.loaded_at) * (1.0 - progress) / (progress - free)


class _Watcher:
    """Wakes a coroutine from any thread."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()

    def tell(self) -> None:
        with suppress(RuntimeError):  # the event loop is closed
            self._loop.call_soon_threadsafe(self._event.set)

    async def changed(self, seconds: float) -> None:
        """Wait up to ``seconds`` for the next change."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._event.wait(), seconds)
        self._event.clear()


def _starts(left: Sequence[float | None], waiting: Sequence[float | None], runners: int) -> list[float | None]:
    """Estimate in how many seconds each waiting job starts.

    Args:
        left: remaining seconds of the running jobs; None if unknown.
        waiting: seconds that each waiting job takes, in queue order; None if unknown.
        runners: number of jobs that run at once.

    Returns:
        None for every job behind one whose seconds are unknown.
    """
    if None in left:
        return [None] * len(waiting)
    free = sorted(seconds for seconds in left if seconds is not None)[-runners:] if runners else []
    free = [0.0] * (runners - len(free)) + free
    starts: list[float | None] = []
    for seconds in waiting:
        starts.append(free[0] if free else None)
        if free and seconds is not None:
            heapq.heapreplace(free, free[0] + seconds)
        else:
            free = []
    return starts


def closing_error() -> GenerationError:
    """Return the error raised to callers while the app closes."""
    return GenerationError(
        Text(
            "The app is closing; what waits or runs stays in the queue and is made when the app starts again.",
            "程序正在退出；排队和进行中的任务会保留，下次启动后继续。",
        )
    )


def _forget_frames(error: StudioError) -> None:
    """Drop the traceback, whose frames would keep latents and the model in memory as long as the job is kept."""
    error.__traceback__ = error.__cause__ = error.__context__ = None


def _jpeg(picture: Picture) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="JPEG", quality=88)
    return buffer.getvalue()
