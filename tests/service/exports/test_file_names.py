"""Names of model and LoRA files in exported workflows: never those of another model's weights."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path, PurePath

import pytest

from tests.service.exports.comfy_nodes import faults
from tests.service.lora_files import lora_shapes, write_lora
from zimage_app.domain.card import Z_IMAGE_TURBO
from zimage_app.domain.plan import make_plan
from zimage_app.domain.request import GenerationRequest
from zimage_app.domain.settings.lora_use import LoraUse
from zimage_app.models.find.model_source import ModelSource, comfy_source, diffusers_source
from zimage_app.models.find.model_yaml import read_named
from zimage_app.service.exports.comfy import FORMS, Form, exported
from zimage_app.service.exports.comfy.names import FileNames, file_names
from zimage_app.service.imports import read_settings
from zimage_app.service.library.loras import LoraLibrary

ROOT = Path(__file__).parents[3]
BOAT = GenerationRequest(prompt="a boat", seed=1)
TUNED = replace(Z_IMAGE_TURBO, name="my-tune")


def names_of(source: ModelSource, loras: LoraLibrary | None = None, request: GenerationRequest = BOAT) -> FileNames:
    return file_names(source, loras or LoraLibrary(source.folder), request)


def shipped(name: str, models: Path) -> ModelSource:
    return read_named(ROOT / "presets" / "models" / f"{name}.yaml", models)


@pytest.mark.parametrize(
    ("name", "transformer"),
    [
        ("z-image-turbo", "z_image_turbo_bf16.safetensors"),
        ("z-image-turbo-int8", "z_image_turbo_int8_convrot.safetensors"),
        ("z-image-turbo-q4", "z-image-turbo-Q4_K_M.gguf"),
    ],
)
def test_published_models_have_their_published_files(name: str, transformer: str, tmp_path: Path) -> None:
    names = names_of(shipped(name, tmp_path))
    assert (names.transformer, names.vae, names.notes) == (transformer, "ae.safetensors", ())


def test_a_tuned_model_in_folders_is_not_exported_as_the_published_one(tmp_path: Path) -> None:
    names = names_of(diffusers_source(TUNED, tmp_path / "my-tune"))
    assert names.transformer == "my-tune.safetensors"
    (note,) = names.notes
    assert "my-tune lies in folders here" in note.en
    assert "my-tune.safetensors, qwen_3_4b.safetensors, ae.safetensors" in note.zh
    assert names_of(diffusers_source(Z_IMAGE_TURBO, tmp_path)).transformer == "z_image_turbo_bf16.safetensors"


def test_files_are_named_by_their_place_in_comfyui(tmp_path: Path) -> None:
    source = comfy_source(TUNED, tmp_path)
    for folder, file in (
        ("diffusion_models/Tuned", "x.safetensors"),
        ("text_encoders", "y.gguf"),
        ("vae", "z.safetensors"),
    ):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / file).touch()
    deep = replace(source.places.transformer, path=tmp_path / "diffusion_models" / "Tuned" / "x.safetensors")
    names = names_of(replace(source, places=replace(source.places, transformer=deep)))
    assert (names.transformer, names.text_encoder, names.vae) == (
        str(PurePath("Tuned", "x.safetensors")),
        "y.gguf",
        "z.safetensors",
    )
    assert names.notes == ()


def test_loras_keep_their_sub_folders(tmp_path: Path) -> None:
    (tmp_path / "style").mkdir()
    shutil.copy(next((ROOT / "loras").rglob("*.safetensors")), tmp_path / "style" / "ink.safetensors")
    request = BOAT.model_copy(update={"loras": (LoraUse(name="style/ink"), LoraUse(name="gone", strength=0.0))})
    names = names_of(diffusers_source(TUNED, tmp_path), LoraLibrary(tmp_path), request)
    assert names.loras == {"style/ink": str(PurePath("style", "ink.safetensors"))}


@pytest.mark.parametrize(
    ("prefix", "told"),
    [
        ("diffusion_model.", ""),
        ("transformer.", ""),
        ("lora_unet_", ""),
        ("base_model.model.", "begin with base_model.model."),
        ("unet.", "begin with unet."),
        ("", "have no prefix"),
    ],
)
def test_a_lora_that_comfyui_ignores_is_told(tmp_path: Path, prefix: str, told: str) -> None:
    write_lora(tmp_path / "ink.safetensors", shapes=lora_shapes(prefix=prefix))
    request = BOAT.model_copy(update={"loras": (LoraUse(name="ink"),)})
    source = shipped("z-image-turbo", tmp_path / "models")
    notes = names_of(source, LoraLibrary(tmp_path), request).notes
    assert bool(notes) == bool(told)
    assert not told or (told in notes[0].en and "ComfyUI would not apply the LoRA ink" in notes[0].en)


@pytest.mark.parametrize("form", FORMS)
def test_gguf_files_are_loaded_by_the_extension_that_can(form: Form, tmp_path: Path) -> None:
    names = replace(names_of(shipped("z-image-turbo-q4", tmp_path)), text_encoder="Qwen3-4B-Q4_K_M.gguf")
    plan = make_plan(BOAT, Z_IMAGE_TURBO)
    workflow, notes = exported(plan, "z-image-turbo-q4", names, form)
    assert "z-image-turbo-Q4_K_M.gguf, Qwen3-4B-Q4_K_M.gguf with the extension ComfyUI-GGUF" in notes[0].en
    again = read_settings(json.dumps(workflow | {"extra": {}} if form == "editor" else workflow).encode(), "a.json")
    assert again.model in ("z-image-turbo-q4", "z-image-turbo-Q4_K_M.gguf")
    if form == "api":
        assert faults(workflow) == []
        assert {"UnetLoaderGGUF", "CLIPLoaderGGUF"} <= {node["class_type"] for node in workflow.values()}
