"""Cards and folders by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from zimage_app.domain.card import Z_IMAGE_TURBO
from zimage_app.domain.errors import ModelError
from zimage_app.domain.request import REFERENCE_STAGES
from zimage_app.models.card_file import read_card
from zimage_app.models.spec import find_model, list_models

DEMO = Path(__file__).parents[2] / "models"


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


def test_lists_what_is_there_and_what_could_be(tmp_path: Path) -> None:
    make_model(tmp_path, "mine")
    make_model(tmp_path, "demo")
    (tmp_path / "no-model").mkdir()
    (tmp_path / "README.md").write_text("", encoding="utf-8")
    found = {source.card.name: source.present for source in list_models(tmp_path)}
    assert found == {"demo": True, "mine": True, "z-image-turbo": False}
    assert list_models(tmp_path / "nowhere")[0].card is Z_IMAGE_TURBO


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


def test_turbo_has_its_card_once_it_is_there(tmp_path: Path) -> None:
    make_model(tmp_path, "demo")
    with pytest.raises(ModelError, match=r"z-image-turbo are not here.*/z-image-turbo/.*now: demo") as caught:
        find_model("z-image-turbo", tmp_path)
    assert "demo" in caught.value.text.zh
    folder = make_model(tmp_path, "z-image-turbo")
    assert find_model("z-image-turbo", tmp_path).card is Z_IMAGE_TURBO
    assert find_model("z-image-turbo", tmp_path).folder == folder


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
    card = read_card(path, "mine")
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
        read_card(path, "mine")
    assert f"card.yaml, line {line}: " in caught.value.text.en
    assert says in caught.value.text.en
    assert f"card.yaml 第 {line} 行：" in caught.value.text.zh
