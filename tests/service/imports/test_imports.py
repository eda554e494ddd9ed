"""Settings out of others' pictures and workflows: what is taken, what is translated, what is told to stay behind."""

from __future__ import annotations

import io
import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, PngImagePlugin

from tests.service.lora_files import write_lora
from tests.service.records import a_picture, a_record
from zimage_app.domain.errors import ImportedFileError
from zimage_app.domain.plan import stage_seed
from zimage_app.domain.settings.stage import REFERENCE_STAGES, Stage
from zimage_app.service.imports import MAX_BYTES, Imported, fitted, read_file, read_settings
from zimage_app.service.imports.names import family_of, sampler_and_scheduler, scheduler
from zimage_app.service.library.loras import LoraLibrary
from zimage_app.service.pictures.gallery import Gallery

DATA = Path(__file__).parents[2] / "data" / "imports"
FORMS = ("reference_api.json", "reference_editor.json")
INFOTEXT = (
    "masterpiece, <lora:ink:0.8>, a (boat:1.2)\non a lake\nNegative prompt: blurry, \nlow quality\n"
    "Steps: 20, Sampler: DPM++ SDE Karras, CFG scale: 4.5, Seed: 7, Size: 512x760, Model: z_image_base, "
    'Clip skip: 2, Lora hashes: "ink: 123, b: 4", Version: f2.0.1'
)


def graph(name: str = FORMS[0]) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((DATA / name).read_text("utf-8"))
    return data


def read(data: object, name: str = "file.json") -> Imported:
    return read_settings(data.encode() if isinstance(data, str) else json.dumps(data).encode(), name)


def picture(texts: dict[str, str], size: tuple[int, int] = (32, 48)) -> bytes:
    info = PngImagePlugin.PngInfo()
    for key, text in texts.items():
        info.add_itxt(key, text)
    file = io.BytesIO()
    Image.new("RGB", size).save(file, "PNG", pnginfo=info)
    return file.getvalue()


def english(lines: object) -> str:
    return "\n".join(text.en for text in lines)  # type: ignore[attr-defined]


def stages(imported: Imported) -> tuple[Stage, ...]:
    found = imported.request().stages
    assert found is not None
    return found


# ComfyUI.


@pytest.mark.parametrize("name", FORMS)
def test_the_reference_workflow_is_exactly_the_default(name: str) -> None:
    imported = read_file(DATA / name)
    request = imported.request()
    assert request.stages is not None
    assert tuple(stage.model_copy(update={"seed": "follow"}) for stage in request.stages) == REFERENCE_STAGES
    assert request.seed == 905124181980574
    assert [stage.seed for stage in request.stages] == ["follow", 182450993364532, 894355038471848]
    assert request.prompt == "水墨, ink wash, 一艘红色小船停在湖面上，夕阳，雪山"
    assert request.negative == "低清晰度, 模糊, 水印"
    assert [(use.name, use.strength, use.stages) for use in request.loras] == [("zimage/ink_wash", 1.0, None)]
    assert imported.model == "z_image_turbo_bf16.safetensors"
    assert imported.left == ()
    assert "FlowMatchEulerDiscreteScheduler → flow_match_linear" in english(imported.translated)


def test_a_saved_picture_s_graph_is_read_from_png_and_webp() -> None:
    text = json.dumps(graph())
    expected = read(graph()).settings
    assert read_settings(picture({"prompt": text, "workflow": "{}"}), "a.png").settings == expected
    assert read_settings(picture({"workflow": json.dumps(graph(FORMS[1]))}), "a.png").settings == expected
    exif = Image.Exif()
    exif[0x0110] = f"prompt:{text}"
    file = io.BytesIO()
    Image.new("RGB", (32, 32)).save(file, "WEBP", exif=exif)
    assert read_settings(file.getvalue(), "a.webp").settings == expected


def test_seeds_that_follow_from_the_first_are_left_open() -> None:
    data = graph()
    data["276"]["inputs"]["seed"] = stage_seed(905124181980574, 1)
    assert [stage.seed for stage in stages(read(data))] == ["follow", "follow", 894355038471848]


