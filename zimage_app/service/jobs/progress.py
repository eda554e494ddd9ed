"""How far jobs are: immutable snapshots in memory, which pages and REST watch. Knows no files and no models."""

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

MAX_OVER = 24
"""Jobs that are over and kept with their previews; of older ones the store still knows the outcome."""
_ALMOST = 0.995
"""The most progress that is shown before the picture is saved."""

RunEvent = Warned | StageStarted | StepDone | StageDone
"""What a run tells before its end."""


@dataclass(eq=False)
class Tracked:
    """A job as this process sees it. Changed by ``Progress`` only."""

    view: JobView
    plan: GenerationPlan | None = None
    """As it was made when the job was asked for; None after a restart."""
    context: Context | None = None
    """Where a GPU is borrowed: the asking visitor's, in whose name it is."""
    token: StopToken = field(default_factory=StopToken)
    asked: float = 0.0
    """When the job was asked for, or found after a restart; this and the next two in seconds of the clock."""
    begun: float | None = None
    """When a runner took it."""
    loaded: float | None = None
    """When the model was there."""
    done_cost: float = 0.0
    """Cost of the stages that are over."""
    free_cost: float = 0.0
    """Of those, the ones from memory."""
    starts_at: float | None = None
    """When it will run, by estimate, while it waits; None while that isn't known."""


