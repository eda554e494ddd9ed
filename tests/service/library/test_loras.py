"""The LoRA library: what is found, what is said of it, what a name means, what is remembered."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import random
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.service.lora_files import lora_shapes, write_json, write_lora
from zimage_app.domain.errors import LoraError
from zimage_app.service.library.loras import LoraEntry, LoraLibrary
from zimage_app.service.library.loras.library import CACHE_FILE
from zimage_app.service.library.loras.metadata import (
    COMPANIONS,
    LoraMetadata,
    clean_text,
    parse_metadata,
    read_companion,
)
from zimage_app.service.library.loras.sidecar import Notes
from zimage_app.service.library.loras.thumbnails import SIZE

MODELSPEC = {"modelspec.trigger_phrase": "水墨, ink wash", "modelspec.architecture": "z-image-turbo/lora"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a few LoRAs."""
    folder = tmp_path / "loras"
    for name in ("ink", "style/snow v1.5", "style/twin", "people/twin", "风格/水墨　画"):
        write_lora(folder / f"{name}.safetensors")
    return folder


def only(folder: Path) -> LoraEntry:
    """The one LoRA of a folder, seen anew."""
    (entry,) = LoraLibrary(folder).entries()
    return entry


def names(library: LoraLibrary, *, refresh: bool = False) -> list[str]:
    return [entry.name for entry in library.entries(refresh=refresh)]


# What is found.


def test_sub_folders_are_looked_into_and_a_refresh_shows_what_changed(folder: Path) -> None:
    library = LoraLibrary(folder)
    assert names(library) == ["ink", "people/twin", "style/snow v1.5", "style/twin", "风格/水墨　画"]
    write_lora(folder / "new" / "added.SAFETENSORS")
    (folder / "ink.safetensors").rename(folder / "墨.safetensors")
    (folder / "style" / "twin.safetensors").unlink()
    assert len(names(library)) == 5
    assert names(library, refresh=True) == ["new/added", "people/twin", "style/snow v1.5", "墨", "风格/水墨　画"]


def test_what_is_no_lora_file_is_passed_over(folder: Path) -> None:
    (folder / ".git").mkdir()
    write_lora(folder / ".git" / "hidden.safetensors")
    write_lora(folder / "._ink.safetensors")
    (folder / "notes.txt").touch()
    (folder / "a folder.safetensors").mkdir()
    assert len(names(LoraLibrary(folder))) == 5


def test_no_folder_is_an_empty_library(tmp_path: Path) -> None:
    assert LoraLibrary(tmp_path / "nowhere").entries() == ()
    assert not (tmp_path / "nowhere").exists()


def test_links_are_followed_wherever_the_user_pointed_them_and_loops_end(folder: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "comfyui"
    write_lora(elsewhere / "other" / "film.safetensors")
    write_lora(elsewhere / "grain.safetensors")
    (folder / "comfy").symlink_to(elsewhere)
    (folder / "grain.safetensors").symlink_to(elsewhere / "grain.safetensors")
    (folder / "style" / "up").symlink_to(folder)
    (elsewhere / "back").symlink_to(folder)
    (elsewhere / "again").symlink_to(elsewhere)
    (folder / "nothing.safetensors").symlink_to(elsewhere / "gone.safetensors")
    found = names(LoraLibrary(folder))
    assert len(found) == len(set(found)) == 10
    assert {"comfy/grain", "comfy/other/film", "grain", "style/twin"} <= set(found)


def test_a_broken_file_is_listed_with_its_reason_and_refused_by_name(folder: Path) -> None:
    (folder / "broken.safetensors").write_bytes(b"\xff" * 64)
    (folder / "cut.safetensors").write_bytes((folder / "ink.safetensors").read_bytes()[:-3])
    library = LoraLibrary(folder)
    broken = {entry.name: entry.problem for entry in library.entries() if entry.problem}
    assert set(broken) == {"broken", "cut"}
    for name, why in (("broken", "its contents are of another kind"), ("cut", "it is cut off or damaged")):
        with pytest.raises(LoraError, match=f"{name}: is not a whole safetensors file: {why}; download it again"):
            library.find(name)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"<!DOCTYPE html>" + b" " * 300, "is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is only a Git LFS pointer"),
        (b"PK\x03\x04" + b"\0" * 60, "pickle files can run any program"),
    ],
)
def test_a_broken_file_that_is_something_else_is_called_that(data: bytes, words: str, folder: Path) -> None:
    (folder / "other.safetensors").write_bytes(data)
    with pytest.raises(LoraError, match=f"other: {words}"):
        LoraLibrary(folder).find("other")


