"""The worker on a machine of the cluster: one model on one device, one job at a time. Doesn't depend on Ray.

Models and upscalers must be on the worker's machine and are found by name, as in the app. LoRAs and start pictures are
sent with jobs and kept, identified by their hashes.
"""

from __future__ import annotations

import logging
import os
import platform
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Literal

from zimage_app.domain.errors import GenerationError, LoadingCancelled, RequestError, StudioError
from zimage_app.domain.events import Cancelled, Failed, Finished, Picture
from zimage_app.domain.plan import GenerationPlan
from zimage_app.domain.record import ImageRecord
from zimage_app.domain.text import Text
from zimage_app.models.find.catalogue import find_model
from zimage_app.service.generation.model_slot import ModelSlot
from zimage_app.service.generation.start_pictures import PictureInputs
from zimage_app.service.jobs.progress import RunEvent
from zimage_app.service.jobs.runners.runner import INTERNAL
from zimage_app.service.library.loras import LoraLibrary
from zimage_app.service.library.upscalers import UpscalerLibrary
from zimage_app.service.setup.config import StudioConfig
from zimage_app.service.setup.settings import load_settings
from zimage_app.service.storage.atomic_files import write_whole

log = logging.getLogger(__name__)

_WAIT = 0.5
"""Seconds that ``Worker.poll`` waits for the first item."""
_MAX_MESSAGES = 100
"""Maximum number of items that ``Worker.poll`` returns."""


@dataclass(frozen=True, slots=True)
class JobSpec:
    """A job for a worker, with the hashes of the files that it needs."""

    job: str
    model: str
    plan: GenerationPlan
    loras: Mapping[str, str] = field(default_factory=dict)
    """LoRA file, relative to the LoRA folder -> its SHA-256."""
    pictures: tuple[str, ...] = ()
    """SHA-256 of the start picture and its mask."""


@dataclass(frozen=True, slots=True)
class LoadingMessage:
    """A message about what is being loaded."""

    text: Text


@dataclass(frozen=True, slots=True)
class JobFinished:
    """The end of a job with a picture."""

    picture: Picture
    record: ImageRecord


@dataclass(frozen=True, slots=True)
class JobAborted:
    """The end of a job without a picture; ``crashed``: the run was interrupted, or the worker doesn't know the job."""

    how: Literal["failed", "stopped", "crashed"]
    error: StudioError | None = None


Message = LoadingMessage | GenerationPlan | RunEvent | JobFinished | JobAborted
"""Messages about a job; the last one is JobFinished or JobAborted.

A plan means that the model is loaded and the run starts.
"""


class Worker:
    """Makes pictures on one device. ``stop`` and ``poll`` may be called while a job runs."""

    def __init__(self, cache: str, device: str | None = None, config: StudioConfig | None = None) -> None:
        """``cache`` is the folder for files sent with jobs; the model folders are set by environment variables."""
        self._config = config or load_settings({}, os.environ).config
        self._device = device
        self._files = Path(cache).expanduser()
        self._loras = LoraLibrary(self._files / "loras")
        self._inputs = PictureInputs(self._files, upscalers=UpscalerLibrary(self._config.upscaler_roots))
        self._slot = ModelSlot(self._loras, self._inputs, replace(self._config, device=device))
        self._known: dict[str, str] = {}
        """LoRA file on this machine -> its SHA-256."""
        self._messages: dict[str, SimpleQueue[Message]] = {}
        self._stopped: set[str] = set()

    def missing_files(self, spec: JobSpec) -> list[str]:
        """Return the SHA-256 of each missing file, which has to be sent by ``receive_file`` before ``begin``."""
        loras = [digest for name, digest in spec.loras.items() if self._known.get(name) != digest]
        return [*loras, *(digest for digest in spec.pictures if not self._has(digest))]

    def receive_file(self, spec: JobSpec, digest: str, data: bytes) -> None:
        """Save a file that a job needs."""
        for name in (name for name, each in spec.loras.items() if each == digest):
            path = self._files / "loras" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, data)
            self._known[name] = digest
            self._loras.entries(refresh=True)
        if digest in spec.pictures:
            self._inputs.save(data, digest)

    def begin(self, spec: JobSpec) -> None:
        """Start a job in a thread; returns at once."""
        self._messages = {spec.job: SimpleQueue()}
        self._stopped.clear()
        threading.Thread(target=self._make, args=(spec,), name="studio-worker", daemon=True).start()

    def poll(self, job: str) -> Sequence[Message]:
        """Return the messages since the last call; waits a moment for the first."""
        queue = self._messages.get(job)
        if queue is None:
            return [JobAborted("crashed")]
        found: list[Message] = []
        try:
            found.append(queue.get(timeout=_WAIT))
            while len(found) < _MAX_MESSAGES:
                found.append(queue.get_nowait())
        except Empty:
            pass
        return found

    def stop(self, job: str) -> None:
        """Make a job end before its next model evaluation."""
        self._stopped.add(job)

    def status(self) -> tuple[str, str]:
        """Return the machine's name with the device, and the name of the loaded model."""
        loaded = self._slot.loaded()
        return f"{platform.node()} {self._device or 'auto'}", loaded.name if loaded else ""

    def _has(self, digest: str) -> bool:
        try:
            return bool(self._inputs.file(digest))
        except RequestError:
            return False

    def _make(self, spec: JobSpec) -> None:
        tell = self._messages[spec.job].put
        try:
            tell(self._run(spec, tell))
        except LoadingCancelled:
            tell(JobAborted("stopped"))
        except StudioError as error:
            tell(JobAborted("failed", error))
        except Exception:
            log.exception("job %s failed", spec.job)
            tell(JobAborted("failed", GenerationError(INTERNAL)))

    def _run(self, spec: JobSpec, tell: Callable[[Message], None]) -> JobFinished | JobAborted:
        def stopped() -> bool:
            return spec.job in self._stopped

        source = find_model(spec.model, self._config.model_folders)
        generator = self._slot.model(source, lambda text: tell(LoadingMessage(text)), stopped)
        tell(spec.plan)
        with closing(generator.stream(spec.plan, stopped)) as events:
            for event in events:
                match event:
                    case Finished(picture, record):
                        return JobFinished(picture, record)
                    case Failed(error):
                        return JobAborted("failed", error)
                    case Cancelled():
                        return JobAborted("stopped")
                    case _:
                        tell(event)
        return JobAborted("crashed")
