"""A model's files, looked at before anything big is read: where they are, what they hold, whether they are whole.

Knows safetensors headers and folder layouts; knows neither diffusers nor what a tensor is for. Everything that is wrong
with a file is a ModelError that names it and says what to do.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zimage_app.domain.errors import ModelError
from zimage_app.domain.text import Text
from zimage_app.models.folders import shown

Tensors = dict[str, Tensor]

_HEADER_LENGTH = 8
_LONGEST_HEADER = 100_000_000
"""Bytes; the limit of the safetensors format."""
_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_NOTE_SUFFIX = ".comfy_quant"
"""ComfyUI's note of how a weight is quantised: a few bytes of JSON in a tensor of their own."""


def damaged(path: Path, en: str, zh: str) -> ModelError:
    """A file that cannot be used: ``en`` and ``zh`` go on after its name."""
    return ModelError(Text(f"{shown(path)} {en}.", f"{shown(path)} {zh}。"))


def missing(path: Path) -> ModelError:
    """A file that is not there."""
    return damaged(
        path,
        "is missing; download or copy the model's folder again, all of it",
        "不存在；请重新下载或复制完整的模型文件夹",
    )


@dataclass(frozen=True, slots=True)
class Entry:
    """One tensor, as a file's header tells of it."""

    file: Path
    shape: tuple[int, ...]
    dtype: torch.dtype


@dataclass(frozen=True, slots=True)
class Weights:
    """The tensors of one part of a model, in one file or in shards; nothing of them is read yet."""

    path: Path
    """What to call them: the file, or the index of the shards."""
    entries: Mapping[str, Entry]
    metadata: Mapping[str, str]

    @property
    def parameters(self) -> int:
        """How many numbers they hold."""
        return sum(math.prod(entry.shape) for entry in self.entries.values())

    def outline(self) -> Tensors:
        """Tensors of the right shapes without content (device ``meta``); only quantisation notes are really read."""
        notes = {key for key in self.entries if key.endswith(_NOTE_SUFFIX)}
        return self._read(notes) | {
            key: torch.empty(entry.shape, dtype=entry.dtype, device="meta")
            for key, entry in self.entries.items()
            if key not in notes
        }

    def read(self) -> Tensors:
        """The tensors themselves, mapped into memory: what is not used is never read from the disk."""
        return self._read(set(self.entries))

    def _read(self, keys: set[str]) -> Tensors:
        tensors: Tensors = {}
        for file in {self.entries[key].file for key in keys}:
            tensors |= _read_file(file, keys)
        return tensors


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises ModelError when it is missing, unreadable or something else than an object.
    """
    if not path.is_file():
        raise missing(path)
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise damaged(
            path, f"cannot be read as JSON ({error}); download it again", f"不是可读的 JSON（{error}）；请重新下载"
        ) from error
    if not isinstance(data, dict):
        raise damaged(path, "does not hold a JSON object; download it again", "不是 JSON 对象；请重新下载")
    return data


def open_file(path: Path) -> Weights:
    """One safetensors file, its header checked against its length.

    Raises ModelError when it is missing, cut off, or not a safetensors file.
    """
    if not path.is_file():
        raise missing(path)
    header, start = _header(path)
    metadata = header.pop("__metadata__", {})
    entries = {key: _entry(path, key, item) for key, item in header.items()}
    end = max((int(item["data_offsets"][1]) for item in header.values()), default=0)
    size = path.stat().st_size
    if size != start + end:
        raise damaged(
            path,
            f"is cut off or damaged: it has {size} bytes instead of {start + end}; download it again",
            f"不完整或已损坏：有 {size} 字节，应为 {start + end} 字节；请重新下载",
        )
    return Weights(path, entries, metadata)


def open_folder(folder: Path) -> Weights:
    """All the weights of one part: a single file, or the shards that an index names.

    Raises ModelError when files are missing or damaged, or when there are several and no index.
    """
    if not folder.is_dir():
        raise missing(folder)
    indices = sorted(folder.glob("*.safetensors.index.json"))
    if indices:
        return _open_shards(indices[0])
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise damaged(
            folder,
            "holds no .safetensors file; download or copy the weights into it",
            "中没有 .safetensors 权重文件；请下载或复制到其中",
        )
    if len(files) > 1:
        names = ", ".join(file.name for file in files)
        raise damaged(
            folder,
            f"holds several weight files ({names}) and no index; leave just one",
            f"中有多个权重文件（{names}）而没有索引；请只保留一个",
        )
    return open_file(files[0])


def _read_file(file: Path, keys: set[str]) -> Tensors:
    """Those of ``keys`` that one file holds."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, "pt") as handle:
            return {key: handle.get_tensor(key) for key in keys.intersection(handle.keys())}
    except (SafetensorError, OSError) as error:
        raise damaged(
            file, f"cannot be read ({error}); download it again", f"无法读取（{error}）；请重新下载"
        ) from error


def _header(path: Path) -> tuple[dict[str, Any], int]:
    """The header and where the data begins."""
    wrong = damaged(
        path,
        "is not a safetensors file, or its start is damaged; download it again",
        "不是 safetensors 文件或文件头已损坏；请重新下载",
    )
    with path.open("rb") as file:
        length = int.from_bytes(file.read(_HEADER_LENGTH), "little")
        if not 2 <= length <= min(_LONGEST_HEADER, path.stat().st_size):
            raise wrong
        raw = file.read(length)
    try:
        header = json.loads(raw)
    except ValueError as error:
        raise wrong from error
    if not isinstance(header, dict) or not isinstance(header.get("__metadata__", {}), dict):
        raise wrong
    return header, _HEADER_LENGTH + length


def _entry(path: Path, key: str, item: Any) -> Entry:
    try:
        shape, name = tuple(int(size) for size in item["shape"]), str(item["dtype"])
        begin, end = (int(offset) for offset in item["data_offsets"])
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged_header(path, key) from error
    if name not in _DTYPES:
        raise damaged(
            path,
            f"holds {key} as {name}, a format that is not supported; use a bf16 or fp8 file",
            f"中的 {key} 采用不支持的格式 {name}；请使用 bf16 或 fp8 文件",
        )
    if end - begin != math.prod(shape) * _DTYPES[name].itemsize:
        raise _damaged_header(path, key)
    return Entry(path, shape, _DTYPES[name])


def _damaged_header(path: Path, key: str) -> ModelError:
    return damaged(path, f"has a damaged header at {key}; download it again", f"文件头在 {key} 处损坏；请重新下载")


def _open_shards(index: Path) -> Weights:
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(name, str) for name in places.values()):
        raise damaged(index, "has no weight_map; download it again", "缺少 weight_map；请重新下载")
    entries: dict[str, Entry] = {}
    for name in sorted(set(places.values())):
        entries.update(open_file(index.parent / name).entries)
    lost = sorted(set(places) - set(entries))
    if lost:
        raise damaged(
            index,
            f"names {lost[0]} in {places[lost[0]]}, which does not hold it; download both again",
            f"称 {places[lost[0]]} 含有 {lost[0]}，但其中没有；请重新下载两者",
        )
    return Weights(index, entries, {})
