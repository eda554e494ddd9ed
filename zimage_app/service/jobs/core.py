"""The logic of the dispatcher: applies events to the store, saves pictures and assigns jobs to runners.

Starts no threads; ``dispatcher.py`` calls it from a single one. Events that can't be written yet are kept in memory, in
order, and are written before anything else; none is dropped while the process runs.
"""

from __future__ import annotations

import json
import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from zimage_app.domain.errors import GenerationError, StorageError, StudioError
from zimage_app.domain.events import Picture
from zimage_app.domain.plan import MAX_UPCOMING, GenerationPlan, running_stages
from zimage_app.domain.record import ImageRecord
from zimage_app.domain.request import parse_request
from zimage_app.domain.text import Text
from zimage_app.service.jobs.job_log import JobTimes, log_job
from zimage_app.service.jobs.job_scheduler import Scheduler
from zimage_app.service.jobs.progress import LiveJob, Progress
from zimage_app.service.jobs.runners.runner import INTERNAL, Assignment, Reports, Runner
from zimage_app.service.jobs.state import JobEvent, JobState
from zimage_app.service.jobs.stop import StopReason
from zimage_app.service.jobs.store import Job, JobStore
from zimage_app.service.jobs.view import JobView, StageView, stage_views
from zimage_app.service.pictures.gallery import Gallery
from zimage_app.service.pictures.views import SavedPicture
from zimage_app.service.rules.limits import Limits
from zimage_app.service.rules.permissions import redacted

log = logging.getLogger(__name__)

MAX_UNSAVED = 4
"""Maximum number of unsaved pictures, of a few megabytes each; at this number no job starts until one is saved."""
MAX_ATTEMPTS = 2


@dataclass(frozen=True, slots=True)
class JobRules:
    """Rules for handling jobs."""

    limits: Limits
    shared: bool = False
    """Whether the page is shared with strangers; messages then hide this machine's folders."""
    interrupted: Literal["run again", "report"] = "run again"
    """What to do with a job whose app was killed. It is rerun only once, so that no job can crash the app for ever."""
    folders: tuple[Path, ...] = ()
    """Folders to hide in messages; other folders are recognised only if they look like absolute paths."""

    def redacted(self, text: Text) -> Text:
        """The sentence as visitors of the page may read it."""
        return redacted(text, self.folders) if self.shared else text


@dataclass(frozen=True, slots=True)
class _Change:
    """An event that is not written yet."""

    job_ids: tuple[str, ...]
    event: JobEvent
    details: dict[str, Any]
    shown: dict[str, Any]
    """Changes of the job's view, shown after the event is written."""


Encode = Callable[[Callable[[], bytes]], Future[bytes]]
"""Runs a function that encodes a picture's file, at once or in another thread; returns the future of its bytes."""


@dataclass(frozen=True, slots=True)
class _Unsaved:
    """A finished picture that is not saved yet."""

    record: ImageRecord
    encoded: Future[bytes]
    owner: str
    problem: Text | None = None
    """Why saving failed; None before the first failure."""