def test_what_each_stage_s_shift_and_window_come_from() -> None:
    data = graph()
    del data["274"]
    data["275"]["inputs"]["model"] = ["270", 0]
    data["316"]["inputs"]["model"] = ["301", 0]
    first, second, third = stages(read(data))
    assert first.shift == 3.0  # the schedule's own, though the model has been patched to 7
    assert first.easycache is not None
    assert second.shift == 3.0
    assert second.easycache is not None
    assert second.easycache.window_shift == 7.0
    assert third.easycache is not None
    assert third.easycache.window_shift == "auto"


def test_advanced_sampler_from_a_later_step_is_a_denoise_that_keeps_its_steps() -> None:
    for start, steps in ((4, 9), (2, 50), (33, 50), (1, 49), (6, 7)):
        data = graph()
        inputs = data["276"]["inputs"] | {"noise_seed": 5, "start_at_step": start, "end_at_step": 10000, "steps": steps}
        data["276"] = {"class_type": "KSamplerAdvanced", "inputs": inputs}
        stage = stages(read(data))[1]
        assert stage.steps == steps - start
        assert int(stage.steps / stage.denoise) == steps


def test_guiders_and_noise_of_their_own() -> None:
    data = graph()
    del data["303"]
    data |= {
        "1": {"class_type": "RandomNoise", "inputs": {"noise_seed": 11}},
        "2": {"class_type": "CFGGuider", "inputs": {"cfg": 3.5, "model": ["301", 0], "positive": ["6", 0]}},
        "303": {
            "class_type": "SamplerCustomAdvanced",
            "inputs": {
                "noise": ["1", 0],
                "guider": ["2", 0],
                "sampler": ["302", 0],
                "sigmas": ["304", 0],
                "latent_image": ["325", 0],
            },
        },
    }
    third = stages(read(data))[2]
    assert (third.seed, third.cfg, third.sampler, third.steps) == (11, 3.5, "dpmpp_sde", 16)


@pytest.mark.parametrize(
    ("kind", "inputs", "words"),
    [
        ("SamplerER_SDE", {"solver_type": "ODE", "max_stage": 1}, "solver_type ODE does not exist here"),
        ("SamplerER_SDE", {"solver_type": "ER-SDE", "max_stage": 2}, "max_stage 2 does not exist here"),
        ("SamplerSEEDS2", {"solver_type": "phi_1", "r": 1.0}, "r 1 does not exist here"),
        ("SamplerLMS", {"order": 2}, "order 2 does not exist here"),
        ("KSamplerSelect", {"sampler_name": "uni_pc"}, "a stage here leaves out the last but one"),
    ],
)
def test_options_of_a_sampler_that_do_not_exist_here_are_told(kind: str, inputs: dict[str, Any], words: str) -> None:
    data = graph()
    data["302"] = {"class_type": kind, "inputs": inputs}
    assert words in english(read(data).left)


def test_usual_options_of_a_sampler_are_not_told() -> None:
    data = graph()
    data["302"] = {"class_type": "SamplerER_SDE", "inputs": {"solver_type": "ER-SDE", "max_stage": 3}}
    imported = read(data)
    assert stages(imported)[2].sampler == "er_sde"
    assert "does not exist here" not in english(imported.left)


def test_unknown_samplers_schedulers_and_nodes_are_told_of_by_name() -> None:
    data = graph()
    data["276"]["inputs"] |= {"sampler_name": "res_2s", "scheduler": "beta57"}
    data["999"] = {"class_type": "PatchSageAttentionKJ", "inputs": {"model": ["274", 0]}}
    data["275"]["inputs"]["model"] = ["999", 0]
    data["317"] = {"class_type": "FaceDetailer", "inputs": {"image": ["306", 0]}}
    data["307"]["inputs"]["images"] = ["317", 0]
    imported = read(data)
    left = english(imported.left)
    for words in (
        "res_2s does not exist here; euler is",
        "beta57 does not",
        "PatchSageAttentionKJ #999",
        "FaceDetailer #317",
    ):
        assert words in left
    assert (stages(imported)[1].sampler, stages(imported)[1].scheduler) == ("euler", "simple")