def test_a_file_that_has_moved_since_is_found_where_it_is(folder: Path) -> None:
    library = LoraLibrary(folder)
    assert library.name_of("ink") == "ink"
    (folder / "ink.safetensors").rename(folder / "style" / "ink.safetensors")
    assert library.name_of("ink") == "style/ink"
    (folder / "style" / "ink.safetensors").unlink()
    with pytest.raises(LoraError, match="there is no such LoRA"):
        library.find("style/ink")


@pytest.mark.skipif(os.name != "posix", reason="no blanks around names on this system")
def test_a_name_may_begin_with_a_blank(folder: Path) -> None:
    (folder / "ink.safetensors").rename(folder / " ink.safetensors")
    assert LoraLibrary(folder).find(" ink").path.is_file()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes in folders on this system")
def test_a_pipe_is_not_read(folder: Path) -> None:
    os.mkfifo(folder / "pipe.safetensors")
    os.mkfifo(folder / "ink.yaml")
    os.mkfifo(folder / "ink.json")
    assert len(names(LoraLibrary(folder))) == 5


@pytest.mark.skipif(os.name != "posix" or sys.platform == "darwin", reason="names are text on this system")
def test_a_name_that_is_no_text_is_shown_and_can_be_used(folder: Path) -> None:
    source = folder / "ink.safetensors"
    os.rename(source, os.fsencode(folder) + "/雪景.safetensors".encode("gbk"))
    library = LoraLibrary(folder)
    (name,) = (each for each in names(library) if "\ufffd" in each)
    name.encode()
    assert library.sha256(library.find(name)) == library.known_sha256(library.find(name))
    assert LoraLibrary(folder).entries() == library.entries()


# What a name means.


def test_a_name_is_the_same_however_its_accents_are_written(tmp_path: Path) -> None:
    apart, whole = "cafe\u0301", "caf\u00e9"
    write_lora(tmp_path / f"{apart}.safetensors")
    library = LoraLibrary(tmp_path)
    for name in (apart, whole):
        assert library.name_of(name) == whole
        assert library.sha256(library.find(name)) == library.known_sha256(library.find(name))
    assert LoraLibrary(tmp_path).known_sha256(only(tmp_path)) is not None


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("ink", "ink"),
        ("ink.safetensors", "ink"),
        (" ink ", "ink"),
        ("style/snow v1.5", "style/snow v1.5"),
        ("style\\snow v1.5.safetensors", "style/snow v1.5"),
        ("snow v1.5", "style/snow v1.5"),
        ("people/twin", "people/twin"),
        ("水墨　画", "风格/水墨　画"),
    ],
)
def test_a_name_is_a_path_or_the_end_of_one(name: str, full: str, folder: Path) -> None:
    assert LoraLibrary(folder).name_of(name) == full


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("../outside", "not a LoRA's name"),
        ("style/../../outside", "not a LoRA's name"),
        ("/etc/passwd", "not a LoRA's name"),
        ("C:\\loras\\ink", "not a LoRA's name"),
        ("C:ink", "not a LoRA's name"),
        ("..\\outside", "not a LoRA's name"),
        ("", "not a LoRA's name"),
        ("  ", "not a LoRA's name"),
        (".", "not a LoRA's name"),
        ("in\0k", "not a LoRA's name"),
        ("ink.pt", "pickle"),
        ("style/ink.CKPT", "pickle"),
        ("twin", r"\(people/twin, style/twin\)"),
        ("inc", "did you mean ink"),
        ("SNOW", "style/snow v1.5"),
        ("墨", "风格/水墨　画|put the file there"),
        ("zzzz", "put the file there"),
        ("x" * 300, "no such LoRA"),
        ("style", "no such LoRA"),
        ("people/ink", "no such LoRA"),
    ],
)
def test_a_name_that_means_nothing_is_one_sentence(name: str, words: str, folder: Path) -> None:
    with pytest.raises(LoraError, match=words) as caught:
        LoraLibrary(folder).find(name)
    assert "\n" not in caught.value.text.en
    assert len(caught.value.text.zh) < 400


