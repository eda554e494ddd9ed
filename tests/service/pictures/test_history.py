"""The history: what is listed, found, starred, deleted and put back; and that its index may be lost."""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import sqlite3
import threading
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from tests.service.records import a_picture, a_record
from zimage_app.domain.errors import StorageError
from zimage_app.domain.request import Template
from zimage_app.domain.settings.lora_use import LoraUse
from zimage_app.service.pictures.gallery import Gallery
from zimage_app.service.pictures.history import History, Search
from zimage_app.service.pictures.history.favourites import NAME as FAVOURITES
from zimage_app.service.pictures.history.folders import PictureFile
from zimage_app.service.pictures.history.history import INDEX_NAME
from zimage_app.service.pictures.history.index import Index
from zimage_app.service.rules.permissions import owner_mark

SMALL = a_picture()[:32, :24]
SECRET = "0123456789abcdef" * 2


def an_id(number: int, day: int = 2) -> str:
    return f"202601{day:02}-030405-{number:08x}"


def save(folder: Path, number: int, prompt: str = "一艘红色小船", day: int = 2, owner: str = "") -> str:
    """A picture of ours with a small one's pixels; gives its id."""
    record = a_record(an_id(number, day), prompt)
    created = record.created.replace(day=day, minute=number % 60)
    Gallery(folder).save(SMALL, record.model_copy(update={"created": created}), owner)
    return record.id


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "outputs"


def listed(history: History, search: Search | None = None, owner: str | None = None) -> list[str]:
    history.refresh()
    page = history.page(owner, search or Search(), page_size=1000)
    assert not page.reading
    return [item.id for item in page.items]


def test_pages_are_newest_first_and_clamped(folder: Path) -> None:
    ids = [save(folder, number, f"图 {number}", day=2 + number // 4) for number in range(10)]
    history = History(folder)
    assert listed(history) == ids[::-1]
    page = history.page(None, page=2, page_size=4)
    assert ([item.id for item in page.items], page.total, page.page, page.pages) == (ids[5:1:-1], 10, 2, 3)
    assert [history.page(None, page=number, page_size=4).page for number in (-5, 0, 99)] == [1, 1, 3]
    item = page.items[0]
    assert (item.prompt, item.seed, item.width, item.model, item.favourite) == ("图 5", 42, 672, "demo", False)
    assert item.path == folder / "2026-01-03" / f"{ids[5]}.png"
    assert history.days(None) == [("2026-01-04", 2), ("2026-01-03", 4), ("2026-01-02", 4)]
    assert history.models(None) == [("demo", 10)]
    latest = history.latest(None)
    assert latest is not None
    assert latest.record.request.prompt == "图 9"


def test_an_empty_or_missing_folder_has_no_pictures(folder: Path) -> None:
    history = History(folder)
    page = history.page(None)
    assert (page.items, page.total, page.page, page.pages) == ((), 0, 1, 1)
    assert history.latest(None) is None
    assert history.days(None) == []


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("小船", True),
        ("小船 RED", True),
        ("ｒｅｄ", True),
        ("小船 竹林", False),
        ('"a red boat"', True),
        ('"red a boat"', False),
        ('"a red', True),
        ("云", True),
        ("水墨", True),
        ("lora:ink", True),
        ("种子：42", True),
        ("seed:43", False),
        ("seed:4", False),
        ("scheduler:flow", True),
        ("scheduler:flow_match", True),
        ("scheduler:simple", False),
        ("prompt:boat", True),
        ("提示词:小船", True),
        ("prompt:dog", False),
        ("采样器:dpmpp", True),
        ("sampler:euler", False),
        ("sampler:euler_a", True),
        ("sampler:euler_ancestral", True),
        ("model:demo", True),
        ("日期:2026-01", True),
        ("date:2025", False),
        ("672×864", True),
        ("100%", True),
        ("100_", False),
        ("'; DROP TABLE files; --", False),
        ("", True),
    ],
)
def test_search_looks_at_prompts_and_settings_in_both_languages(folder: Path, text: str, fits: bool) -> None:
    save(folder, 1, "一艘红色小船, a Red boat, 100%")
    assert (listed(History(folder), Search(text)) != []) is fits


