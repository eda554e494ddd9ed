"""Pictures that are handed in: what is taken, what is refused before it costs memory, and what is kept."""

from __future__ import annotations

import hashlib
import io
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from zimage_app.domain.errors import ImportedFileError, RequestError, StorageError
from zimage_app.domain.settings.start_picture import StartPicture
from zimage_app.service.generation.start_pictures import FOLDER, MAX_BYTES, PictureInputs
from zimage_app.service.pictures.decoding import Decoded, DecodeOptions, decode
from zimage_app.service.rules.permissions import owner_mark

RED, BLUE = (255, 0, 0), (0, 0, 255)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def halves() -> Image.Image:
    """Left red, right blue; 40 × 20."""
    image = Image.new("RGB", (40, 20), RED)
    image.paste(BLUE, (20, 0, 40, 20))
    return image


def bomb(width: int, height: int) -> bytes:
    """A PNG whose head promises more than anybody can hold."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


@pytest.fixture
def inputs(tmp_path: Path) -> PictureInputs:
    return PictureInputs(tmp_path)


def near(pixel: np.ndarray, colour: tuple[int, int, int]) -> bool:
    return bool(np.abs(pixel.astype(int) - colour).max() < 12)


def start(digest: str, **more: Any) -> StartPicture:
    return StartPicture(picture=digest, **more)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_picture_is_kept_as_it_came(inputs: PictureInputs, tmp_path: Path, kind: str) -> None:
    data = encoded(halves(), kind)
    kept = inputs.save(data, "photo")
    assert (kept.width, kept.height) == (40, 20)
    assert kept.sha256 == hashlib.sha256(data).hexdigest()
    assert (tmp_path / FOLDER / kept.sha256).read_bytes() == data
    assert inputs.save(data, "again") == kept
    assert inputs.thumbnail(kept.sha256) is not None


def test_crop_cuts_both_sides_and_stretch_keeps_all(inputs: PictureInputs) -> None:
    digest = inputs.save(encoded(halves()), "x").sha256
    square = inputs.load(start(digest), (16, 16))
    assert square.shape == (16, 16, 3)
    assert near(square[8, 2], RED)
    assert near(square[8, 13], BLUE)
    tall = Image.new("RGB", (20, 40), RED)
    tall.paste(BLUE, (0, 0, 20, 8))
    digest = inputs.save(encoded(tall), "x").sha256
    assert near(inputs.load(start(digest), (16, 16))[0, 8], RED), "the strip at the top is cut off"
    stretched = inputs.load(start(digest, fit="stretch"), (16, 16))
    assert near(stretched[0, 8], BLUE)


def test_crop_cuts_whole_pixels_as_comfyui_does(inputs: PictureInputs) -> None:
    """Its crop "center": round((1024 - 1024 * (0.75 / (1024 / 678))) / 2) = 258 pixels off both sides."""
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (678, 1024, 3), np.uint8))
    digest = inputs.save(encoded(noise), "x").sha256
    expected = noise.crop((258, 0, 766, 678)).resize((96, 128), Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(inputs.load(start(digest), (96, 128)), np.asarray(expected))
    noise = noise.transpose(Image.Transpose.TRANSPOSE)
    turned = inputs.save(encoded(noise), "x").sha256
    expected = noise.crop((0, 258, 678, 766)).resize((128, 96), Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(inputs.load(start(turned), (128, 96)), np.asarray(expected))


def test_a_strip_of_one_or_two_pixels_is_cropped_too(inputs: PictureInputs) -> None:
    for strip in ((2, 600), (600, 2), (1, 600)):
        digest = inputs.save(encoded(Image.new("RGB", strip, RED)), "x").sha256
        for size in ((16, 600), (600, 16)):
            assert near(inputs.load(start(digest), size)[8, 8], RED)


def test_a_photograph_is_turned_upright(inputs: PictureInputs) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera lay on its side: turn by 90 degrees clockwise
    kept = inputs.save(encoded(halves(), "JPEG", exif=exif, quality=95), "phone.jpg")
    assert (kept.width, kept.height) == (20, 40)
    upright = inputs.load(start(kept.sha256), (32, 64))
    assert upright[8, 16, 0] > 200, "what was left is on top"
    assert upright[56, 16, 2] > 200


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
@pytest.mark.parametrize("size", [(16, 16), (640, 640)])
def test_below_what_is_transparent_the_files_colours_count(
    inputs: PictureInputs, mode: str, size: tuple[int, int]
) -> None:
    """ComfyUI reads no transparency into a picture either; a mask editor's PNG has the whole picture below it."""
    colour = (90, 90, 90)
    clear = Image.new("RGBA", size, (*colour, 0))
    options: dict[str, Any] = {"transparency": 0} if mode == "P" else {}
    if mode == "P":
        image = Image.new("P", size, 0)
        image.putpalette(colour)
    else:
        image = clear.convert(mode)
    digest = inputs.save(encoded(image, **options), "x").sha256
    assert (inputs.load(start(digest), (16, 16)) == 90).all()
    assert (np.asarray(inputs.image(digest)) == 90).all()
    shown = inputs.thumbnail(digest)
    assert shown is not None
    assert abs(np.asarray(Image.open(io.BytesIO(shown))).astype(int) - 90).max() < 3