def test_values_out_of_bounds_stay_behind_with_the_reason_and_sizes_go_to_the_grid() -> None:
    data = graph()
    data["318"]["inputs"] |= {"width": 180, "height": 8000}
    data["276"]["inputs"]["cfg"] = 77
    imported = read(data)
    assert (stages(imported)[0].width, stages(imported)[0].height) == (176, Stage().height)
    assert "Stage 1, Width: 180 → 176" in english(imported.translated)
    assert "Stage 1, Height: 8000 must be a multiple of 16 from 64 to 2048; 864 is filled in" in english(imported.left)
    assert "Stage 2, CFG: 77" in english(imported.left)
    assert stages(imported)[1].cfg == 1.0


def test_the_end_of_the_picture_s_own_size_is_taken() -> None:
    data = graph()
    data["310"]["class_type"] = "SaveImage"
    assert len(stages(read(data))) == 3
    small = read_settings(picture({"prompt": json.dumps(data)}, (336, 432)), "a.png")
    assert [stage.width for stage in stages(small)] == [176, 336]
    assert "Pictures in this workflow: 2 → SaveImage #310" in english(small.translated)


def test_lora_stacks_switches_and_stages() -> None:
    data = graph()
    data["16"]["inputs"] = {"unet_name": "z_image_turbo_bf16.safetensors"}
    data["270"] = {
        "class_type": "Power Lora Loader (rgthree)",
        "inputs": {
            "model": ["16", 0],
            "clip": ["146", 0],
            "lora_1": {"on": True, "lora": "a.safetensors", "strength": 0.5},
            "lora_2": {"on": False, "lora": "b.safetensors", "strength": 1},
        },
    }
    extra = {"model": ["270", 0], "lora_name": "c.safetensors", "strength_model": 0.25}
    data["280"] = {"class_type": "LoraLoaderModelOnly", "inputs": extra}
    data["274"]["inputs"]["model"] = ["280", 0]
    uses = read(data).request().loras
    assert [(use.name, use.strength, use.stages) for use in uses] == [("a", 0.5, None), ("c", 0.25, (2,))]


def test_a_lora_too_strong_and_its_other_strength_are_told_of() -> None:
    data = graph()
    data["270"]["inputs"] |= {"strength_model": 9.0, "strength_clip": 0.5}
    imported = read(data)
    assert imported.request().loras == ()
    assert "LoRA zimage/ink_wash: 9.0 must be at most 2" in english(imported.left)
    assert "0.5 for the text encoder" in english(imported.left)


def test_an_image_upscale_between_samplers_is_a_latent_one_here() -> None:
    data = graph()
    data |= {
        "60": {"class_type": "VAEDecode", "inputs": {"samples": ["276", 0], "vae": ["17", 0]}},
        "61": {
            "class_type": "ImageScaleBy",
            "inputs": {"image": ["60", 0], "upscale_method": "lanczos", "scale_by": 1.5},
        },
        "62": {"class_type": "VAEEncode", "inputs": {"pixels": ["61", 0], "vae": ["17", 0]}},
    }
    data["303"]["inputs"]["latent_image"] = ["62", 0]
    imported = read(data)
    third = stages(imported)[2]
    assert (third.width, third.height, third.upscale) == (512, 656, "nearest-exact")
    assert "VAEDecode #60 + lanczos → nearest-exact" in english(imported.translated)


def test_prompts_that_are_made_at_run_time_are_told_of() -> None:
    data = graph()
    data["340"] = {"class_type": "OllamaGenerate", "inputs": {"image": ["1", 0]}}
    imported = read(data)
    assert imported.settings["prompt"] == "水墨, ink wash"
    assert "OllamaGenerate #340: its text is made when the workflow runs" in english(imported.left)


def test_a_zeroed_negative_matters_only_where_cfg_is_not_1() -> None:
    data = graph()
    data["8"] = {"class_type": "ConditioningZeroOut", "inputs": {"conditioning": ["6", 0]}}
    data["276"]["inputs"]["negative"] = ["8", 0]
    assert read(data).left == ()
    data["316"]["inputs"]["negative"] = ["8", 0]
    assert "Stage 1: its negative prompt is zeroed (ConditioningZeroOut)" in english(read(data).left)