@pytest.mark.parametrize(("word", "fits"), [("ink", True), ("wash", True), ("风格", True), ("sh", False)])
def test_a_lora_is_found_by_each_word_of_its_name(folder: Path, word: str, fits: bool) -> None:
    record = a_record(an_id(1, 2))
    named = record.request.model_copy(update={"loras": (LoraUse(name="风格/demo-ink_wash"),)})
    Gallery(folder).save(SMALL, record.model_copy(update={"request": named}))
    assert (listed(History(folder), Search(f"lora:{word}")) != []) is fits


def test_search_finds_what_was_typed_and_what_was_drawn(folder: Path) -> None:
    record = a_record(an_id(1), "红色的小船")
    typed = record.request.model_copy(update={"template": Template(prompt="__颜色__的小船")})
    Gallery(folder).save(SMALL, record.model_copy(update={"request": typed}), "")
    for text in ("__颜色__", "红色"):
        assert listed(History(folder), Search(text)) == [record.id]


def test_filters_by_day_model_and_favourite(folder: Path) -> None:
    first, second = save(folder, 1, day=2), save(folder, 2, day=3)
    history = History(folder)
    assert listed(history, Search(day="2026-01-02")) == [first]
    assert listed(history, Search(model="demo")) == [second, first]
    assert listed(history, Search(model="other")) == []
    assert history.favourite([first, "20260101-000000-ffffffff", "../x"], None) == [first]
    assert listed(history, Search(favourites=True)) == [first]
    assert history.page(None).items[1].favourite
    assert history.is_favourite(first)
    history.favourite([first], None, on=False)
    assert listed(history, Search(favourites=True)) == []


def test_files_that_come_and_go_by_hand_are_seen(folder: Path, tmp_path: Path) -> None:
    one = save(folder, 1)
    history = History(folder)
    assert listed(history) == [one]
    other = save(tmp_path / "elsewhere", 2)
    (folder / "kept" / "best").mkdir(parents=True)
    by_hand = folder / "kept" / "best" / "my boat.png"
    shutil.copy(tmp_path / "elsewhere" / "2026-01-02" / f"{other}.png", by_hand)
    assert listed(history) == [other, one]
    found = history.find(other, None)
    assert found is not None
    assert found.path == by_hand
    by_hand.unlink()
    assert listed(history) == [one]
    assert history.find(other, None) is None
    shutil.rmtree(folder / "2026-01-02")
    assert listed(history) == []


def test_copies_are_listed_once_and_deleted_together(folder: Path) -> None:
    one = save(folder, 1)
    path = folder / "2026-01-02" / f"{one}.png"
    shutil.copy(path, folder / "copy.png")
    history = History(folder)
    assert listed(history) == [one]
    assert history.delete([one], None) == [one]
    assert listed(history) == []
    assert history.undo([one], None) == [one]
    assert path.is_file()
    assert (folder / "copy.png").is_file()
    path.unlink()
    assert listed(history) == [one]


def test_a_picture_stays_listed_where_another_takes_the_place_of_its_copy(folder: Path) -> None:
    one, other = save(folder, 1), save(folder, 2)
    best = folder / "00-best" / "best.png"
    best.parent.mkdir()
    shutil.copy(folder / "2026-01-02" / f"{one}.png", best)
    history = History(folder)
    assert listed(history) == [other, one]
    shutil.copy(folder / "2026-01-02" / f"{other}.png", folder / "new.png")
    (folder / "new.png").replace(best)
    assert listed(history) == [other, one]
    best.write_bytes(b"of another program")
    assert listed(history) == [other, one]


