"""Where things lie and what is allowed: settled once, at start-up, and handed down."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from zimage_app.models.find.catalogue import Shelves
from zimage_app.service.rules.limits import HOME, PUBLIC, Limits
from zimage_app.service.setup.runner_choice import LOCAL, RunnerChoice

ROOT = Path(__file__).resolve().parents[3]
"""The checkout, or the folder that the package was installed into."""
_INSTALLED = Path(__file__).resolve().parents[2] / "shipped"
SHIPPED = _INSTALLED if _INSTALLED.is_dir() else ROOT
"""Where the demo model, LoRAs and presets lie that come with the app: the checkout, or in the installed package."""
HOME_FOLDER = ROOT if SHIPPED == ROOT else Path(os.path.expanduser("~/zimage-studio"))
"""The user's folder unless told otherwise: models/, loras/, presets/ and outputs/ lie in it."""


@dataclass(frozen=True, slots=True)
class StudioConfig:
    """How one process of the app is set up."""

    outputs: Path = HOME_FOLDER / "outputs"
    models: Path = HOME_FOLDER / "models"
    shipped: Path | None = None if HOME_FOLDER == SHIPPED else SHIPPED / "models" / "demo"
    """The demo model's folder, where ``models`` is another than the one it lies in."""
    beside: Path | None = None if HOME_FOLDER == SHIPPED else SHIPPED
    """What comes with the app, where that is not the user's folder: its loras/ and presets/ are read beside these."""
    loras: Path = HOME_FOLDER / "loras"
    named_models: Path = HOME_FOLDER / "presets" / "models"
    """YAML files that name models and the places of their parts."""
    presets: Path = HOME_FOLDER / "presets"
    """YAML files of settings; the user's own lie in ``my/``."""
    negatives: Path = HOME_FOLDER / "presets" / "negative"
    """YAML files of negative prompts, one for each category."""
    wildcards: Path = HOME_FOLDER / "presets" / "wildcards"
    """Text files of wildcards, one entry a line."""
    comfyui: Path | None = None
    """A ComfyUI installation whose models are offered too."""
    model: str | None = None
    """The model to begin with; None: Z-Image-Turbo where it is on this machine, else the demo model."""
    device: str | None = None
    """Where models compute, as in ``cuda:1``; None: on the best device that there is."""
    devices: tuple[str, ...] = ()
    """Where several copies of a model compute side by side, or ``all``; empty: on ``device`` alone."""
    runner: RunnerChoice = LOCAL
    """Who makes the pictures."""
    fallback: RunnerChoice | None = None
    """Who makes those whose model can't be used here."""
    stage_memory: int = 256 * 2**20
    """Bytes of finished stages that a loaded model remembers; 0: none."""
    offline: bool = False
    """Never touch the network."""
    shared: bool = False
    """Strangers can reach the page: everybody sees only their own pictures."""
    limits: Limits | None = None
    """How much may be asked for; None: the public table where strangers can reach the page, else the one for home."""
    borrowed_gpu: bool = False
    """The GPU is lent for the length of a run, to the visitor who asks for it (ZeroGPU)."""
    interrupted: Literal["run again", "report"] = "run again"
    """What becomes of a job whose app was killed. It is run again once only, so that none can kill the app for ever."""

    @property
    def allowed(self) -> Limits:
        """How much may be asked for."""
        if self.limits is not None:
            return self.limits
        return PUBLIC if self.shared else HOME

    @property
    def lora_folders(self) -> tuple[Path, ...]:
        """Where LoRAs lie: the user's own folder, then what comes with the app."""
        return self._with_shipped(self.loras, "loras")

    @property
    def preset_folders(self) -> tuple[Path, ...]:
        """Where presets lie, as ``lora_folders``."""
        return self._with_shipped(self.presets, "presets")

    @property
    def negative_folders(self) -> tuple[Path, ...]:
        """Where negative prompts lie, as ``lora_folders``."""
        return self._with_shipped(self.negatives, "presets/negative")

    @property
    def wildcard_folders(self) -> tuple[Path, ...]:
        """Where wildcards lie, as ``lora_folders``."""
        return self._with_shipped(self.wildcards, "presets/wildcards")

    def _with_shipped(self, own: Path, below: str) -> tuple[Path, ...]:
        return (own,) if self.beside is None else (own, self.beside / below)

    @property
    def state(self) -> Path:
        """The folder of the queue and the index."""
        return self.outputs / ".state"

    @property
    def shelves(self) -> Shelves:
        """Where models are looked for."""
        named = None if self.beside is None else self.beside / "presets" / "models"
        return Shelves(self.models, self.named_models, self.comfyui, self.shipped, shipped_names=named)

    @property
    def upscaler_roots(self) -> tuple[Path, ...]:
        """The folders of models in which a folder of upscalers may lie."""
        comfyui = () if self.comfyui is None else (self.comfyui / "models", self.comfyui)
        return (self.models, *comfyui)

    @property
    def visitors_shelves(self) -> Shelves:
        """Where the models are looked for that somebody on the page names; strangers choose from the list only."""
        return replace(self.shelves, listed_only=self.shared)
