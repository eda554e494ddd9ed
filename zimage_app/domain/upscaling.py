"""Upscaling of a finished picture: it is enlarged, then partly redrawn by one stage at the new size. Pure.

``Upscaling`` holds the options; ``upscaled`` turns them into a request, which is all that a record keeps.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from zimage_app.domain.card import ModelCard
from zimage_app.domain.errors import wrong_field
from zimage_app.domain.request import MAX_PROMPT, GenerationRequest, parse_request
from zimage_app.domain.settings.knob import STRICT
from zimage_app.domain.settings.lora_use import LoraUse
from zimage_app.domain.settings.stage import MAX_SIDE, Seed, Stage
from zimage_app.domain.settings.start_picture import StartPicture, Upscaler
from zimage_app.domain.sizes import GRID, MIN_SIDE
from zimage_app.domain.text import Text

_MIN_STEPS = 8


class Upscaling(BaseModel):
    """How to enlarge a picture, and how much of it to redraw."""

    model_config = STRICT

    factor: Annotated[float, Field(gt=1.0, le=8.0, description="How many times as wide and high.")] = 2.0
    upscaler: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=400,
            description="A file under models/upscalers/, of the ESRGAN kind, that enlarges it. Left out: Lanczos.",
        ),
    ] = None
    denoise: Annotated[float, Field(ge=0.01, le=1.0, description="How much is redrawn then.")] = 0.3
    steps: Annotated[
        int | None,
        Field(
            ge=1,
            le=200,
            description="Left out: the model's own of a whole picture, as far as denoise goes; at least 8.",
        ),
    ] = None
    prompt: Annotated[
        str | None, Field(min_length=1, max_length=MAX_PROMPT, description="Left out: the picture's own.")
    ] = None
    negative: Annotated[str | None, Field(max_length=MAX_PROMPT, description="Left out: the picture's own.")] = None
    seed: Annotated[Literal["random"] | Seed | None, Field(description="Left out: the picture's own.")] = None


def upscaled(
    request: GenerationRequest | None, picture: str, size: tuple[int, int], card: ModelCard, asked: Upscaling
) -> GenerationRequest:
    """The request that enlarges a picture.

    Args:
        request: the picture's request, whose prompts, trigger words, LoRAs and seed are used; None where unknown.
        picture: SHA-256 of the picture's uploaded file.
        size: (width, height) of the picture in pixels.
        card: the model that redraws it. Sampler, scheduler and CFG are those of its ``single`` stage, else of its last
            stage; the shift is the model's own, because a higher one would redraw more.
        asked: the options.

    Raises:
        RequestError: for ``factor``: the picture would become too large; for ``prompt``: there is none.
    """
    request = _with_words(request, asked)
    width, height = _enlarged(size, asked.factor)
    usual = card.single or card.stages[-1]
    settings = {
        "width": width,
        "height": height,
        "steps": asked.steps or max(_MIN_STEPS, math.ceil(usual.steps * asked.denoise)),
        "denoise": asked.denoise,
        "shift": card.shift,
        "easycache": None,
        "seed": "follow",
    }
    last = request.running[-1] if request.running else None
    guidance = {} if last is None else {name: getattr(last[1], name) for name in ("nag", "negpip")}
    upscaler = None if asked.upscaler is None else Upscaler(name=asked.upscaler)
    changes = {
        "stages": (usual.model_copy(update=settings | guidance),),
        "start": StartPicture(picture=picture, upscaler=upscaler),
        "loras": request.loras if last is None else _acting(request.loras, last[0]),
        "variation_strength": 0.0,
        "variation_seed": "random",
        "keep_stages": False,
    }
    return request.model_copy(update=changes)


def _with_words(request: GenerationRequest | None, asked: Upscaling) -> GenerationRequest:
    """The picture's request, with its prompts and seed replaced by those in ``asked``."""
    names = ("prompt", "negative", "seed")
    given = {name: value for name in names if (value := getattr(asked, name)) is not None}
    if request is None:
        if asked.prompt is None:
            raise wrong_field(
                "prompt",
                "is missing: this picture holds no settings that say what it shows; give one",
                "缺少提示词：这张图片里没有说明画面的参数；请写出提示词",
            )
        return parse_request(given)
    return request.model_copy(update=given | ({"template": None} if given else {}))


def resized_by(request: GenerationRequest) -> Text:
    """A message about a request from ``upscaled``: the upscaler and the new size."""
    stage: Stage = request.running[0][1]
    upscaler = request.start.upscaler if request.start else None
    name = "Lanczos" if upscaler is None else upscaler.name
    return Text(
        f"Enlarged to {stage.width} x {stage.height} with {name}, then redrawn with denoise {stage.denoise:g} in"
        f" {stage.steps} steps.",
        f"用 {name} 放大到 {stage.width} × {stage.height}，再以重绘幅度 {stage.denoise:g}、{stage.steps} 步重绘。",
    )


def _acting(uses: tuple[LoraUse, ...], stage: int) -> tuple[LoraUse, ...]:
    """The LoRAs that act in ``stage``, made to act in all stages of a request that has only this one."""
    return tuple(use.model_copy(update={"stages": None}) for use in uses if use.acts_in(stage))


def _enlarged(size: tuple[int, int], factor: float) -> tuple[int, int]:
    """The enlarged (width, height), rounded to the grid; raises RequestError where a side exceeds MAX_SIDE."""
    width, height = (max(round(side * factor / GRID) * GRID, MIN_SIDE) for side in size)
    long_side = max(width, height)
    if long_side > MAX_SIDE:
        max_factor = math.floor(MAX_SIDE / max(size) * 100) / 100
        shown = f"{size[0]} x {size[1]}"
        raise wrong_field(
            "factor",
            f"{factor:g} times {shown} has a side of {long_side} pixels; at most {MAX_SIDE} are possible, which is"
            f" a factor of {max_factor:g}",
            f"{shown} 放大 {factor:g} 倍后边长为 {long_side}，最多 {MAX_SIDE}，即最多 {max_factor:g} 倍",
        )
    return width, height