def test_sixteen_bits_are_scaled_not_cut(inputs: PictureInputs) -> None:
    grey = Image.fromarray(np.full((32, 32), 32896, np.uint16))
    digest = inputs.save(encoded(grey), "x").sha256
    assert (inputs.load(start(digest), (16, 16)) == 128).all()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"milk", "is not a picture .* take a PNG, JPEG or WebP"),
        (b"", "is not a picture .* take a PNG, JPEG or WebP"),
        (encoded(Image.new("RGB", (8, 8)), "GIF"), "is not a picture .* take a PNG, JPEG or WebP"),
        (encoded(halves())[:-30], "is not a picture .* take a PNG, JPEG or WebP"),
        (bomb(30_000, 30_000), "more than 50 million pixels; make it smaller"),
        (bomb(2**31 - 1, 2**31 - 1), "more than 50 million pixels; make it smaller"),
        (bomb(9_000, 9_000), "more than 50 million pixels; make it smaller"),
        (b"\x89PNG\r\n\x1a\n" + b"0" * MAX_BYTES, "bigger than 32 MB; make it smaller"),
    ],
    ids=["text", "empty", "gif", "cut off", "bomb", "larger bomb", "bomb below Pillow's own bound", "too big"],
)
def test_what_is_no_picture_to_start_from_is_refused(
    inputs: PictureInputs, tmp_path: Path, data: bytes, words: str
) -> None:
    with pytest.raises(ImportedFileError, match=words) as caught:
        inputs.save(data, "bild.png")
    assert str(caught.value).startswith("bild.png ")
    assert list(tmp_path.iterdir()) == []


def test_room_is_made_by_what_was_not_used_for_longest(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (4, 40, 40, 3), dtype=np.uint8)
    files = [encoded(Image.fromarray(each)) for each in noise]
    inputs = PictureInputs(tmp_path, max_kept=3 * (len(files[0]) + 2000))
    digests = []
    for age, data in enumerate(files[:3]):
        digests.append(inputs.save(data, "x").sha256)
        os.utime(tmp_path / FOLDER / digests[-1], (1000 + age, 1000 + age))
    inputs.check(start(digests[0]))  # it is used again
    digests.append(inputs.save(files[3], "x").sha256)
    there = {path.name for path in (tmp_path / FOLDER).iterdir()}
    assert there == {f"{digests[each]}{end}" for each in (0, 2, 3) for end in ("", "-small.jpg")}


def test_room_is_not_made_by_what_jobs_need(tmp_path: Path) -> None:
    inputs = PictureInputs(tmp_path, max_kept=0)
    first = inputs.save(encoded(halves()), "x").sha256
    inputs.in_use = lambda: {first}
    others = [inputs.save(encoded(halves().rotate(angle)), "x").sha256 for angle in (90, 180)]
    assert [inputs.thumbnail(digest) is not None for digest in (first, *others)] == [True, False, True]


def test_strangers_displace_their_own_uploads_first(tmp_path: Path) -> None:
    anna, bert, carl = "a" * 32, "b" * 32, "c" * 32
    noise = np.random.default_rng(1).integers(0, 256, (8, 40, 40, 3), dtype=np.uint8)
    first, *files = [encoded(Image.fromarray(each)) for each in noise]
    shared = PictureInputs(tmp_path, max_kept=4 * (len(first) + 2000), shared=True)
    picture = shared.save(first, "x", anna).sha256
    os.utime(tmp_path / FOLDER / picture, (1000, 1000))
    digests = [shared.save(data, "x", bert).sha256 for data in files]
    kept = [shared.thumbnail(digest, bert) is not None for digest in digests]
    assert (kept[0], kept[-1], sum(kept)) == (False, True, 3)
    shared.save(first, "x", bert)
    for data in files:
        shared.save(data, "x", bert)
    assert shared.thumbnail(picture, bert) is None
    assert shared.thumbnail(picture, anna) is not None, "what one of two gives up stays the other's"
    again = PictureInputs(tmp_path, max_kept=4 * (len(first) + 2000), shared=True)
    for data in files[:3]:
        again.save(data, "x", carl)
    assert again.thumbnail(picture, anna) is not None, "also after a restart"


@pytest.mark.parametrize("digest", ["0" * 64])
def test_a_picture_that_is_gone_is_named_with_what_to_do(inputs: PictureInputs, digest: str) -> None:
    for act in (lambda: inputs.check(start(digest)), lambda: inputs.load(start(digest), (16, 16))):
        with pytest.raises(RequestError, match="0000000000… is not kept here") as caught:
            act()
        assert caught.value.field == "start.picture"
    assert inputs.thumbnail(digest) is None
    inputs.check(None)


