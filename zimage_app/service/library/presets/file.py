"""One preset as a YAML file that users can edit; parsed strictly, written atomically.

    title: {en: Turbo 1024², zh: Turbo 1024²}
    description: {en: Eight steps., zh: 八步。}
    model: z-image-turbo
    negative: 模糊，水印
    stages:
      - {width: 1024, height: 1024, steps: 8, cfg: 1.0, sampler: res_multistep, scheduler: simple}

Every key may be left out; ``domain/preset.py`` defines the settings.
"""

from __future__ import annotations

from pathlib import Path

import yaml

from zimage_app.domain.errors import RequestError
from zimage_app.domain.preset import NO_WORDS, SETTINGS, Preset, checked
from zimage_app.domain.text import Text
from zimage_app.models.disk.yaml_file import YamlReader
from zimage_app.service.storage.yaml_files import reading, write_yaml

SUFFIX = ".yaml"
_WORDS = ("title", "description")


def read_preset(path: Path, *, mine: bool) -> Preset:
    """The preset in a file; the title defaults to the file's name.

    Raises:
        StorageError: the file is invalid; names the file, line, column and problem.
    """
    with reading():
        return _read(path, mine=mine)


def write_preset(path: Path, preset: Preset) -> None:
    """Write a preset to a file; raises StorageError where that fails."""
    unsaid = (NO_WORDS, Text(preset.name, preset.name))
    words = {"title": preset.title, "description": preset.description}
    given = {key: {"en": text.en, "zh": text.zh} for key, text in words.items() if text not in unsaid}
    write_yaml(path, given | preset.settings)


def _read(path: Path, *, mine: bool) -> Preset:
    reader = YamlReader(path)
    root = reader.tree()
    fields = reader.fields(root, (*_WORDS, *SETTINGS))
    title, description = (reader.text(fields[name]) if name in fields else None for name in _WORDS)
    data = {name: reader.plain(node) for name, node in fields.items() if name not in _WORDS}
    try:
        settings = checked(data)
    except RequestError as error:
        raise reader.wrong(_node_at(root, error.field.split(".")), error.text.en, error.text.zh) from error
    return Preset(
        name=path.stem,
        title=title or Text(path.stem, path.stem),
        description=description or NO_WORDS,
        settings=settings,
        mine=mine,
    )


def _node_at(node: yaml.Node, path: list[str]) -> yaml.Node:
    """The node at a setting's path, or at the longest part of the path that exists."""
    for part in path:
        if isinstance(node, yaml.SequenceNode) and part.isdecimal() and int(part) < len(node.value):
            node = node.value[int(part)]
        elif isinstance(node, yaml.MappingNode):
            found = next((value for key, value in node.value if str(key.value) == part.strip('"')), None)
            if found is None:
                return node
            node = found
    return node
