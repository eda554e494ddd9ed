"""Converts the service's values to responses, in the caller's language."""

from __future__ import annotations

import base64
from collections.abc import Iterable

from zimage_app.domain.text import Language, Text
from zimage_app.rest.schema import Listed, Picture, Queue, QueuedTask, Task, TaskStatus
from zimage_app.service.jobs.state import JobState
from zimage_app.service.jobs.view import JobView, QueueView
from zimage_app.service.pictures.history import HistoryItem
from zimage_app.service.pictures.views import SavedPicture

_STATES: dict[str, Text] = {
    "waiting": Text("Waiting: {ahead} ahead in the queue", "排队中：前面还有 {ahead} 个任务"),
    "loading": Text("Loading the model", "正在加载模型"),
    "stopping": Text("Stopping", "正在停止"),
    "saving": Text("Saving", "正在保存"),
    "running": Text("Stage {stage}/{stages} · step {step}/{steps}", "第 {stage}/{stages} 阶段 · 第 {step}/{steps} 步"),
    "done": Text("Done in {seconds} s", "完成，用时 {seconds} 秒"),
    "cancelled": Text("Stopped", "已停止"),
    "failed": Text("Failed", "生成失败"),
}


def task_answer(view: JobView, language: Language) -> Task:
    """The response for the current state of a job."""
    return Task(
        task_id=view.id,
        status=task_status(view.state),
        state=view.state,
        progress=round(100.0 * view.progress, 1),
        current_step=sum(stage.step for stage in view.stages),
        total_steps=sum(stage.steps for stage in view.stages),
        message=_message(view, language),
        ahead=view.ahead,
        starts_in=view.starts_in,
        remaining=view.remaining,
        warnings=[text.to(language) for text in view.warnings],
        from_memory=[stage.number + 1 for stage in view.stages if stage.from_memory],
        error=view.error.to(language) if view.error else None,
        result=picture_answer(view.picture) if view.picture else None,
    )


def _message(view: JobView, language: Language) -> str:
    if view.error is not None:
        return view.error.to(language)
    if view.loading is not None:
        return view.loading.to(language)
    running = view.stages[view.current] if view.stages else None
    return (
        _STATES[view.state]
        .to(language)
        .format(
            ahead=view.ahead,
            stage=running.number + 1 if running else 0,
            stages=view.stages[-1].number + 1 if running else 0,
            step=running.step if running else 0,
            steps=running.steps if running else 0,
            seconds=f"{view.elapsed:.1f}",
        )
    )


def task_status(state: JobState) -> TaskStatus:
    """A job's state in the terms that clients of similar web APIs expect."""
    words: dict[JobState, TaskStatus] = {
        JobState.WAITING: "pending",
        JobState.DONE: "completed",
        JobState.FAILED: "failed",
        JobState.CANCELLED: "cancelled",
    }
    return words.get(state, "processing")


def picture_answer(saved: SavedPicture) -> Picture:
    """The response for a picture with its settings."""
    record = saved.record
    return Picture(
        id=record.id,
        filename=saved.path.name,
        prompt=record.request.prompt,
        width=record.width,
        height=record.height,
        num_inference_steps=record.steps,
        use_gpu=_on_gpu(record.surroundings.device),
        size_bytes=saved.size,
        created_at=record.created,
        generation_time_ms=round(1000 * record.seconds),
        download_url=download_path(record.id),
        model=record.model,
        seed=record.seeds[0],
        settings=record.request.model_dump(mode="json"),
    )


def item_answer(item: HistoryItem) -> Listed:
    """The response for an entry of the history."""
    return Listed(
        id=item.id,
        filename=item.path.name,
        prompt=item.prompt,
        width=item.width,
        height=item.height,
        num_inference_steps=item.steps,
        use_gpu=_on_gpu(item.device),
        size_bytes=item.size,
        created_at=item.created,
        generation_time_ms=round(1000 * item.seconds),
        download_url=download_path(item.id),
        model=item.model,
        seed=item.seed,
        favourite=item.favourite,
    )


def _on_gpu(device: str) -> bool:
    return device not in ("cpu", "")


def download_path(picture_id: str) -> str:
    """URL path of a picture's file."""
    return f"/api/download/{picture_id}"


def queue_answer(queue: QueueView, views: Iterable[JobView]) -> Queue:
    """The response for the queue, listing the jobs ``views``."""
    tasks = [
        QueuedTask(
            task_id=view.id,
            status=task_status(view.state),
            state=view.state,
            model=view.model,
            prompt=view.prompt,
            group=view.group,
            ahead=view.ahead,
            progress=round(100.0 * view.progress, 1),
        )
        for view in views
    ]
    return Queue(paused=queue.paused, running=queue.running, waiting=queue.waiting, tasks=tasks)


def data_uri(jpeg: bytes) -> str:
    """A JPEG as a data URI, so that the client needs no second request."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()
