"""The settings of app.py, declared once: from flags, the environment, a YAML file, and defaults for Spaces.

``--time-limit 300``, ``ZIMAGE_TIME_LIMIT=300`` and ``time_limit: 300`` in ``studio.yaml`` are the same; flags override
the environment, which overrides the file. Errors name the place where a value was given.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, get_origin

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from zimage_app.domain.errors import StudioError
from zimage_app.domain.settings.knob import Form
from zimage_app.domain.similar_names import similar_names
from zimage_app.domain.text import Text
from zimage_app.domain.validation_errors import refusal, request_error
from zimage_app.models.disk.yaml_file import YamlReader
from zimage_app.service.rules.limits import PRIVATE_LIMITS
from zimage_app.service.setup.config import HOME_FOLDER, SHIPPED, StudioConfig
from zimage_app.service.setup.runner_choice import runner_choice
from zimage_app.service.setup.space import DATA, space_settings
from zimage_app.service.storage.yaml_files import reading

CONFIG = "config"
FILE_NAME = "studio.yaml"
"""Name of the settings file, read from the user's folder unless ``--config`` names another."""
_PREFIX = "ZIMAGE_"


def _named(path: Path) -> Path:
    if str(path) in ("", "."):
        raise refusal(Text("must name a folder or file", "必须是文件夹或文件的路径"))
    return path.expanduser()


_Place = Annotated[Path, AfterValidator(_named)]
_Name = Annotated[str, Field(min_length=1)]


def _network(text: str) -> str:
    try:
        return str(ip_network(text, strict=False))
    except ValueError:
        allowed = Text("must be an address or a network, as in 10.0.0.0/8", "必须是地址或网段，如 10.0.0.0/8")
        raise refusal(allowed) from None


_DEVICE = r"(cpu|mps|(cuda|xpu)(:\d{1,3})?)"


def _runner(text: str | None) -> str | None:
    if text is not None:
        runner_choice(text)
    return text


def _must_be_remote(text: str | None) -> str | None:
    if text is not None and runner_choice(text).is_local:
        raise refusal(Text("must be another runner, as in comfyui=ADDRESS", "必须是另一种生成器，如 comfyui=地址"))
    return text


_Network = Annotated[str, AfterValidator(_network)]


def _about(text: str, metavar: str = "", default: str = "", secret: bool = False) -> Any:
    """A setting's help. ``secret`` settings are not allowed in the settings file, which others may be able to read."""
    extra: dict[str, Any] = {"metavar": metavar, "default": default, "secret": secret}
    return Field(description=text, json_schema_extra={key: value for key, value in extra.items() if value})


def _below_home(name: str, text: str) -> Any:
    """A folder with the default ``home / name``."""
    return Field(
        default_factory=lambda given: given["home"] / name,
        description=text,
        json_schema_extra={"metavar": "DIR", "default": name},
    )


