"""Reads the header of a GGUF file: tensors, their packing, and metadata such as the architecture.

This reader skips long lists, because the gguf package takes seconds and most of a gigabyte for a text model's
vocabulary. Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
"""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from zimage_app.models.disk.regular_file import open_regular

ARCHITECTURE = "general.architecture"
"""Metadata key of the model's architecture, such as ``qwen3``."""
MAGIC = b"GGUF"
"""The first bytes of every GGUF file."""
_VERSIONS = (2, 3)
_ALIGNMENT = "general.alignment"
_DEFAULT_ALIGNMENT = 32
_SHAPE_NOTE = "comfy.gguf.orig_shape."
"""Prefix of metadata keys of ComfyUI's converter: the original shape of a tensor reshaped to rows of 256 numbers."""
_MAX_DIMENSIONS = 8
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
"""GGUF's number of a scalar type -> its ``struct`` format."""
_TEXT, _LIST = 8, 9


@dataclass(frozen=True, slots=True)
class GgufTensor:
    """One tensor of the file."""

    shape: tuple[int, ...]
    """Shape of the unpacked tensor, outermost dimension first as in torch."""
    packing: str
    """ggml's name of the type, such as ``F16`` or ``Q4_K``."""
    begin: int
    """Offset of the first byte in the file."""
    stored: int
    """Size in the file in bytes."""


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """The content of a file's header."""

    tensors: Mapping[str, GgufTensor]
    metadata: Mapping[str, Any]
    """Metadata by key; long lists (vocabularies) are empty."""
    end: int
    """Minimum size of the file in bytes."""


class _Cursor:
    """Reads values one after another from a memory-mapped file."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self.position = 0

    def bytes(self, count: int) -> bytes:
        end = self.position + count
        if not 0 <= self.position <= end <= len(self._data):
            raise ValueError("its header goes beyond its end")
        self.position, begin = end, self.position
        return self._data[begin:end]

    def number(self, kind: str) -> Any:
        layout = f"<{kind}"
        return struct.unpack(layout, self.bytes(struct.calcsize(layout)))[0]

    def text(self) -> str:
        return self.bytes(self.number("Q")).decode()

    def value(self, kind: int) -> Any:
        if kind == _TEXT:
            return self.text()
        if kind == _LIST:
            return list(self._items())
        if kind not in _SCALARS:
            raise ValueError(f"metadata of the unknown type {kind}")
        return self.number(_SCALARS[kind])

    def _items(self) -> Iterator[Any]:
        kind, count = self.number("I"), self.number("Q")
        # Vocabularies have hundreds of thousands of entries; lists that matter here (shapes) are short.
        if count > _MAX_DIMENSIONS:
            self._skip(kind, count)
        else:
            yield from (self.value(kind) for _ in range(count))

    def _skip(self, kind: int, count: int) -> None:
        if kind == _TEXT:
            for _ in range(count):
                self.bytes(self.number("Q"))
        elif kind in _SCALARS:
            self.bytes(count * struct.calcsize(f"<{_SCALARS[kind]}"))
        else:
            raise ValueError(f"a long list of the type {kind}")


def read_header(path: Path) -> GgufHeader:
    """Read the header of a GGUF file, without its tensors.

    Raises ValueError if the file isn't valid GGUF.
    """
    with open_regular(path) as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            return _read(_Cursor(data))
        except (struct.error, OverflowError) as error:
            raise ValueError(str(error)) from error


def _read(cursor: _Cursor) -> GgufHeader:
    if cursor.bytes(len(MAGIC)) != MAGIC:
        raise ValueError("its first letters are not GGUF")
    version = cursor.number("I")
    if version not in _VERSIONS:
        raise ValueError(f"version {version}")
    count, notes = cursor.number("Q"), cursor.number("Q")
    metadata = {cursor.text(): cursor.value(cursor.number("I")) for _ in range(notes)}
    found = dict(_tensor(cursor, metadata) for _ in range(count))
    alignment = metadata.get(_ALIGNMENT, _DEFAULT_ALIGNMENT)
    if not isinstance(alignment, int) or alignment < 1:
        raise ValueError(f"an alignment of {alignment}")
    start = cursor.position + -cursor.position % alignment
    tensors = {name: replace(tensor, begin=start + tensor.begin) for name, tensor in found.items()}
    end = max((tensor.begin + tensor.stored for tensor in tensors.values()), default=start)
    return GgufHeader(tensors, metadata, end)


def _tensor(cursor: _Cursor, metadata: Mapping[str, Any]) -> tuple[str, GgufTensor]:
    """Read the next tensor's entry; its ``begin`` is relative to the end of the header."""
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    name, dimensions = cursor.text(), cursor.number("I")
    if dimensions > _MAX_DIMENSIONS:
        raise ValueError(f"{name} has {dimensions} dimensions")
    # GGUF lists the innermost dimension first.
    shape = tuple(reversed([cursor.number("Q") for _ in range(dimensions)]))
    kind, begin = GGMLQuantizationType(cursor.number("I")), cursor.number("Q")
    block, bytes_of_block = GGML_QUANT_SIZES[kind]
    count = math.prod(shape)
    if count % block:
        raise ValueError(f"{name} has {count} numbers, not whole blocks of {block}")
    noted = metadata.get(_SHAPE_NOTE + name)
    if isinstance(noted, list) and math.prod(noted) == count:
        shape = tuple(noted)
    return name, GgufTensor(shape, kind.name, begin, count // block * bytes_of_block)