def test_strangers_are_not_told_to_put_files_into_folders(folder: Path, tmp_path: Path) -> None:
    for name, words in (("zzzz", "on this page; choose one of those here, as ink"), ("inc", "did you mean ink")):
        with pytest.raises(LoraError, match=words) as caught:
            LoraLibrary(folder, shared=True).find(name)
        assert "put the file" not in caught.value.text.en
        assert "文件夹" not in caught.value.text.zh
    with pytest.raises(LoraError, match="on this page; leave it out"):
        LoraLibrary(tmp_path / "none", shared=True).find("ink")


def test_the_folders_own_file_goes_before_sub_folders(folder: Path) -> None:
    write_lora(folder / "twin.safetensors")
    assert LoraLibrary(folder).name_of("twin") == "twin"


def test_a_file_that_is_new_is_found_without_a_refresh(folder: Path) -> None:
    library = LoraLibrary(folder)
    assert len(library.entries()) == 5
    write_lora(folder / "later.safetensors")
    assert library.name_of("later") == "later"


# What is known of a file.


@pytest.mark.parametrize(
    ("shapes", "kind", "spelling", "rank", "width"),
    [
        (lora_shapes(192, 8), "LoRA", "diffusion_model.", "8", 192),
        (lora_shapes(192, 8, ""), "LoRA", "", "8", 192),
        (
            {
                "lora_unet_layers_0_attention_qkv.lora_down.weight": (16, 3840),
                "lora_unet_layers_0_attention_qkv.lora_up.weight": (11520, 16),
                "lora_unet_layers_0_attention_qkv.alpha": (),
                "lora_unet_layers_1_feed_forward_w2.lora_down.weight": (4, 10240),
                "lora_unet_layers_1_feed_forward_w2.lora_up.weight": (3840, 4),
            },
            "LoRA",
            "lora_unet_",
            "4–16",
            3840,
        ),
        (
            {
                "transformer.layers.0.attention.to_k.lora_A.default.weight": (2, 64),
                "transformer.layers.0.attention.to_k.lora_B.default.weight": (64, 2),
                "transformer.layers.0.attention.to_k.lora_magnitude_vector": (64,),
            },
            "DoRA",
            "transformer.",
            "2",
            64,
        ),
        (
            {
                "lycoris_layers_0_attention_to_k.lokr_w1": (8, 8),
                "lycoris_layers_0_attention_to_k.lokr_w2_a": (480, 3),
                "lycoris_layers_0_attention_to_k.lokr_w2_b": (3, 480),
            },
            "LoKr",
            "lycoris_",
            "3",
            3840,
        ),
        (
            {
                "diffusion_model.layers.0.feed_forward.w1.hada_w1_a": (256, 2),
                "diffusion_model.layers.0.feed_forward.w1.hada_w1_b": (2, 96),
                "diffusion_model.layers.0.feed_forward.w1.hada_w2_a": (256, 2),
                "diffusion_model.layers.0.feed_forward.w1.hada_w2_b": (2, 96),
            },
            "LoHa",
            "diffusion_model.",
            "2",
            96,
        ),
        ({"layers.0.attention.qkv.diff": (192, 64)}, "diff", "", "", 64),
    ],
)
def test_kind_spelling_rank_and_width_are_read_from_the_header(
    shapes: dict[str, tuple[int, ...]], kind: str, spelling: str, rank: str, width: int, tmp_path: Path
) -> None:
    write_lora(tmp_path / "x.safetensors", shapes=shapes)
    entry = only(tmp_path)
    assert (entry.kind, entry.spelling, entry.rank, entry.width) == (kind, spelling, rank, width)
    assert entry.warnings == ()
    assert entry.width_mismatch(width) is entry.width_mismatch(None) is None
    assert str(width) in str(entry.width_mismatch(width + 1))


