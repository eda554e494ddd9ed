"""A job as clients (page, REST, command line) see it: an immutable snapshot."""

from __future__ import annotations

from dataclasses import dataclass

from zimage_app.domain.errors import StudioError
from zimage_app.domain.plan import running_stages
from zimage_app.domain.request import GenerationRequest
from zimage_app.domain.text import Text
from zimage_app.service.jobs.state import FINAL, JobState
from zimage_app.service.pictures.views import SavedPicture


@dataclass(frozen=True, slots=True)
class StageView:
    """Progress of one stage."""

    number: int
    """Index of the stage in the request, from 0."""
    width: int
    height: int
    steps: int
    step: int = 0
    """Steps done."""
    seconds: float | None = None
    """Time that the completed stage took."""
    from_memory: bool = False
    """Whether the result came from stage memory, without running the stage."""
    preview: bytes | None = None
    """Newest preview as JPEG: approximate while the stage runs, decoded from the latent when it is complete."""


@dataclass(frozen=True, slots=True)
class QueueView:
    """Numbers of unfinished jobs."""

    running: int
    waiting: int
    paused: bool = False
    """Whether waiting jobs don't start until the queue is resumed."""


@dataclass(frozen=True, slots=True)
class JobView:
    """The state of a job at one moment. ``version`` grows with every change."""

    id: str
    owner: str
    """``owner_mark`` of the owner."""
    model: str
    prompt: str = ""
    seed: int | None = None
    """The seed, drawn if the request's was random; None if no longer known."""
    group: str = ""
    """Name shared by jobs that were submitted together; empty for a single job."""
    state: JobState = JobState.WAITING
    version: int = 0
    ahead: int = 0
    """Number of unfinished jobs before this one."""
    starts_in: float | None = None
    """Estimated seconds until a waiting job starts; None if unknown."""
    stages: tuple[StageView, ...] = ()
    current: int = 0
    """Index into ``stages`` of the running or last run stage."""
    progress: float = 0.0
    """Progress of the whole job, 0…1."""
    elapsed: float = 0.0
    """Seconds since the run started, or since a runner took the job while its model is loading."""
    remaining: float | None = None
    """Estimated seconds until the job is done."""
    warnings: tuple[Text, ...] = ()
    loading: Text | None = None
    """What is being loaded, in the states ``loading`` and ``stopping``."""
    error: StudioError | None = None
    picture: SavedPicture | None = None
    """Set when the job is done, or already in the state ``saving`` if the file can't be written at first."""

    @property
    def ended(self) -> bool:
        """Whether the job has ended."""
        return self.state in FINAL


def stage_views(request: GenerationRequest) -> tuple[StageView, ...]:
    """Return the views of a planned request's stages before they run."""
    return tuple(
        StageView(stage.number, stage.settings.width, stage.settings.height, stage.steps)
        for stage in running_stages(request.running)
    )
