"""Recognises files that should be weights and are something else by their first bytes. Doesn't import torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

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
PICKLES = frozenset({".pt", ".pth", ".ckpt", ".bin", ".pkl"})
"""Suffixes of pickles."""
Kind = Literal["pickle", "pointer", "page"]
_NOT_A_LORA: Mapping[Kind, Text] = {
    "pickle": PICKLE,
    "pointer": Text(
        "is only a Git LFS pointer; fetch the file itself with 'git lfs pull' or download it again",
        "只是 Git LFS 指针；请用「git lfs pull」取得真正的文件，或重新下载",
    ),
    "page": Text("is a web page, not a LoRA; download it again", "是一个网页，而不是 LoRA；请重新下载"),
}
_MARKS: Mapping[bytes, Kind] = {
    b"PK\x03\x04": "pickle",
    b"\x80": "pickle",
    b"version https://git-lfs": "pointer",
    b"<": "page",
}


def lookalike(begin: bytes, texts: Mapping[Kind, Text] = _NOT_A_LORA) -> Text | None:
    """Return the one of ``texts`` for a file with these first bytes, to follow its name; None if it may be weights."""
    # A safetensors file begins with eight bytes of header length, then the JSON header.
    if begin[8:9] == b"{":
        return None
    text = begin[:ENOUGH].lstrip()
    return next((texts[kind] for mark, kind in _MARKS.items() if text.startswith(mark)), None)


def not_whole(begin: bytes) -> Text:
    """Why a file with these first bytes, which ``lookalike`` doesn't recognise, can't be read as safetensors."""
    if begin[8:9] == b"{":
        return Text(
            "is not a whole safetensors file: it is cut off or damaged; download it again",
            "不是完整的 safetensors 文件：下载未完成或已损坏；请重新下载",
        )
    return Text(
        "is not a whole safetensors file: its contents are of another kind; download it again",
        "不是完整的 safetensors 文件：内容不是这种格式；请重新下载",
    )
