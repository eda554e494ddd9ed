"""The settings of several pictures side by side, and which of them differ. No file access."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from zimage_app.domain.preset import setting_title, shown_value, stage_knobs
from zimage_app.domain.record import ImageRecord
from zimage_app.domain.settings.stage import STAGE_GROUPS
from zimage_app.domain.text import Text

_REQUEST_FIELDS = ("prompt", "negative", "triggers", "loras", "seed")
_VARIATION = ("variation_strength", "variation_seed")
_NONE = "—"


@dataclass(frozen=True, slots=True)
class SettingComparison:
    """The values of one setting in all compared pictures."""

    path: str
    """The setting's path in a request, as in ``stages.1.denoise``."""
    values: tuple[str, ...]
    """One per picture, in order; a dash for pictures without this setting."""

    @property
    def title(self) -> Text:
        """The setting's title for display."""
        return setting_title(self.path)

    @property
    def same(self) -> bool:
        """Whether all pictures have the same value."""
        return len(set(self.values)) == 1


def side_by_side(records: Sequence[ImageRecord]) -> tuple[SettingComparison, ...]:
    """Every setting that any of the pictures was made with; stages that didn't run are left out."""
    tables = [dict(_settings(record)) for record in records]
    paths = dict.fromkeys(path for table in tables for path in table)
    common = [path for path in paths if not path.startswith("stages.")]
    of_stages = sorted((path for path in paths if path.startswith("stages.")), key=lambda path: int(path.split(".")[1]))
    return tuple(
        SettingComparison(path, tuple(table.get(path, _NONE) for table in tables)) for path in (*common, *of_stages)
    )


def _settings(record: ImageRecord) -> Iterator[tuple[str, str]]:
    yield "model", record.model
    for name in _REQUEST_FIELDS:
        yield name, shown_value(name, getattr(record.request, name))
    for name in _VARIATION if record.request.variation_strength else ():
        yield name, shown_value(name, getattr(record.request, name))
    settings = record.request.stages or ()
    for ran in record.stages:
        stage, prefix = settings[ran.number], f"stages.{ran.number}"
        for name in stage_knobs(stage):
            yield f"{prefix}.{name}", shown_value(name, getattr(stage, name))
        for group, model in STAGE_GROUPS.items():
            inner = getattr(stage, group)
            yield f"{prefix}.{group}", shown_value("", inner is not None)
            for name in model.model_fields if inner else ():
                yield f"{prefix}.{group}.{name}", shown_value(name, getattr(inner, name))