class JobCore:
    """The jobs of one folder. Must be used from a single thread, except for the section "For any thread"."""

    def __init__(
        self,
        store: JobStore,
        gallery: Gallery,
        progress: Progress,
        runners: Sequence[Runner],
        rules: JobRules,
        encode: Encode,
    ) -> None:
        """``encode`` encodes pictures; ``process`` must be called when one of its futures is done."""
        self._store = store
        self._gallery = gallery
        self._progress = progress
        self._runners = tuple(runners)
        self._rules = rules
        self._encode = encode
        self._assigned: dict[str, Runner] = {}
        """Job id -> the runner that has the job."""
        self._scheduler: Scheduler[Runner] = Scheduler(len(self._runners))
        self._changes: deque[_Change] = deque()
        self._unsaved: dict[str, _Unsaved] = {}
        """Job id -> its picture."""
        self._problem: Text | None = None
        """Why the store could not be written at the last attempt; None if it could."""
        self._rates: dict[tuple[str, str], float | None] = {}
        self._closing = False

    # Commands.

    def submit(self, jobs: Sequence[tuple[Job, LiveJob]]) -> None:
        """Write new jobs of one owner to the store and show them, all of them or none.

        Raises:
            BusyError: the queue is full.
            StorageError: the jobs can't be written.
        """
        self._write_changes()
        self._store.add([job for job, _ in jobs], self._rules.limits)
        for _, live in jobs:
            self._progress.put(live)

    def stop(self, job_ids: Sequence[str]) -> None:
        """Cancel jobs; ignores unknown jobs and those that are being saved or have ended."""
        self._progress.cancel(job_ids)
        self._record_event(JobEvent.STOP, *job_ids)

    def start_pictures(self) -> frozenset[str]:
        """Return the SHA-256 of the start pictures and masks of unfinished jobs."""
        starts = (_start(job) for job in (*self._store.active(), *self._store.queued()))
        return frozenset(str(start[name]) for start in starts for name in ("picture", "mask") if start.get(name))

    def clear(self, owner: str | None) -> int:
        """Cancel the waiting jobs with this owner mark, or all (None); return their number."""
        waiting = [job.id for job in self._store.queued() if owner in (None, job.owner)]
        self.stop(waiting)
        return len(waiting)

    def move(self, job_id: str, *, first: bool) -> bool:
        """Move a waiting job forward; see ``JobStore.move``."""
        self._write_changes()
        return self._store.move(job_id, first=first)

    def pause(self, paused: bool) -> None:
        """Pause or resume starting waiting jobs. The setting survives a restart."""
        self._write_changes()
        self._store.pause(paused)

    # Reports of runners.

    def started(self, job_id: str, plan: GenerationPlan) -> None:
        """Handle that a job's model is loaded and its plan starts to run."""
        self._progress.loaded(job_id, plan)
        self._record_event(JobEvent.START, job_id)

    def finished(self, job_id: str, record: ImageRecord, picture: Picture) -> None:
        """Handle a finished picture: free the runner, and start encoding the picture's file."""
        self._assigned.pop(job_id, None)
        job = self._store.find_open(job_id)
        owner = "" if job is None else job.owner
        mark = owner if self._rules.shared else ""
        encoded = self._encode(partial(self._gallery.encoded, picture, record, mark))
        self._unsaved[job_id] = _Unsaved(record, encoded, owner)
        self._record_event(JobEvent.FINISH, job_id, details={"picture": record.id})

    def failed(self, job_id: str, error: StudioError) -> None:
        """Handle that a job failed."""
        self._assigned.pop(job_id, None)
        if (told := self._rules.redacted(error.text)) != error.text:
            log.warning("job %s: %s", job_id, error)
            error = GenerationError(told)
        self._record_event(JobEvent.FAIL, job_id, details={"error": error.text}, shown={"error": error})

    def stopped(self, job_id: str) -> None:
        """Handle that a job's run ended because of its stop token."""
        live = self._progress.get(job_id)
        reason = None if live is None else live.token.reason
        if reason is StopReason.CANCELLED:
            self._assigned.pop(job_id, None)
            self._record_event(JobEvent.CANCEL, job_id)
        elif reason is StopReason.OVERDUE:
            self.failed(job_id, GenerationError(_overdue(self._rules.limits.seconds or 0.0)))
        else:
            self._assigned.pop(job_id, None)
            self._put_back(job_id)

    def crashed(self, job_id: str) -> None:
        """Handle that a job's runner crashed."""
        self._assigned.pop(job_id, None)
        job = self._store.find_open(job_id)
        if job is not None:
            self._interrupted(job)

    # Processing after commands and reports.

    def process(self, reports: Reports) -> None:
        """Write events, save pictures, handle interrupted jobs, stop overdue ones, and start waiting ones.

        Runners report to ``reports``, which has to call this object's methods.

        Raises:
            StorageError: a write failed; the next call continues from there.
        """
        try:
            self._write_changes()
            self._save_pictures()
            self._store.refresh()
            for job in self._store.active():
                if job.id not in self._assigned and job.id not in self._unsaved:
                    self._interrupted(job)
            self._write_changes()
            self._stop_overdue()
            self._assign(reports)
            self._problem = None
        except StorageError as error:
            self._problem = error.text
            self._hold_pictures(error.text)
            raise
        finally:
            self.show_order()

    @property
    def idle(self) -> bool:
        """Whether no runner has a job and nothing is left to write."""
        return not (self._assigned or self._changes or self._unsaved)

    def begin_closing(self) -> None:
        """Stop running jobs, and start no more."""
        self._closing = True
        for job_id in self._assigned:
            if (live := self._progress.get(job_id)) is not None:
                live.token.stop(StopReason.CLOSING)

    def end_closing(self) -> None:
        """Requeue jobs that did not stop in time; if that can't be written, the next start finds them interrupted."""
        for job_id in list(self._assigned):
            self.stopped(job_id)
        with suppress(StorageError):
            self._write_changes()

    # For any thread.

    @property
    def assigned(self) -> dict[str, Runner]:
        """Job id -> the runner that has the job."""
        return self._assigned.copy()

    @property
    def warning(self) -> Text | None:
        """The problem of the newest picture that could not be saved yet, or of writing the store; None without any."""
        held = (each.problem for each in reversed(list(self._unsaved.values())) if each.problem)
        return next(held, None if self._store.warning else self._problem)  # the store reports its own problem

    def unsaved(self, picture_id: str, owner: str | None) -> SavedPicture | None:
        """Return an encoded picture that is not saved yet, of this owner mark or of any owner (None); or None."""
        for each in list(self._unsaved.values()):
            if each.record.id == picture_id and owner in (None, each.owner) and each.encoded.done():
                return self._picture(each)
        return None

    # Helpers.

    def _record_event(
        self,
        event: JobEvent,
        *job_ids: str,
        details: dict[str, Any] | None = None,
        shown: dict[str, Any] | None = None,
    ) -> None:
        self._changes.append(_Change(job_ids, event, details or {}, shown or {}))

    def _write_changes(self) -> None:
        """Write pending events in order; raises StorageError if a write fails, and keeps the unwritten events."""
        while self._changes:
            change = self._changes[0]
            for job in self._store.apply(change.job_ids, change.event, **change.details):
                self._show(job, change.shown)
            self._changes.popleft()

    def _show(self, job: Job, shown: dict[str, Any]) -> None:
        live = self._progress.get(job.id)
        if live is None:
            return
        if job.state is JobState.WAITING:
            shown = {**shown, "progress": 0.0, "current": 0, "stages": _stages(job)}
        times = JobTimes(live.submitted_at, live.started_at, live.loaded_at)
        self._progress.update(job.id, state=job.state, **shown)
        if job.ended or job.state is JobState.WAITING:
            request = live.plan.request if live.plan else None
            log_job(live.view, request, times, private=self._rules.shared)

    def _save_pictures(self) -> None:
        for job_id, each in list(self._unsaved.items()):
            if not each.encoded.done():
                continue
            if (problem := each.encoded.exception()) is not None:
                log.error("the picture of job %s could not be encoded", job_id, exc_info=problem)
                del self._unsaved[job_id]
                self.failed(job_id, GenerationError(INTERNAL))
                continue
            try:
                saved = self._gallery.write(each.encoded.result(), each.record)
            except StorageError as error:
                self._hold(job_id, each, error.text)
                continue
            shown: dict[str, Any] = {"progress": 1.0, "picture": saved}
            live = self._progress.get(job_id)
            if live is not None and each.problem is not None:
                shown["warnings"] = live.view.warnings[:-1]
            self._rates.clear()
            self._record_event(JobEvent.SAVE, job_id, details=_timing(each.record), shown=shown)
            del self._unsaved[job_id]
        self._write_changes()

    def _hold_pictures(self, problem: Text) -> None:
        """Show all encoded pictures, which can't be saved before the store can be written."""
        for job_id, each in list(self._unsaved.items()):
            if each.encoded.done() and each.encoded.exception() is None:
                self._hold(job_id, each, problem)

    def _hold(self, job_id: str, unsaved: _Unsaved, problem: Text) -> None:
        """Show a picture that can't be saved yet, and why not."""
        if unsaved.problem is not None:
            return
        text = _held(problem)
        self._unsaved[job_id] = replace(unsaved, problem=text)
        live = self._progress.get(job_id)
        if live is not None:
            warnings = (*live.view.warnings, self._rules.redacted(text))
            self._progress.update(job_id, state=JobState.SAVING, picture=self._picture(unsaved), warnings=warnings)

    def _picture(self, unsaved: _Unsaved) -> SavedPicture:
        return SavedPicture(self._gallery.path_of(unsaved.record.id), unsaved.record, unsaved.encoded.result())

    def _put_back(self, job_id: str) -> None:
        """Requeue a job as if it had not been started."""
        job = self._store.find_open(job_id)
        if job is not None:
            self._record_event(JobEvent.REQUEUE, job_id, details={"attempts": job.attempts - 1})

    def _interrupted(self, job: Job) -> None:
        """Complete, requeue or fail a job whose app or runner crashed."""
        picture = None
        if job.picture is not None:
            with suppress(StorageError):
                picture = self._gallery.find(job.picture)
        rerun = self._rules.interrupted == "run again" and job.attempts < MAX_ATTEMPTS
        if picture is not None:
            details = _timing(picture.record)
            self._record_event(JobEvent.SAVE, job.id, details=details, shown={"progress": 1.0, "picture": picture})
        elif rerun or job.state is JobState.STOPPING:
            self._record_event(JobEvent.REQUEUE, job.id)
        else:
            text = _crashed(job.attempts)
            self._record_event(JobEvent.FAIL, job.id, details={"error": text}, shown={"error": GenerationError(text)})

    def _stop_overdue(self) -> None:
        limit = self._rules.limits.seconds
        for job_id in self._assigned:
            live = self._progress.get(job_id)
            if live is not None and limit is not None and self._progress.running_seconds(job_id) > limit:
                live.token.stop(StopReason.OVERDUE)

    def _assign(self, reports: Reports) -> None:
        """Give waiting jobs to free runners."""
        while not (self._closing or self._store.paused or len(self._unsaved) >= MAX_UNSAVED):
            busy = self._assigned.values()
            free = {runner: runner.status() for runner in self._runners if runner not in busy}
            loaded = {runner: status.model for runner, status in free.items() if status.trouble is None}
            waiting = self._store.queued()
            if not loaded or not waiting:
                return
            runner, chosen = self._scheduler.choose(waiting, loaded)
            (job,) = self._store.apply([chosen.id], JobEvent.CLAIM)
            live = self._live_job(job)
            self._assigned[job.id] = runner
            self._show(job, {})
            self._progress.begin(job.id)
            upcoming = self._upcoming(job, waiting)
            runner.start(Assignment(job, live.token, live.plan, live.context, upcoming), reports)

    def _upcoming(self, job: Job, waiting: Sequence[Job]) -> tuple[GenerationPlan, ...]:
        """Return the plans of the next jobs with this job's model that wait; those from before a restart have none."""
        others = (self._progress.get(each.id) for each in waiting if each.id != job.id and each.model == job.model)
        return tuple(islice((live.plan for live in others if live is not None and live.plan is not None), MAX_UPCOMING))

    def _live_job(self, job: Job) -> LiveJob:
        """Return the entry of an unfinished job in ``Progress``; add one from its row after a restart."""
        live = self._progress.get(job.id)
        if live is None:
            live = LiveJob(job_view(job, self._gallery))
            self._progress.put(live)
        return live

    def show_order(self) -> None:
        """Show the unfinished jobs, and the order in which they run."""
        active, waiting = self._store.active(), self._store.queued()
        for job in (*active, *waiting):
            self._live_job(job)
        self._progress.pause(self._store.paused)
        self._progress.set_order(
            [job.id for job in active],
            [(job.id, self._seconds(job)) for job in waiting],
            runners=len(self._runners),
        )

    def _seconds(self, job: Job) -> float | None:
        """Estimate the seconds that a job takes from earlier pictures of its model; None without any."""
        place = job.model, job.device
        if place not in self._rates:
            self._rates[place] = None
            with suppress(StorageError):
                self._rates[place] = self._store.rate(*place)
        rate = self._rates[place]
        return None if rate is None else rate * job.cost


