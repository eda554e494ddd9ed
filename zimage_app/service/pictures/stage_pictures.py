"""The pictures of a run's stages, kept beside its result where the request wants that. Knows no queue and no page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from zimage_app.domain.errors import StorageError
from zimage_app.domain.events import Event, Finished, Picture, StageDone, Warned
from zimage_app.domain.plan import GenerationPlan
from zimage_app.service.pictures.gallery import Gallery


def keep_stages(events: Iterable[Event], plan: GenerationPlan, gallery: Gallery) -> Iterator[Event]:
    """A run's events, passed on. Where stages are to be kept, their files are written just before ``Finished``.

    The last stage's picture is the result itself. A full disk costs a warning, not the result.
    """
    pictures: dict[int, Picture] = {}
    for event in events:
        if isinstance(event, StageDone) and plan.request.keep_stages and event.stage.number != plan.stages[-1].number:
            pictures[event.stage.number + 1] = event.picture
        if isinstance(event, Finished) and pictures:
            try:
                gallery.save_stages(event.record.id, pictures)
            except StorageError as error:
                yield Warned((error.text,))
        yield event
