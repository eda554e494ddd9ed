"""Cards and folders by name."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.models.hub.fake_hub import forget_this_machine
from zimage_app.domain.card import Z_IMAGE, Z_IMAGE_TURBO
from zimage_app.domain.errors import ModelError
from zimage_app.domain.settings.stage import REFERENCE_STAGES
from zimage_app.models.find.card_file import plain_card, read_card
from zimage_app.models.find.catalogue import ModelFolders, find_model, list_models, look_up
from zimage_app.service.setup.config import StudioConfig

ROOT = Path(__file__).parents[3]
DEMO = ROOT / "models"
SHIPPED = ROOT / "presets" / "models"
"""The named models that come with the app."""


@pytest.fixture(autouse=True)
def empty_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    forget_this_machine(tmp_path, monkeypatch)
    return tmp_path / "hub-cache"


def make_model(models: Path, name: str, card: str | None = None) -> Path:
    folder = models / name
    folder.mkdir()
    (folder / "model_index.json").write_text("{}", encoding="utf-8")
    if card is not None:
        (folder / "card.yaml").write_text(card, encoding="utf-8")
    return folder


def test_the_demo_model_has_a_card() -> None:
    source = find_model("demo", DEMO)
    assert source.present
    assert source.card.name == "demo"
    assert source.card.title.zh
    assert len(source.card.stages) == 3
    assert [(s.width, s.height) for s in source.card.stages] == [(s.width, s.height) for s in REFERENCE_STAGES]
    assert source.card.examples


def write_part(folder: Path) -> None:
    """What a part of a model looks like from outside."""
    folder.mkdir(parents=True)
    names = ("vocab.json", "merges.txt") if folder.name == "tokenizer" else ("config.json", "a.safetensors")
    for name in names:
        (folder / name).write_text("{}", encoding="utf-8")


def test_lists_what_is_there_and_what_could_be(tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    make_model(models, "mine")
    make_model(models, "demo")
    (models / "no-model").mkdir()
    (models / "README.md").write_text("", encoding="utf-8")
    found = {source.card.name: source.present for source in list_models(ModelFolders(models, SHIPPED))}
    named = {path.stem: False for path in SHIPPED.glob("*.yaml")}
    assert found == {"demo": True, "mine": True} | named
    assert {"z-image-turbo", "z-image"} <= set(named)
    nowhere = {source.card.name: source for source in list_models(ModelFolders(tmp_path / "nowhere", SHIPPED))}
    assert nowhere["z-image-turbo"].card == Z_IMAGE_TURBO
    assert nowhere["z-image"].card == Z_IMAGE


def test_finds_by_name_and_by_path(tmp_path: Path) -> None:
    folder = make_model(tmp_path, "mine")
    assert find_model("mine", tmp_path).folder == folder
    assert find_model(str(folder), tmp_path / "nowhere").card.name == "mine"
    assert find_model("mine", tmp_path).card.stages == REFERENCE_STAGES


def test_a_model_with_a_broken_card_does_not_hide_the_others(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make_model(tmp_path, "demo")
    make_model(tmp_path, "broken", "title: [")
    assert [source.card.name for source in list_models(tmp_path) if source.present] == ["demo"]
    assert "card.yaml, line 1" in caplog.text
    assert find_model("demo", tmp_path).card.name == "demo"
    with pytest.raises(ModelError, match=r"card\.yaml, line 1"):
        find_model("broken", tmp_path)


def test_turbo_is_here_once_all_its_parts_are(tmp_path: Path) -> None:
    model_folders = ModelFolders(tmp_path / "models", SHIPPED)
    (tmp_path / "models").mkdir()
    make_model(tmp_path / "models", "demo")
    home = tmp_path / "models" / "z-image-turbo"
    for part in ("transformer", "text_encoder", "vae", "tokenizer"):
        says = r"z-image-turbo is not .*: fetch it \(33 GB\) .*models fetch z-image-turbo'; ready to use now: demo\."
        with pytest.raises(ModelError, match=says) as caught:
            find_model("z-image-turbo", model_folders)
        assert "models fetch z-image-turbo" in caught.value.text.zh
        assert (f"{part}" in caught.value.text.en) is home.exists()
        write_part(home / part)
    source = find_model("z-image-turbo", model_folders)
    assert source.card == Z_IMAGE_TURBO
    assert {place.path.parent for place in source.places.by_name.values()} == {home}
    assert find_model("Tongyi-MAI/Z-Image-Turbo", model_folders) == source


def test_a_shard_that_is_missing_is_to_be_fetched(tmp_path: Path) -> None:
    model_folders = ModelFolders(tmp_path, SHIPPED)
    for part in ("transformer", "text_encoder", "vae", "tokenizer"):
        write_part(tmp_path / "z-image-turbo" / part)
    index = {"weight_map": {"a": "a.safetensors", "b": "b.safetensors"}}
    folder = tmp_path / "z-image-turbo" / "transformer"
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    assert list(look_up("z-image-turbo", model_folders).missing) == ["transformer"]
    (folder / "b.safetensors").write_bytes(b"")
    assert not look_up("z-image-turbo", model_folders).missing


def test_what_macos_leaves_beside_a_file_is_no_part_of_a_model(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    models, named = tmp_path / "models", tmp_path / "named"
    for part in ("transformer", "text_encoder", "vae", "tokenizer"):
        write_part(models / "z-image-turbo" / part)
    vae = models / "z-image-turbo" / "vae"
    (vae / "._a.safetensors.index.json").write_bytes(b"Mac OS X")
    (vae / "a.safetensors").rename(vae / "._a.safetensors")
    named.mkdir()
    (named / "._own.yaml").write_bytes(b"Mac OS X\0")
    model_folders = ModelFolders(models, named, shipped_names=SHIPPED)
    assert list(look_up("z-image-turbo", model_folders).missing) == ["vae"]
    assert "._own" not in [source.card.name for source in list_models(model_folders)]
    assert "._own" not in caplog.text


def test_what_another_program_has_fetched_is_used_in_place(tmp_path: Path, empty_caches: Path) -> None:
    snapshot = empty_caches / "models--Tongyi-MAI--Z-Image-Turbo" / "snapshots" / "c0ffee"
    for part in ("transformer", "text_encoder"):
        write_part(snapshot / part)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("c0ffee", encoding="utf-8")
    scope = tmp_path / "modelscope-cache" / "models" / "Tongyi-MAI" / "Z-Image-Turbo"
    for part in ("vae", "tokenizer"):
        write_part(scope / part)
    source = find_model("z-image-turbo", ModelFolders(tmp_path / "models", SHIPPED))
    assert source.places.transformer.path == snapshot / "transformer"
    assert source.places.transformer.config == snapshot / "transformer" / "config.json"
    assert source.places.vae.path == scope / "vae"


def test_any_repository_of_the_hub_has_a_name(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="models fetch some/Where-1'") as caught:
        find_model("some/Where-1", tmp_path)
    assert "some/Where-1" in caught.value.text.zh
    for part in ("transformer", "text_encoder", "vae", "tokenizer"):
        write_part(tmp_path / "some--Where-1" / part)
    assert find_model("some/Where-1", tmp_path).card.name == "some--Where-1"


def test_a_folder_laid_out_as_comfyui_does_goes_before_a_named_model(tmp_path: Path) -> None:
    folder = tmp_path / "z-image-turbo"
    (folder / "diffusion_models").mkdir(parents=True)
    source = find_model("z-image-turbo", ModelFolders(tmp_path, SHIPPED))
    assert source.places.transformer.path == folder / "diffusion_models"
    assert source.card == Z_IMAGE_TURBO


def test_a_card_in_its_folder_changes_a_named_model(tmp_path: Path) -> None:
    home = tmp_path / "z-image-turbo"
    home.mkdir()
    (home / "card.yaml").write_text("title: {en: Mine, zh: 我的}\n", encoding="utf-8")
    card = look_up("z-image-turbo", ModelFolders(tmp_path, SHIPPED)).card
    assert card == replace(Z_IMAGE_TURBO, title=card.title)
    assert card.title.zh == "我的"


@pytest.mark.parametrize("name", ["nope", "./nope", "no-model", ""])
def test_an_unknown_name_is_refused_with_those_there_are(tmp_path: Path, name: str) -> None:
    make_model(tmp_path, "demo")
    make_model(tmp_path, "mine")
    (tmp_path / "no-model").mkdir()
    with pytest.raises(ModelError, match=r"no model .*one of demo, mine"):
        find_model(name, tmp_path)


def test_a_card_fills_up_with_the_reference(tmp_path: Path) -> None:
    path = tmp_path / "card.yaml"
    path.write_text(
        "title: {en: Mine, zh: 我的}\n"
        "stages:\n"
        "  - {cfg: 3}\n"
        "  - {easycache: {threshold: 0.5}}\n"
        "  - {easycache: null, sampler: euler}\n"
        "  - {width: 1024, seed: random}\n"
        "examples: [a boat, 船]\n",
        encoding="utf-8",
    )
    card = read_card(path, plain_card("mine"))
    first, second, third, fourth = card.stages
    assert first == REFERENCE_STAGES[0].model_copy(update={"cfg": 3.0})
    assert second.easycache is not None
    assert (second.easycache.threshold, second.easycache.start) == (0.5, 0.45)
    assert third == REFERENCE_STAGES[2].model_copy(update={"easycache": None, "sampler": "euler"})
    assert (fourth.width, fourth.seed, fourth.steps) == (1024, "random", 9)
    assert card.examples == ("a boat", "船")
    assert (card.title.en, card.title.zh) == ("Mine", "我的")


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("", 1, "empty"),
        ("- a\n", 1, "expected keys"),
        ("titel: {en: a, zh: b}\n", 1, "'titel'"),
        ("title: {en: a, zh: b}\nexamples: [a]\ntitle: {en: a, zh: b}\n", 3, "twice"),
        ("title: {en: a}\n", 1, "'zh' is missing"),
        ("title: {en: a, zh: 3}\n", 1, "expected a text"),
        ("stages:\n  - {cfg: 2}\n  - {denoise: 7}\n", 3, "denoise"),
        ("stages:\n  - {cfg: 2}\n  - {denoize: 0.7}\n", 3, "'denoize'"),
        ("stages:\n  - {cfg: 2, cfg: 3}\n", 2, "twice"),
        ("stages:\n  - {easycache: {threshold: 1, threshold: 2}}\n", 2, "twice"),
        ("stages:\n  - {easycache: {treshold: 1}}\n", 2, "treshold"),
        ("stages: []\n", 1, "1 to 8 stages, not 0"),
        ("stages: 3\n", 1, "expected a list"),
        ("stages:\n  - &a {cfg: 2}\n  - *a\n", 3, "aliases"),
        ("examples:\n  - ''\n", 2, "expected a text"),
        ("title: {en: a, zh: b\nexamples: [a]\n", 2, "YAML"),
        ("title: !!python/object:os.system {}\n", 1, "expected keys"),
    ],
)
def test_a_wrong_card_is_refused_with_its_line(tmp_path: Path, text: str, line: int, says: str) -> None:
    path = tmp_path / "card.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ModelError) as caught:
        read_card(path, plain_card("mine"))
    assert f"card.yaml, line {line}, column " in caught.value.text.en
    assert says in caught.value.text.en
    assert f"card.yaml 第 {line} 行" in caught.value.text.zh


@pytest.mark.parametrize("name", ["x" * 300, "a/" + "x" * 300, "~nobody-of-this-name", "a\0b"])
def test_names_that_can_be_no_path_are_no_model(tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelError, match=r"There is no model|is not on this machine"):
        find_model(name, tmp_path)


@pytest.mark.parametrize(
    "name",
    ["{folder}/mine", "../models/mine", "models/mine", "~/x", "owner/name", "Mine", "", "x" * 5000, "z-image-turbo"],
)
def test_where_strangers_choose_only_listed_names_mean_a_model(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    models = tmp_path / "models"
    models.mkdir()
    make_model(models, "mine")
    model_folders = StudioConfig(models=models, shared=True).visitors_model_folders
    assert look_up("mine", model_folders).card.name == "mine"
    with pytest.raises(ModelError, match=r"^There is no model '.{0,80}' on this page; choose one of") as caught:
        find_model(name.format(folder=models), model_folders)
    assert len(str(caught.value)) < 400
    assert "did you mean" not in str(caught.value)
    assert StudioConfig(models=models).visitors_model_folders == StudioConfig(models=models).model_folders
