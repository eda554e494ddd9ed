"""Downloads all files that a model lacks: plans the download, runs it on several threads, reports progress.

A lock file allows one program at a time to download into a folder. Verified files are recorded beside them, so that
they can be checked again later without network access.
"""

from __future__ import annotations

import errno
import json
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
from filelock import FileLock, Timeout
from huggingface_hub import is_offline_mode

from zimage_app.domain.errors import FetchError, system_reason
from zimage_app.domain.fetching import FetchProgress
from zimage_app.models.disk.file_lock import take
from zimage_app.models.disk.folders import PARTIAL_FOLDER, WANTED_FILE, WEIGHT_SUFFIXES, still_wanted
from zimage_app.models.find.model_source import ModelSource, Remote, repo_folder
from zimage_app.models.hub import errors
from zimage_app.models.hub.hosts import AGENT, Host, check_connection
from zimage_app.models.hub.listing import INDEX, RepoFile, RepoListing
from zimage_app.models.hub.receipt import checksum_of, note
from zimage_app.models.hub.retry_policy import Busy, RetryPolicy
from zimage_app.models.hub.transfer import FileDownload, Stopped, Transfer, size_of

_MAX_PARALLEL = 3
"""Files downloaded at a time: one connection rarely uses the whole bandwidth, and hubs throttle many connections."""
_LOCKS = ".locks"
_MIN_FREE = 64_000_000
"""Bytes of disk space to leave free."""
_WINDOW = 5.0
"""Seconds over which the speed is averaged."""
_REPORT_INTERVAL = 0.2
"""Seconds between progress reports."""


@dataclass(frozen=True, slots=True)
class RepoDownload:
    """The files to download from one repository into one folder."""

    listing: RepoListing
    files: tuple[RepoFile, ...]
    folder: Path

    def part(self, file: RepoFile) -> Path:
        """Return the path of a file's partial download."""
        mark = file.checksum.value[:16] if file.checksum else str(file.size)
        return self.folder / PARTIAL_FOLDER / f"{file.path.replace('/', '--')}.{mark}"


@dataclass(frozen=True, slots=True)
class FetchPlan:
    """The files that a model lacks, and the host to download them from."""

    host: Host
    repo_downloads: tuple[RepoDownload, ...]

    @property
    def files(self) -> int:
        """Number of files."""
        return sum(len(repo_download.files) for repo_download in self.repo_downloads)

    @property
    def size(self) -> int:
        """Total size of the files in bytes."""
        return sum(file.size for repo_download in self.repo_downloads for file in repo_download.files)

    @property
    def left(self) -> int:
        """Bytes that remain to be downloaded."""
        return self.size - sum(
            _bytes_on_disk(repo_download, file) for repo_download in self.repo_downloads for file in repo_download.files
        )

    @property
    def weights(self) -> int:
        """Total size of the weight files (.safetensors and .gguf) in bytes."""
        return sum(
            file.size
            for repo_download in self.repo_downloads
            for file in repo_download.files
            if file.path.endswith(WEIGHT_SUFFIXES)
        )


def _bytes_on_disk(repo_download: RepoDownload, file: RepoFile) -> int:
    """Return how many bytes of a file are on disk, complete or as a partial download."""
    if size_of(repo_download.folder / file.path) == file.size:
        return file.size
    begun = size_of(repo_download.part(file))
    return begun if begun <= file.size else 0


def plan_fetch(
    source: ModelSource,
    host: Host,
    models: Path,
    retry_policy: RetryPolicy | None = None,
    stopped: threading.Event | None = None,
) -> FetchPlan:
    """Look up the files that ``source`` lacks on the hub; sends no request if nothing is missing.

    Raises:
        FetchError: the hub can't be reached, or doesn't have a missing part.
        Stopped: ``stopped`` was set.
    """
    retry_policy, stopped = retry_policy or RetryPolicy(), stopped or threading.Event()
    remotes = [place.remote for place in source.missing.values() if place.remote is not None]
    repo_downloads = []
    if remotes:
        if is_offline_mode():
            raise errors.offline(", ".join(dict.fromkeys(remote.repo for remote in remotes)))
        check_connection(host, retry_policy.first)
    for repo in dict.fromkeys(remote.repo for remote in remotes):
        listing = _listing(host, repo, retry_policy, stopped)
        _complete(listing, remotes, host)
        repo_downloads.append(RepoDownload(listing, listing.needed(remotes), models / repo_folder(repo)))
    return FetchPlan(host, tuple(repo_downloads))


