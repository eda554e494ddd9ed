"""Stores uploaded start pictures and masks, with limits on size and total space.

A file is stored unchanged under the SHA-256 of its bytes, so that pictures made from it can be made again as long as
the file is kept.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from zimage_app.domain.errors import BusyError, ImportedFileError, RequestError, StorageError, system_reason
from zimage_app.domain.events import Picture
from zimage_app.domain.settings.start_picture import StartPicture
from zimage_app.domain.start_image import StartImage
from zimage_app.domain.text import Text
from zimage_app.models.disk.regular_file import open_regular, read_regular
from zimage_app.service.generation.masks import grey_mask, start_image
from zimage_app.service.library.upscalers import UpscalerLibrary
from zimage_app.service.pictures.decoding import (
    MAX_PIXELS,
    Decoded,
    DecodeOptions,
    TooManyPixels,
    UnreadablePicture,
    decode,
    upright_size,
)
from zimage_app.service.rules.permissions import owner_mark
from zimage_app.service.setup.config import StudioConfig
from zimage_app.service.storage.atomic_files import write_whole

FOLDER = ".inputs"
"""Folder name below the outputs folder."""
MAX_BYTES = 32 * 2**20
MAX_KEPT = 512 * 2**20
"""Maximum total size of all files in bytes; beyond it, the least recently used ones of who has most are deleted."""
MAX_FILES = 6000
"""Maximum number of files, enforced in the same way; a picture has three: itself, thumbnail, owner's marker."""
MAX_OWNERS = 200
"""Maximum owners of one picture on a shared page, so that their marker files can't fill the disk."""
MEDIA_TYPES = ("image/png", "image/jpeg", "image/webp")
_STARTS = {b"\x89PNG": "image/png", b"\xff\xd8": "image/jpeg"}
"""First bytes -> media type; a stored file with other first bytes is WebP."""
_DIGEST = re.compile("[0-9a-f]{64}")
_SMALL = "-small.jpg"
"""Suffix of the thumbnail's file, which is made when the picture is uploaded."""
_THUMBNAIL = DecodeOptions((320, 320), "inside")
_WHOLE = DecodeOptions((MAX_PIXELS, MAX_PIXELS), "inside", as_jpeg=False)
_MASK = replace(_WHOLE, mask=True)
_MAX_THUMBNAIL = 2**20
"""Maximum size of a thumbnail in bytes."""
_MAX_JUDGED = 4
"""Maximum masks checked at the same time; each check occupies a request thread for seconds."""
_MAX_VERDICTS = 4096
_BUSY = Text(
    "Too many masks are being read at the moment; try again in some seconds.",
    "当前正在读取的蒙版过多；请过几秒再试。",
)
_AGAIN_SECONDS = 5.0
_UNREADABLE = Text(
    "is not a picture that can be read; take a PNG, JPEG or WebP picture",
    "不是可读取的图片；请使用 PNG、JPEG 或 WebP 图片",
)
_TOO_MANY = Text(
    f"has more than {MAX_PIXELS // 1_000_000} million pixels; make it smaller, then take it again",
    f"超过 {MAX_PIXELS // 10_000} 万像素；请缩小后重试",
)
_TOO_BIG = Text(
    f"is bigger than {MAX_BYTES >> 20} MB; make it smaller, or save it as JPEG or WebP",
    f"超过 {MAX_BYTES >> 20} MB；请缩小，或另存为 JPEG 或 WebP",
)


@dataclass(frozen=True, slots=True)
class StoredPicture:
    """A stored upload."""

    sha256: str
    width: int
    height: int


