"""What a face may know of a job: one immutable snapshot. Knows no threads, no pages."""

from __future__ import annotations

from dataclasses import dataclass

from zimage_app.domain.errors import StudioError
from zimage_app.domain.plan import running_stages
from zimage_app.domain.request import GenerationRequest
from zimage_app.domain.text import Text
from zimage_app.service.jobs.state import OVER, JobState
from zimage_app.service.pictures.views import SavedPicture


@dataclass(frozen=True, slots=True)
class StageView:
    """How far one stage is."""

    number: int
    """Which stage of the request, from 0."""
    width: int
    height: int
    steps: int
    step: int = 0
    """Steps done."""
    seconds: float | None = None
    """How long it took, once it is over."""
    from_memory: bool = False
    """It was not run: what it gave before was still known."""
    preview: bytes | None = None
    """Newest JPEG: rough while the stage runs, decoded once it is over."""


@dataclass(frozen=True, slots=True)
class QueueView:
    """How many jobs there are that are not over."""

    running: int
    waiting: int
    paused: bool = False
    """No waiting job begins until the queue is resumed."""


@dataclass(frozen=True, slots=True)
class JobView:
    """A job at one moment. ``version`` grows with every change."""

    id: str
    owner: str
    """``owner_mark`` of who asked."""
    model: str
    prompt: str = ""
    seed: int | None = None
    """As it was settled; None where that isn't known any more."""
    group: str = ""
    """The same for jobs that were asked for together; empty for one that stands alone."""
    state: JobState = JobState.WAITING
    version: int = 0
    ahead: int = 0
    """Jobs that run before this one."""
    starts_in: float | None = None
    """Estimated seconds until it runs, while it waits; None while that isn't known."""
    stages: tuple[StageView, ...] = ()
    current: int = 0
    """Index into ``stages`` of the one that runs, or ran last."""
    progress: float = 0.0
    """0…1 of the whole job."""
    elapsed: float = 0.0
    """Seconds since it began to run."""
    remaining: float | None = None
    """Estimated seconds to go."""
    warnings: tuple[Text, ...] = ()
    loading: Text | None = None
    """What is being loaded, while state is ``loading``."""
    error: StudioError | None = None
    picture: SavedPicture | None = None
    """There from ``saving`` on where its file can't be written at once, else when the job is done."""

    @property
    def over(self) -> bool:
        """Whether nothing will change any more."""
        return self.state in OVER


def stage_views(request: GenerationRequest) -> tuple[StageView, ...]:
    """The stages of a settled request, before they run."""
    return tuple(
        StageView(stage.number, stage.settings.width, stage.settings.height, stage.steps)
        for stage in running_stages(request.running)
    )
