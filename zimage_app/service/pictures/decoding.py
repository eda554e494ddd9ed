"""Decodes untrusted pictures in a worker process with limited memory and time.

The file's structure is checked first, in this process (``picture_files``). If a malicious file exploits a C decoder,
the damage is confined to the worker, which receives nothing but the file. Workers are reused for a while, because
starting one takes 0.2 s; they import Pillow only, not torch or numpy.

The memory limit isn't available on Windows; the time limit is enforced everywhere.
"""

from __future__ import annotations

import io
import json
import os
import signal
import struct
import subprocess
import sys
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Literal, NoReturn

from PIL import Image, ImageOps

from zimage_app.service.pictures.picture_files import (
    TooManyPixels,
    UnreadablePicture,
    check_picture,
    check_scans,
    exif_of,
    opened_picture,
)

__all__ = [
    "FORMATS",
    "MAX_PIXELS",
    "DecodeOptions",
    "Decoded",
    "TooManyPixels",
    "UnreadablePicture",
    "decode",
    "upright_size",
]

FORMATS = ("PNG", "JPEG", "WEBP")
MAX_PIXELS = 50_000_000
"""Maximum pixels of a picture: those of good phone cameras; 150 MB decoded."""
MAX_MEMORY = 3 * 2**29
"""Maximum address space of a worker in bytes; a WebP of the maximum size needs 1.1 billion."""
MAX_SECONDS = 30
"""Time limit for one picture; the largest takes two seconds on one slow core."""
_IDLE_SECONDS = 60
"""Seconds after which an idle worker exits."""
_MAX_WORKERS = 2
"""Maximum number of workers; further calls wait."""
_ORIENTATION = 0x0112
_SIDEWAYS = (5, 6, 7, 8)
"""EXIF orientations that swap width and height."""
_HEAD = struct.Struct(">II")
"""Header of each message: size of its JSON and of the data after it, in bytes."""
_ROOT = Path(__file__).parents[3]
_VARIABLES = ("PATH", "LD_LIBRARY_PATH", "LANG", "SYSTEMROOT")
"""Environment variables passed to a worker; the others are withheld, because they may hold keys and passwords."""


@dataclass(frozen=True, slots=True)
class DecodeOptions:
    """The requested size and form of the decoded picture, which is turned upright and converted to RGB first."""

    size: tuple[int, int]
    """Width and height in pixels."""
    fit: Literal["inside", "crop", "stretch"]
    """How to reach ``size``; ``inside`` keeps the aspect ratio and never enlarges."""
    as_jpeg: bool = True
    """Whether to return a JPEG; otherwise raw RGB, three bytes per pixel."""
    background: tuple[int, int, int] | None = None
    """Background colour for transparent areas; None shows the colours that the file holds there, as ComfyUI does."""
    mask: bool = False
    """Whether to return the inverted alpha channel (white = transparent) if the picture has transparent areas."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """A decoded picture: width and height of the original, upright, and the requested data."""

    width: int
    height: int
    data: bytes


def decode(data: bytes, wanted: DecodeOptions) -> Decoded:
    """Decode a PNG, JPEG or WebP picture to the requested size and form. Thread-safe.

    Raises:
        TooManyPixels: the header claims more than MAX_PIXELS.
        UnreadablePicture: the format is another one, the file is damaged, or decoding exceeds the memory or time limit.
    """
    check_picture(io.BytesIO(data), FORMATS, MAX_PIXELS)
    check_scans(data)
    return _WORKERS.decode(data, wanted)


def upright_size(data: bytes) -> tuple[int, int]:
    """The (width, height) that ``decode`` would return, from the file's header. Raises as ``decode``."""
    with opened_picture(io.BytesIO(data), FORMATS, MAX_PIXELS) as image:
        width, height = image.size
        return (height, width) if exif_of(image).get(_ORIENTATION) in _SIDEWAYS else (width, height)


