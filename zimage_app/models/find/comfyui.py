"""Finds models in a ComfyUI installation: searches its folders, identifies files by their headers, combines parts.

Every transformer becomes a model named after its file. Files are identified by tensor names, not by file names. If
several text encoders or VAEs fit, file names decide, and a note tells which were chosen. Reads headers only.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from zimage_app.domain.card import Z_IMAGE, Z_IMAGE_TURBO, ModelCard
from zimage_app.domain.errors import ModelError
from zimage_app.domain.text import Text
from zimage_app.models.disk.folders import WEIGHT_SUFFIXES, visible
from zimage_app.models.disk.yaml_file import YamlReader
from zimage_app.models.find.card_file import plain_card
from zimage_app.models.find.model_source import ModelSource, PartLocation, PartLocations, Remote, repo_folder
from zimage_app.models.find.tokenizers import find_tokenizer

if TYPE_CHECKING:
    from zimage_app.models.weights.weight_file import TensorEntry

log = logging.getLogger(__name__)

COMFY_FOLDERS = {
    "transformer": ("diffusion_models", "unet"),
    "text_encoder": ("text_encoders", "clip"),
    "vae": ("vae",),
}
"""Part -> its folders in ComfyUI; the second name is that of older versions."""
_LATENT_CHANNELS = 16
_EXTRA = "extra_model_paths.yaml"
_REPO = "Comfy-Org/z_image_turbo"
_PUBLISHED = {
    "text_encoder": "split_files/text_encoders/qwen_3_4b.safetensors",
    "vae": "split_files/vae/ae.safetensors",
}
"""Part -> its path in ``_REPO``, to download it from if the installation lacks it."""
_PACKINGS = re.compile(r"(bf16|fp16|fp8|fp4|int8|int4|nvfp4|mxfp8|convrot|scaled|mixed|e4m3fn|e5m2|q\d(k[sml]?|\d)?)*")


@dataclass(frozen=True, slots=True)
class Found:
    """A file whose header says that it is a part of a Z-Image model."""

    part: str
    path: Path
    width: int
    """Width of the text features (text encoder, transformer) or number of latent channels (VAE); 0 if unknown."""
    packed: bool
    """Whether most of the weights are stored with less than 16 bits per number."""


def comfy_models(root: Path) -> Path:
    """Return the ``models`` folder of a ComfyUI installation; ``root`` may be either of the two.

    Raises ModelError if there is none.
    """
    names = [name for folders in COMFY_FOLDERS.values() for name in folders]
    for folder in (root / "models", root):
        if any((folder / name).is_dir() for name in names):
            return folder
    raise ModelError(
        Text(
            f"There is no ComfyUI at {root}: give its folder, or its models folder with {', '.join(names)}.",
            f"{root} 不是 ComfyUI：请给出它的文件夹，或其中含有 {', '.join(names)} 的 models 文件夹。",
        )
    )


def find_comfy_models(root: Path, models: Path) -> list[ModelSource]:
    """Return a model for each Z-Image transformer of an installation, with matching text encoder, VAE and tokenizer.

    ``models`` is the app's own folder, which missing parts would be downloaded to. Raises ModelError if there is no
    ComfyUI at ``root``.
    """
    home = comfy_models(root)
    found = {part: list(_search(part, _folders(home, part))) for part in COMFY_FOLDERS}
    sources = (_source(home, transformer, found, models) for transformer in found["transformer"])
    return _with_unique_names(list(sources), home)


def _folders(home: Path, part: str) -> Iterator[Path]:
    for name in COMFY_FOLDERS[part]:
        yield home / name
    yield from _extra_folders(home.parent / _EXTRA, part)


def _extra_folders(path: Path, part: str) -> Iterator[Path]:
    """Yield a part's folders from ComfyUI's extra_model_paths.yaml: groups of ``folder: paths, one per line``."""
    if not path.is_file():
        return
    try:
        groups = YamlReader(path).tree()
    except ModelError as error:
        log.warning("%s", error)
        return
    for group in _nodes(groups).values():
        fields = _nodes(group)
        lines = [line.strip() for name in COMFY_FOLDERS[part] for line in _scalar_text(fields.get(name)).splitlines()]
        try:
            base = path.parent / Path(_scalar_text(fields.get("base_path"))).expanduser()
        except RuntimeError as error:  # expanduser: unknown user
            log.warning("%s: %s", path, error)
            continue
        yield from (base / line for line in lines if line and "\0" not in f"{base}{line}")


def _nodes(node: yaml.Node) -> dict[str, yaml.Node]:
    """Return a mapping's nodes by key; the last duplicate wins, as in ComfyUI. Empty if the node isn't a mapping."""
    pairs = node.value if isinstance(node, yaml.MappingNode) else ()
    return {key.value: value for key, value in pairs if isinstance(key, yaml.ScalarNode)}


def _scalar_text(node: yaml.Node | None) -> str:
    """Return a scalar's text; empty for null, a missing node and other kinds of nodes."""
    return str(node.value) if isinstance(node, yaml.ScalarNode) and not node.tag.endswith(":null") else ""


def _search(part: str, folders: Iterator[Path]) -> Iterator[Found]:
    seen: set[Path] = set()
    for folder in folders:
        for path in sorted(_files(folder)):
            if path.resolve() in seen:
                continue
            seen.add(path.resolve())
            state = path.stat()
            found = _identify(path, state.st_size, state.st_mtime_ns)
            if found is not None and found.part == part:
                yield found


