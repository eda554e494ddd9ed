"""Shapes of graphs that people's files have: what is known of nodes, what isn't, and that no value is guessed."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.service.imports.test_imports import english, read
from zimage_app.domain.guidance import conditions_at
from zimage_app.domain.request import parse_request
from zimage_app.domain.schedules import as_float32
from zimage_app.service.imports import Imported, NamedStartPicture
from zimage_app.service.imports.comfy.arithmetic import evaluate_expression
from zimage_app.service.imports.comfy.catalogue import catalogue
from zimage_app.service.imports.comfy.graph import Node
from zimage_app.service.imports.comfy.node_call import NodeCall
from zimage_app.service.imports.comfy.roles import ROLES
from zimage_app.service.imports.comfy.values import Plain, Value
from zimage_app.service.imports.draft import shown

CASES: dict[str, Any] = yaml.safe_load(
    (Path(__file__).parents[2] / "data" / "imports" / "cases.yaml").read_text(encoding="utf-8")
)
WHOLE = ("prompt", "negative", "seed")


def graph_of(changes: dict[str, Any]) -> dict[str, Any]:
    """The base graph with other nodes, or other inputs of its nodes."""
    nodes = deepcopy(CASES["base"])
    for key, change in changes.items():
        nodes[key] = change if isinstance(change, list) else [nodes[key][0], nodes[key][1] | change]
    return {key: {"class_type": kind, "inputs": inputs} for key, (kind, inputs) in nodes.items()}


def lines(imported: Imported) -> str:
    return english((*imported.taken, *imported.translated, *imported.left))


@pytest.mark.parametrize("case", CASES["cases"], ids=lambda case: str(case["kind"]))
def test_a_graph_comes_over_right_or_is_told(case: dict[str, Any]) -> None:
    imported = read(graph_of(case["nodes"]))
    stage = imported.settings["stages"][0]
    for name, right in case.get("right", {}).items():
        found = imported.settings.get(name) if name in WHOLE else stage.get(name)
        assert found == (pytest.approx(right) if isinstance(right, float) else right), name
    if "loras" in case:
        assert [[use["name"], use["strength"]] for use in imported.settings["loras"]] == case["loras"]
    for words in case.get("told", ()):
        assert words in lines(imported)
    for words in case.get("unsaid", ()):
        assert words not in lines(imported)


def test_every_row_names_a_role_and_works_with_whatever_comes() -> None:
    kinds = catalogue()
    assert {kind.does for kind in kinds.values()} == set(ROLES)
    for kind in kinds.values():
        names = {name for order in kind.widgets for name in order} | set(kind.takes.values())
        for data in (None, "x", -1, 0.5, True, [1, 2], {"on": True}, 10**30):
            inputs: dict[str, Value] = {} if data is None else {name: Plain(data) for name in names}
            ROLES[kind.does](NodeCall(Node("1", kind.name), kind, inputs))


VALUES = st.one_of(st.integers(1, 60), st.floats(0.5, 9, allow_nan=False), st.text("abc xyz", min_size=1, max_size=12))


@given(
    kind=st.sampled_from(["Unheard Of", "Odd|Node", "LoraThing"]),
    fields=st.dictionaries(st.sampled_from(["steps", "cfg", "seed", "text", "value", "prompt", "width"]), VALUES),
    slots=st.lists(st.integers(0, 9), min_size=6, max_size=6),
)
@settings(max_examples=80, deadline=None)
def test_no_value_comes_out_of_a_node_that_is_not_known(kind: str, fields: dict[str, Any], slots: list[int]) -> None:
    links = [["20", slot] for slot in slots]
    names = ("seed", "steps", "cfg", "sampler_name", "scheduler")
    changes: dict[str, Any] = {
        "20": [kind, fields],
        "6": dict(zip(names, links, strict=False)),
        "3": {"text": links[5]},
    }
    imported = read(graph_of(changes))
    (stage,) = imported.settings["stages"]
    assert not {"steps", "cfg", "sampler", "scheduler"} & set(stage)
    assert not {"seed", "prompt"} & set(imported.settings)
    for title in (
        "Stage 1, Steps",
        "Stage 1, CFG",
        "Stage 1, Seed",
        "Stage 1, Sampler",
        "Stage 1, Scheduler",
        "Prompt",
    ):
        assert f"{title}: it comes from {kind} #20" in english(imported.left)


@given(chosen=st.permutations(range(6)), seed=st.integers(0, 2**63))
@settings(max_examples=60, deadline=None)
def test_a_value_is_the_one_of_the_output_that_is_linked(chosen: list[int], seed: int) -> None:
    given_values = {"seed": seed, "steps": 21, "cfg": 6.5, "sampler_name": "euler", "scheduler": "beta", "denoise": 0.5}
    names = list(given_values)
    fields = {"seed": "seed", "steps": "steps", "cfg": "cfg", "sampler_name": "sampler", "scheduler": "scheduler",
              "denoise": "denoise"}  # fmt: skip
    place = chosen[0]
    link = {names[place]: ["20", place]}
    imported = read(graph_of({"20": ["Input Parameters (Image Saver)", given_values], "6": link}))
    name = fields[names[place]]
    found = imported.settings["seed"] if name == "seed" else imported.settings["stages"][0][name]
    assert found == given_values[names[place]]


IDLE: list[tuple[str, dict[str, Any]]] = [
    ("KSampler", {"seed": 9, "steps": 4, "denoise": 0.0}),
    ("KSamplerAdvanced", {"noise_seed": 9, "steps": 4, "start_at_step": 4, "end_at_step": 10000}),
    ("KSamplerAdvanced", {"noise_seed": 9, "steps": 4, "start_at_step": 3, "end_at_step": 2}),
]


@pytest.mark.parametrize(("kind", "fields"), IDLE)
def test_a_sampler_that_runs_no_step_is_no_stage(kind: str, fields: dict[str, Any]) -> None:
    """ComfyUI hands its latent on unchanged, also where it was resized before."""
    nodes: dict[str, Any] = {
        "20": ["LatentUpscale", {"samples": ["6", 0], "upscale_method": "bislerp", "width": 1280, "height": 1920}],
        "21": [kind, CASES["base"]["6"][1] | {"denoise": 1.0} | fields | {"latent_image": ["20", 0]}],
        "22": ["KSampler", CASES["base"]["6"][1] | {"seed": 7, "denoise": 0.5, "latent_image": ["21", 0]}],
        "7": {"samples": ["22", 0]},
    }
    imported = read(graph_of(nodes))
    first, second = imported.settings["stages"]
    assert (first["width"], first["steps"], first["denoise"]) == (640, 11, 1.0)
    assert (second["width"], second["upscale"], second["seed"], second["denoise"]) == (1280, "bislerp", 7, 0.5)
    assert f"{kind} #21: it leaves the latent as it is" in english(imported.translated)
    alone = read(graph_of(nodes | {"7": {"samples": ["21", 0]}}))
    assert len(alone.settings["stages"]) == 1


# Start pictures, which a graph names and does not hold.

LOADED: dict[str, Any] = {
    "10": ["LoadImage", {"image": "beach.png [input]"}],
    "11": ["VAEEncode", {"pixels": ["10", 0], "vae": ["8", 0]}],
}
OTHER_MASK: dict[str, Any] = {"14": ["LoadImageMask", {"image": "sky.png", "channel": "red"}]}
PADDED: dict[str, Any] = {
    "16": ["ImagePadForOutpaint",
           {"image": ["10", 0], "left": 0, "top": 8, "right": 160, "bottom": 0, "feathering": 40}]
}  # fmt: skip
INPAINT = "InpaintModelConditioning"


@pytest.mark.parametrize(
    ("nodes", "latent", "expected", "words"),
    [
        ({}, "11", NamedStartPicture("beach.png"), "stage 1 begins with the picture beach.png"),
        (
            {"12": ["SetLatentNoiseMask", {"samples": ["11", 0], "mask": ["10", 1]}]},
            "12",
            NamedStartPicture("beach.png", {"paste": False}, own_mask=True),
            "Mask: what is transparent in beach.png",
        ),
        (
            OTHER_MASK
            | {"12": ["VAEEncodeForInpaint", {"pixels": ["10", 0], "mask": ["14", 0], "grow_mask_by": 6}]},
            "12",
            NamedStartPicture("beach.png", {"feather": 3, "paste": False}, "sky.png"),
            "grow_mask_by; similar, not equal",
        ),
        (
            OTHER_MASK
            | {
                "15": ["InvertMask", {"mask": ["14", 0]}],
                "12": ["SetLatentNoiseMask", {"samples": ["11", 0], "mask": ["15", 0]}],
                "13": ["DifferentialDiffusion", {"model": ["1", 0], "strength": 0.75}],
                "6": {"model": ["13", 0]},
            },
            "12",
            NamedStartPicture("beach.png", {"paste": False, "differential": 0.75}, "sky.png"),
            "InvertMask #15: what it does to the mask is not carried over",
        ),
        (
            PADDED | {"12": ["VAEEncodeForInpaint", {"pixels": ["16", 0], "mask": ["16", 1], "grow_mask_by": 6}]},
            "12",
            NamedStartPicture("beach.png", {"extend": [0, 8, 160, 0], "feather": 40, "paste": False}),
            "ImagePadForOutpaint #16: → a larger canvas",
        ),
        (PADDED, "11", NamedStartPicture("beach.png"), "begins with the picture beach.png"),
        (
            PADDED | {"11": ["VAEEncode", {"pixels": ["16", 0]}]},
            "11",
            NamedStartPicture("beach.png"),
            "its larger canvas is not carried over",
        ),
        (
            {
                "12": ["ImageScale", {"image": ["10", 0], "width": 640, "height": 960, "crop": "disabled"}],
                "11": ["VAEEncode", {"pixels": ["12", 0]}],
            },
            "11",
            NamedStartPicture("beach.png", {"fit": "stretch"}),
            "Stage 1: Width 640, Height 960",
        ),
        (
            {"12": ["ImageSharpen", {"image": ["10", 0]}], "11": ["VAEEncode", {"pixels": ["12", 0]}]},
            "11",
            NamedStartPicture("beach.png"),
            "ImageSharpen #12: what it does to the start picture is not carried over",
        ),
    ],
    ids=["no mask", "own mask", "greyed", "another mask, changed", "padded", "pad aside", "pad unmasked", "fit",
         "changed"],
)  # fmt: skip
def test_a_start_picture_waits_for_its_files(
    nodes: dict[str, Any], latent: str, expected: NamedStartPicture, words: str
) -> None:
    sampler = {"latent_image": [latent, 0], **nodes.get("6", {})}
    imported = read(graph_of(LOADED | nodes | {"6": sampler}))
    assert imported.start == expected
    assert words in lines(imported)
    parse_request({"prompt": "-", "start": expected.start_settings("0" * 64)})


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        ({"12": ["LatentUpscale", {"samples": ["11", 0], "upscale_method": "bislerp", "width": 640, "height": 960}]},
         "LatentUpscale #12: it resizes the start picture's latent (bislerp)"),
        ({"13": ["ImageScale", {"image": ["10", 0], "upscale_method": "area", "width": 640, "height": 960}],
          "12": ["VAEEncode", {"pixels": ["13", 0]}]}, "ImageScale #13: it resizes the start picture (area)"),
        ({"13": ["ImageScale", {"image": ["10", 0], "upscale_method": "lanczos", "width": 640, "height": 960}],
          "12": ["VAEEncode", {"pixels": ["13", 0]}]}, ""),
    ],
    ids=["latent", "another method", "lanczos"],
)  # fmt: skip
def test_a_start_picture_that_is_resized_in_another_way_is_told(nodes: dict[str, Any], words: str) -> None:
    imported = read(graph_of(LOADED | nodes | {"6": {"latent_image": ["12", 0]}}))
    left = english(imported.left)
    assert words in left
    assert ("it resizes the start picture" in left) == bool(words)
    (stage,) = imported.settings["stages"]
    assert (stage["width"], stage["height"]) == (640, 960)


@pytest.mark.parametrize("below", [0.8, 1.0])
def test_cfg_of_renorm_cfg_acts_strictly_below_its_level(below: float) -> None:
    nodes = {"20": ["RenormCFG", {"model": ["1", 0], "cfg_trunc": below, "renorm_cfg": 1.0}], "6": {"model": ["20", 0]}}
    stages = read(graph_of(nodes)).request().stages
    assert stages is not None
    level = as_float32(below)
    assert conditions_at(stages[0], level) == 1
    assert conditions_at(stages[0], as_float32(level * (1 - 2**-23))) == 2
    assert shown(stages[0].cfg_start) == f"{below:g}"


def test_inpaint_conditioning_hands_its_prompts_on() -> None:
    nodes: dict[str, Any] = OTHER_MASK | {
        "12": [INPAINT, {"positive": ["3", 0], "negative": ["4", 0], "pixels": ["10", 0], "mask": ["14", 0],
                         "noise_mask": True}],
        "6": {"positive": ["12", 0], "negative": ["12", 1], "latent_image": ["12", 2]},
    }  # fmt: skip
    imported = read(graph_of(LOADED | nodes))
    assert (imported.settings["prompt"], imported.settings["negative"]) == ("two herons", "fog")
    assert imported.start == NamedStartPicture("beach.png", {"paste": False}, "sky.png")
    off = read(graph_of(LOADED | nodes | {"12": [INPAINT, nodes["12"][1] | {"noise_mask": False}]}))
    assert off.start == NamedStartPicture("beach.png")


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        ({"12": ["SetLatentNoiseMask", {"samples": ["11", 0], "mask": ["20", 0]}], "20": ["DrawMask", {}]},
         "where its mask comes from isn't known"),
        ({"12": ["SetLatentNoiseMask", {"samples": ["5", 0], "mask": ["10", 1]}]}, "only a part of a start picture"),
        ({"12": ["VAEEncode", {"pixels": ["10", 0]}], "13": ["DifferentialDiffusion", {"model": ["1", 0]}],
          "6": {"model": ["13", 0]}}, "Differential diffusion: has no effect without a mask"),
    ],
    ids=["unknown", "nothing loaded", "differential alone"],
)  # fmt: skip
def test_a_mask_that_cannot_come_over_is_told(nodes: dict[str, Any], words: str) -> None:
    sampler = {"latent_image": ["12", 0], **nodes.get("6", {})}
    imported = read(graph_of(LOADED | nodes | {"6": sampler}))
    assert words in english(imported.left)
    assert imported.start is None or imported.start.settings == {}


# The editor's form.


def editor(nodes: list[dict[str, Any]], links: list[list[Any]], **more: Any) -> dict[str, Any]:
    """A sheet of the usual nodes and some others."""
    usual = [
        {"id": 1, "type": "UNETLoader", "widgets_values": ["zit.safetensors", "default"]},
        {"id": 2, "type": "CLIPLoader", "widgets_values": ["qwen_3_4b.safetensors", "lumina2", "default"]},
        entry(3, "CLIPTextEncode", {"clip": 2}, ["two {grey|white} herons"]),
        entry(4, "CLIPTextEncode", {"clip": 7}, ["fog"]),
        {"id": 5, "type": "EmptySD3LatentImage", "widgets_values": [640, 960, 1]},
        entry(7, "VAEDecode", {"samples": 6}, []),
        entry(9, "SaveImage", {"images": 9}, ["x"]),
    ]
    wires = [
        [2, 2, 0, 3, 0, "CLIP"], [7, 2, 0, 4, 0, "CLIP"], [1, 1, 0, 6, 0, "MODEL"], [3, 3, 0, 6, 1, "CONDITIONING"],
        [4, 4, 0, 6, 2, "CONDITIONING"], [5, 5, 0, 6, 3, "LATENT"], [6, 6, 0, 7, 0, "LATENT"], [9, 7, 0, 9, 0, "IMAGE"],
    ]  # fmt: skip
    own = {node["id"] for node in nodes}
    taken = {link[0] for link in links}
    return {
        "nodes": [*(node for node in usual if node["id"] not in own), *nodes],
        "links": [*(wire for wire in wires if wire[0] not in taken), *links],
        **more,
    }


def entry(number: int, kind: str, inputs: dict[str, int | None], values: list[Any]) -> dict[str, Any]:
    listed = [{"name": name, "type": "*", "link": link} for name, link in inputs.items()]
    return {"id": number, "type": kind, "inputs": listed, "widgets_values": values}


SAMPLER: dict[str, int | None] = {"model": 1, "positive": 3, "negative": 4, "latent_image": 5}


def test_choices_of_a_saved_workflow_stay_choices() -> None:
    sampler = entry(6, "KSampler", dict(SAMPLER), [31, "fixed", 11, 3.5, "heun", "beta", 1])
    imported = read(editor([sampler], []))
    assert imported.settings["prompt"] == "two {grey|white} herons"
    assert imported.settings["negative"] == "fog"


@pytest.mark.parametrize("control", ["randomize", True, None])
def test_what_stands_behind_a_seed_is_no_value(control: object) -> None:
    sampler = entry(6, "KSampler", dict(SAMPLER), [31, control, 11, 3.5, "heun", "beta", 1])
    (stage,) = read(editor([sampler], [])).settings["stages"]
    assert (stage["steps"], stage["cfg"], stage["sampler"]) == (11, 3.5, "heun")


def test_a_sampler_whose_values_have_no_names_gives_its_seed_and_tells_of_the_rest() -> None:
    sampler = entry(6, "StarSampler", dict(SAMPLER), [0.3, 31, "randomize", "heun", 11, 3.5])
    imported = read(editor([sampler], []))
    assert imported.settings["seed"] == 31
    assert imported.settings["prompt"] == "two {grey|white} herons"
    (stage,) = imported.settings["stages"]
    assert (stage["width"], stage["height"]) == (640, 960)
    assert "steps" not in stage
    assert "Stage 1, Steps: it comes from StarSampler #6: this file holds its values without their names" in english(
        imported.left
    )


def test_a_bypassed_node_hands_on_by_type_and_a_muted_one_gives_nothing() -> None:
    sampler = entry(6, "KSampler", SAMPLER | {"model": 20}, [31, "fixed", 11, 3.5, "heun", "beta", 1])
    lora = entry(20, "LoraLoaderModelOnly", {"model": 1}, ["moss.safetensors", 1.0]) | {"mode": 4}
    lora["inputs"][0]["type"] = "MODEL"
    wires = [[1, 1, 0, 20, 0, "MODEL"], [20, 20, 0, 6, 0, "MODEL"]]
    imported = read(editor([sampler, lora], wires))
    assert "loras" not in imported.settings
    assert imported.model == "zit.safetensors"


def test_a_bypassed_node_of_any_type_hands_on_its_input() -> None:
    sampler = entry(6, "KSampler", SAMPLER | {"latent_image": 20}, [31, "fixed", 11, 3.5, "heun", "beta", 1])
    cleaner = entry(20, "easy cleanGpuUsed", {"anything": 5}, []) | {"mode": 4}
    wires = [[5, 5, 0, 20, 0, "*"], [20, 20, 0, 6, 3, "LATENT"]]
    (stage,) = read(editor([sampler, cleaner], wires)).settings["stages"]
    assert (stage["width"], stage["height"]) == (640, 960)


def test_a_bypassed_node_hands_on_one_of_several_types() -> None:
    sampler = entry(6, "KSampler", SAMPLER | {"cfg": 21}, [31, "fixed", 11, 3.5, "heun", "beta", 1])
    number = {"id": 20, "type": "PrimitiveFloat", "widgets_values": [2.5]}
    convert = entry(21, "ComfyNumberConvert", {"mask": None, "value": 20}, []) | {"mode": 4}
    for place, kind in enumerate(("MASK", "INT,FLOAT,STRING")):
        convert["inputs"][place]["type"] = kind
    wires = [[20, 20, 0, 21, 1, "INT,FLOAT,STRING"], [21, 21, 0, 6, 4, "FLOAT"]]
    (stage,) = read(editor([sampler, number, convert], wires)).settings["stages"]
    assert stage["cfg"] == 2.5


def test_a_link_that_leads_to_nothing_is_told_and_is_no_input_of_a_switch() -> None:
    sampler = entry(6, "KSampler", SAMPLER | {"model": 22, "cfg": 21}, [])
    sampler["widgets_values"] = {"seed": 31, "steps": 11, "sampler_name": "heun", "scheduler": "beta", "denoise": 1}
    number = {"id": 20, "type": "PrimitiveFloat", "widgets_values": [2.5], "mode": 2}
    lora = entry(21, "LoraLoaderModelOnly", {"model": 1}, ["moss.safetensors", 1.0]) | {"mode": 2}
    switch = entry(22, "Any Switch (rgthree)", {"any_01": 23, "any_02": 1}, [])
    wires = [[21, 20, 0, 6, 4, "FLOAT"], [23, 21, 0, 22, 0, "MODEL"], [1, 1, 0, 22, 1, "MODEL"],
             [22, 22, 0, 6, 0, "MODEL"]]  # fmt: skip
    imported = read(editor([sampler, number, lora, switch], wires))
    assert imported.model == "zit.safetensors"
    assert "Stage 1, CFG: KSampler #6, cfg: its link leads to nothing; 1 is filled in" in english(imported.left)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("LoRA Stacker", ["simple", 1, "moss.safetensors", 0.25, 1, 1, *("None", 1, 1, 1) * 49]),
        ("easy loraStack", [True, "simple", 1, "moss.safetensors", 0.25, 1, 1, *("None", 1, 1, 1) * 9]),
    ],
)
def test_stacks_of_loras_whose_values_have_no_names(kind: str, values: list[Any]) -> None:
    sampler = entry(6, "KSampler", SAMPLER | {"model": 21}, [31, "fixed", 11, 3.5, "heun", "beta", 1])
    nodes = [sampler, entry(20, kind, {}, values), entry(22, "CR Apply LoRA Stack", {"model": 1, "lora_stack": 20}, [])]
    wires = [[20, 20, 0, 22, 1, "LORA_STACK"], [1, 1, 0, 22, 0, "MODEL"], [21, 22, 0, 6, 0, "MODEL"]]
    assert read(editor(nodes, wires)).settings["loras"] == [{"name": "moss", "strength": 0.25}]
    nodes[1]["widgets_values"] = ["another order", "moss.safetensors", *values]
    assert "the LoRA moss.safetensors is left out" in english(read(editor(nodes, wires)).left)


@pytest.mark.parametrize(
    ("kind", "values", "size"),
    [
        ("scale by multiplier", {"multiplier": 1.5}, (960, 1440)),
        ("scale longer dimension", {"longer_size": 1440}, (960, 1440)),
        ("scale shorter dimension", {"shorter_size": 960}, (960, 1440)),
        ("scale total pixels", {"megapixels": 1.5}, (1024, 1536)),
        ("scale dimensions", {"width": 800, "height": 800, "crop": "disabled"}, (800, 800)),
        ("scale to multiple", {"multiple": 64}, None),
    ],
)
def test_the_ways_of_one_node_to_resize(kind: str, values: dict[str, Any], size: tuple[int, int] | None) -> None:
    inputs = {"resize_type": kind, **{f"resize_type.{name}": value for name, value in values.items()}}
    _resized_by("ResizeImageMaskNode", {"input": ["7", 0], "scale_method": "lanczos", **inputs}, size)


@pytest.mark.parametrize(
    ("node", "values", "size"),
    [
        ("ImageResize+", {"width": 512, "height": 512, "condition": "upscale if smaller"}, (640, 960)),
        ("ImageResize+", {"width": 512, "height": 512, "condition": "downscale if bigger"}, (512, 512)),
        ("ImageResize+", {"width": 1024, "height": 1024, "condition": "if smaller area"}, (1024, 1024)),
        ("ImageScaleToTotalPixels", {"megapixels": 1.0, "resolution_steps": 64}, (832, 1280)),
    ],
)
def test_conditions_and_steps_of_sizes(node: str, values: dict[str, Any], size: tuple[int, int]) -> None:
    _resized_by(node, {"image": ["7", 0], **values}, size)


@pytest.mark.parametrize(("way", "words"), [("crop", "it crops to the new shape"), ("pad_edge", "it pads to the new")])
def test_what_kj_s_resize_does_to_the_shape_is_told(way: str, words: str) -> None:
    inputs = {"image": ["7", 0], "width": 1024, "height": 1024, "keep_proportion": way}
    assert f"ImageResizeKJv2 #20: {words}" in english(_resized_by("ImageResizeKJv2", inputs, (1024, 1024)).left)


@pytest.mark.parametrize(
    ("file", "factor"),
    [("RealESRGAN_x4plus.pth", 4), ("RealESRGAN_x2v3.pth", 2), ("4x-Ultra.pth", 4), ("x4_a", 4), ("box4you", None)],
)
def test_factors_in_names_of_upscale_models(file: str, factor: int | None) -> None:
    nodes: dict[str, Any] = {"19": ["UpscaleModelLoader", {"model_name": file}], "5": {"width": 256, "height": 320}}
    inputs = {"image": ["7", 0], "upscale_model": ["19", 0]}
    _resized_by("ImageUpscaleWithModel", inputs, (256 * factor, 320 * factor) if factor else None, nodes)


def _resized_by(
    node: str, inputs: dict[str, Any], size: tuple[int, int] | None, more: dict[str, Any] | None = None
) -> Imported:
    """Read a graph whose second sampler has a latent that a node has resized, and compare its size."""
    second = CASES["base"]["6"][1] | {"latent_image": ["21", 0], "seed": 9}
    nodes: dict[str, Any] = {
        "20": [node, inputs], "21": ["VAEEncode", {"pixels": ["20", 0], "vae": ["8", 0]}], "22": ["KSampler", second],
        "23": ["VAEDecode", {"samples": ["22", 0], "vae": ["8", 0]}], "9": {"images": ["23", 0]},
    }  # fmt: skip
    imported = read(graph_of((more or {}) | nodes))
    stage = imported.settings["stages"][1]
    assert ("Stage 2, size: it comes from" in english(imported.left)) == (size is None)
    if size:
        assert (stage["width"], stage["height"]) == size
    return imported


def test_values_that_are_promoted_out_of_a_subgraph() -> None:
    inside = {
        "id": "3d3f0a52-0000-4000-8000-00000000000a",
        "inputs": [{"name": "text", "type": "STRING"}, {"name": "clip", "type": "CLIP"}],
        "nodes": [
            entry(3, "CLIPTextEncode", {"clip": 2, "text": 1}, ["the inner text"]),
            {"id": 5, "type": "EmptySD3LatentImage", "widgets_values": [64, 64, 1]},
        ],
        "links": [
            {"id": 1, "origin_id": -10, "origin_slot": 0, "target_id": 3, "target_slot": 1, "type": "STRING"},
            {"id": 2, "origin_id": -10, "origin_slot": 1, "target_id": 3, "target_slot": 0, "type": "CLIP"},
            {"id": 3, "origin_id": 3, "origin_slot": 0, "target_id": -20, "target_slot": 0, "type": "CONDITIONING"},
            {"id": 4, "origin_id": 5, "origin_slot": 0, "target_id": -20, "target_slot": 1, "type": "LATENT"},
        ],
    }
    outer = entry(30, str(inside["id"]), {"clip": 2}, ["two herons", 704, None])
    outer["properties"] = {"proxyWidgets": [["-1", "text"], ["5", "width"], ["5", "height"]]}
    sampler = entry(
        6, "KSampler", SAMPLER | {"positive": 31, "latent_image": 32}, [31, "fixed", 11, 1, "heun", "beta", 1]
    )
    wires = [[2, 2, 0, 30, 0, "CLIP"], [31, 30, 0, 6, 1, "CONDITIONING"], [32, 30, 1, 6, 3, "LATENT"]]
    data = editor([sampler, outer], wires, definitions={"subgraphs": [inside]})
    imported = read(data)
    assert imported.settings["prompt"] == "two herons"
    (stage,) = imported.settings["stages"]
    assert (stage["width"], stage["height"]) == (704, 64)
    outer["properties"]["proxyWidgets"].append(["5", "$$canvas-image-preview"])  # a picture has no value
    assert read(data).settings == imported.settings
    outer["widgets_values"] = [7, 8, 9, 10, 11]
    imported = read(data)
    assert "prompt" not in imported.settings
    assert "this file holds its values without their names" in english(imported.left)


def test_values_that_are_promoted_out_of_two_subgraphs() -> None:
    inner = {
        "id": "3d3f0a52-0000-4000-8000-00000000000b",
        "inputs": [{"name": "text", "type": "STRING"}],
        "nodes": [
            entry(3, "CLIPTextEncode", {"text": 1}, ["the inner text"]),
            {"id": 5, "type": "EmptySD3LatentImage", "widgets_values": [64, 64, 1]},
        ],
        "links": [
            {"id": 1, "origin_id": -10, "origin_slot": 0, "target_id": 3, "target_slot": 0, "type": "STRING"},
            {"id": 3, "origin_id": 3, "origin_slot": 0, "target_id": -20, "target_slot": 0, "type": "CONDITIONING"},
            {"id": 4, "origin_id": 5, "origin_slot": 0, "target_id": -20, "target_slot": 1, "type": "LATENT"},
        ],
    }
    holder = entry(57, str(inner["id"]), {}, ["the inner template", 128])
    holder["properties"] = {"proxyWidgets": [["-1", "text"], ["5", "width"]]}
    middle = {
        "id": "3d3f0a52-0000-4000-8000-00000000000c",
        "inputs": [],
        "nodes": [holder],
        "links": [
            {"id": 1, "origin_id": 57, "origin_slot": 0, "target_id": -20, "target_slot": 0, "type": "CONDITIONING"},
            {"id": 2, "origin_id": 57, "origin_slot": 1, "target_id": -20, "target_slot": 1, "type": "LATENT"},
        ],
    }
    outer = entry(30, str(middle["id"]), {}, ["two herons", 704])
    outer["properties"] = {"proxyWidgets": [["57", "text"], ["57", "width"]]}
    sampler = entry(
        6, "KSampler", SAMPLER | {"positive": 31, "latent_image": 32}, [31, "fixed", 11, 1, "heun", "beta", 1]
    )
    wires = [[31, 30, 0, 6, 1, "CONDITIONING"], [32, 30, 1, 6, 3, "LATENT"]]
    imported = read(editor([sampler, outer], wires, definitions={"subgraphs": [middle, inner]}))
    assert imported.settings["prompt"] == "two herons"
    assert imported.settings["stages"][0]["width"] == 704


def test_wires_that_nobody_drew() -> None:
    """cg-use-everywhere lists what it connects."""
    sampler = entry(6, "KSampler", SAMPLER | {"model": None}, [31, "fixed", 11, 1, "heun", "beta", 1])
    link = {"downstream": 6, "downstream_slot": 0, "upstream": "1", "upstream_slot": 0, "type": "MODEL"}
    imported = read(editor([sampler], [[1, 1, 0, 99, 0, "MODEL"]], extra={"ue_links": [link]}))
    assert imported.model == "zit.safetensors"


def test_a_job_that_wraps_a_workflow_in_text_in_lists() -> None:
    inner = json.dumps(graph_of({}))
    for data in ({"input": {"workflow": json.loads(inner)}}, [{"job": {"body": inner}}], {"output": {"prompt": inner}}):
        assert read(data).settings["prompt"] == "two herons"


@pytest.mark.parametrize(
    ("sum_", "right"),
    [("a*2", 14), ("(a + 1) // 4 * 4", 8), ("max(a, 3.5)", 7), ("a if a > 5 else 0", 7), ("a ** 99", None),
     ("__import__('os')", None), ("a.b", None), ("[1][0]", None), ("(" * 500, None), ("9**9**9", None), ("1/0", None)],
)  # fmt: skip
def test_sums_are_worked_out_and_nothing_is_run(sum_: str, right: float | None) -> None:
    assert evaluate_expression(sum_, {"a": 7}) == right
