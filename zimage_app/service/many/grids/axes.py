"""The axes of a grid: a setting and its values, such as ``stages.2.denoise=0.4,0.5,0.6``. Pure functions."""

from __future__ import annotations

import copy
import itertools
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from zimage_app.domain.errors import RequestError
from zimage_app.domain.plan import GenerationPlan, StagePlan
from zimage_app.domain.preset import setting_title
from zimage_app.domain.request import MAX_PROMPT
from zimage_app.domain.setting_paths import MAX_DIGITS, is_text, plain_value, put
from zimage_app.domain.text import Language, Text, shortened

MAX_CELLS = 400
_NUMBER = r"-?[0-9]{1,9}(?:\.[0-9]{1,9})?"
_RANGE = re.compile(rf"({_NUMBER})\.\.({_NUMBER})(?:/({_NUMBER}))?")
_REPLACE = "prompt~"
_BETWEEN = "[,，、;；]"
"""Characters between values; also in many.js."""

Data = dict[str, Any]
Labels = tuple[tuple[str, ...], ...]
"""Labels of columns, rows and sheets."""
Apply = Callable[[Data, Any], Data]
"""(a request's plain data, an axis' value) -> the data with that value set."""


_TITLES = {"lora": Text("LoRA", "LoRA"), "preset": Text("Preset", "预设"), "size": Text("Size", "尺寸")}
"""Titles of axes that aren't dotted paths."""
_ORDER = {"preset": 0, "stages": 1, "size": 2}
"""Axes that are applied before those of single settings, in this order."""
_SIDES = ("width", "height")
_MAX_LABEL = 80
"""Maximum characters of a value in a label."""
_MAX_SHOWN = 200
"""Maximum characters of an axis in a message."""


@dataclass(frozen=True, slots=True)
class Axis:
    """A setting that varies, and its values."""

    name: str
    """The setting's dotted path, a special name (``lora``, ``preset``, ``size``), or ``prompt~WORD``."""
    values: tuple[Any, ...]
    argument: str = "axis"
    """The axis' name in the user's command or request, such as ``--x``; used in errors."""

    @property
    def labels(self) -> tuple[Text, ...]:
        """The values' labels at the sheet's edge."""
        title = axis_title(self.name)
        shown = [_shown(value) for value in self.values]
        short = [text if len(text) <= _MAX_LABEL else f"{text[: _MAX_LABEL - 1]}…" for text in shown]
        return tuple(Text(f"{title.en} = {text}", f"{title.zh} = {text}") for text in short)

    def names(self, field: str) -> bool:
        """Whether the axis sets a request's field, or a part of it."""
        path = "prompt" if self.name.startswith(_REPLACE) else "loras" if self.name == "lora" else self.name
        return path == field or path.startswith(f"{field}.") or field.startswith(f"{path}.")


def axis_title(name: str) -> Text:
    """Return the title of the axis' setting with its stage, or the bare name if it has no title."""
    path = "prompt" if name.startswith(_REPLACE) else name
    try:
        return _TITLES.get(path) or setting_title(path)
    except (LookupError, ValueError, StopIteration):
        return Text(path, path)


NO_AXIS = Axis("", ("",))
"""Stands for an unused axis: one value that changes nothing."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One picture of a grid."""

    place: tuple[int, int, int]
    """(column, row, sheet), from 0."""
    data: Data
    """A request's plain data; only as large as a request once it was checked."""