class Settings(BaseModel):
    """All settings of one start of the app."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    model: Annotated[
        _Name | None, _about("model to start with; the names are those of the page's selector", "NAME")
    ] = None
    fetch: Annotated[bool, _about("fetch that model first, where it is not here yet")] = False
    device: Annotated[
        Annotated[
            str,
            Form(
                rf"^(auto|all|{_DEVICE}(,{_DEVICE}){{0,31}})$",
                Text(
                    "must be auto, all, cpu, mps, cuda or xpu, with a number as in cuda:1, or several with commas",
                    "必须是 auto、all、cpu、mps、cuda 或 xpu，可带编号，如 cuda:1；多个用英文逗号隔开",
                ),
            ),
        ]
        | None,
        _about(
            "where models compute: auto, cpu, cuda, cuda:1, xpu or mps; several with commas, or all",
            "DEVICE",
            "auto, the best one",
        ),
    ] = None
    runner: Annotated[
        str,
        AfterValidator(_runner),
        _about("who makes the pictures: local, comfyui=ADDRESS[,ADDRESS] or ray=ADDRESS", "KIND"),
    ] = "local"
    fallback: Annotated[
        str | None,
        AfterValidator(_runner),
        AfterValidator(_must_be_remote),
        _about("makes what the model can't be used for here: comfyui=ADDRESS", "KIND"),
    ] = None
    device_memory: Annotated[
        float | None,
        Field(ge=1, le=1024),
        _about("how much of the device's memory a model may take; the rest of it waits elsewhere", "GB", "all"),
    ] = None
    plain: Annotated[bool, _about("compute with torch's own kernels only; quicker ones are not looked for")] = False
    host: Annotated[_Name, _about("address to listen on", "ADDRESS")] = "127.0.0.1"
    port: Annotated[int | None, Field(ge=1, le=65535), _about("port", "NUMBER", "7860, or the next free one")] = None
    share: Annotated[bool, _about("make a temporary public link")] = False
    public: Annotated[bool, _about("visitors are strangers to each other, as on a shared link")] = False
    auth: Annotated[
        tuple[_Name, ...], _about("ask for a login; better in ZIMAGE_AUTH", "USER:PASSWORD", secret=True)
    ] = ()
    auth_file: Annotated[_Place | None, _about("logins, one USER:PASSWORD a line", "FILE")] = None
    api_key: Annotated[
        str | None, _about("ask programs at /api for this key; better in ZIMAGE_API_KEY", "KEY", secret=True)
    ] = None
    mcp: Annotated[bool, _about("offer making pictures to MCP clients, at /gradio_api/mcp/")] = False
    allow_host: Annotated[tuple[_Name, ...], _about("answer to this name too, behind a proxy", "NAME")] = ()
    trusted_proxy: Annotated[tuple[_Network, ...], _about("trust X-Forwarded-For from this proxy", "ADDRESS")] = ()
    root_path: Annotated[
        str,
        Form(
            r"^(/[A-Za-z0-9._~-]+)*/?$",
            Text(
                "must be a path that begins with /, as /studio, of letters, digits and . _ ~ - only",
                "必须是以 / 开头的路径，如 /studio，只含英文字母、数字和 . _ ~ -",
            ),
        ),
        _about("path that a proxy serves the app below, as /studio", "PATH"),
    ] = ""
    home: Annotated[
        _Place,
        _about("your folder: outputs, models, LoRAs and presets lie in it", "DIR", "the checkout, or ~/zimage-studio"),
    ] = HOME_FOLDER
    outputs: _Place = _below_home("outputs", "where pictures go")
    models_dir: _Place = _below_home("models", "where models lie")
    loras: _Place = _below_home("loras", "where LoRAs lie")
    comfyui: Annotated[_Place | None, _about("a ComfyUI whose models are offered too", "DIR")] = None
    offline: Annotated[bool, _about("never use the network")] = False
    stage_memory: Annotated[
        int,
        Field(ge=0, le=1_000_000),
        _about("memory for finished stages, which later pictures begin behind; 0: none", "MB"),
    ] = 256
    time_limit: Annotated[
        float,
        Field(ge=0, le=1e9),
        _about("how long one picture may take; 0: as long as it takes", "SECONDS"),
    ] = PRIVATE_LIMITS.seconds or 0.0
    interrupted: Annotated[
        Literal["again", "report"], _about("what to do with a picture that was interrupted when the app was killed")
    ] = "again"
    lang: Annotated[Literal["auto", "zh", "zh-Hant", "en"], _about("language of the page at first")] = "auto"
    log_level: Annotated[Literal["debug", "info", "warning", "error"], _about("what the log tells of, at least")] = (
        "info"
    )
    log_json: Annotated[bool, _about("log in JSON, one object a line")] = False

    @property
    def config(self) -> StudioConfig:
        """The configuration for the service."""
        presets = self.home / "presets"
        config = StudioConfig(
            outputs=self.outputs,
            models=self.models_dir,
            shipped=None if self.models_dir == SHIPPED / "models" else SHIPPED / "models" / "demo",
            beside=None if self.home == SHIPPED else SHIPPED,
            loras=self.loras,
            named_models=presets / "models",
            presets=presets,
            negatives=presets / "negative",
            wildcards=presets / "wildcards",
            comfyui=self.comfyui,
            model=self.model,
            device=None if self.device in ("auto", "all", None) else self.device.partition(",")[0],
            devices=_several(self.device),
            runner=runner_choice(self.runner),
            fallback=None if self.fallback is None else runner_choice(self.fallback),
            offline=self.offline,
            plain=self.plain,
            device_memory=None if self.device_memory is None else int(self.device_memory * 2**30),
            stage_memory=self.stage_memory * 2**20,
            shared=self.share or self.public,
            interrupted="report" if self.interrupted == "report" else "run again",
        )
        return replace(config, limits=replace(config.allowed, seconds=self.time_limit or None))


def _several(device: str | None) -> tuple[str, ...]:
    """The devices, where more than one is meant."""
    return tuple(device.split(",")) if device == "all" or (device and "," in device) else ()


def flag_of(name: str) -> str:
    """``time_limit`` as ``--time-limit``."""
    return f"--{name.replace('_', '-')}"


def variable_of(name: str) -> str:
    """``time_limit`` as ``ZIMAGE_TIME_LIMIT``."""
    return f"{_PREFIX}{name.upper()}"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add a flag for each setting; flags that are not given are missing from the parsed options."""
    parser.add_argument(
        flag_of(CONFIG), default=argparse.SUPPRESS, metavar="FILE", help=f"settings in YAML (default: {FILE_NAME})"
    )
    for name, field in Settings.model_fields.items():
        more: dict[str, Any] = {"action": argparse.BooleanOptionalAction} if _is_switch(field) else {"type": str}
        if _is_list(field):
            more["action"] = "append"
        if metavar := _extra(field).get("metavar"):
            more["metavar"] = metavar
        if not _is_switch(field) and "metavar" not in more:
            more["metavar"] = _choices(field) or "VALUE"
        parser.add_argument(flag_of(name), default=argparse.SUPPRESS, help=_help(field), **more)


Report = Callable[[StudioError], None]
"""Takes the error of a setting, which then keeps its default."""


