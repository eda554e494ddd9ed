"""One LoRA of the library, as lists and pages show it: everything that is known, most trusted first. Opens no file."""

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
    """A file under ``loras/`` and what is known of it."""

    name: str
    """Path below the folder, with forward slashes and without the ending: what a request calls it."""
    path: Path
    size: int
    """Bytes."""
    modified: int
    """Time of the last change, in ns."""
    title: str
    """What others call it; empty where nobody says."""
    triggers: tuple[str, ...]
    """Trigger words, most trusted first."""
    preset_triggers: tuple[str, ...]
    """Those of them that go with it unless told otherwise; guesses never do."""
    strength: float | None
    """Suggested."""
    base: str
    """The model that it was trained on, in the file's own words."""
    note: str
    notes: Notes
    """What of this the user has written down."""
    kind: str
    """LoRA, LoHa, LoKr, DoRA or diff."""
    spelling: str
    """The commonest prefix of its keys."""
    ranks: tuple[int, int] | None
    """Lowest and highest."""
    width: int | None
    """How wide the model is that it was made for."""
    thumbnail: Path | None
    """A picture beside it, or the file itself where it holds one."""
    thumbnail_modified: int
    """Time of that file's last change, in ns; 0 where there is none."""
    problem: Text | None
    """Why it can't be used at all."""
    warnings: tuple[Text, ...]
    """What is odd about it."""

    @property
    def rank(self) -> str:
        """The ranks as text; empty where nothing is factored."""
        if self.ranks is None:
            return ""
        low, high = self.ranks
        return f"{low}" if low == high else f"{low}–{high}"

    def misfit(self, width: int | None) -> Text | None:
        """Why it can't act on a model of that width; None where it may."""
        if self.width is None or width is None or self.width == width:
            return None
        return Text(
            f"made for a model of width {self.width}; the chosen one has {width}",
            f"适用于宽度为 {self.width} 的模型，而当前模型为 {width}",
        )

    def remarks(self, width: int | None) -> tuple[Text, ...]:
        """What is odd about it, to a user of a model of that width."""
        misfit = self.misfit(width)
        return self.warnings if misfit is None else (*self.warnings, misfit)

    def unheard(self, prompt: str) -> Text | None:
        """What to say where the model reads none of its trigger words, without which it may do little."""
        if not self.preset_triggers or any(holds_word(prompt, word) for word in self.preset_triggers):
            return None
        words = ", ".join(self.preset_triggers[:_SHOWN_WORDS])
        return Text(f"none of its trigger words is in the prompt: {words}", f"提示词中没有它的触发词：{words}")


@dataclass(frozen=True, slots=True)
class Found:
    """A LoRA file with everything that lies around it, read."""

    name: str
    path: Path
    size: int
    modified: int
    contents: LoraHeader
    notes: Notes
    notes_problem: Text | None
    """Why the user's notes can't be read."""
    companions: Sequence[Said]
    """What other files say, most trusted first."""
    picture: FileAt | None


def entry_of(found: Found) -> LoraEntry:
    """Everything that is known of a file, settled by trust: the user, the file itself, what lies around it."""
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
    """Those that go with it by themselves, and all that may; guesses only where nobody knows better."""
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