class Progress:
    """All jobs that are not over, and the last ones that are. Safe from any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._jobs: dict[str, Tracked] = {}
        self._order: tuple[str, ...] = ()
        self._paused = False
        self._closing = False
        self._watchers: dict[str, set[_Watcher]] = {}

    # For faces.

    def view(self, job_id: str) -> JobView | None:
        """The job as it is now; None where it isn't known here (any more)."""
        with self._changed:
            tracked = self._jobs.get(job_id)
            return None if tracked is None else self._timed(tracked)

    def wait(self, job_id: str, version: int, timeout: float) -> JobView | None:
        """The job as soon as it is newer than ``version`` or the time is over; None where it isn't known here.

        Raises:
            GenerationError: the app is closing, and nothing more will be seen of the job.
        """
        with self._changed:
            tracked = self._jobs.get(job_id)
            if tracked is None:
                return None
            self._changed.wait_for(
                lambda: tracked.view.version > version or tracked.view.over or self._closing, timeout
            )
            if self._closing and not tracked.view.over:
                raise closing()
            return self._timed(tracked)

    async def watch(self, job_id: str, seconds: float) -> AsyncIterator[JobView]:
        """The newest view of a job after every change, and every so many ``seconds``; the last one is over.

        Takes no thread. Ends at once for a job that isn't known here.

        Raises:
            GenerationError: the app is closing.
        """
        watcher = _Watcher()
        with self._changed:
            self._watchers.setdefault(job_id, set()).add(watcher)
        try:
            while (view := self.view(job_id)) is not None:
                yield view
                if view.over:
                    return
                if self._closing:
                    raise closing()
                await watcher.changed(seconds)
        finally:
            with self._changed:
                left = self._watchers[job_id]
                left.discard(watcher)
                if not left:
                    del self._watchers[job_id]

    def current(self, owner: str) -> str | None:
        """Of an owner's jobs that are not over, the id of the one that runs, else of the next; ``owner`` is a mark."""
        with self._changed:
            return next((tracked.view.id for tracked in self._open() if tracked.view.owner == owner), None)

    def queue(self) -> QueueView:
        """How many jobs run and wait."""
        with self._changed:
            states = [tracked.view.state for tracked in self._open()]
            waiting = states.count(JobState.WAITING)
            return QueueView(len(states) - waiting, waiting, self._paused)

    def open_jobs(self) -> tuple[JobView, ...]:
        """All jobs that are not over, in the order in which they run."""
        with self._changed:
            return tuple(map(self._timed, self._open()))

    # For dispatcher and runners.

    def get(self, job_id: str) -> Tracked | None:
        """A job that is known here."""
        return self._jobs.get(job_id)

    def put(self, tracked: Tracked) -> None:
        """Add a job; the oldest of those that are over goes."""
        with self._changed:
            tracked.asked = self._clock()
            self._jobs[tracked.view.id] = tracked
            over = [job_id for job_id, each in self._jobs.items() if each.view.over]
            for job_id in over[: max(0, len(over) - MAX_OVER)]:
                del self._jobs[job_id]

    def update(self, job_id: str, **changes: object) -> None:
        """Show another state of a job."""
        if isinstance(error := changes.get("error"), StudioError):
            _forget_frames(error)
        with self._changed:
            tracked = self._jobs.get(job_id)
            if tracked is None:
                return
            state = changes.get("state", tracked.view.state)
            if changes.get("state") is JobState.WAITING:  # again
                tracked.begun = tracked.loaded = None
                tracked.done_cost = tracked.free_cost = 0.0
            view = self._timed(tracked)
            if state not in (JobState.LOADING, JobState.STOPPING):
                changes["loading"] = None
            tracked.view = replace(view, remaining=None, version=view.version + 1, **changes)  # type: ignore[arg-type]
            self._notify(job_id)

    def arrange(self, at_work: Sequence[str], waiting: Sequence[tuple[str, float | None]], *, runners: int) -> None:
        """Set the order of the queue.

        Args:
            at_work: jobs that are claimed.
            waiting: jobs that wait, in turn, each with the estimated seconds that it takes.
            runners: how many jobs run at once.
        """
        with self._changed:
            left = [self._remaining(self._jobs[job_id]) for job_id in at_work]
            self._order = (*at_work, *(job_id for job_id, _ in waiting))
            starts = _starts(left, [seconds for _, seconds in waiting], runners)
            now = self._clock()
            for ahead, ((job_id, _), start) in enumerate(zip(waiting, starts, strict=True), len(at_work)):
                self._jobs[job_id].starts_at = None if start is None else now + start
                if self._jobs[job_id].view.ahead != ahead:
                    self.update(job_id, ahead=ahead)

    def pause(self, paused: bool) -> None:
        """Show whether the queue is paused."""
        with self._changed:
            self._paused = paused

    def cancel(self, job_ids: Iterable[str]) -> None:
        """Tell jobs to stop: a flag in memory, which a running one sees before its next model evaluation."""
        with self._changed:
            for job_id in job_ids:
                if (tracked := self._jobs.get(job_id)) is not None:
                    tracked.token.stop(StopReason.CANCELLED)

    def begin(self, job_id: str) -> None:
        """A runner took the job."""
        with self._changed:
            self._jobs[job_id].begun = self._clock()
            self.update(job_id, ahead=0)

    def loaded(self, job_id: str, plan: GenerationPlan) -> None:
        """The job's model is there; the time of its plan's run counts from now on."""
        with self._changed:
            self._jobs[job_id].loaded, self._jobs[job_id].plan = self._clock(), plan

    def running_seconds(self, job_id: str) -> float:
        """For how long the job has run since its model was there; 0 before."""
        with self._changed:
            loaded = self._jobs[job_id].loaded
            return 0.0 if loaded is None else self._clock() - loaded

    def close(self) -> None:
        """Nobody waits any longer."""
        with self._changed:
            self._closing = True
            for job_id in list(self._watchers):
                self._notify(job_id)
            self._changed.notify_all()

    # What a run tells.

    def show(self, job_id: str, event: RunEvent, plan: GenerationPlan) -> None:
        """Show what happens in a run of ``plan``."""
        picture = event.preview if isinstance(event, StepDone) else getattr(event, "picture", None)
        preview = None if picture is None else _jpeg(picture)
        with self._changed:
            tracked = self._jobs[job_id]
            match event:
                case Warned(warnings):
                    self.update(job_id, warnings=tracked.view.warnings + warnings)
                case StageStarted(stage):
                    self.update(job_id, current=plan.stages.index(stage))
                case StepDone(stage, step):
                    done = tracked.done_cost + stage.cost * step / stage.steps
                    self._show_stage(tracked, done, plan, step=step, preview=preview)
                case StageDone(stage, _, seconds, from_memory=known):
                    tracked.done_cost += stage.cost
                    tracked.free_cost += stage.cost if known else 0.0
                    done = tracked.done_cost
                    shown = {"seconds": seconds, "preview": preview, "from_memory": known}
                    self._show_stage(tracked, done, plan, step=stage.steps, **shown)

    def _show_stage(self, tracked: Tracked, done: float, plan: GenerationPlan, **stage: object) -> None:
        view = tracked.view
        stages = list(view.stages)
        stages[view.current] = replace(stages[view.current], **stage)  # type: ignore[arg-type]
        progress = min(done / sum(each.cost for each in plan.stages), _ALMOST)
        # A stage that is begun anew, because memory ran out, keeps the bar where it was.
        self.update(view.id, stages=tuple(stages), progress=max(progress, view.progress))

    # Call with the lock held.

    def _open(self) -> Iterator[Tracked]:
        """The jobs that are not over, in turn; one may have ended since the order was set."""
        return (tracked for job_id in self._order if (tracked := self._jobs.get(job_id)) and not tracked.view.over)

    def _notify(self, job_id: str) -> None:
        self._changed.notify_all()
        for watcher in self._watchers.get(job_id, ()):
            watcher.tell()

    def _timed(self, tracked: Tracked) -> JobView:
        """The view with its clock read."""
        view = tracked.view
        if view.state is JobState.WAITING:
            left = tracked.starts_at
            return replace(view, starts_in=None if left is None else max(0.0, left - self._clock()))
        if view.over or tracked.begun is None:
            return view
        began = tracked.begun if tracked.loaded is None else tracked.loaded
        remaining = self._remaining(tracked) if view.state is JobState.RUNNING else None
        return replace(view, elapsed=self._clock() - began, remaining=remaining, starts_in=None)

    def _remaining(self, tracked: Tracked) -> float | None:
        """Estimated seconds that a job still takes; None while that isn't known."""
        progress = tracked.view.progress
        free = tracked.free_cost / sum(stage.cost for stage in tracked.plan.stages) if tracked.plan else 0.0
        if tracked.loaded is None or progress - free <= 0.02:
            return None
        return (self._clock() - tracked.loaded) * (1.0 - progress) / (progress - free)


class _Watcher:
    """Wakes a coroutine from any thread."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()

    def tell(self) -> None:
        with suppress(RuntimeError):  # its loop has ended
            self._loop.call_soon_threadsafe(self._event.set)

    async def changed(self, seconds: float) -> None:
        """Wait for the next change, or so long."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._event.wait(), seconds)
        self._event.clear()


def _starts(left: Sequence[float | None], waiting: Sequence[float | None], runners: int) -> list[float | None]:
    """In how many seconds each waiting job starts on ``runners``, given what the running ones still take.

    None from the first one on that has to wait for a job whose seconds aren't known.
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
