"""Checks of the user's files: presets, negative prompts, wildcards, LoRAs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from zimage_app.domain.text import Text
from zimage_app.service.diagnostics.doctor.finding import Finding, make_finding
from zimage_app.service.library.loras import LoraLibrary
from zimage_app.service.library.negatives import NegativeLibrary
from zimage_app.service.library.presets import PresetLibrary
from zimage_app.service.library.wildcards import WildcardLibrary
from zimage_app.service.setup.config import StudioConfig

_Problem = tuple[str, Text | None]
"""An item's name, and its problem; None where it is fine."""


def check_lists(config: StudioConfig, deep: bool) -> Iterator[Finding]:
    """Check presets, negative prompts and wildcards by parsing each file."""
    del deep
    presets = ((preset.name, preset.problem) for preset in PresetLibrary(*config.preset_folders).presets())
    yield from _summed(Text("Presets", "预设"), presets)
    categories = NegativeLibrary(*config.negative_folders).categories(refresh=True)
    yield from _summed(Text("Negative prompts", "反向词库"), ((each.title.en, each.problem) for each in categories))
    lists = WildcardLibrary(*config.wildcard_folders).lists()
    yield from _summed(Text("Wildcards", "通配符"), ((each.name, each.problem) for each in lists))


def check_loras(config: StudioConfig, deep: bool) -> Iterator[Finding]:
    """Check each LoRA's header."""
    del deep
    entries = LoraLibrary(*config.lora_folders).entries(refresh=True)
    yield from _summed(Text("LoRAs", "LoRA"), ((entry.name, entry.problem) for entry in entries))


def _summed(about: Text, items: Iterable[_Problem]) -> Iterator[Finding]:
    """Yield a finding for each broken item, and one with the number of good ones."""
    right = 0
    for name, problem in items:
        if problem is None:
            right += 1
        else:
            yield Finding("warning", Text(f"{about.en}: {name}", f"{about.zh}：{name}"), problem)
    yield make_finding("ok", about, f"{right} readable", f"{right} 个可用")
