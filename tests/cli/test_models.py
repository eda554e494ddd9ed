"""``models`` on the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.models.comfy_tree import encoder, tokenizer, transformer, vae
from tests.models.hub.conftest import REPO
from tests.models.hub.fake_hub import FakeHub, Fault, forget_this_machine, serve
from zimage_app.cli.main import main
from zimage_app.models.tiny import write_tiny_model


@pytest.fixture(autouse=True)
def nothing_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forget_this_machine(tmp_path, monkeypatch)
    monkeypatch.setenv("LC_ALL", "C.UTF-8")


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return tmp_path / "models"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[FakeHub]:
    folder = write_tiny_model(tmp_path / "published")
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with serve(FakeHub({REPO: files})) as hub:
        yield hub


def run(capfd: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    """Exit status, output, what was said beside it."""
    status = main([str(argument) for argument in arguments])
    out, err = capfd.readouterr()
    return status, out, err


def test_fetched_listed_and_used(hub: FakeHub, models: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    places = ("--models-dir", models)
    get = ("models", "fetch", "z-image-turbo", "--mirror", hub.url, *places)
    status, out, err = run(capfd, *get)
    assert (status, out) == (2, "")
    assert "z-image-turbo: 9 files, " in err  # without the card, which is ours
    assert "Nothing was fetched: give --yes" in err
    assert not models.exists()
    status, out, err = run(capfd, *get, "--yes")
    assert (status, out) == (0, "")
    assert err.endswith("z-image-turbo is here and checked.\n")
    assert run(capfd, *get)[2] == "z-image-turbo is here already.\n"
    status, out, _ = run(capfd, "models", *places)
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert " ready " in lines["z-image-turbo"]
    assert " to fetch (~21.0 GB) " in lines["z-image"]
    status, out, _ = run(capfd, "models", "check", "z-image-turbo", *places)
    assert status == 0
    assert all(line.startswith("✓ ") for line in out.splitlines())
    quick = ("--single-stage", "--set", "stages.0.width=64", "--set", "stages.0.height=64", "--set", "stages.0.steps=1")
    status, out, _ = run(capfd, "generate", "x", "--model", "z-image-turbo", *places, "--out", tmp_path / "out", *quick)
    assert status == 0
    assert Path(out.strip()).is_file()


def test_json_says_all_of_it(models: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = write_tiny_model(models / "tiny")
    (folder / "vae" / "config.json").unlink()
    data = {item["name"]: item for item in json.loads(run(capfd, "models", "--json", "--models-dir", models)[1])}
    assert data["tiny"]["state"] == "broken"
    assert "tiny/vae/config.json is missing" in data["tiny"]["reason"]
    assert data["z-image-turbo"]["state"] == "fetch"
    assert data["z-image-turbo"]["missing"] == ["transformer", "text_encoder", "vae", "tokenizer"]
    assert data["z-image-turbo"]["about"] == 33e9
    assert run(capfd, "models", "check", "tiny", "--models-dir", models)[0] == 1


def test_a_comfyui_beside(
    tmp_path: Path, models: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "ComfyUI"
    transformer(root / "models" / "unet" / "z_image_turbo_fp8.safetensors")
    encoder(root / "models" / "clip" / "qwen.safetensors")
    vae(root / "models" / "vae" / "ae.safetensors")
    tokenizer(root / "comfy" / "text_encoders" / "qwen25_tokenizer")
    status, out, _ = run(capfd, "models", "--models-dir", models, "--comfyui", root)
    assert status == 0
    (line,) = (line for line in out.splitlines() if line.startswith("z_image_turbo_fp8 "))
    assert " ready " in line
    assert "text encoder qwen.safetensors, VAE ae.safetensors" in line
    monkeypatch.setenv("ZIMAGE_COMFYUI", str(root))
    assert run(capfd, "models", "--models-dir", models)[1] == out
    status, out, err = run(capfd, "models", "--comfyui", tmp_path / "nowhere")
    assert (status, out) == (2, "")
    assert "There is no ComfyUI at" in err


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (("fetch", "nope"), 2, "There is no model 'nope'"),
        (("check", "nope"), 2, "There is no model 'nope'"),
        (("fetch", "z-image-turb"), 2, "; did you mean z-image-turbo"),
        (("check", "Z-Image-Turbo"), 2, "; did you mean z-image-turbo"),
        (("fetch", "z-image", "--offline"), 1, "--offline forbids it"),
        (("fetch", "z-image", "--mirror", "example.org"), 1, "cannot be used as a mirror"),
        (("fetch", "a/b", "--mirror", "{hub}"), 1, "There is no model a/b at 127.0.0.1"),
        (("add", "x", "--transformer", "nowhere", "--text-encoder", "nowhere", "--vae", "nowhere"), 2, "is missing"),
    ],
)
def test_every_refusal_is_one_sentence(
    hub: FakeHub,
    models: Path,
    capfd: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    status: int,
    says: str,
) -> None:
    given = [argument.replace("{hub}", hub.url) for argument in arguments]
    found, out, err = run(capfd, "models", *given, "--models-dir", models)
    assert (found, out) == (status, "")
    assert says in err
    assert err.count("\n") == 1


def test_a_fetch_that_fails_says_so(hub: FakeHub, models: Path, capfd: pytest.CaptureFixture[str]) -> None:
    hub.always["vae/config.json"] = Fault(status=404)
    get = ("models", "fetch", "z-image-turbo", "--mirror", hub.url, "--yes", "--models-dir", models)
    status, _, err = run(capfd, *get)
    assert status == 1
    assert "has no vae/config.json (Tongyi-MAI/Z-Image-Turbo)" in err


def test_generate_says_how_to_get_a_model(models: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_tiny_model(models / "tiny")
    status, _, err = run(capfd, "generate", "x", "--model", "owner/name", "--models-dir", models)
    assert status == 2
    assert "owner/name is not on this machine: fetch it with 'python -m zimage_app models fetch owner/name'" in err
    assert "ready to use now: demo, tiny." in err