def test_a_lora_of_another_model_is_told(tmp_path: Path) -> None:
    flux = {
        "lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight": (4, 3072),
        "lora_unet_double_blocks_0_img_attn_qkv.lora_up.weight": (9216, 4),
    }
    write_lora(tmp_path / "flux.safetensors", {"ss_base_model_version": "flux1"}, flux)
    (warning,) = only(tmp_path).warnings
    assert warning.en == "not a LoRA for Z-Image, by the names in it: it is for flux1"
    write_lora(tmp_path / "flux.safetensors", {"modelspec.architecture": "lumina-2/lora"})
    (warning,) = only(tmp_path).warnings
    assert "trained on lumina-2/lora" in warning.en


@pytest.mark.parametrize("base", ["ZImageTurbo", "Z-Image", "z_image_turbo", "zimage", "Z Image Base"])
def test_z_image_by_any_name_is_no_warning(base: str, tmp_path: Path) -> None:
    write_lora(tmp_path / "x.safetensors", {"ss_base_model_version": base})
    assert only(tmp_path).base == base
    assert only(tmp_path).warnings == ()


SOURCES: dict[str, tuple[str, object, dict[str, Any]]] = {
    "civitai": (
        ".civitai.info",
        {"trainedWords": ["ohwx, ", "b w"], "baseModel": "ZImageTurbo", "model": {"name": "某人"}, "images": [{}]},
        {"triggers": ("ohwx", "b w"), "preset_triggers": ("ohwx",), "base": "ZImageTurbo", "title": "某人"},
    ),
    "lora manager": (
        ".metadata.json",
        {
            "model_name": "Ink",
            "base_model": "ZImageBase",
            "usage_tips": '{"strength": 0.6}',
            "notes": "soft\nink",
            "civitai": {"trainedWords": ["墨"]},
        },
        {"triggers": ("墨",), "strength": 0.6, "base": "ZImageBase", "title": "Ink", "note": "soft ink"},
    ),
    "stability matrix": (
        ".cm-info.json",
        {"ModelName": "Ink", "TrainedWords": ["墨"], "BaseModel": "Z-Image"},
        {"triggers": ("墨",), "title": "Ink"},
    ),
    "swarm": (".swarm.json", {"modelspec.trigger_phrase": "墨", "modelspec.title": "Ink"}, {"triggers": ("墨",)}),
    "a1111": (
        ".json",
        {"activation text": "水墨, 留白，", "preferred weight": 0.7, "sd version": "Unknown", "notes": "n"},
        {"triggers": ("水墨", "留白"), "preset_triggers": ("水墨", "留白"), "strength": 0.7, "base": "", "note": "n"},
    ),
}


@pytest.mark.parametrize("source", list(SOURCES))
def test_what_other_tools_keep_beside_a_file_is_read(source: str, tmp_path: Path) -> None:
    ending, data, expected = SOURCES[source]
    write_lora(tmp_path / "x v1.0.safetensors")
    write_json(tmp_path / f"x v1.0{ending}", data)
    entry = only(tmp_path)
    assert {key: getattr(entry, key) for key in expected} == expected


def test_tags_of_the_training_pictures_are_guesses(tmp_path: Path) -> None:
    frequency = {"10_ohwx": {"ohwx": 40, "1girl": 38, "smile": 12, "墨": 30}, "2_more": {"墨": 8}}
    write_lora(tmp_path / "x.safetensors", {"ss_tag_frequency": json.dumps(frequency)})
    entry = only(tmp_path)
    assert entry.triggers == ("ohwx", "1girl", "墨")
    assert entry.preset_triggers == ()


def test_sources_count_in_order_of_trust(tmp_path: Path) -> None:
    path = write_lora(tmp_path / "x.safetensors", MODELSPEC | {"ss_tag_frequency": '{"a": {"guess": 3}}'})
    write_json(tmp_path / "x.civitai.info", {"trainedWords": ["civitai"], "baseModel": "SDXL 1.0"})
    write_json(tmp_path / "x.json", {"activation text": "a1111", "preferred weight": 0.5})
    entry = only(tmp_path)
    assert entry.triggers == ("水墨", "ink wash", "civitai", "a1111")
    assert entry.preset_triggers == ("水墨", "ink wash")
    assert (entry.base, entry.strength, entry.warnings) == ("z-image-turbo/lora", 0.5, ())
    path.with_suffix(".yaml").write_text("triggers: [mine]\nstrength: -1.5\nnote: 我的\n", encoding="utf-8")
    entry = only(tmp_path)
    assert entry.triggers == ("mine", "水墨", "ink wash", "civitai", "a1111")
    assert entry.preset_triggers == ("mine",)
    assert (entry.strength, entry.note) == (-1.5, "我的")


