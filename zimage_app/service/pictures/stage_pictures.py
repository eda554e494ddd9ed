"""Saves the pictures of a run's stages beside its result if the request asks for it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from zimage_app.domain.errors import StorageError
from zimage_app.domain.events import Event, Finished, Picture, StageDone, Warned
from zimage_app.domain.plan import GenerationPlan
from zimage_app.service.pictures.gallery import Gallery


def keep_stages(events: Iterable[Event], plan: GenerationPlan, gallery: Gallery) -> Iterator[Event]:
    """Pass on a run's events; if stages are to be kept, write their files just before ``Finished``.

    The last stage isn't written, because its picture is the result. If writing fails, a warning is yielded.
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
