"""Opens a model's weight files: reads and checks the headers of safetensors and GGUF files, memory-maps their tensors.

Independent of diffusers. Every problem with a file is a ModelError that names the file and says what to do.
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

from zimage_app.domain.errors import ModelError, system_reason
from zimage_app.domain.text import Text
from zimage_app.models.disk.folders import WEIGHT_SUFFIXES, shown, visible
from zimage_app.models.disk.regular_file import open_regular, read_regular
from zimage_app.models.weights.gguf_file import MAGIC, read_header
from zimage_app.models.weights.lookalikes import PICKLES, Kind, lookalike

Tensors = dict[str, Tensor]

_HEADER_LENGTH = 8
_MAX_JSON = 64 * 2**20
"""Maximum size of a JSON file in bytes; a shard index has a few hundred thousand."""
_MAX_HEADER = 100_000_000
"""Maximum size of a safetensors header in bytes, by the format's definition."""
_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "F8_E8M0": torch.float8_e8m0fnu,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_GGUF_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
}
"""GGUF's names of types that aren't packed."""
_NOT_WEIGHTS: Mapping[Kind, Text] = {
    "pickle": Text(
        "is a pickle, which may run any program when it is opened; use the .safetensors file of this model",
        "是 pickle 文件，打开时可能执行任意程序，因此不予加载；请使用此模型的 .safetensors 文件",
    ),
    "pointer": Text(
        "is a Git LFS pointer, not the weights themselves; fetch them with 'git lfs pull' or download the file",
        "只是 Git LFS 指针，不是权重本身；请用 git lfs pull 获取，或直接下载该文件",
    ),
    "page": Text(
        "is a web page, not weights: the download failed; download it again",
        "是网页而不是权重：下载没有成功；请重新下载",
    ),
}


def damaged(path: Path, en: str, zh: str) -> ModelError:
    """Make the error for an unusable file; ``en`` and ``zh`` follow its name."""
    return ModelError(Text(f"{shown(path)} {en}.", f"{shown(path)} {zh}。"))


def missing(path: Path) -> ModelError:
    """Make the error for a missing file."""
    return damaged(
        path,
        "is missing; download or copy the model's folder again, all of it",
        "不存在；请重新下载或复制完整的模型文件夹",
    )


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """A tensor's entry in a file's header."""

    file: Path
    shape: tuple[int, ...]
    """Shape as in the header; for GGUF the unpacked shape, for safetensors that of the stored tensor."""
    dtype: torch.dtype
    """Dtype as stored."""
    packing: str = ""
    """GGUF's name of the packing, such as ``Q4_K``; empty for plain numbers."""
    begin: int = 0
    """Offset of the first byte in a GGUF file."""
    stored: int = 0
    """Size in bytes in a GGUF file."""


@dataclass(frozen=True, slots=True)
class Weights:
    """The header entries of one part of a model, in one file or in shards; tensors are not read."""

    path: Path
    """The file, or the index of the shards; for messages."""
    entries: Mapping[str, TensorEntry]
    metadata: Mapping[str, str]

    @property
    def parameters(self) -> int:
        """Number of stored numbers."""
        return sum(math.prod(entry.shape) for entry in self.entries.values())


class Reader:
    """Reads tensors by key, memory-mapped: parts that aren't used are never read from the disk.

    The mapping is private: writing to a tensor changes neither the file nor what other readers see.
    """

    def __init__(self, weights: Weights) -> None:
        self._entries = weights.entries
        self._files: dict[Path, Any] = {}

    def __call__(self, key: str) -> Tensor:
        """Return the tensor as stored; packed GGUF tensors are returned as flat bytes (uint8).

        Raises ModelError if the file can no longer be read.
        """
        entry = self._entries[key]
        try:
            if entry.file not in self._files:
                self._files[entry.file] = _mapped(entry.file)
            file = self._files[entry.file]
            tensor: Tensor = _gguf_tensor(file, entry) if isinstance(file, Tensor) else file.get_tensor(key)
        except Exception as error:
            # The safetensors library raises its own exceptions besides OSError, RuntimeError and KeyError.
            raise damaged(
                entry.file, f"cannot be read ({error}); download it again", f"无法读取（{error}）；请重新下载"
            ) from error
        return tensor


