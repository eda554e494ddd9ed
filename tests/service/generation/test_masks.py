"""Masks and larger canvases: what is taken, what comes of it at a stage's size, and pictures that come back."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from zimage_app.domain.errors import RequestError
from zimage_app.domain.events import Failed, Picture, StageStarted
from zimage_app.domain.request import GenerationRequest, parse_request
from zimage_app.domain.settings.start_picture import StartPicture
from zimage_app.domain.start_image import StartImage
from zimage_app.service.generation.generator import Generator, load_generator
from zimage_app.service.generation.masks import grey_mask, redrawn_part, start_image
from zimage_app.service.generation.start_pictures import PictureInputs
from zimage_app.service.setup.config import StudioConfig

STAGES: tuple[dict[str, Any], ...] = (
    {"width": 64, "height": 64, "steps": 2},
    {"width": 128, "height": 128, "steps": 2, "denoise": 0.5},
)
SIZE = (128, 128)


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def photo(width: int = 128, height: int = 128) -> Picture:
    return np.random.default_rng(4).integers(0, 256, (height, width, 3), dtype=np.uint8)


def middle(width: int = 128, height: int = 128) -> np.ndarray:
    """Grey; white in the middle quarter."""
    mask = np.zeros((height, width), np.uint8)
    mask[height // 4 : 3 * height // 4, width // 4 : 3 * width // 4] = 255
    return mask


def rgb(mask: np.ndarray) -> Picture:
    return np.repeat(mask[..., None], 3, 2)


@pytest.fixture
def inputs(tmp_path: Path) -> PictureInputs:
    return PictureInputs(tmp_path / "outputs")


@pytest.fixture
def config(models_dir: Path, tmp_path: Path) -> StudioConfig:
    return StudioConfig(models=models_dir, outputs=tmp_path / "outputs", loras=tmp_path / "loras")


@pytest.fixture
def generator(config: StudioConfig) -> Generator:
    return load_generator("tiny", config)


def start(inputs: PictureInputs, mask: np.ndarray | None = None, **more: Any) -> StartPicture:
    """A photo handed in, with a mask."""
    kept = inputs.save(png(photo()), "photo.png").sha256
    of_mask = None if mask is None else inputs.save(png(mask), "mask.png").sha256
    return StartPicture.model_validate({"picture": kept, "mask": of_mask, **more})


def asking(start: StartPicture) -> GenerationRequest:
    data = {"prompt": "boat", "seed": 5, "stages": STAGES, "start": start.model_dump(mode="json")}
    return parse_request(data)


# Judging a mask.


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (np.zeros((128, 128), np.uint8), "black all over"),
        (middle(128, 64), "is 128 x 64, but the start picture is 128 x 128"),
        (photo(), "coloured picture"),
    ],
    ids=["all kept", "another shape", "a photo"],
)
def test_what_is_no_mask_is_refused_before_anything_waits(inputs: PictureInputs, mask: np.ndarray, words: str) -> None:
    asked = start(inputs, mask)
    for act in (lambda: inputs.check(asked), lambda: inputs.start_image(asked, SIZE)):
        with pytest.raises(RequestError, match=words) as caught:
            act()
        assert caught.value.field == "start.mask"
        assert caught.value.text.zh != caught.value.text.en


def test_a_mask_that_is_gone_is_named(inputs: PictureInputs) -> None:
    asked = start(inputs).model_copy(update={"mask": "1" * 64})
    with pytest.raises(RequestError, match="1111111111… is not kept here") as caught:
        inputs.check(asked)
    assert caught.value.field == "start.mask"


def test_x1_where_strangers_are_a_mask_is_its_owners(tmp_path: Path) -> None:
    anna, bert = "a" * 32, "b" * 32
    shared = PictureInputs(tmp_path, shared=True)
    picture = shared.save(png(photo()), "photo", anna).sha256
    shared.save(png(photo()), "photo", bert)
    mask = shared.save(png(middle()), "mask", anna).sha256
    asked = StartPicture(picture=picture, mask=mask)
    shared.check(asked, anna)
    with pytest.raises(RequestError, match="is not kept here") as caught:
        shared.check(asked, bert)
    assert caught.value.field == "start.mask"


def test_a_smaller_mask_of_the_same_shape_is_enlarged() -> None:
    mask = grey_mask(rgb(middle(32, 32)), (128, 128))
    assert mask.size == (128, 128)
    assert (np.asarray(mask)[48:80, 48:80] == 255).all()


def test_what_is_transparent_in_a_photo_is_redrawn(inputs: PictureInputs) -> None:
    holed = np.dstack([photo(), 255 - middle()])
    image = inputs.start_image(start(inputs, holed), SIZE)
    np.testing.assert_array_equal(image.mask, middle() / np.float32(255))
    opaque = np.dstack([rgb(middle()), np.full((128, 128), 255, np.uint8)])
    image = inputs.start_image(start(inputs, opaque), SIZE)
    np.testing.assert_array_equal(image.mask, middle() / np.float32(255))


# What a stage begins with.


def test_a_mask_in_the_stages_size_is_used_as_it_is(inputs: PictureInputs) -> None:
    image = inputs.start_image(start(inputs, middle()), SIZE)
    assert image.mask is not None
    np.testing.assert_array_equal(image.mask, middle() / np.float32(255))
    np.testing.assert_array_equal(image.picture, photo())


def test_without_a_mask_all_of_the_picture_is_redrawn(inputs: PictureInputs) -> None:
    image = inputs.start_image(start(inputs), (64, 64))
    assert image.mask is None
    np.testing.assert_array_equal(image.picture, inputs.load(start(inputs), (64, 64)))


def test_feathering_reaches_outwards_only() -> None:
    asked = StartPicture(picture="0" * 64, mask="0" * 64, feather=16)
    part = np.asarray(redrawn_part(asked, Image.fromarray(middle()), SIZE)).astype(int)
    assert (part[32:96, 32:96] == 255).all(), "what is painted is redrawn wholly"
    row = part[64, :32]
    assert (np.diff(row) >= 0).all()
    assert row[31] > 200
    assert 60 < row[24] < 140, "half of the reach away, a third"
    assert row[16] < 16
    assert (row[:8] == 0).all()


def test_a_larger_canvas_continues_the_edges_and_is_redrawn_there(inputs: PictureInputs) -> None:
    asked = start(inputs, extend=(32, 0, 0, 16))
    image = inputs.start_image(asked, (160, 144))
    assert image.mask is not None
    assert image.picture is not None
    assert (image.mask[:128, 32:] == 0).all()
    assert (image.mask[:, :32] == 1).all()
    assert (image.mask[128:] == 1).all()
    np.testing.assert_array_equal(image.picture[:128, 32:], photo())
    np.testing.assert_array_equal(image.picture[:128, 0], photo()[:, 0])


def test_a_stage_that_would_cut_the_larger_canvas_is_named(inputs: PictureInputs) -> None:
    with pytest.raises(RequestError, match="a canvas of 192 x 128, which a stage of 128 x 128 would cut") as caught:
        inputs.start_image(start(inputs, extend=(0, 0, 64, 0)), SIZE)
    assert caught.value.field == "start.extend"
    assert inputs.start_image(start(inputs, extend=(0, 0, 64, 0), fit="stretch"), SIZE).mask is not None


def test_paint_that_is_cropped_off_is_named(inputs: PictureInputs) -> None:
    mask = np.zeros((128, 128), np.uint8)
    mask[:8] = 255
    with pytest.raises(RequestError, match="lies in what a stage of 128 x 64 crops off"):
        inputs.start_image(start(inputs, mask), (128, 64))


def test_mask_and_picture_are_cropped_alike() -> None:
    picture = rgb(middle(200, 100))
    asked = StartPicture(picture="0" * 64, mask="0" * 64)
    image: StartImage = start_image(asked, Image.fromarray(picture), Image.fromarray(middle(200, 100)), (100, 100))
    assert image.mask is not None
    assert image.picture is not None
    np.testing.assert_array_equal(image.mask == 1, image.picture[..., 0] == 255)


# Whole runs.


def test_what_is_kept_comes_back_pixel_for_pixel_and_the_picture_can_be_made_again(
    generator: Generator, inputs: PictureInputs, config: StudioConfig
) -> None:
    asked = start(inputs, middle(), stage=1)
    made = generator.generate(asking(asked))
    pixels = np.asarray(made.image)
    kept = middle() == 0
    np.testing.assert_array_equal(pixels[kept], photo()[kept])
    assert (pixels[~kept] != photo()[~kept]).any()
    facts = made.record.parameters_text
    assert asked.mask is not None
    assert f"Mask: {asked.mask[:10]}" in facts
    assert "Kept part: pasted" in facts
    again = load_generator("tiny", config).generate(made.record.request)
    np.testing.assert_array_equal(pixels, np.asarray(again.image))


def test_unless_it_is_pasted_it_is_as_the_vae_decodes_it(generator: Generator, inputs: PictureInputs) -> None:
    asked = start(inputs, middle())
    pasted, decoded = (
        np.asarray(generator.generate(asking(asked.model_copy(update={"paste": paste}))).image)
        for paste in (True, False)
    )
    np.testing.assert_array_equal(pasted[middle() == 255], decoded[middle() == 255])
    assert (decoded[middle() == 0] != photo()[middle() == 0]).any()


def test_the_mask_differential_and_seed_decide_what_is_drawn(generator: Generator, inputs: PictureInputs) -> None:
    soft = np.tile(np.linspace(0, 255, 128).astype(np.uint8), (128, 1))
    asked = start(inputs, soft, paste=False)
    plain = np.asarray(generator.generate(asking(asked)).image)
    other = np.asarray(generator.generate(asking(asked.model_copy(update={"differential": 1.0}))).image)
    assert (plain != other).any()


def test_a_trajectory_over_two_sizes_keeps_what_is_masked(generator: Generator, inputs: PictureInputs) -> None:
    request = asking(start(inputs, middle()))
    stages = tuple(stage.model_copy(update={"handover": "spectral", "steps": 4}) for stage in request.stages or ())
    made = generator.generate(request.model_copy(update={"stages": stages}))
    np.testing.assert_array_equal(np.asarray(made.image)[middle() == 0], photo()[middle() == 0])
    assert len(made.record.stages) == 2


def test_a_mask_that_a_stage_cannot_use_fails_before_anything_is_drawn(
    generator: Generator, inputs: PictureInputs
) -> None:
    events = list(generator.stream(asking(start(inputs, extend=(64, 0, 0, 0)))))
    assert not any(isinstance(event, StageStarted) for event in events)
    (failure,) = events
    assert isinstance(failure, Failed)
    assert "would cut" in failure.error.text.en


def test_old_settings_without_masks_mean_what_they_meant() -> None:
    old = {"picture": "0" * 64, "stage": 2, "fit": "crop"}
    read = StartPicture.model_validate(old)
    assert not read.keeps
    assert read.model_dump(mode="json", exclude_defaults=True) == {"picture": "0" * 64, "stage": 2}
