"""Image-to-image: the engine's arithmetic against a hand calculation, and runs that can be made again."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from zimage_app.domain.card import ModelCard
from zimage_app.domain.errors import GenerationError, RequestError
from zimage_app.domain.events import Failed, Picture, StageStarted
from zimage_app.domain.plan import make_plan
from zimage_app.domain.request import GenerationRequest, parse_request
from zimage_app.domain.settings.stage import Stage
from zimage_app.domain.start_image import StartImage
from zimage_app.domain.text import Text
from zimage_app.engine.noise import initial_noise
from zimage_app.engine.run import run, sample
from zimage_app.engine.start import encoded
from zimage_app.models.components import Components
from zimage_app.models.tiny import tiny_components
from zimage_app.service.generation.generator import Generator, load_generator
from zimage_app.service.generation.start_pictures import FOLDER, PictureInputs
from zimage_app.service.setup.config import StudioConfig

CARD = ModelCard("tiny", Text("Tiny", "微型"), Text("-", "-"))
STAGES = (
    Stage(width=64, height=64, steps=2, cfg=1.0),
    Stage(width=96, height=64, steps=2, denoise=0.5, cfg=1.0),
    Stage(width=128, height=96, steps=2, denoise=0.4, cfg=1.0),
)


def asking(stage: int, digest: str = "0" * 64, stages: tuple[Stage, ...] = STAGES, **more: Any) -> GenerationRequest:
    return parse_request(
        {
            "prompt": "boat",
            "seed": 5,
            "stages": [each.model_dump(mode="json") for each in stages],
            "start": {"picture": digest, "stage": stage, **more},
        }
    )


def a_photo(seed: int = 1, size: tuple[int, int] = (100, 80)) -> bytes:
    noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "PNG")
    return buffer.getvalue()


def pixels(width: int, height: int) -> Picture:
    return np.random.default_rng(3).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def components() -> Components:
    return tiny_components()


@pytest.fixture
def config(models_dir: Path, tmp_path: Path) -> StudioConfig:
    return StudioConfig(models=models_dir, outputs=tmp_path / "outputs", loras=tmp_path / "loras")


@pytest.fixture
def generator(config: StudioConfig) -> Generator:
    return load_generator("tiny", config)


# The plan.


def test_stages_before_the_pictures_are_left_out() -> None:
    plan = make_plan(asking(2), CARD)
    assert [stage.number for stage in plan.stages] == [1, 2]
    assert plan.warnings == ()
    whole = make_plan(parse_request({"prompt": "boat", "seed": 5, "stages": [s.model_dump() for s in STAGES]}), CARD)
    assert plan.stages == whole.stages[1:], "seeds and noise levels are those of the whole run"


def test_a_stage_that_is_off_gives_way_to_the_next() -> None:
    stages = (STAGES[0], STAGES[1].model_copy(update={"enabled": False}), STAGES[2])
    plan = make_plan(asking(2, stages=stages), CARD)
    assert [stage.number for stage in plan.stages] == [2]
    assert [text.en for text in plan.warnings] == ["Stage 2 is switched off, so the picture starts at stage 3."]


def test_a_picture_that_is_redrawn_wholly_has_no_effect_and_that_is_said() -> None:
    (said,) = make_plan(asking(1), CARD).warnings
    assert said.en.startswith("The start picture has no effect: denoise is 1 in stage 1")


@pytest.mark.parametrize(
    ("stage", "off", "words"), [(4, (), "there is no such stage"), (2, (1, 2), "stage 2 and all that follow are")]
)
def test_a_stage_that_cannot_be_the_first_is_named(stage: int, off: tuple[int, ...], words: str) -> None:
    stages = tuple(each.model_copy(update={"enabled": number not in off}) for number, each in enumerate(STAGES))
    with pytest.raises(RequestError, match=words) as caught:
        make_plan(asking(stage, stages=stages), CARD)
    assert caught.value.field == "start.stage"


@pytest.mark.parametrize(
    ("change", "field"),
    [({"picture": "../x"}, "start.picture"), ({"stage": 0}, "start.stage"), ({"fit": "squeeze"}, "start.fit")],
)
def test_what_is_not_allowed_is_named(change: dict[str, Any], field: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse_request({"prompt": "x", "start": {"picture": "0" * 64, "stage": 1, **change}})
    assert caught.value.field == field


# The engine.


def test_sampling_starts_from_the_noised_picture(components: Components, monkeypatch: pytest.MonkeyPatch) -> None:
    """x = sigma noise + (1 - sigma) (vae - shift) scale, HOW-IT-COMPUTES.md section 2; vae is the encoder's mean."""
    plan = make_plan(asking(2), CARD)
    first = plan.stages[0]
    picture = pixels(96, 64)
    module: Any = components.codec.module  # type: ignore[attr-defined]
    started: list[torch.Tensor] = []
    evaluation = type(components.transformer).evaluation

    def watched(self: Any, *args: Any) -> Any:
        evaluate = evaluation(self, *args)

        def note(x: torch.Tensor, sigma: float) -> torch.Tensor:
            started.append(x.clone())
            return evaluate(x, sigma)

        return note

    monkeypatch.setattr(type(components.transformer), "evaluation", watched)
    list(run(plan, components, lambda: False, start={first.number: StartImage(picture)}))
    with torch.inference_mode():
        scaled = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 127.5 - 1.0
        mean = module.encoder(scaled).chunk(2, 1)[0]
        latent = (mean - components.latent.shift) * components.latent.scale
        noise = initial_noise((1, 16, 8, 12), first.seed)
        wanted = first.sigmas[0] * noise + (1.0 - first.sigmas[0]) * latent
    assert first.sigmas[0] < 0.9
    torch.testing.assert_close(started[0], wanted, rtol=1e-5, atol=1e-5)


