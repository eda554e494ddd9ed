"""Status of app and machine, in the units of the REST contract: GiB, percent, MHz, degrees Celsius."""

from __future__ import annotations

import math
from datetime import datetime

from zimage_app.domain.text import Language
from zimage_app.domain.version import __version__
from zimage_app.rest.schema import Cpu, Disk, Gpu, Memory, RunnerState, Status
from zimage_app.service.diagnostics.gpus import Amount, GpuStatus
from zimage_app.service.diagnostics.monitor import MachineStatus
from zimage_app.service.jobs.runners.runner import RunnerStatus
from zimage_app.service.studio import Studio


def status_answer(studio: Studio, language: Language) -> Status:
    """The current status of app and machine; a shared app reveals nothing about the machine."""
    queue, loaded = studio.queue(), studio.loaded()
    machine = None if studio.shared else studio.monitor.machine()
    return Status(
        cpu=machine and _cpu(machine),
        memory=machine and machine.memory and _memory(machine.memory),
        gpu=_gpu(machine.gpus[0]) if machine and machine.gpus else None,
        disk=machine and machine.disk and _disk(str(studio.monitor.outputs), machine.disk),
        timestamp=datetime.now().astimezone(),
        version=None if studio.shared else __version__,
        running=queue.running,
        waiting=queue.waiting,
        loaded=loaded.name if loaded else None,
        runners=None if studio.shared else [_runner(status, job, language) for status, job in studio.runners()],
    )


def _runner(status: RunnerStatus, job: str | None, language: Language) -> RunnerState:
    return RunnerState(
        kind=status.kind,
        where=status.where,
        model=status.model or None,
        state="busy" if job else "away" if status.trouble else "free",
        task_id=job,
        problem=status.trouble.to(language) if status.trouble else None,
    )


def _cpu(machine: MachineStatus) -> Cpu:
    return Cpu(
        usage_percent=_percent(machine.processor_load),
        cores=math.ceil(machine.processors),
        frequency_mhz=machine.frequency,
    )


def _memory(amount: Amount) -> Memory:
    return Memory(
        total_gb=_gb(amount.total),
        used_gb=_gb(amount.used),
        available_gb=_gb(amount.total - amount.used),
        usage_percent=round(100 * amount.fraction, 1),
    )


def _gpu(gpu: GpuStatus) -> Gpu:
    return Gpu(
        available=True,
        name=gpu.name,
        memory_total_gb=_gb(gpu.memory.total) if gpu.memory else None,
        memory_used_gb=_gb(gpu.memory.used) if gpu.memory else None,
        usage_percent=_percent(gpu.load),
        temperature=gpu.temperature,
    )


def _disk(path: str, amount: Amount) -> Disk:
    return Disk(
        path=path,
        total_gb=_gb(amount.total),
        used_gb=_gb(amount.used),
        free_gb=_gb(amount.total - amount.used),
        usage_percent=round(100 * amount.fraction, 1),
    )


def _gb(size: int) -> float:
    return round(size / 2**30, 2)


def _percent(fraction: float | None) -> float | None:
    return None if fraction is None else round(100 * fraction, 1)
