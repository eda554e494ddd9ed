"""Parses a batch file (text, CSV, JSON, JSONL, YAML) into entries with line numbers. Doesn't validate settings."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any, TypeVar

import yaml

from zimage_app.domain.errors import ModelError, RequestError, system_reason
from zimage_app.domain.text import Text, shortened
from zimage_app.models.disk.regular_file import read_regular
from zimage_app.models.disk.yaml_file import YamlReader

T = TypeVar("T")

MAX_BYTES = 8 * 2**20
_MAX_YAML = 256 * 2**10
"""Characters; they take PyYAML some seconds."""
MAX_ENTRIES = 10_000
_MAX_COLUMNS = 200
"""Columns of a CSV file; more than there are settings."""
_MAX_NAME = 60
"""Characters of a key in a message."""


@dataclass(frozen=True, slots=True)
class BatchEntry:
    """One entry of a batch file."""

    where: Text
    """The entry's position, such as "line 3"."""
    values: Mapping[str, Any]
    """Values by the file's own keys."""
    written: bool = False
    """Whether all values are strings (CSV), so that numbers still have to be parsed."""


@dataclass(frozen=True, slots=True)
class BatchFile:
    """A file's entries; a persona's values are kept apart from those of its posts."""

    entries: tuple[BatchEntry, ...]
    persona: BatchEntry | None = None
    problems: tuple[Text, ...] = ()
    """Errors about entries that can't be parsed."""


def read_batch(path: Path) -> BatchFile:
    """Read a batch file; raises RequestError of ``FILE`` if it can't be read, or as ``parse_batch`` does."""
    try:
        return parse_batch(str(path), read_regular(path, MAX_BYTES))
    except OSError as error:
        reason = system_reason(error)
        raise _file_error(Text(f"{path} can't be read ({reason})", f"{path} 无法读取（{reason}）")) from error


def parse_batch(name: str, data: bytes) -> BatchFile:
    """Parse a batch file's bytes; the suffix of ``name`` selects the format.

    Raises:
        RequestError: of ``FILE``: the file isn't UTF-8 text, is empty or too long, or has an unknown format.
    """
    reader = _READERS.get(PurePath(name).suffix.lower())
    if reader is None:
        known = ", ".join(_READERS)
        raise _file_error(Text(f"{name}: a batch is one of {known}", f"{name}：批量文件须为 {known} 之一"))
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _file_error(Text(f"{name} is not UTF-8; save it as that", f"{name} 不是 UTF-8 编码，请另存")) from error
    found = reader(text, name)
    if not found.entries and not found.problems:
        raise _file_error(Text(f"{name} contains no entries", f"{name} 中没有任何条目"))
    return found


def batch_of(data: object, lines: Sequence[int] = ()) -> BatchFile:
    """Convert plain data to a batch: a list of prompts or groups of settings, or a persona with posts (``tweets``).

    ``lines`` are the line numbers of the list's entries, if known.

    Raises:
        RequestError: of ``FILE``: the data is neither, or too long.
    """
    if isinstance(data, Mapping) and isinstance(data.get("tweets"), list):
        found = _listed(data["tweets"], lines, "tweets.")
        persona = data.get("persona")
        if persona is None:
            return found
        if not isinstance(persona, Mapping):
            problem = Text("persona: must be a group of settings", "persona：必须是一组设置")
            return replace(found, problems=(problem, *found.problems))
        return replace(found, persona=BatchEntry(Text("persona", "persona"), persona))
    if isinstance(data, list):
        return _listed(data, lines, "")
    raise _file_error(
        Text(
            "must hold a list of prompts or settings, or persona and tweets",
            "必须是提示词或设置的列表，或包含 persona 与 tweets",
        )
    )


def _counted(items: Iterable[T]) -> Iterator[T]:
    """Yield entries; raise RequestError of ``FILE`` once there are too many, before all of them are in memory."""
    for number, item in enumerate(items):
        if number == MAX_ENTRIES:
            raise _file_error(Text(f"has more than {MAX_ENTRIES} entries; split it", f"超过 {MAX_ENTRIES} 项，请拆分"))
        yield item


def _listed(items: Sequence[object], lines: Sequence[int], prefix: str) -> BatchFile:
    entries, problems = [], []
    for number, item in enumerate(_counted(items)):
        name = f"{prefix}{number + 1}"
        where = Text(f"entry {name}", f"第 {name} 项")
        if number < len(lines):
            where = _line(lines[number])
        if isinstance(item, str):
            entries.append(BatchEntry(where, {"prompt": item}))
        elif isinstance(item, Mapping):
            entries.append(BatchEntry(where, item))
        else:
            problems.append(_joined(where, Text("must be a prompt or a group of settings", "必须是提示词或一组设置")))
    return BatchFile(tuple(entries), problems=tuple(problems))


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield the lines with their numbers. Only line feeds end a line, because prompts may contain U+2028."""
    return ((number, line.strip()) for number, line in enumerate(text.split("\n"), 1))


def _text(text: str, _name: str) -> BatchFile:
    prompts = ((number, line) for number, line in _lines(text) if line and not line.startswith("#"))
    return BatchFile(tuple(BatchEntry(_line(number), {"prompt": line}) for number, line in _counted(prompts)))


def _csv(text: str, _name: str) -> BatchFile:
    head = text.partition("\n")[0]
    between = ";" if ";" in head and "," not in head else ","  # as spreadsheets write it where commas are in numbers
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=between, strict=True)
    entries, problems = [], []
    try:
        names = [name.strip() for name in next(rows, ())]
        if problem := _wrong_names(names):
            return BatchFile((), problems=(_joined(_line(1), problem),))
        for cells in _counted(cells for row in rows if any(cells := [cell.strip() for cell in row])):
            where = _line(rows.line_num)
            values = {name: cell for name, cell in zip(names, cells, strict=False) if cell}
            if "" in values or any(cells[len(names) :]):
                problems.append(_joined(where, Text("has more cells than the first line has names", "单元格多于表头")))
            else:
                entries.append(BatchEntry(where, values, written=True))
    except csv.Error as error:
        problems.append(_joined(_line(rows.line_num), Text(f"is no CSV ({error})", f"不是有效的 CSV（{error}）")))
    return BatchFile(tuple(entries), problems=tuple(problems))


def _wrong_names(names: Sequence[str]) -> Text | None:
    """Return what is wrong with the names in a CSV file's first line, or None."""
    if len(names) > _MAX_COLUMNS:
        return Text(
            f"has {len(names)} columns; at most {_MAX_COLUMNS} are allowed",
            f"有 {len(names)} 列；最多允许 {_MAX_COLUMNS} 列",
        )
    twice = _twice(names)
    return _stands_twice(twice) if twice else None


