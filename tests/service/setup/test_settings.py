"""Settings of app.py: one declaration, four places, and an error that says where. C11: broken files."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pytest

from zimage_app.domain.errors import RequestError, StorageError
from zimage_app.domain.text import Text
from zimage_app.models.find.catalogue import list_models
from zimage_app.service.rules.limits import PRIVATE_LIMITS, PUBLIC_LIMITS
from zimage_app.service.setup.config import ROOT
from zimage_app.service.setup.runner_choice import RunnerChoice
from zimage_app.service.setup.settings import (
    FILE_NAME,
    Settings,
    add_flags,
    flag_of,
    load_settings,
    read_file,
    unknown_variables,
    variable_of,
)
from zimage_app.service.setup.space import on_space, on_zero_gpu


def settled(flags: list[str], environment: dict[str, str] | None = None, folder: Path = Path("nowhere")) -> Settings:
    parser = argparse.ArgumentParser()
    add_flags(parser)
    return load_settings(vars(parser.parse_args(flags)), environment or {}, folder)


def test_nothing_given_is_one_person_s_own_machine() -> None:
    settings = settled([])
    assert settings == Settings()
    assert settings.config.outputs == ROOT / "outputs"
    assert settings.config.allowed == PRIVATE_LIMITS
    assert not settings.config.shared


@pytest.mark.parametrize("name", list(Settings.model_fields))
def test_every_setting_has_help_and_a_flag(name: str) -> None:
    parser = argparse.ArgumentParser()
    add_flags(parser)
    assert Settings.model_fields[name].description
    assert flag_of(name) in re.findall(r"--[a-z]+(?:-[a-z]+)*(?![\w-])", parser.format_help())


def test_a_flag_counts_for_more_than_the_environment_and_that_for_more_than_the_file(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text("port: 1001\nmodel: of-file\nlang: zh\n")
    environment = {"ZIMAGE_PORT": "1002", "ZIMAGE_MODEL": "of-environment", "ZIMAGE_SHARE": "", "OTHER": "x"}
    settings = settled(["--port", "1003"], environment, tmp_path)
    assert (settings.port, settings.model, settings.lang, settings.share) == (1003, "of-environment", "zh", False)


def test_a_flag_can_switch_off_what_the_file_switches_on(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text("offline: true\nshare: true\n")
    settings = settled(["--no-share"], folder=tmp_path)
    assert (settings.offline, settings.share) == (True, False)


def test_a_file_is_named_by_flag_or_variable_and_its_paths_begin_at_it(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("outputs: pictures\nloras: /somewhere\nallow_host: [a.example, b.example]\n")
    for flags, environment in (
        (["--config", str(tmp_path / "a.yaml")], {}),
        ([], {"ZIMAGE_CONFIG": f"{tmp_path}/a.yaml"}),
    ):
        settings = settled(flags, environment)
        assert settings.outputs == tmp_path / "pictures"
        assert settings.loras == Path("/somewhere")
        assert settings.allow_host == ("a.example", "b.example")
    with pytest.raises(StorageError, match=r"none\.yaml can't be read"):
        settled(["--config", str(tmp_path / "none.yaml")])


def test_lists_switches_and_numbers_are_read_from_the_environment() -> None:
    environment = {"ZIMAGE_ALLOW_HOST": "a.example, b.example", "ZIMAGE_PUBLIC": "1", "ZIMAGE_TIME_LIMIT": "2.5"}
    settings = settled([], environment)
    assert settings.allow_host == ("a.example", "b.example")
    assert settings.config.shared
    assert settings.config.allowed.seconds == 2.5
    assert settings.config.allowed.pixels == PUBLIC_LIMITS.pixels


def test_the_demo_model_is_offered_wherever_models_lie(tmp_path: Path) -> None:
    names = [source.card.name for source in list_models(settled(["--models-dir", str(tmp_path)]).config.model_folders)]
    assert "demo" in names
    assert settled([]).config.shipped is None


def test_another_home_holds_what_is_the_users_and_what_ships_is_read_beside_it(tmp_path: Path) -> None:
    for flags, environment in ((["--home", str(tmp_path)], {}), ([], {"ZIMAGE_HOME": str(tmp_path)})):
        config = settled(flags, environment).config
        assert [config.outputs, config.models] == [tmp_path / "outputs", tmp_path / "models"]
        assert config.lora_folders == (tmp_path / "loras", ROOT / "loras")
        assert config.preset_folders == (tmp_path / "presets", ROOT / "presets")
        assert config.negative_folders[0] == tmp_path / "presets" / "negative"
        assert config.wildcard_folders[1] == ROOT / "presets" / "wildcards"
        assert {"demo", "z-image-turbo"} <= {source.card.name for source in list_models(config.model_folders)}
    assert settled(["--home", str(tmp_path), "--outputs", "here"]).config.outputs == Path("here")
    assert settled([]).config.lora_folders == (ROOT / "loras",)


def test_a_home_that_is_none_is_told_once() -> None:
    with pytest.raises(RequestError, match="--home"):
        settled(["--home", "."])


def test_the_file_of_settings_lies_in_the_users_folder(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text("port: 1001\n")
    parser = argparse.ArgumentParser()
    add_flags(parser)
    assert load_settings(vars(parser.parse_args(["--home", str(tmp_path)])), {}).port == 1001
    assert load_settings({}, {"ZIMAGE_HOME": str(tmp_path)}).port == 1001


def test_no_time_limit_is_a_time_limit_of_none() -> None:
    assert settled(["--time-limit", "0"]).config.allowed.seconds is None


def test_what_an_interrupted_job_becomes_is_handed_on() -> None:
    assert settled([]).config.interrupted == "run again"
    assert settled(["--interrupted", "report"]).config.interrupted == "report"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", "0"),
        ("port", "65536"),
        ("port", "many"),
        ("port", "1.5"),
        ("time_limit", "-1"),
        ("time_limit", "nan"),
        ("lang", "fr"),
        ("log_level", "loud"),
        ("outputs", "."),
        ("interrupted", "never"),
    ],
)
def test_a_wrong_value_is_told_with_the_flag_or_variable_that_it_was_given_in(name: str, value: str) -> None:
    with pytest.raises(RequestError, match=f'^{flag_of(name)}: ".*{re.escape(value)}'):
        settled([flag_of(name), value])
    with pytest.raises(RequestError) as caught:
        settled([], {variable_of(name): value})
    assert caught.value.field == variable_of(name)
    assert caught.value.text.zh.startswith(f"{variable_of(name)}：")


def test_a_variable_with_a_slip_of_the_pen_is_told() -> None:
    environment = {"ZIMAGE_PROT": "1", "ZIMAGE_AUTH": "a:b", "ZIMAGE_DATA": "/x", "ZIMAGE_CONFIG": "y", "OTHER": "z"}
    (text,) = unknown_variables(environment)
    assert text.en == "ZIMAGE_PROT is no setting of this app; is ZIMAGE_PORT meant?"
    assert unknown_variables({"ZIMAGE_QQQQ": ""}) == [
        Text("ZIMAGE_QQQQ is no setting of this app.", "ZIMAGE_QQQQ 不是本程序的设置。")
    ]


def test_a_space_is_public_and_open_to_its_network() -> None:
    settings = settled([], {"SPACE_ID": "me/studio"})
    assert (settings.host, settings.port, settings.fetch) == ("0.0.0.0", 7860, True)
    assert settings.config.shared
    assert settings.config.allowed == PUBLIC_LIMITS
    assert settled(["--port", "8000"], {"SPACE_ID": "me/studio", "ZIMAGE_MODEL": "z-image-turbo"}).port == 8000
    assert not on_space({})


def test_a_space_s_volume_holds_pictures_models_and_loras(tmp_path: Path) -> None:
    settings = settled([], {"SPACE_ID": "me/studio", "ZIMAGE_DATA": str(tmp_path)})
    assert [settings.outputs, settings.models_dir, settings.loras] == [
        tmp_path / name for name in ("outputs", "models", "loras")
    ]
    assert settled([], {"ZIMAGE_DATA": str(tmp_path)}).outputs == ROOT / "outputs"


@pytest.mark.parametrize(("value", "zero"), [("true", True), ("1", True), ("false", False), ("", False)])
def test_zero_gpu_is_told_by_its_variable(value: str, zero: bool) -> None:
    assert on_zero_gpu({"SPACE_ID": "me/studio", "SPACES_ZERO_GPU": value}) is zero
    assert not on_zero_gpu({"SPACES_ZERO_GPU": value})


_WHOLE = "model: demo\nhost: 127.0.0.1\nport: 7860\nallow_host:\n  - a.example\ntime_limit: 60\nlang: zh\n"

BROKEN = [
    *(f"port: {value}" for value in ("0", "-1", "65536", "1.5", "'7860'", "true", "null_", "[1]", "{a: 1}", "1e3x")),
    *(f"time_limit: {value}" for value in ("-1", ".nan", ".inf", "long", "true", "2e9", "[60]", "2020-01-01")),
    *(f"lang: {value}" for value in ("fr", "5", "[zh]", "''", "null")),
    *(f"log_level: {value}" for value in ("loud", "INFO", "1")),
    *(f"share: {value}" for value in ("'yes'", "1", "maybe", "[]", "null")),
    *(f"model: {value}" for value in ("''", "5", "[demo]", "true", "1.5", "{name: demo}")),
    *(f"outputs: {value}" for value in ("''", "5", "[a]", "null", "{a: b}")),
    *(f"allow_host: {value}" for value in ("a.example", "[5]", "['']", "{a: b}", "[[a]]")),
    "colour: red",
    "Port: 7860",
    "auth: [me:secret-word]",
    "api_key: sesame",
    "port: 1\nport: 2",
    "- port: 1",
    "port",
    "",
    "# nothing",
    "port: [1",
    "port: {",
    "port: 'a",
    "port: *a",
    "port: &a 1\nlang: *a",
    "<<: {port: 1}",
    "!!python/object/apply:os.system ['true']",
    "port: !!python/name:os.system ''",
    "port:\n\t- 1",
    "port: 1\n lang: zh",
    "a: " + "[" * 60,
    "port: %",
    "model: \x07",
    "---\nport: 1\n---\nport: 2",
]
"""C11: at least 60 files that are no settings."""


def test_there_are_enough_broken_files() -> None:
    assert len(set(BROKEN)) >= 60


@pytest.mark.parametrize("text", BROKEN)
def test_c11_a_broken_file_is_told_with_file_line_and_column(tmp_path: Path, text: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(StorageError) as caught:
        read_file(path)
    file = re.escape(str(path))
    assert re.match(rf"{file}, line \d+, column \d+: \S", caught.value.text.en)
    assert re.match(rf"{file} 第 \d+ 行第 \d+ 个字符：\S", caught.value.text.zh)
    assert "\n" not in caught.value.text.en


@pytest.mark.parametrize("wrong", ["port: 0", "lang: fr", "time_limit: -1", "  - 5"])
def test_c11_the_line_is_the_wrong_one_s(tmp_path: Path, wrong: str) -> None:
    lines = _WHOLE.splitlines()
    (place,) = (
        number
        for number, line in enumerate(lines)
        if line.partition(":")[0] == wrong.partition(":")[0] or (wrong[:3] == line[:3] == "  -")
    )
    path = tmp_path / "broken.yaml"
    path.write_text("\n".join([*lines[:place], wrong, *lines[place + 1 :]]), encoding="utf-8")
    with pytest.raises(StorageError, match=rf"line {place + 1}, column \d+: "):
        read_file(path)


@pytest.mark.parametrize("data", [b"\xff\xfe\x00p", b"port: \xff", b"x" * 70_000])
def test_c11_what_is_no_text_or_too_long_is_told_too(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "broken.yaml"
    path.write_bytes(data)
    with pytest.raises(StorageError, match=r"broken\.yaml, line 1, column 1: "):
        read_file(path)


def test_a_whole_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "whole.yaml"
    path.write_text(_WHOLE, encoding="utf-8")
    assert read_file(path) == {
        "model": "demo",
        "host": "127.0.0.1",
        "port": 7860,
        "allow_host": ("a.example",),
        "time_limit": 60.0,
        "lang": "zh",
    }


def test_runners_and_devices() -> None:
    addresses = "http://127.0.0.1:8188, http://[::1]:8189/"
    config = settled(["--runner", f"comfyui={addresses}", "--fallback", "comfyui=https://a.example"]).config
    assert config.runner == RunnerChoice("comfyui", ("http://127.0.0.1:8188", "http://[::1]:8189"))
    assert config.fallback == RunnerChoice("comfyui", ("https://a.example",))
    assert settled([]).config.runner.is_local
    several = settled(["--device", "cuda:0,cuda:1"]).config
    assert (several.device, several.devices) == ("cuda:0", ("cuda:0", "cuda:1"))
    assert (settled(["--device", "all"]).config.devices, settled(["--device", "all"]).config.device) == (("all",), None)
    assert (settled(["--device", "auto"]).config.devices, settled(["--device", "cpu"]).config.devices) == ((), ())


def test_the_runner_behind_this_one_is_another() -> None:
    with pytest.raises(RequestError, match=r"--fallback.*must be another runner"):
        settled(["--fallback", "local"])


@pytest.mark.parametrize(
    "runner",
    ["", "comfyui", "comfyui=", "comfyui=ftp://a", "comfyui=http://", "comfyui=http://me:word@a", "local=x", "moon=x",
     "comfyui=http://a:port", "comfyui=http://a?b"],
)  # fmt: skip
def test_a_runner_that_there_is_not_is_refused(runner: str) -> None:
    with pytest.raises(RequestError, match=r"--runner.*must be local, or comfyui="):
        settled(["--runner", runner])


@pytest.mark.parametrize(
    ("name", "value", "en", "zh"),
    [
        ("device", "banana", "must be auto, all, cpu, mps, cuda or xpu", "必须是 auto、all、cpu、mps、cuda 或 xpu"),
        ("device", "cuda:1\n", "must be auto, all", "必须是 auto、all"),
        ("device", "cuda:１", "must be auto, all", "必须是 auto、all"),
        ("root_path", "studio", "must be a path that begins with /", "必须是以 / 开头的路径"),
    ],
)
def test_the_form_of_a_text_is_told_in_words(name: str, value: str, en: str, zh: str) -> None:
    with pytest.raises(RequestError, match=f"^{flag_of(name)}: ") as caught:
        load_settings({name: value}, {})
    assert (en in caught.value.text.en, zh in caught.value.text.zh) == (True, True)
    assert "^" not in caught.value.text.en
