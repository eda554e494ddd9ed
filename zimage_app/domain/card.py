"""Facts about a model that are known before its weights are read: name, description, recommended settings."""

from __future__ import annotations

from dataclasses import dataclass

from zimage_app.domain.settings.stage import REFERENCE_STAGES, Stage
from zimage_app.domain.text import Text
from zimage_app.domain.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class Span:
    """The closed interval from ``low`` to ``high``."""

    low: float
    high: float

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high

    def __str__(self) -> str:
        return f"{self.low:g}–{self.high:g}"


@dataclass(frozen=True, slots=True)
class RecommendedRanges:
    """The ranges that a model's makers recommend. Settings outside them run anyway, with a warning."""

    steps: Span
    """Steps of a stage at denoise 1; a stage at denoise 0.5 needs half as many."""
    cfg: Span


@dataclass(frozen=True, slots=True)
class ModelCard:
    """One model of the family."""

    name: str
    """The name on the command line, as in ``--model demo``."""
    title: Text
    description: Text
    stages: tuple[Stage, ...] = REFERENCE_STAGES
    """The recommended stages; a request without stages gets these."""
    shift: float = 3.0
    """The model's own shift, before any stage has set one."""
    examples: tuple[str, ...] = ()
    """Example prompts that suit the model."""
    single: Stage | None = None
    """The single stage that the model's makers recommend; None: derived from ``stages``."""
    limits: RecommendedRanges | None = None
    """None where no recommended ranges are known."""
    family: str = ""
    """Name of the published model that this model is, or is a copy of; empty where unknown."""
    vocabulary: Vocabulary | None = None
    """The words that a small model was trained on; None where there is no list of them."""

    @property
    def single_stage(self) -> tuple[Stage, ...]:
        """One stage at the last stage's size, with the settings of ``single``, else of the first stage."""
        last = self.stages[-1]
        size = {"width": last.width, "height": last.height}
        return ((self.single or self.stages[0]).model_copy(update=size),)


Z_IMAGE_TURBO = ModelCard(
    name="z-image-turbo",
    title=Text("Z-Image-Turbo", "Z-Image-Turbo"),
    description=Text("6 B parameters, 8 to 9 steps, CFG 1 to 2.", "60 亿参数，8 到 9 步，CFG 1 到 2。"),
    single=Stage(steps=8, cfg=1.0, sampler="res_multistep", scheduler="simple", shift=3.0),
    limits=RecommendedRanges(steps=Span(4, 20), cfg=Span(1.0, 2.0)),
    family="z-image-turbo",
)
"""``single`` follows ComfyUI's template; ``stages`` are the reference workflow's."""

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
    limits=RecommendedRanges(steps=Span(25, 50), cfg=Span(3.0, 5.0)),
    family="z-image",
)
"""Settings of ComfyUI's template: 25 to 50 steps, CFG 3 to 5."""

FAMILY = {card.name: card for card in (Z_IMAGE_TURBO, Z_IMAGE)}
"""The published Z-Image models by name. The announced Edit and Omni-Base models have no published weights."""
