"""The model that a Space's owner names, fetched before the page opens."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.models.hub.conftest import REPO
from tests.models.hub.fake_hub import FakeHub, forget_this_machine, serve
from zimage_app.domain.errors import FetchError, ModelError
from zimage_app.domain.text import Text
from zimage_app.models.find.catalogue import find_model
from zimage_app.models.tiny import write_tiny_model
from zimage_app.service.library.first_fetch import fetch_first
from zimage_app.service.setup.config import ROOT, StudioConfig

MODEL = "z-image-turbo"


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StudioConfig:
    forget_this_machine(tmp_path, monkeypatch)
    return StudioConfig(models=tmp_path / "models", named_models=ROOT / "presets" / "models", model=MODEL)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    folder = write_tiny_model(tmp_path / "published" / "tiny")
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != "card.yaml")
    with serve(FakeHub({REPO: {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}})) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        yield hub


def test_a_model_that_is_not_here_is_fetched_and_then_is(config: StudioConfig, hub: FakeHub) -> None:
    told: list[Text] = []
    fetch_first(config, told.append)
    assert find_model(MODEL, config.model_folders).present
    assert told[-1] == Text(f"{MODEL} is here and checked.", f"{MODEL} 已下载并校验完成。")
    hub.asked.clear()
    fetch_first(config, told.append)
    assert hub.asked == []


def test_what_is_not_asked_for_or_not_allowed_is_not_fetched(config: StudioConfig, hub: FakeHub) -> None:
    fetch_first(replace(config, model=None), lambda _: pytest.fail("nothing was to be fetched"))
    with pytest.raises(FetchError, match="offline"):
        fetch_first(replace(config, offline=True), lambda _: None)
    with pytest.raises(ModelError, match="no-such-model"):
        fetch_first(replace(config, model="no-such-model"), lambda _: None)
    assert hub.asked == []


def test_a_fetch_that_fails_is_an_error_with_its_reason(config: StudioConfig, hub: FakeHub) -> None:
    hub.sums["transformer/diffusion_pytorch_model.safetensors"] = "0" * 64
    with pytest.raises(FetchError):
        fetch_first(config, lambda _: None)
