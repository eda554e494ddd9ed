"""Matches imported settings with this machine's models and LoRAs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import PurePosixPath

from zimage_app.domain.errors import LoraError
from zimage_app.domain.text import Text
from zimage_app.service.imports.draft import Imported, shown
from zimage_app.service.imports.names import family_of, stem_of
from zimage_app.service.library.loras import LoraLibrary


def fitted(imported: Imported, loras: LoraLibrary, models: Mapping[str, str]) -> Imported:
    """Return the settings with model and LoRAs renamed to those on this machine.

    ``models`` maps usable models to their families; if none fits, ``model`` is empty. A missing LoRA stays in the
    settings, so that nothing is lost, and is reported.
    """
    settings, taken = dict(imported.settings), list(imported.taken)
    translated, left = list(imported.translated), list(imported.left)
    model, remark = _model(imported.model, models)
    if remark:
        (translated if model else left).append(remark)
    elif model:
        taken.append(Text(f"Model: {model}", f"模型：{model}"))
    uses = []
    for use in settings.get("loras") or ():
        name, text = _lora(str(use["name"]), loras)
        uses.append({**use, "name": name or use["name"]})
        if text:
            (translated if name else left).append(text)
    if uses:
        settings["loras"] = uses
    changed = replace(imported, settings=settings, model=model, taken=tuple(taken))
    return replace(changed, translated=tuple(translated), left=tuple(left))


def _model(theirs: str, models: Mapping[str, str]) -> tuple[str, Text | None]:
    """Return this machine's model for an imported one, or "", and a message about it if the names differ."""
    if not theirs or theirs in models:
        return theirs, None
    stem, family = stem_of(theirs), family_of(theirs)
    folded = {name.lower().replace("_", "-"): name for name in models}
    copies = sorted(name for name, each in models.items() if family and each == family)
    name = folded.get(stem.lower().replace("_", "-")) or (family if family in models else "".join(copies[:1]))
    if name:
        return name, Text(f"Model: {shown(theirs)} → {name}", f"模型：{shown(theirs)} → {name}")
    if family:
        return "", Text(
            f"Model: {shown(theirs)} is {family}, which is not on this machine; the chosen model stays",
            f"模型：{shown(theirs)} 即 {family}，本机没有；保留当前选择的模型",
        )
    return "", Text(
        f"Model: {shown(theirs)} is not on this machine; the chosen model stays, and its pictures will differ",
        f"模型：本机没有 {shown(theirs)}；保留当前选择的模型，画面会不同",
    )


def _lora(name: str, loras: LoraLibrary) -> tuple[str, Text | None]:
    """Return the library's name of a LoRA, in any folder, or "", and a message if the names differ."""
    try:
        found = loras.name_of(name)
    except LoraError as error:
        try:
            found = loras.name_of(PurePosixPath(name).name)
        except LoraError:
            return "", Text(f"LoRA {shown(error.text.en)}", f"LoRA {shown(error.text.zh)}")
    if found == name:
        return found, None
    return found, Text(f"LoRA: {shown(name)} → {found}", f"LoRA：{shown(name)} → {found}")
