"""Reads a LoRA file's header: kind, ranks, key spelling, whether it is for Z-Image. Reads no tensors; imports no torch.

The result is for lists and warnings only; ``models/lora`` decides whether a file applies to a model.
"""

from __future__ import annotations

import base64
import binascii
import logging
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
from zimage_app.models.weights.lookalikes import (
    ENOUGH,
    MAX_BYTES,
    MAX_TENSORS,
    TOO_LARGE,
    TOO_MANY,
    lookalike,
    not_whole,
)
from zimage_app.service.library.loras.metadata import LoraMetadata, parse_metadata

log = logging.getLogger(__name__)

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
"""Modules whose input has the model's hidden size; the group is the role of the tensor."""
_ENOUGH = 64
"""Number of keys that are examined for the spelling."""
_THUMBNAIL = re.compile(r"data:image/(?:png|jpe?g|webp);base64,", re.IGNORECASE)
_MAX_THUMBNAIL = 8 * 2**20
"""Characters of base64 text."""


class LoraHeader(BaseModel):
    """A summary of a LoRA file's header."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    problem: Text | None = None
    """Why the file can't be read."""
    kind: str = ""
    """LoRA, LoHa, LoKr, DoRA, or diff for full-weight differences; empty for a file that is not a LoRA."""
    spelling: str = ""
    """The most common prefix of its keys; empty for names without a prefix."""
    ranks: tuple[int, int] | None = None
    """(lowest, highest) rank."""
    width: int | None = None
    """Hidden size of the model that the LoRA was made for; None where unknown."""
    for_z_image: bool = False
    """Whether the names of its keys are those of Z-Image's modules."""
    has_thumbnail: bool = False
    said: LoraMetadata = LoraMetadata()


def read_header(path: Path) -> LoraHeader:
    """Read and summarise a file's header; a file that can't be read as safetensors gets a ``problem``."""
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
        log.info("%s: %s", path.name, error)
        return LoraHeader(problem=_other_content(path))
    except OSError as error:
        return LoraHeader(problem=_unreadable(error))
    names = "\n".join(shapes)  # one search in the joined names is much faster than hundreds of searches
    kind = next((name for name, pattern in _KINDS if pattern.search(names)), "")
    return LoraHeader(
        kind=kind,
        spelling=_spelling(shapes),
        ranks=_ranks(shapes),
        width=_width(shapes),
        for_z_image=_OURS.search(names) is not None,
        has_thumbnail=_THUMBNAIL.match(metadata.get("modelspec.thumbnail", "")[:40]) is not None,
        said=parse_metadata(metadata),
    )


def embedded_thumbnail(path: Path) -> bytes | None:
    """The picture in a file's metadata, encoded as PNG, JPEG or WebP; None where there is none."""
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
    """The hidden size, from the first module that shows it; for LoKr, the product of both factors' sizes."""
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


def _other_content(path: Path) -> Text:
    """What this file is instead of safetensors, judged by its first bytes."""
    try:
        with open_regular(path) as file:
            begin = file.read(ENOUGH)
    except OSError as error:
        return _unreadable(error)
    return lookalike(begin) or not_whole(begin)


def _unreadable(error: OSError) -> Text:
    reason = system_reason(error)
    return Text(
        f"cannot be read ({reason}); check that the file is there and may be read",
        f"无法读取（{reason}）；请检查文件是否存在且有读取权限",
    )
