"""Holds the one loaded model and replaces it by another. Independent of jobs and pages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from zimage_app.domain.text import Text
from zimage_app.models.find.model_source import ModelSource
from zimage_app.service.generation.start_pictures import PictureInputs
from zimage_app.service.library.loras import LoraLibrary
from zimage_app.service.setup.config import StudioConfig

if TYPE_CHECKING:
    from zimage_app.models.load.loader import LoadProgress
    from zimage_app.service.generation.generator import Generator


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """Describes the loaded model."""

    name: str
    about: tuple[Text, ...]
    """Messages about device, dtype and the placement of weights in memory."""


class ModelSlot:
    """Holds one loaded model at a time. Only one thread may call ``model``."""

    def __init__(
        self, loras: LoraLibrary, inputs: PictureInputs | None = None, config: StudioConfig | None = None
    ) -> None:
        self._loras = loras
        self._inputs = inputs
        self._config = config or StudioConfig()
        self.device = self._config.device
        """Device on which the next model is loaded; None: the best available device."""
        self._generator: Generator | None = None
        self._loaded_for: tuple[ModelSource, str] | None = None
        """The arguments ``source`` and ``device`` of ``model`` that the loaded model was loaded with."""
        self._loaded_files: _Files | None = None

    def loaded(self) -> LoadedModel | None:
        """Return the loaded model, or None."""
        generator = self._generator
        return None if generator is None else LoadedModel(generator.card.name, generator.about)

    def model(
        self, source: ModelSource, tell: Callable[[Text], None], cancelled: Callable[[], bool], device: str = ""
    ) -> Generator:
        """Return a model's generator, loading the model if needed; ``tell`` is called with the progress.

        ``device``, such as ``cpu``, overrides the default device for this picture. If the new model's files can't be
        used, the loaded model stays in memory.

        Raises:
            ModelError: a file can't be used.
            LoadingCancelled: ``cancelled()`` returned true.
        """
        title, files = source.card.title, _files(source)
        # If the files can't be read at the moment, keep the model that is in memory.
        same = (source, device) == self._loaded_for and files in (None, self._loaded_files)
        if self._generator is not None and same:
            return self._generator
        tell(Text(f"loading {title.en}", f"正在加载 {title.zh}"))
        from zimage_app.models.device import empty_cache  # these import torch and diffusers: seconds
        from zimage_app.models.load.loader import check_model
        from zimage_app.service.generation.generator import load_options, load_source

        if self._generator is not None and self._generator.on_accelerator:
            # Two models rarely fit into a device's memory: check the new one's files, then free the old one.
            check_model(source)
            self.clear()
        empty_cache()  # a cancelled load leaves memory in torch's cache, which the memory plan would count as used
        loading = replace(
            load_options(self._config),
            device=device or self.device,
            progress=lambda step: tell(_words(title, step)),
            cancelled=cancelled,
            lasting=True,
        )
        generator = load_source(source, self._loras, loading, inputs=self._inputs)
        if self._config.borrowed_gpu:
            from zimage_app.service.generation.zero_gpu import BorrowedGenerator

            generator = BorrowedGenerator(generator)
        self.clear()
        self._generator, self._loaded_for, self._loaded_files = generator, (source, device), files
        return generator

    def clear(self) -> None:
        """Unload the model; the next picture loads it again."""
        if self._generator is None:
            return
        self._generator = None
        from zimage_app.models.device import empty_cache

        empty_cache()


_Files = tuple[tuple[str, int, int], ...]
"""(path, bytes, time of the last change in nanoseconds) of each file of a model's parts."""


def _files(source: ModelSource) -> _Files | None:
    """Return the present state of a model's files; None if one of them can't be read."""
    try:
        paths = [
            path
            for place in source.places.by_name.values()
            for path in (place.path.iterdir() if place.path.is_dir() else (place.path,))
        ]
        states = ((path, path.stat()) for path in sorted(paths))
        return tuple((str(path), state.st_size, state.st_mtime_ns) for path, state in states)
    except OSError:
        return None


def _words(title: Text, step: LoadProgress) -> Text:
    return Text(
        f"loading {title.en}: {step.part.en} ({step.fraction:.0%})",
        f"正在加载 {title.zh}：{step.part.zh}（{step.fraction:.0%}）",
    )
