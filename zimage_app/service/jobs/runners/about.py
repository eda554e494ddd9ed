"""Describes the runners, for the details panel and bug reports."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from zimage_app.domain.text import Text
from zimage_app.service.diagnostics.details import DetailRow, Section
from zimage_app.service.diagnostics.scrub import scrubbed
from zimage_app.service.jobs.runners.runner import RunnerStatus


def runner_section(runners: Iterable[tuple[RunnerStatus, str | None]]) -> Section:
    """Return a section with a row per runner: its device or address, its model and its job."""
    rows = tuple(DetailRow(_name(status), _state(status, job)) for status, job in runners)
    return Section(Text("Runners", "生成器"), rows)


def _name(status: RunnerStatus) -> Text:
    return Text(f"{status.kind} {status.where}".strip(), f"{status.kind} {status.where}".strip())


def _state(status: RunnerStatus, job: str | None) -> Text:
    parts = list(_parts(status, job))
    return Text(", ".join(part.en for part in parts), "，".join(part.zh for part in parts))


def _parts(status: RunnerStatus, job: str | None) -> Iterator[Text]:
    if job is not None:
        yield Text(f"at work on {job}", f"正在处理 {job}")
    elif status.trouble is not None:
        yield Text(scrubbed(status.trouble.en), scrubbed(status.trouble.zh))
    else:
        yield Text("free", "空闲")
    if status.model:
        yield Text(f"model {status.model}", f"模型 {status.model}")
