"""The library of models: states, offers, fetches in the background, checks."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pytest
from transformers import Qwen3Config, Qwen3Model

from tests.models.comfy_tree import encoder, tokenizer, transformer, vae
from tests.models.hub.conftest import HASTY, REPO
from tests.models.hub.fake_hub import FakeHub, Fault, forget_this_machine, serve
from zimage_app.domain.errors import FetchError, ModelError
from zimage_app.models.tiny import TINY_TEXT, write_tiny_model
from zimage_app.service.library.default_model import default_model
from zimage_app.service.library.models import FetchView, ModelLibrary, Offer
from zimage_app.service.setup.config import ROOT, StudioConfig

SHIPPED = ROOT / "presets" / "models"
WEIGHTS = "transformer/diffusion_pytorch_model.safetensors"


@pytest.fixture(autouse=True)
def nothing_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forget_this_machine(tmp_path, monkeypatch)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A model of toy size as a hub would hold it."""
    folder = write_tiny_model(tmp_path_factory.mktemp("published") / "tiny")
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != "card.yaml")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.fixture
def hub(published: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    with serve(FakeHub({REPO: dict(published)})) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        yield hub


@pytest.fixture
def config(tmp_path: Path) -> StudioConfig:
    return StudioConfig(models=tmp_path / "models", named_models=SHIPPED)


@pytest.fixture
def library(config: StudioConfig) -> Iterator[ModelLibrary]:
    library = ModelLibrary(config, HASTY)
    yield library
    library.close()


def finished(library: ModelLibrary) -> FetchView:
    """How the fetch ends."""
    view = library.fetching()
    while view is not None and not view.ended:
        view = library.wait(view.version, timeout=10.0)
    assert view is not None
    return view


def states(library: ModelLibrary) -> dict[str, str]:
    return {view.name: view.state for view in library.views()}


def test_from_an_offer_to_a_model_that_is_ready(
    library: ModelLibrary, hub: FakeHub, published: dict[str, bytes]
) -> None:
    assert set(states(library).values()) == {"fetch"}
    assert library.view("z-image-turbo").about == 33e9
    assert library.fetching() is None
    offer = library.offer("z-image-turbo")
    assert offer is not None
    assert offer.files == len(published)
    assert offer.size == sum(map(len, published.values()))
    weights = sum(len(data) for path, data in published.items() if path.endswith(".safetensors"))
    assert weights <= offer.memory <= offer.size
    assert f"{len(published)} files" in offer.text.en
    assert "127.0.0.1" in offer.text.zh
    assert library.start("z-image-turbo").model == "z-image-turbo"
    view = finished(library)
    assert (view.state, view.error) == ("done", None)
    assert view.progress is not None
    assert view.progress.fraction == 1.0
    assert states(library)["z-image-turbo"] == "ready"
    assert library.offer("z-image-turbo") is None
    hub.asked.clear()
    library.start("z-image-turbo")
    assert finished(library).state == "done"
    assert hub.asked == []
    verdicts = list(library.check("z-image-turbo"))
    assert all(verdict.good for verdict in verdicts), [str(verdict.text) for verdict in verdicts]
    assert len(verdicts) == 4 + len(published)


@pytest.mark.parametrize(("memory", "unpacks"), [(20_500_000_000, False), (12_000_000_000, True)])
def test_an_offer_says_that_packed_weights_may_need_more(memory: int, unpacks: bool) -> None:
    offer = Offer("x", "example.org", files=9, size=12_200_000_000, free=10**12, memory=memory)
    assert "12.2 GB to fetch from example.org" in offer.text.en
    assert ("up to 20.5 GB on a device that has to unpack" in offer.text.en) is unpacks
    assert ("最多 20.5 GB" in offer.text.zh) is unpacks


def test_one_at_a_time_and_it_can_be_stopped(library: ModelLibrary, hub: FakeHub) -> None:
    held = threading.Event()
    hub.faults[WEIGHTS] = [Fault(hold=held)]
    view = library.start("z-image-turbo")
    while view.progress is None or view.progress.done == 0:
        assert not view.ended
        view = library.wait(view.version, timeout=10.0) or view
    with pytest.raises(FetchError, match="z-image-turbo is being fetched: wait until it is here"):
        library.start("z-image")
    library.cancel()
    held.set()
    assert finished(library).state == "cancelled"
    assert states(library)["z-image-turbo"] == "fetch"
    hub.faults[REPO] = [Fault(status=503)]
    assert library.offer("z-image-turbo") is not None  # what was stopped is over, also while the hub is busy
    library.start("z-image-turbo")
    assert finished(library).state == "done"
    assert states(library)["z-image-turbo"] == "ready"


def test_what_goes_wrong_is_told_in_the_view(library: ModelLibrary, hub: FakeHub) -> None:
    hub.sums[WEIGHTS] = "0" * 64
    library.start("z-image-turbo")
    view = finished(library)
    assert view.state == "failed"
    assert isinstance(view.error, FetchError)
    assert WEIGHTS in view.error.text.zh
    with pytest.raises(FetchError, match="There is no model Tongyi-MAI/Z-Image at"):
        library.offer("z-image")
    with pytest.raises(ModelError, match="There is no model 'nope'"):
        library.start("nope")


def test_a_model_whose_card_cannot_be_read_is_listed_as_broken(library: ModelLibrary, config: StudioConfig) -> None:
    folder = write_tiny_model(config.models / "tiny")
    (folder / "card.yaml").write_text("title: [", encoding="utf-8")
    views = library.views()
    assert [view.name for view in views] == sorted(view.name for view in views)
    (broken,) = (view for view in views if view.name == "tiny")
    assert broken.state == "broken"
    assert broken.reason is not None
    assert "card.yaml, line 1" in broken.reason.en
    assert "card.yaml 第 1 行" in broken.reason.zh


def test_a_damaged_model_is_broken_and_says_why(library: ModelLibrary, config: StudioConfig) -> None:
    folder = write_tiny_model(config.models / "tiny")
    assert states(library)["tiny"] == "ready"
    file = folder / WEIGHTS
    file.write_bytes(file.read_bytes()[:-1])
    view = library.view("tiny")
    assert view.state == "broken"
    assert view.reason is not None
    assert "cut off" in view.reason.en
    wrong = [verdict for verdict in library.check("tiny") if not verdict.good]
    assert [str(verdict.text) for verdict in wrong] == [str(view.reason)]


def test_a_file_that_was_changed_after_it_came_is_found_out(
    library: ModelLibrary, hub: FakeHub, config: StudioConfig
) -> None:
    assert hub.url
    library.start("z-image-turbo")
    finished(library)
    folder = config.models / "z-image-turbo"
    data = bytearray((folder / WEIGHTS).read_bytes())
    data[-1] ^= 1
    (folder / WEIGHTS).write_bytes(data)
    (folder / "model_index.json").unlink()
    said = [verdict.text.en for verdict in library.check("z-image-turbo") if not verdict.good]
    assert len(said) == 2
    assert "model_index.json was fetched and is gone" in said[0]
    assert f"z-image-turbo/{WEIGHTS} is not what was fetched" in said[1]


def _no_network(*_: Any, **__: Any) -> NoReturn:
    raise AssertionError("the network was used")


def test_offline_nothing_is_asked_of_the_network(
    tmp_path: Path, hub: FakeHub, config: StudioConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tiny_model(config.models / "tiny")
    library = ModelLibrary(StudioConfig(models=config.models, named_models=SHIPPED, offline=True), HASTY)
    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, _no_network)
    monkeypatch.setattr(socket, "getaddrinfo", _no_network)
    assert states(library)["tiny"] == "ready"
    assert library.offer("tiny") is None
    assert all(verdict.good for verdict in library.check("tiny"))
    says = r"z-image-turbo \(transformer, text_encoder, vae, tokenizer\) has to be fetched, and --offline forbids it"
    with pytest.raises(FetchError, match=says) as caught:
        library.offer("z-image-turbo")
    assert "离线" in caught.value.text.zh
    library.start("z-image-turbo")
    view = finished(library)
    assert (view.state, str(view.error)) == ("failed", str(caught.value))
    assert hub.asked == []
    assert list(tmp_path.rglob("z-image-turbo")) == []


def narrow_text(folder: Path) -> Path:
    """A text encoder that is whole, and of another width than the tiny transformer's."""
    config = Qwen3Config(**TINY_TEXT | {"hidden_size": 48})
    Qwen3Model(config).save_pretrained(folder)
    return folder


def test_a_name_for_files_of_this_machine(tmp_path: Path, config: StudioConfig) -> None:
    folder = write_tiny_model(tmp_path / "elsewhere")
    named = tmp_path / "named"
    library = ModelLibrary(StudioConfig(models=config.models, named_models=named))
    parts = {name: folder / name for name in ("transformer", "text_encoder", "vae", "tokenizer")}
    path = library.add("mix", parts, "z-image")
    assert path == named / "mix.yaml"
    assert library.view("mix").state == "ready"
    assert library.view("mix").card.limits is not None
    for name, given, card, says in (
        ("mix", parts, None, "There is a model mix already"),
        ("a/b", parts, None, "'a/b' cannot be a model's name"),
        ("other", parts, "sdxl", "There is no card 'sdxl'; use one of z-image-turbo, z-image"),
        ("other", parts | {"vae": folder / "transformer"}, None, "AutoencoderKL|does not"),
        ("other", parts | {"vae": folder / "nothing"}, None, "nothing is missing"),
        ("other", parts | {"text_encoder": narrow_text(tmp_path / "narrow")}, None, "says hidden_size 48, but"),
        ("猫" * 81, parts, None, "cannot be a model's name; use up to 80 letters"),
    ):
        with pytest.raises(ModelError, match=says):
            library.add(name, given, card)
    assert [file.name for file in named.iterdir()] == ["mix.yaml"]


def test_without_a_name_a_copy_of_turbo_is_taken_where_there_is_one(config: StudioConfig, tmp_path: Path) -> None:
    assert default_model(config) == "demo"
    root = tmp_path / "ComfyUI"
    transformer(root / "models" / "diffusion_models" / "z_image_bf16.safetensors")
    encoder(root / "models" / "text_encoders" / "qwen_3_4b.safetensors")
    vae(root / "models" / "vae" / "ae.safetensors")
    tokenizer(root / "comfy" / "text_encoders" / "qwen25_tokenizer")
    beside = replace(config, comfyui=root)
    assert default_model(beside) == "demo"  # the base model takes other settings: it has to be asked for
    transformer(root / "models" / "diffusion_models" / "z_image_turbo_fp8.safetensors")
    assert default_model(beside) == "z_image_turbo_fp8"
    write_tiny_model(config.models / "z-image-turbo")
    assert default_model(beside) == "z-image-turbo"
    assert default_model(replace(beside, model="mine")) == "mine"
