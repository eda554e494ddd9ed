"""Pictures on disk: whole, named so that nothing collides, and remembering everything."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.service.records import a_picture, a_record
from zimage_app.domain.errors import StorageError
from zimage_app.domain.record import ImageRecord
from zimage_app.service.pictures.gallery import TEXT_KEY, Gallery, read_record


def test_a_saved_picture_remembers_everything(tmp_path: Path) -> None:
    record = a_record()
    saved = Gallery(tmp_path).save(a_picture(), record)
    assert saved.path == tmp_path / "2026-01-02" / "20260102-030405-0a1b2c3d.png"
    assert read_record(saved.path) == record
    with Image.open(saved.path) as image:
        np.testing.assert_array_equal(np.asarray(image), a_picture())
        text = image.info["parameters"]
    assert text.splitlines()[0] == "水墨, 一艘红色小船 <lora:ink:0.8>"
    assert text.splitlines()[1] == "Negative prompt: 云"
    assert "Steps: 16, Sampler: dpmpp_sde, Schedule type: beta, CFG scale: 1, Seed: 42, Size: 672x864" in text


def test_the_other_form_is_found_again(tmp_path: Path) -> None:
    gallery = Gallery(tmp_path)
    gallery.save(a_picture(), a_record())
    found = gallery.find("20260102-030405-0a1b2c3d")
    assert found is not None
    assert found.record.request.prompt == "一艘红色小船"


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "20260102-030405-0A1B2C3D", "20260102-030405-0a1b2c3d.png"])
def test_an_id_is_never_taken_for_a_path(tmp_path: Path, name: str) -> None:
    Gallery(tmp_path).save(a_picture(), a_record())
    assert Gallery(tmp_path).find(name) is None


def test_nothing_is_left_behind_but_the_picture(tmp_path: Path) -> None:
    saved = Gallery(tmp_path).save(a_picture(), a_record())
    assert list(saved.path.parent.iterdir()) == [saved.path]


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    blocked = tmp_path / "outputs"
    blocked.write_text("a file where a folder should be", encoding="utf-8")
    with pytest.raises(StorageError, match=r"could not be saved in .*--outputs"):
        Gallery(blocked).save(a_picture(), a_record())


def test_a_picture_without_settings_is_said(tmp_path: Path) -> None:
    path = tmp_path / "plain.png"
    Image.new("RGB", (8, 8)).save(path)
    with pytest.raises(StorageError, match=r"plain\.png holds no settings"):
        read_record(path)
    path.write_bytes(b"\x89PNG\r\n\x1a\nrubbish")
    with pytest.raises(StorageError, match=r"plain\.png is not a readable PNG"):
        read_record(path)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"schema_version":' * 50_000, '{"schema_version": 1e999}'])
def test_settings_that_are_nested_without_end_are_said(text: str) -> None:
    with pytest.raises(StorageError, match="not readable settings"):
        ImageRecord.from_json(text)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("width", 2**70),
        ("height", 0),
        ("created", "0001-01-01T00:00:00+14:00"),
        ("created", "9999-12-31T23:59:59-14:00"),
        ("seconds", float("inf")),
        ("model", "x" * 9000),
        ("stages", []),
        ("stages", [{"number": 7, "seed": 1, "seconds": 1.0, "calls": 1, "skipped_calls": 0}]),
        ("request", {"prompt": "a", "seed": "random", "stages": [{}]}),
        ("request", {"prompt": "a", "seed": 1}),
    ],
)
def test_settings_on_which_lists_would_stumble_are_not_read(field: str, value: object) -> None:
    data = json.dumps(json.loads(a_record().to_json()) | {field: value}).replace("Infinity", "1e999")
    with pytest.raises(StorageError, match=f"{field}.* is wrong or missing"):
        ImageRecord.from_json(data)


def test_settings_of_a_newer_version_are_refused_as_such() -> None:
    newer = a_record().to_json().replace('"schema_version":1', '"schema_version":7')
    with pytest.raises(StorageError, match="newer version"):
        ImageRecord.from_json(newer)
    with pytest.raises(StorageError, match="model is wrong or missing"):
        ImageRecord.from_json(a_record().to_json().replace('"model":"demo"', '"model":3', 1))
    with pytest.raises(StorageError, match="not readable settings"):
        ImageRecord.from_json("[1")


_SAVE_FOREVER = """
import sys
from pathlib import Path
from tests.service.records import a_picture, a_record
from zimage_app.service.pictures.gallery import Gallery
gallery, picture = Gallery(Path(sys.argv[1])), a_picture()
for number in range(10**6):
    gallery.save(picture, a_record(f"20260102-030405-{number:08x}"))
    print(number, flush=True)
"""


def test_a_kill_never_leaves_a_torn_picture(tmp_path: Path) -> None:
    for attempt in range(6):
        kept = 0
        folder = tmp_path / str(attempt)
        with subprocess.Popen(
            [sys.executable, "-c", _SAVE_FOREVER, str(folder)],
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[3],
        ) as process:
            assert process.stdout is not None
            for _ in range(3 * attempt + 1):
                process.stdout.readline()
            process.kill()  # while the next one is being saved
        for path in folder.rglob("*.png"):
            if not path.name.startswith("."):
                with Image.open(path) as image:
                    image.load()
                assert TEXT_KEY in image.info
                kept += 1
        assert kept > 3 * attempt