def test_subgraphs_are_unfolded() -> None:
    data = graph(FORMS[1])
    inside = {
        "id": "5f9c1c1e-0000-4000-8000-000000000001",
        "nodes": [
            {"id": 1, "type": "ModelSamplingAuraFlow", "inputs": [
                {"name": "model", "type": "MODEL", "link": 1},
                {"name": "shift", "type": "FLOAT", "link": 3, "widget": {"name": "shift"}},
            ], "widgets_values": [1.5]},
        ],
        "links": [
            {"id": 1, "origin_id": -10, "origin_slot": 0, "target_id": 1, "target_slot": 0, "type": "MODEL"},
            {"id": 2, "origin_id": 1, "origin_slot": 0, "target_id": -20, "target_slot": 0, "type": "MODEL"},
            {"id": 3, "origin_id": -10, "origin_slot": 1, "target_id": 1, "target_slot": 1, "type": "FLOAT"},
        ],
    }  # fmt: skip
    data["definitions"] = {"subgraphs": [inside]}
    node = next(node for node in data["nodes"] if node["id"] == 274)
    node["type"] = inside["id"]
    node["inputs"].append({"name": "shift", "type": "FLOAT", "link": None, "widget": {"name": "shift"}})
    node["widgets_values"] = [5.5]
    assert stages(read(data))[1].shift == 5.5
    inside["nodes"].append({"id": 2, "type": inside["id"], "inputs": []})  # type: ignore[attr-defined]
    assert stages(read(data))[1].shift == 5.5  # a subgraph in itself ends somewhere


def test_a_graph_that_samples_nothing_says_so() -> None:
    with pytest.raises(ImportedFileError, match="no prompt and no sampler"):
        read({"1": {"class_type": "LoadImage", "inputs": {"image": "a.png"}}})


# A1111, SwarmUI, InvokeAI, ours.


def test_infotext() -> None:
    imported = read_settings(picture({"parameters": INFOTEXT}), "a.png")
    request = imported.request()
    assert request.prompt == "masterpiece, a (boat:1.2)\non a lake"
    assert request.negative == "blurry, \nlow quality"
    assert [(use.name, use.strength) for use in request.loras] == [("ink", 0.8)]
    (stage,) = stages(imported)
    assert (stage.steps, stage.sampler, stage.scheduler, stage.cfg) == (20, "dpmpp_sde", "karras", 4.5)
    assert (request.seed, stage.width, stage.height, imported.model) == (7, 512, 768, "z_image_base")
    assert "DPM++ SDE Karras → dpmpp_sde + karras" in english(imported.translated)
    assert "Height: 760 → 768" in english(imported.translated)
    assert "Clip skip: 2 has no equivalent in this app" in english(imported.left)
    assert "weights such as (word:1.2)" in english(imported.left)
    assert "hashes" not in english(imported.left)


@pytest.mark.parametrize("big", [True, False])
def test_infotext_in_a_jpeg_in_either_order_of_bytes(big: bool) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9286] = b"UNICODE\0" + INFOTEXT.replace("a lake", "湖").encode(
        f"utf-16-{'be' if big else 'le'}"
    )
    file = io.BytesIO()
    Image.new("RGB", (32, 32)).save(file, "JPEG", exif=exif)
    assert read_settings(file.getvalue(), "a.jpg").request().prompt.endswith("on 湖")


def test_hires_fix_is_a_second_stage_of_the_steps_that_it_ran() -> None:
    line = (
        "boat\nSteps: 20, Sampler: Euler a, Schedule type: Automatic, CFG scale: 2, Seed: 1, Size: 512x768,"
        " Denoising strength: 0.4, Hires Module 1: Use same choices, Hires CFG Scale: 1, Hires upscale: 1.5,"
        ' Hires upscaler: 4x-UltraSharp, Hires prompt: "a, b: c"'
    )
    imported = read(line, "a.txt")
    first, second = stages(imported)
    assert (first.sampler, first.scheduler, first.steps) == ("euler_ancestral", "simple", 20)
    assert (second.width, second.height, second.cfg, second.denoise) == (768, 1152, 1.0, 0.4)
    assert second.steps == 20
    assert "4x-UltraSharp → nearest-exact" in english(imported.translated)
    assert "Hires prompt: a, b: c has no equivalent in this app" in english(imported.left)