def test_another_picture_gives_another_result_and_the_same_the_same(components: Components) -> None:
    plan = make_plan(asking(3), CARD)

    def final(picture: Picture) -> torch.Tensor:
        *_, result = sample(plan, components, lambda: False, start={2: StartImage(picture)})
        return result.latent  # type: ignore[union-attr]

    one = final(pixels(128, 96))
    assert torch.equal(one, final(pixels(128, 96)))
    assert not torch.equal(one, final(255 - pixels(128, 96)))


def test_a_plan_and_its_picture_go_together(components: Components) -> None:
    with pytest.raises(ValueError, match="start picture"):
        list(sample(make_plan(asking(2), CARD), components, lambda: False))


def test_a_picture_that_cannot_be_encoded_is_named(components: Components, monkeypatch: pytest.MonkeyPatch) -> None:
    module: Any = components.codec.module  # type: ignore[attr-defined]
    monkeypatch.setattr(module.encoder, "forward", lambda x: torch.full((1, 32, 8, 8), float("nan")).to(x))
    with pytest.raises(GenerationError, match="not finite for the start picture"):
        encoded(pixels(64, 64), components)


# The service.


def test_a_picture_starts_a_run_that_can_be_made_again(generator: Generator, config: StudioConfig) -> None:
    kept = PictureInputs(config.outputs).save(a_photo(), "photo.png")
    request = asking(2, kept.sha256)
    made = generator.generate(request)
    assert made.image.size == (128, 96)
    assert [stage.number for stage in made.record.stages] == [1, 2]
    assert made.record.request.start == request.start
    assert f"Start picture: {kept.sha256[:10]} (stage 2)" in made.record.parameters_text
    again = load_generator("tiny", config).generate(made.record.request)
    np.testing.assert_array_equal(np.asarray(made.image), np.asarray(again.image))
    other = generator.generate(request.model_copy(update={"start": None}))
    assert (np.asarray(made.image) != np.asarray(other.image)).any()


def test_a_picture_that_is_gone_fails_before_anything_is_drawn(generator: Generator, config: StudioConfig) -> None:
    kept = PictureInputs(config.outputs).save(a_photo(), "photo.png")
    (config.outputs / FOLDER / kept.sha256).unlink()
    events = list(generator.stream(asking(2, kept.sha256)))
    assert not any(isinstance(event, StageStarted) for event in events)
    (failure,) = events
    assert isinstance(failure, Failed)
    assert "is not kept here" in failure.error.text.en
