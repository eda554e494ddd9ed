"""LoRA files on disk: which file a name means, what is in it, its hash. Knows no models and no arithmetic."""

from __future__ import annotations

import difflib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from zimage_app.domain.errors import LoraError
from zimage_app.domain.text import Text

SUFFIX = ".safetensors"
_PICKLES = frozenset({".pt", ".pth", ".ckpt", ".bin", ".pkl"})
_SHORT_HASH = 10


def fault(file: str, en: str, zh: str) -> LoraError:
    """An error about a file, in one sentence."""
    return LoraError(Text(f"{file}: {en}", f"{file}：{zh}"))


def sha256(path: Path) -> str:
    """SHA-256 of the whole file, 64 hex digits.

    Raises:
        LoraError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(path, error) from error


def modified(path: Path) -> tuple[int, int]:
    """Size in bytes and time of the last change in ns: when they differ, the file is another one.

    Raises:
        LoraError: there is no such file.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise _unreadable(path, error) from error
    return status.st_size, status.st_mtime_ns


def short_hash(digest: str) -> str:
    """The first ten digits: what records hold and Civitai calls AutoV2."""
    return digest[:_SHORT_HASH]


def resolve(name: str, loras_dir: Path) -> Path:
    """The file under ``loras_dir`` that a name means.

    ``style/ink`` and ``style/ink.safetensors`` are paths below the folder; a bare ``ink`` is also looked for in the
    sub-folders when the folder itself has none.

    Raises:
        LoraError: no such file, several of that name, or a name or link that leads outside.
    """
    relative = _relative(name)
    for candidate in _spellings(loras_dir / relative):
        if os.path.isfile(candidate):  # unlike Path.is_file, False for a name that is too long
            return _inside(candidate, name, loras_dir)
    files = [path for path in _files(loras_dir) if len(relative.parts) == 1 and path.name in _file_names(relative.name)]
    if len(files) > 1:
        listed = ", ".join(sorted(path.relative_to(loras_dir).as_posix() for path in files))
        raise fault(
            name,
            f"several LoRAs have this name ({listed}); give the path below the loras folder",
            f"有多个同名 LoRA（{listed}）；请写出在 loras 文件夹下的路径",
        )
    if not files:
        raise _not_found(name, loras_dir)
    return _inside(files[0], name, loras_dir)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Every tensor of a file, in its own dtype, on the CPU, independent of the file from then on.

    Raises:
        LoraError: not a safetensors file, empty, or cut off.
    """
    _refuse_pickle(path.name)
    try:
        # Not a memory map: a file that is replaced while its LoRA is on must not change the numbers under us.
        data = path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from error
    _refuse_other_content(path.name, data)
    try:
        tensors: dict[str, Tensor] = safetensors.torch.load(data)
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise fault(
            path.name,
            f"is not a whole safetensors file ({error}); download it again",
            f"不是完整的 safetensors 文件（{error}）；请重新下载",
        ) from error
    if not tensors:
        raise fault(path.name, "holds no tensors; download it again", "文件里没有任何张量；请重新下载")
    return tensors


def _relative(name: str) -> PurePosixPath:
    """A name as a path that stays below the folder: no root, no drive, no step up."""
    relative = PurePosixPath(name.strip().replace("\\", "/"))
    rooted = relative.is_absolute() or bool(PureWindowsPath(name.strip()).drive)
    if rooted or ".." in relative.parts or not relative.parts or "\0" in name:
        raise fault(
            repr(name),
            "is not a LoRA's name; give a file's path below the loras folder, without '..' or a leading '/'",
            "不是有效的 LoRA 名称；请填写 loras 文件夹下的相对路径，不含 “..”，也不以 “/” 开头",
        )
    _refuse_pickle(relative.name)
    return relative


def _file_names(name: str) -> tuple[str, ...]:
    # Appended, never swapped for what stands behind the last dot: "ink v1.5" is a name without its ending.
    return (name,) if name.endswith(SUFFIX) else (f"{name}{SUFFIX}",)


def _spellings(path: Path) -> list[Path]:
    return [path.with_name(name) for name in _file_names(path.name)]


def _files(folder: Path) -> Iterator[Path]:
    for parent, _, names in os.walk(folder):
        yield from (Path(parent, name) for name in names if name.endswith(SUFFIX))


def _inside(path: Path, name: str, loras_dir: Path) -> Path:
    if path.resolve().is_relative_to(loras_dir.resolve()):
        return path
    raise fault(
        name,
        "is a link that leads outside the loras folder; copy the file into the folder",
        "是指向 loras 文件夹之外的链接；请把文件复制进该文件夹",
    )


def _not_found(name: str, loras_dir: Path) -> LoraError:
    known = sorted(path.relative_to(loras_dir).as_posix().removesuffix(SUFFIX) for path in _files(loras_dir))
    close = ", ".join(difflib.get_close_matches(name.removesuffix(SUFFIX), known, n=3))
    return fault(
        name,
        "there is no such LoRA in the loras folder; "
        + (f"did you mean {close}?" if close else "put the file there or choose another name"),
        "loras 文件夹里没有这个 LoRA；" + (f"是否指 {close}？" if close else "请把文件放进去，或换一个名称"),
    )


def _refuse_pickle(file: str) -> None:
    if PurePosixPath(file).suffix.lower() in _PICKLES:
        raise _pickle(file)


def _pickle(file: str) -> LoraError:
    return fault(
        file,
        "pickle files can run any program when they are opened and are not read; convert it to .safetensors",
        "pickle 文件在打开时可能执行任意程序，因此不予读取；请转换为 .safetensors",
    )


def _refuse_other_content(file: str, data: bytes) -> None:
    """Files whose name says safetensors and whose first bytes say something else."""
    if data.startswith((b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04")) and not data[8:9] == b"{":
        raise _pickle(file)
    if data.startswith(b"version https://git-lfs"):
        raise fault(
            file,
            "is only a Git LFS pointer; fetch the file itself with 'git lfs pull' or download it again",
            "只是 Git LFS 指针；请用 “git lfs pull” 取得真正的文件，或重新下载",
        )
    if data[:256].lstrip().lower().startswith((b"<!doctype", b"<html")):
        raise fault(file, "is a web page, not a LoRA; download it again", "是一个网页，而不是 LoRA；请重新下载")


def _unreadable(path: Path, error: OSError) -> LoraError:
    reason = error.strerror or str(error)
    return fault(
        path.name,
        f"cannot be read ({reason}); check that the file is there and may be read",
        f"无法读取（{reason}）；请检查文件是否存在且有读取权限",
    )
