"""Models in a ComfyUI installation: its folders are searched, files judged by their headers, parts put together.

A transformer becomes a model of its own name. Files are told apart by tensor names, never by what they are called; only
where several would do, names decide which is taken, and what was taken is said. Reads headers only.
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
from zimage_app.models.disk.yaml_file import YamlReader
from zimage_app.models.find.card_file import plain_card
from zimage_app.models.find.model_source import ModelSource, PartLocation, PartLocations, Remote, repo_folder
from zimage_app.models.find.tokenizers import find_tokenizer

if TYPE_CHECKING:
    from zimage_app.models.weights.weight_file import Entry

log = logging.getLogger(__name__)

_FOLDERS = {
    "transformer": ("diffusion_models", "unet"),
    "text_encoder": ("text_encoders", "clip"),
    "vae": ("vae",),
}
"""ComfyUI's folders for each part; the second names are those of older versions."""
_SUFFIXES = (".safetensors", ".gguf")
_LATENT_CHANNELS = 16
_EXTRA = "extra_model_paths.yaml"
_REPO = "Comfy-Org/z_image_turbo"
_PUBLISHED = {
    "text_encoder": "split_files/text_encoders/qwen_3_4b.safetensors",
    "vae": "split_files/vae/ae.safetensors",
}
"""Where a part that the installation does not have can be fetched from."""
_PACKINGS = re.compile(r"(bf16|fp16|fp8|fp4|int8|int4|nvfp4|mxfp8|convrot|scaled|mixed|e4m3fn|e5m2|q\d(k[sml]?|\d)?)*")


@dataclass(frozen=True, slots=True)
class Found:
    """A file that is part of a Z-Image, as far as its header tells."""

    part: str
    path: Path
    width: int
    """Numbers per token between text encoder and transformer, latent channels of a VAE; 0 where it is not known."""
    packed: bool
    """Whether most of it is stored in less than 16 bits a number."""


def comfy_models(root: Path) -> Path:
    """The ``models`` folder of a ComfyUI installation; ``root`` may be either.

    Raises ModelError where there is none.
    """
    names = [name for folders in _FOLDERS.values() for name in folders]
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
    """Every Z-Image transformer of an installation, each with a text encoder, a VAE and a tokenizer that go with it.

    ``models`` is the app's own folder, where parts that are not there would be fetched to. Raises ModelError when
    there is no ComfyUI at ``root``.
    """
    home = comfy_models(root)
    found = {part: list(_search(part, _folders(home, part))) for part in _FOLDERS}
    sources = (_source(home, transformer, found, models) for transformer in found["transformer"])
    return _named_apart(list(sources), home)


def _folders(home: Path, part: str) -> Iterator[Path]:
    for name in _FOLDERS[part]:
        yield home / name
    yield from _extra_folders(home.parent / _EXTRA, part)


def _extra_folders(path: Path, part: str) -> Iterator[Path]:
    """The folders that ComfyUI's own list of further places names: groups of ``folder: paths, one a line``."""
    if not path.is_file():
        return
    try:
        groups = YamlReader(path).tree()
    except ModelError as error:
        log.warning("%s", error)
        return
    for group in _nodes(groups).values():
        fields = _nodes(group)
        lines = [line.strip() for name in _FOLDERS[part] for line in _said(fields.get(name)).splitlines()]
        try:
            base = path.parent / Path(_said(fields.get("base_path"))).expanduser()
        except RuntimeError as error:  # the home of nobody
            log.warning("%s: %s", path, error)
            continue
        yield from (base / line for line in lines if line and "\0" not in f"{base}{line}")


def _nodes(node: yaml.Node) -> dict[str, yaml.Node]:
    """A mapping's nodes by key; the last counts, as in ComfyUI. Empty for what is no mapping."""
    pairs = node.value if isinstance(node, yaml.MappingNode) else ()
    return {key.value: value for key, value in pairs if isinstance(key, yaml.ScalarNode)}