class _WorkerPool:
    """The pool of worker processes. Thread-safe."""

    def __init__(self) -> None:
        self._places = threading.Semaphore(_MAX_WORKERS)
        self._idle: list[_WorkerProcess] = []

    def decode(self, data: bytes, wanted: DecodeOptions) -> Decoded:
        """Decode in an idle or a new worker; raises UnreadablePicture."""
        with self._places:
            process = self._free() or _WorkerProcess()
            try:
                decoded = process.ask(data, wanted)
            except _WorkerEnded:
                process.end()
                raise UnreadablePicture("reading it took too much memory or time") from None
            except _PictureRejected as error:
                self._idle.append(process)
                raise UnreadablePicture(str(error)) from None
            except BaseException:
                process.end()
                raise
            self._idle.append(process)
            return decoded

    def _free(self) -> _WorkerProcess | None:
        """Return an idle worker that still responds, or None."""
        while self._idle:
            process = self._idle.pop()
            if process.answers():
                return process
            process.end()
        return None


class _WorkerEnded(Exception):
    """The worker process has ended."""


class _PictureRejected(Exception):
    """The worker rejected the picture; the message says why."""


def _environment() -> dict[str, str]:
    """A worker's environment, with this process's module search path: a variable may name a folder of packages."""
    passed = {name: os.environ[name] for name in _VARIABLES if name in os.environ}
    return passed | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


