"""Runs jobs on a ComfyUI server: builds and submits the workflow, follows its progress and fetches the picture."""

from __future__ import annotations

import io
import json
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

import numpy as np
from PIL import Image

from zimage_app.domain.errors import GenerationError, StudioError
from zimage_app.domain.events import Picture, Warned
from zimage_app.domain.plan import GenerationPlan, StagePlan
from zimage_app.domain.record import ImageRecord, RunEnvironment, StageRecord, new_id
from zimage_app.domain.text import Text
from zimage_app.domain.version import __version__
from zimage_app.service.exports.comfy.names import file_names, lora_notes
from zimage_app.service.exports.comfy.workflow import Nodes, build, difference_notes
from zimage_app.service.jobs.runners.comfyui.listener import Listener, Timeouts
from zimage_app.service.jobs.runners.comfyui.object_info import adapted
from zimage_app.service.jobs.runners.comfyui.server import ComfyServer, Outcome, UnexpectedResponse
from zimage_app.service.jobs.runners.comfyui.steps import SAMPLERS, EventConverter, ServerRun
from zimage_app.service.jobs.runners.remote import RemoteDependencies, RemoteRunner, Unreachable
from zimage_app.service.jobs.runners.runner import Assignment, Reports
from zimage_app.service.pictures.decoding import DecodeOptions, UnreadablePicture, decode
from zimage_app.service.pictures.picture_files import opened_picture

_CACHE_BUSTER = "run"
"""Name of an input that no sampler node declares, see ``_bust_cache``."""
_IDENTIFYING = ("seed", "noise_seed", "text", "value")
"""Inputs that identify a workflow."""