def _said(node: yaml.Node | None) -> str:
    """A text; empty for nothing, and for what is none."""
    return str(node.value) if isinstance(node, yaml.ScalarNode) and not node.tag.endswith(":null") else ""


def _search(part: str, folders: Iterator[Path]) -> Iterator[Found]:
    seen: set[Path] = set()
    for folder in folders:
        for path in sorted(_files(folder)):
            if path.resolve() in seen:
                continue
            seen.add(path.resolve())
            state = path.stat()
            found = _judge(path, state.st_size, state.st_mtime_ns)
            if found is not None and found.part == part:
                yield found


def _files(folder: Path) -> Iterator[Path]:
    """Weights in a folder and all below it, links followed as ComfyUI follows them, round in circles only once."""
    been: set[Path] = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        if (real := Path(place).resolve()) in been:
            folders.clear()
            continue
        been.add(real)
        paths = (Path(place, name) for name in names)
        yield from (path for path in paths if path.suffix.lower() in _SUFFIXES and path.is_file())


@lru_cache(maxsize=4096)
def _judge(path: Path, size: int, changed: int) -> Found | None:  # noqa: ARG001 - a file that was changed is judged again
    """What a file is; None where it is nothing of a Z-Image."""
    from zimage_app.models.weights.weight_file import open_file  # takes torch: a second

    try:
        entries = open_file(path).entries
    except ModelError as error:
        log.info("%s", error)
        return _by_name(path)
    wide = sum(entry.dtype.itemsize >= 2 and not entry.packing for entry in entries.values())
    packed = 2 * wide < len(entries) or any(key.endswith((".weight_scale", ".scale_weight")) for key in entries)
    return next((Found(part, path, width, packed) for part, width in _marks(entries)), None)


def _by_name(path: Path) -> Found | None:
    """A file that cannot be opened, but is called as part of a Z-Image is.

    It is taken where there is no other, so that its user learns what is wrong with it.
    """
    name = _plain(path.stem)
    marks = (("transformer", "zimage" in name), ("text_encoder", "qwen34b" in name), ("vae", name == "ae"))
    return next((Found(part, path, 0, packed=False) for part, fits in marks if fits), None)


def _marks(entries: Mapping[str, Entry]) -> Iterator[tuple[str, int]]:
    """Part and width, by tensors that only this part of a Z-Image has."""
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
    """Whole before damaged, packed with packed, the published name first."""
    return not item.width, item.packed != transformer.packed, "qwen34b" not in _plain(item.path.stem), item.path


def _vae_rank(stem: str) -> int:
    """Flux's autoencoder first: that of Stable Diffusion 3 has the very same shapes."""
    name = _plain(stem)
    return 0 if name == "ae" else 1 if "flux" in name or "zimage" in name else 2


def _place(part: str, found: list[Found], models: Path) -> PartLocation:
    if found:
        return PartLocation(found[0].path)
    remote = Remote(_REPO, _PUBLISHED[part], is_file=True)
    return PartLocation(models / repo_folder(_REPO) / remote.path, remote=remote)


def card_of_file(stem: str) -> ModelCard:
    """The card for a transformer in a file of its own, which brings none: by the names of the published files.

    ``z_image_turbo…`` is Turbo, ``z_image_bf16`` and other packings of that are the base model; anything else has the
    reference workflow's settings.
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


def _named_apart(sources: list[ModelSource], home: Path) -> list[ModelSource]:
    """The same file name in two folders: both are called by their folders too."""
    names = [source.card.name for source in sources]

    def named(source: ModelSource) -> ModelSource:
        if names.count(source.card.name) == 1:
            return source
        path = source.places.transformer.path
        folder = path.parent.relative_to(home) if path.is_relative_to(home) else path.parent
        name = "--".join((*folder.parts[-2:], path.stem))
        return replace(source, card=replace(source.card, name=name, title=Text(name, name)))

    return [named(source) for source in sources]
