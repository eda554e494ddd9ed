"""Turns pydantic's validation errors into sentences for users: field, value and what is allowed."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from pydantic import ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from zimage_app.domain.errors import RequestError
from zimage_app.domain.similar_names import meant
from zimage_app.domain.text import Text

_SAID = "said"
_MAX_VALUE = 60

_RULES: dict[str, Text] = {
    "greater_than_equal": Text("must be at least {ge}", "不能小于 {ge}"),
    "less_than_equal": Text("must be at most {le}", "不能大于 {le}"),
    "greater_than": Text("must be above {gt}", "必须大于 {gt}"),
    "string_too_long": Text("may have at most {max_length} characters", "最多 {max_length} 个字符"),
    "string_too_short": Text("must not be empty", "不能为空"),
    "too_short": Text("must have at least {min_length} entry", "至少要有 {min_length} 项"),
    "too_long": Text("may have at most {max_length} entries", "最多 {max_length} 项"),
    "extra_forbidden": Text("there is no such setting", "没有这个设置"),
    "missing": Text("is missing", "缺少这一项"),
    "finite_number": Text("must be a finite number", "必须是有限的数"),
    "int_type": Text("must be a whole number", "必须是整数"),
    "int_from_float": Text("must be a whole number", "必须是整数"),
    "float_type": Text("must be a number", "必须是数字"),
    "string_type": Text("must be text", "必须是文字"),
    "bool_type": Text("must be true or false", "必须是 true 或 false"),
    "bool_parsing": Text("must be true or false", "必须是 true 或 false"),
    "int_parsing": Text("must be a whole number", "必须是整数"),
    "int_parsing_size": Text("must be a whole number of at most 18 digits", "必须是不超过 18 位的整数"),
    "date_from_datetime_parsing": Text("must be a day as in 2026-01-31", "必须是日期，如 2026-01-31"),
    "date_from_datetime_inexact": Text("must be a day as in 2026-01-31", "必须是日期，如 2026-01-31"),
    "tuple_type": Text("must be a list", "必须是列表"),
    "model_type": Text("must be a group of settings", "必须是一组设置"),
    "literal_error": Text("must be {expected}", "必须是 {expected}"),
    _SAID: Text("{en}", "{zh}"),
}


_MEANINGS = {"random": "随机", "follow": "跟随", "auto": "自动"}

_UNREADABLE = Text(
    "contains an incomplete Unicode character or is nested too deeply, and cannot be read; type it again",
    "含有残缺字符或嵌套过深，无法读取；请重新输入",
)


def refusal(text: Text) -> PydanticCustomError:
    """The error for the app's own validators to raise, with the reason in both languages."""
    return PydanticCustomError(_SAID, "{en}", {"en": text.en, "zh": text.zh})


def request_error(error: ValidationError, data: object = None) -> RequestError:
    """A RequestError for the first invalid field of ``data``, as one sentence."""
    details = error.errors(include_url=False)
    if details[0]["type"] == "json_invalid":  # a lone surrogate, or lists nested too deeply: pydantic names no field
        return RequestError(".".join(_broken_text(data, ())) or "request", _UNREADABLE)
    return finding_error(details)


def finding_error(details: Sequence[ErrorDetails]) -> RequestError:
    """A RequestError for the first of pydantic's errors, as one sentence."""
    first = details[0]
    path = _path(first)
    # A field of a union type has one error per alternative.
    alternatives = [item for item in details if _path(item) == path and len(item["loc"]) > len(path)] or [first]
    field = ".".join(path) or "request"
    place = _place(path)
    shown = _value(first)
    rules, question = _rules(alternatives), _meant(first)
    if first["input"] is None and first["type"] != "missing":
        rules = Text(f"is empty, but {rules.en}", f"为空，{rules.zh}")
    before = f"{shown}{place.zh}"
    colon = "，" if shown else "：" if before else ""
    english = " ".join(filter(None, (shown, place.en, rules.en)))
    return RequestError(field, Text(f"{english}{question.en}", f"{before}{colon}{rules.zh}{question.zh}"))


def _broken_text(data: object, path: tuple[str, ...]) -> tuple[str, ...]:
    """The path of the first string in plain data with a lone surrogate; empty where there is none."""
    if isinstance(data, str):
        return path if any("\ud800" <= letter <= "\udfff" for letter in data) else ()
    named = data.items() if isinstance(data, Mapping) else enumerate(data) if isinstance(data, list | tuple) else ()
    found = (_broken_text(value, (*path, str(name))) for name, value in named)
    return next((place for place in found if place), ())


def _path(detail: ErrorDetails) -> list[str]:
    """The field's path, without the names of union alternatives that pydantic adds."""
    path = [str(part) for part in detail["loc"] if isinstance(part, int) or part.isidentifier()]
    unknown = str(detail["loc"][-1]) if detail["type"] == "extra_forbidden" else ""
    # An unknown name comes from the caller and may hold any characters, so it is quoted.
    return [*path, _shortened(json.dumps(unknown, ensure_ascii=False))] if unknown not in ("", *path[-1:]) else path


def _place(path: Sequence[str]) -> Text:
    if path[:1] != ["stages"] or len(path) < 2:
        return Text("", "")
    number = int(path[1]) + 1
    return Text(f"(stage {number})", f"（第 {number} 阶段）")


def _rules(details: Sequence[ErrorDetails]) -> Text:
    rules = [(_RULES.get(item["type"], Text(item["msg"], item["msg"])), item.get("ctx", {})) for item in details]
    filled = [(rule, {key: _number(value) for key, value in context.items()}) for rule, context in rules]
    return Text(
        en=" or ".join(rule.en.format(**context) for rule, context in filled).replace(" or must be ", " or "),
        zh="，或".join(_chinese(rule, context) for rule, context in filled).replace("，或必须是", "，或"),
    )


def _meant(detail: ErrorDetails) -> Text:
    value = detail["input"]
    if detail["type"] != "literal_error" or not isinstance(value, str):
        return Text("", "")
    return meant(value, re.findall(r"'([^']*)'", str(detail.get("ctx", {}).get("expected", ""))))


def _chinese(rule: Text, context: Mapping[str, str]) -> str:
    """The rule in Chinese; words that may be typed are explained."""
    expected = context.get("expected", "")
    words = re.findall(r"'([^']*)'", expected)
    if not words:
        return rule.zh.format(**context)
    listed = [f"{word}（{_MEANINGS[word]}）" if word in _MEANINGS else word for word in words]
    chosen = listed[0] if len(listed) == 1 else f"{'、'.join(listed[:-1])} 或 {listed[-1]} 之一".replace("） ", "）")
    return rule.zh.format(**{**context, "expected": chosen})


def _number(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _value(detail: ErrorDetails) -> str:
    value = detail["input"]
    a_group = isinstance(value, dict) or (isinstance(value, list) and any(isinstance(item, dict) for item in value))
    if value in ("", None) or detail["type"] in ("missing", "extra_forbidden") or a_group:
        return ""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return _shortened(text)


def _shortened(text: str) -> str:
    return text if len(text) <= _MAX_VALUE else f"{text[: _MAX_VALUE - 3]}…"
