"""JPEG and WebP with settings inside: our own importer reads back what was asked for, exactly."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from tests.service.records import a_record
from zimage_app.domain.errors import StorageError
from zimage_app.domain.record import ImageRecord
from zimage_app.domain.request import MAX_PROMPT
from zimage_app.service.imports.read import read_settings
from zimage_app.service.pictures.formats import FORMATS, converted, with_parameters


def _encoded(kind: str) -> bytes:
    shades = np.linspace(0, 255, 64 * 48 * 3).astype(np.uint8).reshape(64, 48, 3)
    buffer = io.BytesIO()
    Image.fromarray(shades).save(buffer, kind)
    return buffer.getvalue()


def _with_prompt(prompt: str) -> ImageRecord:
    record = a_record("20260101-000000-00000000")
    return record.model_copy(update={"request": record.request.model_copy(update={"prompt": prompt})})


@pytest.mark.parametrize("kind", list(FORMATS))
@pytest.mark.parametrize("prompt", ["a boat, (light:1.2)\nsecond line", "夕阳下的小船 🛶 “引号”"])
def test_the_settings_come_back_exactly(kind: str, prompt: str) -> None:
    record = _with_prompt(prompt)
    data = converted(_encoded("PNG"), kind, record.parameters_text)
    found = read_settings(data, f"x.{kind}")
    assert found.exact
    assert found.settings == record.request.model_dump(mode="json", exclude_unset=True)
    with Image.open(io.BytesIO(data)) as image, Image.open(io.BytesIO(_encoded("PNG"))) as before:
        difference = np.abs(np.asarray(image.convert("RGB"), np.int16) - np.asarray(before, np.int16))
    assert difference.max() <= 24
    assert difference.mean() < 3


def test_the_comment_is_written_as_a1111_writes_it() -> None:
    with Image.open(io.BytesIO(converted(_encoded("PNG"), "jpg", "一艘船\nSteps: 9"))) as image:
        comment = image.getexif().get_ifd(0x8769)[0x9286]
    assert comment == b"UNICODE\0" + "一艘船\nSteps: 9".encode("utf-16-be")


def test_a_jpeg_gets_settings_and_keeps_its_pixels() -> None:
    jpeg = _encoded("JPEG")
    marked = with_parameters(jpeg, _with_prompt("阶段").parameters_text)
    assert read_settings(marked, "x.jpg").settings["prompt"] == "阶段"
    with Image.open(io.BytesIO(jpeg)) as before, Image.open(io.BytesIO(marked)) as after:
        assert np.abs(np.asarray(before, np.int16) - np.asarray(after, np.int16)).max() <= 2


def test_settings_that_a_jpeg_cannot_hold_are_refused_and_kept_by_webp() -> None:
    record = _with_prompt("长" * MAX_PROMPT)
    longer = record.request.model_copy(update={"negative": "短" * MAX_PROMPT})
    text = record.model_copy(update={"request": longer}).parameters_text
    with pytest.raises(StorageError, match="too long for a JPEG"):
        converted(_encoded("PNG"), "jpg", text)
    assert read_settings(converted(_encoded("PNG"), "webp", text), "x.webp").settings["negative"] == longer.negative
