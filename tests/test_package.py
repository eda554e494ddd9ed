"""The package that pip installs: what is in it, and that its command works in an empty folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
START = "import sys; from zimage_app.__main__ import run; sys.argv[0] = 'zimage'; sys.exit(run())"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from this checkout without the network and unpacked."""
    folder = tmp_path_factory.mktemp("package")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*build, "--wheel-dir", str(folder), str(ROOT)], check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def zimage(installed: Path, empty: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command of the installed package, in an empty folder that is the user's home as well."""
    environment = {**os.environ, "PYTHONPATH": str(installed), "HOME": str(empty), "USERPROFILE": str(empty)}
    return subprocess.run(
        [sys.executable, "-P", "-c", START, *arguments],
        cwd=empty,
        env={**environment, "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=False,
        encoding="utf-8",
    )


def test_what_ships_is_in_it_and_nothing_of_this_checkout_s_user(installed: Path) -> None:
    mine = ("presets/my/", "presets/negative/my.yaml", "presets/negative/.favourites.yaml")
    places = [
        ROOT / "presets",
        ROOT / "models" / "demo",
        *(ROOT / "loras").glob("demo-*"),
        ROOT / "loras" / "README.md",
    ]
    files = (file for place in places for file in ([place] if place.is_file() else place.rglob("*")) if file.is_file())
    ours = {name for file in files if not (name := file.relative_to(ROOT).as_posix()).startswith(mine)}
    shipped = installed / "zimage_app" / "shipped"
    there = {path.relative_to(shipped).as_posix() for path in shipped.rglob("*") if path.is_file()}
    assert len(ours) > 60
    assert there == {*ours, "requirements.txt"}


def test_it_asks_for_what_requirements_txt_lists(installed: Path) -> None:
    (metadata,) = installed.glob("*.dist-info/METADATA")
    asked = re.findall(r"^Requires-Dist: (.+)$", metadata.read_text("utf-8"), re.MULTILINE)
    lines = (line.partition("#")[0].strip() for line in (ROOT / "requirements.txt").read_text("utf-8").splitlines())
    wanted = {str(Requirement(line)) for line in lines if line}
    assert {str(Requirement(line)) for line in asked if "extra ==" not in line} == wanted


def test_the_extra_for_mcp_is_what_the_tests_use() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    (wanted,) = project["optional-dependencies"]["mcp"]
    assert wanted in (ROOT / "requirements-dev.txt").read_text("utf-8")


def test_a_list_of_models_needs_nothing_but_the_package(installed: Path, tmp_path: Path) -> None:
    done = zimage(installed, tmp_path, "models")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^demo +ready", done.stdout, re.MULTILINE)
    assert "z-image-turbo" in done.stdout
    assert not list(tmp_path.iterdir())


def test_python_finds_what_ships_as_the_command_does(installed: Path, tmp_path: Path) -> None:
    code = (
        "from zimage_app.models.find.catalogue import find_model;"
        " from zimage_app.service.setup.config import StudioConfig;"
        " config = StudioConfig(); found = find_model('demo', config.model_folders);"
        " print(found.folder, *config.lora_folders, sep='\\n')"
    )
    environment = {**os.environ, "PYTHONPATH": str(installed), "HOME": str(tmp_path), "USERPROFILE": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    shipped = installed / "zimage_app" / "shipped"
    folders = [shipped / "models" / "demo", tmp_path / "zimage-studio" / "loras", shipped / "loras"]
    assert done.stdout.splitlines() == [str(folder) for folder in folders]


def test_the_folder_of_the_user_counts_beside_what_ships(installed: Path, tmp_path: Path) -> None:
    lists = tmp_path / "zimage-studio" / "presets" / "wildcards"
    lists.mkdir(parents=True)
    (lists / "mood.txt").write_text("of my own\n", encoding="utf-8")
    assert zimage(installed, tmp_path, "wildcards", "mood").stdout.splitlines()[-1].strip() == "of my own"
    assert "snow" in zimage(installed, tmp_path, "wildcards", "weather").stdout
    elsewhere = zimage(installed, tmp_path, "--home", "other", "wildcards", "mood").stdout
    assert elsewhere
    assert "of my own" not in elsewhere


def test_help_is_there_for_the_page_and_for_a_picture(installed: Path, tmp_path: Path) -> None:
    assert "usage: zimage generate" in zimage(installed, tmp_path, "generate", "--help").stdout
    page = zimage(installed, tmp_path, "app", "--help")
    assert "usage: zimage app" in page.stdout
    assert "--home DIR" in page.stdout
