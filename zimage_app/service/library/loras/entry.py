"""One LoRA of the library as lists and pages show it; details come from the most trusted source. Opens no file."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from zimage_app.domain.request import holds_word
from zimage_app.domain.text import Text
from zimage_app.service.library.loras.header import LoraHeader
from zimage_app.service.library.loras.metadata import MAX_WORDS, LoraMetadata
from zimage_app.service.library.loras.scan import SUFFIX, LoraFiles
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
    """The model that the LoRA was trained on, by its name in the file."""
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

    def width_mismatch(self, width: int | None) -> Text | None:
        """Why the LoRA can't be applied to a model of hidden size ``width``; None if it may be."""
        if self.width is None or width is None or self.width == width:
            return None
        return Text(
            f"made for a model of width {self.width}; the chosen one has {width}",
            f"适用于宽度为 {self.width} 的模型，而当前模型为 {width}",
        )

    def remarks(self, width: int | None) -> tuple[Text, ...]:
        """Warnings about the LoRA with a model of hidden size ``width``."""
        mismatch = self.width_mismatch(width)
        return self.warnings if mismatch is None else (*self.warnings, mismatch)

    def missing_triggers(self, prompt: str) -> Text | None:
        """A warning where the prompt has none of the trigger words, without which the LoRA may do little; else None."""
        if not self.preset_triggers or any(holds_word(prompt, word) for word in self.preset_triggers):
            return None
        words = ", ".join(self.preset_triggers[:_SHOWN_WORDS])
        return Text(f"none of its trigger words is in the prompt: {words}", f"提示词中没有它的触发词：{words}")


def entry_of(
    files: LoraFiles, contents: LoraHeader, notes: Notes, notes_problem: Text | None, said: Sequence[LoraMetadata]
) -> LoraEntry:
    """Merge all details of a LoRA, the most trusted first: the user's notes, then its metadata and companion files.

    ``notes_problem`` is why the user's notes can't be read.
    """
    lora = files.lora
    preset, more = _triggers(notes, said)
    strengths = (notes.strength, *(each.strength for each in said))
    thumbnail = files.picture or (lora if contents.has_thumbnail else None)
    return LoraEntry(
        name=unicodedata.normalize("NFC", lora.name[: -len(SUFFIX)] if files.problem is None else lora.name),
        path=lora.path,
        size=lora.stamp[0],
        modified=lora.stamp[1],
        title=next(filter(None, (each.title for each in said)), ""),
        triggers=tuple(dict.fromkeys((*preset, *more)))[:MAX_WORDS],
        preset_triggers=preset,
        strength=next((value for value in strengths if value is not None), None),
        base=next(filter(None, (each.base for each in said)), ""),
        note=notes.note or next(filter(None, (each.note for each in said)), ""),
        notes=notes,
        kind=contents.kind,
        spelling=contents.spelling,
        ranks=contents.ranks,
        width=contents.width,
        thumbnail=thumbnail.path if thumbnail else None,
        thumbnail_modified=thumbnail.stamp[1] if thumbnail else 0,
        problem=contents.problem,
        warnings=(*filter(None, [notes_problem]), *_warnings(contents, said)),
    )


def _triggers(notes: Notes, said: Sequence[LoraMetadata]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(default trigger words, all trigger words); guesses only where no source names any."""
    named = tuple(word for each in said for word in (*each.phrase, *each.choices))
    if notes.triggers is not None:
        return notes.triggers, named
    preset = next(filter(None, (each.phrase or each.choices[:1] for each in said)), ())
    return preset, named or tuple(word for each in said for word in each.guesses)


def _warnings(contents: LoraHeader, said: Sequence[LoraMetadata]) -> Iterator[Text]:
    base = next(filter(None, (each.base for each in said)), "")
    if contents.problem is None and not contents.for_z_image:
        of = Text(f": it is for {base}", f"：它用于 {base}") if base else Text("", "")
        yield Text(f"not a LoRA for Z-Image, by the names in it{of.en}", f"从内容看不是 Z-Image 的 LoRA{of.zh}")
    elif base and not _is_z_image(base):
        yield Text(f"its notes say it was trained on {base}, not Z-Image", f"其说明称训练底模为 {base}，而非 Z-Image")


def _is_z_image(base: str) -> bool:
    return "zimage" in re.sub(r"[^a-z0-9]", "", base.casefold())