def _mapped(file: Path) -> Any:
    if _is_gguf(file, _begin(file)):
        # Mapped privately, because tensors may be written to.
        return torch.from_file(str(file), shared=False, size=file.stat().st_size, dtype=torch.uint8)
    from safetensors import safe_open

    return safe_open(file, "pt")


def _gguf_tensor(file: Tensor, entry: TensorEntry) -> Tensor:
    raw = file[entry.begin : entry.begin + entry.stored]
    return raw if entry.packing else raw.view(entry.dtype).view(entry.shape)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object from a file.

    Raises ModelError if the file is missing, unreadable or doesn't hold an object.
    """
    if not path.is_file():
        raise missing(path)
    try:
        data = json.loads(read_regular(path, _MAX_JSON))
    except (OSError, ValueError, RecursionError) as error:
        raise damaged(
            path, f"cannot be read as JSON ({error}); download it again", f"不是可读的 JSON（{error}）；请重新下载"
        ) from error
    if not isinstance(data, dict):
        raise damaged(path, "does not hold a JSON object; download it again", "不是 JSON 对象；请重新下载")
    return data


def open_file(path: Path) -> Weights:
    """Open a safetensors or GGUF file, recognised by its content, and check its size against the header.

    Raises ModelError if the file is missing, cut off or of another kind.
    """
    if not path.is_file():
        raise missing(path)
    try:
        begin = _begin(path)
        _refuse_other_content(path, begin)
        return _open_gguf(path) if _is_gguf(path, begin) else _open_safetensors(path)
    except OSError as error:
        reason = system_reason(error)
        raise damaged(
            path,
            f"cannot be read ({reason}); check its permissions and the disk",
            f"无法读取（{reason}）；请检查文件权限和磁盘",
        ) from error


def _begin(path: Path) -> bytes:
    """Return the first bytes of a file, enough to recognise its kind."""
    with open_regular(path) as file:
        return file.read(32)


def _is_gguf(path: Path, begin: bytes) -> bool:
    """Whether a file is GGUF: by its content, or by its suffix unless the content looks like safetensors."""
    named = path.suffix.lower() == ".gguf" and not begin[_HEADER_LENGTH:].startswith(b"{")
    return begin.startswith(MAGIC) or named


def _open_safetensors(path: Path) -> Weights:
    header, start = _header(path)
    metadata = header.pop("__metadata__", {})
    entries = {key: _entry(path, key, item) for key, item in header.items()}
    _check_length(path, start + max((int(item["data_offsets"][1]) for item in header.values()), default=0))
    return Weights(path, entries, metadata)


def _check_length(path: Path, length: int) -> None:
    """Raise ModelError unless a file has ``length`` bytes."""
    size = path.stat().st_size
    if size != length:
        raise damaged(
            path,
            f"is cut off or damaged: it has {size} bytes instead of {length}; download it again",
            f"不完整或已损坏：有 {size} 字节，应为 {length} 字节；请重新下载",
        )


def _open_gguf(path: Path) -> Weights:
    try:
        header = read_header(path)
    except (ValueError, RecursionError) as error:
        raise damaged(
            path,
            f"is not a GGUF file, or is damaged ({error}); download it again",
            f"不是 GGUF 文件，或已损坏（{error}）；请重新下载",
        ) from error
    # Writers may add padding after the last tensor.
    if path.stat().st_size < header.end:
        _check_length(path, header.end)
    entries = {
        key: TensorEntry(
            path,
            item.shape,
            _GGUF_DTYPES.get(item.packing, torch.uint8),
            "" if item.packing in _GGUF_DTYPES else item.packing,
            item.begin,
            item.stored,
        )
        for key, item in header.tensors.items()
    }
    return Weights(path, entries, {key: str(value) for key, value in header.metadata.items()})


def open_folder(folder: Path) -> Weights:
    """Open the weights of one part: a single file, or the shards named by an index.

    Raises ModelError if files are missing or damaged, or if there are several files and no index.
    """
    if not folder.is_dir():
        raise missing(folder)
    indices = visible(folder.glob("*.safetensors.index.json"))
    if indices:
        return _open_shards(indices[0])
    present = visible(folder.iterdir())
    files = [file for file in present if file.suffix.lower() in WEIGHT_SUFFIXES]
    if not files:
        pickles = [file for file in present if file.suffix.lower() in PICKLES]
        if pickles:
            reason = _NOT_WEIGHTS["pickle"]
            raise damaged(pickles[0], reason.en, reason.zh)
        raise damaged(
            folder,
            "holds no .safetensors or .gguf file; download or copy the weights into it",
            "中没有 .safetensors 或 .gguf 权重文件；请下载或复制到其中",
        )
    if len(files) > 1:
        names = ", ".join(file.name for file in files)
        raise damaged(
            folder,
            f"holds several weight files ({names}) and no index; leave just one",
            f"中有多个权重文件（{names}）而没有索引；请只保留一个",
        )
    return open_file(files[0])


def _refuse_other_content(path: Path, begin: bytes) -> None:
    """Raise ModelError for an empty file, a pickle, a web page or a Git LFS pointer."""
    is_pickle = path.suffix.lower() in PICKLES
    if not begin and not is_pickle:
        raise damaged(path, "is empty; download it again", "是空文件；请重新下载")
    reason = _NOT_WEIGHTS["pickle"] if is_pickle else lookalike(begin, _NOT_WEIGHTS)
    if reason is not None:
        raise damaged(path, reason.en, reason.zh)


def _header(path: Path) -> tuple[dict[str, Any], int]:
    """Read a safetensors header; return it and the offset of the data."""
    wrong = damaged(
        path,
        "is not a safetensors file, or its start is damaged; download it again",
        "不是 safetensors 文件，或文件头已损坏；请重新下载",
    )
    with open_regular(path) as file:
        length = int.from_bytes(file.read(_HEADER_LENGTH), "little")
        if not 2 <= length <= min(_MAX_HEADER, path.stat().st_size):
            raise wrong
        raw = file.read(length)
    try:
        header = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise wrong from error
    if not isinstance(header, dict) or not isinstance(header.get("__metadata__", {}), dict):
        raise wrong
    return header, _HEADER_LENGTH + length


def _entry(path: Path, key: str, item: Any) -> TensorEntry:
    try:
        shape, name = tuple(int(size) for size in item["shape"]), str(item["dtype"])
        begin, end = (int(offset) for offset in item["data_offsets"])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise _damaged_header(path, key) from error
    if name not in _DTYPES:
        raise damaged(
            path,
            f"holds {key} as {name}, a format that is not supported; use a bf16 or fp8 file",
            f"中的 {key} 采用不支持的格式 {name}；请使用 bf16 或 fp8 文件",
        )
    if min((0, *shape)) < 0 or end - begin != math.prod(shape) * _DTYPES[name].itemsize:
        raise _damaged_header(path, key)
    return TensorEntry(path, shape, _DTYPES[name])


def _damaged_header(path: Path, key: str) -> ModelError:
    return damaged(path, f"has a damaged header at {key}; download it again", f"文件头在 {key} 处损坏；请重新下载")


def _open_shards(index: Path) -> Weights:
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(name, str) for name in places.values()):
        raise damaged(index, "has no weight_map; download it again", "缺少 weight_map；请重新下载")
    entries: dict[str, TensorEntry] = {}
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
