"""Out-of-memory handling of a run: decodes in tiles first, then offloads weights to the computer's memory.

The work that ran out of memory is repeated from its beginning, with the same noise.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from typing import TypeVar

import torch
from torch import Tensor

from zimage_app.domain.errors import GenerationError
from zimage_app.domain.events import Warned
from zimage_app.domain.text import Text
from zimage_app.models.components import Components
from zimage_app.models.device import empty_cache, is_out_of_memory

_Item = TypeVar("_Item")
_Made = TypeVar("_Made")


class MemorySavings:
    """The memory savings of one run so far. Offloaded weights stay offloaded until the model is loaded again."""

    def __init__(self, components: Components) -> None:
        self._components = components
        self.tiled = False
        """Whether pictures are decoded in tiles."""

    def decode(self, latent: Tensor) -> Tensor:
        """Decode a latent, in tiles if need be; arguments and result as of ``Codec.decode``."""
        codec = self._components.codec
        return codec.decode_tiled(latent) if self.tiled else codec.decode(latent)

    def more(self, *, decoding: bool) -> Text | None:
        """Apply the next memory saving and return a message about it; None if there is none left."""
        parts = self._components
        if decoding and not self.tiled:
            self.tiled = True
            return Text(
                "Memory ran out while the picture was decoded, so that is done in tiles; colours may differ a little.",
                "解码图片时内存不足，已改为分块解码，颜色可能有极细微的差异。",
            )
        if not has_own_memory(parts.transformer.device):
            return None
        if parts.text.offload():
            return Text(
                "Memory ran out, so the text encoder stays in the computer's memory; its layers visit the device one by"
                " one.",
                "显存不足，文本编码器已移至内存，并逐层调入显存。",
            )
        if parts.transformer.offload():
            return Text(
                "Memory ran out, so half of the transformer's blocks that were on the device wait in the computer's"
                " memory and visit it one by one: slower, the same picture.",
                "显存不足，扩散模型仍在显存中的一半层已移至内存并逐层调入显存：速度变慢，图片不变。",
            )
        return None


def has_own_memory(device: torch.device) -> bool:
    """Whether the device's memory is separate from the computer's, so that offloading frees some of it."""
    return device.type != "cpu"


def with_savings(
    work: Callable[[], Generator[_Item, None, _Made]], savings: MemorySavings, *, decoding: bool = False
) -> Generator[_Item | Warned, None, _Made]:
    """Run ``work``; whenever memory runs out, apply the next saving, yield a warning and run ``work`` again.

    Raises:
        GenerationError: memory ran out and no saving is left; the message says what would help.
    """
    while True:
        try:
            return (yield from work())
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            asked = _asked_for(error)
        # Outside the except block: the traceback's frames keep the failed attempt's tensors alive until here.
        try:
            message = savings.more(decoding=decoding)
        except (RuntimeError, MemoryError) as error:  # the computer's memory has no room for offloaded weights
            if not is_out_of_memory(error):
                raise
            message = None
        empty_cache()
        if message is None:
            raise out_of_memory(asked)
        yield Warned((message,))


def without_events(work: Callable[[], _Made]) -> Generator[Warned, None, _Made]:
    """Turn a plain function into a generator without events, for ``with_savings``."""
    yield from ()
    return work()


def out_of_memory(asked: str) -> GenerationError:
    """Return the error for the user; ``asked`` is the size of the failed allocation, or "" if unknown."""
    amount = Text(f" when asked for {asked}", f"（需要 {asked}）") if asked else Text("", "")
    return GenerationError(
        Text(
            f"The device ran out of memory{amount.en}; choose a smaller last stage, choose a smaller copy in the page's"
            " model panel or as `plan --memory GB` suggests, or close other programs that use it.",
            f"设备内存不足{amount.zh}；请减小最后阶段的尺寸，在页面的模型面板选择更小的版本"
            "（plan --memory GB 会给出建议），或关闭其他占用它的程序。",
        )
    )


def _asked_for(error: BaseException) -> str:
    found = re.search(r"tried to allocate ([\d.]+ \w+)", str(error), re.IGNORECASE)
    return found[1] if found else ""
