"""What a runner needs that has its pictures made elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from zimage_app.domain.plan import GenerationPlan
from zimage_app.domain.request import GenerationRequest
from zimage_app.models.find.model_source import ModelSource
from zimage_app.service.generation.start_pictures import PictureInputs
from zimage_app.service.jobs.runners.runner import Assignment
from zimage_app.service.library.loras import LoraLibrary
from zimage_app.service.pictures.gallery import Gallery


@dataclass(frozen=True, slots=True)
class RemoteMaking:
    """What it takes to have pictures made."""

    plan: Callable[[GenerationRequest, str], GenerationPlan]
    """What a request comes to on a model; raises StudioError."""
    source: Callable[[str], ModelSource]
    """A model by its name; its files need not be here. Raises ModelError."""
    loras: LoraLibrary
    inputs: PictureInputs
    gallery: Gallery
    marked: bool
    """A picture's file says whose it is, because strangers share the page."""

    def settled(self, assignment: Assignment) -> GenerationPlan:
        """A job's plan, with the full names and hashes of its LoRAs; raises StudioError."""
        plan = assignment.planned(self.plan)
        uses = [self.loras.settled(use, assignment.token)[0] if use.strength else use for use in plan.request.loras]
        return replace(plan, request=plan.request.model_copy(update={"loras": tuple(uses)}))