def _listing(host: Host, repo: str, retry_policy: RetryPolicy, stopped: threading.Event) -> RepoListing:
    for failures in range(1, retry_policy.attempts + 1):
        try:
            return host.listing(repo, retry_policy)
        except Busy as error:
            status = error.status
            if failures < retry_policy.attempts and stopped.wait(retry_policy.after(failures, error.after)):
                raise Stopped from error
    raise errors.busy(host.name, status)


def _complete(listing: RepoListing, remotes: list[Remote], host: Host) -> None:
    for remote in remotes:
        if remote.repo == listing.repo and not listing.part(remote):
            what = remote.path if remote.is_file else f"safetensors weights in {remote.path}/"
            raise errors.not_found(f"{what} ({remote.repo})", host.name)


def fetch(
    plan: FetchPlan,
    report: Callable[[FetchProgress], None],
    retry_policy: RetryPolicy | None = None,
    stopped: threading.Event | None = None,
) -> None:
    """Download the planned files; calls ``report`` with the progress a few times a second.

    Setting ``stopped`` cancels the download; it is also set here when one file fails.

    Raises:
        FetchError: a file can't be downloaded; partial files are kept, and the next call resumes them.
        Stopped: ``stopped`` was set.
    """
    retry_policy, stopped = retry_policy or RetryPolicy(), stopped or threading.Event()
    with ExitStack() as stack:
        for repo_download in plan.repo_downloads:
            stack.enter_context(_download_lock(repo_download.folder))
        _check_disk_space(plan)
        for repo_download in plan.repo_downloads:
            _begin(repo_download)
        meter = Meter(FetchProgress(plan.files, plan.size, done=plan.size - plan.left))
        timeout = httpx.Timeout(retry_policy.answer, read=retry_policy.silence)
        client = stack.enter_context(httpx.Client(follow_redirects=True, timeout=timeout, headers=AGENT))
        _ActiveDownload(plan.host, Transfer(client, retry_policy, meter.moved, stopped), meter, report).all_of(plan)
        for repo_download in plan.repo_downloads:
            _end(repo_download)


def _begin(repo_download: RepoDownload) -> None:
    """Write the list of wanted files, so that an incomplete folder can be recognised later.

    Files still missing from an earlier download of other parts stay on the list if the repository still has them.
    """
    growing = repo_download.folder / PARTIAL_FOLDER
    open_still = still_wanted(repo_download.folder) & {file.path for file in repo_download.listing.files}
    wanted = sorted(open_still | {file.path for file in repo_download.files})
    try:
        growing.mkdir(parents=True, exist_ok=True)
        (growing / WANTED_FILE).write_text(json.dumps(wanted), encoding="utf-8")
    except OSError as error:
        raise errors.not_writable(growing, system_reason(error)) from error


def _end(repo_download: RepoDownload) -> None:
    """Delete the folder of partial downloads, unless files of other parts are still missing."""
    if not still_wanted(repo_download.folder):
        shutil.rmtree(repo_download.folder / PARTIAL_FOLDER, ignore_errors=True)


@contextmanager
def _download_lock(folder: Path) -> Iterator[None]:
    """Hold the folder's download lock; raises FetchError if another program holds it."""
    locks = folder.parent / _LOCKS
    try:
        locks.mkdir(parents=True, exist_ok=True)
        lock = FileLock(locks / f"{folder.name}.lock")
        take(lock)
    except Timeout as error:
        raise errors.already_downloading(folder) from error
    except OSError as error:
        raise errors.not_writable(folder, system_reason(error)) from error
    try:
        yield
    finally:
        lock.release()


def _check_disk_space(plan: FetchPlan) -> None:
    for folder in {repo_download.folder.parent for repo_download in plan.repo_downloads}:
        free = free_space(folder)
        if free < plan.left + _MIN_FREE:
            raise errors.disk_full(folder, plan.left, free)


def free_space(folder: Path) -> int:
    """Return the free bytes of the disk that holds a folder; the folder need not exist yet."""
    return shutil.disk_usage(next(place for place in (folder, *folder.parents) if place.exists())).free


