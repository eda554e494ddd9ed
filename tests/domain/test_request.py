"""Requests: what is let in, and the sentence for what isn't."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from pydantic import BaseModel

from zimage_app.domain.errors import RequestError
from zimage_app.domain.request import GenerationRequest, parse_request
from zimage_app.domain.settings.guidance import EasyCache
from zimage_app.domain.settings.knob import Knob, knob_of
from zimage_app.domain.settings.lora_use import LoraUse
from zimage_app.domain.settings.stage import REFERENCE_STAGES, STAGE_GROUPS, Stage, parse_stage

BAD: list[tuple[dict[str, Any], str, str]] = [
    ({}, "prompt", "missing"),
    ({"prompt": ""}, "prompt", "empty"),
    ({"prompt": " \n"}, "prompt", "visible"),
    ({"prompt": 3}, "prompt", "text"),
    ({"prompt": "x" * 100_000}, "prompt", "at most 8000"),
    ({"prompt": "x", "steps": 3}, "steps", "no such setting"),
    ({"prompt": "x", "cfg-scale": 3}, '"cfg-scale"', "no such setting"),
    ({"prompt": "x", "stages": [{"a\nb": 3}]}, 'stages.0."a\\nb"', "no such setting"),
    ({"prompt": "x", "seed": -1}, "seed", "at least 0"),
    ({"prompt": "x", "seed": 2**64}, "seed", "at most 18446744073709551615"),
    ({"prompt": "x", "seed": True}, "seed", "whole number"),
    ({"prompt": "x", "seed": "often"}, "seed", "'random'"),
    ({"prompt": "x", "stages": []}, "stages", "at least 1"),
    ({"prompt": "x", "stages": [{}] * 9}, "stages", "at most 8"),
    ({"prompt": "x", "stages": [{"enabled": False}]}, "stages", "stages: at least one must be enabled"),
    ({"prompt": "x", "stages": "three"}, "stages", "list"),
    ({"prompt": "x", "stages": [3]}, "stages.0", "group of settings"),
    ({"prompt": "x", "stages": [{}, {"sampler": "euler_a"}]}, "stages.1.sampler", "must be one of euler, "),
    ({"prompt": "x", "stages": [{"scheduler": "linear"}]}, "stages.0.scheduler", "must be one of flow_match, "),
    ({"prompt": "x", "stages": [{"width": 100}]}, "stages.0.width", "multiple of 16 from 64 to 2048"),
    ({"prompt": "x", "stages": [{"width": -5}]}, "stages.0.width", "multiple of 16 from 64 to 2048"),
    ({"prompt": "x", "stages": [{"height": 4096}]}, "stages.0.height", "multiple of 16 from 64 to 2048"),
    ({"prompt": "x", "stages": [{"height": None}]}, "stages.0.height", "(stage 1) is empty, but must be a whole"),
    ({"prompt": "x", "stages": [{"steps": 0}]}, "stages.0.steps", "at least 1"),
    ({"prompt": "x", "stages": [{"steps": 2.5}]}, "stages.0.steps", "whole number"),
    ({"prompt": "x", "stages": [{"steps": True}]}, "stages.0.steps", "whole number"),
    ({"prompt": "x", "stages": [{"cfg": float("nan")}]}, "stages.0.cfg", "finite"),
    ({"prompt": "x", "stages": [{"denoise": float("inf")}]}, "stages.0.denoise", "finite"),
    ({"prompt": "x", "stages": [{"denoise": 0}]}, "stages.0.denoise", "at least 0.01"),
    ({"prompt": "x", "stages": [{"shift": 0}]}, "stages.0.shift", "at least 0.01"),
    ({"prompt": "x", "stages": [{"shift": 1e-60}]}, "stages.0.shift", "at least 0.01"),  # 0 as a float32
    ({"prompt": "x", "stages": [{"seed": "sometimes"}]}, "stages.0.seed", "'follow' or 'random'"),
    ({"prompt": "x", "stages": [{"upscale": "lanczos"}]}, "stages.0.upscale", "'nearest-exact'"),
    ({"prompt": "x", "stages": [{"easycache": {"start": 0.9, "end": 0.5}}]}, "stages.0.easycache", "below end"),
    ({"prompt": "x", "stages": [{"easycache": {"threshold": -1}}]}, "stages.0.easycache.threshold", "at least 0"),
    ({"prompt": "x", "stages": [{"cfg_start": 0.2, "cfg_end": 0.5}]}, "stages.0", "cfg_start (0.2) must not be below"),
    ({"prompt": "x", "stages": [{"nag": {"sigma_end": 1, "sigma_start": 0.5}}]}, "stages.0.nag", "not be below"),
    ({"prompt": "x", "stages": [{"nag": {"scale": 0.5}}]}, "stages.0.nag.scale", "at least 1"),
    ({"prompt": "x", "stages": [{"nag": {"rows": "caption"}}]}, "stages.0.nag.rows", "'picture' or 'all'"),
    ({"prompt": "x", "stages": [{"negpip": {"weight": 21}}]}, "stages.0.negpip.weight", "at most 20"),
    ({"prompt": "x", "stages": [{"cfg_limit": {"most": 0}}]}, "stages.0.cfg_limit.most", "above 0"),
    ({"prompt": "x", "stages": [{"variance": {"share": 2}}]}, "stages.0.variance.share", "at most 1"),
    ({"prompt": "x", "loras": [{"name": "a", "strength": 9}]}, "loras.0.strength", "at most 2"),
    ({"prompt": "x", "triggers": [""]}, "triggers.0", "empty"),
    ({"prompt": object()}, "request", "plain data"),
]


@pytest.mark.parametrize(("data", "field", "rule"), BAD)
def test_bad_input_is_one_sentence_that_names_the_field(data: dict[str, Any], field: str, rule: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse_request(data)
    error = caught.value
    assert error.field == field
    assert error.text.en.startswith(f"{field}: ")
    assert rule in error.text.en
    assert "\n" not in error.text.en
    assert len(error.text.en) < 900
    assert any("\u4e00" <= character <= "\u9fff" for character in error.text.zh)


def test_the_stage_is_named_as_the_page_counts_it() -> None:
    with pytest.raises(RequestError, match=r"stages\.1\.steps: 0 \(stage 2\) must be at least 1"):
        parse_request({"prompt": "x", "stages": [{}, {"steps": 0}]})


def test_a_request_survives_json() -> None:
    request = GenerationRequest(
        prompt="一艘红色小船", negative="云", triggers=("水墨",), seed=2**64 - 1, stages=REFERENCE_STAGES
    )
    assert GenerationRequest.model_validate_json(request.model_dump_json()) == request
    assert parse_request(request.model_dump(mode="json")) == request


def test_requests_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        GenerationRequest(prompt="x").prompt = "y"


def test_the_reference_workflow_is_the_one_of_the_specification() -> None:
    sizes = [(stage.width, stage.height) for stage in REFERENCE_STAGES]
    assert sizes == [(176, 224), (336, 432), (672, 864)]
    assert [stage.steps for stage in REFERENCE_STAGES] == [9, 16, 16]
    assert [stage.cfg for stage in REFERENCE_STAGES] == [2.0, 1.0, 1.0]
    assert [stage.denoise for stage in REFERENCE_STAGES] == [1.0, 0.7, 0.6]
    assert [stage.shift for stage in REFERENCE_STAGES] == [3.0, 7.0, 7.0]
    assert [stage.sampler for stage in REFERENCE_STAGES] == ["euler_ancestral", "euler_ancestral", "dpmpp_sde"]
    assert [stage.scheduler for stage in REFERENCE_STAGES] == ["flow_match", "flow_match_linear", "beta"]
    assert [stage.easycache for stage in REFERENCE_STAGES] == [
        None,
        EasyCache(threshold=0.37, start=0.45, end=0.95),
        EasyCache(threshold=0.12, start=0.70, end=0.95),
    ]
    assert {(stage.eta, stage.s_noise, stage.r, stage.upscale) for stage in REFERENCE_STAGES} == {
        (1.0, 1.0, 0.5, "nearest-exact")
    }


def test_trigger_words_come_first_and_once() -> None:
    request = GenerationRequest(prompt="水墨 a boat", triggers=("gold leaf", "水墨", "gold leaf", " "))
    assert request.full_prompt == "gold leaf, 水墨 a boat"
    assert GenerationRequest(prompt="a boat").full_prompt == "a boat"


@pytest.mark.parametrize("model", [Stage, *STAGE_GROUPS.values(), LoraUse, GenerationRequest])
def test_every_knob_has_words_in_both_languages(model: type[BaseModel]) -> None:
    for name in model.model_fields:
        knob = knob_of(model, name)
        assert isinstance(knob, Knob)
        assert knob.title.en
        assert knob.title.zh
        assert knob.help.en.endswith(".")
        assert knob.help.zh.endswith("。")


def test_one_stage_can_be_checked_alone() -> None:
    assert parse_stage({"steps": 4, "cfg": 1}).steps == 4
    with pytest.raises(RequestError, match="must be at most 200"):
        parse_stage({"steps": 400})


def test_upscale_methods_are_the_five() -> None:
    assert set(get_args(Stage.model_fields["upscale"].annotation)) == {
        "nearest-exact",
        "bilinear",
        "bicubic",
        "area",
        "bislerp",
    }


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ({"prompt": ""}, "prompt：不能为空"),
        ({"prompt": "x", "seed": "often"}, 'seed："often"，必须是 random（随机），或整数'),
        (
            {"prompt": "x", "stages": [{"seed": "x"}]},
            'stages.0.seed："x"（第 1 阶段），必须是 follow（跟随）或 random（随机）之一，或整数',
        ),
        (
            {"prompt": "x", "stages": [{"upscale": "x"}]},
            'stages.0.upscale："x"（第 1 阶段），必须是 nearest-exact、bilinear、bicubic、area 或 bislerp 之一',
        ),
        ({"prompt": "x", "stages": [{"foo": 1}]}, "stages.0.foo（第 1 阶段）：没有这个设置"),
    ],
)
def test_refusals_are_good_chinese(data: dict[str, Any], sentence: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse_request(data)
    assert caught.value.text.zh == sentence


def test_the_prompt_is_folded_once_for_all_trigger_words(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = parse_request({"prompt": "long " * 1000 + "ink", "triggers": [f"w{number}" for number in range(20)]})
    texts: list[str] = []

    def counted(text: str) -> str:
        texts.append(text)
        return text

    monkeypatch.setattr("zimage_app.domain.request.folded", counted)
    assert len(asked.joined_words) == 20
    assert texts.count(asked.prompt) == 1