def test_what_is_said_in_a_wrong_type_is_passed_over() -> None:
    data = {
        "trainedWords": ["ok", 7, None, ["x"], " ", "a\nb\0c", "w" * 5000],
        "preferred weight": "lots",
        "usage_tips": "[" * 5000,
        "baseModel": {"a": 1},
        "sd version": 15,
        "civitai": "text",
        "model": [1],
        "activation text": 5,
        "notes": ["n"],
        "ss_tag_frequency": '{"a": [1], "b": {"x": "many", "y": -3, "z": 1}, "c": null}',
    }
    assert parse_metadata(data) == LoraMetadata(choices=("ok", "a b c"), guesses=("z",))
    nothings: tuple[object, ...] = (None, 5, "text", [1], [[{}]])
    for nothing in nothings:
        assert parse_metadata(nothing) == LoraMetadata()


@pytest.mark.parametrize("weight", [0, 0.0, "0", 9, -2.1, float("nan"), float("inf"), True, "", [1], 10**400])
def test_a_strength_that_is_none_is_passed_over(weight: object) -> None:
    assert parse_metadata({"preferred weight": weight}).strength is None


@pytest.mark.parametrize("seed", range(60))
def test_generated_rubbish_is_harmless(seed: int, tmp_path: Path) -> None:
    draw = random.Random(seed)
    keys = (
        *("trainedWords", "modelspec.trigger_phrase", "usage_tips", "civitai", "activation text", "notes"),
        *("ss_tag_frequency", "baseModel", "preferred weight", "model", "name", "strength"),
    )

    def value(depth: int) -> object:
        kind = draw.randrange(8 if depth else 6)
        simple = (
            None,
            draw.random() * 10**9,
            draw.choice(("", "墨, 水", "\0\u202e", "[{}]")),
            True,
            -(2**70),
            "x" * 999,
        )
        if kind < 6:
            return simple[kind]
        if kind == 6:
            return [value(depth - 1) for _ in range(draw.randrange(5))]
        return {draw.choice(keys): value(depth - 1) for _ in range(draw.randrange(5))}

    write_lora(tmp_path / "x.safetensors")
    for ending in COMPANIONS:
        write_json(tmp_path / f"x{ending}", {key: value(3) for key in draw.sample(keys, 6)})
    entry = only(tmp_path)
    assert all(0 < len(word) <= 200 and word.isprintable() for word in entry.triggers)
    assert entry.strength is None or 0 < abs(entry.strength) <= 2


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[" * 100_000, b"\xff\xfe", b'{"notes": "' + b"x" * 5_000_000 + b'"}', b"nan"]
)
def test_a_companion_that_cannot_be_read_says_nothing(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content)
    assert read_companion(path) == LoraMetadata()
    assert read_companion(tmp_path / "gone.json") == LoraMetadata()


def test_text_is_cut_and_cleaned() -> None:
    assert clean_text(" a\u202e b\r\n\tc\0 ") == "a b c"
    assert clean_text("长" * 999) == "长" * 300


# The user's own notes.


