"""One YAML file of negative prompts, parsed strictly and written atomically.

    title: {en: Anatomy, zh: 人体结构}
    entries:
      多余的手指: {en: extra fingers, when: {en: Hands close to the camera, zh: 手部靠近镜头时}}
      我的词条: {}

Everything but the Chinese text may be left out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from zimage_app.domain.negatives import SEPARATORS, NegativeCategory, NegativeEntry
from zimage_app.domain.text import Text
from zimage_app.models.disk.yaml_file import YamlReader
from zimage_app.service.storage.yaml_files import reading, write_yaml

MAX_TEXT = 200
_MAX_FILE = 128 * 2**10
"""Bytes; some thousand entries."""


def read_category(path: Path) -> NegativeCategory:
    """The entries in a file; the title defaults to the file's name.

    Raises:
        StorageError: the file is invalid; names the file, line, column and problem.
    """
    with reading():
        reader = YamlReader(path, max_length=_MAX_FILE)
        fields = reader.fields(reader.tree(), ("title", "entries"))
        title = reader.text(fields["title"]) if "title" in fields else Text(path.stem, path.stem)
        entries = _entries(reader, fields["entries"]) if "entries" in fields else ()
    return NegativeCategory(path.stem, title, entries)


def write_category(path: Path, category: NegativeCategory) -> None:
    """Write a category to a file; raises StorageError where that fails."""
    entries = {entry.text: _entry_data(entry) for entry in category.entries}
    data = {"title": {"en": category.title.en, "zh": category.title.zh}, "entries": entries}
    write_yaml(path, data)


def read_names(path: Path) -> tuple[str, ...]:
    """Read a file with a list of texts; empty where there is no file. Raises StorageError as ``read_category``."""
    if not path.is_file():
        return ()
    with reading():
        reader = YamlReader(path, max_length=_MAX_FILE)
        return tuple(dict.fromkeys(reader.string(node).strip() for node in reader.items(reader.tree())))


def problem_of(text: str) -> Text | None:
    """Why a text is not allowed as an entry; None where it is."""
    if len(text) > MAX_TEXT:
        return Text(
            f"has {len(text)} characters, but an entry may have at most {MAX_TEXT}; shorten it",
            f"有 {len(text)} 个字符，而词条最多 {MAX_TEXT} 个；请缩短",
        )
    if not text.strip():
        return Text("the entry is empty; write a phrase", "词条为空；请填写一个词组")
    if any(letter in SEPARATORS for letter in text):
        return Text(
            f"{text!r} must be one phrase without commas; make an entry of each",
            f"{text!r} 应为不含逗号的单个词组；请分成多个词条",
        )
    return None


def _entries(reader: YamlReader, node: yaml.Node) -> tuple[NegativeEntry, ...]:
    keys = [str(key.value) for key, _ in node.value] if isinstance(node, yaml.MappingNode) else []
    nodes = reader.fields(node, tuple(dict.fromkeys(keys)) or ("词条",))
    places = {str(key.value): key for key, _ in node.value}
    entries: dict[str, NegativeEntry] = {}
    for key, value in nodes.items():
        text = key.strip()
        problem = problem_of(text)
        if problem is not None:
            raise reader.wrong(places[key], problem.en, problem.zh)
        if text in entries:
            raise reader.wrong(places[key], f"{text!r} appears twice; keep one", f"{text!r} 重复；请只保留一个")
        entries[text] = _entry(reader, text, value)
    return tuple(entries.values())


def _entry(reader: YamlReader, text: str, node: yaml.Node) -> NegativeEntry:
    fields = reader.fields(node, ("en", "when"))
    meaning = reader.string(fields["en"]).strip() if "en" in fields else ""
    return NegativeEntry(text, meaning, reader.text(fields["when"]) if "when" in fields else None)


def _entry_data(entry: NegativeEntry) -> dict[str, Any]:
    data: dict[str, Any] = {"en": entry.meaning} if entry.meaning else {}
    if entry.when is not None:
        data["when"] = {"en": entry.when.en, "zh": entry.when.zh}
    return data