def _timing(record: ImageRecord) -> dict[str, Any]:
    """Return the picture's seconds and, if stages came from stage memory, the cost of the other stages."""
    known = {stage.number for stage in record.stages if stage.from_memory}
    if not known:
        return {"seconds": record.seconds}
    cost = sum(stage.cost for stage in running_stages(record.request.running) if stage.number not in known)
    return {"seconds": record.seconds, "cost": cost}


def job_view(job: Job, gallery: Gallery) -> JobView:
    """Return the view of a job from its row, with its picture if it is done."""
    view = JobView(job.id, job.owner, job.model, group=job.group, state=job.state)
    if job.state is JobState.DONE:
        picture = None
        with suppress(StorageError):
            picture = gallery.find(job.picture or "")
        stages = stage_views(picture.record.request) if picture else ()
        done = tuple(replace(stage, step=stage.steps) for stage in stages)
        return replace(view, progress=1.0, picture=picture, stages=done, elapsed=job.seconds or 0.0)
    if job.ended:
        return replace(view, error=GenerationError(job.error) if job.error else None)
    return replace(view, stages=_stages(job), prompt=_prompt(job))


def _stages(job: Job) -> tuple[StageView, ...]:
    with suppress(StudioError, ValueError):
        return stage_views(parse_request(json.loads(job.request)))
    return ()


