"""Decodes texts of other tools: text files in several encodings, and text chunks, EXIF and XMP of pictures."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

from PIL import Image, PngImagePlugin

from zimage_app.service.pictures.picture_files import exif_of

_EXIF_IFD, _USER_COMMENT = 0x8769, 0x9286
_DESCRIPTION, _MAKE, _MODEL, _SOFTWARE, _XP_COMMENT = 0x010E, 0x010F, 0x0110, 0x0131, 0x9C9C
_BOMS = ((b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
_XMP_ITEM = re.compile(r"<rdf:li[^>]{0,100}>")
_MAX_XMP = 2**20
"""Characters of XMP in which the comment has to begin."""
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")


def decoded(data: bytes) -> tuple[str, bool] | None:
    """Decode a text file; return (text, whether the encoding was guessed), or None if it isn't text."""
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            return _as(data, encoding, guessed=True)
    if data[:400].count(0) > 3:  # probably UTF-16 without a byte order mark
        big = data[0:400:2].count(0) >= data[1:400:2].count(0)
        return _as(data, "utf-16-be" if big else "utf-16-le", guessed=True)
    return _as(data, "utf-8-sig", guessed=False) or _as(data, "gb18030", guessed=True)


def _as(data: bytes, encoding: str, *, guessed: bool) -> tuple[str, bool] | None:
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        return None
    return None if guessed and _UNPRINTABLE.search(text) else (text, guessed)


def picture_texts(image: Image.Image) -> Iterator[tuple[str, str]]:
    """Yield (name, text) of all texts in a picture."""
    for key, value in image.info.items():
        if not isinstance(key, str):
            continue
        if isinstance(value, PngImagePlugin.iTXt):
            yield key, str(value).strip("\0")
        elif isinstance(value, str):
            yield key, _mended(value).strip("\0")
        elif isinstance(value, bytes) and key == "comment":  # JPEG and GIF comments
            yield key, value.decode("utf-8", "replace").strip("\0")
    yield from _exif_texts(exif_of(image))
    xmp = image.info.get("XML:com.adobe.xmp") or image.info.get("xmp")
    text = xmp.decode("utf-8", "replace") if isinstance(xmp, bytes) else xmp
    if isinstance(text, str) and (comment := _xmp_comment(text)):
        yield "xmp comment", html.unescape(comment)


def _xmp_comment(xmp: str) -> str:
    """Return the first user comment, or an empty text.

    Each part is looked for once. A pattern of the whole would look for the end again from every tag, for hours.
    """
    start = xmp.find("<exif:UserComment>", 0, _MAX_XMP)
    item = _XMP_ITEM.search(xmp, start, start + 500) if start >= 0 else None
    end = xmp.find("</rdf:li>", item.end(), item.end() + 200_000) if item else -1
    return xmp[item.end() : end] if item and end >= 0 else ""


def _mended(text: str) -> str:
    """Fix a text decoded as Latin-1, as PNG's tEXt specifies, although the program wrote UTF-8."""
    if text.isascii():
        return text
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return text


def _exif_texts(exif: Image.Exif) -> Iterator[tuple[str, str]]:
    for tag in (_DESCRIPTION, _MAKE, _MODEL):
        value = exif.get(tag)
        text = _mended(value).strip("\0") if isinstance(value, str) else ""
        key, colon, named = text.partition(":")
        if colon and key.lower() in ("prompt", "workflow"):
            yield key.lower(), named
        elif tag == _DESCRIPTION and text:
            yield "description", text
    if isinstance(software := exif.get(_SOFTWARE), str):
        yield "Software", software.strip("\0")
    if isinstance(comment := exif.get(_XP_COMMENT), bytes):
        yield "xp comment", comment.decode("utf-16-le", "replace").strip("\0")
    comment = exif.get_ifd(_EXIF_IFD).get(_USER_COMMENT)
    if isinstance(comment, bytes):
        yield "parameters", _comment(comment)
    elif isinstance(comment, str):
        yield "parameters", comment


def _comment(data: bytes) -> str:
    """Decode EXIF's UserComment: eight bytes name the encoding; for UNICODE they don't tell the byte order."""
    code, text = data[:8], data[8:]
    if not code.startswith(b"UNICODE"):
        return (text if code.startswith((b"ASCII", b"\0")) else data).decode("utf-8", "replace").strip("\0")
    # ASCII characters, of which infotexts and JSON mostly consist, have their zero byte first in big endian.
    big = text[0::2].count(0) >= text[1::2].count(0)
    return text.decode("utf-16-be" if big else "utf-16-le", "replace").strip("\0")