class PictureInputs:
    """The folder of uploaded pictures. Thread-safe.

    ``owner`` identifies the caller and matters only if the page is ``shared``: every generated picture contains the
    SHA-256 of its start picture, which must not give viewers access to the upload. So only owners who uploaded a
    picture may use it; an empty file beside it, named by the owner's mark, records each of them.
    """

    def __init__(
        self,
        outputs: Path,
        max_kept: int = MAX_KEPT,
        *,
        shared: bool = False,
        upscalers: UpscalerLibrary | None = None,
    ) -> None:
        self._folder = outputs / FOLDER
        self.upscalers = upscalers or UpscalerLibrary()
        self._shared = shared
        self._most_kept = max_kept
        self.in_use: Callable[[], Collection[str]] = frozenset
        """Returns the SHA-256 of pictures that unfinished jobs need, which are not deleted to make room."""
        self._sizes: dict[str, int] = {}
        """Bytes of each picture with its thumbnail, by its SHA-256."""
        self._claims: dict[str, list[Path]] = {}
        """The markers beside each picture, the latest last."""
        self._is_read = False
        self._turn = threading.Lock()
        self._judging = threading.Semaphore(_MAX_JUDGED)
        self._verdicts: dict[tuple[str, tuple[int, int]], RequestError | None] = {}
        """By mask and the picture's size, what is wrong with the mask."""

    def save(self, data: bytes, name: str, owner: str = "") -> StoredPicture:
        """Store an upload; ``name`` is its file name, for messages.

        Raises:
            ImportedFileError: the file is too large, damaged, or not a picture.
            StorageError: the file can't be written.
        """
        decoded = _small_copy(data, name)
        digest = hashlib.sha256(data).hexdigest()
        path = self._folder / digest
        try:
            with self._turn:
                self._folder.mkdir(parents=True, exist_ok=True)
                self._read_folder()
                if path.is_file():
                    path.touch()
                else:
                    write_whole(path, data)
                if not self._small(digest).is_file():
                    write_whole(self._small(digest), decoded.data)
                if self._shared and owner:
                    claim = self._claim(digest, owner)
                    claim.touch()
                    claims = [*(each for each in self._claims.get(digest, ()) if each != claim), claim]
                    for old in claims[:-MAX_OWNERS]:
                        old.unlink(missing_ok=True)
                    self._claims[digest] = claims[-MAX_OWNERS:]
                self._sizes[digest] = len(data) + _size(self._small(digest))
                self._make_room(digest)
        except OSError as error:
            reason = system_reason(error)
            raise StorageError(
                Text(
                    f"{name} could not be kept in {self._folder.name}: {reason}; free some space, then try again.",
                    f"{name} 无法保存到 {self._folder.name}：{reason}；请清理磁盘后重试。",
                )
            ) from error
        return StoredPicture(digest, decoded.width, decoded.height)

    def save_file(self, path: Path) -> StoredPicture:
        """Store a file from disk; raises as ``keep`` does."""
        try:
            with open_regular(path) as file:
                data = file.read(MAX_BYTES + 1)
        except OSError as error:
            reason = system_reason(error)
            raise ImportedFileError(
                Text(f"{path} cannot be read ({reason}).", f"无法读取 {path}（{reason}）。")
            ) from error
        return self.save(data, path.name)

    def check(self, start: StartPicture | None, owner: str = "", *, trusted: bool = False) -> None:
        """Check that picture, mask and upscaler exist, and mark picture and mask as recently used.

        ``trusted`` callers are programs of the app's own user, who may use every picture.

        Raises:
            RequestError: one of them is missing, or the mask doesn't fit the picture.
            BusyError: too many masks are being read.
        """
        if start is None:
            return
        self.upscalers.check(start.upscaler)
        for field, digest in (("start.picture", start.picture), ("start.mask", start.mask)):
            if digest is not None:
                with suppress(OSError):  # no permission to touch the file; it may still be readable
                    path = self._path(digest, field) if trusted else self._own(digest, owner, field)
                    path.touch()
        if start.mask is not None:
            self._check_mask(start.mask, self._size_of(start.picture))

    def kept(self, digest: str, owner: str = "", *, trusted: bool = False) -> StoredPicture:
        """Return an upload's size; raises RequestError if it is missing or, unless trusted, not this owner's."""
        if not trusted:
            self._own(digest, owner)
        return StoredPicture(digest, *self._size_of(digest))

    def file(self, digest: str) -> bytes:
        """The uploaded file of a picture; raises RequestError if it was deleted."""
        try:
            return read_regular(self._path(digest, "start.picture"), MAX_BYTES)
        except OSError as error:
            raise _gone(digest, "start.picture") from error

    def load(self, start: StartPicture, size: tuple[int, int]) -> Picture:
        """Return a picture at ``size`` (width, height): upright, resized with Lanczos.

        Where it is transparent, the colours that the file holds there count, as in ComfyUI.

        Raises:
            RequestError: the file is missing or damaged.
        """
        decoded = self._decode(start.picture, "start.picture", DecodeOptions(size, start.fit, as_jpeg=False))
        width, height = size
        return np.frombuffer(decoded.data, np.uint8).reshape(height, width, 3).copy()

    def start_image(self, start: StartPicture, size: tuple[int, int]) -> StartImage:
        """Return a picture at ``size`` and, if part of it is kept, the mask of the redrawn part.

        Raises:
            RequestError: a file is missing or damaged, or the mask doesn't fit the picture or the stage.
        """
        if not start.keeps:
            return StartImage(self.load(start, size))
        picture = self.image(start.picture)
        mask = None if start.mask is None else grey_mask(self._mask_pixels(start.mask), picture.size)
        return start_image(start, picture, mask, size)

    def thumbnail(self, digest: str, owner: str = "") -> bytes | None:
        """Return a small JPEG of a picture; None if it is missing or not this owner's."""
        try:
            path = self._own(digest, owner)
            if not self._small(digest).is_file():  # uploaded by an older version, which stored no thumbnails
                write_whole(self._small(digest), _decoded(read_regular(path, MAX_BYTES), digest[:10], _THUMBNAIL).data)
            return read_regular(self._small(digest), _MAX_THUMBNAIL)
        except (OSError, RequestError, ImportedFileError):
            return None

    def _small(self, digest: str) -> Path:
        return self._folder / f"{digest}{_SMALL}"

    def original(self, digest: str, owner: str = "") -> tuple[Path, str] | None:
        """Return (path of the uploaded file, media type); None if it is missing or not this owner's."""
        try:
            path = self._own(digest, owner)
            with open_regular(path) as file:
                begin = file.read(4)
        except (OSError, RequestError):
            return None
        return path, next((kind for start, kind in _STARTS.items() if begin.startswith(start)), "image/webp")

    def image(self, digest: str, field: str = "start.picture", wanted: DecodeOptions = _WHOLE) -> Image.Image:
        """Decode a picture upright; raises RequestError if it is missing or damaged."""
        decoded = self._decode(digest, field, wanted)
        return Image.frombytes("RGB", (decoded.width, decoded.height), decoded.data)

    def _decode(self, digest: str, field: str, options: DecodeOptions) -> Decoded:
        path = self._path(digest, field)
        try:
            return _decoded(read_regular(path, MAX_BYTES), path.name[:10], options)
        except (OSError, ImportedFileError) as error:
            raise _gone(digest, field) from error

    def _size_of(self, digest: str) -> tuple[int, int]:
        try:
            return upright_size(self.file(digest))
        except UnreadablePicture as error:
            raise _gone(digest, "start.picture") from error

    def _check_mask(self, mask: str, picture: tuple[int, int]) -> None:
        """Raise RequestError if a mask doesn't fit pictures of this size; each mask's pixels are decoded only once."""
        key = (mask, picture)
        known = self._verdicts
        if key not in known:
            if not self._judging.acquire(blocking=False):
                raise BusyError(_BUSY, _AGAIN_SECONDS, own=False)
            try:
                known = {key: self._verdict(mask, picture)}
            finally:
                self._judging.release()
            kept = list(self._verdicts.items())[-_MAX_VERDICTS:]
            self._verdicts = dict(kept) | known
        if (verdict := known[key]) is not None:
            raise verdict.at(verdict.field)

    def _verdict(self, mask: str, picture: tuple[int, int]) -> RequestError | None:
        pixels = self._mask_pixels(mask)
        try:
            grey_mask(pixels, picture)
        except RequestError as error:
            return error
        return None

    def _mask_pixels(self, digest: str) -> Picture:
        return np.asarray(self.image(digest, "start.mask", _MASK))

    def _path(self, digest: str, field: str = "start.picture") -> Path:
        path = self._folder / digest
        if _DIGEST.fullmatch(digest) is None or not path.is_file():
            raise _gone(digest, field)
        return path

    def _own(self, digest: str, owner: str, field: str = "start.picture") -> Path:
        """Like ``_path``, but raise RequestError as well if the owner may not use the picture."""
        path = self._path(digest, field)
        if self._shared and not (owner and self._claim(digest, owner).is_file()):
            raise _gone(digest, field)
        return path

    def _claim(self, digest: str, owner: str) -> Path:
        return self._folder / f"{digest}.{owner_mark(owner)}"

    def _read_folder(self) -> None:
        """List the stored files once; listing them at each upload would take seconds. The caller must hold the lock."""
        if self._is_read:
            return
        claims = []
        for path in self._folder.iterdir():
            digest, _, mark = path.name.partition(".")
            if _DIGEST.fullmatch(path.name):
                self._sizes[path.name] = path.stat().st_size + _size(self._small(path.name))
            elif mark and _DIGEST.fullmatch(digest):
                claims.append((path.stat().st_mtime_ns, digest, path))
        for _, digest, path in sorted(claims):
            self._claims.setdefault(digest, []).append(path)
        self._is_read = True

    def _make_room(self, newest: str) -> None:
        """Delete pictures until the limits are kept. The caller must hold the lock.

        The owner whose pictures take up most gives up the least recently used one; a picture stays while others who
        uploaded it keep it. So nobody's uploads displace the fewer ones of others.
        """
        too_much = sum(self._sizes.values()) - self._most_kept
        too_many = 2 * len(self._sizes) + sum(map(len, self._claims.values())) - MAX_FILES
        if too_much <= 0 and too_many <= 0:
            return
        needed = {newest, *self.in_use()}
        shares: defaultdict[str, float] = defaultdict(float)
        """Share of the limits that each owner's pictures take up."""
        deletable: defaultdict[str, deque[str]] = defaultdict(deque)
        """Each owner's pictures that may go, the least recently used first."""
        for digest in sorted(self._sizes, key=self._last_use):
            for mark in self._marks(digest):
                shares[mark] += self._share(digest)
                if digest not in needed:
                    deletable[mark].append(digest)
        while deletable and (too_much > 0 or too_many > 0):
            mark = max(deletable, key=shares.__getitem__)
            digest = deletable[mark].popleft()
            shares[mark] -= self._share(digest)
            if not deletable[mark]:
                del deletable[mark]
            claims = self._claims.pop(digest, [])
            others = [each for each in claims if mark and each.suffix != mark]
            for claim in set(claims).difference(others):
                claim.unlink(missing_ok=True)
            too_many -= len(claims) - len(others)
            if others:
                self._claims[digest] = others
                continue
            for path in (self._small(digest), self._folder / digest):
                path.unlink(missing_ok=True)
            too_much -= self._sizes.pop(digest)
            too_many -= 2

    def _marks(self, digest: str) -> list[str]:
        """The owners of a picture, as suffixes of their markers; one empty mark unless strangers upload."""
        return [claim.suffix for claim in self._claims.get(digest, ()) if self._shared] or [""]

    def _share(self, digest: str) -> float:
        return self._sizes[digest] / max(1, self._most_kept) + 3 / MAX_FILES

    def _last_use(self, digest: str) -> int:
        try:
            return (self._folder / digest).stat().st_mtime_ns
        except FileNotFoundError:  # another program that uses this folder deleted it
            return 0


