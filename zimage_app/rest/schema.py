"""Request bodies and responses as OpenAPI shows them. ``answers.py`` fills the responses."""

from __future__ import annotations

import threading
from functools import cached_property
from typing import Annotated, Any, Literal

from fastapi import Body
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, PlainValidator

from zimage_app.domain.card import ModelCard
from zimage_app.domain.errors import RequestError
from zimage_app.domain.request import GenerationRequest
from zimage_app.domain.settings.knob import InputDigest, parse_as
from zimage_app.domain.settings.stage import Seed
from zimage_app.domain.text import Text
from zimage_app.domain.upscaling import Upscaling
from zimage_app.rest.contract import MAX_NAME, GenerateInput, request_from_body
from zimage_app.service.jobs.state import JobState


class GenerateBody(GenerationRequest, GenerateInput):
    """The settings of a picture, with model, device and number of pictures."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"prompt": "夕阳下平静的湖面上一艘红色小船", "width": 672, "height": 864, "seed": 42}]
        }
    )

    # In REST, null and -1 mean random, too.
    seed: Annotated[Literal["random", -1] | Seed | None, *GenerationRequest.model_fields["seed"].metadata] = "random"  # type: ignore[assignment]


VALIDATION_SLOTS = threading.Semaphore(2)
"""Concurrent validations: each holds the GIL for up to 60 ms, during which no other request is served."""


class RawBody:
    """An unvalidated body; the endpoint validates it in its own thread."""

    def __init__(self, data: object) -> None:
        self._data = data

    @cached_property
    def asked(self) -> GenerateInput:
        """The fields besides the request's own settings; raises RequestError."""
        return parse_as(
            GenerateInput, {name: self._settings[name] for name in GenerateInput.model_fields if name in self._settings}
        )

    def request(self, card: ModelCard) -> tuple[GenerationRequest, tuple[Text, ...]]:
        """The request for a model, and notes for its sender.

        It uses the request's own validation, so that errors read as on the page; raises RequestError.
        """
        settings = {name: value for name, value in self._settings.items() if name not in GenerateInput.model_fields}
        with VALIDATION_SLOTS:
            return request_from_body(settings, self.asked, card)

    @cached_property
    def _settings(self) -> dict[str, Any]:
        if isinstance(self._data, bytes):  # sent without the JSON content type, as curl does by default
            raise RequestError(
                "request",
                Text("must be sent with content-type: application/json", "必须以 content-type: application/json 发送"),
            )
        if not isinstance(self._data, dict):
            raise RequestError("request", Text("must be a group of settings", "必须是一组设置"))
        return {name: _whole(value) for name, value in self._data.items()}