class _WorkerProcess:
    """One worker process and the pipes to it. The worker exits when its input pipe closes, even if the app crashes."""

    def __init__(self) -> None:
        try:
            self._program = subprocess.Popen(
                [sys.executable, "-m", __name__],
                cwd=_ROOT,
                env=_environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        except OSError as error:
            raise UnreadablePicture(f"no process can be started: {error.strerror or error}") from error
        assert self._program.stdin is not None
        assert self._program.stdout is not None
        self._out, self._in = self._program.stdin, self._program.stdout

    def answers(self) -> bool:
        """Whether the worker is alive: it answers an empty message."""
        try:
            _send(self._out, {}, b"")
            return self._program.poll() is None and _receive(self._in) is not None
        except OSError:
            return False

    def ask(self, data: bytes, wanted: DecodeOptions) -> Decoded:
        """Have the worker decode a picture; raises _WorkerEnded or _PictureRejected."""
        watch = threading.Timer(MAX_SECONDS, self._program.kill)
        watch.start()
        try:
            _send(self._out, asdict(wanted), data)
            answer = _receive(self._in)
        except OSError as error:
            raise _WorkerEnded from error
        finally:
            watch.cancel()
        if answer is None:
            raise _WorkerEnded
        said, pixels = answer
        if "error" in said:
            raise _PictureRejected(said["error"])
        return Decoded(said["width"], said["height"], pixels)

    def end(self) -> None:
        """Kill the worker and close its pipes."""
        self._program.kill()
        self._program.wait()
        self._in.close()
        try:
            self._out.close()
        except OSError:  # flushing unsent data fails once the worker is dead
            return


_WORKERS = _WorkerPool()
if hasattr(os, "register_at_fork"):
    # A forked child must not use its parent's pipes.
    os.register_at_fork(after_in_child=_WORKERS.__init__)  # type: ignore[misc]


def _send(file: IO[bytes], said: dict[str, Any], data: bytes) -> None:
    text = json.dumps(said).encode()
    file.write(_HEAD.pack(len(text), len(data)) + text)
    file.write(data)
    file.flush()


def _receive(file: IO[bytes]) -> tuple[dict[str, Any], bytes] | None:
    """Read the next message (JSON, data); None at the end of the pipe."""
    head = file.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return None
    length, more = _HEAD.unpack(head)
    text, data = file.read(length), file.read(more)
    return (json.loads(text), data) if len(text) == length and len(data) == more else None


def fitted(
    image: Image.Image,
    size: tuple[int, int],
    fit: Literal["crop", "stretch"],
    method: Image.Resampling = Image.Resampling.LANCZOS,
) -> Image.Image:
    """Resize an image to ``size``, cropping evenly or stretching."""
    return (_cropped(image, size) if fit == "crop" else image).resize(size, method)


def _cropped(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Cut the same number of whole pixels off both sides, as ComfyUI's crop "center" does."""
    shapes = image.width / image.height, size[0] / size[1]
    across = _cut(image.width, shapes[1] / shapes[0])
    along = _cut(image.height, shapes[0] / shapes[1])
    return image.crop((across, along, image.width - across, image.height - along))


def _cut(side: int, kept: float) -> int:
    return min(round((side - side * kept) / 2), (side - 1) // 2) if kept < 1 else 0


# Code that runs in the worker process.


def main() -> NoReturn:
    """Answer messages until the input pipe closes."""
    source, target = sys.stdin.buffer, sys.stdout.buffer
    _bound_memory()
    while True:
        _bound_seconds(_IDLE_SECONDS)
        asked = _receive(source)
        if asked is None:
            raise SystemExit(0)
        _bound_seconds(MAX_SECONDS)
        said, data = asked
        _send(target, *(_answer(data, said) if said else ({}, b"")))


def _bound_memory() -> None:
    try:
        import resource
    except ImportError:  # Windows
        return
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _bound_seconds(seconds: int) -> None:
    """Have the system kill this process after ``seconds``, even if the app is gone. Replaces an earlier limit."""
    if hasattr(signal, "alarm"):
        signal.alarm(seconds)


def _answer(data: bytes, said: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    background = said["background"] and tuple(said["background"])
    wanted = DecodeOptions(tuple(said["size"]), said["fit"], said["as_jpeg"], background, said["mask"])
    try:
        with opened_picture(io.BytesIO(data), FORMATS, MAX_PIXELS) as image:
            width, height = image.size
            if exif_of(image).get(_ORIENTATION) in _SIDEWAYS:
                width, height = height, width
            return {"width": width, "height": height}, _made(image, wanted)
    except (UnreadablePicture, MemoryError) as error:
        return {"error": str(error) or "it takes too much memory"}, b""


def _made(image: Image.Image, wanted: DecodeOptions) -> bytes:
    if wanted.fit == "inside":
        # Shrink before turning upright and copying; the longer side limits both, because turning may swap them.
        side = max(wanted.size)
        image.draft("RGB", (2 * side, 2 * side))
        picture = _eight_bits(image)
        if picture.has_transparency_data and wanted.background is None and not wanted.mask:
            picture = picture.convert("RGB")  # resizing RGBA loses the colours of transparent areas
        picture.thumbnail((side, side), Image.Resampling.LANCZOS)
        picture = _coloured(ImageOps.exif_transpose(picture), wanted)
        picture.thumbnail(wanted.size, Image.Resampling.LANCZOS)
    else:
        picture = _coloured(ImageOps.exif_transpose(_eight_bits(image)), wanted)
        picture = fitted(picture, wanted.size, wanted.fit)
    if not wanted.as_jpeg:
        return picture.tobytes()
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def _eight_bits(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits; Pillow's own conversion would clip instead of scale
        return image.convert("I").point(lambda value: value * (1 / 257) + 0.5).convert("L")
    if image.has_transparency_data:
        return image if image.mode in ("RGBA", "LA") else image.convert("RGBA")
    return image if image.mode in ("RGB", "L") else image.convert("RGB")


def _coloured(image: Image.Image, wanted: DecodeOptions) -> Image.Image:
    """Convert to RGB, on a background if there is one, or to the inverted alpha channel if a mask is wanted."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    clear = image.convert("RGBA")
    opaque = clear.getchannel("A")
    if wanted.mask and (redrawn := ImageOps.invert(opaque)).getbbox():
        return redrawn.convert("RGB")
    if wanted.background is None:
        return clear.convert("RGB")
    page = Image.new("RGB", clear.size, wanted.background)
    page.paste(clear, mask=opaque)
    return page


if __name__ == "__main__":
    main()
