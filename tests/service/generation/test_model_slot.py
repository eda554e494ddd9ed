"""One model in memory: how another comes in its stead, and what stays when it cannot."""

from __future__ import annotations

import shutil
import weakref
from pathlib import Path
from typing import Any

import pytest

from zimage_app.domain.errors import LoadingCancelled, ModelError
from zimage_app.domain.text import Text
from zimage_app.models.find.catalogue import find_model
from zimage_app.models.find.model_source import ModelSource
from zimage_app.models.load.loader import load_components
from zimage_app.service.generation.generator import Generator
from zimage_app.service.generation.model_slot import ModelSlot
from zimage_app.service.library.loras import LoraLibrary


@pytest.fixture
def models(models_dir: Path, tmp_path: Path) -> Path:
    """Two models that are whole, and one that lacks a file."""
    models = tmp_path / "models"
    for name in ("one", "two", "broken"):
        shutil.copytree(models_dir / "tiny", models / name)
    (models / "broken" / "vae" / "config.json").unlink()
    return models


@pytest.fixture
def slot(tmp_path: Path) -> ModelSlot:
    return ModelSlot(LoraLibrary(tmp_path / "loras"))


def fetch(slot: ModelSlot, source: ModelSource, heard: list[Text] | None = None) -> Generator:
    return slot.model(source, (heard if heard is not None else []).append, lambda: False)


def test_a_model_is_loaded_once(slot: ModelSlot, models: Path) -> None:
    heard: list[Text] = []
    source = find_model("one", models)
    first = fetch(slot, source, heard)
    said = len(heard)
    assert said > 1
    assert fetch(slot, source, heard) is first
    assert len(heard) == said
    loaded = slot.loaded()
    assert loaded is not None
    assert loaded.name == "one"
    assert "float32 on the CPU" in loaded.about[0].en


def test_a_model_whose_files_were_replaced_is_loaded_anew(slot: ModelSlot, models: Path) -> None:
    first = fetch(slot, find_model("one", models))
    weights = next((models / "one" / "transformer").glob("*.safetensors"))
    again = weights.with_suffix(".new")
    shutil.copyfile(weights, again)
    again.replace(weights)
    second = fetch(slot, find_model("one", models))
    assert second is not first
    assert fetch(slot, find_model("one", models)) is second
    shutil.rmtree(models / "one" / "transformer")
    assert fetch(slot, find_model("one", models)) is second, "a disk that is away for a moment costs no model"


def test_breaking_off_leaves_what_was_there(slot: ModelSlot, models: Path) -> None:
    first = fetch(slot, find_model("one", models))
    with pytest.raises(LoadingCancelled):
        slot.model(find_model("two", models), lambda _: None, lambda: True)
    assert fetch(slot, find_model("one", models)) is first


def test_memory_of_a_load_that_was_stopped_is_free_to_the_next_one(
    slot: ModelSlot, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    def watched(*given: Any) -> Any:
        done.append("loaded")
        return load_components(*given)

    monkeypatch.setattr("zimage_app.models.device.empty_cache", lambda: done.append("emptied"))
    monkeypatch.setattr("zimage_app.service.generation.generator.load_components", watched)
    with pytest.raises(LoadingCancelled):
        slot.model(find_model("one", models), lambda _: None, lambda: True)
    fetch(slot, find_model("one", models))
    assert done == ["emptied", "loaded", "emptied", "loaded"]


def test_each_load_keeps_to_what_the_device_has_then(
    slot: ModelSlot, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[str] = []
    monkeypatch.setattr(
        "zimage_app.service.generation.generator.keep_to_own_memory", lambda device: kept.append(device.type)
    )
    for name in ("one", "two"):
        fetch(slot, find_model(name, models))
    assert kept == ["cpu", "cpu"]


def test_on_a_device_of_its_own_the_old_model_goes_before_the_new_one_comes(
    slot: ModelSlot, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Generator, "on_accelerator", property(lambda _: True))
    first: Generator | None = fetch(slot, find_model("one", models))
    with pytest.raises(ModelError, match="vae"):
        fetch(slot, find_model("broken", models))
    assert fetch(slot, find_model("one", models)) is first, "a model that can't be loaded has taken its place"

    gone = weakref.ref(first)
    first = None
    alive: list[bool] = []

    def watched(*given: Any) -> Any:
        alive.append(gone() is not None)
        return load_components(*given)

    monkeypatch.setattr("zimage_app.service.generation.generator.load_components", watched)
    assert fetch(slot, find_model("two", models)).card.name == "two"
    assert alive == [False]
