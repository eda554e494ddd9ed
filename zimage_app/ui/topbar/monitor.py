"""Data for the top bar's figures and the panel of details, with all texts, for ``topbar.js``.

On a private page everything is shown. On a page shared with strangers, visitors see only their own place in the queue:
the machine's load would reveal the activity of others, and software versions would help attackers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from zimage_app.domain.fetching import shown_size
from zimage_app.domain.text import Language
from zimage_app.service.diagnostics.details import as_text
from zimage_app.service.diagnostics.gpus import Amount
from zimage_app.service.diagnostics.monitor import MachineStatus
from zimage_app.service.jobs.state import JobState
from zimage_app.service.studio import Studio
from zimage_app.ui.http import NO_STORE, Data
from zimage_app.ui.words.i18n import say
from zimage_app.web.language import LanguageChoice, language_of
from zimage_app.web.owner import owner_of

_NEARLY_FULL = 0.95
_LITTLE_DISK = 5 * 10**9
"""Warn below this many free bytes: enough for about a thousand pictures, but not for another model."""
_HOT = 87
"""Degrees Celsius, from about which NVIDIA's GPUs throttle."""


@dataclass(frozen=True, slots=True)
class Chip:
    """One figure of the top bar."""

    name: str
    text: str
    title: str
    warn: bool = False


def monitor_routes(studio: Studio, default_language: LanguageChoice) -> list[BaseRoute]:
    """Return the routes ``/monitor.json`` (the figures) and ``/monitor/details.json`` (details as table and text)."""

    def chips(request: Request) -> Response:
        language = language_of(request, default_language)
        data = [asdict(chip) for chip in top_bar(studio, owner_of(request), language)]
        return JSONResponse({"chips": data, "details": not studio.shared}, headers=NO_STORE)

    def details(request: Request) -> Response:
        language = language_of(request, default_language)
        if studio.shared:
            return JSONResponse({"error": say("monitor_closed", language)}, 403, headers=NO_STORE)
        return JSONResponse(details_data(studio, language), headers=NO_STORE)

    return [Route("/monitor.json", chips), Route("/monitor/details.json", details)]


def top_bar(studio: Studio, owner: str, language: Language) -> list[Chip]:
    """Return the figures that this visitor may see, the most important first."""
    if studio.shared:
        return list(_own_place(studio, owner, language))
    machine = machine_chips(studio.monitor.machine(), language)
    return [*_queue(studio, language), *_notices(studio, language), *machine]


def details_data(studio: Studio, language: Language) -> Data:
    """Return the panel's sections, and all of them as one text for copying."""
    sections = studio.details()
    return {
        "sections": [
            {
                "title": section.title.to(language),
                "rows": [[row.name.to(language), row.value.to(language)] for row in section.rows],
            }
            for section in sections
        ],
        "text": as_text(sections, language),
    }


def _queue(studio: Studio, language: Language) -> Iterator[Chip]:
    queue = studio.queue()
    jobs = queue.running + queue.waiting
    if jobs or queue.paused:
        title = say("monitor_jobs_title", language, running=queue.running, waiting=queue.waiting)
        word = "monitor_jobs_paused" if queue.paused else "monitor_jobs"
        yield Chip("jobs", say(word, language, jobs=jobs), title)


def _notices(studio: Studio, language: Language) -> Iterator[Chip]:
    if warnings := studio.warnings():
        title = "\n".join(warning.to(language) for warning in warnings)
        yield Chip("notice", say("monitor_notice", language), title, warn=True)


def _own_place(studio: Studio, owner: str, language: Language) -> Iterator[Chip]:
    views = studio.jobs(owner, shared=True)
    if views and views[0].state is JobState.WAITING:
        place = views[0].ahead + 1
        yield Chip("jobs", say("monitor_place", language, place=place), say("monitor_place_title", language))
    elif views:
        yield Chip("jobs", say("monitor_jobs", language, jobs=len(views)), say("monitor_own_title", language))


def machine_chips(machine: MachineStatus, language: Language) -> Iterator[Chip]:
    """Yield a chip for each figure that the system reports."""
    if machine.processor_load is not None:
        title = say("monitor_cpu_title", language, processors=f"{machine.processors:g}")
        yield Chip("cpu", f"CPU {machine.processor_load:.0%}", title)
    if machine.memory is not None:
        yield _full("ram", "RAM", machine.memory, say("monitor_ram_title", language))
    for gpu in machine.gpus[:1]:
        if gpu.load is not None:
            yield Chip("gpu", f"GPU {gpu.load:.0%}", say("monitor_gpu_title", language, name=gpu.name))
        if gpu.memory is not None:
            yield _full("vram", "VRAM", gpu.memory, say("monitor_vram_title", language, name=gpu.name))
        if gpu.temperature is not None:
            title = say("monitor_temperature_title", language, name=gpu.name)
            yield Chip("temperature", f"{gpu.temperature} °C", title, gpu.temperature >= _HOT)
    if machine.disk is not None:
        free = machine.disk.total - machine.disk.used
        text = say("monitor_disk", language, free=shown_size(free))
        yield Chip("disk", text, say("monitor_disk_title", language), free < _LITTLE_DISK)


def _full(name: str, label: str, amount: Amount, title: str) -> Chip:
    """Return a chip with used and total memory in GiB, labelled GB as system monitors do."""
    used, total = amount.used / 2**30, amount.total / 2**30
    return Chip(name, f"{label} {used:.1f}/{total:.1f} GB", title, amount.fraction >= _NEARLY_FULL)
