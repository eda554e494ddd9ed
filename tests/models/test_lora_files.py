"""Names to files, damaged files, hashes."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import pytest
import torch

from tests.models.lora_support import low_rank, write
from zimage_app.domain.errors import LoraError
from zimage_app.models.lora import resolve, sha256, short_hash
from zimage_app.models.lora.files import modified, read_tensors


@pytest.fixture
def loras(tmp_path: Path) -> Path:
    """A folder with a few LoRAs, and one outside it."""
    folder = tmp_path / "loras"
    for name in ("ink", "style/snow v1.5", "style/twin", "people/twin", "风格/水墨　画"):
        path = folder / f"{name}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "outside.safetensors").touch()
    return folder


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("ink", "ink.safetensors"),
        ("ink.safetensors", "ink.safetensors"),
        (" ink ", "ink.safetensors"),
        ("style/snow v1.5", "style/snow v1.5.safetensors"),
        ("style\\snow v1.5.safetensors", "style/snow v1.5.safetensors"),
        ("snow v1.5", "style/snow v1.5.safetensors"),
        ("people/twin", "people/twin.safetensors"),
        ("水墨　画", "风格/水墨　画.safetensors"),
    ],
)
def test_resolves(name: str, file: str, loras: Path) -> None:
    assert resolve(name, loras) == loras / file


@pytest.mark.parametrize(
    "name",
    [
        "../outside",
        "style/../../outside",
        "/etc/passwd",
        "C:\\loras\\ink",
        "C:ink",
        "..\\outside",
        "",
        "  ",
        ".",
        "in\0k",
    ],
)
def test_names_that_could_leave_the_folder_are_refused(name: str, loras: Path) -> None:
    with pytest.raises(LoraError, match="not a LoRA's name"):
        resolve(name, loras)


def test_links_that_stay_inside_are_followed_and_others_refused(loras: Path) -> None:
    (loras / "alias.safetensors").symlink_to(loras / "ink.safetensors")
    (loras / "leak.safetensors").symlink_to(loras.parent / "outside.safetensors")
    (loras / "style" / "deep leak.safetensors").symlink_to(loras.parent / "outside.safetensors")
    (loras / "up").symlink_to(loras.parent)
    assert resolve("alias", loras) == loras / "alias.safetensors"
    for name in ("leak", "up/outside", "deep leak", "style/deep leak"):
        with pytest.raises(LoraError, match="leads outside"):
            resolve(name, loras)


def test_a_folder_that_is_itself_a_link_is_fine(loras: Path, tmp_path: Path) -> None:
    (tmp_path / "shortcut").symlink_to(loras)
    assert resolve("ink", tmp_path / "shortcut") == tmp_path / "shortcut" / "ink.safetensors"


def test_ambiguous_names_list_the_candidates(loras: Path) -> None:
    with pytest.raises(LoraError, match=r"\(people/twin\.safetensors, style/twin\.safetensors\)") as caught:
        resolve("twin", loras)
    assert "people/twin" in caught.value.text.zh


def test_the_folders_own_file_goes_before_sub_folders(loras: Path) -> None:
    (loras / "twin.safetensors").touch()
    assert resolve("twin", loras) == loras / "twin.safetensors"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("inc", r"did you mean ink\?"),
        ("zzzz", "put the file there"),
        ("x" * 300, "no such LoRA"),
        ("style", "no such LoRA"),
        ("people/ink", "no such LoRA"),
    ],
)
def test_unknown_names(name: str, words: str, loras: Path) -> None:
    with pytest.raises(LoraError, match=words):
        resolve(name, loras)


def test_no_folder_at_all(tmp_path: Path) -> None:
    with pytest.raises(LoraError, match="no such LoRA"):
        resolve("ink", tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["ink.pt", "ink.CKPT", "style/ink.bin", "ink.pth", "ink.pkl"])
def test_pickles_are_refused_by_name(name: str, loras: Path) -> None:
    for refused in (lambda: resolve(name, loras), lambda: read_tensors(loras / name)):
        with pytest.raises(LoraError, match="pickle"):
            refused()


def test_pickles_are_refused_by_content(tmp_path: Path) -> None:
    path = tmp_path / "file.safetensors"
    for content in (pickle.dumps({"a": 1}), b"PK\x03\x04rest of a zip"):
        path.write_bytes(content)
        with pytest.raises(LoraError, match="pickle"):
            read_tensors(path)
    torch.save({"a": torch.ones(2)}, path)
    with pytest.raises(LoraError, match="pickle"):
        read_tensors(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not a whole safetensors file"),
        (b"\x10", "not a whole safetensors file"),
        (b"\x02\0\0\0\0\0\0\0{}", "no tensors"),
        (b"\x02\0\0\0\0\0\0\0[]", "not a whole safetensors file"),
        (b"\xff" * 64, "not a whole safetensors file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "git lfs pull"),
        (b"\n<!DOCTYPE html><html>Sign in</html>", "web page"),
    ],
)
def test_other_content_is_named(content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "file.safetensors"
    path.write_bytes(content)
    with pytest.raises(LoraError, match=words) as caught:
        read_tensors(path)
    assert caught.value.text.en.startswith("file.safetensors: ")
    assert caught.value.text.zh.startswith("file.safetensors：")


def test_a_header_whose_length_looks_like_a_pickle_is_read(tmp_path: Path) -> None:
    """0x0280 … 0x0480 are fair lengths of a header, and begin as pickles do."""
    path = tmp_path / "file.safetensors"
    header = b'{"__metadata__":{"a":"b"},"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    for length in (0x0280, 0x0380, 0x0480):
        path.write_bytes(length.to_bytes(8, "little") + header.ljust(length) + b"\0\0\x80\x3f")
        assert read_tensors(path)["x"].tolist() == [1.0]


def test_every_truncation_is_noticed(tmp_path: Path) -> None:
    whole = write(tmp_path, low_rank("layers.0.feed_forward.w1", (6, 8))).read_bytes()
    path = tmp_path / "short.safetensors"
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(LoraError, match=r"short\.safetensors"):
            read_tensors(path)


def test_missing_and_unreadable_files(tmp_path: Path) -> None:
    for use in (read_tensors, sha256, modified):
        with pytest.raises(LoraError, match="cannot be read"):
            use(tmp_path / "none.safetensors")
    with pytest.raises(LoraError, match="cannot be read"):
        read_tensors(tmp_path)


def test_tensors_outlive_their_file(tmp_path: Path) -> None:
    """A file that is overwritten while its LoRA is on must not change what is merged."""
    path = write(tmp_path, {"x": torch.ones(1000)})
    tensors = read_tensors(path)
    path.write_bytes(b"\xff" * path.stat().st_size)
    assert torch.equal(tensors["x"], torch.ones(1000))


def test_hash(tmp_path: Path) -> None:
    path = tmp_path / "file.safetensors"
    path.write_bytes(b"ink")
    assert sha256(path) == hashlib.sha256(b"ink").hexdigest()
    assert short_hash(sha256(path)) == hashlib.sha256(b"ink").hexdigest()[:10]
