"""One LoRA of the library as lists and pages show it; details come from the most trusted source. Opens no file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from zimage_app.domain.request import holds_word
from zimage_app.domain.text import Text
from zimage_app.service.library.loras.header import LoraHeader
from zimage_app.service.library.loras.metadata import MAX_WORDS, Said
from zimage_app.service.library.loras.scan import FileAt
from zimage_app.service.library.loras.sidecar import Notes

_SHOWN_WORDS = 3


@dataclass(frozen=True, slots=True)
class LoraEntry:
    """A file under ``loras/`` and its details."""

    name: str
    """Path below the folder, with forward slashes and without the suffix; the name in requests."""
    path: Path
    size: int
    """Size in bytes."""
    modified: int
    """Modification time in ns."""
    title: str
    """Title from its metadata; empty where none is given."""
    triggers: tuple[str, ...]
    """Trigger words, most trusted first."""
    preset_triggers: tuple[str, ...]
    """The trigger words that are used with the LoRA by default; never guesses."""
    strength: float | None
    """Suggested strength."""
    base: str
    """The model that the LoRA was trained on, as the file calls it."""
    note: str
    notes: Notes
    """The user's own notes, which override other sources."""
    kind: str
    """LoRA, LoHa, LoKr, DoRA or diff."""
    spelling: str
    """The most common prefix of its keys."""
    ranks: tuple[int, int] | None
    """(lowest, highest) rank."""
    width: int | None
    """Hidden size of the model that the LoRA was made for; None where unknown."""
    thumbnail: Path | None
    """A picture beside the file, or the file itself where one is embedded."""
    thumbnail_modified: int
    """Modification time of ``thumbnail`` in ns; 0 where there is none."""
    problem: Text | None
    """Why the LoRA can't be used at all."""
    warnings: tuple[Text, ...]
    """Warnings that don't prevent its use."""

    @property
    def rank(self) -> str:
        """The ranks as text; empty for a file without low-rank factors."""
        if self.ranks is None:
            return ""
        low, high = self.ranks
        return f"{low}" if low == high else f"{low}–{high}"

    def misfit(self, width: int | None) -> Text | None:
        """Why the LoRA can't act on a model of hidden size ``width``; None where it may."""
        if self.width is None or width is None or self.width == width:
            return None
        return Text(
            f"made for a model of width {self.width}; the chosen one has {width}",
            f"适用于宽度为 {self.width} 的模型，而当前模型为 {width}",
        )

    def remarks(self, width: int | None) -> tuple[Text, ...]:
        """Warnings about the LoRA with a model of hidden size ``width``."""
        misfit = self.misfit(width)
        return self.warnings if misfit is None else (*self.warnings, misfit)

    def unheard(self, prompt: str) -> Text | None:
        """A warning where the prompt has none of the trigger words, without which the LoRA may do little; else None."""
        if not self.preset_triggers or any(holds_word(prompt, word) for word in self.preset_triggers):
            return None
        words = ", ".join(self.preset_triggers[:_SHOWN_WORDS])
        return Text(f"none of its trigger words is in the prompt: {words}", f"提示词中没有它的触发词：{words}")


@dataclass(frozen=True, slots=True)
class Found:
    """A LoRA file and the files around it, as read."""

    name: str
    path: Path
    size: int
    modified: int
    contents: LoraHeader
    notes: Notes
    notes_problem: Text | None
    """Why the user's notes can't be read; None where they can."""
    companions: Sequence[Said]
    """Contents of companion files, most trusted first."""
    picture: FileAt | None


def entry_of(found: Found) -> LoraEntry:
    """Merge all details of a LoRA by trust: the user's notes, then the file itself, then its companions."""
    said = (found.contents.said, *found.companions)
    preset, more = _triggers(found.notes, said)
    strengths = (found.notes.strength, *(each.strength for each in said))
    thumbnail, thumbnail_modified = _thumbnail(found)
    return LoraEntry(
        name=found.name,
        path=found.path,
        size=found.size,
        modified=found.modified,
        title=next(filter(None, (each.title for each in said)), ""),
        triggers=tuple(dict.fromkeys((*preset, *more)))[:MAX_WORDS],
        preset_triggers=preset,
        strength=next((value for value in strengths if value is not None), None),
        base=next(filter(None, (each.base for each in said)), ""),
        note=found.notes.note or next(filter(None, (each.note for each in said)), ""),
        notes=found.notes,
        kind=found.contents.kind,
        spelling=found.contents.spelling,
        ranks=found.contents.ranks,
        width=found.contents.width,
        thumbnail=thumbnail,
        thumbnail_modified=thumbnail_modified,
        problem=found.contents.problem,
        warnings=tuple(_warnings(found, said)),
    )


def _thumbnail(found: Found) -> tuple[Path | None, int]:
    if found.picture is not None:
        return found.picture.path, found.picture.stamp[1]
    return (found.path, found.modified) if found.contents.has_thumbnail else (None, 0)


def _triggers(notes: Notes, said: Sequence[Said]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(default trigger words, all trigger words); guesses only where no source names any."""
    named = tuple(word for each in said for word in (*each.phrase, *each.choices))
    if notes.triggers is not None:
        return notes.triggers, named
    preset = next(filter(None, (each.phrase or each.choices[:1] for each in said)), ())
    return preset, named or tuple(word for each in said for word in each.guesses)


def _warnings(found: Found, said: Sequence[Said]) -> list[Text]:
    warnings = [] if found.notes_problem is None else [found.notes_problem]
    contents = found.contents
    base = next(filter(None, (each.base for each in said)), "")
    if contents.problem is None and not contents.for_z_image:
        of = Text(f": it is for {base}", f"：它用于 {base}") if base else Text("", "")
        warnings.append(
            Text(f"not a LoRA for Z-Image, by the names in it{of.en}", f"从内容看不是 Z-Image 的 LoRA{of.zh}")
        )
    elif base and not _is_z_image(base):
        warnings.append(
            Text(f"its notes say it was trained on {base}, not Z-Image", f"其说明称训练底模为 {base}，而非 Z-Image")
        )
    return warnings


def _is_z_image(base: str) -> bool:
    return "zimage" in re.sub(r"[^a-z0-9]", "", base.casefold())
