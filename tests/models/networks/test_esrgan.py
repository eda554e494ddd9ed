"""Upscalers' files: spandrel's own results, each naming, and files that are none or mean harm."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor

from tests.models.upscaler_files import bsrgan_names, old_names, weights
from zimage_app.domain.errors import ModelError
from zimage_app.models.networks import esrgan
from zimage_app.models.networks.esrgan import read_upscaler

GOLDEN = safetensors.torch.load_file(Path(__file__).parents[2] / "golden" / "esrgan.safetensors")
CASES = {"x2": (1, 1), "x4": (2, 1), "x8": (3, 1), "x2_unshuffled": (2, 2)}
Naming = Callable[[dict[str, Tensor]], dict[str, Tensor]]


@pytest.mark.parametrize("naming", [dict, old_names, bsrgan_names])
@pytest.mark.parametrize("name", list(CASES))
def test_pictures_are_spandrels(tmp_path: Path, name: str, naming: Naming) -> None:
    path = tmp_path / "some.safetensors"
    safetensors.torch.save_file(naming(weights(*CASES[name])), path)
    upscaler = read_upscaler(path)
    assert upscaler.scale == GOLDEN[name].shape[-1] // GOLDEN["picture"].shape[-1]
    torch.testing.assert_close(upscaler.network(GOLDEN["picture"]), GOLDEN[name], rtol=0, atol=1e-5)


@pytest.mark.parametrize("wrapped", [lambda state: {"params_ema": state, "step": 5}, lambda state: state])
def test_weights_of_pth_files_are_read(tmp_path: Path, wrapped: Callable[[object], object]) -> None:
    path = tmp_path / "some.pth"
    torch.save(wrapped({name: tensor.half() for name, tensor in weights().items()}), path)
    upscaler = read_upscaler(path)
    assert len(upscaler.sha256) == 64
    torch.testing.assert_close(upscaler.network(GOLDEN["picture"]), GOLDEN["x4"], rtol=0, atol=0.02)


class _Harm:
    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (Path("harm"),)


def _saved(state: object) -> bytes:
    file = io.BytesIO()
    torch.save(state, file)
    return file.getvalue()


def _bomb() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(200_000))
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a.pth", b"milk", "is damaged, or no file of weights"),
        ("a.safetensors", b"milk", "is damaged, or no file of weights"),
        ("a.pth", pickle.dumps(_Harm()), "is damaged, or no file of weights"),
        ("a.pth", _saved({"params": _Harm()}), "is damaged, or no file of weights"),
        ("a.pth", _bomb(), "unpacks to more than"),
        ("a.pth", _saved({"conv_first.weight": torch.zeros(1).expand(10**6)}), "unpacks to more than"),
        ("a.pth", _saved({"other.weight": torch.zeros(3)}), "is no upscaler of the ESRGAN kind"),
        (
            "a.pth",
            _saved(weights() | {"body.7.rdb1.conv1.weight": torch.zeros(1)}),
            "is no upscaler of the ESRGAN kind",
        ),
        ("a.pth", _saved(weights(doublings=0)), "is no upscaler of the ESRGAN kind"),
    ],
)
def test_what_is_no_upscaler_is_told_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, data: bytes, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(esrgan, "MAX_BYTES", 190_000 if "unpacks" in words else esrgan.MAX_BYTES)
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ModelError, match=words) as told:
        read_upscaler(tmp_path / name)
    assert str(told.value).startswith(name)
    assert not (tmp_path / "harm").exists()


def test_files_too_large_to_be_upscalers_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "sparse.pth"
    with path.open("wb") as file:
        file.truncate(esrgan.MAX_BYTES + 1)
    with pytest.raises(ModelError, match=r"sparse.pth cannot be read \(it is larger than 512 MB\)"):
        read_upscaler(path)
