"""Draws a grid's pictures on labelled PNG sheets, and writes an HTML page that links the full-size cells."""

from __future__ import annotations

import html
import itertools
from collections.abc import Mapping
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from zimage_app.domain.errors import StorageError, system_reason
from zimage_app.domain.text import Text
from zimage_app.service.many.grids.axes import Labels
from zimage_app.service.pictures.history.pixels import read_pixels
from zimage_app.service.storage.atomic_files import write_whole

_FONTS = (
    ("NotoSansCJK-Regular.ttc", 2),
    ("NotoSansCJKsc-Regular.otf", 0),
    ("NotoSerifCJK-Regular.ttc", 2),
    ("/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc", 2),
    ("/usr/share/fonts/opentype/noto/NotoSerifCJK-Regular.ttc", 2),
    ("wqy-microhei.ttc", 0),
    ("PingFang.ttc", 0),
    ("/System/Library/Fonts/PingFang.ttc", 0),
    ("msyh.ttc", 0),
)
"""(font file with Chinese characters, index of its Simplified Chinese face), as installed on common systems."""
_MAX_CELL = 512
"""Maximum pixels of a cell's longer side on the sheet."""
_GAP = 8
_INK, _PAPER, _NOTHING = (24, 24, 24), (255, 255, 255), (232, 232, 232)

Pictures = Mapping[tuple[int, int, int], Path]
"""(column, row, sheet) -> picture file."""


def write_sheets(folder: Path, pictures: Pictures, labels: Labels) -> tuple[list[Path], Text | None]:
    """Write ``sheet-1.png`` … and ``index.html`` into a folder; return their paths, and a note if a font is missing.

    A cell without a picture is grey, and a sheet without any picture is left out.

    Raises:
        StorageError: a picture can't be read, or a file can't be written.
    """
    font, note = _font(" ".join(text for each in labels for text in each))
    paths = []
    try:
        for number in range(len(labels[2])):
            cells = {place[:2]: _small(path) for place, path in pictures.items() if place[2] == number}
            if not cells:
                continue
            path = folder / f"sheet-{number + 1}.png"
            _sheet(cells, labels, number, font).save(path)
            paths.append(path)
        write_whole(folder / "index.html", _page(folder, pictures, labels).encode())
    except OSError as error:
        reason = system_reason(error)
        raise StorageError(
            Text(f"The sheet can't be written to {folder} ({reason}).", f"无法将拼图写入 {folder}（{reason}）。")
        ) from error
    return [*paths, folder / "index.html"], note


def _small(path: Path) -> Image.Image:
    """Read a picture, shrunk to the sheet's cell size; never enlarged."""
    image = Image.fromarray(read_pixels(path))
    image.thumbnail((_MAX_CELL, _MAX_CELL), Image.Resampling.LANCZOS)
    return image


def _sheet(
    cells: Mapping[tuple[int, int], Image.Image], labels: Labels, number: int, font: ImageFont.FreeTypeFont
) -> Image.Image:
    across, down, deep = labels
    width = max(cell.width for cell in cells.values())
    height = max(cell.height for cell in cells.values())
    line = round(font.size * 1.6)
    rows = [_folded(label, font, width * 2 // 3) for label in down]
    left = max(int(font.getlength(part)) for row in rows for part in row) + 2 * _GAP if any(down) else _GAP
    columns = [_folded(label, font, width) for label in across]
    title = [deep[number]] if deep[number] else []
    top = line * (len(title) + max(map(len, columns))) + 2 * _GAP
    size = left + len(across) * (width + _GAP), top + len(down) * (height + _GAP)
    sheet = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(sheet)
    for place, text in enumerate(title):
        draw.text((_GAP, _GAP + place * line), text, _INK, font)
    for i, words in enumerate(columns):
        for place, text in enumerate(words):
            draw.text((left + i * (width + _GAP), _GAP + line * (len(title) + place)), text, _INK, font)
    for j, words in enumerate(rows):
        for place, text in enumerate(words):
            draw.text((_GAP, top + j * (height + _GAP) + place * line), text, _INK, font)
    for i, j in itertools.product(range(len(across)), range(len(down))):
        cell = cells.get((i, j)) or Image.new("RGB", (width, height), _NOTHING)
        sheet.paste(cell, (left + i * (width + _GAP), top + j * (height + _GAP)))
    return sheet


def _folded(text: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """Wrap a text to lines of up to ``width`` pixels, at spaces if possible, otherwise between characters.

    A value isn't separated from its equals sign if both fit into a line.
    """
    lines = [""]
    for letter in text.replace(" = ", " =\u00a0"):
        if lines[-1] and font.getlength(lines[-1] + letter) > width:
            head, space, tail = lines[-1].rpartition(" ")
            lines[-1:] = [head, tail] if space else [lines[-1], ""]
        lines[-1] += letter
    return [line.strip() for line in lines]


def _font(text: str) -> tuple[ImageFont.FreeTypeFont, Text | None]:
    """Return a font for the text, and a note if no font with Chinese characters was found but is needed."""
    size = 22
    for name, face in _FONTS:
        try:
            return ImageFont.truetype(name, size, face), None
        except OSError:
            continue
    plain = ImageFont.load_default(size)
    assert isinstance(plain, ImageFont.FreeTypeFont)
    if text.isascii():
        return plain, None
    return plain, Text(
        "No font with Chinese letters was found for the sheet; index.html has the labels right.",
        "未找到中文字体，拼图上的标签可能显示不全；index.html 中的标签完整。",
    )


def _page(folder: Path, pictures: Pictures, labels: Labels) -> str:
    across, down, deep = labels
    tables = []
    for k, title in enumerate(deep):
        head = "".join(f"<th>{html.escape(label)}</th>" for label in ("", *across))
        rows = []
        for j, label in enumerate(down):
            row = "".join(_cell(folder, pictures.get((i, j, k))) for i in range(len(across)))
            rows.append(f"<tr><th>{html.escape(label)}</th>{row}</tr>")
        tables.append(f"<h2>{html.escape(title)}</h2><table><tr>{head}</tr>{''.join(rows)}</table>")
    style = "body{font-family:sans-serif}img{max-width:320px;display:block}th{text-align:left;vertical-align:top}"
    return f'<!doctype html><meta charset="utf-8"><title>Grid</title><style>{style}</style>{"".join(tables)}\n'


def _cell(folder: Path, path: Path | None) -> str:
    if path is None:
        return "<td></td>"
    name = html.escape(path.relative_to(folder).as_posix(), quote=True)
    return f'<td><a href="{name}"><img src="{name}" alt="" loading="lazy"></a></td>'