def test_swarm() -> None:
    params = {
        "prompt": "a boat", "negativeprompt": "fog", "model": "Z-Image/z_image_turbo", "seed": 3, "steps": 8,
        "cfgscale": 1.0, "width": 512, "height": 768, "sampler": "euler_ancestral", "scheduler": "simple",
        "sigmashift": 5.0, "loras": ["ink"], "loraweights": ["0.6"], "swarm_version": "0.9",
        "refinercontrolpercentage": 0.5, "refinerupscale": 1.5, "refinerupscalemethod": "latent-bislerp",
        "refinermethod": "PostApply", "clipstopatlayer": -2,
    }  # fmt: skip
    imported = read_settings(picture({"parameters": json.dumps({"sui_image_params": params})}), "a.png")
    first, second = stages(imported)
    assert (first.steps, first.shift, first.sampler) == (8, 5.0, "euler_ancestral")
    assert (second.width, second.height, second.steps, second.denoise) == (768, 1152, 4, 0.5)
    assert (second.upscale, second.seed) == ("bislerp", 4)
    assert [(use.name, use.strength) for use in imported.request().loras] == [("ink", 0.6)]
    assert english(imported.left) == "clipstopatlayer: -2 has no equivalent in this app"
    assert imported.settings["seed"] == 3


def test_swarm_s_refiner_takes_the_end_of_its_list_of_steps() -> None:
    params = {"prompt": "a boat", "steps": 8, "seed": 3, "refinercontrolpercentage": 0.2, "swarm_version": "0.9"}
    imported = read_settings(picture({"parameters": json.dumps({"sui_image_params": params})}), "a.png")
    refiner = stages(imported)[1]
    assert (refiner.steps, int(refiner.steps / refiner.denoise)) == (2, 8)


def test_invoke() -> None:
    params = {
        "positive_prompt": "a boat", "negative_prompt": "fog", "seed": 3, "steps": 30, "cfg_scale": 4,
        "width": 1024, "height": 1024, "scheduler": "dpmpp_2m_sde_k", "model": {"name": "Z-Image", "base": "z-image"},
        "loras": [{"model": {"name": "ink"}, "weight": 0.5}], "seamless_x": False, "strength": 0.5,
    }  # fmt: skip
    imported = read_settings(picture({"invokeai_metadata": json.dumps(params)}), "a.png")
    (stage,) = stages(imported)
    assert (stage.sampler, stage.scheduler, stage.cfg) == ("dpmpp_2m_sde", "karras", 4.0)
    assert imported.model == "Z-Image"
    assert english(imported.left) == "strength: 0.5 has no equivalent in this app"


def test_our_own_pictures_are_exact(tmp_path: Path) -> None:
    record = a_record()
    saved = Gallery(tmp_path).save(a_picture(), record)
    imported = read_file(saved.path)
    assert imported.exact
    assert imported.request() == record.request
    assert imported.model == record.model
    assert (imported.translated, imported.left) == ((), ())
    assert read(record.request.model_dump(mode="json")).request() == record.request


