"""The only thread that changes jobs. Clients' commands and runners' reports reach it through a queue, the inbox.

``core.py`` handles each message; this module makes that safe to call from any thread.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TypeVar

from zimage_app.domain.errors import StorageError, StudioError
from zimage_app.domain.events import Picture, Warned
from zimage_app.domain.plan import GenerationPlan
from zimage_app.domain.record import ImageRecord
from zimage_app.domain.text import Text
from zimage_app.service.jobs.core import JobCore, JobRules, job_view
from zimage_app.service.jobs.folder_lock import FolderInUse, FolderLock, running_app
from zimage_app.service.jobs.progress import LiveJob, Progress, RunEvent, closing_error
from zimage_app.service.jobs.runners.runner import Runner, RunnerStatus
from zimage_app.service.jobs.store import Job, JobStore
from zimage_app.service.jobs.view import JobView
from zimage_app.service.pictures.gallery import Gallery
from zimage_app.service.pictures.views import SavedPicture

log = logging.getLogger(__name__)

Result = TypeVar("Result")

_TICK = 1.0
"""Seconds between retries of failed writes, and between checks for overdue jobs."""
_MESSAGES = 100
"""Maximum number of messages taken from the inbox per round, after the first."""
_CLOSING_SECONDS = 2.0
"""Seconds that running jobs have to stop when the app closes."""
_CLOSING_TICK = 0.1
_RUNNER_SECONDS = 0.5
"""Seconds to wait at the app's end for the thread of a runner."""