def _of_disk(target: Path, error: OSError) -> FetchError:
    """The error for a file of a download that the system refuses to write, rename or read."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return errors.disk_full(target.parent, None, free_space(target.parent))
    return errors.not_writable(target, system_reason(error))


class _ActiveDownload:
    """One download in progress."""

    def __init__(self, host: Host, transfer: Transfer, meter: Meter, report: Callable[[FetchProgress], None]) -> None:
        self._host = host
        self._headers = host.headers()
        self._transfer = transfer
        self._meter = meter
        self._report = report

    def all_of(self, plan: FetchPlan) -> None:
        """Download several files at a time, and the model index after all others."""
        wanted = [(repo_download, file) for repo_download in plan.repo_downloads for file in repo_download.files]
        last = [(repo_download, file) for repo_download, file in wanted if file.path == INDEX]
        with ThreadPoolExecutor(_MAX_PARALLEL, thread_name_prefix="fetch") as pool:
            futures = [
                pool.submit(self._one, repo_download, file) for repo_download, file in wanted if file.path != INDEX
            ]
            try:
                self._watch(futures)
            except BaseException:  # KeyboardInterrupt too: the threads must not continue
                self._give_up(futures)
                raise
        _raise_first(futures)
        for repo_download, file in last:
            self._one(repo_download, file)
        self._report(self._meter.read())

    def _watch(self, futures: list[Future[None]]) -> None:
        waiting = set(futures)
        while waiting:
            over, waiting = wait(waiting, timeout=_REPORT_INTERVAL, return_when=FIRST_EXCEPTION)
            self._report(self._meter.read())
            failed = any(not future.cancelled() and future.exception() is not None for future in over)
            if failed or self._transfer.stopped.is_set():
                self._give_up(futures)

    def _give_up(self, futures: list[Future[None]]) -> None:
        self._transfer.stopped.set()
        self._transfer.hang_up()
        for future in futures:
            future.cancel()

    def _one(self, repo_download: RepoDownload, file: RepoFile) -> None:
        target = repo_download.folder / file.path
        try:
            self._bring(repo_download, file, target)
        except OSError as error:
            raise _of_disk(target, error) from error
        self._meter.file_done()

    def _bring(self, repo_download: RepoDownload, file: RepoFile, target: Path) -> None:
        if not self._is_right(target, file):
            self._transfer.fetch(
                FileDownload(
                    file=file,
                    url=self._host.url(repo_download.listing, file.path),
                    repo=repo_download.listing.repo,
                    page=self._host.page(repo_download.listing.repo),
                    host=self._host.name,
                    headers=self._headers,
                    target=target,
                    part=repo_download.part(file),
                )
            )
        note(repo_download.folder, self._host.key, repo_download.listing, file)

    def _is_right(self, target: Path, file: RepoFile) -> bool:
        """Whether the file is present with the right checksum; one of the right size but wrong content is deleted."""
        if not target.exists() or target.stat().st_size != file.size:
            return False
        if checksum_of(target, file.size, file.checksum, self._transfer.stopped) == file.checksum:
            return True
        target.unlink()
        self._meter.moved(-file.size)
        return False


def _raise_first(futures: list[Future[None]]) -> None:
    """Raise the first error of the futures, preferring a real failure to the Stopped of the others."""
    errors = [future.exception() for future in futures if not future.cancelled()]
    reasons = [error for error in errors if error is not None]
    if reasons:
        raise next((error for error in reasons if not isinstance(error, Stopped)), reasons[0])
    if any(future.cancelled() for future in futures):
        raise Stopped


class Meter:
    """Sums up the progress that several threads report, and computes the speed. Thread-safe."""

    def __init__(self, progress: FetchProgress, clock: Callable[[], float] = time.monotonic) -> None:
        self._progress = progress
        self._clock = clock
        self._lock = threading.Lock()
        self._past: deque[tuple[float, int]] = deque([(clock(), progress.done)])

    def moved(self, size: int) -> None:
        """Add ``size`` downloaded bytes; a negative number means discarded bytes."""
        with self._lock:
            self._progress = replace(self._progress, done=self._progress.done + size)

    def file_done(self) -> None:
        """Count one more complete file."""
        with self._lock:
            self._progress = replace(self._progress, files_done=self._progress.files_done + 1)

    def read(self) -> FetchProgress:
        """Return the progress, with the average speed over the last ``_WINDOW`` seconds."""
        now = self._clock()
        with self._lock:
            self._past.append((now, self._progress.done))
            while len(self._past) > 2 and now - self._past[0][0] > _WINDOW:
                self._past.popleft()
            then, before = self._past[0]
            speed = max(0.0, (self._progress.done - before) / (now - then)) if now > then else 0.0
            return replace(self._progress, speed=speed)