def _whole(value: Any) -> Any:
    """Plain data with floats such as ``4092.0`` as integers; JSON schema treats both as whole numbers."""
    if isinstance(value, dict):
        return {name: _whole(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_whole(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**64 else value


class UpscaleBody(Upscaling):
    """A picture, and how to enlarge it."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"image": "20260131-120000-0a1b2c3d", "factor": 2.0}]})

    image: Annotated[
        str | None, Field(min_length=1, max_length=64, description="The id of a picture of the history.")
    ] = None
    picture: Annotated[
        InputDigest | None, Field(description="Instead: the SHA-256 of a picture that was handed in; needs a prompt.")
    ] = None
    model: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=MAX_NAME,
            description="A name of GET /api/models. Left out: the picture's own, else the page's.",
        ),
    ] = None


class RawUpscaling(RawBody):
    """An unvalidated body of POST /api/upscale."""

    @cached_property
    def upscaling(self) -> UpscaleBody:
        """The validated body; raises RequestError."""
        body = parse_as(UpscaleBody, self._settings)
        if (body.image is None) == (body.picture is None):
            raise RequestError(
                "image", Text("name one picture, by image or by picture", "请用 image 或 picture 之一指定图片")
            )
        return body


UpscaleRequest = Annotated[RawUpscaling, PlainValidator(RawUpscaling, json_schema_input_type=UpscaleBody), Body()]
GenerateRequest = Annotated[RawBody, PlainValidator(RawBody, json_schema_input_type=GenerateBody), Body()]


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, json_schema_serialization_defaults_required=True)


class Problem(_Answer):
    """An error, in one sentence."""

    detail: Annotated[str, Field(description="In Chinese or English, by Accept-Language.")]
    field: Annotated[str | None, Field(description="The setting at fault, as in stages.1.denoise.")] = None


class Accepted(_Answer):
    """A request that was queued."""

    task_id: Annotated[str, Field(description="With several pictures, the first one's task.")]
    task_ids: list[str]
    group: Annotated[str, Field(description="To be given to DELETE /api/queue/groups/GROUP; empty for one alone.")]
    notes: Annotated[list[str], Field(description="Notes about values that were chosen for the caller.")]


class Input(_Answer):
    """An uploaded picture."""

    picture: Annotated[str, Field(description="SHA-256 of its file, for start.picture or start.mask of a request.")]
    width: int
    height: int


class Image(_Answer):
    """A picture."""

    id: str
    filename: str
    prompt: str
    width: int
    height: int
    num_inference_steps: Annotated[int, Field(description="Of all stages together.")]
    use_gpu: Annotated[bool, Field(description="It was computed on an accelerator.")]
    size_bytes: int
    created_at: AwareDatetime
    generation_time_ms: int
    download_url: Annotated[str, Field(description="Where the PNG is, with its settings inside.")]
    model: str
    seed: int


class Picture(Image):
    """A picture with all its settings."""

    settings: Annotated[
        dict[str, Any],
        Field(description="Everything settled; given to POST /api/generate with the same model it is made again."),
    ]


class Listed(Image):
    """A picture in the history."""

    favourite: bool


class Pictures(_Answer):
    """One page of pictures, newest first."""

    images: Annotated[list[Listed], Field(description="None on a page behind the last one.")]
    total: Annotated[int, Field(description="Pictures on all pages.")]
    page: Annotated[int, Field(description="From 1.")]
    page_size: int
    pages: int


TaskStatus = Literal["pending", "processing", "completed", "failed", "cancelled"]


class Task(_Answer):
    """The state of a queued request."""

    task_id: str
    status: TaskStatus
    state: Annotated[JobState, Field(description="The same more exactly.")]
    progress: Annotated[float, Field(ge=0, le=100, description="Percent.")]
    current_step: Annotated[int, Field(description="Steps done, of all stages together.")]
    total_steps: int
    message: Annotated[str, Field(description="The same in words.")]
    ahead: Annotated[int, Field(description="Requests that run before this one.")]
    starts_in: Annotated[float | None, Field(description="Estimated seconds until it begins; null where unknown.")]
    remaining: Annotated[float | None, Field(description="Estimated seconds to its end; null while that isn't known.")]
    warnings: list[str]
    from_memory: Annotated[
        list[int], Field(description="Stages, from 1, that were not run: what they gave before was still known.")
    ]
    error: str | None = None
    result: Picture | None = None


class QueuedTask(_Answer):
    """A waiting or running task."""

    task_id: str
    status: TaskStatus
    state: JobState
    model: str
    prompt: str
    group: Annotated[str, Field(description="As it was given; empty for a task that stands alone.")]
    ahead: Annotated[int, Field(description="Tasks that run before this one.")]
    progress: Annotated[float, Field(ge=0, le=100, description="Percent.")]


class Queue(_Answer):
    """Running and waiting tasks."""

    paused: Annotated[bool, Field(description="No waiting task begins until the queue is resumed.")]
    running: Annotated[int, Field(description="Tasks of everybody that run.")]
    waiting: Annotated[int, Field(description="Tasks of everybody that wait.")]
    tasks: Annotated[list[QueuedTask], Field(description="The caller's, in the order in which they run.")]


class Cancelled(_Answer):
    """How many tasks were cancelled."""

    cancelled: int


class Progress(Task):
    """A task in an event of the event stream."""

    preview: Annotated[
        str | None, Field(description="The running stage's newest picture, a JPEG as data URI; null where not new.")
    ] = None


class Model(_Answer):
    """A model that is installed or can be downloaded."""

    name: str
    title: str
    description: str
    state: Literal["ready", "fetch", "broken"]
    reason: str | None = None
    loaded: bool


class Models(_Answer):
    """The models, and the default one."""

    default: str
    models: list[Model]


class Lora(_Answer):
    """A LoRA that requests can name."""

    name: str
    title: str
    triggers: list[str]
    strength: Annotated[float | None, Field(description="Suggested by whoever made it.")]
    base: str
    problem: Annotated[str | None, Field(description="Why it can't be used; null where it can.")]


class Preset(_Answer):
    """A preset: named settings."""

    name: str
    title: str
    description: str
    mine: bool
    settings: dict[str, Any]
    problem: Annotated[str | None, Field(description="Why it can't be used; null where it can.")]


class Cpu(_Answer):
    """The processors; unknown values are null."""

    usage_percent: float | None
    cores: int
    frequency_mhz: float | None


class Memory(_Answer):
    """The computer's memory."""

    total_gb: float
    used_gb: float
    available_gb: float
    usage_percent: float


class Gpu(_Answer):
    """The first accelerator; unknown values are null."""

    available: bool
    name: str
    memory_total_gb: float | None
    memory_used_gb: float | None
    usage_percent: float | None
    temperature: Annotated[int | None, Field(description="Degrees Celsius.")]


class Disk(_Answer):
    """The disk that pictures are saved on."""

    path: str
    total_gb: float
    used_gb: float
    free_gb: float
    usage_percent: float


class RunnerState(_Answer):
    """Who makes pictures, and what it does."""

    kind: Annotated[str, Field(description="local, comfyui …")]
    where: Annotated[str, Field(description="Its device or address.")]
    model: Annotated[str | None, Field(description="The model that it has loaded, where that is known.")]
    state: Literal["free", "busy", "away"]
    task_id: str | None
    problem: Annotated[str | None, Field(description="Why it takes no tasks now.")]


class Status(_Answer):
    """Load of app and machine. Unknown values are null; on a shared app, all values of the machine are."""

    cpu: Cpu | None
    memory: Memory | None
    gpu: Annotated[Gpu | None, Field(description="Null where there is none, too.")]
    disk: Disk | None
    timestamp: AwareDatetime
    version: Annotated[str | None, Field(description="Null where strangers can reach the app.")]
    running: int
    waiting: int
    loaded: Annotated[str | None, Field(description="The model in memory.")]
    runners: Annotated[list[RunnerState] | None, Field(description="Null where strangers can reach the app.")]
