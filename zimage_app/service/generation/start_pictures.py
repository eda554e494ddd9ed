"""Pictures that users hand in to start from: judged by their head, kept by what is in them, within bounds.

Knows nothing of stages. A file is kept as it came, under the SHA-256 of its bytes, so that what started from it can be
made again for as long as there is room.
"""

from __future__ import annotations

import hashlib
import re
import threading
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from zimage_app.domain.errors import ImportedFileError, RequestError, StorageError, system_reason
from zimage_app.domain.events import Picture
from zimage_app.domain.request import StartPicture
from zimage_app.domain.start_image import StartImage
from zimage_app.domain.text import Text
from zimage_app.models.disk.regular_file import open_regular, read_regular
from zimage_app.service.generation.masks import grey_mask, start_image
from zimage_app.service.library.upscalers import UpscalerLibrary
from zimage_app.service.pictures.decoding import MAX_PIXELS, Decoded, TooManyPixels, UnreadablePicture, Wanted, decode
from zimage_app.service.rules.permissions import owner_mark
from zimage_app.service.setup.config import StudioConfig
from zimage_app.service.storage.atomic_files import write_whole

FOLDER = ".inputs"
"""Below the pictures that are made."""
MAX_BYTES = 32 * 2**20
MAX_KEPT = 512 * 2**20
"""Bytes of all files together; then those go that were not used for longest."""
MAX_OWNERS = 200
"""Strangers who may use the same picture; more have no need of it, but could fill a disk with their marks."""
MEDIA_TYPES = ("image/png", "image/jpeg", "image/webp")
_STARTS = {b"\x89PNG": "image/png", b"\xff\xd8": "image/jpeg"}
"""First bytes of the formats; what was kept and has neither is WebP."""
_DIGEST = re.compile("[0-9a-f]{64}")
_SMALL = "-small.jpg"
"""What the thumbnail's name ends with, beside the picture; it is made once, when that is handed in."""
_THUMBNAIL = Wanted((320, 320), "inside")
_WHOLE = Wanted((MAX_PIXELS, MAX_PIXELS), "inside", packed=False)
_MASK = replace(_WHOLE, mask=True)
_MAX_THUMBNAIL = 2**20
"""Bytes."""
_TAKEN = Text("take a PNG, JPEG or WebP picture", "请使用 PNG、JPEG 或 WebP 图片")

_TOO_MANY = Text(f"has more than {MAX_PIXELS // 1_000_000} million pixels", f"超过 {MAX_PIXELS // 10_000} 万像素")


@dataclass(frozen=True, slots=True)
class KeptPicture:
    """A picture that was handed in."""

    sha256: str
    width: int
    height: int