class ComfyRunner(RemoteRunner):
    """A runner that uses one ComfyUI server."""

    KIND = "comfyui"

    def __init__(self, dependencies: RemoteDependencies, address: str, timeouts: Timeouts | None = None) -> None:
        self._timeouts = timeouts or Timeouts()
        self._server = ComfyServer(address)
        self._object_info: Mapping[str, Any] | None = None
        super().__init__(dependencies, self._server.address, self._timeouts.retry_interval)

    def close(self, seconds: float) -> None:
        """See ``Runner.close``."""
        super().close(seconds)
        self._server.close()

    def _run(self, assignment: Assignment, reports: Reports) -> None:
        job = assignment.job.id
        try:
            plan, warnings = self._dependencies.resolved_plan(assignment)
            nodes = self._prepared(assignment, plan)
            with Listener(self._server, self._timeouts) as listener:
                prompt = self._server.submit(nodes, listener.client)
                self._sent = True
                place = self._where
                waiting = Text(f"Waiting in the queue of the ComfyUI at {place}", f"正在 {place} 的 ComfyUI 队列中等待")
                reports.loading(job, waiting)
                different = lora_notes(self._dependencies.loras, plan.request)
                run = ServerRun(plan, nodes, (*warnings, *_notes(plan), *different))
                outcome = self._followed(prompt, run, listener, assignment, reports)
            self._end(outcome, run, assignment, reports)
        except (StudioError, Unreachable) as error:
            self._object_info = None  # the server's files and nodes may have changed
            # A server that works, and rejects only this job's request, would reject it at the next try too.
            if isinstance(error, UnexpectedResponse) and not self._sent and self._is_alive():
                raise GenerationError(_failed(self._where, str(error))) from error
            raise

    def _is_alive(self) -> bool:
        return self._server.alive()

    def _unreachable_text(self, reason: str) -> Text:
        return _unreachable(self._where, reason)

    # Before the run.

    def _prepared(self, assignment: Assignment, plan: GenerationPlan) -> Nodes:
        """Build the workflow with the server's file names, and upload the start picture.

        Raises StudioError or Unreachable.
        """
        source = self._dependencies.source(assignment.job.model)
        names = file_names(source, self._dependencies.loras, plan.request)
        nodes = build(plan, names).nodes
        last = list(nodes)[-1]
        nodes[last] = {"class_type": "PreviewImage", "inputs": {"images": nodes[last]["inputs"]["images"]}}
        nodes = self._adapted(nodes)
        if any(stage.settings.easycache for stage in plan.stages):
            _bust_cache(nodes)
        if plan.request.start is not None:
            first = plan.stages[0].settings
            start = self._dependencies.inputs.start_image(plan.request.start, (first.width, first.height))
            assert start.picture is not None
            given = self._server.upload(names.picture, _png(start.picture))
            loader = next(node for node in nodes.values() if node["class_type"] == "LoadImage")
            loader["inputs"]["image"] = given
        self._model = assignment.job.model
        return nodes

    def _adapted(self, nodes: Nodes) -> Nodes:
        """Adapt a workflow to the server's cached ``/object_info``; requests that again if something is missing."""
        if self._object_info is not None:
            with suppress(GenerationError):
                return adapted(nodes, self._object_info, self._where)
        self._object_info = self._server.object_info()
        return adapted(nodes, self._object_info, self._where)

    # The run.

    def _followed(
        self, prompt: str, run: ServerRun, listener: Listener, assignment: Assignment, reports: Reports
    ) -> Outcome:
        """Report the job's progress until it ends; return its outcome."""
        steps, started, heard = EventConverter(run), False, False
        for message in listener.messages():
            kind, data = message if isinstance(message, tuple) else ("", {})
            state: Outcome | str | None = None
            if message is None or kind.startswith("execution_"):
                if assignment.token():
                    listener.asked(lambda: self._server.cancel(prompt))
                if kind or assignment.token() or not heard:  # otherwise this job's messages are still arriving
                    state = listener.asked(lambda: self._state(prompt))
            heard = message is not None and (heard or data.get("prompt_id") == prompt)
            outcome = state if isinstance(state, Outcome) else None
            runs = data.get("prompt_id") == prompt or state == "running" or (outcome is not None and outcome.images)
            if runs and not started:
                started = True
                self._report_start(assignment.job.id, run, reports)
            if outcome is not None:
                return outcome
            if isinstance(message, bytes):
                steps.preview = message
            elif started and data.get("prompt_id", prompt) == prompt:
                for event in steps.events(kind, data):
                    reports.progressed(assignment.job.id, event, run.plan)
        raise AssertionError("messages end with an exception only")

    def _state(self, prompt: str) -> Outcome | str:
        """Return the outcome of a job that has ended, or the place of one that has not: ``running`` or ``pending``."""
        outcome = self._server.outcome(prompt)
        if outcome is None and (place := self._server.place(prompt)):
            return place
        # It may have ended between the two requests.
        return outcome or self._server.outcome(prompt) or Outcome(lost=True)

    def _report_start(self, job: str, run: ServerRun, reports: Reports) -> None:
        run.begun = time.monotonic()
        reports.started(job, run.plan)
        if run.warnings:
            reports.progressed(job, Warned(run.warnings), run.plan)

    # After the run.

    def _end(self, outcome: Outcome, run: ServerRun, assignment: Assignment, reports: Reports) -> None:
        job = assignment.job
        if (outcome.interrupted or outcome.lost) and assignment.token():
            reports.stopped(job.id)
            return
        if outcome.lost:
            raise Unreachable("it no longer knows the job")
        if outcome.interrupted:
            place = self._where
            raise GenerationError(
                Text(f"Stopped by somebody at the ComfyUI at {place}.", f"任务在 {place} 的 ComfyUI 上被人停止。")
            )
        if outcome.fault:
            raise GenerationError(_failed(self._where, outcome.fault))
        picture = self._picture(outcome, run)
        record = self._record(run, job.model)
        reports.finished(job.id, record, picture)

    def _picture(self, outcome: Outcome, run: ServerRun) -> Picture:
        """Fetch and decode the picture; raises GenerationError if it isn't the requested one."""
        last = run.plan.stages[-1].settings
        size = (last.width, last.height)
        data = self._server.fetch(outcome.images[-1])
        try:
            decoded = decode(data, DecodeOptions(size, "stretch", as_jpeg=False))
        except UnreadablePicture as error:
            raise GenerationError(_another(self._where, str(error))) from error
        if (decoded.width, decoded.height) != size:
            raise GenerationError(_another(self._where, f"{decoded.width} x {decoded.height}"))
        written = _written_in(data)
        if written is not None and written != _identifying_values(run.nodes):
            raise GenerationError(_another(self._where, "of another workflow"))
        return np.frombuffer(decoded.data, np.uint8).reshape(last.height, last.width, 3)

    def _record(self, run: ServerRun, model: str) -> ImageRecord:
        now, last = datetime.now().astimezone(), run.plan.stages[-1].settings
        version, torch, device = self._server.versions()
        return ImageRecord(
            id=new_id(now, secrets.token_hex(4)),
            created=now,
            model=model,
            request=run.plan.request,
            width=last.width,
            height=last.height,
            seconds=round(time.monotonic() - run.begun, 3),
            stages=tuple(_stage_record(stage, run.seconds.get(stage.number, 0.0)) for stage in run.plan.stages),
            surroundings=RunEnvironment(
                app=__version__,
                torch=torch,
                device=device,
                dtype="",
                threads=0,
                runner=f"{self.KIND} {version}".strip(),
            ),
        )


