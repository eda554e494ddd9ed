"""Finds the settings in a file and recognises the program that wrote them. All sizes are limited.

Pictures: PNG text chunks; in JPEG and WebP the EXIF comment (A1111, SwarmUI) and camera make and model (ComfyUI).
Other files: JSON (a ComfyUI workflow in either form, possibly wrapped, or settings), or A1111's text.
"""

from __future__ import annotations

import io
import logging
import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zimage_app.domain.errors import ImportedFileError, StudioError, system_reason
from zimage_app.domain.plain_json import MAX_VALUES, TooMuchJson, read_json, values_in
from zimage_app.domain.text import Text
from zimage_app.models.disk.regular_file import open_regular
from zimage_app.service.imports.comfy import read_graph
from zimage_app.service.imports.draft import Imported, import_error, shown
from zimage_app.service.imports.encodings import decoded, picture_texts
from zimage_app.service.imports.infotext import is_infotext
from zimage_app.service.imports.ours import is_import, read_import, read_request, read_studio
from zimage_app.service.imports.programs import program_of, read_program
from zimage_app.service.imports.swarm import read_swarm
from zimage_app.service.imports.webui import read_infotext
from zimage_app.service.pictures.gallery import TEXT_KEY
from zimage_app.service.pictures.picture_files import UnreadablePicture, opened_picture

log = logging.getLogger(__name__)

MAX_BYTES = 64 * 2**20
_MAX_TEXT = 8 * 2**20
"""Maximum characters of a text; workflows of a thousand nodes have one or two million."""
_FORMATS = ("PNG", "JPEG", "WEBP")
_SIGNATURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF")
_SOFTWARE = ("Software", "software", "generator")
_SETTINGS = ("prompt", "param", "setting", "workflow", "generation", "metadata", "dream", "seed", "comment")
_MAX_WRAPPINGS = 500
"""Maximum number of nested values that are searched for a graph."""
_BEGINS = re.compile(r"\s*[\[{]")
"""Start of a JSON list or object."""
_TAKEN = Text(
    "take a picture (PNG, JPEG, WebP) with its settings inside, a ComfyUI workflow (JSON) or A1111's text",
    "请使用带参数的图片（PNG、JPEG、WebP）、ComfyUI 工作流（JSON）或 A1111 参数文本",
)


@dataclass
class _FileTexts:
    """The texts of a file by name, and the size of a picture."""

    texts: dict[str, str] = field(default_factory=dict)
    size: tuple[int, int] | None = None
    guessed: bool = False
    """Whether the text's encoding was guessed."""
    _data: dict[str, Any] = field(default_factory=dict)
    _left: int = MAX_VALUES

    def data(self, key: str) -> Any:
        """Return a text's JSON list or object, cached; None if it isn't one.

        Raises ImportedFileError if all texts together have too many values.
        """
        if key not in self._data:
            text = self.texts.get(key, "")
            self._data[key] = _json(text, self._left)
            self._left -= 0 if self._data[key] is None else values_in(text)
        return self._data[key]


def read_file(path: Path) -> Imported:
    """Read the settings in a file on disk; raises ImportedFileError as ``read_settings`` does."""
    try:
        if not path.exists():
            raise import_error(f"There is no file {path}.", f"没有文件 {path}。")
        with open_regular(path) as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        reason = system_reason(error)
        raise import_error(f"{path.name} cannot be read ({reason}).", f"无法读取 {path.name}（{reason}）。") from error
    return read_settings(data, path.name)


def read_settings(data: bytes, name: str) -> Imported:
    """Read the settings in a file's bytes; ``name`` is its file name, for messages.

    Raises:
        ImportedFileError: the file is too large, damaged or of an unknown kind, or has no usable settings.
    """
    if not data:
        raise _refused(name, "is empty; take another file", "是空文件；请换一个文件")
    if len(data) > MAX_BYTES:
        raise _refused(name, f"is bigger than {MAX_BYTES >> 20} MB", f"超过 {MAX_BYTES >> 20} MB")
    try:
        found = _picture(data, name) if data.startswith(_SIGNATURES) else _text_file(data, name)
        return _imported(found, name)
    except RecursionError as error:
        raise _refused(name, "is nested too deeply", "嵌套过深") from error
    except MemoryError as error:
        raise _refused(name, "takes too much memory to read", "读取所需的内存过多") from error
    except (ArithmeticError, ValueError) as error:
        log.info("%s cannot be imported", name, exc_info=True)
        raise _refused(
            name, "holds a value that can't be read, such as an infinite number", "含有无法读取的数值，例如无穷大"
        ) from error
    except ImportedFileError:
        raise
    except StudioError as error:
        raise import_error(f"{name}: {error.text.en}", f"{name}：{error.text.zh}") from error


def _imported(found: _FileTexts, name: str) -> Imported:
    """Try all formats: this app's own first, then from the most to the least precise."""
    refusals: list[ImportedFileError] = []
    for read in (_studio, _graphs, _swarm, _flat, _infotext):
        try:
            result = read(found)
        except ImportedFileError as error:
            refusals.append(error)
            continue
        if result is not None:
            return result
    if refusals:
        raise refusals[0]
    raise _unknown(found, name)


def _studio(found: _FileTexts) -> Imported | None:
    if TEXT_KEY in found.texts:
        return read_studio(found.texts[TEXT_KEY])
    data = found.data("file")
    if isinstance(data, dict) and "schema_version" in data:
        return read_studio(found.texts["file"])
    if isinstance(data, dict) and is_import(data):
        return read_import(data)
    a_request = isinstance(data, dict) and isinstance(data.get("prompt"), str) and program_of(data) is None
    return read_request(data) if a_request and {"stages", "seed"} & set(data) and "nodes" not in data else None