# What is refused, and names.


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is empty"),
        (b"\xff\xfe\x00\x01", "of another kind"),
        (b"\x89PNG\r\n\x1a\n broken", "damaged"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a": 1}', "no settings in a form"),
        (b'{"prompt": "x", "seed": -5}', "seed"),
        (picture({}), "holds no settings"),
        (picture({"Software": "NovelAI", "Comment": "{}"}), "made by NovelAI"),
        (picture({"zimage_studio": "{}"}), "not readable settings"),
        (picture({"zimage_studio": '{"schema_version": 99}'}), "newer version"),
        (bytes(MAX_BYTES + 1), "bigger than 64 MB"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(data: bytes, words: str) -> None:
    with pytest.raises(ImportedFileError, match=words) as caught:
        read_settings(data, "x.png")
    assert "\n" not in str(caught.value)
    assert caught.value.text.zh != caught.value.text.en


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImportedFileError, match=r"There is no file .*gone\.png"):
        read_file(tmp_path / "gone.png")


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("Euler a", ("euler_ancestral", None)),
        ("DPM++ 2M SDE Heun Exponential", ("dpmpp_2m_sde_heun", "exponential")),
        ("DPM++ 3M SDE", ("dpmpp_3m_sde", None)),
        ("DPM++ 2M SGM Uniform", ("dpmpp_2m", "sgm_uniform")),
        ("Res Multistep", ("res_multistep", None)),
        ("UniPC", ("uni_pc", None)),
        ("euler_k", ("euler", "karras")),
        ("dpmpp_2m", ("dpmpp_2m", None)),
        ("euler_cfg_pp", None),
        ("DPM adaptive", None),
    ],
)
def test_samplers_by_their_names_elsewhere(theirs: str, ours: object) -> None:
    assert sampler_and_scheduler(theirs) == ours


def test_schedulers_and_families_by_their_names_elsewhere() -> None:
    names = ("Karras", "SGM Uniform", "KL Optimal", "DDIM", "beta", "Polyexponential", "flow_match", "Flow Match")
    assert [scheduler(name) for name in names] == [
        "karras",
        "sgm_uniform",
        "kl_optimal",
        "ddim_uniform",
        "beta",
        *[None] * 3,
    ]
    files = (
        "z_image_turbo_bf16.safetensors",
        "unet\\Z-Image-Turbo-Q4_K_M.gguf",
        "z_image_bf16.sft",
        "sdxl.safetensors",
    )
    assert [family_of(name) for name in files] == ["z-image-turbo", "z-image-turbo", "z-image", ""]


def test_models_and_loras_get_the_names_that_they_have_here(tmp_path: Path) -> None:
    write_lora(tmp_path / "style" / "ink_wash.safetensors")
    imported = read(graph())
    here = fitted(imported, LoraLibrary(tmp_path), {"demo": "", "z-image-turbo": "z-image-turbo"})
    assert here.model == "z-image-turbo"
    assert here.request().loras[0].name == "style/ink_wash"
    assert "z_image_turbo_bf16.safetensors → z-image-turbo" in english(here.translated)
    same = fitted(imported, LoraLibrary(tmp_path), {"z_image_turbo_bf16.safetensors": ""})
    assert "Model: z_image_turbo_bf16.safetensors" in english(same.taken)
    assert "Model" not in english((*here.taken, *same.translated, *same.left))
    assert "zimage/ink_wash → style/ink_wash" in english(here.translated)
    copy = fitted(imported, LoraLibrary(tmp_path), {"demo": "", "turbo-int8": "z-image-turbo"})
    assert copy.model == "turbo-int8"
    elsewhere = fitted(imported, LoraLibrary(tmp_path / "none"), {"demo": ""})
    assert elsewhere.model == ""
    assert elsewhere.request().loras[0].name == "zimage/ink_wash"
    assert "z-image-turbo, which is not on this machine" in english(elsewhere.left)
    assert "there is no such LoRA" in english(elsewhere.left)


def test_reading_changes_nothing_of_what_was_read() -> None:
    data = graph()
    before = deepcopy(data)
    read(data)
    assert data == before