class _TwiceError(ValueError):
    """A group of settings in JSON has a key twice."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if twice := _twice(name for name, _ in pairs):
        raise _TwiceError(twice)
    return dict(pairs)


_JSON = json.JSONDecoder(object_pairs_hook=_once)


def _no_json(error: Exception) -> Text:
    if isinstance(error, _TwiceError):
        return _stands_twice(error.name)
    return Text(f"is no JSON ({error})", f"不是有效的 JSON（{error}）")


def _json_lines(text: str, _name: str) -> BatchFile:
    items, lines, problems = [], [], []
    for number, line in _counted(each for each in _lines(text) if each[1]):
        try:
            items.append(_JSON.decode(line))
            lines.append(number)
        except (ValueError, RecursionError) as error:
            problems.append(_joined(_line(number), _no_json(error)))
    found = _listed(items, lines, "")
    return replace(found, problems=(*problems, *found.problems))


def _json(text: str, _name: str) -> BatchFile:
    try:
        data = _JSON.decode(text)
    except (ValueError, RecursionError) as error:
        raise _file_error(_no_json(error)) from error
    return batch_of(data, _json_entry_lines(text))


def _json_entry_lines(text: str) -> list[int]:
    """Return the line numbers of the entries of valid JSON: of a list, or of the list of ``tweets``."""
    place: int | None = _skipped(text, 0)
    if text[_skipped(text, 0)] == "{":
        parts = iter(_json_places(text, _skipped(text, 0)))
        place = next(
            (value for key, value in zip(parts, parts, strict=True) if _JSON.raw_decode(text, key)[0] == "tweets"), None
        )
    if place is None or text[place] != "[":
        return []
    lines, line, before = [], 1, 0
    for entry in _json_places(text, place):
        line += text.count("\n", before, entry)
        lines.append(line)
        before = entry
    return lines


def _json_places(text: str, place: int) -> Iterator[int]:
    """Yield where the values of a list begin, or the keys and values of a group, that begins at ``place``."""
    place = _skipped(text, place + 1)
    while text[place] not in "]}":
        yield place
        place = _skipped(text, _JSON.raw_decode(text, place)[1])
        if text[place] in ",:":
            place = _skipped(text, place + 1)


_SPACE = re.compile(r"[ \t\n\r]*")


def _skipped(text: str, place: int) -> int:
    """Return the place behind white space."""
    found = _SPACE.match(text, place)
    return found.end() if found else place


def _yaml(text: str, name: str) -> BatchFile:
    if len(text) > _MAX_YAML:
        most = _MAX_YAML // 2**10
        raise _file_error(
            Text(
                f"{name} is too long for YAML (at most {most} KiB); write it as JSON or CSV",
                f"{name} 超过 YAML 的上限（{most} KiB）；请改用 JSON 或 CSV",
            )
        )
    reader = YamlReader(Path(Path(name).name), as_written=True)
    try:
        root = reader.tree_of(text)
        return batch_of(reader.plain(root), _yaml_entry_lines(root))
    except ModelError as error:
        raise _file_error(error.text) from error


def _yaml_entry_lines(root: yaml.Node) -> list[int]:
    """Return the line numbers of the entries of a list, or of the list of ``tweets``."""
    node: yaml.Node | None = root
    if isinstance(node, yaml.MappingNode):
        node = next((value for key, value in node.value if key.value == "tweets"), None)
    return [item.start_mark.line + 1 for item in node.value] if isinstance(node, yaml.SequenceNode) else []


def _twice(names: Iterable[str]) -> str:
    """Return the first name that occurs more than once; empty where there is none."""
    return next((name for name, count in Counter(names).items() if name and count > 1), "")


def _stands_twice(name: str) -> Text:
    said = shortened(name, _MAX_NAME)
    return Text(f"{said} appears twice; keep one", f"{said} 重复；请只保留一个")


def _joined(where: Text, what: Text) -> Text:
    return Text(f"{where.en}: {what.en}", f"{where.zh}：{what.zh}")


def _line(number: int) -> Text:
    return Text(f"line {number}", f"第 {number} 行")


def _file_error(text: Text) -> RequestError:
    return RequestError("FILE", text)


_READERS: dict[str, Callable[[str, str], BatchFile]] = {
    ".txt": _text,
    ".csv": _csv,
    ".json": _json,
    ".jsonl": _json_lines,
    ".yaml": _yaml,
    ".yml": _yaml,
}
"""Suffix -> a function of the file's text and name."""
