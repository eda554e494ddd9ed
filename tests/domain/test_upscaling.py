"""What enlarging a picture comes to as a request."""

from __future__ import annotations

import pytest

from zimage_app.domain.card import Z_IMAGE, Z_IMAGE_TURBO
from zimage_app.domain.errors import RequestError
from zimage_app.domain.plan import make_plan
from zimage_app.domain.request import GenerationRequest
from zimage_app.domain.settings.guidance import Nag
from zimage_app.domain.settings.knob import parse_as
from zimage_app.domain.settings.lora_use import LoraUse
from zimage_app.domain.settings.stage import REFERENCE_STAGES
from zimage_app.domain.upscaling import Upscaling, resized_by, upscaled

PICTURE = "a" * 64
REQUEST = GenerationRequest(
    prompt="boat",
    negative="blur",
    seed=5,
    stages=(*REFERENCE_STAGES[:2], REFERENCE_STAGES[2].model_copy(update={"nag": Nag()})),
    loras=(LoraUse(name="all"), LoraUse(name="last", stages=(3,)), LoraUse(name="first", stages=(1,))),
    variation_strength=0.5,
    variation_seed=3,
)


def test_one_stage_redraws_the_picture_at_twice_its_size() -> None:
    request = upscaled(REQUEST, PICTURE, (672, 864), Z_IMAGE_TURBO, Upscaling())
    assert request.stages is not None
    (stage,) = request.stages
    shown = (stage.width, stage.height, stage.steps, stage.denoise, stage.sampler, stage.shift, stage.cfg)
    assert shown == (1344, 1728, 8, 0.3, "res_multistep", 3.0, 1.0)
    assert stage.nag == Nag()  # the negative prompt acts as before
    assert stage.easycache is None
    assert (request.prompt, request.negative, request.seed) == ("boat", "blur", 5)
    assert [(use.name, use.stages) for use in request.loras] == [("all", None), ("last", None)]
    assert request.variation_strength == 0.0
    assert request.start is not None
    assert (request.start.picture, request.start.stage, request.start.upscaler) == (PICTURE, 1, None)
    assert make_plan(request, Z_IMAGE_TURBO).warnings == ()
    assert resized_by(request).en == "Enlarged to 1344 x 1728 with Lanczos, then redrawn with denoise 0.3 in 8 steps."


def test_what_is_asked_for_counts_for_more() -> None:
    asked = Upscaling(factor=1.5, upscaler="4x.pth", denoise=0.5, steps=3, prompt="ship", seed="random")
    request = upscaled(REQUEST, PICTURE, (500, 333), Z_IMAGE, asked)
    assert request.stages is not None
    (stage,) = request.stages
    assert (stage.width, stage.height, stage.steps, stage.denoise, stage.cfg) == (752, 496, 3, 0.5, 4.0)
    assert (request.prompt, request.negative, request.seed) == ("ship", "blur", "random")
    assert request.start is not None
    assert request.start.upscaler is not None
    assert request.start.upscaler.name == "4x.pth"
    assert "with 4x.pth" in resized_by(request).en
    more = upscaled(REQUEST, PICTURE, (500, 333), Z_IMAGE, Upscaling(denoise=0.5))
    assert more.stages is not None
    assert more.stages[0].steps == 15


@pytest.mark.parametrize(
    ("request_", "size", "words"),
    [
        (REQUEST, (1344, 1728), "factor: 2 times 1344 x 1728 has a side of 3456 pixels; at most 2048.*factor of 1.18"),
        (None, (64, 64), "prompt: is missing: this picture holds no settings"),
    ],
)
def test_what_cannot_be_is_told(request_: GenerationRequest | None, size: tuple[int, int], words: str) -> None:
    with pytest.raises(RequestError, match=words):
        upscaled(request_, PICTURE, size, Z_IMAGE_TURBO, Upscaling())


def test_a_photo_is_enlarged_by_what_is_said_of_it() -> None:
    request = upscaled(None, PICTURE, (64, 64), Z_IMAGE_TURBO, Upscaling(prompt="boat"))
    assert (request.prompt, request.seed) == ("boat", "random")


@pytest.mark.parametrize(
    ("data", "words"),
    [({"factor": 1}, "factor: 1 must be"), ({"denoise": 0}, "denoise: 0 must be"), ({"size": 3}, "size")],
)
def test_bounds_are_kept(data: dict[str, object], words: str) -> None:
    with pytest.raises(RequestError, match=words):
        parse_as(Upscaling, data)
