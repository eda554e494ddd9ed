"""Pixels of pictures that anybody may have made: unpacked in a process of its own, bounded in memory and time.

Before that, the file's structure is checked here (``picture_files``). Whatever a decoder in C then makes of a hostile
file ends with that process, which is told nothing but the file. The process stays for a while, because starting one
takes 0.2 s; it knows Pillow alone, no torch and no numpy.

Memory is bounded where the system can (not on Windows); time is everywhere.
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

__all__ = ["FORMATS", "MAX_PIXELS", "Decoded", "TooManyPixels", "UnreadablePicture", "Wanted", "decode"]

FORMATS = ("PNG", "JPEG", "WEBP")
MAX_PIXELS = 50_000_000
"""What the best telephones' cameras make; unpacked 150 MB."""
MAX_MEMORY = 3 * 2**29
"""Bytes of the process's address space; a WebP of the largest size takes 1.1 thousand million."""
MAX_SECONDS = 30
"""For one picture. The largest takes two on one slow core."""
_IDLE_SECONDS = 60
"""After which a process that has nothing to do ends."""
_AT_ONCE = 2
"""Processes; who comes then waits."""
_WHITE = (255, 255, 255)
_ORIENTATION = 0x0112
_LYING = (5, 6, 7, 8)
"""Orientations whose width is the upright picture's height."""
_HEAD = struct.Struct(">II")
"""Before each message: bytes of its JSON, and of the data behind that."""
_ROOT = Path(__file__).parents[3]
_VARIABLES = ("PATH", "LD_LIBRARY_PATH", "LANG", "SYSTEMROOT")
"""All that the process is told of this one's environment, which may hold keys and passwords."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to become of a picture, once it is upright and RGB."""

    size: tuple[int, int]
    """Width and height."""
    fit: Literal["inside", "crop", "stretch"]
    """``inside`` keeps the shape and never enlarges."""
    packed: bool = True
    """As JPEG; else the plain numbers, three bytes a pixel."""
    paper: tuple[int, int, int] = _WHITE
    """Behind what is transparent."""
    mask: bool = False
    """White where it is transparent, black where not; a picture without transparency as it is."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """What became of it."""

    width: int
    """Of the whole picture, upright."""
    height: int
    data: bytes


def decode(data: bytes, wanted: Wanted) -> Decoded:
    """Unpack a PNG, JPEG or WebP picture and bring it to the size that is wanted. From any thread.

    Raises:
        TooManyPixels: it says itself that it is larger than MAX_PIXELS.
        UnreadablePicture: it is no such picture, is damaged, or takes more memory or time than may be.
    """
    check_picture(io.BytesIO(data), FORMATS, MAX_PIXELS)
    check_scans(data)
    return _PROCESSES.decode(data, wanted)


class _Processes:
    """Those that are running."""

    def __init__(self) -> None:
        self._places = threading.Semaphore(_AT_ONCE)
        self._idle: list[_Process] = []

    def decode(self, data: bytes, wanted: Wanted) -> Decoded:
        """As the function of the module."""
        with self._places:
            process = self._free() or _Process()
            try:
                decoded = process.ask(data, wanted)
            except _Ended:
                process.end()
                raise UnreadablePicture("reading it took too much memory or time") from None
            except _Refused as error:
                self._idle.append(process)
                raise UnreadablePicture(str(error)) from None
            except BaseException:
                process.end()
                raise
            self._idle.append(process)
            return decoded

    def _free(self) -> _Process | None:
        """One that still runs."""
        while self._idle:
            process = self._idle.pop()
            if process.answers():
                return process
            process.end()
        return None


class _Ended(Exception):
    """The process is no more."""


class _Refused(Exception):
    """The process says what is wrong with the picture."""


class _Process:
    """One decoder, and the pipes to it. When this program ends, however it does, its pipe closes and it ends too."""

    def __init__(self) -> None:
        try:
            self._program = subprocess.Popen(
                [sys.executable, "-m", __name__],
                cwd=_ROOT,
                env={name: os.environ[name] for name in _VARIABLES if name in os.environ},
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
        """Whether it is still there: an empty message comes back."""
        try:
            _send(self._out, {}, b"")
            return self._program.poll() is None and _receive(self._in) is not None
        except OSError:
            return False

    def ask(self, data: bytes, wanted: Wanted) -> Decoded:
        """Have it decode a picture; raises _Ended or _Refused."""
        watch = threading.Timer(MAX_SECONDS, self._program.kill)
        watch.start()
        try:
            _send(self._out, asdict(wanted), data)
            answer = _receive(self._in)
        except OSError as error:
            raise _Ended from error
        finally:
            watch.cancel()
        if answer is None:
            raise _Ended
        said, pixels = answer
        if "error" in said:
            raise _Refused(said["error"])
        return Decoded(said["width"], said["height"], pixels)

    def end(self) -> None:
        """Whatever it does."""
        self._program.kill()
        self._program.wait()
        self._in.close()
        try:
            self._out.close()
        except OSError:  # what was still to be sent
            return


_PROCESSES = _Processes()
if hasattr(os, "register_at_fork"):
    # A fork must not talk through its parent's pipes.
    os.register_at_fork(after_in_child=_PROCESSES.__init__)  # type: ignore[misc]


def _send(file: IO[bytes], said: dict[str, Any], data: bytes) -> None:
    text = json.dumps(said).encode()
    file.write(_HEAD.pack(len(text), len(data)) + text)
    file.write(data)
    file.flush()


def _receive(file: IO[bytes]) -> tuple[dict[str, Any], bytes] | None:
    """The next message; None at the end of the pipe."""
    head = file.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return None
    length, more = _HEAD.unpack(head)
    text, data = file.read(length), file.read(more)
    return (json.loads(text), data) if len(text) == length and len(data) == more else None


# In the process.


def main() -> NoReturn:
    """Decode what comes in, until nothing more does."""
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
    """End in so many seconds, also where nobody is there any more to end this."""
    if hasattr(signal, "alarm"):
        signal.alarm(seconds)


def _answer(data: bytes, said: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    wanted = Wanted(tuple(said["size"]), said["fit"], said["packed"], tuple(said["paper"]), said["mask"])
    try:
        with opened_picture(io.BytesIO(data), FORMATS, MAX_PIXELS) as image:
            width, height = image.size
            if exif_of(image).get(_ORIENTATION) in _LYING:
                width, height = height, width
            return {"width": width, "height": height}, _made(image, wanted)
    except (UnreadablePicture, MemoryError) as error:
        return {"error": str(error) or "it takes too much memory"}, b""


def _made(image: Image.Image, wanted: Wanted) -> bytes:
    if wanted.fit == "inside":
        # Small before it is turned and copied; either side may be the longer one yet.
        side = max(wanted.size)
        image.draft("RGB", (2 * side, 2 * side))
        picture = _eight_bits(image)
        picture.thumbnail((side, side), Image.Resampling.LANCZOS)
        picture = _coloured(ImageOps.exif_transpose(picture), wanted)
        picture.thumbnail(wanted.size, Image.Resampling.LANCZOS)
    else:
        picture = _coloured(ImageOps.exif_transpose(_eight_bits(image)), wanted)
        resize = ImageOps.fit if wanted.fit == "crop" else Image.Image.resize
        picture = resize(picture, wanted.size, Image.Resampling.LANCZOS)
    if not wanted.packed:
        return picture.tobytes()
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def _eight_bits(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits; Pillow's own conversion would cut instead of scale
        return image.convert("I").point(lambda value: value * (1 / 257) + 0.5).convert("L")
    if image.has_transparency_data:
        return image if image.mode in ("RGBA", "LA") else image.convert("RGBA")
    return image if image.mode in ("RGB", "L") else image.convert("RGB")


def _coloured(image: Image.Image, wanted: Wanted) -> Image.Image:
    """RGB: on paper, or what a mask says."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    clear = image.convert("RGBA")
    opaque = clear.getchannel("A")
    if wanted.mask and (redrawn := ImageOps.invert(opaque)).getbbox():
        return redrawn.convert("RGB")
    page = Image.new("RGB", clear.size, wanted.paper)
    page.paste(clear, mask=opaque)
    return page


if __name__ == "__main__":
    main()
