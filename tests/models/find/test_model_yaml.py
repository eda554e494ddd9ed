"""Named models: YAML that says where parts come from."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.models.comfy_tree import tokenizer, transformer
from tests.models.hub.fake_hub import forget_this_machine
from zimage_app.domain.card import FAMILY, Z_IMAGE_TURBO
from zimage_app.domain.errors import ModelError
from zimage_app.models.find.model_source import PartLocation, Remote
from zimage_app.models.find.model_yaml import read_named

SHIPPED = Path(__file__).parents[3] / "presets" / "models"
PLACES = {
    "transformer": "{file: t.safetensors}",
    "text_encoder": "{folder: mine/text_encoder}",
    "vae": "{hub: a/b, folder: vae}",
    "tokenizer": "{hub: a/b, folder: tokenizer}",
}


@pytest.fixture(autouse=True)
def nothing_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forget_this_machine(tmp_path, monkeypatch)


def written(tmp_path: Path, extra: str = "", **changes: str | None) -> Path:
    """A named model ``mix``; None leaves a part out."""
    lines = [f"{name}: {text}\n" for name, text in (PLACES | changes).items() if text is not None]
    path = tmp_path / "mix.yaml"
    path.write_text("".join(lines) + extra, encoding="utf-8")
    return path


def test_parts_from_everywhere(tmp_path: Path) -> None:
    models = tmp_path / "models"
    source = read_named(written(tmp_path), models)
    assert source.card.name == "mix"
    assert source.places.transformer == PartLocation(models / "t.safetensors")
    mine = models / "mine" / "text_encoder"
    assert source.places.text_encoder == PartLocation(mine, mine / "config.json")
    vae = models / "a--b" / "vae"
    assert source.places.vae == PartLocation(vae, vae / "config.json", Remote("a/b", "vae"))
    assert set(source.missing) == {"vae", "tokenizer"}


def test_paths_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    far = tmp_path / "far.safetensors"
    file = transformer(tmp_path / "ComfyUI" / "models" / "unet" / "t.safetensors")
    path = written(
        tmp_path, transformer="{file: unet/t.safetensors}", text_encoder=f"{{file: {far}}}", vae="{file: ~/v}"
    )
    places = read_named(path, tmp_path / "models", tmp_path / "ComfyUI").places
    assert (places.transformer.path, places.text_encoder.path) == (file, far)
    assert places.vae.path == tmp_path / "home" / "v"
    near = transformer(tmp_path / "models" / "unet" / "t.safetensors")
    assert read_named(path, tmp_path / "models", tmp_path / "ComfyUI").places.transformer.path == near


def test_a_single_file_of_the_hub(tmp_path: Path) -> None:
    path = written(tmp_path, vae="{hub: Comfy-Org/z, file: split/ae.safetensors}")
    place = read_named(path, tmp_path).places.vae
    assert place.path == tmp_path / "Comfy-Org--z" / "split" / "ae.safetensors"
    assert place.config is None
    assert not place.present
    place.path.parent.mkdir(parents=True)
    place.path.touch()
    assert place.present


def test_settings_come_from_the_family_and_from_the_file(tmp_path: Path) -> None:
    words = "card: z-image-turbo\nsize: 12.5\ntitle: {en: Mix, zh: 混合}\nexamples: [a boat]\n"
    source = read_named(written(tmp_path, words), tmp_path)
    assert (source.card.name, source.card.title.zh, source.card.examples) == ("mix", "混合", ("a boat",))
    assert (source.card.limits, source.card.single) == (Z_IMAGE_TURBO.limits, Z_IMAGE_TURBO.single)
    assert source.about == 12.5e9
    assert read_named(written(tmp_path), tmp_path).card.limits is None


def test_any_copy_of_the_tokenizer_will_do(tmp_path: Path) -> None:
    models = tmp_path / "models"
    for given in (None, PLACES["tokenizer"]):
        path = written(tmp_path, tokenizer=given)
        assert read_named(path, models).places.tokenizer.remote is not None
    mine = tokenizer(models / "mine" / "tokenizer")
    for given in (None, PLACES["tokenizer"]):
        assert read_named(written(tmp_path, tokenizer=given), models).places.tokenizer == PartLocation(mine)
    own = tokenizer(models / "a--b" / "tokenizer", words=7)
    assert read_named(written(tmp_path), models).places.tokenizer.path == own  # the one that was named, once it is here


@pytest.mark.parametrize(
    ("changes", "extra", "line", "says"),
    [
        ({"vae": None}, "", 1, "'vae' is missing"),
        ({"vae": "{hub: a/b}"}, "", 3, "either 'folder' or 'file'"),
        ({"vae": "{hub: a/b, folder: x, file: y}"}, "", 3, "either 'folder' or 'file'"),
        ({"vae": "{hub: b, folder: x}"}, "", 3, "'b' is not owner/name"),
        ({"vae": "{hub: ../b, folder: x}"}, "", 3, "'../b' is not owner/name"),
        ({"vae": "{hub: a/b, folder: ../x}"}, "", 3, "'../x' is not a path in the repository"),
        ({"vae": "{hub: a/b, file: /x}"}, "", 3, "'/x' is not a path in the repository"),
        ({"vae": "{hub: a/b, path: x}"}, "", 3, "unknown key 'path'"),
        ({"vae": "x.safetensors"}, "", 3, "expected keys"),
        ({"vae": "{file: ~nobody-of-this-name/x}"}, "", 3, "'~nobody-of-this-name/x' cannot be a path here"),
        ({"vae": f"{{file: {'x' * 300}}}"}, "", 3, "cannot be a path here (File name too long)"),
        ({"vae": f"{{hub: a/b, file: {'x/' * 3000}}}"}, "", 3, "cannot be a path here (File name too long)"),
        ({}, "card: sdxl\n", 5, "no card 'sdxl'; use one of z-image-turbo, z-image"),
        ({}, "size: big\n", 5, "expected a size in GB"),
        ({}, "size: 0\n", 5, "expected a size in GB"),
        ({}, "lora: x\n", 5, "unknown key 'lora'"),
        ({}, "stages:\n  - {cgf: 1}\n", 6, "'cgf'"),
    ],
)
def test_a_wrong_file_is_refused_with_its_line(
    tmp_path: Path, changes: dict[str, str | None], extra: str, line: int, says: str
) -> None:
    with pytest.raises(ModelError) as caught:
        read_named(written(tmp_path, extra, **changes), tmp_path)
    assert f"mix.yaml, line {line}, column " in caught.value.text.en
    assert says in caught.value.text.en
    assert f"mix.yaml 第 {line} 行" in caught.value.text.zh


def test_a_folder_called_like_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mix.yaml").mkdir()
    with pytest.raises(ModelError, match=r"mix\.yaml can't be read \(Is a directory\)"):
        read_named(tmp_path / "mix.yaml", tmp_path)


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_shipped_ones_can_be_read(path: Path, tmp_path: Path) -> None:
    source = read_named(path, tmp_path)
    assert len(source.missing) == 4
    assert source.about is not None
    family = FAMILY["z-image-turbo" if "turbo" in path.stem else "z-image"]
    assert (source.card.stages, source.card.limits) == (family.stages, family.limits)
    assert source.card.title.en
    assert source.card.title.zh
