"""``--lora ink=0.8@1,2``: parses a LoRA on the command line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePath
from typing import Any

from zimage_app.cli.terminal import notify
from zimage_app.domain import lora_text
from zimage_app.domain.errors import RequestError
from zimage_app.domain.request import GenerationRequest
from zimage_app.domain.text import Text
from zimage_app.service.library.loras import LoraLibrary
from zimage_app.service.library.loras.scan import SUFFIX


def lora_use(text: str, usual: float = 1.0) -> dict[str, Any]:
    """As ``domain.lora_text.lora_use``, but with errors for ``--lora``."""
    try:
        return lora_text.lora_use(text, usual)
    except RequestError as error:
        raise error.at("--lora") from error


def full_lora_name(name: str, loras: LoraLibrary) -> str:
    """The full name of a LoRA whose name may be abbreviated; prints it then. Raises LoraError for an unknown one."""
    full = loras.find_by_part(name)
    if PurePath(full).name.casefold() != PurePath(name.strip().removesuffix(SUFFIX)).name.casefold():
        notify(Text(f"LoRA {name}: using {full}", f"LoRA {name}：使用 {full}"))
    return full


def lora_warnings(request: GenerationRequest, loras: LoraLibrary) -> Iterator[Text]:
    """Warnings about the LoRAs that are on.

    Raises:
        LoraError: a LoRA is unknown.
    """
    for use in request.loras:
        if use.strength:
            entry = loras.find(use.name)
            for text in filter(None, (*entry.warnings, entry.missing_triggers(request.full_prompt))):
                yield Text(f"LoRA {use.name}: {text.en}", f"LoRA {use.name}：{text.zh}")
