"""The one thread that makes pictures: takes jobs from the queue, runs them, saves what comes of them. Knows no page.

Of all programs that have a queue open, one runs its jobs: the one that holds the lock file, which the system takes back
when a program dies. So whoever gets the lock knows that what the queue calls running was interrupted.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from filelock import FileLock, Timeout

from zimage_app.domain.errors import GenerationError, LoadingCancelled, StorageError, StudioError
from zimage_app.domain.events import (
    Cancelled,
    Event,
    Failed,
    Finished,
    StageDone,
    StageStarted,
    StepDone,
    Warned,
)
from zimage_app.domain.plan import GenerationPlan, running_stages
from zimage_app.domain.record import ImageRecord
from zimage_app.domain.request import GenerationRequest, parse_request
from zimage_app.domain.text import Text
from zimage_app.service.board import Board, Watched
from zimage_app.service.gallery import Gallery
from zimage_app.service.job_log import JobTimes, log_job
from zimage_app.service.jobs import Job, JobQueue, Outcome
from zimage_app.service.limits import Limits
from zimage_app.service.permissions import for_strangers
from zimage_app.service.stage_pictures import keep_stages
from zimage_app.service.unsaved import Keeper
from zimage_app.service.views import JobView, StageView

if TYPE_CHECKING:
    from zimage_app.service.generation import Generator

log = logging.getLogger(__name__)

LOCK_NAME = "worker.lock"
_PULSE = 1.0
"""Seconds between two looks at what other programs did to the queue."""
_LAST_WAIT = 2.0
"""Seconds that a run is given to end when the app closes."""
_MOST_ATTEMPTS = 2


@dataclass(frozen=True, slots=True)
class Means:
    """What it takes to make pictures."""

    plan: Callable[[GenerationRequest, str], GenerationPlan]
    """What a request comes to on a model; raises StudioError."""
    model: Callable[[str, Callable[[Text], None], Callable[[], bool]], Generator]
    """The model of a name, loaded where it isn't; see ``ModelSlot.model``."""
    gallery: Gallery
    state: Path
    """The folder of the queue."""
    limits: Limits
    shared: bool
    """Strangers share the page, so a picture's file says whose it is."""
    interrupted: Literal["run again", "report"]


