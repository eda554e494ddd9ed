"""What is known of a model before its weights are read: its name, its words, the settings that suit it."""

from __future__ import annotations

from dataclasses import dataclass

from zimage_app.domain.request import REFERENCE_STAGES, Stage
from zimage_app.domain.text import Text


@dataclass(frozen=True, slots=True)
class ModelCard:
    """One model of the family."""

    name: str
    """As on the command line: ``--model demo``."""
    title: Text
    description: Text
    stages: tuple[Stage, ...] = REFERENCE_STAGES
    """The settings that suit it: what a request without stages gets."""
    shift: float = 3.0
    """The model's own shift, before any stage has set one."""
    examples: tuple[str, ...] = ()
    """Prompts that show it well."""

    @property
    def single_stage(self) -> tuple[Stage, ...]:
        """Straight to the last stage's size, the way the first stage draws."""
        last = self.stages[-1]
        return (self.stages[0].model_copy(update={"width": last.width, "height": last.height}),)


Z_IMAGE_TURBO = ModelCard(
    name="z-image-turbo",
    title=Text("Z-Image-Turbo", "Z-Image-Turbo"),
    description=Text("6 B parameters, 8 to 9 steps, CFG 1 to 2.", "60 亿参数，8 到 9 步，CFG 1 到 2。"),
)