def _start(job: Job) -> dict[str, Any]:
    with suppress(ValueError, TypeError, KeyError):
        return dict(json.loads(job.request)["start"])
    return {}


def _prompt(job: Job) -> str:
    with suppress(ValueError, TypeError, KeyError):
        return str(json.loads(job.request)["prompt"])
    return ""


def _held(problem: Text) -> Text:
    return Text(
        f"{problem.en} Until then it can be downloaded here, and is saved as soon as that works.",
        f"{problem.zh}在此之前可以在此页面下载，恢复后会自动保存。",
    )


def _crashed(attempts: int) -> Text:
    times = Text("once" if attempts == 1 else "twice", "" if attempts == 1 else "两次")
    return Text(
        f"Interrupted: the app ended or broke down {times.en} while this picture was made, so it is not tried again;"
        " smaller settings may help where memory ran out.",
        f"已中断：生成此图片时程序{times.zh}意外退出，不再自动重试；若因内存不足，请减小尺寸。",
    )


def _overdue(seconds: float) -> Text:
    return Text(
        f"Stopped after {seconds:g} s, as long as a picture may take; what is finished stays to be seen. Make it"
        " smaller or with fewer steps, or start the app with a longer --time-limit.",
        f"已运行 {seconds:g} 秒，达到单个任务的时限，现已停止；已完成的阶段仍可查看。"
        "请减小尺寸或步数，或用 --time-limit 放宽时限。",
    )