class Worker:
    """Runs the jobs of a queue and shows them on a board. Constructing it starts no thread."""

    def __init__(self, means: Means) -> None:
        self.board = Board()
        self.queue = JobQueue(means.state)
        self.keeper = Keeper(means.gallery)
        self._means = means
        self._lock = FileLock(means.state / LOCK_NAME, thread_local=False)
        self._may_run = False
        self._elsewhere = False
        self._news = threading.Event()
        self._turn = threading.Lock()
        """Held while board and queue are brought together, and while a job goes from one state to another in both."""
        self._owed: dict[str, Outcome] = {}
        """Outcomes that the queue could not take."""
        self._rates: dict[str, float | None] = {}
        self._looked = 0.0
        self._trouble = ""
        self._thread: threading.Thread | None = None
        self._look()

    # For the studio.

    def accept(self, watched: Watched) -> None:
        """Take a job; when this returns it is on disk.

        Raises:
            BusyError: as many wait as may.
            StorageError: it could not be written.
            GenerationError: the app is closing.
        """
        watched.accepted = False
        self.board.put(watched)
        try:
            self.queue.add(watched.job, self._means.limits)
        except BaseException:
            self.board.remove(watched)
            raise
        watched.accepted = True
        self._look()
        self.start()

    def start(self) -> None:
        """Run what waits, now and from now on."""
        with self._turn:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="studio-worker", daemon=True)
                self._thread.start()
        self._news.set()

    def stop(self, job_id: str) -> None:
        """Cancel a job that waits, or ask for the end of one that runs; one that isn't known, or is over, stays.

        Where the queue's file can't be used, a job that waits is cancelled when its turn comes.
        """
        watched = self.board.get(job_id)
        if watched is None or watched.view.over:
            return
        watched.stop.set()
        try:
            self.queue.stop(job_id)
        except StorageError as error:
            self._tell(error)
        self._look()

    def view(self, job_id: str) -> JobView | None:
        """A job as it is now, or as the queue remembers its end."""
        found = self.board.view(job_id)
        if found is not None:
            return found
        job = self.queue.find(job_id)
        if job is not None and job.state in ("waiting", "running"):
            self._look()  # another program took it, just now: only among the others does it have its place
        return self.board.view(job_id) or (None if job is None else job_view(job, self._means.gallery))

    def close(self) -> None:
        """End the running job, which then waits again, and the thread. What waits stays in the queue."""
        self.board.close()
        self._news.set()
        if self._thread is not None:
            self._thread.join(_LAST_WAIT)
        with suppress(StorageError):
            for watched in self.board.open():
                if self.board.is_at_work(watched):  # in the middle of a long evaluation
                    self.queue.put_back(watched.job.id)
        if self._thread is None or not self._thread.is_alive():
            self.queue.close()

    @property
    def warnings(self) -> tuple[Text, ...]:
        """What is wrong with the queue, and with saving pictures."""
        elsewhere = Text(
            "Another running copy of the app has this outputs folder; it makes the pictures that are asked for here.",
            "本程序的另一个实例正在使用此输出目录；这里提交的任务将由它完成。",
        )
        found = (self.queue.warning, elsewhere if self._elsewhere else None, self.keeper.warning)
        return tuple(text for text in found if text is not None)

    # The thread.

    def _work(self) -> None:
        try:
            while not self.board.closing:
                self._news.clear()
                watched = self._next()
                if watched is None:
                    self._news.wait(_PULSE)
                elif watched.context is not None:
                    watched.context.run(self._guarded, watched)
                else:
                    self._guarded(watched)
        finally:
            self._save_late()
            self._lock.release()

    def _next(self) -> Watched | None:
        """Claim the next job; None where there is none, or none can be had just now."""
        self._look()
        try:
            if self.board.closing or self.keeper.full or not self._may_work():
                return None
            with self._turn:
                job = self.queue.claim()
                if job is None:
                    return None
                watched = self.board.get(job.id)
                if watched is None:
                    watched = watched_job(job, self._means.gallery)
                    self.board.put(watched)
                self.board.begin(watched)
                return watched
        except StudioError as error:
            self._tell(error)
        except Exception:
            log.exception("no job could be taken from the queue")
        return None

    def _may_work(self) -> bool:
        """Whether this program is the one that runs the queue's jobs."""
        if not self._may_run:
            try:
                if not self.queue.in_memory:
                    self._lock.acquire(timeout=0)
            except Timeout:
                self._elsewhere = True
                return False
            except (OSError, NotImplementedError) as error:
                # A folder that can't be written to, or a file system without locks: then nobody else has it either.
                log.warning("%s can't be locked: %s", self._means.state / LOCK_NAME, error)
            self._may_run = True
            self._elsewhere = False
            self._recover()
        return True

    def _recover(self) -> None:
        """See to the jobs that a program left in the middle."""
        for job in self.queue.running():
            outcome = self._outcome_of_interrupted(job)
            if outcome is None:
                self.queue.run_again(job.id)
            else:
                self.queue.finish(job.id, outcome)
        self._look()

    def _outcome_of_interrupted(self, job: Job) -> Outcome | None:
        """None: it is to be run again."""
        if job.picture is not None:
            with suppress(StorageError):
                if self._means.gallery.find(job.picture) is not None:
                    return Outcome("done", picture=job.picture)
        if job.stop:
            return Outcome("cancelled")
        if self._means.interrupted == "run again" and job.attempts < _MOST_ATTEMPTS:
            return None
        return Outcome("failed", error=_interrupted(job.attempts))

    # Board and queue.

    def _look(self) -> None:
        """Bring board and queue together, whoever changed them; where the file can't be used, the next look does it."""
        self._looked = time.monotonic()
        try:
            self._save_late()
            with self._turn:
                self._compare()
            self._trouble = ""
        except StudioError as error:
            self._tell(error)

    def _save_late(self) -> None:
        """Save and write down what could not be before."""
        for late_id, saved in self.keeper.retry():
            self._owed[late_id] = _done(saved.record)
            watched = self.board.get(late_id)
            if watched is not None:
                self.board.update(watched, picture=saved, warnings=watched.view.warnings[:-1])
        for job_id in list(self._owed):
            with suppress(StorageError):
                self.queue.finish(job_id, self._owed[job_id])
                self._owed.pop(job_id, None)

    def _compare(self) -> None:
        turns = [turn for turn in self.queue.turns() if not self._is_over(turn.id)]
        for turn in turns:
            watched = self.board.get(turn.id)
            if watched is None:
                job = self.queue.find(turn.id)
                if job is not None and not self.board.closing:
                    self.board.put(watched_job(job, self._means.gallery))
                continue
            if turn.stop:
                watched.stop.set()
            if not self.board.is_at_work(watched) and watched.view.state != turn.state:
                self.board.update(watched, state=turn.state)
        known = {turn.id for turn in turns}
        for watched in self.board.open():
            if watched.job.id not in known and watched.accepted and not self.board.is_at_work(watched):
                self._look_up(watched)
        self.board.arrange(turns, [self._seconds(turn.model, turn.cost) for turn in turns])

    def _is_over(self, job_id: str) -> bool:
        """Whether the board knows of an end that the queue doesn't know of yet."""
        watched = self.board.get(job_id)
        return watched is not None and watched.view.over

    def _look_up(self, watched: Watched) -> None:
        """A job that the queue doesn't call open: it is over, or the file was lost."""
        job = self.queue.find(watched.job.id)
        if job is None:
            self.queue.restore([watched.job])
        elif job.state not in ("waiting", "running"):
            seen = job_view(job, self._means.gallery)
            self.board.update(watched, state=seen.state, progress=seen.progress, picture=seen.picture, error=seen.error)

    def _seconds(self, model: str, cost: float) -> float | None:
        if model not in self._rates:
            self._rates[model] = self.queue.rate(model)
        rate = self._rates[model]
        return None if rate is None else rate * cost

    def _tell(self, error: StudioError) -> None:
        """Log it, once."""
        if str(error) != self._trouble:
            self._trouble = str(error)
            log.warning("%s", error)

    # One job.

    def _guarded(self, watched: Watched) -> None:
        """The one place where anything that goes wrong is caught, so that the next job still runs."""
        begun = time.monotonic()
        try:
            self._run(watched)
        except LoadingCancelled:
            self._stopped(watched)
        except StudioError as error:
            self._fail(watched, error)
        except Exception:
            log.exception("job %s failed", watched.job.id)
            problem = Text(
                "Something went wrong inside the app; the log says what. Please report it.",
                "程序内部出错，详情见日志，欢迎反馈。",
            )
            self._fail(watched, GenerationError(problem))
        finally:
            request = watched.plan.request if watched.plan else None
            times = JobTimes(watched.asked, begun, watched.loaded)
            log_job(watched.view, request, times, private=self._means.shared)
            self.board.end()

    def _run(self, watched: Watched) -> None:
        job = watched.job

        def stop() -> bool:
            return self._should_stop(watched)

        watched.started = time.monotonic()
        if watched.plan is None:
            watched.plan = self._means.plan(parse_request(json.loads(job.request)), job.model)
        if not watched.view.stages:
            self.board.update(watched, stages=stage_views(watched.plan.request))
        generator = self._means.model(
            job.model, lambda text: self.board.update(watched, state="loading", loading=text), stop
        )
        watched.started = watched.loaded = time.monotonic()
        self.board.update(watched, state="running", loading=None)
        with closing(generator.stream(watched.plan, stop)) as events:
            for event in keep_stages(events, watched.plan, self._means.gallery):
                self._take(watched, watched.plan, event)

    def _take(self, watched: Watched, plan: GenerationPlan, event: Event) -> None:
        total = sum(stage.cost for stage in plan.stages)
        match event:
            case Warned():
                self.board.update(watched, warnings=watched.view.warnings + event.warnings)
            case StageStarted():
                self.board.update(watched, current=plan.stages.index(event.stage))
            case StepDone():
                self.board.step_done(watched, event, total)
            case StageDone():
                self.board.stage_done(watched, event, total)
            case Finished():
                self._keep(watched, event)
            case Failed():
                self._fail(watched, event.error)
            case Cancelled():
                self._stopped(watched)

    def _should_stop(self, watched: Watched) -> bool:
        if time.monotonic() - self._looked > _PULSE:
            self._look()
        return watched.stop.is_set() or self.board.closing or self._overdue(watched)

    def _overdue(self, watched: Watched) -> bool:
        limit = self._means.limits.seconds
        began = watched.started if watched.view.state == "running" else None
        return limit is not None and began is not None and time.monotonic() - began > limit

    def _stopped(self, watched: Watched) -> None:
        if watched.stop.is_set():
            self._finish(watched, Outcome("cancelled"))
        elif self.board.closing:
            with suppress(StorageError):  # then the next start takes it for interrupted, and runs it again
                self.queue.put_back(watched.job.id)
        else:
            self._fail(watched, GenerationError(_too_long(self._means.limits.seconds or 0.0)))

    def _fail(self, watched: Watched, error: StudioError) -> None:
        if self._means.shared and (told := for_strangers(error.text)) != error.text:
            log.warning("job %s: %s", watched.job.id, error)
            error = GenerationError(told)
        self._finish(watched, Outcome("failed", error=error.text), error=error)

    def _keep(self, watched: Watched, event: Finished) -> None:
        job, record = watched.job, event.record
        with suppress(StorageError):  # only a crash within the next moment would miss it
            self.queue.saving(job.id, record.id)
        mark = job.owner if self._means.shared else ""
        png = self._means.gallery.packed(event.picture, record, mark)
        saved, problem = self.keeper.keep(job.id, png, record, mark)
        self._rates.pop(job.model, None)
        if problem is None:
            self._finish(watched, _done(record), progress=1.0, picture=saved)
        else:
            # The queue goes on to call it running: while its picture has no file, a restart makes it again.
            told = for_strangers(problem) if self._means.shared else problem
            warnings = (*watched.view.warnings, told)
            self.board.update(watched, state="done", progress=1.0, picture=saved, warnings=warnings)

    def _finish(self, watched: Watched, outcome: Outcome, **seen: object) -> None:
        """A job is over, in the queue and on the board."""
        try:
            self.queue.finish(watched.job.id, outcome)
        except StorageError as error:
            self._tell(error)
            self._owed[watched.job.id] = outcome
        self.board.update(watched, state=outcome.state, **seen)


