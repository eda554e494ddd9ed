"""Settings that other programs write into pictures and texts: whose they are, and what of them means something here."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from PIL import Image, PngImagePlugin

from tests.service.imports.test_imports import english, picture, read, stages
from zimage_app.domain.errors import ImportedFileError
from zimage_app.service.imports import Imported, read_settings

LINE = "Steps: 7, Sampler: Euler, Schedule type: Simple, CFG scale: 1.5, Seed: 808, Size: 640x960, Model: zit"


def latin_png(texts: dict[str, str]) -> bytes:
    """A PNG with UTF-8 in plain text chunks, as many programs write it."""
    info = PngImagePlugin.PngInfo()
    for key, text in texts.items():
        info.add(b"tEXt", key.encode() + b"\0" + text.encode())
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "PNG", pnginfo=info)
    return file.getvalue()


def jpeg(**tags: bytes | str) -> bytes:
    """A JPEG with a description or a user comment."""
    exif = Image.Exif()
    if "description" in tags:
        exif[0x010E] = tags["description"]
    if "comment" in tags:
        exif.get_ifd(0x8769)[0x9286] = tags["comment"]
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "JPEG", exif=exif)
    return file.getvalue()


def text(data: str | bytes) -> Imported:
    return read_settings(data if isinstance(data, bytes) else data.encode(), "a.txt")


def test_utf_8_where_latin_1_belongs() -> None:
    imported = read_settings(latin_png({"parameters": f"两只苍鹭\nNegative prompt: 雾\n{LINE}"}), "a.png")
    assert (imported.settings["prompt"], imported.settings["negative"]) == ("两只苍鹭", "雾")
    info = PngImagePlugin.PngInfo()
    info.add(b"tEXt", b"parameters\0" + f"façade, Müller\n{LINE}".encode("latin-1"))
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "PNG", pnginfo=info)
    assert read_settings(file.getvalue(), "a.png").settings["prompt"] == "façade, Müller"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "gb18030"])
def test_texts_in_the_encodings_of_people_s_editors(encoding: str) -> None:
    imported = text(f"两只苍鹭，雾中\r\nNegative prompt: 模糊\r\n{LINE}\r\n".encode(encoding))
    assert (imported.settings["prompt"], imported.settings["negative"]) == ("两只苍鹭，雾中", "模糊")
    assert (imported.settings["seed"], stages(imported)[0].steps) == (808, 7)


@pytest.mark.parametrize(
    ("given", "prompt", "negative"),
    [
        (f"herons. Steps: 12 in the dark\nNegative prompt: fog\n{LINE}", "herons. Steps: 12 in the dark", "fog"),
        (f'a sign, "Negative prompt: none"\nNegative prompt: fog\n{LINE}', 'a sign, "Negative prompt: none"', "fog"),
        (f"herons {LINE}", "herons", None),
        (f"herons Negative prompt: fog, mist {LINE}", "herons", "fog, mist"),
        (f"herons.{LINE}", "herons.", None),
        (f"herons\n{LINE}\n\nTime taken: 4 sec.\nA: 1 GB", "herons", None),
        (f"herons\nNegative prompt: fog,\nmist\n{LINE}", "herons", "fog,\nmist"),
        (LINE, None, None),
    ],
)
def test_where_prompt_and_negative_prompt_end(given: str, prompt: str | None, negative: str | None) -> None:
    imported = text(given)
    assert imported.settings.get("prompt") == prompt
    assert imported.settings.get("negative") == negative
    assert stages(imported)[0].steps == 7 if prompt else imported.settings["stages"][0]["steps"] == 7


def test_sd_next_writes_templates_its_own_hires_and_diffusers_names() -> None:
    line = (
        "Steps: 9, Size: 512x768, Sampler: Euler FlowMatch, Scheduler: FlowMatchEulerDiscreteScheduler, Seed: 4,"
        " CFG scale: 3, App: SD.Next, Pipeline: ZImagePipeline, Operations: txt2img; hires, Hires upscaler: Latent"
        " Nearest, Hires size: 1024x1536, Hires steps: 4, Hires strength: 0.5, Sampler shift: 4"
    )
    imported = text(f"herons\nNegative prompt: fog\nTemplate: __birds__\nin the fog\n{line}")
    assert imported.source.en == "SD.Next"
    assert (imported.settings["prompt"], imported.settings["negative"]) == ("herons", "fog")
    first, second = stages(imported)
    assert (first.sampler, first.scheduler, first.shift, first.cfg) == ("euler", "simple", 4.0, 4.0)
    assert (second.width, second.height, second.denoise, second.upscale) == (1024, 1536, 0.5, "nearest-exact")
    assert "guidance 3 (diffusers) → 4" in english(imported.translated)


def test_stable_diffusion_cpp_says_more_in_json() -> None:
    data = {
        "prompt": {"positive": "herons, Steps: 3", "negative": "fog"},
        "models": {"diffusion_model": "zit-Q6_K.gguf"},
        "loras": [{"name": "moss.safetensors", "multiplier": 0.4}],
    }
    line = (
        "Steps: 6, CFG scale: 1.0, Seed: 2, Size: 512x512, Model: , Sampler: euler discrete,"
        " Version: stable-diffusion.cpp"
    )
    imported = text(f"herons, Steps: 3\nNegative prompt: fog\n{line}, SDCPP: {json.dumps(data)}")
    assert (imported.settings["prompt"], imported.settings["negative"]) == ("herons, Steps: 3", "fog")
    assert imported.model == "zit-Q6_K.gguf"
    assert imported.settings["loras"] == [{"name": "moss", "strength": 0.4}]
    assert (stages(imported)[0].sampler, stages(imported)[0].scheduler) == ("euler", "normal")


def test_a_lora_that_is_listed_and_tagged_counts_once() -> None:
    data = {"prompt": {"positive": "herons <lora:moss:0.4>"}, "loras": [{"name": "zit/moss", "multiplier": 0.4}]}
    imported = text(f"herons\n{LINE}, Version: stable-diffusion.cpp, SDCPP: {json.dumps(data)}")
    assert imported.settings["prompt"] == "herons"
    assert imported.settings["loras"] == [{"name": "zit/moss", "strength": 0.4}]
    assert "LoRA moss, which is put on already and counts once" in english(imported.translated)


def test_eta_is_a_setting() -> None:
    (stage,) = stages(text(f"herons\n{LINE.replace('Sampler: Euler', 'Sampler: Euler a')}, Eta: 0.5"))
    assert stage.eta == 0.5


def test_what_a_text_does_not_hold_is_told() -> None:
    left = english(text("herons\nSteps: 7, Sampler: Euler, CFG scale: 1").left)
    for title in ("Seed: none was", "Model: none was", "Stage 1, Width: the file doesn't", "Stage 1, Height: the file"):
        assert title in left
    assert "Seed: none" not in english(text(f"herons\n{LINE.replace('Seed: 808', 'Seed: -1')}").left)


def test_what_draw_things_nests_is_told() -> None:
    nested = {"hiresFix": True, "upscaler": "4x.ckpt", "refinerModel": "", "teaCache": False, "zeta": 9}
    left = english(read(DRAW_THINGS | {"strength": 0.6, "v2": nested}).left)
    for words in (
        "hiresFix: True has no",
        "upscaler: 4x.ckpt has no",
        "Denoise: 0.6 was for a start picture",
    ):
        assert words in left
    assert not any(name in left for name in ("refinerModel", "teaCache", "zeta"))


def test_a_section_of_swarmui_s_prompt_is_told() -> None:
    data = {"sui_image_params": {"prompt": "herons <segment:face,0.6> smile", "seed": 4, "steps": 7}}
    imported = read(data)
    assert imported.settings["prompt"] == "herons"
    assert "Prompt: <segment:face,0.6> smile has no" in english(imported.left)


def test_civitai_s_resources_are_named() -> None:
    resources = [
        {"type": "checkpoint", "modelName": "Z Image", "modelVersionName": "Turbo"},
        {"type": "lora", "weight": 0.4, "modelName": "Moss: by a fan, v3", "modelVersionName": "v3"},
    ]
    imported = text(f"herons\nSteps: 7, Seed: 1, Civitai resources: {json.dumps(resources)}, Civitai metadata: {{}}")
    assert (imported.source.en, imported.model) == ("Civitai", "Z Image Turbo")
    assert "Civitai lora: Moss: by a fan, v3 v3, 0.4: its file is not named here" in english(imported.left)


WAN = {
    "type": "WanGP v11 by DeepBeepMeep", "model_type": "z_image", "model_filename": "zit.safetensors",
    "prompt": "herons", "negative_prompt": "fog", "resolution": "640x960", "seed": 5, "num_inference_steps": 8,
    "guidance_scale": 0, "activated_loras": ["moss.safetensors"], "loras_multipliers": "0.4", "flow_shift": 5,
}  # fmt: skip
DRAW_THINGS = {
    "c": "herons", "uc": "fog", "seed": 5, "steps": 8, "scale": 1, "size": "640x960", "seed_mode": "Scale Alike",
    "sampler": "Euler A Trailing", "shift": 5, "model": "z_image_turbo_q8p.ckpt", "strength": 1,
    "lora": [{"model": "moss_lora_f16.ckpt", "weight": 0.4}],
}  # fmt: skip
TENSOR = {
    "prompt": "herons", "negativePrompt": "fog", "width": 640, "height": 960, "imageCount": 1, "samplerName": "Euler",
    "steps": 8, "cfgScale": 1, "seed": "5", "models": [{"label": "Z-Image", "type": "BASE_MODEL"}],
}  # fmt: skip
FOOOCUS = {
    "base_model": "zit", "performance": "Speed", "prompt": "herons", "negative_prompt": "fog", "seed": "5", "steps": 8,
    "resolution": "(640, 960)", "guidance_scale": 1, "sampler": "euler", "scheduler": "karras",
    "loras": [["moss", 0.4]],
}  # fmt: skip
EASY = {
    "prompt": "herons", "negative_prompt": "fog", "seed": "5", "width": "640", "height": "960",
    "sampler_name": "euler_a",
    "num_inference_steps": "8", "guidance_scale": "1", "use_stable_diffusion_model": "zit",
    "use_lora_model": "['moss']", "lora_alpha": "[0.4]",
}  # fmt: skip
MOLD = {"prompt": "herons", "seed": 5, "steps": 8, "width": 640, "height": 960, "guidance": 1.0, "model": "zit:q8"}
INVOKE_2 = {
    "model_weights": "zit", "app_version": "2.3",
    "image": {"prompt": [{"prompt": "herons [fog]", "weight": 1}], "steps": 8, "seed": 5, "width": 640, "height": 960,
              "cfg_scale": 1, "sampler": "k_euler_a"},
}  # fmt: skip


@pytest.mark.parametrize(
    ("data", "source", "loras"),
    [
        (latin_png({"comment": json.dumps(WAN)}), "WanGP", True),
        (jpeg(comment=b"ASCII\0\0\0" + json.dumps(WAN).encode() + b"\0"), "WanGP", True),
        (jpeg(description="herons. Steps: 8, Seed: 5", comment=b"ASCII\0\0\0" + json.dumps(DRAW_THINGS).encode()),
         "Draw Things", True),
        (latin_png({"prompt": "herons", "generation_data": json.dumps(TENSOR) + "\0"}), "TensorArt", False),
        (latin_png({"fooocus_scheme": "fooocus", "parameters": json.dumps(FOOOCUS)}), "Fooocus", True),
        (latin_png(EASY), "Easy Diffusion", True),
        (json.dumps(EASY).encode(), "Easy Diffusion", True),
        (latin_png({"mold:prompt": "herons", "mold:parameters": json.dumps(MOLD)}), "mold", False),
        (latin_png({"Dream": "x", "sd-metadata": json.dumps(INVOKE_2)}), "InvokeAI", False),
    ],
)  # fmt: skip
def test_programs_with_flat_settings(data: bytes, source: str, loras: bool) -> None:
    imported = read_settings(data, "a.png")
    assert imported.source.en == source
    assert (imported.settings["prompt"], imported.settings["seed"]) == ("herons", 5)
    (stage,) = imported.settings["stages"]
    assert (stage["steps"], stage["width"], stage["height"], stage["cfg"]) == (8, 640, 960, 1)
    assert [use["strength"] for use in imported.settings.get("loras", [])] == ([0.4] if loras else [])
    assert imported.settings.get("negative") in ("fog", None)


def test_invoke_s_shift_of_this_model() -> None:
    data = {"positive_prompt": "herons", "z_image_shift": 4.5, "scheduler": "euler", "steps": 8}
    assert stages(read_settings(picture({"invokeai_metadata": json.dumps(data)}), "a.png"))[0].shift == 4.5


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        ({"generation_params": "something else"}, "data of another program (generation_params), in a form that is not"),
        ({"foo": '{"bar": 1}'}, "data of another program (foo)"),
        ({"Software": "Unheard Of"}, "made by Unheard Of, whose settings cannot be read"),
        ({"Title": "my cat"}, "holds no settings; chat apps"),
    ],
)
def test_whose_settings_they_are_is_told_where_they_cannot_be_read(texts: dict[str, str], words: str) -> None:
    with pytest.raises(ImportedFileError) as refused:
        read_settings(picture(texts), "a.png")
    assert words in str(refused.value)


def test_xmp_comments() -> None:
    inner = json.dumps(DRAW_THINGS).replace('"', "&quot;")
    xmp = (
        f'<x><exif:UserComment><rdf:Alt><rdf:li xml:lang="x-default">{inner}</rdf:li></rdf:Alt></exif:UserComment></x>'
    )
    assert read_settings(picture({"XML:com.adobe.xmp": xmp}), "a.png").source.en == "Draw Things"


def test_what_a_file_does_not_say_is_told() -> None:
    imported = text("herons\nSteps: 7, Seed: 1, Size: 512x512")
    assert "Stage 1, Sampler: the file doesn't say it; euler is filled in" in english(imported.left)


def _kept(data: dict[str, Any]) -> dict[str, Any]:
    return read(data).settings


def test_json_prompts_are_not_escaped_where_their_bars_mean_nothing() -> None:
    prompt = '{"subject": "herons", "sign": "EXIT | 24H"}'
    graph = {"positive_prompt": prompt, "steps": 8}
    assert _kept(graph)["prompt"] == prompt