def inputs_of(config: StudioConfig, *, shared: bool = False) -> PictureInputs:
    """Return the store of uploads, with the upscalers of the configured folders."""
    return PictureInputs(config.outputs, shared=shared, upscalers=UpscalerLibrary(config.upscaler_roots))


def check_upload(data: bytes, name: str) -> None:
    """Raise ImportedFileError as ``PictureInputs.save`` does for a file that can't be a start picture."""
    _small_copy(data, name)


def _small_copy(data: bytes, name: str) -> Decoded:
    if len(data) > MAX_BYTES:
        raise _refused(name, _TOO_BIG)
    return _decoded(data, name, _THUMBNAIL)


def _decoded(data: bytes, name: str, wanted: DecodeOptions) -> Decoded:
    """Decode an upload; raises ImportedFileError if it isn't an accepted picture."""
    try:
        return decode(data, wanted)
    except TooManyPixels as error:
        raise _refused(name, _TOO_MANY) from error
    except UnreadablePicture as error:
        raise _refused(name, _UNREADABLE) from error


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _refused(name: str, what: Text) -> ImportedFileError:
    return ImportedFileError(Text(f"{name} {what.en}.", f"{name} {what.zh}。"))


def _gone(digest: str, field: str) -> RequestError:
    return RequestError(
        field,
        Text(
            f"{digest[:10]}… is not kept here (any more); choose the picture again, or remove it",
            f"{digest[:10]}… 已不在本机；请重新选择该图片，或将其移除",
        ),
    )