def _stage_record(stage: StagePlan, seconds: float) -> StageRecord:
    return StageRecord(number=stage.number, seed=stage.seed, seconds=seconds, calls=stage.evaluations, skipped_calls=0)


def _png(picture: Picture) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


def _written_in(data: bytes) -> object:
    """Return ``_identifying_values`` of the workflow in a PNG's metadata; None if there is none."""
    broken = (UnreadablePicture, ValueError, OSError, AttributeError)
    with suppress(*broken), opened_picture(io.BytesIO(data), ("PNG",)) as picture:
        text = getattr(picture, "text", {}).get("prompt")
        return None if text is None else _identifying_values(json.loads(text))
    return None


def _identifying_values(nodes: Mapping[str, Any]) -> list[str]:
    """Return a workflow's sorted seeds and texts; other inputs may differ, since newer servers replace some nodes."""
    inputs = (entry for node in nodes.values() for entry in node.get("inputs", {}).items())
    return sorted(repr(value) for name, value in inputs if name in _IDENTIFYING and not isinstance(value, list))


def _bust_cache(nodes: Nodes) -> None:
    """Make the server run all samplers: if it had the first one's latent cached, EasyCache would skip other steps.

    An undeclared input with a random value has no effect but that the server finds no cached result for the node.
    """
    sampler = next(node for node in nodes.values() if node["class_type"] in SAMPLERS)
    sampler["inputs"][_CACHE_BUSTER] = secrets.token_hex(8)


def _notes(plan: GenerationPlan) -> Iterator[Text]:
    yield from difference_notes(plan)
    if plan.request.keep_stages:
        yield Text(
            "Pictures of single stages are not kept: ComfyUI does not give them.",
            "ComfyUI 不提供各阶段的图片，因此不会保留。",
        )


def _failed(address: str, reason: str) -> Text:
    return Text(f"The ComfyUI at {address} failed: {reason}", f"{address} 的 ComfyUI 出错：{reason}")


def _another(address: str, what: str) -> Text:
    return Text(
        f"The ComfyUI at {address} answered with another picture than was asked for ({what}); it is not taken.",
        f"{address} 的 ComfyUI 返回的不是所要的图片（{what}），未采用。",
    )


def _unreachable(address: str, reason: str) -> Text:
    return Text(f"The ComfyUI at {address} does not answer ({reason}).", f"{address} 的 ComfyUI 没有响应（{reason}）。")
