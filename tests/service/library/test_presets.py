"""Presets on disk: what ships, what a user keeps, and what is wrong with a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from zimage_app.domain.card import Z_IMAGE, Z_IMAGE_TURBO
from zimage_app.domain.errors import RequestError, StorageError
from zimage_app.domain.plan import GenerationPlan, make_plan
from zimage_app.domain.preset import applied
from zimage_app.domain.request import parse_request
from zimage_app.domain.settings.stage import REFERENCE_STAGES
from zimage_app.service.library.presets import PresetLibrary
from zimage_app.service.setup.config import StudioConfig

SHIPPED = PresetLibrary(StudioConfig().presets)
TURBO = "model: z-image-turbo\nstages:\n  - {steps: 8, cfg: 1}\n  - steps: 4\n    denoise: 0.5\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "turbo.yaml").write_text(TURBO, encoding="utf-8")
    return tmp_path


@pytest.fixture
def library(folder: Path) -> PresetLibrary:
    return PresetLibrary(folder)


def test_what_ships_is_whole_and_runs() -> None:
    shipped = {preset.name: preset for preset in SHIPPED.presets() if not preset.mine}
    assert set(shipped) >= {
        "zimage-121101",
        "zimage-api-121104",
        "quick-single-stage",
        "turbo-1024",
        "base-50-steps",
        "demo",
        "one-trajectory",
        "progressive-1344x1728",
    }
    for preset in shipped.values():
        assert preset.problem is None
        assert preset.description.en
        assert preset.description.zh != preset.description.en
        card = Z_IMAGE if preset.settings["model"] == "z-image" else Z_IMAGE_TURBO
        plan = make_plan(parse_request(applied(preset.settings, {"prompt": "a boat"})), card)
        assert plan.warnings == ()


def test_the_reference_presets_are_the_reference_stages_with_its_seeds() -> None:
    seeds = (905124181980574, 182450993364532, 894355038471848)
    expected = tuple(
        stage.model_copy(update={"seed": seed}) for stage, seed in zip(REFERENCE_STAGES, seeds, strict=True)
    )
    for name, strength in (("zimage-121101", 1.0), ("zimage-api-121104", 0.8)):
        preset = SHIPPED.load(name)
        assert preset.stages == expected
        assert preset.settings["lora_strength"] == strength


def test_the_preset_of_one_trajectory_costs_an_eighth_of_the_reference() -> None:
    def plan(name: str) -> GenerationPlan:
        data = applied(SHIPPED.load(name).settings, {"prompt": "a boat", "seed": 1})
        return make_plan(parse_request(data), Z_IMAGE_TURBO)

    one, reference = plan("one-trajectory"), plan("zimage-121101")
    assert [stage.steps for stage in one.stages] == [3, 2, 4]
    assert [stage.takeover is not None for stage in one.stages] == [False, True, True]
    share = one.cost / reference.cost
    assert share == pytest.approx(0.13, abs=0.005)


def test_templates_settings_of_the_published_models() -> None:
    for name, steps, cfg, size in (
        ("turbo-1024", 8, 1.0, (1024, 1024)),
        ("quick-single-stage", 8, 1.0, (672, 864)),
        ("base-50-steps", 50, 4.0, (1024, 1024)),
    ):
        stages = SHIPPED.load(name).stages
        assert stages is not None
        (stage,) = stages
        assert (stage.steps, stage.cfg, (stage.width, stage.height)) == (steps, cfg, size)
        assert (stage.sampler, stage.scheduler, stage.shift, stage.denoise) == ("res_multistep", "simple", 3.0, 1.0)


@pytest.mark.parametrize(
    ("text", "place", "reason"),
    [
        (TURBO.replace("0.5", "5"), "line 5, column 14", "stages.1.denoise: 5 (stage 2) must be at most 1"),
        (TURBO.replace("cfg", "CFG"), "line 3, column 21", "there is no such setting"),
        (TURBO.replace("steps: 8", "steps: eight"), "line 3, column 13", "stages.0.steps"),
        ("loras:\n- {strength: 1}\n", "line 2, column 3", "loras.0.name: is missing"),
        ("colour: red\n", "line 1, column 1", "unknown key 'colour'"),
        ("stages:\n  - {steps: 4, steps: 5}\n", "line 2, column 16", "appears twice"),
        ("seed: 1\nseed: 2\n", "line 2, column 1", "appears twice"),
        ("title: Turbo\n", "line 1, column 8", "expected keys"),
        ("model: [a]\n", "line 1, column 8", "must be a model's name"),
        ("lora_strength: 9\n", "line 1, column 16", "from -2 to 2"),
        ("- 1\n", "line 1, column 1", "expected keys"),
        ("stages: [\n", "line 2, column 1", "not valid YAML"),
        ("seed: !!python/object:os.system x\n", "line 1, column 7", "no number and no plain text"),
        ("a: &x 1\nb: *x\n", "line 2, column 4", "aliases"),
        ("", "line 1, column 1", "empty"),
        ("# " + "x" * 70_000, "line 1, column 1", "too long"),
        ("stages: " + "[" * 5000, "line 1, column 1", "nested too deeply"),
        ("stages: " + "{a: " * 5000, "line 1, column 1", "nested too deeply"),
        ("- " * 5000, "line 1, column 1", "nested too deeply"),
    ],
)
def test_damage_is_told_with_its_place_and_hides_nothing_else(
    library: PresetLibrary, text: str, place: str, reason: str
) -> None:
    (library.folder / "bad.yaml").write_text(text, encoding="utf-8")
    bad, turbo = library.presets()
    assert (turbo.problem, bad.settings) == (None, {})
    with pytest.raises(StorageError) as caught:
        library.load("bad")
    assert caught.value.text == bad.problem
    assert f"bad.yaml, {place}: " in caught.value.text.en
    assert reason in caught.value.text.en
    line, column = (word.split(" ")[1] for word in place.split(", "))
    assert f"bad.yaml 第 {line} 行第 {column} 个字符：" in caught.value.text.zh


def test_own_presets_are_kept_in_their_folder_and_read_by_people(library: PresetLibrary) -> None:
    saved = library.save(" 我的 水墨 ", {"negative": "模糊，水印", "stages": [{"steps": 4}]})
    assert (saved.name, saved.mine, saved.title.zh) == ("我的 水墨", True, "我的 水墨")
    text = (library.folder / "my" / "我的 水墨.yaml").read_text("utf-8")
    assert text.startswith("negative: 模糊，水印\nstages:\n- width: 672\n  height: 864\n  steps: 4\n")
    assert library.load("我的 水墨") == saved
    assert [preset.name for preset in library.presets()] == ["turbo", "我的 水墨"]


def test_a_name_is_taken_once_and_replaced_only_on_purpose(library: PresetLibrary) -> None:
    library.save("ink", {"negative": "a"})
    (library.folder / "my" / "ink.yaml").write_text("title: {en: Ink, zh: 水墨}\nnegative: a\n", encoding="utf-8")
    with pytest.raises(RequestError, match="'ink' exists already"):
        library.save("INK", {"negative": "b"})
    assert library.save("ink", {"negative": "b"}, overwrite=True).title.zh == "水墨"
    assert library.load("ink").settings == {"negative": "b"}
    for overwrite in (False, True):
        with pytest.raises(RequestError, match="'turbo' comes with the app; choose another name"):
            library.save("Turbo", {}, overwrite=overwrite)
    with pytest.raises(RequestError, match=r"stages\.0\.steps"):
        library.save("new", {"stages": [{"steps": 0}]})
    assert [preset.name for preset in library.presets()] == ["turbo", "ink"]


@pytest.mark.parametrize(
    "name", ["", " ", "a/b", "..", ".hidden", "a\\b", "a:b", "a\nb", "con", "NUL.x", "x" * 81, "🌊" * 63, "a."]
)
def test_a_name_must_be_a_files(library: PresetLibrary, name: str) -> None:
    with pytest.raises(RequestError, match=r"preset: .*(can't be a file's name|1 to 80 characters|takes 252 bytes)"):
        library.save(name, {})
    assert not (library.folder / "my").exists()
    assert library.save("猫" * 80, {}).name == "猫" * 80


def test_own_presets_are_renamed_and_deleted_and_others_not(library: PresetLibrary) -> None:
    library.save("one", {"negative": "a"})
    library.save("two", {"negative": "b"})
    with pytest.raises(RequestError, match="'two' exists already"):
        library.rename("one", "two")
    assert library.rename("one", "三").title.en == "三"
    assert library.rename("two", "Two").name == "Two"
    assert [preset.name for preset in library.presets()] == ["turbo", "Two", "三"]
    for act in (library.delete, lambda name: library.rename(name, "x")):
        with pytest.raises(RequestError, match="comes with the app and stays"):
            act("turbo")
        with pytest.raises(RequestError, match="'one' is no preset"):
            act("one")
    library.delete("三")
    assert [preset.name for preset in library.presets()] == ["turbo", "Two"]
    assert (library.folder / "turbo.yaml").read_text("utf-8") == TURBO


def test_a_damaged_one_can_be_deleted_and_replaced(library: PresetLibrary) -> None:
    library.save("broken", {})
    path = library.folder / "my" / "broken.yaml"
    path.write_text("stages: [", encoding="utf-8")
    with pytest.raises(StorageError, match=r"broken\.yaml, line 1"):
        library.rename("broken", "other")
    assert library.save("broken", {"negative": "a"}, overwrite=True).problem is None
    path.write_text("stages: [", encoding="utf-8")
    library.delete("broken")
    assert not path.exists()


def test_an_unknown_name_is_told_with_near_ones(library: PresetLibrary) -> None:
    with pytest.raises(RequestError, match="'turba' is no preset; there are turbo"):
        library.load("turba")
    with pytest.raises(RequestError, match="there are none yet"):
        PresetLibrary(library.folder / "none").load("x")


def test_a_disk_that_takes_nothing_is_told(folder: Path) -> None:
    (folder / "my").write_text("", encoding="utf-8")
    with pytest.raises(StorageError, match=r"ink\.yaml can't be written"):
        PresetLibrary(folder).save("ink", {})


def test_a_name_that_changes_in_case_only_is_of_the_same_file(
    library: PresetLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On Windows and macOS, where both names are, deleting the old one would delete the new one."""

    def unlink(path: Path, **_: Any) -> None:
        assert path.suffix != ".yaml"

    library.save("portrait", {"negative": "a"})
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", unlink)
        library.rename("portrait", "Portrait")
    assert [path.stem for path in library.folder.rglob("[pP]*.yaml")] == ["Portrait"]
    assert library.load("portrait").settings == {"negative": "a"}