def load_settings(
    flags: Mapping[str, Any],
    environment: Mapping[str, str],
    folder: Path | None = None,
    report: Report | None = None,
) -> Settings:
    """The settings, by rising precedence: defaults, those of a Space, file, environment, flags.

    Without ``folder`` the settings file is read from the user's folder. ``report`` takes the errors of file and
    variables, which are raised without it.

    Raises:
        RequestError: a flag or a variable is invalid; names it, its value and what is allowed.
        StorageError: the file is invalid; with line and column.
    """
    given = {name: value for name, value in flags.items() if name != CONFIG}
    home = Path(given.get("home") or environment.get(variable_of("home")) or HOME_FOLDER).expanduser()
    file = _file(flags.get(CONFIG) or environment.get(variable_of(CONFIG)), folder or home)
    settled = space_settings(environment)
    settled |= {} if file is None else read_file(file, report)
    for name, text in _from_environment(environment).items():
        with _reporting(report):
            settled |= _checked({name: text}, variable_of)
    settled |= _checked(given, flag_of)
    return Settings(**settled)


def read_file(path: Path, report: Report | None = None) -> dict[str, Any]:
    """The validated settings of a YAML file; relative paths start at its folder.

    Raises:
        StorageError: without ``report``, where the file is invalid; names the file, line, column and problem.
    """
    reader = YamlReader(path, whole_path=True)
    settled = {}
    with _reporting(report), reading():
        for name, node in reader.fields(reader.tree(), tuple(_writable())).items():
            with _reporting(report), reading():
                settled[name] = _value(reader, name, node)
    return settled


@contextmanager
def _reporting(report: Report | None) -> Iterator[None]:
    try:
        yield
    except StudioError as error:
        if report is None:
            raise
        report(error)


def unknown_variables(environment: Mapping[str, str]) -> list[Text]:
    """A warning for each variable with the app's prefix that is not a setting, such as a misspelt one."""
    known = [variable_of(name).removeprefix(_PREFIX) for name in (CONFIG, *Settings.model_fields)]
    given = (name.removeprefix(_PREFIX) for name in environment if name.startswith(_PREFIX) and name != DATA)
    sentences = []
    for name in sorted(set(given) - set(known)):
        near = similar_names(name, known, 1)
        hint = Text(f"; is {_PREFIX}{near[0]} meant?", f"；是否应为 {_PREFIX}{near[0]}？") if near else Text(".", "。")
        sentences.append(
            Text(f"{_PREFIX}{name} is no setting of this app{hint.en}", f"{_PREFIX}{name} 不是本程序的设置{hint.zh}")
        )
    return sentences


def without_secrets(settings: Settings) -> dict[str, Any]:
    """All settings as plain data, without the secret ones."""
    return settings.model_dump(mode="json", include=set(_writable()))


def _file(named: str | None, folder: Path) -> Path | None:
    if named is not None:
        return Path(named).expanduser()
    usual = folder / FILE_NAME
    return usual if usual.is_file() else None


def _writable() -> list[str]:
    """Names of the settings that a file may hold."""
    return [name for name, field in Settings.model_fields.items() if not _extra(field).get("secret")]


def _value(reader: YamlReader, name: str, node: yaml.Node) -> Any:
    items = reader.items(node) if _is_list(Settings.model_fields[name]) else []
    plain = [reader.plain(item) for item in items] if items else reader.plain(node)
    try:
        # Through JSON: strict mode then checks types, but accepts text for a path.
        checked = Settings.model_validate_json(json.dumps({name: plain}, default=str), strict=True)
    except ValidationError as error:
        reason = request_error(error, {name: plain}).reason
        raise reader.wrong(node, f"{name}: {reason.en}", f"{name}：{reason.zh}") from error
    value = getattr(checked, name)
    return reader.path.absolute().parent / value if isinstance(value, Path) else value


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    """The settings given as variables. Empty ones are ignored; ``read_credentials`` reads the secret ones."""
    found = {}
    for name in _writable():
        text = environment.get(variable_of(name), "").strip()
        if text:
            found[name] = text.replace(",", " ").split() if _is_list(Settings.model_fields[name]) else text
    return found


def _checked(given: Mapping[str, Any], place_of: Any) -> dict[str, Any]:
    """Validate values that were given as text, one by one, so that an error names its flag or variable."""
    checked: dict[str, Any] = {}
    for name, value in given.items():
        try:
            checked[name] = getattr(Settings.model_validate({name: value}), name)
        except ValidationError as error:
            raise request_error(error, {name: value}).at(place_of(name)) from error
    return checked


def _extra(field: FieldInfo) -> dict[str, Any]:
    extra = field.json_schema_extra
    return dict(extra) if isinstance(extra, dict) else {}


def _is_switch(field: FieldInfo) -> bool:
    return field.annotation is bool


def _is_list(field: FieldInfo) -> bool:
    return get_origin(field.annotation) is tuple


def _choices(field: FieldInfo) -> str:
    values = getattr(field.annotation, "__args__", ()) if get_origin(field.annotation) is Literal else ()
    return "|".join(map(str, values))


def _help(field: FieldInfo) -> str:
    default = _extra(field).get("default") or ("" if field.default in (None, False, ()) else _plain(field.default))
    return f"{field.description} (default: {default})" if default else str(field.description)


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
