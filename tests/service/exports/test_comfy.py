"""Exported workflows: valid graphs of ComfyUI's own nodes, read back exactly, with the same meaning."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.service.exports.comfy_nodes import faults
from tests.service.imports.test_round_trip import LORAS, PROMPTS
from zimage_app.domain.card import Z_IMAGE_TURBO
from zimage_app.domain.catalogue import SAMPLER_TRAITS
from zimage_app.domain.errors import RequestError
from zimage_app.domain.plan import GenerationPlan, make_plan
from zimage_app.domain.request import GenerationRequest, parse_request
from zimage_app.domain.schedules import SCHEDULERS
from zimage_app.domain.settings.guidance import CfgLimit, EasyCache, Nag, NegPip, Variance
from zimage_app.domain.settings.stage import Stage
from zimage_app.domain.settings.start_picture import StartPicture
from zimage_app.service.exports.comfy import FORMS, Form, exported
from zimage_app.service.exports.comfy.names import FileNames
from zimage_app.service.imports import read_settings


class AnyFile(dict[str, str]):
    """Has a file for every LoRA, tags in prompts included."""

    def __missing__(self, name: str) -> str:
        return f"{name}.safetensors"


NAMES = FileNames(
    "z_image_turbo_bf16.safetensors",
    "qwen_3_4b.safetensors",
    "ae.safetensors",
    AnyFile(),
    "start.png",
)
STAGES = st.builds(
    Stage,
    enabled=st.sampled_from([True, True, True, False]),
    width=st.integers(4, 128).map(lambda n: n * 16),
    height=st.integers(4, 128).map(lambda n: n * 16),
    steps=st.integers(1, 40),
    cfg=st.sampled_from([1.0, 2.0, 3.25]),
    denoise=st.sampled_from([1.0, 0.7, 0.35]),
    shift=st.sampled_from([3.0, 7.0, 1.5]),
    sampler=st.sampled_from(sorted(SAMPLER_TRAITS)),
    scheduler=st.sampled_from(sorted(SCHEDULERS)),
    seed=st.one_of(st.just("follow"), st.integers(0, 2**64 - 1)),
    eta=st.sampled_from([1.0, 0.5]),
    upscale=st.sampled_from(["nearest-exact", "bislerp"]),
    easycache=st.one_of(st.none(), st.builds(EasyCache, threshold=st.sampled_from([0.12, 1.0]))),
)
USES = st.tuples(LORAS, st.sampled_from([None, (1,)])).map(lambda pair: pair[0].model_copy(update={"stages": pair[1]}))
REQUESTS = st.builds(
    GenerationRequest,
    prompt=PROMPTS.filter(lambda text: bool(text.strip())),
    negative=st.one_of(st.just(""), PROMPTS),
    triggers=st.lists(st.sampled_from(["ink wash", "雪景"]), max_size=2, unique=True).map(tuple),
    loras=st.lists(USES, max_size=3).map(tuple),
    seed=st.integers(0, 2**64 - 1),
    stages=st.lists(STAGES, min_size=1, max_size=3).filter(lambda each: any(s.enabled for s in each)).map(tuple),
    start=st.one_of(st.none(), st.builds(StartPicture, picture=st.just("ab" * 32), fit=st.just("stretch"))),
)


def planned(request: GenerationRequest) -> GenerationPlan:
    return make_plan(request, Z_IMAGE_TURBO)


def plan_that_fits(request: GenerationRequest) -> GenerationPlan:
    """The plan of a request that can be made both here and there."""
    try:
        plan = planned(request)
        exported(plan, "z-image-turbo", NAMES, "api")
    except RequestError:
        assume(False)
    return plan


def workflow(plan: GenerationPlan, form: Form) -> dict[str, Any]:
    return exported(plan, "z-image-turbo", NAMES, form)[0]


@given(REQUESTS, st.sampled_from(FORMS))
@settings(max_examples=120, deadline=None)
def test_a_request_comes_back_exactly(request: GenerationRequest, form: Form) -> None:
    plan = plan_that_fits(request)
    imported = read_settings(json.dumps(workflow(plan, form)).encode(), "a.json")
    assert imported.exact
    assert imported.model == "z-image-turbo"
    assert imported.request() == plan.request


@given(REQUESTS)
@settings(max_examples=120, deadline=None)
def test_the_graph_is_one_that_comfyui_takes(request: GenerationRequest) -> None:
    nodes = workflow(plan_that_fits(request), "api")
    assert faults(nodes) == []
    assert [node["class_type"] for node in nodes.values()][-1] == "SaveImage"


@given(REQUESTS, st.sampled_from(FORMS))
@settings(max_examples=120, deadline=None)
def test_the_nodes_alone_mean_the_same_stages(request: GenerationRequest, form: Form) -> None:
    plan = plan_that_fits(request)
    assume(not any(stage.settings.scheduler.startswith("flow_match") for stage in plan.stages))
    assume(not any(stage.settings.steps != stage.steps for stage in plan.stages))
    data = without_note(workflow(plan, form))
    imported = read_settings(json.dumps(data).encode(), "a.json")
    assert not imported.exact
    again = make_plan(parse_request({"prompt": "-"} | imported.settings), Z_IMAGE_TURBO)
    assert len(again.stages) == len(plan.stages)
    for mine, theirs in zip(plan.stages, again.stages, strict=True):
        assert theirs.sigmas == mine.sigmas or scheduled_by_hand(mine.settings)
        assert (theirs.seed, theirs.window, theirs.latent_size) == (mine.seed, mine.window, mine.latent_size)
        for name in ("cfg", "sampler", "steps", *SAMPLER_TRAITS[mine.settings.sampler].options):
            assert getattr(theirs.settings, name) == getattr(mine.settings, name), name
    if not plan.request.prompt.startswith("<lora"):
        assert [use.name for use in again.request.loras if any(use.acts_in(n) for n in range(3))] or not any(
            use.acts_in(stage.number) for use in plan.request.loras for stage in plan.stages
        )


def scheduled_by_hand(stage: Stage) -> bool:
    """Whether no BasicScheduler gives its noise levels, because its sampler wants one step more."""
    return SAMPLER_TRAITS[stage.sampler].discards_penultimate


def without_note(data: dict[str, Any]) -> dict[str, Any]:
    if "nodes" in data:
        return {**data, "extra": {}}
    return {key: {name: value for name, value in node.items() if name != "_meta"} for key, node in data.items()}


def test_a_workflow_that_was_changed_counts_as_it_is() -> None:
    plan = planned(GenerationRequest(prompt="a boat", seed=5, stages=(Stage(),)))
    data = workflow(plan, "api")
    sampler = next(node for node in data.values() if node["class_type"] == "KSampler")
    sampler["inputs"]["steps"] = 12
    imported = read_settings(json.dumps(data).encode(), "a.json")
    assert not imported.exact
    assert imported.settings["stages"][0]["steps"] == 12


def test_a_note_with_settings_that_are_not_allowed_does_not_count() -> None:
    plan = planned(GenerationRequest(prompt="a boat", seed=5, stages=(Stage(),)))
    data = workflow(plan, "editor")
    data["extra"]["zimage_studio"]["request"]["stages"] = "all"
    imported = read_settings(json.dumps(data).encode(), "a.json")
    assert not imported.exact
    assert imported.settings["seed"] == 5


def test_numbers_as_a_browser_saves_them_are_the_same_workflow() -> None:
    plan = planned(GenerationRequest(prompt="a boat", seed=5, stages=(Stage(cfg=2.0),)))
    text = json.dumps(workflow(plan, "editor")).replace("2.0", "2").replace("3.0", "3").replace("1.0", "1")
    assert read_settings(text.encode(), "a.json").request() == plan.request


START = StartPicture(picture="ab" * 32)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"variation_strength": 0.2, "variation_seed": 3}, "variation_strength"),
        ({"start": START.model_copy(update={"mask": "cd" * 32})}, "start.mask"),
        ({"start": START.model_copy(update={"extend": (0, 16, 0, 0)})}, "start.extend"),
        ({"stages": (Stage(nag=Nag()),)}, "stages.0.nag"),
        ({"stages": (Stage(negpip=NegPip()),), "negative": "fog"}, "stages.0.negpip"),
        ({"stages": (Stage(cfg_limit=CfgLimit(), cfg=2.0),)}, "stages.0.cfg_limit"),
        ({"stages": (Stage(cfg_start=0.9, cfg=2.0),)}, "stages.0.cfg_start"),
        ({"stages": (Stage(variance=Variance()),)}, "stages.0.variance"),
        ({"stages": (Stage(sampler="res_multistep_ancestral", eta=0.5),)}, "stages.0.eta"),
        ({"stages": (Stage(), Stage(easycache=EasyCache(window_shift=5.0), denoise=0.5))}, "easycache.window_shift"),
        ({"stages": (Stage(width=336, height=432), Stage(handover="spectral"))}, "stages.1.handover"),
    ],
)
def test_what_comfyui_has_no_node_for_is_refused_by_name(changes: dict[str, Any], field: str) -> None:
    request = GenerationRequest(prompt="a boat", seed=5, stages=(Stage(),)).model_copy(update=changes)
    with pytest.raises(RequestError, match=field):
        workflow(planned(request), "api")


def test_what_has_no_effect_is_no_reason_to_refuse() -> None:
    stage = Stage(cfg=1.0, cfg_limit=CfgLimit(), nag=Nag(scale=1.0), variance=Variance(strength=0.0))
    assert workflow(planned(GenerationRequest(prompt="a boat", seed=5, stages=(stage,))), "api")


def test_what_differs_there_is_told() -> None:
    stages = (Stage(scheduler="flow_match", easycache=EasyCache()),)
    request = GenerationRequest(prompt="a boat", seed=2**60, stages=stages, start=START, keep_stages=True)
    told = "\n".join(text.en for text in exported(planned(request), "demo", NAMES, "editor")[1])
    for word in ("start.png", "single stages", "flow_match", "EasyCache in stage 1", "9007199254740992"):
        assert word in told


@pytest.mark.parametrize(
    ("sampler", "steps", "told"), [("uni_pc", 1, True), ("uni_pc_bh2", 1, True), ("uni_pc", 2, False)]
)
def test_one_step_of_uni_pc_is_told(sampler: str, steps: int, told: bool) -> None:
    """ComfyUI makes no step then, and returns the noised latent."""
    request = GenerationRequest(prompt="a boat", seed=5, stages=(Stage(sampler=sampler, steps=steps),))
    notes = exported(planned(request), "demo", NAMES, "api")[1]
    assert any("for one step, which ComfyUI leaves out" in text.en for text in notes) == told


def test_a_prompt_that_comfyuis_page_would_change_comes_from_a_field_that_it_leaves_alone() -> None:
    request = GenerationRequest(prompt=r"https://a.b \{c\}", seed=5, stages=(Stage(),))
    nodes = workflow(planned(request), "api")
    (text,) = (node for node in nodes.values() if node["class_type"] == "PrimitiveStringMultiline")
    assert text["inputs"]["value"] == r"https://a.b \{c\}"