def test_other_files_are_passed_over(folder: Path) -> None:
    one = save(folder, 1)
    day = folder / "2026-01-02"
    Image.new("RGB", (8, 8)).save(day / "holiday.png")
    (day / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nrubbish")
    (day / "empty.png").write_bytes(b"")
    (day / f".{one}.png.abcd.part").write_bytes(b"half")
    shutil.copy(day / f"{one}.png", day / f"{one}.stage1.png")
    (folder / ".hidden").mkdir()
    shutil.copy(day / f"{one}.png", folder / ".hidden" / "x.png")
    (folder / "link.png").symlink_to(day / f"{one}.png")
    (folder / "loop").symlink_to(folder)
    (folder / "folder.png").mkdir()
    if os.name == "posix":
        with open(os.path.join(os.fsencode(folder), b"\xff\xfe.png"), "wb") as file:
            file.write((day / f"{one}.png").read_bytes())
    history = History(folder)
    assert listed(history) == [one]
    assert history.page(None).total == 1


def test_a_file_that_is_still_being_copied_is_read_when_it_is_whole(folder: Path) -> None:
    one = save(folder, 1)
    path = folder / "2026-01-02" / f"{one}.png"
    whole = path.read_bytes()
    path.write_bytes(whole[:200])
    history = History(folder)
    assert listed(history) == []
    path.write_bytes(whole)
    assert listed(history) == [one]


def test_visitors_see_and_change_only_their_own(folder: Path) -> None:
    mine, theirs, nobody = (save(folder, n, owner=owner) for n, owner in enumerate([SECRET, "other", ""]))
    history = History(folder, shared=True)
    assert listed(history, owner=SECRET) == [mine]
    assert listed(history, owner="other") == [theirs]
    assert listed(history, owner="") == []
    assert listed(history, owner=owner_mark(SECRET)) == []
    assert listed(history) == [nobody, theirs, mine]
    for picture in (theirs, nobody):
        assert history.find(picture, SECRET) is None
    assert history.find(nobody, "") is None
    everything = [mine, theirs, nobody]
    with zipfile.ZipFile(io.BytesIO(b"".join(history.zip(everything, SECRET)))) as archive:
        assert archive.namelist() == [f"{mine}.png"]
    assert history.favourite(everything, SECRET) == [mine]
    assert history.delete(everything, SECRET) == [mine]
    assert history.undo(everything, "other") == []
    assert history.empty_trash("other") == []
    assert history.undo(everything, SECRET) == [mine]
    assert history.days(SECRET) == [("2026-01-02", 1)]
    history.delete(everything, SECRET)
    assert history.empty_trash(SECRET) == [mine]
    assert sorted(listed(history)) == sorted([theirs, nobody])


def test_the_owner_s_id_itself_is_in_no_file(folder: Path) -> None:
    save(folder, 1, owner=SECRET)
    history = History(folder, shared=True)
    assert len(listed(history, owner=SECRET)) == 1
    history.close()
    for path in folder.rglob("*"):
        assert path.is_dir() or SECRET.encode() not in path.read_bytes()


def test_at_home_the_owner_does_not_matter(folder: Path) -> None:
    one = save(folder, 1)
    history = History(folder)
    assert listed(history, owner="whoever") == listed(history, owner="") == [one]


@pytest.mark.parametrize(
    "name", ["", "x", "../../etc/passwd", "20260102-030405-0000000A", "%", "20260102-030405-0000000a.png"]
)
def test_an_id_is_never_a_path(folder: Path, name: str) -> None:
    save(folder, 10)
    history = History(folder)
    history.refresh()
    assert history.find(name, None) is None
    assert history.delete([name], None) == []


def test_deleted_pictures_lie_in_the_trash_until_it_is_emptied(folder: Path) -> None:
    one, two = save(folder, 1), save(folder, 2)
    path = folder / "2026-01-02" / f"{one}.png"
    bytes_before = path.read_bytes()
    stage = path.with_name(f"{one}.stage1.png")
    stage.write_bytes(b"stage")
    history = History(folder)
    history.favourite([one], None)
    assert history.delete([one, one, "nothing"], None) == [one]
    assert (listed(history), listed(history, Search(trashed=True))) == ([two], [one])
    assert not path.exists()
    assert not stage.exists()
    assert history.find(one, None) is None
    in_trash = history.find(one, None, trashed=True)
    assert in_trash is not None
    assert in_trash.path.parent == folder / ".trash" / "2026-01-02"
    assert [(number, path.name) for number, path in history.stages(in_trash)] == [(1, stage.name)]
    assert History(folder).undo([one], None) == [one]
    assert (path.read_bytes(), stage.read_bytes()) == (bytes_before, b"stage")
    assert listed(history, Search(favourites=True)) == [one]
    history.delete([one], None)
    assert history.empty_trash(None) == [one]
    assert listed(history, Search(trashed=True)) == []
    assert [each for each in (folder / ".trash").rglob("*") if each.is_file()] == []


def test_what_lies_at_a_picture_s_old_place_is_left_alone(folder: Path) -> None:
    one = save(folder, 1)
    path = folder / "2026-01-02" / f"{one}.png"
    history = History(folder)
    history.delete([one], None)
    path.write_bytes(b"somebody else's")
    assert history.undo([one], None) == [one]
    assert path.read_bytes() == b"somebody else's"
    assert listed(history) == [one]
    found = history.find(one, None)
    assert found is not None
    assert found.path.name == f"{one}.2.png"


def test_a_folder_that_may_not_be_written_is_said(folder: Path) -> None:
    one = save(folder, 1)
    (folder / ".trash").write_text("a file where the trash should be")
    history = History(folder)
    with pytest.raises(StorageError, match="could not be moved or deleted"):
        history.delete([one], None)
    assert listed(history) == [one]
    (folder / FAVOURITES).mkdir()
    with pytest.raises(StorageError, match="favourite could not be kept") as told:
        history.favourite([one], None)
    assert str(folder) not in str(told.value), "strangers read it too"


def test_a_zip_holds_the_files_byte_for_byte_with_their_stages(folder: Path) -> None:
    one, two = save(folder, 1), save(folder, 2)
    day = folder / "2026-01-02"
    (day / f"{one}.stage2.png").write_bytes(b"2")
    (day / f"{one}.stage1.png").write_bytes(b"1" * 600_000)
    pieces = list(History(folder).zip([two, one, two, "nothing"], None))
    assert len(pieces) > 3
    with zipfile.ZipFile(io.BytesIO(b"".join(pieces))) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == [f"{two}.png", f"{one}.png", f"{one}.stage1.png", f"{one}.stage2.png"]
        assert archive.read(f"{one}.png") == (day / f"{one}.png").read_bytes()


def test_favourites_outlive_the_index_and_a_broken_list_is_kept(folder: Path) -> None:
    one = save(folder, 1)
    history = History(folder)
    history.favourite([one], None)
    assert listed(history, Search(favourites=True)) == [one]
    history.close()
    (folder / INDEX_NAME).unlink()
    history = History(folder)
    assert listed(history, Search(favourites=True)) == [one]
    (folder / FAVOURITES).write_text("{broken", encoding="utf-8")
    assert listed(history, Search(favourites=True)) == []
    history.favourite([one], None)
    assert listed(history, Search(favourites=True)) == [one]
    (aside,) = folder.glob(f"{FAVOURITES}.broken-*")
    assert aside.read_text(encoding="utf-8") == "{broken"
    assert json.loads((folder / FAVOURITES).read_text(encoding="utf-8")) == {"version": 1, "ids": [one]}


def test_two_programs_on_one_folder_see_what_the_other_does(folder: Path) -> None:
    one = save(folder, 1)
    ours, theirs = History(folder), History(folder)
    assert listed(ours) == listed(theirs) == [one]
    ours.favourite([one], None)
    assert listed(theirs, Search(favourites=True)) == [one]
    two = save(folder, 2)
    assert listed(theirs) == listed(ours) == [two, one]
    theirs.delete([one], None)
    assert listed(ours) == [two]


def test_the_index_may_vanish_while_it_is_in_use(folder: Path) -> None:
    one = save(folder, 1)
    history = History(folder)
    assert listed(history) == [one]
    for path in folder.glob(f"{INDEX_NAME}*"):
        path.unlink()
    assert listed(history) == [one]
    assert (folder / INDEX_NAME).is_file()


def test_a_row_that_was_changed_behind_its_back_is_read_again(folder: Path) -> None:
    one = save(folder, 1)
    history = History(folder)
    assert listed(history) == [one]
    history.close()
    with sqlite3.connect(folder / INDEX_NAME) as connection:
        connection.execute("UPDATE files SET text = 'nothing', prompt = 'nothing', day = '1999-01-01'")
    connection.close()
    history = History(folder)
    assert listed(history, Search("小船", day="2026-01-02")) == [one]


def test_a_long_reading_goes_on_in_the_background_and_breaks_off_at_the_end(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [save(folder, number) for number in range(3)]
    monkeypatch.setattr("zimage_app.service.pictures.history.history._BATCH", 1)
    reading, go_on = threading.Event(), threading.Event()
    real = Index.read

    def read(index: Index, files: Sequence[PictureFile]) -> None:
        real(index, files)
        reading.set()
        assert go_on.wait(60)

    monkeypatch.setattr(Index, "read", read)
    history = History(folder)
    history.start()
    assert reading.wait(60)
    first = history.page(None)
    assert (first.total, first.reading) == (1, True)
    assert history.find(ids[0], None) is not None
    closing = threading.Thread(target=history.close)
    closing.start()
    assert history._closing.wait(60)
    go_on.set()
    closing.join(60)
    with sqlite3.connect(folder / INDEX_NAME) as connection:
        assert 1 <= connection.execute("SELECT COUNT(*) FROM files").fetchone()[0] < 3
    connection.close()
    assert listed(History(folder)) == ids[::-1]


def check_damage(folder: Path, flips: int, cuts: int, seed: int = 1) -> None:
    """Damage the index in many ways; each time everything must be listed and found again."""
    chance = random.Random(seed)
    ids = [save(folder, number, f"小船 {number}", day=1 + number % 5) for number in range(40)]
    history = History(folder)
    history.favourite(ids[:3], None)
    history.refresh()

    def seen(history: History) -> tuple[object, ...]:
        history.refresh()
        items = history.page(None, page_size=1000).items
        texts = [listed(history, Search(text)) for text in ("小船 7", "seed:42")]
        return items, texts, history.days(None)

    expected = seen(history)
    history.close()
    path = folder / INDEX_NAME
    whole = path.read_bytes()
    assert len(expected[0]) == 40  # type: ignore[arg-type]
    for number in range(flips + cuts):
        data = bytearray(whole)
        if number < flips:
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        else:
            del data[chance.randrange(len(data)) :]
        for old in folder.glob(f"{INDEX_NAME}*"):
            old.unlink()
        path.write_bytes(data)
        history = History(folder)
        assert seen(history) == expected, f"case {number}"
        history.close()


def test_c4_a_damaged_index_is_made_again_from_the_pictures(folder: Path) -> None:
    check_damage(folder, flips=25, cuts=8)


def test_a_picture_of_others_does_not_stop_the_index_at_the_next_start(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "other.png")
    for number in (1, 2):
        save(tmp_path, number)
        history = History(tmp_path)
        history.refresh()
        assert history.page(None).total == number
        history.close()


def test_a_zip_takes_files_of_one_name_and_from_before_1980(folder: Path) -> None:
    one, two = save(folder, 1), save(folder, 2)
    for name, picture_id in (("a", one), ("b", two)):
        (folder / name).mkdir()
        (folder / "2026-01-02" / f"{picture_id}.png").rename(folder / name / "boat.png")
        os.utime(folder / name / "boat.png", (0, 0))
    history = History(folder)
    assert set(listed(history)) == {one, two}
    with zipfile.ZipFile(io.BytesIO(b"".join(history.zip([one, two], None)))) as archive:
        assert archive.namelist() == ["boat.png", "boat 2.png"]
        assert archive.read("boat 2.png") == (folder / "b" / "boat.png").read_bytes()


def test_a_copy_in_the_trash_is_listed_and_emptied_there(folder: Path) -> None:
    one = save(folder, 1)
    history = History(folder)
    history.delete([one], None)
    copy = folder / "copy.png"
    shutil.copy(folder / ".trash" / "2026-01-02" / f"{one}.png", copy)
    assert listed(history) == [one]
    assert listed(history, Search(trashed=True)) == [one]
    assert history.empty_trash(None) == [one]
    assert listed(history) == [one]
    assert copy.is_file()
    assert listed(history, Search(trashed=True)) == []
