"""How a setting is declared and checked: its title, help and slider, and the strict parsing of its model."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidationError,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from zimage_app.domain.errors import wrong_field
from zimage_app.domain.plain_json import MAX_KEYS, keys_in
from zimage_app.domain.similar_names import meant
from zimage_app.domain.text import Text
from zimage_app.domain.validation_errors import refusal, request_error

Model = TypeVar("Model", bound=BaseModel)

STRICT = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
"""Configuration of every model of settings: nothing is converted, and unknown fields are refused."""


@dataclass(frozen=True, slots=True)
class Form:
    """The form of a text: a regular expression for the schema, and a sentence for users, who can't read those."""

    pattern: str
    allowed: Text

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Check the text after its type."""
        return core_schema.no_info_after_validator_function(self._checked, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Add the pattern to the JSON schema that REST publishes."""
        return {**handler(schema), "pattern": self.pattern}

    def _checked(self, text: str) -> str:
        if re.fullmatch(self.pattern, text, re.ASCII) is None:
            raise refusal(self.allowed)
        return text


_DIGEST = "^[0-9a-f]{64}$"
Digest = Annotated[
    str, Form(_DIGEST, Text("must be a SHA-256: 64 characters, 0-9 and a-f", "必须是 SHA-256：64 个字符，0-9 和 a-f"))
]
"""The SHA-256 of a file."""
InputDigest = Annotated[
    str,
    Form(
        _DIGEST,
        Text(
            "must be the SHA-256 that POST /api/inputs answers for a picture: 64 characters, 0-9 and a-f",
            "必须是 POST /api/inputs 返回的图片 SHA-256：64 个字符，0-9 和 a-f",
        ),
    ),
]
"""The SHA-256 of a picture that was handed in."""
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


@dataclass(frozen=True, slots=True)
class Knob:
    """How a field is shown: title, help, and the step of its slider where it has one."""

    title: Text
    help: Text
    step: float | None = None
    slider_max: float | None = None
    """The slider's upper end, where the field allows more than a slider can show well."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Add title and help to the JSON schema that REST publishes."""
        return {**handler(schema), "title": self.title.en, "description": self.help.en}


FileDigest = Annotated[
    Digest | None,
    Knob(
        Text("SHA-256", "SHA-256"),
        Text(
            "Of the file that is meant; in a finished picture's settings always given.",
            "所指文件的校验值；已生成图片的参数中总会写明。",
        ),
    ),
]
"""SHA-256 of a file that is chosen by name, such as a LoRA."""


def one_of(names: Mapping[str, object]) -> AfterValidator:
    """Return a check that a value is one of ``names``."""

    def check(value: str) -> str:
        if value not in names:
            allowed, question = ", ".join(names), meant(value, names)
            raise refusal(Text(f"must be one of {allowed}{question.en}", f"可选值：{allowed}{question.zh}"))
        return value

    return AfterValidator(check)


def within(low: int, high: int, step: int) -> BeforeValidator:
    """Return a check that names all bounds of a whole number at once; the field declares them too, for its schema."""
    text = Text(f"must be a multiple of {step} from {low} to {high}", f"必须是 {low} 到 {high} 之间 {step} 的倍数")

    def check(value: object) -> object:
        if type(value) is int and (value % step or not low <= value <= high):
            raise refusal(text)
        return value

    return BeforeValidator(check)


def descending(model: Model, start: str, end: str) -> Model:
    """Refuse a range of noise levels whose start lies below its end."""
    first, last = getattr(model, start), getattr(model, end)
    if first < last:
        raise refusal(
            Text(
                f"{start} ({first:g}) must not be below {end} ({last:g})",
                f"{start}（{first:g}）不能小于 {end}（{last:g}）",
            )
        )
    return model


def knob_of(model: type[BaseModel], name: str) -> Knob:
    """The Knob declared for the field ``name`` of ``model``."""
    return next(item for item in model.model_fields[name].metadata if isinstance(item, Knob))


def parse_as(model: type[Model], data: Mapping[str, Any]) -> Model:
    """Parse plain data into any strict model; raises RequestError as ``parse_request`` does."""
    try:
        # Through JSON, because strict mode then accepts lists for tuples, but still converts nothing else.
        text = json.dumps(data)
        if keys_in(data) > MAX_KEYS:
            raise wrong_field(
                "request",
                f"has more than {MAX_KEYS} settings; remove the unknown ones",
                f"设置超过 {MAX_KEYS} 项；请删除其中不存在的设置",
            )
        return model.model_validate_json(text)
    except ValidationError as error:
        raise request_error(error, data) from error
    except (TypeError, ValueError, RecursionError) as error:
        reason = str(error)
        raise wrong_field("request", f"is not plain data ({reason})", f"不是普通数据（{reason}）") from error
