"""Recognises files named ``.safetensors`` that are something else by their first bytes. Doesn't import torch."""

from __future__ import annotations

from zimage_app.domain.text import Text

ENOUGH = 256
"""Number of first bytes that suffice for ``lookalike``."""
MAX_TENSORS = 20_000
"""Maximum tensors of a LoRA file; a LoRA for every module of Z-Image has a few thousand."""
MAX_BYTES = 16 * 10**9
"""Maximum size of a LoRA file; a full difference for every weight of Z-Image has 12 GB."""
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
    "只是 Git LFS 指针；请用「git lfs pull」取得真正的文件，或重新下载",
)
_WEB_PAGE = Text("is a web page, not a LoRA; download it again", "是一个网页，而不是 LoRA；请重新下载")


def lookalike(begin: bytes) -> Text | None:
    """Return what a file with these first bytes is, as text to follow its name; None if it may be safetensors."""
    if begin.startswith((b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04")) and begin[8:9] != b"{":
        return PICKLE
    if begin.startswith(b"version https://git-lfs"):
        return _LFS_POINTER
    if begin[:ENOUGH].lstrip().lower().startswith((b"<!doctype", b"<html")):
        return _WEB_PAGE
    return None
