"""Roles of nodes that set the picture's size: numbers, named presets, aspect ratios with an area."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from zimage_app.domain.text import Text
from zimage_app.service.imports.comfy.node_call import NodeCall
from zimage_app.service.imports.comfy.roles.switches import truth
from zimage_app.service.imports.comfy.values import Missing, Note, PictureValue, Plain, Size, Value

_MAX_SIDE = 100_000
_WIDTH_HEIGHT = re.compile(r"(?<!\d)(\d{2,5})\s*[x×*X,]\s*(\d{2,5})(?!\d)")
_RATIO = re.compile(r"(?<![\d.])(\d{1,4}(?:\.\d{1,4})?)\s*[:：/]\s*(\d{1,4}(?:\.\d{1,4})?)(?![\d.])")
_NO_SIZE = Text("the size that it gives isn't known", "无法得知它给出的尺寸")
_MEGAPIXEL = 1024 * 1024


def pixels(value: object) -> int | None:
    """Return a valid side in pixels, or None."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _MAX_SIDE else None


def side(call: NodeCall, name: str) -> int | Missing | None:
    """Return a side from a node's input; None if the input is missing or isn't a valid number of pixels."""
    value = call.plain(name)
    return pixels(value.data) if isinstance(value, Plain) else value


def sides(call: NodeCall, width: str = "width", height: str = "height") -> Size | Missing | None:
    """Return both sides from a node's inputs; None if one isn't valid."""
    found = (side(call, width), side(call, height))
    for each in found:
        if isinstance(each, Missing):
            return each
    return (found[0], found[1]) if isinstance(found[0], int) and isinstance(found[1], int) else None


def size(call: NodeCall) -> Mapping[str, Value]:
    """Return width and height as numbers, and a latent of that size if the node has that output."""
    return _outputs(call, _size(call))


def _size(call: NodeCall) -> Size | Missing:
    """Return the size named by ``preset``, or else that of a ratio and an area, or else the sides."""
    preset = call.plain("preset")
    if isinstance(preset, Missing):
        return preset
    found: Size | Missing | None = None
    named = str(preset.data) if preset else ""
    if not re.match(r"\s*(custom|manual|none|width)\b", named, re.IGNORECASE):
        found = _tabled(call, named) or _named_size(named) or _by_ratio(call, named)
    found = _overridden(call) or found or sides(call)
    if found is None:
        return call.missing(_NO_SIZE)
    if isinstance(found, Missing):
        return found
    if _turned(call, found):
        found = (found[1], found[0])
    scale = call.known("scale", 1.0)
    if isinstance(scale, int | float) and not isinstance(scale, bool) and scale != 1 and 0.05 <= scale <= 16:
        found = (int(found[0] * scale), int(found[1] * scale))
    return found


def _overridden(call: NodeCall) -> Size | None:
    """Return the sides that override a preset, if both are set."""
    found = sides(call, "override_width", "override_height")
    return found if isinstance(found, tuple) else None


def _turned(call: NodeCall, found: Size) -> bool:
    swap = call.known("swap")
    if isinstance(swap, str) and swap.lower() in ("portrait", "landscape"):
        return (found[0] < found[1]) != (swap.lower() == "portrait") and found[0] != found[1]
    return swap is not None and truth(swap)


def _named_size(text: str) -> Size | None:
    match = _WIDTH_HEIGHT.search(text)
    return (int(match[1]), int(match[2])) if match else None


def _tabled(call: NodeCall, name: str) -> Size | None:
    """Return a size of the row's ``sizes``, scaled by ``factors`` and rounded down to ``grid``; upright by default."""
    sizes = call.option("sizes", {})
    if name not in sizes:
        return None
    factor, grid = call.option("factors", {}).get(str(call.known("factor")), 1.0), call.option("grid", 8)
    long, short = (int(each * factor // grid * grid) for each in sizes[name])
    return (long, short) if truth(call.known("across", False)) else (short, long)


def _by_ratio(call: NodeCall, text: str) -> Size | None:
    """Return the size of a ratio with an area in ``megapixels``; sides are rounded to multiples of ``multiple``."""
    match, area = _RATIO.search(text), call.known("megapixels")
    if match is None or isinstance(area, bool):
        return None
    if isinstance(area, str):
        number = re.match(r"\s*(\d{1,3}(?:\.\d{1,3})?)", area)
        area = float(number[1]) if number else None
    across, down = float(match[1]), float(match[2])
    if not isinstance(area, int | float) or not 0.01 <= area <= 100 or not across or not down:
        return None
    multiple = call.known("multiple", call.option("multiple", 8))
    multiple = multiple if isinstance(multiple, int) and 0 < multiple <= 1024 else 8
    scale = math.sqrt(area * call.option("megapixel", _MEGAPIXEL) / (across * down))
    found = [max(1, round(each * scale / multiple)) * multiple for each in (across, down)]
    return found[0], found[1]


def _outputs(call: NodeCall, found: Size | Missing) -> Mapping[str, Value]:
    """Return the outputs latent, width, height and text that the node has; others are the inputs of their names."""
    made: dict[str, Value] = {}
    if isinstance(found, Missing):
        made = {"latent": PictureValue(size_reason=found.reason), "width": found, "height": found, "text": found}
    else:
        made = {
            "latent": PictureValue(size=found, notes=batch(call)),
            "width": Plain(found[0]),
            "height": Plain(found[1]),
            "text": Plain(f"{found[0]}x{found[1]}"),
        }
    return {name: made[name] for name in call.kind.gives if name in made}


def batch(call: NodeCall) -> tuple[Note, ...]:
    """Make a note if the node makes a batch of several pictures."""
    size = call.known("batch_size")
    if not isinstance(size, int) or size < 2:
        return ()
    return (call.note(Text(f"a batch of {size}; here one picture is made", f"一批 {size} 张；这里只生成一张")),)


def size_of_picture(call: NodeCall) -> Mapping[str, Value]:
    """Return the sides of a picture or latent input."""
    picture = next((found for name in call.inputs if (found := call.flow(name, PictureValue)) is not None), None)
    if picture is None or picture.size is None:
        why = picture.size_reason if picture and picture.size_reason else None
        lost: Value = Missing(why) if why else call.missing(_NO_SIZE)
        return {name: lost for name in call.kind.gives if name in ("width", "height", "count")}
    given = {"width": Plain(picture.size[0]), "height": Plain(picture.size[1]), "count": Plain(1)}
    return {name: given[name] for name in call.kind.gives if name in given}


ROLES = {"empty latent": size, "size": size, "size of picture": size_of_picture}
