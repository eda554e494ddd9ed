"""``presets``: lists, shows, saves, renames, deletes and compares presets. ``--preset`` uses one."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import yaml

from zimage_app.cli.folders import config_of
from zimage_app.cli.output import print_json, print_table
from zimage_app.cli.terminal import language, notify
from zimage_app.domain.card import ModelCard
from zimage_app.domain.errors import ModelError, RequestError
from zimage_app.domain.preset import Difference, Preset, Settings, applied, differences, request_settings, suits
from zimage_app.domain.request import parse_request
from zimage_app.domain.text import Text
from zimage_app.service.library.presets import PresetLibrary

_COLUMNS = (Text("name", "名称"), Text("title", "标题"), Text("settings", "包含"), Text("remarks", "备注"))


def add_presets_command(commands: Any) -> None:
    """Add ``presets`` and its actions to the program's commands."""
    parser = commands.add_parser("presets", help="list, show, save, delete or compare presets")
    parser.set_defaults(run=list_presets)
    parser.add_argument("--json", action="store_true", help="print a JSON list instead of a table")
    actions = parser.add_subparsers(metavar="show|save|rename|delete|diff", parser_class=type(parser))
    show = actions.add_parser("show", description="Print a preset as YAML.")
    show.set_defaults(run=show_preset)
    save = actions.add_parser("save", description="Keep the settings of a picture, or of a preset, under a name.")
    save.set_defaults(run=save_preset)
    rename = actions.add_parser("rename", description="Give a preset of your own another name.")
    rename.set_defaults(run=rename_preset)
    delete = actions.add_parser("delete", description="Take a preset of your own away.")
    delete.set_defaults(run=delete_preset)
    diff = actions.add_parser("diff", description="What a picture or another preset has otherwise than a preset.")
    diff.set_defaults(run=diff_preset)
    for action in (show, save, rename, delete, diff):
        action.add_argument("name", metavar="NAME")
    save.add_argument("--from", metavar="WHAT", dest="source", required=True, help="a picture's path, or a preset")
    save.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", dest="settings", help="see generate")
    save.add_argument("--prompt", action="store_true", help="keep the picture's prompt and seed too")
    save.add_argument("--replace", action="store_true", help="in the place of your preset of that name")
    rename.add_argument("new", metavar="NEW_NAME")
    diff.add_argument("other", metavar="OTHER", help="a picture's path, or a preset")
    diff.add_argument("--json", action="store_true", help="print a JSON list instead of a table")


def list_presets(options: argparse.Namespace) -> int:
    """``presets``: list each preset with its settings, broken ones with their reason."""
    presets = _library().presets()
    if options.json:
        print_json([_data(preset) for preset in presets])
        return 0
    print_table((column.to(language()) for column in _COLUMNS), map(_cells, presets))
    return 0


def show_preset(options: argparse.Namespace) -> int:
    """``presets show``: print a preset's settings as YAML."""
    settings = _library().load(options.name).settings
    sys.stdout.write(yaml.safe_dump(settings, allow_unicode=True, sort_keys=False, width=120))
    return 0


def save_preset(options: argparse.Namespace) -> int:
    """``presets save``: store the settings of a picture or a preset under a name."""
    from zimage_app.cli.assignments import assign

    library = _library()
    settings = _settings_of(options.source, library, whole=options.prompt)
    for assignment in options.settings:
        assign(settings, assignment)
    saved = library.save(options.name, settings, overwrite=options.replace)
    notify(Text(f"Saved as {saved.name}.", f"已保存为 {saved.name}。"))
    return 0


def rename_preset(options: argparse.Namespace) -> int:
    """``presets rename``: rename one of the user's presets."""
    _library().rename(options.name, options.new)
    return 0


def delete_preset(options: argparse.Namespace) -> int:
    """``presets delete``: delete one of the user's presets."""
    _library().delete(options.name)
    return 0


def diff_preset(options: argparse.Namespace) -> int:
    """``presets diff``: exit status 0 where all settings are the same, 1 where any differ, as for ``diff``."""
    library = _library()
    preset = library.load(options.name)
    other = _settings_of(options.other, library, whole=True)
    card = _card(str(other.get("model") or preset.settings.get("model") or ""))
    stages = [stage.model_dump(mode="json") for stage in card.stages]
    request = parse_request(applied(other, {"prompt": "-", "stages": stages}))
    named = _card(str(preset.settings.get("model") or ""))
    found = [*differences(preset.settings, request, card, named.stages), *_strengths(preset.settings, other)]
    spoken = language()
    if options.json:
        data = [{"setting": each.path, "preset": each.preset, "other": each.given} for each in found]
        print_json(data)
    elif found:
        titles = (Text("setting", "设置").to(spoken), preset.name, options.other)
        print_table(titles, [(each.title.to(spoken), each.preset, each.given) for each in found])
    return 1 if found else 0


def preset_of(options: argparse.Namespace) -> Preset | None:
    """The preset that ``--preset`` names, None without the flag; raises RequestError for an unknown name."""
    if options.preset is None:
        return None
    try:
        return _library().load(options.preset)
    except RequestError as error:
        raise error.at("--preset") from error


def preset_model(preset: Preset | None, default: ModelCard | None) -> str | None:
    """The model that a preset names; None where it names none, or where the default model matches."""
    wanted = preset.settings.get("model") if preset else None
    return None if wanted is None or (default is not None and suits(default, wanted)) else str(wanted)


# Parts.


def _library() -> PresetLibrary:
    return PresetLibrary(*config_of().preset_folders)


def _settings_of(what: str, library: PresetLibrary, *, whole: bool) -> Settings:
    """The settings inside a picture, or of a preset; ``whole`` includes prompt and seed."""
    path = Path(what)
    if not path.is_file():
        return dict(library.load(what).settings)
    from zimage_app.service.pictures.gallery import read_record

    record = read_record(path)
    return request_settings(record.model, record.request, whole=whole)


def _strengths(preset: Settings, other: Settings) -> list[Difference]:
    """The difference between the ``lora_strength`` of two presets, if any."""
    one, two = (settings.get("lora_strength") for settings in (preset, other))
    return [Difference("lora_strength", f"{one:g}", f"{two:g}")] if one is not None and two not in (None, one) else []


def _card(model: str) -> ModelCard:
    """The card of a model by name, or a default card for an unknown model."""
    from zimage_app.models.find.card_file import plain_card
    from zimage_app.models.find.catalogue import look_up

    try:
        return look_up(model, config_of().model_folders).card
    except ModelError:
        return plain_card(model)


def _cells(preset: Preset) -> tuple[str, ...]:
    remarks = preset.problem or preset.description
    return preset.name, preset.title.to(language()), ", ".join(preset.settings), remarks.to(language())


def _data(preset: Preset) -> dict[str, Any]:
    spoken = language()
    return {
        "name": preset.name,
        "title": preset.title.to(spoken),
        "description": preset.description.to(spoken),
        "mine": preset.mine,
        "settings": preset.settings,
        "problem": preset.problem.to(spoken) if preset.problem else None,
    }
