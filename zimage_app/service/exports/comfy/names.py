"""Chooses the names of model files, LoRAs and start picture in an exported workflow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from zimage_app.domain.card import Z_IMAGE, Z_IMAGE_TURBO
from zimage_app.domain.request import GenerationRequest
from zimage_app.domain.text import Text
from zimage_app.models.find.model_source import ModelSource
from zimage_app.service.library.loras import LoraLibrary

_TRANSFORMERS = {
    Z_IMAGE_TURBO.family: "z_image_turbo_bf16.safetensors",
    Z_IMAGE.family: "z_image_bf16.safetensors",
}
"""Model family -> name of the file that Comfy-Org publishes."""
_TEXT_ENCODER = "qwen_3_4b.safetensors"
_VAE = "ae.safetensors"
_PICTURE_DIGITS = 16


@dataclass(frozen=True, slots=True)
class FileNames:
    """File names for a workflow."""

    transformer: str
    text_encoder: str
    vae: str
    loras: Mapping[str, str] = field(default_factory=dict)
    """The LoRA's name in this app -> its file name."""
    picture: str = ""
    """File name of the start picture."""
    notes: tuple[Text, ...] = ()
    """Notes for the user about the files."""


def file_names(source: ModelSource, loras: LoraLibrary, request: GenerationRequest) -> FileNames:
    """Return the names of the files on this machine, or of the published files for parts in diffusers' folders.

    Raises:
        LoraError: a LoRA with a strength other than 0 isn't on this machine.
    """
    places, card = source.places, source.card
    transformer = _TRANSFORMERS.get(card.family, f"{card.name}.safetensors")
    usual = {"transformer": transformer, "text_encoder": _TEXT_ENCODER, "vae": _VAE}
    here = {name: place.path.name for name, place in places.by_name.items() if name in usual and place.path.suffix}
    notes = () if here.keys() >= usual.keys() or card.family else (_folders(card.name, {**usual, **here}),)
    entries = (loras.find(use.name) for use in request.loras if use.strength)
    files = {entry.name: f"{entry.name}{entry.path.suffix}" for entry in entries}
    picture = "" if request.start is None else f"studio-{request.start.picture[:_PICTURE_DIGITS]}.png"
    return FileNames(**{**usual, **here}, loras=files, picture=picture, notes=notes)


def _folders(model: str, names: Mapping[str, str]) -> Text:
    listed = ", ".join(names.values())
    return Text(
        f"{model} lies in folders here, which ComfyUI does not load; it needs the model as files of its own, named as"
        f" in the workflow: {listed}.",
        f"{model} 在本机是文件夹形式，ComfyUI 无法加载；需要单文件形式，文件名与工作流一致：{listed}。",
    )
