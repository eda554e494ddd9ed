"""Roles of nodes that decode, resize or change latents and pictures. Sizes are in pixels."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from zimage_app.domain.text import Text
from zimage_app.service.imports.comfy.node_call import NodeCall
from zimage_app.service.imports.comfy.roles.sizes import batch, pixels, side
from zimage_app.service.imports.comfy.values import Missing, PictureValue, Plain, Size, Vae, Value
from zimage_app.service.imports.draft import shown

_CROPS = Text("it crops to the new shape; here the latent is stretched", "它会裁剪到新比例；这里是直接拉伸")
_PADS = Text("it pads to the new shape; here the picture is stretched", "它会补边到新比例；这里是直接拉伸")
_ONE_CHAIN = Text(
    "several samplers' pictures meet here; one of them is taken", "几个采样器的图片在这里汇合；只取其中一个"
)
_ADDS_NOISE = Text(
    "the noise that it adds is left out; each stage here adds its own, by the stage's seed",
    "它加入的噪声未带入；这里各阶段按自己的种子加噪声",
)
_SIZE_UNKNOWN = Text("the size that it makes isn't known", "无法得知它产生的尺寸")
_FACTOR = re.compile(r"(?<![\da-z])([1-8])x|x([1-8])(?=plus|v\d|[^\da-z]|$)", re.IGNORECASE)
_INPUTS = (
    "samples",
    "latent",
    "latent_image",
    "latents",
    "pixels",
    "image",
    "images",
    "source",
    "input",
    "destination",
)


def picture_of(call: NodeCall) -> PictureValue:
    """Return the picture or latent input; of several, the one with most passes; an empty one if nothing is linked."""
    names = (*_INPUTS, *(name for name in call.node.links if name not in _INPUTS))
    found = [picture for name in names if (picture := call.flow(name, PictureValue)) is not None]
    taken = max(found, key=lambda picture: len(picture.passes), default=PictureValue())
    ran = {done.node for done in taken.passes}
    others = any(done.node not in ran for picture in found for done in picture.passes)
    return taken.noted(call.note(_ONE_CHAIN)) if others else taken


def made_of(call: NodeCall, picture: PictureValue, **more: Value) -> Mapping[str, Value]:
    """Return the picture, its width and height and ``more``, as far as the node has outputs of these names."""
    if picture.size:
        more |= {"width": Plain(picture.size[0]), "height": Plain(picture.size[1])}
    return {name: picture if name in ("latent", "image") else more[name] for name in call.kind.gives
            if name in ("latent", "image") or name in more}  # fmt: skip


def passes(call: NodeCall) -> Mapping[str, Value]:
    """Pass the picture on unchanged."""
    return made_of(call, picture_of(call).noted(*batch(call)))


def decode(call: NodeCall) -> Mapping[str, Value]:
    """Decode a latent to pixels."""
    vae = call.flow("vae", Vae)
    picture = picture_of(call)
    return made_of(call, replace(picture, decoded_by=call.name).noted(*(vae.notes if vae else ())))


def change(call: NodeCall) -> Mapping[str, Value]:
    """Change a picture without changing its size."""
    return made_of(call, picture_of(call).changed_by(call.name))


def add_noise(call: NodeCall) -> Mapping[str, Value]:
    """Add noise to a latent, which here only a stage does."""
    return made_of(call, picture_of(call).noted(call.note(_ADDS_NOISE)))


def remake(call: NodeCall) -> Mapping[str, Value]:
    """Change a picture and its size, to an unknown one."""
    return made_of(call, picture_of(call).changed_by(call.name, call.missing(_SIZE_UNKNOWN).reason))


def resize(call: NodeCall) -> Mapping[str, Value]:
    """Resize to width and height; a side of 0 follows the aspect ratio (HOW-IT-COMPUTES.md section 2)."""
    picture = picture_of(call)
    given = (side(call, "width"), side(call, "height"))
    lost = next((each for each in given if isinstance(each, Missing)), None)
    sides = tuple(each if isinstance(each, int) else 0 for each in given)
    size = None if lost else _to(picture.size, sides[0], sides[1], unit=call.option("unit", 8))
    if size and _keeps_shape(call):
        size = _within(picture.size, size)
    if picture.size is None and "if " in str(call.known("condition", "")):
        size = None  # whether it resizes depends on the picture's size
    made = _resized(call, picture, size, lost.reason if lost else None)
    if picture.size and size and not _acts(call, picture.size, size):
        return made_of(call, picture)
    way = str(call.known("crop", "disabled")).lower()
    crops = way in ("center", "crop", "fill / crop", "true")
    made = made.noted(call.note(_PADS)) if way.startswith(("pad", "pillarbox")) else made
    if made.start and not made.passes:
        return made_of(call, replace(made, start=replace(made.start, fit="crop" if crops else "stretch")))
    return made_of(call, made.noted(call.note(_CROPS)) if crops else made)


def _acts(call: NodeCall, now: Size, new: Size) -> bool:
    """Whether a node that resizes on a ``condition`` only does so."""
    condition = str(call.known("condition", "")).lower()
    grows = (new[0] * new[1] > now[0] * now[1],) if "area" in condition else (new[0] > now[0], new[1] > now[1])
    shrinks = (new[0] * new[1] < now[0] * now[1],) if "area" in condition else (new[0] < now[0], new[1] < now[1])
    if "smaller" in condition:
        return any(grows)
    return any(shrinks) if "bigger" in condition else True


def _keeps_shape(call: NodeCall) -> bool:
    mode = call.known(call.option("proportion", ""))
    return mode is True or (isinstance(mode, str) and mode.lower() in ("resize", "keep proportion", "total_pixels"))


def _within(size: Size | None, box: Size) -> Size | None:
    """Scale a size to fit into a box, keeping its aspect ratio."""
    if size is None:
        return None
    factor = min(box[0] / size[0], box[1] / size[1])
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def _to(size: Size | None, width: int, height: int, unit: int) -> Size | None:
    if width and height:
        return _at_least(width, unit), _at_least(height, unit)
    if size is None:
        return None
    if width:
        return _at_least(width, unit), _at_least(round(size[1] * width / size[0]), unit)
    if height:
        return _at_least(round(size[0] * height / size[1]), unit), _at_least(height, unit)
    return size


def _at_least(pixel: int, unit: int) -> int:
    return max(64, pixel) // 8 * 8 if unit == 8 else max(1, pixel)


def scale(call: NodeCall) -> Mapping[str, Value]:
    """Resize by a factor; a latent's sides are multiples of 8."""
    factor = call.plain("scale_by")
    if factor is None and call.option("factor_in"):
        factor = _factor_in(call, call.option("factor_in"))
    picture = picture_of(call)
    if isinstance(factor, Missing):
        return made_of(call, _resized(call, picture, None, factor.reason))
    number = _as_number(factor.data if factor else call.option("factor"))
    size = None
    if picture.size and number is not None and 0.01 <= number <= 64:
        unit = 8 if call.option("latent") else 1
        sides = [pixels(round(each // unit * number) * unit) for each in picture.size]
        size = (sides[0], sides[1]) if sides[0] and sides[1] else None
    return made_of(call, _resized(call, picture, size, None))


def _factor_in(call: NodeCall, name: str) -> Plain | None:
    """Return the factor in an upscale model's name, such as 4x-UltraSharp."""
    model = call.given(name)
    match = _FACTOR.search(str(model.data)) if isinstance(model, Plain) else None
    return Plain(int(match[1] or match[2])) if match else None


def _as_number(data: object) -> float | None:
    if isinstance(data, str):
        match = re.match(r"\s*(\d{1,3}(?:\.\d{1,6})?)", data)
        return float(match[1]) if match else None
    return float(data) if isinstance(data, int | float) and not isinstance(data, bool) else None


def by_kind(call: NodeCall) -> Mapping[str, Value]:
    """Resize in the way that the node's ``kind`` says; a way that isn't known makes an unknown size."""
    kind = str(call.known("kind", "")).lower()
    if "multiplier" in kind:
        return scale(call)
    if "pixels" in kind:
        return to_area(call)
    for length, longest in (("longer", True), ("shorter", False)):
        if length in kind:
            takes = {**call.kind.takes, "length": call.kind.takes[length]}
            row = replace(call.kind, takes=takes, options={**call.kind.options, "longest": longest})
            return to_side(NodeCall(call.node, row, call.inputs))
    if not kind or kind.endswith(("dimensions", "width", "height")):
        return resize(call)
    return made_of(call, _resized(call, picture_of(call), None, None))


def to_area(call: NodeCall) -> Mapping[str, Value]:
    """Resize to an area in megapixels, keeping the aspect ratio."""
    picture, area = picture_of(call), _as_number(call.known("megapixels"))
    size = None
    if picture.size and area and 0.01 <= area <= 100:
        factor = (area * 1024 * 1024 / (picture.size[0] * picture.size[1])) ** 0.5
        steps = call.known("resolution_steps", 1)
        steps = steps if isinstance(steps, int) and steps > 0 else 1
        size = (round(picture.size[0] * factor / steps) * steps, round(picture.size[1] * factor / steps) * steps)
    return made_of(call, _resized(call, picture, size, None))


def to_side(call: NodeCall) -> Mapping[str, Value]:
    """Resize so that the longer side (or the shorter, by the row) has a given length, keeping the aspect ratio."""
    picture, length = picture_of(call), side(call, "length")
    size = None
    if picture.size and isinstance(length, int):
        measure = max if call.option("longest", True) else min
        factor = length / measure(picture.size)
        size = (max(1, round(picture.size[0] * factor)), max(1, round(picture.size[1] * factor)))
    return made_of(call, _resized(call, picture, size, None))


def _resized(call: NodeCall, picture: PictureValue, size: Size | None, why: Text | None) -> PictureValue:
    method = call.plain("upscale_method") or Plain(call.option("method", "nearest-exact"))
    unknown = None if size else (why or picture.size_reason or call.missing(_SIZE_UNKNOWN).reason)
    resizes = (*picture.resizes, call.name)[-64:]
    if picture.start and not picture.passes and (way := _other_way(call)):
        picture = picture.noted(call.note(way))
    return replace(picture, size=size, size_reason=unknown, method=method, resizes=resizes)


def _other_way(call: NodeCall) -> Text | None:
    """Return the note for a start picture that isn't resized as here: the file, with Lanczos, before it is encoded."""
    name = shown(call.known("upscale_method", call.option("method", "?")))
    if call.kind.gives == ("latent",):
        return Text(
            f"it resizes the start picture's latent ({name}); here the picture itself is resized, with lanczos",
            f"它缩放起始图片的潜变量（{name}）；这里缩放图片本身，方法为 lanczos",
        )
    if name == "lanczos":
        return None
    return Text(
        f"it resizes the start picture ({name}); here that is done with lanczos",
        f"它缩放起始图片（{name}）；这里的方法为 lanczos",
    )


def upscaler(call: NodeCall) -> Mapping[str, Value]:
    """Return an upscale model's file name, which contains its factor."""
    value = call.plain("model_name")
    return {} if value is None else {call.kind.gives[0]: value}


ROLES = {
    "pass picture": passes,
    "decode": decode,
    "change picture": change,
    "add noise": add_noise,
    "remake picture": remake,
    "resize": resize,
    "scale": scale,
    "resize by kind": by_kind,
    "scale to area": to_area,
    "scale to side": to_side,
    "load upscaler": upscaler,
}
