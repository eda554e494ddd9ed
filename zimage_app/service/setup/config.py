"""The configuration of one process: folders, limits and modes; made once at start-up and passed down."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from zimage_app.models.find.catalogue import ModelFolders
from zimage_app.service.rules.limits import PRIVATE_LIMITS, PUBLIC_LIMITS, Limits
from zimage_app.service.setup.runner_choice import LOCAL, RunnerChoice

ROOT = Path(__file__).resolve().parents[3]
"""The checkout, or the folder that the package was installed into."""
_INSTALLED = Path(__file__).resolve().parents[2] / "shipped"
SHIPPED = _INSTALLED if _INSTALLED.is_dir() else ROOT
"""Folder of the demo model, LoRAs and presets that come with the app: the checkout, or in the installed package."""
HOME_FOLDER = ROOT if SHIPPED == ROOT else Path(os.path.expanduser("~/zimage-studio"))
"""The user's default folder, with models/, loras/, presets/ and outputs/ in it."""


@dataclass(frozen=True, slots=True)
class StudioConfig:
    """The configuration of one process of the app."""

    outputs: Path = HOME_FOLDER / "outputs"
    models: Path = HOME_FOLDER / "models"
    shipped: Path | None = None if HOME_FOLDER == SHIPPED else SHIPPED / "models" / "demo"
    """The demo model's folder; None where ``models`` contains it."""
    beside: Path | None = None if HOME_FOLDER == SHIPPED else SHIPPED
    """Folder of the shipped loras/ and presets/, read in addition to the user's; None where both are the same."""
    loras: Path = HOME_FOLDER / "loras"
    named_models: Path = HOME_FOLDER / "presets" / "models"
    """YAML files that name models and the paths of their parts."""
    presets: Path = HOME_FOLDER / "presets"
    """YAML files of presets; the user's own are in ``my/``."""
    negatives: Path = HOME_FOLDER / "presets" / "negative"
    """YAML files of negative prompts, one per category."""
    wildcards: Path = HOME_FOLDER / "presets" / "wildcards"
    """Text files of wildcards, one entry per line."""
    comfyui: Path | None = None
    """A ComfyUI installation whose models are offered too."""
    model: str | None = None
    """The default model; None: Z-Image-Turbo if it is on this machine, else the demo model."""
    device: str | None = None
    """The models' device, such as ``cuda:1``; None: the best available device."""
    device_memory: int | None = None
    """Bytes of the device's memory that a model may use; None: all free memory."""
    plain: bool = False
    """Whether only torch's own kernels are used, even if others are faster on the device."""
    devices: tuple[str, ...] = ()
    """Devices that each run a copy of the model at the same time, or ``all``; empty: only ``device``."""
    runner: RunnerChoice = LOCAL
    """Who makes the pictures."""
    fallback: RunnerChoice | None = None
    """Fallback runner for models that can't be used on this machine."""
    stage_memory: int = 256 * 2**20
    """Bytes of the cache of finished stages of a loaded model; 0: no cache."""
    offline: bool = False
    """Never use the network."""
    shared: bool = False
    """Whether the app is shared with strangers: everybody sees only their own pictures."""
    limits: Limits | None = None
    """Limits of requests; None: ``PUBLIC_LIMITS`` where the app is shared, else ``PRIVATE_LIMITS``."""
    borrowed_gpu: bool = False
    """Whether a GPU is borrowed for each run, on the visitor's quota (ZeroGPU)."""
    interrupted: Literal["run again", "report"] = "run again"
    """What to do with an interrupted job. A job is rerun once only, in case it is what kills the app."""

    @property
    def allowed(self) -> Limits:
        """The limits in effect."""
        if self.limits is not None:
            return self.limits
        return PUBLIC_LIMITS if self.shared else PRIVATE_LIMITS

    @property
    def lora_folders(self) -> tuple[Path, ...]:
        """Folders of LoRAs: the user's own, then the shipped one."""
        return self._with_shipped(self.loras, "loras")

    @property
    def preset_folders(self) -> tuple[Path, ...]:
        """Folders of presets, as ``lora_folders``."""
        return self._with_shipped(self.presets, "presets")

    @property
    def negative_folders(self) -> tuple[Path, ...]:
        """Folders of negative prompts, as ``lora_folders``."""
        return self._with_shipped(self.negatives, "presets/negative")

    @property
    def wildcard_folders(self) -> tuple[Path, ...]:
        """Folders of wildcards, as ``lora_folders``."""
        return self._with_shipped(self.wildcards, "presets/wildcards")

    def _with_shipped(self, own: Path, below: str) -> tuple[Path, ...]:
        return (own,) if self.beside is None else (own, self.beside / below)

    @property
    def folders(self) -> tuple[Path, ...]:
        """The folders of the user and of this app, which strangers must not see."""
        beside = () if self.comfyui is None else (self.comfyui,)
        named = (HOME_FOLDER, SHIPPED, self.outputs, self.models, self.loras, self.presets, *beside)
        found = (Path(os.path.expanduser("~")), ROOT, *map(Path.absolute, named))
        return tuple(path for path in found if path.is_absolute() and path.parent != path)

    @property
    def state(self) -> Path:
        """Folder of the databases of queue and history."""
        return self.outputs / ".state"

    @property
    def model_folders(self) -> ModelFolders:
        """The places that are searched for models."""
        named = None if self.beside is None else self.beside / "presets" / "models"
        return ModelFolders(self.models, self.named_models, self.comfyui, self.shipped, shipped_names=named)

    @property
    def upscaler_roots(self) -> tuple[Path, ...]:
        """Folders of models that may contain a folder of upscalers."""
        comfyui = () if self.comfyui is None else (self.comfyui / "models", self.comfyui)
        return (self.models, *comfyui)

    @property
    def visitors_model_folders(self) -> ModelFolders:
        """The folders searched for models that visitors name; on a shared app they can only use listed models."""
        return replace(self.model_folders, listed_only=self.shared)