def _files(folder: Path) -> Iterator[Path]:
    """Yield weight files under a folder; follows links as ComfyUI does, but visits each real folder only once."""
    been: set[Path] = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        if (real := Path(place).resolve()) in been:
            folders.clear()
            continue
        been.add(real)
        paths = visible(Path(place, name) for name in names)
        yield from (path for path in paths if path.suffix.lower() in WEIGHT_SUFFIXES and path.is_file())


@lru_cache(maxsize=4096)
def _identify(path: Path, size: int, changed: int) -> Found | None:  # noqa: ARG001 - part of the cache's key
    """Identify a file by its header; None if it isn't a part of a Z-Image model."""
    from zimage_app.models.weights.weight_file import open_file  # imports torch, which takes a second

    try:
        entries = open_file(path).entries
    except ModelError as error:
        log.info("%s", error)
        return _by_name(path)
    wide = sum(entry.dtype.itemsize >= 2 and not entry.packing for entry in entries.values())
    packed = 2 * wide < len(entries) or any(key.endswith((".weight_scale", ".scale_weight")) for key in entries)
    return next((Found(part, path, width, packed) for part, width in _marks(entries)), None)


def _by_name(path: Path) -> Found | None:
    """Identify a file that can't be opened by its name.

    It is used if there is no other, so that loading the model reports what is wrong with the file.
    """
    name = _plain(path.stem)
    marks = (("transformer", "zimage" in name), ("text_encoder", "qwen34b" in name), ("vae", name == "ae"))
    return next((Found(part, path, 0, packed=False) for part, fits in marks if fits), None)


def _marks(entries: Mapping[str, TensorEntry]) -> Iterator[tuple[str, int]]:
    """Yield (part, width) if the file has the tensors that identify this part of a Z-Image model."""
    shapes = {key: entry.shape for key, entry in entries.items()}

    def shape(*names: str) -> tuple[int, ...]:
        return next((found for key, found in shapes.items() if key.endswith(names)), ())

    if shape("x_pad_token") and shape("cap_pad_token") and (width := shape("cap_embedder.0.weight")):
        yield "transformer", width[0]
    sees = any("visual." in key for key in shapes)  # Qwen3-VL: the same shapes, other weights
    if shape("layers.0.self_attn.q_norm.weight", "blk.0.attn_q_norm.weight") and not sees:
        width = shape("layers.0.input_layernorm.weight", "blk.0.attn_norm.weight")
        yield "text_encoder", width[0] if width else 0
    decoder = shape("decoder.conv_in.weight")
    if len(decoder) == 4:  # video models' are five-dimensional
        yield "vae", decoder[1]


def _source(home: Path, transformer: Found, found: Mapping[str, list[Found]], models: Path) -> ModelSource:
    encoders = [item for item in found["text_encoder"] if not item.width or transformer.width in (0, item.width)]
    encoders.sort(key=lambda item: _encoder_rank(item, transformer))
    vaes = [item for item in found["vae"] if item.width in (0, _LATENT_CHANNELS)]
    vaes.sort(key=lambda item: (not item.width, _vae_rank(item.path.stem), item.path))
    encoder, vae = _place("text_encoder", encoders, models), _place("vae", vaes, models)
    note = Text(
        f"text encoder {encoder.path.name}, VAE {vae.path.name}", f"文本编码器 {encoder.path.name}，VAE {vae.path.name}"
    )
    return ModelSource(
        card=card_of_file(transformer.path.stem),
        places=PartLocations(PartLocation(transformer.path), encoder, vae, find_tokenizer(models, home)),
        folder=home,
        notes=(note,),
    )


def _encoder_rank(item: Found, transformer: Found) -> tuple[bool, bool, bool, Path]:
    """Sort key: readable files first, then those packed (or not) like the transformer, then the published name."""
    return not item.width, item.packed != transformer.packed, "qwen34b" not in _plain(item.path.stem), item.path


def _vae_rank(stem: str) -> int:
    """Sort key that puts Flux's VAE first, because Stable Diffusion 3's VAE has the same shapes."""
    name = _plain(stem)
    return 0 if name == "ae" else 1 if "flux" in name or "zimage" in name else 2


def _place(part: str, found: list[Found], models: Path) -> PartLocation:
    if found:
        return PartLocation(found[0].path)
    remote = Remote(_REPO, _PUBLISHED[part], is_file=True)
    return PartLocation(models / repo_folder(_REPO) / remote.path, remote=remote)


def card_of_file(stem: str) -> ModelCard:
    """Return the card for a single-file transformer, which has no card of its own, by its file name.

    ``z_image_turbo…`` gets Turbo's card, ``z_image_bf16`` and other packings of it the base model's; any other name
    gets the reference workflow's settings.
    """
    name = _plain(stem)
    if name.startswith("zimageturbo"):
        family: ModelCard | None = Z_IMAGE_TURBO
    else:
        rest = name.removeprefix("zimage")
        family = Z_IMAGE if rest != name and _PACKINGS.fullmatch(rest) else None
    if family is None:
        return plain_card(stem)
    return replace(family, name=stem, title=Text(stem, stem))


def _plain(stem: str) -> str:
    return re.sub(r"[^a-z0-9]", "", stem.lower())


def _with_unique_names(sources: list[ModelSource], home: Path) -> list[ModelSource]:
    """Add folder names to the model names of files that have the same name in different folders."""
    names = [source.card.name for source in sources]

    def named(source: ModelSource) -> ModelSource:
        if names.count(source.card.name) == 1:
            return source
        path = source.places.transformer.path
        folder = path.parent.relative_to(home) if path.is_relative_to(home) else path.parent
        name = "--".join((*folder.parts[-2:], path.stem))
        return replace(source, card=replace(source.card, name=name, title=Text(name, name)))

    return [named(source) for source in sources]