def test_notes_are_kept_beside_the_file_and_never_in_it(folder: Path) -> None:
    library = LoraLibrary(folder)
    before = (folder / "ink.safetensors").read_bytes()
    entry = library.write_notes("ink", Notes(triggers=("水墨",), strength=0.8, note="好：用"))
    assert (entry.triggers, entry.strength, entry.note) == (("水墨",), 0.8, "好：用")
    assert (folder / "ink.safetensors").read_bytes() == before
    assert "水墨" in (folder / "ink.yaml").read_text("utf-8")
    assert entry.notes == Notes(triggers=("水墨",), strength=0.8, note="好：用")
    assert LoraLibrary(folder).find("ink") == entry
    assert library.write_notes("ink", Notes()).triggers == ()
    assert not (folder / "ink.yaml").exists()
    assert [path.name for path in folder.iterdir() if path.name.endswith(".part")] == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("triggers: [a\n", "ink.yaml, line 2"),
        ("trigger: [a]", "unknown key 'trigger'"),
        ("triggers: a, b", '"a, b" must be a list'),
        ("triggers: [1]", "triggers.0"),
        ("strength: 3", "must be at most 2"),
        ("strength: strong", "must be a number"),
        ("strength: .nan", "finite"),
        ("note: [a]", "note"),
        ("a: &x [1]\nb: *x", "aliases are not allowed"),
        ("- a", "expected keys"),
        ("", "empty"),
        ("note: " + "x" * 70_000, "too long"),
        ("note: " + "[" * 5000, "nested too deeply"),
        ("note: !!python/object:os.system x", "ink.yaml, line 1"),
    ],
)
def test_notes_that_cannot_be_read_are_told_and_never_overwritten(text: str, words: str, folder: Path) -> None:
    path = folder / "ink.yaml"
    path.write_text(text, encoding="utf-8")
    library = LoraLibrary(folder)
    (warning,) = library.find("ink").warnings
    assert words.split("|")[0] in warning.en or words.split("|")[-1] in warning.en
    assert warning.zh
    with pytest.raises(LoraError):
        library.write_notes("ink", Notes(note="mine"))
    assert path.read_text("utf-8") == text


def test_a_folder_that_cannot_be_written_to_is_one_sentence(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("zimage_app.service.storage.yaml_files.write_whole", refuse)
    with pytest.raises(LoraError, match=r"ink\.yaml can't be written \(Permission denied\)"):
        LoraLibrary(folder).write_notes("ink", Notes(note="x"))


# Pictures.


def picture(size: tuple[int, int] = (600, 400), mode: str = "RGB", kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size, "red").save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "ending", [".png", ".jpg", ".jpeg", ".webp", ".preview.png", ".preview.jpg", ".preview.webp", ".PNG"]
)
def test_a_picture_beside_the_file_is_its_thumbnail(ending: str, tmp_path: Path) -> None:
    write_lora(tmp_path / "x v1.0.safetensors")
    (tmp_path / f"x v1.0{ending}").write_bytes(picture(kind="WEBP" if "webp" in ending else "PNG"))
    small = LoraLibrary(tmp_path).thumbnail("x v1.0")
    assert small is not None
    with Image.open(io.BytesIO(small), formats=["JPEG"]) as image:
        assert image.width <= SIZE[0]
        assert image.height <= SIZE[1]
        pixel = image.getpixel((9, 9))
        assert isinstance(pixel, tuple)
        assert pixel[0] > 250 > 5 > max(pixel[1:])


def test_a_picture_that_would_fill_the_memory_has_no_thumbnail(tmp_path: Path) -> None:
    write_lora(tmp_path / "x.safetensors")
    Image.new("P", (9000, 9000)).save(tmp_path / "x.png")
    assert LoraLibrary(tmp_path).thumbnail("x") is None
    Image.new("P", (2500, 2500)).save(tmp_path / "x.png")
    assert LoraLibrary(tmp_path).thumbnail("x") is not None


def test_another_picture_is_another_thumbnail(tmp_path: Path) -> None:
    write_lora(tmp_path / "x.safetensors")
    (tmp_path / "x.png").write_bytes(picture())
    library = LoraLibrary(tmp_path)
    (before,) = library.entries()
    os.utime(tmp_path / "x.png", ns=(1, 1))
    (after,) = library.entries(refresh=True)
    assert before.thumbnail_modified != after.thumbnail_modified == 1


def test_a_picture_inside_the_file_is_used_where_none_lies_beside_it(tmp_path: Path) -> None:
    data = "data:image/png;base64," + base64.b64encode(picture(mode="RGBA")).decode()
    write_lora(tmp_path / "x.safetensors", {"modelspec.thumbnail": data})
    assert only(tmp_path).thumbnail == tmp_path / "x.safetensors"
    assert LoraLibrary(tmp_path).thumbnail("x") is not None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no picture",
        picture()[:200],
        picture((9000, 9000), "1"),
        b"GIF89a",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    ],
)
def test_what_is_no_picture_is_none(data: bytes, tmp_path: Path) -> None:
    write_lora(tmp_path / "x.safetensors")
    (tmp_path / "x.png").write_bytes(data)
    assert LoraLibrary(tmp_path).thumbnail("x") is None


