"""Limits on requests, for private and public apps: the tables and the checks."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from zimage_app.domain.errors import BusyError, RequestError
from zimage_app.domain.plan import GenerationPlan, StagePlan
from zimage_app.domain.settings.stage import MAX_STAGES
from zimage_app.domain.text import Text


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits in addition to the bounds of the request's fields."""

    pixels: int
    """Width x height of a stage."""
    steps: int
    """Steps of a stage."""
    stages: int
    """Stages that are switched on."""
    evaluations: int
    """Model evaluations of all stages together."""
    waiting_of_owner: int
    """Jobs of one owner that may wait at once."""
    waiting: int
    """Jobs of all owners that may wait at once."""
    outputs: int | None
    """Bytes that pictures may take on the disk; None: no limit."""
    seconds: float | None = 600.0
    """Seconds that a job may run; None: no limit."""


_LOOK_AGAIN_SECONDS = 60.0
"""Seconds between two measurements of disk use, because many pictures take 0.1 s to add up."""

PRIVATE_LIMITS = Limits(
    pixels=2048 * 2048,
    steps=200,
    stages=MAX_STAGES,
    evaluations=MAX_STAGES * 200 * 2 * 3,
    waiting_of_owner=1000,
    waiting=2000,
    outputs=None,
)
"""For one person's own machine: only the bounds of the request's fields apply."""

PUBLIC_LIMITS = Limits(
    pixels=1024 * 1024,
    steps=50,
    stages=4,
    evaluations=150,
    waiting_of_owner=3,
    waiting=60,
    outputs=20 * 10**9,
)
"""For a shared machine. The reference workflow (65 evaluations) and 50 guided steps at 1024 x 1024 fit."""


def check_plan(plan: GenerationPlan, limits: Limits) -> None:
    """Check a plan against the limits.

    Raises:
        RequestError: a limit is exceeded; names the field, its value and what is allowed.
    """
    if len(plan.stages) > limits.stages:
        raise _too_much(
            "stages",
            Text(f"{len(plan.stages)} stages are switched on", f"启用了 {len(plan.stages)} 个阶段"),
            Text(f"at most {limits.stages}", f"最多 {limits.stages} 个"),
        )
    for stage in plan.stages:
        _check_stage(stage, limits)
    evaluations = sum(stage.evaluations for stage in plan.stages)
    if evaluations > limits.evaluations:
        raise _too_much(
            "stages",
            Text(
                f"all steps together come to {evaluations} model evaluations", f"所有步数共需 {evaluations} 次模型求值"
            ),
            Text(f"at most {limits.evaluations}", f"最多 {limits.evaluations} 次"),
        )


def _check_stage(stage: StagePlan, limits: Limits) -> None:
    width, height, number = stage.settings.width, stage.settings.height, stage.number
    if width * height > limits.pixels:
        # Name the longer side as the one to reduce.
        raise _too_much(
            f"stages.{number}.{'width' if width > height else 'height'}",
            Text(f"{width} x {height} (stage {number + 1})", f"{width} × {height}（第 {number + 1} 阶段）"),
            Text(f"at most {limits.pixels} pixels in all", f"总像素最多 {limits.pixels}"),
        )
    if stage.steps > limits.steps:
        raise _too_much(
            f"stages.{number}.steps",
            Text(f"{stage.steps} (stage {number + 1})", f"{stage.steps}（第 {number + 1} 阶段）"),
            Text(f"at most {limits.steps}", f"最多 {limits.steps}"),
        )


def _too_much(field: str, asked: Text, allowed: Text) -> RequestError:
    return RequestError(
        field,
        Text(
            f"{asked.en}, but this page allows {allowed.en}; a copy of the app on your own machine allows more",
            f"{asked.zh}，而本页面允许{allowed.zh}；在自己的电脑上运行本程序可放宽限制",
        ),
    )


def check_count(count: int, most: int, field: str) -> None:
    """Raise RequestError of ``field`` if one call asks for more pictures than may wait at once."""
    if count > most:
        raise RequestError(
            field, Text(f"{count} pictures; at most {most} may wait at once", f"共 {count} 张；最多同时排队 {most} 张")
        )


def check_queue_room(own: int, all_owners: int, limits: Limits, seconds_each: float, new: int = 1) -> None:
    """Check whether the queue has room for ``new`` jobs.

    Args:
        own: waiting jobs of this owner.
        all_owners: waiting jobs of all owners.
        limits: the limits that apply.
        seconds_each: rough time of a job.

    Raises:
        BusyError: the queue is full; says how many jobs wait and when to retry.
    """
    if own + new > limits.waiting_of_owner:
        most = limits.waiting_of_owner
        raise BusyError(
            Text(
                f"At most {most} of your pictures may wait in the queue, which has {own} already; there is no room for"
                f" {new} more, try again when some are done.",
                f"你已有 {own} 个任务在排队，最多同时排队 {most} 个，无法再加入 {new} 个；请等一些任务完成后再试。",
            ),
            seconds_each,
            own=True,
        )
    if all_owners + new > limits.waiting:
        raise BusyError(
            Text(
                f"The queue of all visitors holds {all_owners} pictures of at most {limits.waiting}; there is no room"
                f" for {new} more, try again when some are done.",
                f"所有访客的队列已有 {all_owners} 个任务，最多 {limits.waiting} 个，无法再加入 {new} 个；请稍后再试。",
            ),
            seconds_each,
            own=False,
        )


def check_disk(used: int, limits: Limits) -> None:
    """Check whether the disk quota has room for another picture.

    Raises:
        BusyError: the pictures use up the quota.
    """
    if limits.outputs is not None and used >= limits.outputs:
        raise BusyError(
            Text(
                f"The pictures kept here take {used / 1e9:.1f} GB, as much as they may ({limits.outputs / 1e9:g} GB);"
                " delete some of yours and empty the trash, or try again later.",
                f"已保存的图片占用 {used / 1e9:.1f} GB，达到上限（{limits.outputs / 1e9:g} GB）；"
                "请删除一些自己的图片并清空回收站，或稍后再试。",
            ),
            3600.0,
            own=False,
        )


class DiskUse:
    """Disk use of a folder's files, cached for a minute. Thread-safe."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._counted: float | None = None
        self._used = 0

    def used(self) -> int:
        """Bytes of all files; the value is at most a minute old."""
        with self._lock:
            now = time.monotonic()
            if self._counted is None or now - self._counted > _LOOK_AGAIN_SECONDS:
                self._counted, self._used = now, _size(self._folder)
            return self._used


def _size(folder: Path) -> int:
    """Bytes of all files below a folder, without files that vanish meanwhile or can't be read.

    A picture that is also in a batch's folder is one file with two names, and counts once.
    """
    total = 0
    seen: set[tuple[int, int]] = set()
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                found = os.lstat(os.path.join(place, name))
            except OSError:
                continue
            if found.st_nlink == 1 or (found.st_dev, found.st_ino) not in seen:
                total += found.st_size
            seen.add((found.st_dev, found.st_ino))
    return total
