"""LoRA files on disk: what is in them, and whether they are whole. Knows no models and no arithmetic."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from zimage_app.domain.errors import LoraError
from zimage_app.domain.text import Text

_PICKLES = frozenset({".pt", ".pth", ".ckpt", ".bin", ".pkl"})


def fault(file: str, en: str, zh: str) -> LoraError:
    """An error about a file, in one sentence."""
    return LoraError(Text(f"{file}: {en}", f"{file}：{zh}"))


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
