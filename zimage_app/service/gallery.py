"""Pictures on disk: saved whole or not at all, with their settings inside. The files are all that is kept."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path

from PIL import Image, PngImagePlugin, UnidentifiedImageError

from zimage_app.domain.errors import StorageError
from zimage_app.domain.events import Picture
from zimage_app.domain.record import ImageRecord
from zimage_app.domain.text import Text
from zimage_app.service.files import write_whole
from zimage_app.service.views import SavedPicture

TEXT_KEY = "zimage_studio"
"""PNG text chunk that holds the record; ``parameters`` beside it is the A1111 form."""
_ID = re.compile(r"(\d{4})(\d{2})(\d{2})-\d{6}-[0-9a-f]{8}")


class Gallery:
    """The folder ``outputs/``: one sub-folder a day."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def save(self, picture: Picture, record: ImageRecord) -> SavedPicture:
        """Write a picture; afterwards it is on disk whole, or nothing is.

        Raises:
            StorageError: names the folder and the system's reason (full disk, no permission, …).
        """
        path = self._path(record.id)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, _png(Image.fromarray(picture), _chunks(record)))
        except OSError as error:
            reason = error.strerror or str(error)
            raise StorageError(
                Text(
                    f"The picture could not be saved in {path.parent}: {reason}. Free some space, or choose another"
                    " folder with --outputs; its seed and settings make it again.",
                    f"图片无法保存到 {path.parent}：{reason}。请清理磁盘或用 --outputs 换一个目录；"
                    "用相同的种子和参数可以重新生成。",
                )
            ) from error
        return SavedPicture(path, record)

    def find(self, picture_id: str) -> SavedPicture | None:
        """The picture of that id, or None where there is none. An id is never taken for a path."""
        if _ID.fullmatch(picture_id) is None:
            return None
        path = self._path(picture_id)
        return SavedPicture(path, read_record(path)) if path.is_file() else None

    def of_day(self, day: date) -> Iterator[SavedPicture]:
        """That day's pictures, newest first. Files of others in the folder are passed over."""
        folder = self._folder / day.isoformat()
        paths = (path for path in folder.glob("*.png") if _ID.fullmatch(path.stem)) if folder.is_dir() else ()
        for path in sorted(paths, key=lambda path: path.name, reverse=True):
            try:
                yield SavedPicture(path, read_record(path))
            except StorageError:
                continue

    def _path(self, picture_id: str) -> Path:
        year, month, day = picture_id[:4], picture_id[4:6], picture_id[6:8]
        return self._folder / f"{year}-{month}-{day}" / f"{picture_id}.png"


def read_record(path: Path) -> ImageRecord:
    """The settings inside a picture; raises StorageError where it holds none that can be read."""
    try:
        with Image.open(path, formats=["PNG"]) as image:
            text = image.info.get(TEXT_KEY)
    except (OSError, UnidentifiedImageError, ValueError, SyntaxError) as error:
        raise StorageError(
            Text(f"{path.name} is not a readable PNG picture.", f"{path.name} 不是可读取的 PNG 图片。")
        ) from error
    if not isinstance(text, str):
        raise StorageError(Text(f"{path.name} holds no settings of this app.", f"{path.name} 里没有本程序写入的参数。"))
    return ImageRecord.from_json(text)


def _chunks(record: ImageRecord) -> PngImagePlugin.PngInfo:
    chunks = PngImagePlugin.PngInfo()
    chunks.add_itxt("parameters", record.parameters_text)
    chunks.add_itxt(TEXT_KEY, record.to_json())
    return chunks


def _png(image: Image.Image, chunks: PngImagePlugin.PngInfo) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", pnginfo=chunks, compress_level=4)
    return buffer.getvalue()
