"""Saves pictures atomically as PNG files with their settings inside, and reads them. The files are the only storage."""

from __future__ import annotations

import glob
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, PngImagePlugin

from zimage_app.domain.errors import StorageError, system_reason
from zimage_app.domain.events import Picture
from zimage_app.domain.record import ImageRecord
from zimage_app.domain.text import Text
from zimage_app.service.pictures.picture_files import UnreadablePicture, opened_picture
from zimage_app.service.pictures.views import SavedPicture
from zimage_app.service.rules.permissions import owner_mark
from zimage_app.service.storage.atomic_files import write_whole

TEXT_KEY = "zimage_studio"
"""PNG text chunk that holds the record; ``parameters`` beside it is the A1111 form."""
OWNER_KEY = "zimage_studio_owner"
"""PNG text chunk with the ``owner_mark`` of the visitor of a shared page who requested the picture."""
_ID = re.compile(r"\d{8}-\d{6}-[0-9a-f]{8}")
_STAGE = re.compile(r"\.stage(\d+)\.png$")


@dataclass(frozen=True, slots=True)
class PictureMetadata:
    """The metadata in a picture's file."""

    record: ImageRecord
    owner: str
    """The owner's mark; empty if there is none."""


def is_id(text: str) -> bool:
    """Whether a string has the form of a picture's id, which excludes paths."""
    return _ID.fullmatch(text) is not None


def is_stage(name: str) -> bool:
    """Whether a file name is that of a saved stage picture."""
    return _STAGE.search(name) is not None


def stage_files(picture: Path) -> list[tuple[int, Path]]:
    """Return (stage number from 1, path) of the stage pictures saved beside a picture, first stage first."""
    beside = picture.parent.glob(f"{glob.escape(picture.stem)}.stage*.png")
    return sorted((int(found[1]), path) for path in beside if (found := _STAGE.search(path.name)))


class Gallery:
    """The folder ``outputs/``, with one subfolder per day."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def save(self, picture: Picture, record: ImageRecord, owner: str = "") -> SavedPicture:
        """Write a picture atomically; ``owner`` is who requested it on a shared page.

        Raises:
            StorageError: the file can't be written; the message names the folder and the system's reason.
        """
        return self.write(self.encoded(picture, record, owner_mark(owner)), record)

    def encoded(self, picture: Picture, record: ImageRecord, mark: str = "") -> bytes:
        """Encode the PNG with its settings inside; ``mark`` is the owner's mark on a shared page."""
        return _png(Image.fromarray(picture), _chunks(record, mark))

    def write(self, png: bytes, record: ImageRecord) -> SavedPicture:
        """Write the result of ``encoded`` atomically; raises StorageError as ``save`` does."""
        path = self.path_of(record.id)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, png)
        except OSError as error:
            reason = system_reason(error)
            raise StorageError(
                Text(
                    f"The picture could not be saved in {path.parent}: {reason}. Free some space, or choose another"
                    f" folder with --outputs; its settings and the seed {record.request.seed} make it again.",
                    f"图片无法保存到 {path.parent}：{reason}。请清理磁盘或用 --outputs 换一个目录；"
                    f"用相同的参数和种子 {record.request.seed} 可以重新生成。",
                )
            ) from error
        return SavedPicture(path, record)

    def save_stages(self, picture_id: str, stages: Mapping[int, Picture]) -> None:
        """Write stage pictures, by stage number from 1, into the folder of the result, which may not exist yet.

        Raises:
            StorageError: a file can't be written; the message names the folder and the system's reason.
        """
        result = self.path_of(picture_id)
        try:
            result.parent.mkdir(parents=True, exist_ok=True)
            for number, picture in stages.items():
                path = result.with_name(f"{result.stem}.stage{number}.png")
                write_whole(path, _png(Image.fromarray(picture), PngImagePlugin.PngInfo()))
        except OSError as error:
            reason = system_reason(error)
            raise StorageError(
                Text(
                    f"The stage pictures could not be saved in {result.parent}: {reason}.",
                    f"各阶段图片无法保存到 {result.parent}：{reason}。",
                )
            ) from error

    def find(self, picture_id: str) -> SavedPicture | None:
        """Return the picture with that id, or None. Strings that aren't ids, such as paths, give None."""
        if not is_id(picture_id):
            return None
        path = self.path_of(picture_id)
        return SavedPicture(path, read_record(path)) if path.is_file() else None

    def path_of(self, picture_id: str) -> Path:
        """Return the path that a picture with that id is saved at."""
        year, month, day = picture_id[:4], picture_id[4:6], picture_id[6:8]
        return self._folder / f"{year}-{month}-{day}" / f"{picture_id}.png"


def read_record(path: Path) -> ImageRecord:
    """Read the settings inside a picture; raises StorageError if it has none or they are invalid."""
    return read_metadata(path).record


def read_metadata(path: Path) -> PictureMetadata:
    """Read a picture's metadata without decoding pixels.

    Raises:
        StorageError: the file isn't a PNG, or holds no valid settings of this app.
    """
    try:
        with opened_picture(path, ["PNG"]) as image:
            text, owner = image.info.get(TEXT_KEY), image.info.get(OWNER_KEY)
    except UnreadablePicture as error:
        raise StorageError(
            Text(f"{path.name} is not a readable PNG picture.", f"{path.name} 不是可读取的 PNG 图片。")
        ) from error
    if not isinstance(text, str):
        raise StorageError(Text(f"{path.name} holds no settings of this app.", f"{path.name} 里没有本程序写入的参数。"))
    return PictureMetadata(ImageRecord.from_json(text), owner if isinstance(owner, str) else "")


def _chunks(record: ImageRecord, mark: str) -> PngImagePlugin.PngInfo:
    chunks = PngImagePlugin.PngInfo()
    chunks.add_itxt("parameters", record.parameters_text)
    chunks.add_itxt(TEXT_KEY, record.to_json())
    if mark:
        chunks.add_itxt(OWNER_KEY, mark)
    return chunks


def _png(image: Image.Image, chunks: PngImagePlugin.PngInfo) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", pnginfo=chunks, compress_level=4)
    return buffer.getvalue()
