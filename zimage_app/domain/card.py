"""What is known of a model before its weights are read: its name, its words, the settings that suit it."""

from __future__ import annotations

from dataclasses import dataclass

from zimage_app.domain.request import REFERENCE_STAGES, Stage
from zimage_app.domain.text import Text
from zimage_app.domain.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class Span:
    """From ``low`` to ``high``, both of them included."""

    low: float
    high: float

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high

    def __str__(self) -> str:
        return f"{self.low:g}–{self.high:g}"


@dataclass(frozen=True, slots=True)
class Limits:
    """Where a model was meant to be used. Settings outside are run all the same, with a warning."""

    steps: Span
    """For a picture drawn from nothing: a stage that redraws half of one needs half of them."""
    cfg: Span


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
    single: Stage | None = None
    """One stage for the whole picture, as its makers recommend; None: worked out from ``stages``."""
    limits: Limits | None = None
    """None where nothing is known of them."""
    family: str = ""
    """The published model that it is, or is a copy of; empty where that is not known."""
    vocabulary: Vocabulary | None = None
    """The words that a small model was trained on; None where there is no list of them."""

    @property
    def single_stage(self) -> tuple[Stage, ...]:
        """Straight to the last stage's size: as the makers recommend, else the way the first stage draws."""
        last = self.stages[-1]
        size = {"width": last.width, "height": last.height}
        return ((self.single or self.stages[0]).model_copy(update=size),)


Z_IMAGE_TURBO = ModelCard(
    name="z-image-turbo",
    title=Text("Z-Image-Turbo", "Z-Image-Turbo"),
    description=Text("6 B parameters, 8 to 9 steps, CFG 1 to 2.", "60 亿参数，8 到 9 步，CFG 1 到 2。"),
    single=Stage(steps=8, cfg=1.0, sampler="res_multistep", scheduler="simple", shift=3.0),
    limits=Limits(steps=Span(4, 20), cfg=Span(1.0, 2.0)),
    family="z-image-turbo",
)
"""Its single stage is that of ComfyUI's template; its stages are the reference workflow's."""

_BASE_STAGE = Stage(steps=30, cfg=4.0, sampler="res_multistep", scheduler="simple", shift=3.0)

Z_IMAGE = ModelCard(
    name="z-image",
    title=Text("Z-Image", "Z-Image"),
    description=Text(
        "The model that Turbo was distilled from: 6 B parameters, 25 to 50 steps, CFG 3 to 5, negative prompts work.",
        "Turbo 的蒸馏前原型：60 亿参数，25 到 50 步，CFG 3 到 5，反向提示词有效。",
    ),
    stages=(_BASE_STAGE,),
    single=_BASE_STAGE,
    limits=Limits(steps=Span(25, 50), cfg=Span(3.0, 5.0)),
    family="z-image",
)
"""Settings of ComfyUI's template: 25 to 50 steps, CFG 3 to 5."""

FAMILY = {card.name: card for card in (Z_IMAGE_TURBO, Z_IMAGE)}
"""The published models of the family. Others that were announced (Edit, Omni-Base) have no weights to be had."""
