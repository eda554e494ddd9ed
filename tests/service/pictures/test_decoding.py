"""Pictures of strangers are unpacked elsewhere, within bounds; what ends a decoder ends nothing else."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import sysconfig
import zlib
from pathlib import Path

import pytest
from PIL import Image

from tests.reliability.memory import begin_peak, peak
from zimage_app.service.imports import read_settings
from zimage_app.service.pictures import decoding
from zimage_app.service.pictures.decoding import DecodeOptions, TooManyPixels, UnreadablePicture, decode
from zimage_app.service.pictures.picture_files import opened_picture

SMALL = DecodeOptions((32, 32), "inside")
ROOT = Path(__file__).parents[3]


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *more: bytes) -> bytes:
    """A grey picture whose pixels are one long zero."""
    pack, pixels = zlib.compressobj(9), b""
    row = bytes(width + 1)
    pixels = b"".join(pack.compress(row * min(2**16, height - at)) for at in range(0, height, 2**16)) + pack.flush()
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(more) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def test_reading_settings_unpacks_no_pixel() -> None:
    data = png(4, 30_000_000, chunk(b"tEXt", b"parameters\0a boat\nSteps: 9, Sampler: Euler, Seed: 7"))
    before = begin_peak()
    assert read_settings(data, "a.png").settings["prompt"] == "a boat"
    assert peak() - before < 20 * 2**20


def test_more_pixels_than_may_be_are_refused_by_the_head() -> None:
    with pytest.raises(TooManyPixels, match="8000 x 8000"):
        decode(png(8000, 8000), SMALL)


@pytest.mark.parametrize(
    "data",
    [
        png(4, 4, *[chunk(b"tEXt", b"a\0b")] * 2001),
        png(4, 4, chunk(b"iCCP", b"a\0\0" + bytes(9 * 2**20))),
        png(4, 4, chunk(b"eXIf", bytes(9 * 2**20))),
        png(4, 4, *[chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2**20)))] * 9),
        png(4, 4, chunk(b"IHDR", struct.pack(">IIBBBBB", 5000, 5000, 8, 0, 0, 0, 0))),
        b"\x89PNG\r\n\x1a\n" + bytes(200),
        b"\xff\xd8" + b"\xff\xfe\0\2" * 2001 + encoded(Image.new("RGB", (4, 4)), "JPEG")[2:],
        b"\xff\xd8" + (b"\xff\xe1\xff\xff" + bytes(65533)) * 140 + encoded(Image.new("RGB", (4, 4)), "JPEG")[2:],
        encoded(Image.new("RGB", (4, 4)), "JPEG") + b"\xff\xda" * 101,
        b"RIFF\xff\xff\xff\xffWEBPVP8X\x0a\0\0\0\0\0\0\0\xff\xff\xff\xff\xff\xff",
        b"RIFF\0\0\0\0WEBP",
        b"GIF89a",
        b"\xff\xd8\xff",
        b"",
    ],
    ids=[
        "chunks",
        "profile",
        "exif",
        "texts",
        "two sizes",
        "no chunk",
        "segments",
        "exif segments",
        "scans",
        "webp",
        *"abcd",
    ],
)
def test_what_is_too_much_is_refused_before_it_is_decoded(data: bytes) -> None:
    with pytest.raises(UnreadablePicture):
        decode(data, SMALL)
    if b"\xff\xda\xff\xda" not in data:  # scans cost nothing where no pixel is unpacked
        with pytest.raises(UnreadablePicture), opened_picture(io.BytesIO(data), decoding.FORMATS, decoding.MAX_PIXELS):
            raise AssertionError("it was opened")


def test_what_a_decoder_dies_of_is_a_refusal_and_the_next_picture_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    good = encoded(Image.new("RGB", (40, 20), "red"))
    assert decode(good, SMALL).width == 40
    monkeypatch.setattr(decoding, "MAX_SECONDS", 0)  # it is ended before it can answer
    slow = encoded(Image.effect_noise((4000, 4000), 9))
    with pytest.raises(UnreadablePicture, match="too much memory or time"):
        decode(slow, SMALL)
    monkeypatch.undo()
    assert decode(good, SMALL).height == 20


@pytest.mark.skipif(sys.platform != "linux", reason="bounds on memory are the system's")
def test_memory_is_bounded_in_the_process() -> None:
    code = (
        "from zimage_app.service.pictures import decoding; decoding._bound_memory()\n"
        "try: bytearray(decoding.MAX_MEMORY)\n"
        "except MemoryError: print('bounded')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "bounded"


def test_the_process_loads_neither_torch_nor_numpy() -> None:
    code = (
        "import sys, zimage_app.service.pictures.decoding; assert not {'torch', 'numpy', 'gradio'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_the_process_finds_packages_where_a_variable_says() -> None:
    # The interpreter outside a virtual environment has no Pillow of its own, as with packages of a user.
    code = (
        "import sys\nfrom zimage_app.service.pictures import decoding\n"
        "print(decoding.decode(sys.stdin.buffer.read(), decoding.DecodeOptions((8, 8), 'inside')).width)"
    )
    found = os.pathsep.join((sysconfig.get_path("purelib"), str(ROOT)))
    done = subprocess.run(
        [getattr(sys, "_base_executable", sys.executable), "-c", code],
        env=os.environ | {"PYTHONPATH": found},
        input=encoded(Image.new("RGB", (4, 4))),
        capture_output=True,
        check=False,
    )
    assert done.stdout.strip() == b"4", done.stderr.decode()


def test_the_process_ends_with_its_parent() -> None:
    code = (
        "import os, sys\nfrom zimage_app.service.pictures import decoding\n"
        "decoding.decode(sys.stdin.buffer.read(), decoding.DecodeOptions((8, 8), 'inside'))\n"
        "print(decoding._WORKERS._idle[0]._program.pid, flush=True)\nos._exit(1)"
    )
    picture = encoded(Image.new("RGB", (4, 4)))
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, input=picture, capture_output=True, check=False)
    # It held the same output: that ``run`` came back means that nobody does any more, but for the process' own pipe.
    number = int(done.stdout)
    for _ in range(1000):
        try:
            os.kill(number, 0)
            if Path(f"/proc/{number}/stat").read_text().split()[2] == "Z":
                return
        except (ProcessLookupError, FileNotFoundError):
            return
        subprocess.run([sys.executable, "-c", ""], check=True)
    raise AssertionError("it still runs")
