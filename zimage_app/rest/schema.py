"""What goes over the wire, as OpenAPI shows it. Answers are made from the service's values; nothing is decided here."""

from __future__ import annotations

import threading
from functools import cached_property
from typing import Annotated, Any, Literal

from fastapi import Body
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, PlainValidator

from zimage_app.domain.errors import RequestError
from zimage_app.domain.request import GenerationRequest, parse_request
from zimage_app.domain.text import Text
from zimage_app.service.jobs.state import JobState

LONGEST_NAME = 400
MAX_GROUP = 64
"""Characters."""


class GenerateBody(GenerationRequest):
    """A request, and the model that is to answer it."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"prompt": "夕阳下平静的湖面上一艘红色小船", "seed": 42}]}
    )

    model: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=LONGEST_NAME,
            description="A name of GET /api/models. Left out: the model that the page starts with.",
        ),
    ] = None
    group: Annotated[
        str, Field(max_length=MAX_GROUP, description="The same for tasks that belong together, to be cancelled as one.")
    ] = ""


_CHECKS = threading.Semaphore(2)
"""Checks at a time: each holds the interpreter for up to 60 ms, in which no page is answered."""


class Asked:
    """A body; the endpoint has it checked, in a thread of its own."""

    def __init__(self, data: object) -> None:
        self._data = data

    @cached_property
    def request(self) -> GenerationRequest:
        """The request's own check, so that a refusal reads as on the page; raises RequestError."""
        settings = {name: value for name, value in self._settings.items() if name not in ("model", "group")}
        with _CHECKS:
            return parse_request(settings)

    @cached_property
    def model(self) -> str | None:
        """The model that was named; raises RequestError."""
        model = self._settings.get("model")
        if model is not None and not (isinstance(model, str) and 0 < len(model) <= LONGEST_NAME):
            raise RequestError("model", Text("must be a name of GET /api/models", "必须是 GET /api/models 中的名称"))
        return model

    @cached_property
    def group(self) -> str:
        """The group that was given; raises RequestError."""
        group = self._settings.get("group", "")
        if not (isinstance(group, str) and len(group) <= MAX_GROUP):
            text = Text(f"must be a text of at most {MAX_GROUP} characters", f"必须是不超过 {MAX_GROUP} 个字符的文本")
            raise RequestError("group", text)
        return group

    @cached_property
    def _settings(self) -> dict[str, Any]:
        if isinstance(self._data, bytes):  # as curl sends what it isn't told the kind of
            raise RequestError(
                "request",
                Text("must be sent with content-type: application/json", "必须以 content-type: application/json 发送"),
            )
        if not isinstance(self._data, dict):
            raise RequestError("request", Text("must be a group of settings", "必须是一组设置"))
        return {name: _whole(value) for name, value in self._data.items()}


def _whole(value: Any) -> Any:
    """Plain data in which ``4092.0`` is 4092: to JSON's schemas both are whole numbers."""
    if isinstance(value, dict):
        return {name: _whole(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_whole(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**64 else value


GenerateRequest = Annotated[Asked, PlainValidator(Asked, json_schema_input_type=GenerateBody), Body()]


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, json_schema_serialization_defaults_required=True)


class Problem(_Answer):
    """What was wrong, in one sentence."""

    detail: Annotated[str, Field(description="In Chinese or English, by Accept-Language.")]
    field: Annotated[str | None, Field(description="The setting at fault, as in stages.1.denoise.")] = None


class Accepted(_Answer):
    """A request that waits for its turn."""

    task_id: str


class Input(_Answer):
    """A picture that was handed in."""

    picture: Annotated[str, Field(description="SHA-256 of its file, for start.picture or start.mask of a request.")]
    width: int
    height: int


class Image(_Answer):
    """A picture in a list."""

    id: str
    created: AwareDatetime
    model: str
    prompt: str
    seed: int
    width: int
    height: int
    seconds: Annotated[float, Field(description="How long it took to make.")]
    download: Annotated[str, Field(description="Where the PNG is, with its settings inside.")]


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

    items: list[Listed]
    total: Annotated[int, Field(description="Pictures on all pages.")]
    page: Annotated[int, Field(description="From 1; the last one where a later one was asked for.")]
    pages: int


class Task(_Answer):
    """A request on its way to a picture."""

    task_id: str
    status: JobState
    progress: Annotated[float, Field(ge=0, le=100, description="Percent.")]
    current_step: Annotated[int, Field(description="Steps done, of all stages together.")]
    total_steps: int
    message: Annotated[str, Field(description="The same in words.")]
    ahead: Annotated[int, Field(description="Requests that run before this one.")]
    starts_in: Annotated[float | None, Field(description="Estimated seconds until it begins; null where unknown.")]
    remaining: Annotated[float | None, Field(description="Estimated seconds to its end; null while that isn't known.")]
    warnings: list[str]
    error: str | None = None
    result: Picture | None = None


class QueuedTask(_Answer):
    """A task that is not over."""

    task_id: str
    status: JobState
    model: str
    prompt: str
    group: Annotated[str, Field(description="As it was given; empty for a task that stands alone.")]
    ahead: Annotated[int, Field(description="Tasks that run before this one.")]
    progress: Annotated[float, Field(ge=0, le=100, description="Percent.")]


class Queue(_Answer):
    """What runs and waits."""

    paused: Annotated[bool, Field(description="No waiting task begins until the queue is resumed.")]
    running: Annotated[int, Field(description="Tasks of everybody that run.")]
    waiting: Annotated[int, Field(description="Tasks of everybody that wait.")]
    tasks: Annotated[list[QueuedTask], Field(description="The caller's, in the order in which they run.")]


class Cancelled(_Answer):
    """How many tasks were cancelled."""

    cancelled: int


class Progress(Task):
    """A task as the event stream tells of it."""

    preview: Annotated[
        str | None, Field(description="The running stage's newest picture, a JPEG as data URI; null where not new.")
    ] = None


class Model(_Answer):
    """A model that there is or could be."""

    name: str
    title: str
    description: str
    state: Literal["ready", "fetch", "broken"]
    reason: str | None = None
    loaded: bool


class Models(_Answer):
    """The models, and the one that is taken where none is named."""

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
    """Settings under a name."""

    name: str
    title: str
    description: str
    mine: bool
    settings: dict[str, Any]
    problem: Annotated[str | None, Field(description="Why it can't be used; null where it can.")]


class Amount(_Answer):
    """Bytes of something that is limited."""

    used: int
    total: int


class Gpu(_Answer):
    """One accelerator; what it doesn't tell is null."""

    name: str
    load: Annotated[float | None, Field(description="0…1")]
    memory: Amount | None
    temperature: Annotated[int | None, Field(description="Degrees Celsius.")]


class Machine(_Answer):
    """How the machine is; what isn't known is null."""

    processors: float
    processor_load: Annotated[float | None, Field(description="0…1")]
    memory: Amount | None
    disk: Annotated[Amount | None, Field(description="Where pictures are saved.")]
    gpus: list[Gpu]


class Status(_Answer):
    """How busy the app is."""

    version: Annotated[str | None, Field(description="Null where strangers can reach the app.")]
    running: int
    waiting: int
    loaded: Annotated[str | None, Field(description="The model in memory.")]
    machine: Annotated[Machine | None, Field(description="Null where strangers can reach the app.")]