def parse_axis(text: str, argument: str = "axis") -> Axis:
    """Parse an axis written by the user: ``NAME=VALUES``.

    Values are separated by commas or semicolons, in a JSON list, or number ranges ``FROM..TO/STEP``;
    ``prompt~WORD=a,b`` replaces WORD in the prompt by each value. Values of a text setting stay as they were written.

    Raises:
        RequestError: of ``argument``: the text has none of these forms.
    """
    name, equals, values = text.partition("=")
    try:
        if not equals or not name.strip() or not values.strip():
            raise _wrong(text, Text("write NAME=VALUE,VALUE,…", "请写成 名称=值,值,…"))
        name = name.strip()
        read: Callable[[str], Any] = str if name.startswith(_REPLACE) or is_text(name) else plain_value
        found = tuple(itertools.islice(_values(text, values.strip(), read), MAX_CELLS + 1))
        if len(found) > MAX_CELLS:
            raise _wrong(text, Text(f"has more than {MAX_CELLS} values", f"超过 {MAX_CELLS} 个值"))
        return Axis(name, found, argument)
    except RequestError as error:
        raise error.at(argument) from error


def with_drawn_seeds(axes: Sequence[Axis], draw: Callable[[], int]) -> list[Axis]:
    """Return the axes with a drawn seed for each -1 and ``random``, so that the labels tell which seed it was."""

    def settled(axis: Axis) -> Axis:
        if axis.name not in ("seed", "variation_seed"):
            return axis
        return replace(axis, values=tuple(draw() if value in (-1, "random") else value for value in axis.values))

    return [settled(axis) for axis in axes]


def sheet_labels(axes: Sequence[Axis], language: Language) -> Labels:
    """Return the labels of columns, rows and sheets; a single empty label for an unused axis."""
    across, down, deep = (*axes, *[NO_AXIS] * (3 - len(axes)))
    return tuple(
        ("",) if axis is NO_AXIS else tuple(text.to(language) for text in axis.labels) for axis in (across, down, deep)
    )


def cells(axes: Sequence[Axis], settings: Mapping[str, Any], special: Mapping[str, Apply]) -> Iterator[Cell]:
    """Yield all cells of one to three axes: columns, rows, sheets. ``special`` applies names that aren't dotted paths.

    One at a time, so that settings that are too long are refused before there are hundreds of copies of them.

    Raises:
        RequestError: there are too many cells, two axes set the same, or an axis' setting or word doesn't exist.
    """
    _check_apart(axes)
    x, y, z = (*axes, *[NO_AXIS] * (3 - len(axes)))
    count = math.prod(len(axis.values) for axis in axes)
    if count > MAX_CELLS:
        raise RequestError("axes", Text(f"{count} cells; at most {MAX_CELLS}", f"共 {count} 格；最多 {MAX_CELLS} 格"))
    for (k, deep), (j, down), (i, across) in itertools.product(*(enumerate(axis.values) for axis in (z, y, x))):
        data = copy.deepcopy(dict(settings))
        for axis, value in sorted(((x, across), (y, down), (z, deep)), key=lambda pair: _rank(pair[0].name)):
            data = _applied(axis, value, data, special)
        yield Cell((i, j, k), data)


def remembered_stages(
    plans: Sequence[GenerationPlan], keys: Sequence[Sequence[str]]
) -> Iterator[tuple[StagePlan, bool]]:
    """Yield every stage of consecutive plans, and whether its result will come from stage memory.

    ``keys`` are the stages' keys in stage memory, by plan.
    """
    seen: set[str] = set()
    for plan, known in zip(plans, keys, strict=True):
        going = True
        for number, (stage, key) in enumerate(zip(plan.stages, known, strict=True)):
            going = going and key in seen and number < len(plan.stages) - 1
            yield stage, going
        seen.update(key for key in known if key)


def _rank(name: str) -> int:
    """Return when an axis is applied: what sets much at once goes before what sets or changes a part of it."""
    return _ORDER.get(name, len(_ORDER) + (name == "lora" or name.startswith(_REPLACE)))


def _check_apart(axes: Sequence[Axis]) -> None:
    """Raise RequestError for two axes of which one would overwrite the other, as the labels would be wrong then."""
    for one, other in itertools.combinations(axes, 2):
        if _overwrites(_parts(one.name), _parts(other.name)):
            titles = axis_title(one.name), axis_title(other.name)
            text = Text(
                f"{titles[1].en}: is set by {one.argument} ({titles[0].en}) too; let one axis set it",
                f"{titles[1].zh}：与 {one.argument}（{titles[0].zh}）设置的是同一项；请只用一个轴",
            )
            raise RequestError(other.argument, text)


