"""Start scripts, container and service: they ask for settings and files that there are."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from zimage_app.service.setup.settings import Settings, load_settings, unknown_variables, variable_of

ROOT = Path(__file__).parents[1]
PYTHON = """#!/bin/sh
# Plays Python: makes environments that hold itself, and writes down what it is asked for.
case "$1 $2" in
  "-c "*) exit 0 ;;
  "-m venv") mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
  *) echo "$*" >>calls ;;
esac
"""
VARIABLES_OF_THE_SCRIPTS = {"ZIMAGE_TORCH", "ZIMAGE_TORCH_INDEX", "ZIMAGE_TARGET"}


def text_of(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with the start script, and a Python that plays."""
    for name in ("run.sh", "requirements.txt"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "bin").mkdir()
    python = tmp_path / "bin" / "python3.13"
    python.write_text(PYTHON)
    python.chmod(0o755)
    return tmp_path


def run(checkout: Path, *flags: str, **variables: str) -> subprocess.CompletedProcess[str]:
    path = f"{checkout / 'bin'}{os.pathsep}/usr/bin{os.pathsep}/bin"
    return subprocess.run(
        ["bash", "run.sh", *flags],
        cwd=checkout,
        env={"PATH": path, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def calls(checkout: Path) -> list[str]:
    return (checkout / "calls").read_text().splitlines() if (checkout / "calls").exists() else []


def test_the_start_script_installs_once_and_starts_every_time(checkout: Path) -> None:
    for _ in range(2):
        done = run(checkout, "--port", "8000", ZIMAGE_TORCH="cpu")
        assert done.returncode == 0, done.stderr
        assert "PyTorch for: cpu" in done.stderr
    assert calls(checkout) == ["-m pip install --quiet -r requirements.txt", *["app.py --port 8000"] * 2]
    (checkout / "requirements.txt").write_text("torch==1.0\n")
    run(checkout, ZIMAGE_TORCH="cpu")
    assert calls(checkout)[3:] == ["-m pip install --quiet -r requirements.txt", "app.py"]


def test_the_build_of_pytorch_comes_from_where_it_was_said_to_be(checkout: Path) -> None:
    run(checkout, ZIMAGE_TORCH="rocm", ZIMAGE_TORCH_INDEX="https://example.com/rocm")
    torch = next(line for line in text_of("requirements.txt").splitlines() if line.startswith("torch=="))
    assert calls(checkout)[0] == f"-m pip install --quiet --index-url https://example.com/rocm {torch}"


def test_another_build_takes_the_place_of_the_one_before(checkout: Path) -> None:
    for build in ("cuda", "cpu"):
        run(checkout, ZIMAGE_TORCH=build)
    again = ["-m pip uninstall --quiet --yes torch", "-m pip install --quiet -r requirements.txt", "app.py"]
    assert calls(checkout)[2:] == again


def test_an_address_is_needed_once(checkout: Path) -> None:
    first = run(checkout, ZIMAGE_TORCH="rocm", ZIMAGE_TORCH_INDEX="https://example.com/rocm")
    assert first.returncode == 0, first.stderr
    installed = calls(checkout)
    again = run(checkout, ZIMAGE_TORCH="rocm")
    assert again.returncode == 0, again.stderr
    assert calls(checkout) == [*installed, "app.py"]
    assert run(checkout, ZIMAGE_TORCH="xpu").returncode == 2


def test_macs_with_an_intel_processor_are_refused(checkout: Path) -> None:
    tool = checkout / "bin" / "uname"
    tool.write_text("#!/bin/sh\necho Darwin x86_64\n")
    tool.chmod(0o755)
    done = run(checkout, ZIMAGE_TORCH="cpu")
    assert done.returncode == 2
    assert "Apple silicon" in done.stderr
    assert "Apple 芯片" in done.stderr
    assert not calls(checkout)


def test_the_start_script_for_windows_waits_before_its_window_closes() -> None:
    script = (ROOT / "run.bat").read_bytes()
    assert script.count(b"\n") == script.count(b"\r\n"), "cmd finds labels only where lines end with CR and LF"
    assert re.findall(r"(?<!\w)exit /b.*", script.decode())[-2:] == ["exit /b 0\r", "exit /b %code%\r"]
    assert "\r\npause\r\nexit /b %code%\r\n" in script.decode()


def test_the_card_is_found_and_told(checkout: Path) -> None:
    tool = checkout / "bin" / "nvidia-smi"
    tool.write_text("#!/bin/sh\nexit 0\n")
    tool.chmod(0o755)
    assert "PyTorch for: cuda" in run(checkout).stderr


@pytest.mark.parametrize(("build", "told"), [("rocm", "ZIMAGE_TORCH_INDEX"), ("tpu", "is no build of PyTorch")])
def test_a_build_that_cant_be_had_is_told_and_nothing_installed(checkout: Path, build: str, told: str) -> None:
    done = run(checkout, ZIMAGE_TORCH=build)
    assert done.returncode == 2
    assert told in done.stderr
    assert not calls(checkout)


@pytest.mark.parametrize(
    "name",
    ["Dockerfile", "compose.yaml", "deploy/zimage.service", "deploy/nginx.conf", "docs/DEPLOYING.md"],
)
def test_variables_and_flags_are_settings_of_the_app(name: str) -> None:
    text = text_of(name)
    named = set(re.findall(r"\bZIMAGE_[A-Z_]+\b", text)) - VARIABLES_OF_THE_SCRIPTS
    assert unknown_variables(dict.fromkeys(named - {"ZIMAGE_API_KEY", "ZIMAGE_AUTH"}, "")) == []
    flags = re.findall(r"--[\w-]+", " ".join(re.findall(r"app\.py(.*)", text)))
    assert {variable_of(flag.removeprefix("--").replace("-", "_")) for flag in flags} <= {
        variable_of(field) for field in Settings.model_fields
    }


def test_the_composition_is_one_app_and_a_proxy_that_asks_for_its_files() -> None:
    composed = yaml.safe_load(text_of("compose.yaml"))
    app, proxy = composed["services"]["app"], composed["services"]["proxy"]
    settings = load_settings({}, {name: str(value) for name, value in app["environment"].items()})
    assert f"location {settings.root_path} " in text_of("deploy/nginx.conf")
    assert f"FROM base AS {app['build']['target'].partition(':-')[2].rstrip('}')}\n" in text_of("Dockerfile")
    assert (ROOT / proxy["volumes"][0].partition(":")[0]).is_file()
    assert all(port.startswith("127.0.0.1:") for port in app["ports"])


def test_the_image_gets_what_the_package_is_built_from() -> None:
    kept = [line[1:] for line in text_of(".dockerignore").splitlines() if line.startswith("!")]
    assert all((ROOT / name).exists() for name in kept)
    assert {"zimage_app", "presets", "loras", "models/demo", "pyproject.toml", "requirements.txt", "LICENSE"} <= {*kept}
    assert re.findall(r"^FROM base AS (cuda|cpu)$", text_of("Dockerfile"), re.MULTILINE) == ["cuda", "cpu"]
    assert text_of("Dockerfile").count("\nUSER 1000\n") == 2
