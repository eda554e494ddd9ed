"""What stands in the fields <-> a request."""

from __future__ import annotations

from typing import Any

import pytest

from tests.ui.doubles import QUICK
from tests.ui.page_values import with_values
from zimage_app.domain.errors import RequestError
from zimage_app.domain.request import GenerationRequest, parse_request
from zimage_app.domain.settings.guidance import CfgLimit, EasyCache, Nag, NegPip, Variance
from zimage_app.domain.settings.lora_use import LoraUse
from zimage_app.domain.settings.stage import REFERENCE_STAGES, Stage, parse_stage
from zimage_app.ui.fields.values import (
    REQUEST_FIELDS,
    request_data,
    request_values,
    stage_data,
    stages_values,
)

PLAIN: dict[str, Any] = {"prompt": "小船", "negative": "", "triggers": "", "loras": [], "seed": ""}
FULL = GenerationRequest(
    prompt="夕阳, \n小船",
    negative=" 模糊",
    triggers=("水墨", "ink style"),
    loras=(
        LoraUse(name="风格/ink", strength=-0.5, stages=(1, 3), triggers=("墨",), sha256="0" * 64),
        LoraUse(name="snow", strength=0.0),
    ),
    seed=2**64 - 1,
    variation_strength=0.25,
    variation_seed=2**63 + 3,
    stages=(
        Stage(width=64, height=96, seed=2**63 + 1, denoise=0.333, enabled=False),
        Stage(
            seed="random",
            easycache=EasyCache(threshold=2.5, window_shift=7.25),
            nag=Nag(scale=3.5, rows="all"),
            negpip=NegPip(weight=0.5),
            cfg_start=0.9,
            cfg_end=0.1,
        ),
        Stage(
            steps=200,
            sampler="uni_pc",
            solver_type="heun",
            upscale="bislerp",
            cfg_limit=CfgLimit(of="denoised", most=0.7),
            variance=Variance(strength=0.3, end=0.2),
        ),
    ),
)


def _values(**changes: Any) -> dict[str, Any]:
    return with_values(PLAIN | stages_values(REFERENCE_STAGES), changes)


def test_a_request_comes_back_as_it_was() -> None:
    values = request_values(FULL, QUICK)
    assert set(values) == set(REQUEST_FIELDS)
    assert parse_request(request_data(values)) == FULL


def test_numbers_that_gradio_made_floats_are_whole_again() -> None:
    values = _values(**{"stages.0.steps": 9.0, "stages.0.width": 176.0, "stages.0.cfg": 2})
    request = parse_request(request_data(values))
    assert request.stages == REFERENCE_STAGES


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("stages.0.steps", 9.5, "stages.0.steps"),
        ("stages.0.steps", None, "stages.0.steps"),
        ("stages.1.cfg", float("nan"), "stages.1.cfg"),
        ("stages.2.width", 100, "stages.2.width"),
        ("stages.2.sampler", "magic", "stages.2.sampler"),
        ("stages.0.seed", "1.5", "stages.0.seed"),
        ("seed", "-2", "seed"),
        ("seed", "1e3", "seed"),
        ("prompt", "", "prompt"),
        ("prompt", None, "prompt"),
        ("prompt", ["小船"], "prompt"),
        ("triggers", 7, "triggers"),
        ("seed", [1], "seed"),
        ("stages.0.enabled", "yes", "stages.0.enabled"),
        ("prompt", "x" * 100_000, "prompt"),
        ("loras", "ink", "loras"),
        ("loras", [{"name": "ink", "strength": 3}], "loras.0.strength"),
        ("loras", [{"name": "ink", "colour": "red"}], "loras.0.colour"),
        ("loras", [{"name": "ink"}] * 17, "loras"),
    ],
)
def test_nothing_is_bent_into_shape(field: str, value: object, named: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse_request(request_data(_values(**{field: value})))
    assert caught.value.field == named


@pytest.mark.parametrize(
    ("text", "seed"),
    [("", "random"), (" -1 ", "random"), (None, "random"), ("0", 0), ("9007199254740993", 9007199254740993)],
)
def test_a_seed_is_exact_and_nothing_means_chance(text: str | None, seed: object) -> None:
    assert parse_request(request_data(_values(seed=text))).seed == seed


def test_trigger_words_are_split_at_every_comma() -> None:
    data = request_data(_values(triggers="水墨，留白、 ink style ,,\n远山"))
    assert data["triggers"] == ["水墨", "留白", "ink style", "远山"]


def test_a_group_that_is_off_keeps_its_numbers_out_of_the_request() -> None:
    values = _values(**{"stages.1.easycache": False, "stages.1.easycache.threshold": 99})
    assert parse_stage(stage_data(values["stages"][1])).easycache is None


def test_what_a_stage_lacks_is_as_usual() -> None:
    assert parse_stage(stage_data({"steps": 3, "nag": True})) == Stage(steps=3, nag=Nag())


def test_eight_stages_come_back_as_they_were() -> None:
    stages = tuple(Stage(steps=number + 1, enabled=number != 3) for number in range(8))
    request = GenerationRequest(prompt="x", stages=stages, seed=1)
    assert parse_request(request_data(request_values(request, QUICK))) == request


@pytest.mark.parametrize("stages", [[], [{}] * 9, 2, True, None, "2", [2], {"0": {}}])
def test_stages_that_are_no_list_of_stages_are_refused(stages: object) -> None:
    with pytest.raises(RequestError, match="1 to 8 stages") as caught:
        request_data(_values(stages=stages))
    assert caught.value.field == "stages"


def test_a_request_without_stages_shows_the_models_own() -> None:
    values = request_values(GenerationRequest(prompt="x"), QUICK)
    assert (values["stages"][1]["width"], values["seed"]) == (336, "")
