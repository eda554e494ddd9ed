"""Whose settings a file holds, and where in it. Every size is bounded, and nothing but settings is taken out.

Pictures: PNG text chunks; in JPEG and WebP the EXIF comment (A1111, SwarmUI) and the camera's name and model (ComfyUI).
Else JSON (a workflow in either of ComfyUI's forms, or the settings alone), else A1111's text.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from zimage_app.domain.errors import ImportedFileError, StudioError
from zimage_app.domain.plain_json import MOST_VALUES, TooMuchJson, read_json, values_in
from zimage_app.domain.text import Text
from zimage_app.models.regular_file import open_regular
from zimage_app.service.gallery import TEXT_KEY
from zimage_app.service.imports.comfy import read_graph
from zimage_app.service.imports.draft import Imported, shown
from zimage_app.service.imports.infotext import is_infotext, read_infotext
from zimage_app.service.imports.others import read_invoke, read_swarm
from zimage_app.service.imports.ours import read_request, read_studio
from zimage_app.service.picture_files import UnreadablePicture, exif_of, opened_picture

MAX_BYTES = 64 * 2**20
_MAX_TEXT = 8 * 2**20
"""Letters. Workflows of a thousand nodes have one or two million."""
_FORMATS = ("PNG", "JPEG", "WEBP")
_SIGNATURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF")
_EXIF_IFD, _USER_COMMENT = 0x8769, 0x9286
_NAMED_TAGS = (0x010E, 0x010F, 0x0110)
"""Description, make and model: ComfyUI writes ``prompt:{…}`` and ``workflow:{…}`` there."""
_BEGINS = re.compile(r"\s*[\[{]")
"""What JSON begins with that may hold settings."""
_TAKEN = Text(
    "take a picture (PNG, JPEG, WebP) with its settings inside, a ComfyUI workflow (JSON) or A1111's text",
    "请使用带参数的图片（PNG、JPEG、WebP）、ComfyUI 工作流（JSON）或 A1111 参数文本",
)


@dataclass
class _Found:
    """The texts of a file by their name, and a picture's size."""

    texts: dict[str, str] = field(default_factory=dict)
    size: tuple[int, int] | None = None
    _data: dict[str, Any] = field(default_factory=dict)
    _left: int = MOST_VALUES

    def data(self, key: str) -> Any:
        """What the text of that name says as JSON; None where it is none, or all are too much. Each is read once."""
        if key not in self._data:
            text = self.texts.get(key, "")
            self._data[key] = _json(text, self._left)
            self._left -= 0 if self._data[key] is None else values_in(text)
        return self._data[key]


def read_file(path: Path) -> Imported:
    """The settings in a file on disk; raises ImportedFileError as ``read_settings`` does."""
    try:
        if not path.exists():
            raise ImportedFileError(Text(f"There is no file {path}.", f"没有文件 {path}。"))
        with open_regular(path) as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ImportedFileError(
            Text(f"{path.name} cannot be read ({reason}).", f"无法读取 {path.name}（{reason}）。")
        ) from error
    return read_settings(data, path.name)


def read_settings(data: bytes, name: str) -> Imported:
    """The settings in a file's bytes; ``name`` is what the user calls it.

    Raises:
        ImportedFileError: too big, damaged, of another kind, without settings, or with none that mean anything here.
    """
    if len(data) > MAX_BYTES:
        raise _refused(name, Text(f"is bigger than {MAX_BYTES >> 20} MB", f"超过 {MAX_BYTES >> 20} MB"))
    try:
        found = _picture(data, name) if data.startswith(_SIGNATURES) else _Found({"file": _text_of(data, name)})
        return _imported(found, name)
    except RecursionError as error:
        raise _refused(name, Text("is nested too deeply", "嵌套过深")) from error
    except ImportedFileError:
        raise
    except StudioError as error:
        raise ImportedFileError(Text(f"{name}: {error.text.en}", f"{name}：{error.text.zh}")) from error


def _imported(found: _Found, name: str) -> Imported:
    """By whoever wrote it: our own first, then the most exact form."""
    refusals: list[ImportedFileError] = []
    for read in (_studio, _graphs, _swarm, _invoke, _infotext):
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


def _studio(found: _Found) -> Imported | None:
    if TEXT_KEY in found.texts:
        return read_studio(found.texts[TEXT_KEY])
    data = found.data("file")
    if isinstance(data, dict) and "schema_version" in data:
        return read_studio(found.texts["file"])
    a_request = isinstance(data, dict) and isinstance(data.get("prompt"), str)
    return read_request(data) if a_request and {"stages", "seed"} & set(data) and "nodes" not in data else None


def _graphs(found: _Found) -> Imported | None:
    refusal: ImportedFileError | None = None
    for key in ("prompt", "workflow", "file"):
        for graph in _wrapped(found.data(key)):
            try:
                return read_graph(graph, found.size)
            except ImportedFileError as error:
                refusal = refusal or error
    if refusal is not None:
        raise refusal
    return None


