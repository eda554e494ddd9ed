"""``compare``: numbers with known answers, files, folders, stages and the report."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.service.imports.test_kinds import graph_of
from zimage_app.cli.main import main
from zimage_app.domain.events import Picture
from zimage_app.service.pictures.comparison import psnr, ssim
from zimage_app.service.pictures.gallery import read_record


def picture(seed: int, noise: int = 0) -> Picture:
    """Soft gradients, with even noise of up to ``noise`` of 255."""
    rows, columns = np.mgrid[0:64, 0:48]
    base = np.stack([2 * rows + 40, 3 * columns + 30, rows + columns + 60], -1)
    drawn = np.random.default_rng(seed).integers(-noise, noise, base.shape, endpoint=True)
    return np.clip(base + drawn, 0, 255).astype(np.uint8)


def write(path: Path, content: Picture) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(content).save(path)
    return path


def test_equal_pictures() -> None:
    assert psnr(picture(0), picture(0)) == float("inf")
    assert ssim(picture(0), picture(0)) == pytest.approx(1.0)


def test_psnr_of_a_known_error() -> None:
    even = np.full((20, 20, 3), 100, np.uint8)
    assert psnr(even, even + 5) == pytest.approx(10 * np.log10(255**2 / 25))


def test_ssim_is_scikit_images() -> None:
    """Its structural_similarity(gaussian_weights=True, sigma=1.5, use_sample_covariance=False) gives these."""
    found = [ssim(picture(0), picture(1, noise)) for noise in (3, 20, 80)]
    assert found == pytest.approx([0.9529672570, 0.3730071284, 0.0380441155], abs=1e-9)


def test_two_files_with_the_stages_that_both_have(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = (write(tmp_path / f"{name}.png", picture(0, noise)) for name, noise in (("a", 0), ("b", 9)))
    for name in ("a.stage1", "b.stage1", "a.stage2"):
        write(tmp_path / f"{name}.png", picture(2))
    assert main(["compare", str(first), str(second), "--report", str(tmp_path / "report")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["stage 1", "result", "mean"]
    assert lines[0] == "stage 1: PSNR inf dB, SSIM 1.0000, 0.00% differ by up to 0"
    page = (tmp_path / "report" / "index.html").read_text("utf-8")
    assert page.count("<img") == 6
    with Image.open(tmp_path / "report" / "002-d.png") as image:
        shown = int(np.asarray(image).max())
    assert shown == 9 * 8


def test_folders_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for side, noise in (("one", 0), ("two", 4)):
        for name in ("x", "day/y"):
            write(tmp_path / side / f"{name}.png", picture(3, noise))
        (tmp_path / side / "._x.png").write_bytes(b"Mac OS X")
    write(tmp_path / "one" / "alone.png", picture(3))
    assert main(["compare", str(tmp_path / "one"), str(tmp_path / "two"), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == ["day/y.png", "x.png"]
    assert all(35 < row["psnr"] < 45 and 0.5 < row["ssim"] < 1 for row in rows)


@pytest.mark.parametrize("case", ["size", "none", "gone", "nowhere", "settings", "broken"])
def test_what_cannot_be_compared_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str) -> None:
    first = write(tmp_path / "one" / "a.png", picture(0))
    second = write(tmp_path / "two" / "b.png", picture(0)[:40])
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    pair, words = {
        "size": ((first, second), "48x64 / 48x40"),
        "none": ((first.parent, second.parent), "no PNG files of the same name"),
        "gone": ((first, tmp_path / "gone.png"), f"B: there is no file or folder {tmp_path / 'gone.png'}"),
        "nowhere": (("/nope", first), "A: there is no file or folder /nope"),
        "settings": (("turbo-1024", "nope.json"), "B: there is no file or folder nope.json"),
        "broken": ((first, broken), "broken.png is not a readable PNG"),
    }[case]
    assert main(["compare", *map(str, pair)]) == 2
    told = capsys.readouterr().err
    assert words in told
    assert told.count("\n") == 1  # no notice on LPIPS before it


def test_two_settings_are_made_and_compared(
    models_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "C")
    sides = []
    for name, denoise in (("a", 0.6), ("b", 0.7)):
        sides.append(tmp_path / f"{name}.json")
        draft = {"width": 64, "height": 64, "steps": 1}
        stages = [draft, {"width": 96, "height": 96, "steps": 2, "denoise": denoise}]
        sides[-1].write_text(json.dumps({"prompt": "a boat", "stages": stages}), encoding="utf-8")
    places = ["--models-dir", str(models_dir), "--outputs", str(tmp_path / "out"), "--model", "tiny", "--alone"]
    assert main(["compare", *map(str, sides), *places]) == 0
    told = capsys.readouterr()
    first, second, mean = told.out.splitlines()
    assert first == "stage 1: PSNR inf dB, SSIM 1.0000, 0.00% differ by up to 0"
    assert second.startswith("result: PSNR ")
    assert "inf" not in second
    assert mean.startswith("mean: ")
    pictures = sorted((tmp_path / "out").glob("2*/*.png"))
    made = [str(path) for path in pictures if ".stage" not in path.name]
    assert main(["compare", *made, "--make", "--prompt", "a car", *places]) == 0
    assert "result: PSNR" in capsys.readouterr().out
    assert main(["compare", "no-such-preset", str(sides[0]), *places]) == 2
    assert "no-such-preset" in capsys.readouterr().err


def test_the_start_picture_of_a_side_counts(
    models_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "C")
    places = ["--models-dir", str(models_dir), "--outputs", str(tmp_path / "out"), "--model", "tiny", "--alone"]
    small = ["--size", "64x64", "--single-stage", "--seed", "3", "--set", "stages.0.steps=1"]
    photo = write(tmp_path / "photo.png", picture(0))
    assert main(["generate", "boat", "--picture", str(photo), *small, *places]) == 0
    path = capsys.readouterr().out.strip()
    assert main(["compare", path, path, "--make", "--set", "start.fit=stretch", *places]) == 0
    made = [read_record(each) for each in (tmp_path / "out").glob("2*/*.png") if ".stage" not in each.name]
    first = read_record(Path(path)).request.start
    assert first is not None
    starts = [record.request.start for record in made]
    assert sorted(start.fit for start in starts if start is not None) == ["crop", "stretch", "stretch"]
    assert {start.picture for start in starts if start is not None} == {first.picture}
    encode = ["VAEEncode", {"pixels": ["10", 0]}]
    graph = graph_of({"10": ["LoadImage", {"image": "beach.png"}], "11": encode, "6": {"latent_image": ["11", 0]}})
    (tmp_path / "graph.json").write_text(json.dumps(graph), encoding="utf-8")
    capsys.readouterr()
    assert main(["compare", path, str(tmp_path / "graph.json"), "--make", *places]) == 2
    assert "graph.json: starts from a picture that the file only names" in capsys.readouterr().err


def test_what_an_import_leaves_out_is_told(
    models_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "C")
    other = tmp_path / "theirs.txt"
    other.write_text("a boat\nSteps: 1, Sampler: Euler, Seed: 7, Size: 64x64, Hypernet: x", encoding="utf-8")
    places = ["--models-dir", str(models_dir), "--outputs", str(tmp_path / "out"), "--model", "tiny", "--alone"]
    assert main(["compare", str(other), str(other), "--single-stage", "--size", "64x64", *places]) == 0
    told = capsys.readouterr().err
    assert told.count("Settings of ") == 2
    assert "Not carried over:" in told


def test_lpips_is_used_where_it_is_and_told_where_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "C")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    package = tmp_path / "site" / "lpips"
    package.mkdir(parents=True)
    package.joinpath("__init__.py").write_text(
        "import torch\n\n\nclass LPIPS(torch.nn.Module):\n"
        "    def __init__(self, net, verbose):\n        super().__init__()\n\n"
        "    def forward(self, first, second):\n        return (first - second).abs().mean().reshape(1, 1, 1, 1)\n"
    )
    monkeypatch.syspath_prepend(str(package.parent))
    greys = {"a": 100, "b": 200}
    pair = [str(write(tmp_path / f"{name}.png", np.full((64, 48, 3), grey, np.uint8))) for name, grey in greys.items()]
    assert main(["compare", *pair]) == 0
    assert "put alexnet-owt-7be5be79.pth into" in capsys.readouterr().err
    weights = tmp_path / "hub" / "checkpoints" / "alexnet-owt-7be5be79.pth"
    weights.parent.mkdir(parents=True)
    weights.touch()
    assert main(["compare", *pair]) == 0
    told = capsys.readouterr()
    assert "LPIPS 0.7843," in told.out  # 100 of 127.5
    assert "LPIPS" not in told.err