@pytest.mark.parametrize(
    "text", ["data:image/png;base64,!!!", "data:image/svg+xml;base64,PHN2Zz4=", "http://127.0.0.1/a.png"]
)
def test_an_embedded_thumbnail_that_is_none_is_none(text: str, tmp_path: Path) -> None:
    write_lora(tmp_path / "x.safetensors", {"modelspec.thumbnail": text})
    assert LoraLibrary(tmp_path).thumbnail("x") is None
    assert LoraLibrary(tmp_path).thumbnail("gone") is None


def test_a_changed_picture_is_shown_anew(tmp_path: Path) -> None:
    write_lora(tmp_path / "x.safetensors")
    path = tmp_path / "x.png"
    path.write_bytes(picture())
    library = LoraLibrary(tmp_path)
    before = library.thumbnail("x")
    path.write_bytes(picture((50, 50)))
    os.utime(path, ns=(1, 1))
    assert library.thumbnail("x") != before


# What is remembered.


def _counted(monkeypatch: pytest.MonkeyPatch, name: str) -> list[Path]:
    import zimage_app.service.library.loras.cache as module

    calls: list[Path] = []
    real: Callable[[Path], object] = getattr(module, name)

    def count(path: Path) -> object:
        calls.append(path)
        return real(path)

    monkeypatch.setattr(module, name, count)
    return calls


def test_a_file_is_read_once_and_again_when_it_changes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    headers, companions = _counted(monkeypatch, "read_header"), _counted(monkeypatch, "read_companion")
    write_json(folder / "ink.json", {"activation text": "a"})
    before = LoraLibrary(folder).entries()
    assert (len(headers), len(companions)) == (5, 1)
    assert LoraLibrary(folder).entries() == before
    assert (len(headers), len(companions)) == (5, 1)
    write_lora(folder / "ink.safetensors", MODELSPEC)
    assert LoraLibrary(folder).find("ink").triggers == ("水墨", "ink wash", "a")
    write_json(folder / "ink.json", {"activation text": "a", "preferred weight": 0.3})
    assert LoraLibrary(folder).find("ink").strength == 0.3
    assert (len(headers), len(companions)) == (6, 2)


def test_a_hash_is_worked_out_once_for_each_state_of_a_file(folder: Path) -> None:
    path = folder / "ink.safetensors"
    library = LoraLibrary(folder)
    entry = library.find("ink")
    assert library.known_sha256(entry) is None
    assert library.sha256(entry) == hashlib.sha256(path.read_bytes()).hexdigest()
    assert LoraLibrary(folder).known_sha256(entry) == library.sha256(entry)
    write_lora(path, MODELSPEC)
    assert library.sha256(entry) == hashlib.sha256(path.read_bytes()).hexdigest()
    path.unlink()
    with pytest.raises(LoraError, match="ink: cannot be read"):
        library.sha256(entry)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b'{"version": 2, "files": {}}',
        b'{"version": 1, "files": {"ink.safetensors": {"stamp": [1]}}}',
    ],
)
def test_a_broken_cache_is_begun_anew(content: bytes, folder: Path) -> None:
    entries = LoraLibrary(folder).entries()
    cache = folder / CACHE_FILE
    good = cache.read_bytes()
    cache.write_bytes(content)
    assert LoraLibrary(folder).entries() == entries
    assert json.loads(cache.read_bytes()) == json.loads(good)


def test_a_cache_forgets_what_is_gone(folder: Path) -> None:
    library = LoraLibrary(folder)
    library.entries()
    for path in (folder / "style").iterdir():
        path.unlink()
    library.entries(refresh=True)
    assert set(json.loads((folder / CACHE_FILE).read_bytes())["files"]) == {
        "ink.safetensors",
        "people/twin.safetensors",
        "风格/水墨　画.safetensors",
    }


def test_a_cache_that_cannot_be_written_is_done_without(folder: Path) -> None:
    (folder / CACHE_FILE).mkdir()
    assert len(LoraLibrary(folder).entries()) == 5
    assert len(LoraLibrary(folder).entries()) == 5


def test_many_threads_see_one_library(folder: Path) -> None:
    library = LoraLibrary(folder)
    seen: list[object] = []

    def work() -> None:
        seen.extend((library.entries(refresh=True), library.sha256(library.find("ink"))) for _ in range(10))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 40
    assert len(set(seen)) == 1