class Dispatcher:
    """Accepts jobs, gives them to runners, and saves their results.

    Thread-safe. Constructing it starts no thread and opens no file.
    """

    def __init__(self, state: Path, gallery: Gallery, runners: Sequence[Runner], rules: JobRules) -> None:
        """``state`` is the folder of the job store."""
        self.progress = Progress()
        self._folder_lock = FolderLock(state)
        self._state = state
        self._gallery = gallery
        self._runners = tuple(runners)
        self._rules = rules
        self._store: JobStore | None = None
        self._core: JobCore | None = None
        self._inbox: SimpleQueue[Callable[[], object]] = SimpleQueue()
        self._lock = threading.Lock()
        """Lock for starting the thread, and for checking ``_closed`` before a command enters the inbox."""
        self._thread: threading.Thread | None = None
        self._closed = False
        self._answers: list[Callable[[], None]] = []
        """Callbacks that complete commands' futures, called after the commands' effects are written and shown."""
        self._last_error = ""
        self._encoder = ThreadPoolExecutor(1, "studio-encoder")

    def start(self) -> None:
        """Open the store and start to run jobs. Does nothing if already started.

        Raises:
            FolderInUse: another running app uses the folder.
            GenerationError: this app is closing.
        """
        with self._lock:
            if self._closed:
                raise closing_error()
            if self._thread is not None:
                return
            try:
                self._folder_lock.acquire()
            except BlockingIOError as error:
                raise FolderInUse(self._state.parent, running_app(self._state)) from error
            except OSError as error:
                log.warning("%s can't be locked: %s", self._state, error)  # then the jobs are in memory
            self._store = JobStore(self._state, self._folder_lock.acquire)
            self._core = JobCore(self._store, self._gallery, self.progress, self._runners, self._rules, self._encode)
            with suppress(StorageError):
                self._store.refresh()
            self._core.show_order()
            core = self._core
            self._guarded(lambda: core.process(self))
            self._thread = threading.Thread(target=self._work, name="studio-dispatcher", daemon=True)
            self._thread.start()

    def announce(self, address: str, key: str) -> None:
        """Publish this app's address for other programs of the same user; does nothing if the note can't be written."""
        with suppress(OSError):
            self._folder_lock.note(address, key)

    # Commands.

    def submit(self, jobs: Sequence[tuple[Job, LiveJob]]) -> None:
        """Queue jobs of one owner, all of them or none; raises as ``JobCore.submit`` and ``start`` do."""
        self._call(lambda core: core.submit(jobs))

    def stop(self, job_ids: Sequence[str]) -> None:
        """Cancel jobs. A running one ends before its next model evaluation, which this doesn't wait for."""
        self.progress.cancel(job_ids)  # immediately, even if the disk is slow
        with suppress(StudioError):  # a closing app has nothing to cancel
            self._call(lambda core: core.stop(job_ids))

    def start_pictures(self) -> frozenset[str]:
        """Return the SHA-256 of the start pictures and masks of unfinished jobs; none while the app closes."""
        with suppress(StudioError):
            return self._call(lambda core: core.start_pictures())
        return frozenset()

    def clear(self, owner: str | None) -> int:
        """Cancel the waiting jobs with this owner mark, or all (None); return their number."""
        return self._call(lambda core: core.clear(owner))

    def move(self, job_id: str, *, first: bool) -> bool:
        """Move a waiting job forward; see ``JobStore.move``."""
        return self._call(lambda core: core.move(job_id, first=first))

    def pause(self, paused: bool) -> None:
        """Pause or resume starting waiting jobs. The setting survives a restart."""
        self._call(lambda core: core.pause(paused))

    # Queries.

    def view(self, job_id: str) -> JobView | None:
        """Return a job's current view, or its outcome from the store; None if the job isn't known.

        Raises:
            StorageError: the store can't be read.
        """
        found = self.progress.view(job_id)
        if found is not None or self._store is None:
            return found
        job = self._store.find(job_id)
        return None if job is None else job_view(job, self._gallery)

    def unsaved(self, picture_id: str, owner: str | None) -> SavedPicture | None:
        """Return a finished picture that is not saved yet; see ``JobCore.unsaved``."""
        return None if self._core is None else self._core.unsaved(picture_id, owner)

    def runners(self) -> tuple[tuple[RunnerStatus, str | None], ...]:
        """Return the status of every runner, with the id of its job."""
        assigned = {} if self._core is None else {runner: job for job, runner in self._core.assigned.items()}
        return tuple((runner.status(), assigned.get(runner)) for runner in self._runners)

    @property
    def warnings(self) -> tuple[Text, ...]:
        """Current problems of the store and of saving pictures."""
        if self._store is None or self._core is None:
            return ()
        return tuple(text for text in (self._store.warning, self._core.warning) if text is not None)

    def close(self) -> None:
        """Stop and requeue the running jobs, and end the thread. Waiting jobs stay in the store."""
        with self._lock:
            self._closed = True
        self.progress.close()
        if self._thread is not None:
            self._inbox.put(lambda: None)
            self._thread.join()
        for runner in self._runners:
            runner.close(_RUNNER_SECONDS)
        self._encoder.shutdown(wait=False)
        if self._store is not None:
            self._store.close()
        self._folder_lock.release()

    # Reports of runners.

    def loading(self, job_id: str, text: Text) -> None:
        """See ``Reports``."""
        self.progress.update(job_id, loading=self._rules.redacted(text))

    def progressed(self, job_id: str, event: RunEvent, plan: GenerationPlan) -> None:
        """See ``Reports``."""
        if isinstance(event, Warned):
            event = Warned(tuple(map(self._rules.redacted, event.warnings)))
        self.progress.show(job_id, event, plan)

    def started(self, job_id: str, plan: GenerationPlan) -> None:
        """See ``Reports``."""
        self._post(lambda core: core.started(job_id, plan))

    def finished(self, job_id: str, record: ImageRecord, picture: Picture) -> None:
        """See ``Reports``."""
        self._post(lambda core: core.finished(job_id, record, picture))

    def failed(self, job_id: str, error: StudioError) -> None:
        """See ``Reports``."""
        self._post(lambda core: core.failed(job_id, error))

    def stopped(self, job_id: str) -> None:
        """See ``Reports``."""
        self._post(lambda core: core.stopped(job_id))

    def crashed(self, job_id: str) -> None:
        """See ``Reports``."""
        self._post(lambda core: core.crashed(job_id))

    # The thread and its inbox.

    def _encode(self, work: Callable[[], bytes]) -> Future[bytes]:
        """Encode a picture in the encoder's thread, and wake the dispatcher when it is done."""
        png = self._encoder.submit(work)
        png.add_done_callback(lambda _: self._inbox.put(lambda: None))
        return png

    def _call(self, command: Callable[[JobCore], Result]) -> Result:
        """Run a command in the dispatcher's thread; return its result, or raise its error."""
        self.start()
        future: Future[Result] = Future()

        def carry_out(core: JobCore) -> None:
            try:
                result = command(core)
            except Exception as error:  # noqa: BLE001  # raised in the thread that gave the command
                problem = error
                self._answers.append(lambda: future.set_exception(problem))
            else:
                self._answers.append(lambda: future.set_result(result))

        with self._lock:
            if self._closed:
                raise closing_error()
            self._post(carry_out)
        return future.result()

    def _post(self, message: Callable[[JobCore], object]) -> None:
        self._inbox.put(lambda: self._core and message(self._core))

    def _work(self) -> None:
        assert self._core is not None
        core, deadline = self._core, 0.0
        while True:
            if self._closed and not deadline:
                core.begin_closing()
                deadline = time.monotonic() + _CLOSING_SECONDS
            if deadline and self._inbox.empty() and (core.idle or time.monotonic() > deadline):
                break
            self._run_once(core, _TICK if not deadline else _CLOSING_TICK)
        core.end_closing()

    def _run_once(self, core: JobCore, seconds: float) -> None:
        """Process incoming messages, waiting up to ``seconds`` for the first, then call ``process``. Never raises."""
        with suppress(Empty):
            self._guarded(self._inbox.get(timeout=seconds))
            for _ in range(_MESSAGES):
                self._guarded(self._inbox.get_nowait())
        self._guarded(lambda: core.process(self))
        while self._answers:
            self._answers.pop(0)()

    def _guarded(self, work: Callable[[], object]) -> None:
        try:
            work()
            self._last_error = ""
        except StudioError as error:
            if str(error) != self._last_error:  # logged once, not at every retry
                self._last_error = str(error)
                log.warning("%s", error)
        except Exception:
            log.exception("the dispatcher failed at one task, and goes on")
