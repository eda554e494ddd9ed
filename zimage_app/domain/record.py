"""The record of a finished picture: everything needed to make it again, as versioned JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from zimage_app.domain.errors import StorageError
from zimage_app.domain.plain_json import MAX_KEYS, TooMuchJson, keys_in, read_json
from zimage_app.domain.prompt_tags import tag_of
from zimage_app.domain.request import GenerationRequest
from zimage_app.domain.settings.stage import MAX_SEED, MAX_STAGES
from zimage_app.domain.settings.start_picture import StartPicture
from zimage_app.domain.text import Text
from zimage_app.domain.version import SERVICE
from zimage_app.domain.wildcard_expansion import with_literal_template

SCHEMA_VERSION: Literal[1] = 1

_MAX_LENGTH = 2**20
"""Characters of a record's JSON; a record with all texts at their maximum length stays below."""
_SHOWN_FIELD = 60
_SHORT_HASH = 10
"""Digits of a file's SHA-256 by which Civitai finds it (its AutoV2)."""

_FROZEN = ConfigDict(frozen=True, extra="forbid")

# Records may come from other programs, so values that lists and the index rely on are bounded here.
_Word = Annotated[str, Field(max_length=400)]
_Count = Annotated[int, Field(ge=0, lt=2**31)]
_Side = Annotated[int, Field(gt=0, le=100_000)]
_Seconds = Annotated[float, Field(ge=0.0, le=1e9, allow_inf_nan=False)]


def _of_our_time(created: datetime) -> datetime:
    if not 1970 < created.year < 9000:
        raise ValueError("before or after any picture of ours")
    return created


def _settled(request: GenerationRequest) -> GenerationRequest:
    if request.stages is None or not isinstance(request.seed, int):
        raise ValueError("of a request that was run, stages and seed are known")
    if request.variation_strength and not isinstance(request.variation_seed, int):
        raise ValueError("of a request that was run, the variation's seed is known")
    return request


class StageRecord(BaseModel):
    """One stage of a finished run."""

    model_config = _FROZEN

    number: Annotated[int, Field(ge=0, lt=MAX_STAGES)]
    """Index of the stage in the request, from 0."""
    seed: Annotated[int, Field(ge=0, le=MAX_SEED)]
    seconds: _Seconds
    calls: _Count
    skipped_calls: _Count
    from_memory: bool = False
    """The stage was not run; the cached result of an earlier run was used, and the counts are that run's."""


class RunEnvironment(BaseModel):
    """The environment of a run: in another one, the same seed and settings may differ in the last digit."""

    model_config = _FROZEN

    app: _Word
    torch: _Word
    device: _Word
    dtype: _Word
    threads: _Count
    tiled: bool = False
    """Memory ran out, so the picture was decoded in tiles."""
    runner: _Word = ""
    """The runner that made it, such as ``local`` or ``comfyui 0.33.0``; empty in old pictures."""


class _Version(BaseModel):
    """The one field that every schema version of a record has."""

    model_config = ConfigDict(strict=True)

    schema_version: Annotated[int, Field(lt=10**6)]


class ImageRecord(BaseModel):
    """A picture's settings. ``request`` has fixed seeds: with the same model it gives the same picture again."""

    model_config = _FROZEN

    schema_version: Literal[1] = SCHEMA_VERSION
    id: _Word
    """Unique; also the stem of the file's name."""
    created: Annotated[AwareDatetime, AfterValidator(_of_our_time)]
    model: _Word
    request: Annotated[GenerationRequest, AfterValidator(_settled)]
    width: _Side
    height: _Side
    seconds: _Seconds
    stages: Annotated[tuple[StageRecord, ...], Field(min_length=1, max_length=MAX_STAGES)]
    surroundings: RunEnvironment

    @field_validator("stages")
    @classmethod
    def _are_of_the_request(cls, stages: tuple[StageRecord, ...], info: ValidationInfo) -> tuple[StageRecord, ...]:
        request = info.data.get("request")
        if request is not None and max(stage.number for stage in stages) >= len(request.stages):
            raise ValueError("a stage that the request does not have")
        return stages

    @property
    def steps(self) -> int:
        """Requested sampling steps, summed over the stages that ran."""
        asked = self.request.stages or ()
        return sum(asked[stage.number].steps for stage in self.stages)

    @property
    def seeds(self) -> tuple[int, ...]:
        """``seeds_that_acted`` in this picture."""
        return seeds_that_acted(self.request, [stage.number for stage in self.stages])

    def to_json(self) -> str:
        """The record as one line of JSON."""
        return self.model_dump_json()

    @classmethod
    def from_json(cls, text: str) -> ImageRecord:
        """Parse a record; raises StorageError for text that is not a record, or one of a newer version."""
        if _too_much(text):
            raise StorageError(
                Text("These settings are too long to be this app's.", "这些参数过长，不是本程序写入的。")
            )
        try:
            record = cls.model_validate_json(text)
        except ValidationError as error:
            version = _version_of(text)
            if version is not None and version > SCHEMA_VERSION:
                raise StorageError(
                    Text(
                        f"These settings were written by a newer version of this app (schema {version},"
                        f" this one reads up to {SCHEMA_VERSION}); update the app to read them.",
                        f"这些参数由更新版本的程序写入（格式 {version}，本程序最高 {SCHEMA_VERSION}）；请先更新程序。",
                    )
                ) from error
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            field = ".".join(str(part) for part in first["loc"])[:_SHOWN_FIELD] or "JSON"
            raise StorageError(
                Text(
                    f"These are not readable settings of this app: {field} is wrong or missing.",
                    f"这不是本程序能读取的参数：{field} 缺失或有误。",
                )
            ) from error
        # In records older than wildcard support, text that looks like a wildcard reached the model unchanged.
        return record.model_copy(update={"request": with_literal_template(record.request)})

    @property
    def parameters_text(self) -> str:
        """The A1111 ``parameters`` text, which many other tools read."""
        ran = [stage.number for stage in self.stages]
        return parameters_text(self.request, ran, (self.width, self.height), self.model, self.surroundings.app)