def test_a_whole_workflow_inside_one_subgraph_with_its_fields_outside() -> None:
    """The shape of ComfyUI's own template for this model: the sheet holds one node and SaveImage."""

    def entry(name: str, kind: str, link: int | None, widget: bool = False) -> dict[str, Any]:
        return {"name": name, "type": kind, "link": link} | ({"widget": {"name": name}} if widget else {})

    def wire(number: int, begin: tuple[int, int], end: tuple[int, int], kind: str) -> dict[str, Any]:
        ends = {"target_id": end[0], "target_slot": end[1]}
        return {"id": number, "origin_id": begin[0], "origin_slot": begin[1], **ends, "type": kind}

    sampler_inputs = [
        entry(name, "X", n) for n, name in enumerate(("model", "positive", "negative", "latent_image"), 10)
    ]
    inside = {
        "id": "f2fdebf6-dfaf-43b6-9eb2-7f70613cfdc1",
        "nodes": [
            {
                "id": 28,
                "type": "UNETLoader",
                "inputs": [],
                "widgets_values": ["z_image_turbo_bf16.safetensors", "default"],
            },
            {"id": 11, "type": "ModelSamplingAuraFlow", "inputs": [entry("model", "MODEL", 1)], "widgets_values": [3]},
            {
                "id": 27,
                "type": "CLIPTextEncode",
                "inputs": [entry("text", "STRING", 2, True)],
                "widgets_values": ["old"],
            },
            {"id": 33, "type": "ConditioningZeroOut", "inputs": [entry("conditioning", "CONDITIONING", 3)]},
            {
                "id": 13,
                "type": "EmptySD3LatentImage",
                "inputs": [entry("width", "INT", 4, True), entry("height", "INT", 5, True)],
                "widgets_values": [512, 512, 1],
            },
            {
                "id": 3,
                "type": "KSampler",
                "inputs": sampler_inputs,
                "widgets_values": [5, "randomize", 8, 1, "res_multistep", "simple", 1],
            },
            {"id": 8, "type": "VAEDecode", "inputs": [entry("samples", "LATENT", 14)]},
        ],
        "links": [
            wire(1, (28, 0), (11, 0), "MODEL"),
            wire(2, (-10, 0), (27, 0), "STRING"),
            wire(3, (27, 0), (33, 0), "CONDITIONING"),
            wire(4, (-10, 1), (13, 0), "INT"),
            wire(5, (-10, 2), (13, 1), "INT"),
            wire(10, (11, 0), (3, 0), "MODEL"),
            wire(11, (27, 0), (3, 1), "CONDITIONING"),
            wire(12, (33, 0), (3, 2), "CONDITIONING"),
            wire(13, (13, 0), (3, 3), "LATENT"),
            wire(14, (3, 0), (8, 0), "LATENT"),
            wire(15, (8, 0), (-20, 0), "IMAGE"),
        ],
    }
    fields = [
        entry("text", "STRING", None, True),
        entry("width", "INT", None, True),
        entry("height", "INT", None, True),
    ]
    data = {
        "nodes": [
            {"id": 57, "type": inside["id"], "inputs": fields, "widgets_values": ["a boat", 1024, 768]},
            {"id": 9, "type": "SaveImage", "inputs": [entry("images", "IMAGE", 1)], "widgets_values": ["z-image"]},
        ],
        "links": [[1, 57, 0, 9, 0, "IMAGE"]],
        "definitions": {"subgraphs": [inside]},
    }
    imported = read(data)
    (stage,) = stages(imported)
    expected = Stage(width=1024, height=768, steps=8, cfg=1.0, sampler="res_multistep", scheduler="simple", shift=3.0)
    assert stage == expected
    assert (imported.settings["prompt"], imported.settings["seed"]) == ("a boat", 5)
    assert imported.model == "z_image_turbo_bf16.safetensors"
    assert (imported.translated, imported.left) == ((), ())


@pytest.mark.parametrize("caption", ["", "  ", "my holiday"])
def test_a_caption_in_exif_hides_no_settings(caption: str) -> None:
    info, exif, file = PngImagePlugin.PngInfo(), Image.Exif(), io.BytesIO()
    info.add_itxt("parameters", INFOTEXT)
    exif.get_ifd(0x8769)[0x9286] = b"ASCII\0\0\0" + caption.encode()
    Image.new("RGB", (32, 48)).save(file, "PNG", pnginfo=info, exif=exif)
    assert read_settings(file.getvalue(), "a.png").settings["seed"] == 7


def test_a_tag_that_means_nothing_here_is_left_out_alone() -> None:
    text = "a boat, <lora:ink:0.8>, <lora:moss:3>, <lora:fern:0.5:lbw=1,0>\nSteps: 4, Sampler: Euler, Seed: 1"
    imported = read(text, "a.txt")
    assert imported.settings["prompt"] == "a boat"
    assert [use["name"] for use in imported.settings["loras"]] == ["ink"]
    assert [word for word in ("moss", "fern") if word in english(imported.left)] == ["moss", "fern"]
