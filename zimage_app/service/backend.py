"""What the faces ask of whoever makes the pictures; ``service.studio.Studio`` is the one. Knows no face."""

from __future__ import annotations

from typing import Protocol

from zimage_app.domain.card import ModelCard
from zimage_app.domain.request import GenerationRequest
from zimage_app.domain.text import Text
from zimage_app.service.details import Section
from zimage_app.service.history import History
from zimage_app.service.inputs import PictureInputs
from zimage_app.service.loras import LoraEntry, LoraLibrary
from zimage_app.service.loras.sidecar import Notes
from zimage_app.service.models import ModelLibrary
from zimage_app.service.monitor import Monitor
from zimage_app.service.negatives import NegativeLibrary
from zimage_app.service.pace import Pace
from zimage_app.service.presets import PresetLibrary
from zimage_app.service.slot import LoadedModel
from zimage_app.service.views import JobView, QueueView, SavedPicture
from zimage_app.service.wildcards import WildcardLibrary


class Backend(Protocol):
    """Jobs in, snapshots out; safe to call from any thread."""

    @property
    def default_model(self) -> str:
        """The model that a new visitor gets."""
        ...

    def cards(self) -> tuple[ModelCard, ...]:
        """The models to choose from."""
        ...

    def card(self, name: str) -> ModelCard:
        """One of them; raises ModelError for another name."""
        ...

    @property
    def shared(self) -> bool:
        """Whether strangers can reach the page, who may not change what all of it uses."""
        ...

    @property
    def borrows_gpu(self) -> bool:
        """Whether the GPU is lent to each visitor of the page for a run, and calls from elsewhere have none."""
        ...

    @property
    def models(self) -> ModelLibrary:
        """The models that there are and could be."""
        ...

    @property
    def history(self) -> History:
        """The pictures that were made."""
        ...

    @property
    def monitor(self) -> Monitor:
        """Looks at the machine."""
        ...

    def warnings(self) -> tuple[Text, ...]:
        """What is wrong with the app's own files, for the owner of the machine."""
        ...

    def queue(self) -> QueueView:
        """How many jobs run and wait, everybody's."""
        ...

    def details(self) -> tuple[Section, ...]:
        """Versions, model, machine and folders, for a bug report."""
        ...

    def loaded(self) -> LoadedModel | None:
        """The model that is in memory."""
        ...

    @property
    def device(self) -> str | None:
        """Where models compute; None: on the best device that there is."""
        ...

    def use_device(self, name: str | None) -> None:
        """Compute elsewhere from the next picture on; raises StudioError where that can't or may not be."""
        ...

    def unload(self) -> None:
        """Free its memory; raises StudioError while a picture is being made with it."""
        ...

    @property
    def loras(self) -> LoraLibrary:
        """The LoRAs to choose from."""
        ...

    def note_lora(self, name: str, notes: Notes) -> LoraEntry:
        """Keep the user's own words on a LoRA; raises StudioError where that can't be or isn't allowed."""
        ...

    @property
    def negatives(self) -> NegativeLibrary:
        """The negative prompts to choose from."""
        ...

    @property
    def inputs(self) -> PictureInputs:
        """The pictures that were handed in to start from."""
        ...

    @property
    def pace(self) -> Pace:
        """How quickly models have worked on this machine."""
        ...

    @property
    def wildcards(self) -> WildcardLibrary:
        """The lists that stand for one of their lines in a prompt."""
        ...

    @property
    def presets(self) -> PresetLibrary:
        """Settings that are kept under names."""
        ...

    def tokens(self, model: str, text: str) -> int | None:
        """How many tokens a text is to a model; None where that isn't known."""
        ...

    def token_limit(self, model: str) -> int | None:
        """The most tokens that a model takes; None where that isn't known."""
        ...

    def width(self, model: str) -> int | None:
        """How wide a model's transformer is, which tells LoRAs for it from others; None where that isn't known."""
        ...

    def submit(self, request: GenerationRequest, model: str, owner: str = "") -> str:
        """Queue a request; gives the job's id, or raises StudioError."""
        ...

    def view(self, job_id: str) -> JobView | None:
        """The job as it is now."""
        ...

    def wait(self, job_id: str, version: int, timeout: float) -> JobView:
        """Wait up to ``timeout`` seconds for a view newer than ``version``."""
        ...

    def cancel(self, job_id: str) -> None:
        """Stop a job, waiting or running; returns at once."""
        ...

    def active(self, owner: str) -> str | None:
        """This owner's newest job that is not over."""
        ...

    def today(self, owner: str = "", limit: int = 24) -> tuple[SavedPicture, ...]:
        """Today's pictures, newest first."""
        ...

    def picture(self, picture_id: str, owner: str = "") -> SavedPicture | None:
        """A saved picture, or None."""
        ...
