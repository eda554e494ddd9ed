"""Damaged files, and files that are something else."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.models.lora_support import low_rank, write
from zimage_app.domain.errors import LoraError
from zimage_app.models.lora.files import modified, read_lora_file
from zimage_app.models.weights.lookalikes import TOO_MANY
from zimage_app.service.library.loras.header import read_header


@pytest.mark.parametrize("name", ["ink.pt", "ink.CKPT", "style/ink.bin", "ink.pth", "ink.pkl"])
def test_pickles_are_refused_by_name(name: str, tmp_path: Path) -> None:
    with pytest.raises(LoraError, match="pickle"):
        read_lora_file(tmp_path / name)


def test_pickles_are_refused_by_content(tmp_path: Path) -> None:
    path = tmp_path / "file.safetensors"
    for content in (pickle.dumps({"a": 1}), b"PK\x03\x04rest of a zip"):
        path.write_bytes(content)
        with pytest.raises(LoraError, match="pickle"):
            read_lora_file(path)
    torch.save({"a": torch.ones(2)}, path)
    with pytest.raises(LoraError, match="pickle"):
        read_lora_file(path)


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
        read_lora_file(path)
    assert caught.value.text.en.startswith("file.safetensors: ")
    assert caught.value.text.zh.startswith("file.safetensors：")


def test_a_header_whose_length_looks_like_a_pickle_is_read(tmp_path: Path) -> None:
    """0x0280 … 0x0480 are fair lengths of a header, and begin as pickles do."""
    path = tmp_path / "file.safetensors"
    header = b'{"__metadata__":{"a":"b"},"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    for length in (0x0280, 0x0380, 0x0480):
        path.write_bytes(length.to_bytes(8, "little") + header.ljust(length) + b"\0\0\x80\x3f")
        assert read_lora_file(path)[0]["x"].tolist() == [1.0]


def test_every_truncation_is_noticed(tmp_path: Path) -> None:
    whole = write(tmp_path, low_rank("layers.0.feed_forward.w1", (6, 8))).read_bytes()
    path = tmp_path / "short.safetensors"
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(LoraError, match=r"short\.safetensors"):
            read_lora_file(path)


def test_a_file_of_more_tensors_than_a_lora_has_is_not_read(tmp_path: Path) -> None:
    path = write(tmp_path, {f"layers.{number}.a": torch.zeros(1) for number in range(20_001)})
    with pytest.raises(LoraError, match="more than 20000 tensors"):
        read_lora_file(path)
    assert read_header(path).problem == TOO_MANY


def test_a_reason_is_never_longer_than_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "file.safetensors"
    header = b'{"' + b"x" * 9000 + b'":"' + b"y" * 9000 + b'"}'
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(LoraError) as caught:
        read_lora_file(path)
    assert len(str(caught.value)) < 400


def test_missing_and_unreadable_files(tmp_path: Path) -> None:
    for use in (read_lora_file, modified):
        with pytest.raises(LoraError, match="cannot be read"):
            use(tmp_path / "none.safetensors")
    with pytest.raises(LoraError, match="cannot be read"):
        read_lora_file(tmp_path)


def test_tensors_outlive_their_file(tmp_path: Path) -> None:
    """A file that is overwritten while its LoRA is on must not change what is merged."""
    path = write(tmp_path, {"x": torch.ones(1000)})
    tensors, _ = read_lora_file(path)
    path.write_bytes(b"\xff" * path.stat().st_size)
    assert torch.equal(tensors["x"], torch.ones(1000))


@pytest.mark.parametrize(
    ("config", "factor"),
    [
        ({"r": 16, "lora_alpha": 4}, 0.25),
        ({"r": 16, "lora_alpha": 4, "use_rslora": True}, 1.0),
        ({"r": 0, "lora_alpha": 4}, None),
        ({"r": "x", "lora_alpha": 4}, None),
        ({"lora_alpha": 4}, None),
    ],
)
def test_the_factor_that_diffusers_writes_into_the_header(
    config: dict[str, object], factor: float | None, tmp_path: Path
) -> None:
    path = tmp_path / "a.safetensors"
    header = json.dumps({f"transformer.{name}": value for name, value in config.items()})
    save_file({"x": torch.zeros(1)}, path, {"lora_adapter_metadata": header})
    assert read_lora_file(path)[1] == factor
    save_file({"x": torch.zeros(1), "x.alpha": torch.ones(1)}, path, {"lora_adapter_metadata": header})
    assert read_lora_file(path)[1] is None, "ComfyUI and the app apply alphas that are tensors"
