"""Chooses the names of model files, LoRAs and start picture in an exported workflow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from zimage_app.domain.lora_keys import COMFY_PREFIXES
from zimage_app.domain.request import GenerationRequest
from zimage_app.domain.text import Text
from zimage_app.models.disk.folders import WEIGHT_SUFFIXES, visible
from zimage_app.models.find.comfyui import COMFY_FOLDERS
from zimage_app.models.find.model_source import ModelSource, PartLocation, repo_folder
from zimage_app.service.library.loras import LoraEntry, LoraLibrary

_TRANSFORMERS = {
    repo_folder("Tongyi-MAI/Z-Image-Turbo"): "z_image_turbo_bf16.safetensors",
    repo_folder("Tongyi-MAI/Z-Image"): "z_image_bf16.safetensors",
}
"""Folder of a published model -> name of the file with the same weights that Comfy-Org publishes."""
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
    usual = {"transformer": f"{source.card.name}.safetensors", "text_encoder": _TEXT_ENCODER, "vae": _VAE}
    names, own = dict(usual), []
    for part in usual:
        place = source.places.by_name[part]
        published = _published(source, place)
        if file := _file(place):
            names[part] = _in_comfyui(file, part)
        elif published and part == "transformer":
            names[part] = _TRANSFORMERS[published]
        elif not published:
            own.append(part)
    notes = (_folder_note(source.card.name, [names[part] for part in own]),) if own else ()
    entries = _used(loras, request)
    files = {entry.name: str(Path(f"{entry.name}{entry.path.suffix}")) for entry in entries}
    notes = (*notes, *lora_notes(loras, request))
    picture = "" if request.start is None else f"studio-{request.start.picture[:_PICTURE_DIGITS]}.png"
    return FileNames(**names, loras=files, picture=picture, notes=notes)


def lora_notes(loras: LoraLibrary, request: GenerationRequest) -> Iterator[Text]:
    """Yield a note for each LoRA whose keys ComfyUI ignores; raises as ``file_names``."""
    for entry in _used(loras, request):
        if entry.spelling not in COMFY_PREFIXES:
            en, zh = (
                (f"begin with {entry.spelling}", f"以 {entry.spelling} 开头")
                if entry.spelling
                else ("have no prefix", "没有前缀")
            )
            yield Text(
                f"ComfyUI would not apply the LoRA {entry.name}: the names of its tensors {en}, which it doesn't know.",
                f"ComfyUI 不会应用 LoRA {entry.name}：其张量名称{zh}，它无法识别。",
            )


def _used(loras: LoraLibrary, request: GenerationRequest) -> list[LoraEntry]:
    return [loras.find(use.name) for use in request.loras if use.strength]


def _file(place: PartLocation) -> Path | None:
    """Return a part's file: its own, or the only one in a folder of ComfyUI's; None for diffusers' folders."""
    if place.remote.is_file if place.remote else place.path.suffix.lower() in WEIGHT_SUFFIXES:
        return place.path
    files = (
        [] if place.config else visible(file for suffix in WEIGHT_SUFFIXES for file in place.path.glob(f"*{suffix}"))
    )
    return files[0] if len(files) == 1 else None


def _published(source: ModelSource, place: PartLocation) -> str:
    """Return the folder name of the published model that a part in a folder belongs to; empty for any other model.

    A folder of the user's own counts as the published model if it has its name.
    """
    model = repo_folder(place.remote.repo) if place.remote else source.card.name.lower()
    return model if model in _TRANSFORMERS else ""


def _in_comfyui(path: Path, part: str) -> str:
    """Return a file's path below ComfyUI's folder for its part, as ComfyUI lists it; outside of one, its name."""
    within = [number for number, name in enumerate(path.parts) if name in COMFY_FOLDERS[part]]
    return str(Path(*path.parts[within[-1] + 1 :])) if within else path.name


def _folder_note(model: str, files: list[str]) -> Text:
    listed = ", ".join(files)
    return Text(
        f"{model} lies in folders here, which ComfyUI does not load; it needs the parts as files of their own, named as"
        f" in the workflow: {listed}.",
        f"{model} 在本机是文件夹形式，ComfyUI 无法加载；需要单文件形式，文件名与工作流一致：{listed}。",
    )
