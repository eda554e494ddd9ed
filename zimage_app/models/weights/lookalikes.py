"""Files that are called ``.safetensors`` and are something else, by how they begin. Opens no file; imports no torch."""

from __future__ import annotations

from zimage_app.domain.text import Text

ENOUGH = 256
"""Bytes that tell."""
MAX_TENSORS = 20_000
"""Of one file; a LoRA for every module of Z-Image, in any spelling, has some thousands."""
MAX_BYTES = 16 * 10**9
"""Of one file; a difference for every weight of Z-Image has 12."""
TOO_LARGE = Text(
    f"is larger than {MAX_BYTES // 10**9} GB, more than a whole model; choose another file",
    f"超过 {MAX_BYTES // 10**9} GB，比整个模型还大；请换一个文件",
)
TOO_MANY = Text(
    f"has more than {MAX_TENSORS} tensors, which no LoRA has; choose another file",
    f"包含超过 {MAX_TENSORS} 个张量，不像 LoRA；请换一个文件",
)
PICKLE = Text(
    "pickle files can run any program when they are opened and are not read; convert it to .safetensors",
    "pickle 文件在打开时可能执行任意程序，因此不予读取；请转换为 .safetensors",
)
_LFS_POINTER = Text(
    "is only a Git LFS pointer; fetch the file itself with 'git lfs pull' or download it again",
    "只是 Git LFS 指针；请用 “git lfs pull” 取得真正的文件，或重新下载",
)
_WEB_PAGE = Text("is a web page, not a LoRA; download it again", "是一个网页，而不是 LoRA；请重新下载")


def lookalike(begin: bytes) -> Text | None:
    """What a file is that begins so, to stand after its name; None where it may be a safetensors file."""
    if begin.startswith((b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04")) and begin[8:9] != b"{":
        return PICKLE
    if begin.startswith(b"version https://git-lfs"):
        return _LFS_POINTER
    if begin[:ENOUGH].lstrip().lower().startswith((b"<!doctype", b"<html")):
        return _WEB_PAGE
    return None