def stage_views(request: GenerationRequest) -> tuple[StageView, ...]:
    """The stages of a settled request, before they run."""
    return tuple(
        StageView(stage.number, stage.settings.width, stage.settings.height, stage.steps)
        for stage in running_stages(request)
    )


def watched_job(job: Job, gallery: Gallery) -> Watched:
    """A job of the queue for the board."""
    return Watched(job, job_view(job, gallery))


def job_view(job: Job, gallery: Gallery) -> JobView:
    """What the queue knows of a job."""
    plain = JobView(job.id, job.owner, job.model, state=job.state)
    if job.state == "done":
        picture = None
        with suppress(StorageError):
            picture = gallery.find(job.picture or "")
        stages = stage_views(picture.record.request) if picture else ()
        done = tuple(replace(stage, step=stage.steps) for stage in stages)
        return replace(plain, progress=1.0, picture=picture, stages=done, elapsed=job.seconds or 0.0)
    if job.state in ("waiting", "running"):
        with suppress(StudioError, ValueError):
            return replace(plain, stages=stage_views(parse_request(json.loads(job.request))))
    return replace(plain, error=GenerationError(job.error) if job.error else None)


def _done(record: ImageRecord) -> Outcome:
    return Outcome("done", picture=record.id, seconds=record.seconds)


def _interrupted(attempts: int) -> Text:
    times = Text("once" if attempts == 1 else "twice", "" if attempts == 1 else "两次")
    return Text(
        f"Interrupted: the app ended {times.en} while this picture was made, so it is not tried again; smaller"
        " settings may help where memory ran out.",
        f"已中断：生成此图片时程序{times.zh}意外退出，不再自动重试；若因内存不足，请减小尺寸。",
    )


def _too_long(seconds: float) -> Text:
    return Text(
        f"Stopped after {seconds:g} s, as long as a picture may take; what is finished stays to be seen. Make it"
        " smaller or with fewer steps, or start the app with a longer --time-limit.",
        f"已运行 {seconds:g} 秒，达到单个任务的时限，现已停止；已完成的阶段仍可查看。"
        "请减小尺寸或步数，或用 --time-limit 放宽时限。",
    )