@pytest.mark.parametrize("name", ["../secret", "", "0" * 63, "queue.sqlite", "A" * 64])
def test_no_name_leads_out_of_the_folder(inputs: PictureInputs, tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_bytes(encoded(halves()))
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / ("A" * 64)).write_bytes(encoded(halves()))
    assert inputs.thumbnail(name) is None


def test_a_file_that_was_damaged_since_is_as_if_gone(inputs: PictureInputs, tmp_path: Path) -> None:
    digest = inputs.save(encoded(halves()), "x").sha256
    (tmp_path / FOLDER / digest).write_bytes(b"milk")
    with pytest.raises(RequestError, match="not kept here"):
        inputs.load(start(digest), (16, 16))


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / FOLDER).write_text("in the way")
    with pytest.raises(StorageError, match=r"photo.png could not be kept in \.inputs"):
        PictureInputs(tmp_path).save(encoded(halves()), "photo.png")
    with pytest.raises(ImportedFileError, match="cannot be read"):
        PictureInputs(tmp_path).save_file(tmp_path / "none.png")


def test_x1_where_strangers_are_only_who_handed_a_picture_in_may_use_it(tmp_path: Path) -> None:
    anna, bert = "a" * 32, "b" * 32
    shared = PictureInputs(tmp_path, shared=True)
    data = encoded(halves())
    digest = shared.save(data, "x", anna).sha256
    shared.check(start(digest), anna)
    assert shared.thumbnail(digest, anna) is not None
    for stranger in (bert, ""):
        assert shared.thumbnail(digest, stranger) is None
        with pytest.raises(RequestError, match="is not kept here"):
            shared.check(start(digest), stranger)
    shared.check(start(digest), "", trusted=True)
    assert shared.kept(digest, "", trusted=True).sha256 == digest
    assert anna not in "".join(path.name for path in (tmp_path / FOLDER).iterdir())
    shared.save(data, "x", bert)
    shared.check(start(digest), bert)
    small = PictureInputs(tmp_path, max_kept=0, shared=True)
    small.save(encoded(halves(), "JPEG"), "y", bert)
    shared.save(data, "x", bert)
    assert shared.thumbnail(digest, anna) is None, "what went and came again is whose it came from"


def test_the_marks_beside_a_picture_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zimage_app.service.generation.start_pictures.MAX_OWNERS", 3)
    shared = PictureInputs(tmp_path, shared=True)
    data = encoded(halves())
    owners = [f"{number:032x}" for number in range(5)]
    for number, owner in enumerate(owners):
        digest = shared.save(data, "x", owner).sha256
        os.utime(tmp_path / FOLDER / f"{digest}.{owner_mark(owner)}", (number, number))
    assert [shared.thumbnail(digest, owner) is not None for owner in owners] == [False, False, True, True, True]


def test_a_mask_is_looked_at_once_and_the_picture_not_at_all(
    inputs: PictureInputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = inputs.save(encoded(halves(), "JPEG", exif=exif), "x").sha256  # upright 20 × 40
    white, black = (inputs.save(encoded(Image.new("L", (20, 40), grey)), "x").sha256 for grey in (255, 0))
    seen: list[bytes] = []

    def counted(data: bytes, wanted: DecodeOptions) -> Decoded:
        seen.append(data)
        return decode(data, wanted)

    monkeypatch.setattr("zimage_app.service.generation.start_pictures.decode", counted)
    for _ in range(3):
        inputs.check(start(picture, mask=white))
        with pytest.raises(RequestError, match="black all over"):
            inputs.check(start(picture, mask=black))
    assert seen == [inputs.file(white), inputs.file(black)]


def test_the_number_of_files_is_bounded_and_the_folder_walked_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    anna, bert = "a" * 32, "b" * 32
    files = [encoded(Image.new("L", (8, 8), grey)) for grey in range(6)]
    before = PictureInputs(tmp_path, shared=True)
    digests = [before.save(data, "x", anna).sha256 for data in files[:3]]
    before.save(files[2], "x", bert)
    monkeypatch.setattr("zimage_app.service.generation.start_pictures.MAX_FILES", 10)
    walks: list[Path] = []

    def walk(folder: Path) -> Iterator[Path]:
        walks.append(folder)
        return map(folder.joinpath, os.listdir(folder))

    monkeypatch.setattr(Path, "iterdir", walk)
    monkeypatch.setattr(Path, "glob", lambda folder, _: pytest.fail(f"{folder} is walked"))
    inputs = PictureInputs(tmp_path, shared=True)
    inputs.in_use = lambda: {digests[0]}
    digests += [inputs.save(data, "x", anna).sha256 for data in files[3:]]
    assert walks == [tmp_path / FOLDER]
    assert [inputs.thumbnail(digest, anna) is not None for digest in digests] == [True] + [False] * 4 + [True]
    assert inputs.thumbnail(digests[2], bert) is not None, "who has less keeps it"
    assert len(os.listdir(tmp_path / FOLDER)) == 9
