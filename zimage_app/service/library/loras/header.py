"""What a LoRA file's header tells: kind, ranks, spelling, whether it is Z-Image's. Reads no tensor; imports no torch.

It only describes, for lists and warnings. Whether a file really applies is for ``models/lora`` to say.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections import Counter
from collections.abc import Mapping
from itertools import islice
from pathlib import Path

from pydantic import BaseModel, ConfigDict
from safetensors import SafetensorError, safe_open

from zimage_app.domain.errors import system_reason
from zimage_app.domain.text import Text
from zimage_app.models.disk.regular_file import open_regular
from zimage_app.models.weights.lookalikes import ENOUGH, MAX_BYTES, MAX_TENSORS, TOO_LARGE, TOO_MANY, lookalike
from zimage_app.service.library.loras.metadata import Said, said_in

Shape = tuple[int, ...]

_OURS = re.compile(
    r"(?:^|[._])(?:(?:layers|noise_refiner|context_refiner)[._]\d+[._](?:attention|feed_forward|adaLN)"
    r"|(?:cap|t|x)_embedder[._]|final_layer[._])",
    re.MULTILINE,
)
_PREFIX = re.compile(
    r"base_model\.model\.|(?:model\.)?diffusion_model\.|transformer\.|unet\.|lora_unet_+|lora_transformer_+|lycoris_+"
)
_LOW_RANK = re.compile(
    r"(?:lora_down|lora_A|[._]lora[._]down|lora_linear_layer\.down|hada_w1_b|lokr_w[12]_b)(?:\.[\w-]+){0,2}$"
)
_KINDS = (
    ("DoRA", re.compile(r"\.(?:dora_scale|lora_magnitude_vector)")),
    ("LoKr", re.compile(r"\.lokr_w[12]")),
    ("LoHa", re.compile(r"\.hada_w[12]")),
    ("LoRA", re.compile(r"lora_down|lora_A|[._]lora[._]down|lora_linear_layer")),
    ("diff", re.compile(r"\.(?:diff|diff_b|w_norm|set_weight)$", re.MULTILINE)),
)
_TAKES_WIDTH = re.compile(r"(?:attention[._](?:qkv|to_[qkv])|feed_forward[._]w[13])\.(.+)$")
"""Modules whose input is as wide as the model, and the role of the tensor."""
_ENOUGH = 64
"""Keys that tell how the others are spelled."""
_THUMBNAIL = re.compile(r"data:image/(?:png|jpe?g|webp);base64,", re.IGNORECASE)
_MAX_THUMBNAIL = 8 * 2**20
"""Characters of base64."""


class LoraHeader(BaseModel):
    """A file in short."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    problem: Text | None = None
    """Why it can't be read at all."""
    kind: str = ""
    """LoRA, LoHa, LoKr, DoRA, or diff for full differences; empty for a file that is no LoRA."""
    spelling: str = ""
    """The commonest prefix of its keys; empty for bare names."""
    ranks: tuple[int, int] | None = None
    """Lowest and highest."""
    width: int | None = None
    """How wide the model is that it was made for."""
    for_z_image: bool = False
    """By the names of its keys."""
    has_thumbnail: bool = False
    said: Said = Said()


def read_contents(path: Path) -> LoraHeader:
    """A file's header in short; a file that is no safetensors file gets a ``problem``."""
    try:
        if path.stat().st_size > MAX_BYTES:
            return LoraHeader(problem=TOO_LARGE)
        with safe_open(path, framework="numpy") as file:
            metadata: Mapping[str, str] = file.metadata() or {}
            keys = file.keys()
            if len(keys) > MAX_TENSORS:
                return LoraHeader(problem=TOO_MANY)
            shapes: dict[str, Shape] = {key: tuple(file.get_slice(key).get_shape()) for key in keys}
    except SafetensorError as error:
        return LoraHeader(problem=_other_content(path) or _broken(str(error)))
    except OSError as error:
        return LoraHeader(problem=_broken(system_reason(error)))
    names = "\n".join(shapes)  # hundreds of them: one search through all is much quicker than one in each
    kind = next((name for name, pattern in _KINDS if pattern.search(names)), "")
    return LoraHeader(
        kind=kind,
        spelling=_spelling(shapes),
        ranks=_ranks(shapes),
        width=_width(shapes),
        for_z_image=_OURS.search(names) is not None,
        has_thumbnail=_THUMBNAIL.match(metadata.get("modelspec.thumbnail", "")[:40]) is not None,
        said=said_in(metadata),
    )


def embedded_thumbnail(path: Path) -> bytes | None:
    """The picture inside a file's metadata, still encoded as PNG, JPEG or WebP; None where there is none."""
    try:
        with safe_open(path, framework="numpy") as file:
            text: str = (file.metadata() or {}).get("modelspec.thumbnail", "")
        match = _THUMBNAIL.match(text[:40])
        if match is None or len(text) > _MAX_THUMBNAIL:
            return None
        return base64.b64decode(text[match.end() :], validate=True)
    except (SafetensorError, OSError, binascii.Error, ValueError):
        return None


def _spelling(shapes: Mapping[str, Shape]) -> str:
    found = Counter(match.group() if (match := _PREFIX.match(key)) else "" for key in islice(shapes, _ENOUGH))
    return found.most_common(1)[0][0] if found else ""


def _ranks(shapes: Mapping[str, Shape]) -> tuple[int, int] | None:
    ranks = {shape[0] for key, shape in shapes.items() if len(shape) >= 2 and _LOW_RANK.search(key)}
    return (min(ranks), max(ranks)) if ranks else None


def _width(shapes: Mapping[str, Shape]) -> int | None:
    """From the first module that tells; a Kronecker product's is the product of its factors'."""
    factors: dict[str, dict[str, int]] = {}
    for key, shape in shapes.items():
        match = _TAKES_WIDTH.search(key)
        if match is None or len(shape) < 2:
            continue
        role = match[1]
        if role == "diff" or role == "hada_w1_b" or (_LOW_RANK.search(key) and not role.startswith("lokr")):
            return shape[1]
        if role in ("lokr_w1", "lokr_w2", "lokr_w1_b", "lokr_w2_b"):
            module = factors.setdefault(key.removesuffix(role), {})
            module[role[:7]] = shape[1]
            if len(module) == 2:
                return module["lokr_w1"] * module["lokr_w2"]
    return None


def _other_content(path: Path) -> Text | None:
    """What a file is that is no safetensors file, where its beginning tells."""
    try:
        with open_regular(path) as file:
            return lookalike(file.read(ENOUGH))
    except OSError:
        return None


def _broken(reason: str) -> Text:
    shown = reason.splitlines()[0][:200] if reason else "?"
    return Text(
        f"is not a whole safetensors file ({shown}); download it again",
        f"不是完整的 safetensors 文件（{shown}）；请重新下载",
    )