def _graphs(found: _FileTexts) -> Imported | None:
    refusal: ImportedFileError | None = None
    for key in sorted(found.texts, key=lambda key: key != "prompt"):
        for graph in _wrapped(found.data(key)):
            try:
                return read_graph(graph, found.size)
            except ImportedFileError as error:
                refusal = refusal or error
    if refusal is not None:
        raise refusal
    return None


def _wrapped(data: object) -> Iterator[dict[str, Any]]:
    """Yield graphs in plain data or nested in it (jobs, API calls, saved pictures), those under ``prompt`` first."""
    waiting = deque([data])
    for _ in range(_MAX_WRAPPINGS):
        if not waiting:
            return
        at = waiting.popleft()
        if isinstance(at, str):
            at = _json(at)
        if isinstance(at, list):
            waiting += at[:_MAX_WRAPPINGS]
        if not isinstance(at, dict):
            continue
        if isinstance(at.get("nodes"), list) or any(
            isinstance(node, dict) and "class_type" in node for node in at.values()
        ):
            yield at
        else:
            waiting += [at[key] for key in sorted(at, key=lambda key: key != "prompt")]


def _swarm(found: _FileTexts) -> Imported | None:
    for key in found.texts:
        data = found.data(key)
        given = data.get("sui_image_params") if isinstance(data, dict) else None
        if isinstance(given, dict):
            return read_swarm(given)
    return None


def _flat(found: _FileTexts) -> Imported | None:
    for data in (*(found.data(key) for key in found.texts), found.texts):
        if isinstance(data, dict) and (program := program_of(data)):
            return read_program(program, data)
    return None


def _infotext(found: _FileTexts) -> Imported | None:
    text = next((text for text in found.texts.values() if is_infotext(text)), None)
    return None if text is None else read_infotext(text)


def _unknown(found: _FileTexts, name: str) -> ImportedFileError:
    if found.guessed:
        return _refused(name, f"is of another kind; {_TAKEN.en}", f"不是可用的类型；{_TAKEN.zh}")
    if "file" in found.texts:
        return _refused(
            name, f"holds no settings in a form that is known; {_TAKEN.en}", f"不含任何已知格式的参数；{_TAKEN.zh}"
        )
    software = next((found.texts[key] for key in _SOFTWARE if key in found.texts), "")
    if software:
        return _refused(
            name,
            f"was made by {shown(software)}, whose settings cannot be read",
            f"由 {shown(software)} 生成，其参数无法读取",
        )
    if keys := ", ".join(key for key, text in found.texts.items() if _may_hold_settings(key, text)):
        return _refused(
            name,
            f"holds the data of another program ({shown(keys)}), in a form that is not known here",
            f"含有其他程序的数据（{shown(keys)}），其格式无法识别",
        )
    return _refused(
        name,
        "holds no settings; chat apps and picture hosts often remove them, so take the original file",
        "不含参数；聊天软件和图床常会删除参数，请使用原始文件",
    )


def _may_hold_settings(key: str, text: str) -> bool:
    """Whether a picture's text may hold settings: by its name, or because it looks like JSON."""
    return _BEGINS.match(text) is not None or any(word in key.lower() for word in _SETTINGS)


# Opening the file.


def _picture(data: bytes, name: str) -> _FileTexts:
    try:
        with opened_picture(io.BytesIO(data), _FORMATS) as image:
            texts: dict[str, str] = {}
            for key, text in picture_texts(image):
                # A PNG's own chunks come first. A caption in EXIF may have the name of one, but not take its place.
                texts.setdefault(key if key not in texts else f"exif {key}", text)
            size = image.size
    except UnreadablePicture as error:
        reason = shown(error)
        raise _refused(
            name, f"is damaged or no picture that can be read ({reason})", f"已损坏或不是可读取的图片（{reason}）"
        ) from error
    return _FileTexts({key: text for key, text in texts.items() if len(text) <= _MAX_TEXT}, size)


def _text_file(data: bytes, name: str) -> _FileTexts:
    if len(data) > _MAX_TEXT:
        raise _refused(
            name, f"is no picture, and bigger than {_MAX_TEXT >> 20} MB", f"不是图片，且超过 {_MAX_TEXT >> 20} MB"
        )
    found = decoded(data)
    if found is None:
        raise _refused(name, f"is of another kind; {_TAKEN.en}", f"不是可用的类型；{_TAKEN.zh}")
    return _FileTexts({"file": found[0]}, guessed=found[1])


def _json(text: str, max_values: int = MAX_VALUES) -> Any:
    """Parse a JSON list or object; None if the text isn't one.

    Raises:
        ImportedFileError: the JSON has too many values.
        RecursionError: the JSON is nested too deeply.
    """
    if _BEGINS.match(text) is None:
        return None
    try:
        return read_json(text, max_values)
    except TooMuchJson as error:
        raise import_error(
            f"This holds more than {MAX_VALUES} values and is not read; save the part that makes the picture.",
            f"其中的数据超过 {MAX_VALUES} 项，不予读取；请只保存生成图片的部分。",
        ) from error
    except ValueError:
        return None


def _refused(name: str, en: str, zh: str) -> ImportedFileError:
    return ImportedFileError(Text(f"{shown(name)} {en}.", f"{shown(name)} {zh}。"))
