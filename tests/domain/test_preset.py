"""Presets as plain values: checked, applied, compared."""

from __future__ import annotations

from typing import Any

import pytest

from zimage_app.domain.card import Z_IMAGE_TURBO, ModelCard
from zimage_app.domain.errors import RequestError
from zimage_app.domain.preset import (
    Difference,
    Preset,
    applied,
    checked,
    differences,
    request_settings,
    stage_data,
    suits,
    with_strength,
)
from zimage_app.domain.request import GenerationRequest, parse_request
from zimage_app.domain.settings.guidance import EasyCache
from zimage_app.domain.settings.lora_use import LoraUse
from zimage_app.domain.settings.stage import REFERENCE_STAGES, Stage
from zimage_app.domain.text import Text

OFF = Stage(enabled=False)
SINGLE = Stage(width=512, height=512, sampler="euler", scheduler="simple")


def request(**fields: Any) -> GenerationRequest:
    return GenerationRequest(prompt="a boat", **fields)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"colour": 1}, "colour: there is no such setting; allowed are model, prompt, negative"),
        ({"model": 3}, "model: must be a model's name"),
        ({"model": " "}, "model: must be a model's name"),
        ({"stages": [{"steps": 500}]}, r"stages\.0\.steps: 500 \(stage 1\) must be at most 200"),
        ({"stages": [{"enabled": False}]}, "at least one must be enabled"),
        ({"loras": [{"strength": 1.0}]}, r"loras\.0\.name: is missing"),
        ({"prompt": "  "}, "at least one visible character"),
        ({"lora_strength": 3}, "lora_strength: 3 must be a number from -2 to 2"),
        ({"lora_strength": True}, "lora_strength: True must be"),
    ],
)
def test_what_is_out_of_bounds_is_refused_by_name(data: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        checked(data)


def test_only_what_was_given_is_kept_and_stages_are_written_for_people() -> None:
    assert checked({}) == {}
    given = {"negative": "", "triggers": [], "lora_strength": 1, "model": " demo ", "seed": 7}
    assert checked(given) == {"model": "demo", "negative": "", "triggers": [], "seed": 7, "lora_strength": 1.0}
    (stage,) = checked({"stages": [{"steps": 4}]})["stages"]
    assert list(stage) == ["width", "height", "steps", "cfg", "denoise", "sampler", "scheduler", "shift"]
    assert stage["steps"] == 4
    assert stage_data(OFF) == {"enabled": False}


@pytest.mark.parametrize(
    "stages", [REFERENCE_STAGES, (SINGLE, OFF, Stage(easycache=EasyCache(window_shift=4.0), seed=5))]
)
def test_settings_give_the_same_request_again(stages: tuple[Stage, ...]) -> None:
    asked = request(
        negative="模糊",
        triggers=("水墨",),
        loras=(LoraUse(name="ink", strength=0.5, stages=(1,)),),
        seed=3,
        stages=stages,
    )
    settings = checked(request_settings("demo", asked, whole=True))
    assert parse_request(applied(settings, {})) == asked
    assert differences(settings, asked, Z_IMAGE_TURBO) == (Difference("model", "demo", "z-image-turbo"),)
    assert set(settings) - set(request_settings("demo", asked, whole=False)) == {"prompt", "seed"}


def test_stages_that_are_off_at_the_end_are_not_kept() -> None:
    assert len(request_settings("demo", request(stages=(SINGLE, OFF, SINGLE, OFF, OFF)), whole=False)["stages"]) == 3


def test_a_preset_leaves_alone_what_it_does_not_name() -> None:
    data = {"prompt": "a", "negative": "b", "loras": [{"name": "ink"}], "seed": 1}
    assert applied({}, data) == data
    assert applied({"model": "demo", "negative": "c"}, data) == data | {"negative": "c"}
    assert applied({"lora_strength": 0.8}, data)["loras"] == [{"name": "ink", "strength": 0.8}]
    assert data["loras"] == [{"name": "ink"}]
    assert with_strength(None, 1.0) == []


def test_differences_are_told_by_path_and_title_and_nothing_else() -> None:
    settings = checked({"negative": "模糊", "triggers": ["水墨"], "stages": [stage_data(SINGLE)]})
    same = request(negative="模糊", triggers=("水墨",), stages=(SINGLE, OFF, OFF), seed=9)
    assert differences(settings, same, Z_IMAGE_TURBO) == ()
    other = request(triggers=("水墨", "雪"), stages=(SINGLE.model_copy(update={"cfg": 2.5}), SINGLE))
    found = differences(settings, other, Z_IMAGE_TURBO)
    assert found == (
        Difference("negative", "模糊", "—"),
        Difference("triggers", "水墨", "水墨, 雪"),
        Difference("stages.0.cfg", "1", "2.5"),
        Difference("stages.1.enabled", "✗", "✓"),
    )
    assert found[2].title == Text("Stage 1: CFG", "第 1 阶段 CFG")
    assert found[0].title.zh == "反向提示词"


def test_knobs_without_effect_do_not_differ() -> None:
    settings = checked({"stages": [stage_data(SINGLE)]})
    eta = SINGLE.model_copy(update={"eta": 0.5})
    assert differences(settings, request(stages=(eta,)), Z_IMAGE_TURBO) == ()
    ancestral = eta.model_copy(update={"sampler": "euler_ancestral"})
    paths = [each.path for each in differences(settings, request(stages=(ancestral,)), Z_IMAGE_TURBO)]
    assert paths == ["stages.0.sampler", "stages.0.eta"]
    off = checked({"stages": [stage_data(SINGLE), {"enabled": False, "steps": 3}]})
    assert differences(off, request(stages=(SINGLE, OFF)), Z_IMAGE_TURBO) == ()


def test_easycache_differs_by_its_switch_or_by_its_numbers() -> None:
    def cached(**numbers: float) -> Stage:
        return SINGLE.model_copy(update={"easycache": EasyCache(**numbers)})

    settings = checked({"stages": [stage_data(cached(threshold=0.3))]})
    assert differences(settings, request(stages=(SINGLE,)), Z_IMAGE_TURBO) == (
        Difference("stages.0.easycache", "✓", "✗"),
    )
    (found,) = differences(settings, request(stages=(cached(threshold=0.1),)), Z_IMAGE_TURBO)
    assert found == Difference("stages.0.easycache.threshold", "0.3", "0.1")
    assert found.title.en == "Stage 1: EasyCache threshold"


def test_the_strength_of_whichever_lora_is_compared() -> None:
    ink = LoraUse(name="ink", strength=0.8, stages=(1, 2), triggers=("水墨",))
    assert differences({"lora_strength": 0.8}, request(loras=(ink,)), Z_IMAGE_TURBO) == ()
    (found,) = differences({"lora_strength": 1.0}, request(loras=(ink,)), Z_IMAGE_TURBO)
    assert found == Difference("lora_strength", "1", "ink 0.8")
    assert found.title.en == "Strength"
    (stack,) = differences({"loras": []}, request(loras=(ink,)), Z_IMAGE_TURBO)
    assert stack == Difference("loras", "—", "ink 0.8 @1,2 (水墨)")


def test_a_model_suits_by_its_name_or_its_family() -> None:
    copy = ModelCard("my-turbo", Text("a", "a"), Text("a", "a"), family="z-image-turbo")
    assert suits(copy, "z-image-turbo")
    assert suits(copy, "my-turbo")
    assert not suits(copy, "z-image")
    own = (SINGLE,)
    assert differences({"model": "z-image-turbo"}, request(stages=own), copy, own) == ()
    assert differences({"model": "z-image-turbo"}, request(), copy, own) != ()
    assert differences({"negative": ""}, request(), copy, own) == ()


def test_a_presets_stages_are_there_where_it_names_some() -> None:
    assert Preset("a", Text("a", "a"), settings=checked({"stages": [stage_data(SINGLE)]})).stages == (SINGLE,)
    assert Preset("a", Text("a", "a")).stages is None


def test_a_size_is_written_out_in_the_stages_that_give_none() -> None:
    stages = [{"steps": 9}, {"steps": 4, "width": 320, "height": 320}, {"steps": 16}]
    settings = checked({"size": "864x672", "stages": stages})
    assert "size" not in settings
    assert [(stage["width"], stage["height"]) for stage in settings["stages"]] == [(224, 176), (320, 320), (864, 672)]


def test_a_size_alone_is_given_to_the_stages_that_are_chosen() -> None:
    settings = checked({"size": " 3:4 "})
    assert settings == {"size": "3:4"}
    chosen = request(stages=REFERENCE_STAGES)
    made = parse_request(applied(settings, chosen.model_dump(mode="json")))
    assert made.stages is not None
    assert [(stage.width, stage.height) for stage in made.stages] == [(176, 224), (320, 448), (656, 880)]
    (found,) = differences(settings, chosen, Z_IMAGE_TURBO)
    assert found == Difference("size", "656x880", "672x864")
    assert found.title == Text("Size", "尺寸")
    assert differences(settings, made, Z_IMAGE_TURBO) == ()


@pytest.mark.parametrize("data", [{"size": "big"}, {"size": 184}, {"size": "670x864", "stages": [{}]}])
def test_what_is_no_size_is_refused(data: dict[str, Any]) -> None:
    with pytest.raises(RequestError, match=r"^size: "):
        checked(data)
