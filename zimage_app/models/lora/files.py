"""Reads LoRA files from disk and checks that they are complete. Independent of models."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from zimage_app.domain.errors import LoraError, system_reason
from zimage_app.domain.text import Text
from zimage_app.models.disk.regular_file import read_regular
from zimage_app.models.weights.lookalikes import MAX_BYTES, MAX_TENSORS, PICKLE, PICKLES, TOO_MANY, lookalike, not_whole

log = logging.getLogger(__name__)

_MAX_SHOWN, _SHOWN_END = 160, 60
"""Maximum characters of a key in messages, and how many of them are taken from the end, where keys differ."""


def fault(file: str, en: str, zh: str) -> LoraError:
    """Make an error about a file."""
    return LoraError(Text(f"{shown(file)}: {en}", f"{shown(file)}：{zh}"))


def shown(text: str) -> str:
    """Shorten an untrusted key or name for messages, and replace characters that aren't printable."""
    plain = "".join(letter if letter.isprintable() else "\ufffd" for letter in text[: 2 * _MAX_SHOWN])
    if len(text) <= _MAX_SHOWN:
        return plain
    end = "".join(letter if letter.isprintable() else "\ufffd" for letter in text[-_SHOWN_END:])
    return f"{plain[: _MAX_SHOWN - _SHOWN_END - 1]}…{end}"


def modified(path: Path) -> tuple[int, int]:
    """Return a file's size in bytes and modification time in ns; if they differ, the file has changed.

    Raises:
        LoraError: there is no such file.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise _unreadable(path, error) from error
    return status.st_size, status.st_mtime_ns


def read_lora_file(path: Path) -> tuple[dict[str, Tensor], float | None]:
    """Read all tensors of a file, in their own dtypes, on the CPU; they don't depend on the file afterwards.

    Also returns the factor alpha / rank that diffusers writes into the header of LoRAs it saves, whose tensors hold no
    alphas; None without one. Patterns that give single layers another alpha are ignored.

    Raises:
        LoraError: the file isn't a safetensors file, is empty or is cut off.
    """
    if path.suffix.lower() in PICKLES:
        raise fault(path.name, PICKLE.en, PICKLE.zh)
    try:
        # No memory map, because replacing the file while its LoRA is applied must not change the tensors.
        data = read_regular(path, MAX_BYTES)
    except OSError as error:
        raise _unreadable(path, error) from error
    other = lookalike(data)
    if other is not None:
        raise fault(path.name, other.en, other.zh)
    _refuse_many(path.name, data)
    try:
        tensors: dict[str, Tensor] = safetensors.torch.load(data)
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        log.info("%s: %s", shown(path.name), error)
        why = not_whole(data)
        raise fault(path.name, why.en, why.zh) from error
    if not tensors:
        raise fault(path.name, "holds no tensors; download it again", "文件里没有任何张量；请重新下载")
    return tensors, None if any(key.endswith(".alpha") for key in tensors) else _declared_factor(data)


def _declared_factor(data: bytes) -> float | None:
    try:
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        config = json.loads(header["__metadata__"]["lora_adapter_metadata"])
        alpha, rank = (float(config[f"transformer.{name}"]) for name in ("lora_alpha", "r"))
        factor = alpha / (math.sqrt(rank) if config.get("transformer.use_rslora") is True else rank)
    except (KeyError, ValueError, TypeError, ArithmeticError, RecursionError):
        return None
    return factor if math.isfinite(factor) else None


def _refuse_many(file: str, data: bytes) -> None:
    """Raise LoraError for a file with so many tensors that reading its header would take seconds."""
    length = int.from_bytes(data[:8], "little")
    if data.count(b'"data_offsets"', 8, 8 + min(length, len(data))) > MAX_TENSORS:
        raise fault(file, TOO_MANY.en, TOO_MANY.zh)


def _unreadable(path: Path, error: OSError) -> LoraError:
    reason = system_reason(error)
    return fault(
        path.name,
        f"cannot be read ({reason}); check that the file is there and may be read",
        f"无法读取（{reason}）；请检查文件是否存在且有读取权限",
    )
