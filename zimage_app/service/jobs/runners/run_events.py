"""Reports the events of a run to the dispatcher, and keeps its stage pictures."""

from __future__ import annotations

from collections.abc import Iterable

from zimage_app.domain.events import Cancelled, Event, Failed, Finished
from zimage_app.domain.plan import GenerationPlan
from zimage_app.service.jobs.runners.runner import Reports
from zimage_app.service.pictures.gallery import Gallery
from zimage_app.service.pictures.stage_pictures import keep_stages


def report_run(events: Iterable[Event], job: str, plan: GenerationPlan, gallery: Gallery, reports: Reports) -> None:
    """Report a run's events; stage pictures are saved if the request asks for it."""
    for event in keep_stages(events, plan, gallery):
        match event:
            case Finished(picture, record):
                reports.finished(job, record, picture)
            case Failed(error):
                reports.failed(job, error)
            case Cancelled():
                reports.stopped(job)
            case _:
                reports.progressed(job, event, plan)