def _overwrites(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    if one == other:
        return one != ("lora",)  # each adds one
    sized = ("size",) in (one, other) and any(path[0] == "stages" and path[-1] in _SIDES for path in (one, other))
    return sized or one[: len(other)] == other[: len(one)]


def _parts(name: str) -> tuple[str, ...]:
    """Return the parts of a setting's path, with numbers written in one way."""
    if name.startswith(_REPLACE):
        return (name,)
    return tuple(str(int(part)) if part.isdecimal() and len(part) <= MAX_DIGITS else part for part in name.split("."))


def _applied(axis: Axis, value: Any, data: Data, special: Mapping[str, Apply]) -> Data:
    try:
        return data if axis is NO_AXIS else _set(axis, value, data, special)
    except RequestError as error:
        raise RequestError(axis.argument, error.text) from error


def _set(axis: Axis, value: Any, data: Data, special: Mapping[str, Apply]) -> Data:
    if axis.name.startswith(_REPLACE):
        return data | {"prompt": _replaced(str(data["prompt"]), axis.name.removeprefix(_REPLACE), _shown(value))}
    if axis.name in special:
        return special[axis.name](data, value)
    put(data, axis.name, _shown(value) if is_text(axis.name) else value)
    return data


def _replaced(prompt: str, word: str, value: str) -> str:
    """Return the prompt with every ``word`` replaced, unless that makes it longer than a prompt may be."""
    if not word:
        raise RequestError("prompt", Text("name the word, as in prompt~cat", "请写出要替换的词，如 prompt~猫"))
    count = prompt.count(word)
    if not count:
        said = shortened(word, _MAX_SHOWN)
        raise RequestError("prompt", Text(f"doesn't hold {said}", f"其中没有 {said}"))
    length = len(prompt) + count * (len(value) - len(word))
    if length > MAX_PROMPT:
        text = Text(
            f"would have {length} characters; may have at most {MAX_PROMPT}",
            f"将有 {length} 个字符；最多 {MAX_PROMPT} 个",
        )
        raise RequestError("prompt", text)
    return prompt.replace(word, value)


def _values(text: str, values: str, read: Callable[[str], Any]) -> Iterator[Any]:
    if values.startswith("["):
        listed = plain_value(values)
        if not isinstance(listed, list) or not listed:
            raise _wrong(text, Text("is no JSON list of values", "不是 JSON 值列表"))
        yield from listed
        return
    for part in re.split(_BETWEEN, values):
        if found := _RANGE.fullmatch(part.strip()):
            yield from _range(text, *found.groups())
        elif part.strip():
            yield read(part.strip())


def _range(text: str, start: str, end: str, step: str | None) -> Iterator[int | float]:
    """Yield the numbers of a range, including the end if a step falls on it."""
    whole = not any("." in part for part in (start, end, step or "1"))
    low, high, by = float(start), float(end), float(step or 1)
    if by <= 0 or (high - low) / by >= MAX_CELLS:
        raise _wrong(text, Text(f"a range has up to {MAX_CELLS} steps upwards", f"范围须递增且不超过 {MAX_CELLS} 步"))
    for number in range(math.floor((high - low) / by + 1e-9) + 1):
        value = round(low + number * by, 9)
        yield int(value) if whole else value


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return value
    return f"{value:g}" if isinstance(value, float) else json.dumps(value, ensure_ascii=False)


def _wrong(text: str, reason: Text) -> RequestError:
    said = shortened(text, _MAX_SHOWN)
    return RequestError("axis", Text(f"{said}: {reason.en}", f"{said}：{reason.zh}"))