def seeds_that_acted(request: GenerationRequest, ran: Sequence[int]) -> tuple[int, ...]:
    """The seeds that acted in the stages that ran, each once: the request's where a stage follows it, and stages' own.

    Choices and wildcards are drawn with the request's seed too. The request has fixed seeds.
    """
    stages = request.stages or ()
    base = int(request.seed)
    acted = [base if (seed := stages[number].seed) == "follow" else int(seed) for number in ran]
    return tuple(dict.fromkeys([*acted, base] if request.template else acted))


def parameters_text(request: GenerationRequest, ran: Sequence[int], size: tuple[int, int], model: str, app: str) -> str:
    """The A1111 ``parameters`` text of a picture.

    Args:
        request: with fixed seeds.
        ran: the stages that ran, by their numbers from 0; the last one gave the picture.
        size: (width, height) of the picture.
        model: the model's name.
        app: this app's version.
    """
    stages = request.stages or ()
    last = stages[ran[-1]]
    facts = {
        "Steps": last.steps,
        "Sampler": last.sampler,
        "Schedule type": last.scheduler,
        "CFG scale": f"{last.cfg:g}",
        "Seed": seeds_that_acted(request, ran)[0],
        "Size": f"{size[0]}x{size[1]}",
        "Model": model,
        "Denoising strength": f"{last.denoise:g}",
        "Shift": f"{last.shift:g}",
        "Stages": " > ".join(f"{stages[number].width}x{stages[number].height}" for number in ran),
        "Version": f"{SERVICE} {app}",
    }
    if request.variation_strength:
        facts["Variation seed"] = request.variation_seed
        facts["Variation seed strength"] = f"{request.variation_strength:g}"
    if request.start is not None:
        facts |= _start_facts(request.start)
    if request.template is not None:
        facts["Template"] = json.dumps(request.template.prompt, ensure_ascii=False)
    on = [use for use in request.loras if use.strength]
    hashes = {f"lora:{use.name}": use.sha256[:_SHORT_HASH] for use in on if use.sha256}
    if hashes:
        facts["Hashes"] = json.dumps(hashes, ensure_ascii=False)
    # In quotes, as A1111 writes what has commas, so that other tools read past it.
    whole = request.model_dump_json(exclude_unset=True)
    facts["Studio"] = json.dumps(whole, ensure_ascii=False)
    lines = [request.full_prompt + "".join(f" {tag_of(use)}" for use in on)]
    if request.negative:
        lines.append(f"Negative prompt: {request.negative}")
    lines.append(", ".join(f"{key}: {value}" for key, value in facts.items()))
    return "\n".join(lines)


def _start_facts(start: StartPicture) -> dict[str, object]:
    facts: dict[str, object] = {"Start picture": f"{start.picture[:_SHORT_HASH]} (stage {start.stage})"}
    facts["Start picture resized by"] = "Lanczos" if start.upscaler is None else start.upscaler.name
    if start.upscaler is not None and start.upscaler.sha256:
        facts["Upscaler hash"] = start.upscaler.sha256[:_SHORT_HASH]
    if start.mask is not None:
        facts["Mask"] = start.mask[:_SHORT_HASH]
    if any(start.extend):
        facts["Extended by"] = "/".join(map(str, start.extend))
    if start.keeps:
        facts["Kept part"] = "pasted" if start.paste else "decoded"
        facts["Mask blur"] = start.feather
    return facts


def _too_much(text: str) -> bool:
    """Whether a text is too large to be validated."""
    if len(text) > _MAX_LENGTH:
        return True
    try:
        return keys_in(read_json(text)) > MAX_KEYS
    except TooMuchJson:
        return True
    except (ValueError, RecursionError):
        return False


def _version_of(text: str) -> int | None:
    try:
        return _Version.model_validate_json(text).schema_version
    except ValidationError:
        return None


def new_id(now: datetime, nonce: str) -> str:
    """A picture's id: time to the second, then ``nonce``, so that names sort by time and never collide."""
    return f"{now:%Y%m%d-%H%M%S}-{nonce}"