class PictureInputs:
    """The pictures handed in, in a folder of their own. Its methods may be called from any thread.

    ``owner`` is who asks. Only where the page is ``shared`` does it matter: the SHA-256 stands in every picture that
    came of one, and whoever is shown that must not come to what it was made from. So only those may use a picture who
    handed it in; an empty file beside it names each by their mark.
    """

    def __init__(
        self,
        outputs: Path,
        most_kept: int = MAX_KEPT,
        *,
        shared: bool = False,
        upscalers: UpscalerLibrary | None = None,
    ) -> None:
        self._folder = outputs / FOLDER
        self.upscalers = upscalers or UpscalerLibrary()
        self._shared = shared
        self._most_kept = most_kept
        self._turn = threading.Lock()

    def keep(self, data: bytes, name: str, owner: str = "") -> KeptPicture:
        """Keep a picture; ``name`` is what the user calls it.

        Raises:
            ImportedFileError: too big, damaged, or no picture.
            StorageError: it can't be written.
        """
        if len(data) > MAX_BYTES:
            raise _refused(name, Text(f"is bigger than {MAX_BYTES >> 20} MB", f"超过 {MAX_BYTES >> 20} MB"))
        decoded = _decoded(data, name, _THUMBNAIL)
        digest = hashlib.sha256(data).hexdigest()
        path = self._folder / digest
        try:
            with self._turn:
                self._folder.mkdir(parents=True, exist_ok=True)
                if path.is_file():
                    path.touch()
                else:
                    write_whole(path, data)
                if not self._small(digest).is_file():
                    write_whole(self._small(digest), decoded.data)
                if self._shared and owner:
                    self._claim(digest, owner).touch()
                    for old in sorted(self._claims(digest), key=lambda each: each.stat().st_mtime_ns)[:-MAX_OWNERS]:
                        old.unlink(missing_ok=True)
                self._make_room(path)
        except OSError as error:
            reason = system_reason(error)
            raise StorageError(
                Text(
                    f"{name} could not be kept in {self._folder.name}: {reason}; free some space, then try again.",
                    f"{name} 无法保存到 {self._folder.name}：{reason}；请清理磁盘后重试。",
                )
            ) from error
        return KeptPicture(digest, decoded.width, decoded.height)

    def keep_file(self, path: Path) -> KeptPicture:
        """``keep`` of a file on disk."""
        try:
            with open_regular(path) as file:
                data = file.read(MAX_BYTES + 1)
        except OSError as error:
            reason = system_reason(error)
            raise ImportedFileError(
                Text(f"{path} cannot be read ({reason}).", f"无法读取 {path}（{reason}）。")
            ) from error
        return self.keep(data, path.name)

    def check(self, start: StartPicture | None, owner: str = "") -> None:
        """See to it that a picture, its mask and its upscaler are there, and the first two will be for a while.

        Raises:
            RequestError: one of them is gone, or the mask is none for the picture.
        """
        if start is None:
            return
        self.upscalers.check(start.upscaler)
        for field, digest in (("start.picture", start.picture), ("start.mask", start.mask)):
            if digest is not None:
                with suppress(OSError):  # of another's file: it may still be read
                    self._own(digest, owner, field).touch()
        if start.mask is not None:
            self._mask(start.mask, self.image(start.picture).size)

    def kept(self, digest: str, owner: str = "") -> KeptPicture:
        """A picture that was handed in before; raises RequestError where it is gone, or another's."""
        self._own(digest, owner)
        return KeptPicture(digest, *self.image(digest).size)

    def file(self, digest: str) -> bytes:
        """The file of a picture as it was handed in; raises RequestError where it is gone."""
        try:
            return read_regular(self._path(digest, "start.picture"), MAX_BYTES)
        except OSError as error:
            raise _gone(digest, "start.picture") from error

    def load(self, start: StartPicture, size: tuple[int, int]) -> Picture:
        """A picture brought to ``size`` (width, height): turned upright, on white, resized with Lanczos.

        Raises:
            RequestError: it is gone or damaged.
        """
        path = self._path(start.picture, "start.picture")
        try:
            decoded = _decoded(read_regular(path, MAX_BYTES), path.name[:10], Wanted(size, start.fit, packed=False))
        except (OSError, ImportedFileError) as error:
            raise _gone(start.picture, "start.picture") from error
        width, height = size
        return np.frombuffer(decoded.data, np.uint8).reshape(height, width, 3).copy()

    def start_image(self, start: StartPicture, size: tuple[int, int]) -> StartImage:
        """``load``, and which part of it is redrawn.

        Raises:
            RequestError: a file is gone or damaged, the mask is none for the picture, or the stage would cut it off.
        """
        if not start.keeps:
            return StartImage(self.load(start, size))
        picture = self.image(start.picture)
        mask = None if start.mask is None else self._mask(start.mask, picture.size)
        return start_image(start, picture, mask, size)

    def thumbnail(self, digest: str, owner: str = "") -> bytes | None:
        """A small JPEG of a picture; None where it is gone, or another's."""
        try:
            path = self._own(digest, owner)
            if not self._small(digest).is_file():  # handed in before thumbnails were kept
                write_whole(self._small(digest), _decoded(read_regular(path, MAX_BYTES), digest[:10], _THUMBNAIL).data)
            return read_regular(self._small(digest), _MAX_THUMBNAIL)
        except (OSError, RequestError, ImportedFileError):
            return None

    def _small(self, digest: str) -> Path:
        return self._folder / f"{digest}{_SMALL}"

    def original(self, digest: str, owner: str = "") -> tuple[Path, str] | None:
        """The file of a picture as it came, and its media type; None where it is gone, or another's."""
        try:
            path = self._own(digest, owner)
            with open_regular(path) as file:
                begin = file.read(4)
        except (OSError, RequestError):
            return None
        return path, next((kind for start, kind in _STARTS.items() if begin.startswith(start)), "image/webp")

    def image(self, digest: str, field: str = "start.picture", wanted: Wanted = _WHOLE) -> Image.Image:
        """A picture's pixels, turned upright; raises RequestError where it is gone or damaged."""
        path = self._path(digest, field)
        try:
            decoded = _decoded(read_regular(path, MAX_BYTES), path.name[:10], wanted)
        except (OSError, ImportedFileError) as error:
            raise _gone(digest, field) from error
        return Image.frombytes("RGB", (decoded.width, decoded.height), decoded.data)

    def _mask(self, digest: str, picture: tuple[int, int]) -> Image.Image:
        return grey_mask(np.asarray(self.image(digest, "start.mask", _MASK)), picture)

    def _path(self, digest: str, field: str = "start.picture") -> Path:
        path = self._folder / digest
        if _DIGEST.fullmatch(digest) is None or not path.is_file():
            raise _gone(digest, field)
        return path

    def _own(self, digest: str, owner: str, field: str = "start.picture") -> Path:
        """As ``_path``, of a picture that this owner may use."""
        path = self._path(digest, field)
        if self._shared and not (owner and self._claim(digest, owner).is_file()):
            raise _gone(digest, field)
        return path

    def _claim(self, digest: str, owner: str) -> Path:
        return self._folder / f"{digest}.{owner_mark(owner)}"

    def _claims(self, digest: str) -> list[Path]:
        return list(self._folder.glob(f"{digest}.*"))

    def _make_room(self, newest: Path) -> None:
        """Call with the lock held."""
        pictures = [path for path in self._folder.iterdir() if _DIGEST.fullmatch(path.name)]
        sizes = {path: path.stat().st_size + _size(self._small(path.name)) for path in pictures}
        too_much = sum(sizes.values()) - self._most_kept
        for path in sorted(pictures, key=lambda each: each.stat().st_mtime_ns):
            if too_much <= 0 or path == newest:
                return
            for each in (*self._claims(path.name), self._small(path.name), path):
                each.unlink(missing_ok=True)
            too_much -= sizes[path]


def inputs_of(config: StudioConfig, *, shared: bool = False) -> PictureInputs:
    """The pictures handed in, and what enlarges them, where the configuration says."""
    return PictureInputs(config.outputs, shared=shared, upscalers=UpscalerLibrary(config.upscaler_roots))


def _decoded(data: bytes, name: str, wanted: Wanted) -> Decoded:
    """Raises ImportedFileError for what is no picture that is taken."""
    try:
        return decode(data, wanted)
    except TooManyPixels as error:
        raise _refused(name, _TOO_MANY) from error
    except UnreadablePicture as error:
        raise _refused(name, Text("is not a picture that can be read", "不是可读取的图片")) from error


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _refused(name: str, what: Text) -> ImportedFileError:
    return ImportedFileError(Text(f"{name} {what.en}; {_TAKEN.en}.", f"{name} {what.zh}；{_TAKEN.zh}。"))


def _gone(digest: str, field: str) -> RequestError:
    return RequestError(
        field,
        Text(
            f"{digest[:10]}… is not kept here (any more); choose the picture again, or remove it",
            f"{digest[:10]}… 已不在本机；请重新选择该图片，或将其移除",
        ),
    )
