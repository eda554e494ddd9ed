"""D2, with a number: saved pictures that are dropped on the page give their settings, and these the same pixels."""

from __future__ import annotations

import random
from contextlib import closing
from pathlib import Path

from tests.service.generation.test_lora_runs import write
from tests.service.quick import finish
from zimage_app.domain.request import GenerationRequest, parse_request
from zimage_app.domain.settings.guidance import EasyCache
from zimage_app.domain.settings.lora_use import LoraUse
from zimage_app.domain.settings.stage import Stage
from zimage_app.service.pictures.history.pixels import compare_pixels, read_pixels
from zimage_app.service.pictures.views import SavedPicture
from zimage_app.service.setup.config import StudioConfig
from zimage_app.service.studio import Studio
from zimage_app.ui.drop.drop import answer, imported_values
from zimage_app.ui.fields.values import request_data

_SAMPLERS = ("euler", "euler_ancestral", "dpmpp_sde", "heun", "res_multistep")
_SCHEDULERS = ("simple", "beta", "flow_match", "karras")


def some_request(chance: random.Random) -> GenerationRequest:
    """Any settings, small."""

    def stage(first: bool) -> Stage:
        cache = EasyCache(threshold=chance.uniform(0.05, 0.4), start=0.2, end=0.9) if chance.random() < 0.4 else None
        return Stage(
            width=chance.choice((64, 96)),
            height=chance.choice((64, 80)),
            steps=chance.randint(2, 4),
            cfg=chance.choice((1.0, 2.5)),
            denoise=1.0 if first else round(chance.uniform(0.3, 0.9), 3),
            sampler=chance.choice(_SAMPLERS),
            scheduler=chance.choice(_SCHEDULERS),
            shift=round(chance.uniform(1, 8), 2),
            easycache=cache,
            seed=chance.choice(("follow", "random", chance.randrange(2**64))),
        )

    return GenerationRequest(
        prompt=chance.choice(("红色小船", "a {red|blue|green} boat", "云\n<b>&lt;", "小船 <lora:ink:0.6>")),
        negative=chance.choice(("", "模糊, {云|雾}")),
        triggers=chance.choice(((), ("水墨", "ink wash"))),
        loras=chance.choice(((), (LoraUse(name="ink", strength=0.5, stages=(1,)),))),
        seed=chance.randrange(2**64),
        keep_stages=chance.random() < 0.3,
        stages=tuple(stage(number == 0) for number in range(chance.randint(1, 3))),
    )


def round_trip(models: Path, folder: Path, count: int) -> None:
    """Make pictures, drop each on the page, and make it again from what the page's fields then hold."""
    config = StudioConfig(models=models, loras=folder / "loras", outputs=folder / "outputs", model="tiny")
    write(config.loras / "ink.safetensors", 1)
    chance = random.Random(2)
    with closing(Studio(config)) as studio:
        for number in range(count):
            before = _made(studio, some_request(chance))
            dropped = answer(studio, before.path.read_bytes(), "dropped.png", "en")
            assert (dropped["model"], dropped["left"]) == ("tiny", [])
            values = imported_values(dropped["settings"], studio.card("tiny"))
            after = _made(studio, parse_request(request_data(values)))
            assert after.record.request == before.record.request, number
            same, sentence = compare_pixels(read_pixels(before.path), read_pixels(after.path))
            assert same, f"{number}: {sentence}"


def _made(studio: Studio, request: GenerationRequest) -> SavedPicture:
    view = finish(studio, studio.submit(request, "tiny"))
    assert view.picture is not None, view.error
    return view.picture