def _wrapped(data: object) -> Iterator[dict[str, Any]]:
    """Graphs in plain data: itself, or what an API call or a saved picture's data wraps."""
    if not isinstance(data, dict):
        return
    if isinstance(data.get("nodes"), list) or any(
        isinstance(node, dict) and "class_type" in node for node in data.values()
    ):
        yield data
        return
    extra = data.get("extra_data")
    pnginfo = extra.get("extra_pnginfo") if isinstance(extra, dict) else None
    for inner in (data.get("prompt"), data.get("workflow"), pnginfo):
        yield from _wrapped(_json(inner) if isinstance(inner, str) else inner)


def _swarm(found: _Found) -> Imported | None:
    for key in found.texts:
        data = found.data(key)
        given = data.get("sui_image_params") if isinstance(data, dict) else None
        if isinstance(given, dict):
            return read_swarm(given)
    return None


def _invoke(found: _Found) -> Imported | None:
    for key in ("invokeai_metadata", "file"):
        data = found.data(key)
        if isinstance(data, dict) and (key == "invokeai_metadata" or "positive_prompt" in data):
            return read_invoke(data)
    return None


def _infotext(found: _Found) -> Imported | None:
    text = next((text for text in found.texts.values() if is_infotext(text)), None)
    return None if text is None else read_infotext(text)


def _unknown(found: _Found, name: str) -> ImportedFileError:
    if "file" in found.texts:
        return _refused(
            name,
            Text(f"holds no settings in a form that is known; {_TAKEN.en}", f"不含任何已知格式的参数；{_TAKEN.zh}"),
        )
    software = next((found.texts[key] for key in ("Software", "software", "generator") if key in found.texts), "")
    if software:
        return _refused(
            name,
            Text(
                f"was made by {shown(software)}, whose settings cannot be read",
                f"由 {shown(software)} 生成，其参数无法读取",
            ),
        )
    return _refused(
        name,
        Text(
            "holds no settings; chat apps and picture hosts often remove them, so take the original file",
            "不含参数；聊天软件和图床常会删除参数，请使用原始文件",
        ),
    )


# The file itself.


def _picture(data: bytes, name: str) -> _Found:
    try:
        with opened_picture(io.BytesIO(data), _FORMATS) as image:
            texts = {key: value for key, value in image.info.items() if isinstance(key, str) and isinstance(value, str)}
            texts |= dict(_exif_texts(exif_of(image)))
            size = image.size
    except UnreadablePicture as error:
        reason = shown(error)
        raise _refused(
            name,
            Text(f"is damaged or no picture that can be read ({reason})", f"已损坏或不是可读取的图片（{reason}）"),
        ) from error
    return _Found({key: text for key, text in texts.items() if len(text) <= _MAX_TEXT}, size)


def _exif_texts(exif: Image.Exif) -> Iterator[tuple[str, str]]:
    for tag in _NAMED_TAGS:
        value = exif.get(tag)
        key, colon, text = value.partition(":") if isinstance(value, str) else ("", "", "")
        if colon and key.lower() in ("prompt", "workflow"):
            yield key.lower(), text
    comment = exif.get_ifd(_EXIF_IFD).get(_USER_COMMENT)
    if isinstance(comment, bytes):
        yield "parameters", _comment(comment)
    elif isinstance(comment, str):
        yield "parameters", comment


def _comment(data: bytes) -> str:
    """EXIF's UserComment: eight bytes say how it is written; for UNICODE not in which order of bytes."""
    code, text = data[:8], data[8:]
    if not code.startswith(b"UNICODE"):
        return (text if code.startswith((b"ASCII", b"\0")) else data).decode("utf-8", "replace").strip("\0")
    # Letters below 256, which every infotext and JSON is full of, have their zero byte first in big endian.
    big = text[0::2].count(0) >= text[1::2].count(0)
    return text.decode("utf-16-be" if big else "utf-16-le", "replace").strip("\0")


def _text_of(data: bytes, name: str) -> str:
    if len(data) > _MAX_TEXT:
        raise _refused(
            name, Text(f"is no picture, and bigger than {_MAX_TEXT >> 20} MB", f"不是图片，且超过 {_MAX_TEXT >> 20} MB")
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _refused(name, Text(f"is of another kind; {_TAKEN.en}", f"不是可用的类型；{_TAKEN.zh}")) from error


def _json(text: str, most: int = MOST_VALUES) -> Any:
    """What JSON says that is a list or a mapping; None where it is none.

    Raises:
        ImportedFileError: it has too many values.
        RecursionError: it is nested too deeply.
    """
    if _BEGINS.match(text) is None:
        return None
    try:
        return read_json(text, most)
    except TooMuchJson as error:
        raise ImportedFileError(
            Text(
                f"This holds more than {MOST_VALUES} values and is not read; save the part that makes the picture.",
                f"其中的数据超过 {MOST_VALUES} 项，不予读取；请只保存生成图片的部分。",
            )
        ) from error
    except ValueError:
        return None


def _refused(name: str, reason: Text) -> ImportedFileError:
    return ImportedFileError(Text(f"{shown(name)} {reason.en}.", f"{shown(name)} {reason.zh}。"))
