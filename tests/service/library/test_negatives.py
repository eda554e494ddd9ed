"""The library of negative prompts: what ships, what a user adds, and what is wrong with a file."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from zimage_app.domain.errors import RequestError, StorageError
from zimage_app.domain.negatives import SEPARATORS, phrases
from zimage_app.domain.text import folded
from zimage_app.service.library.negatives import NegativeLibrary
from zimage_app.service.setup.config import StudioConfig

SHIPPED = StudioConfig().negatives
OWN = frozenset({"my"})

HANDS = (
    "title: {en: Hands, zh: 手}\nentries:\n  多余的手指: {en: extra fingers, when: {en: Close, zh: 近}}\n  六指: {}\n"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "10-hands.yaml").write_text(HANDS, encoding="utf-8")
    (tmp_path / "20-light.yaml").write_text("entries: {过曝: {en: overexposed}}\n", encoding="utf-8")
    return tmp_path


def test_the_library_that_ships_is_whole_and_large_enough() -> None:
    categories = [each for each in NegativeLibrary(SHIPPED).categories() if each.name not in OWN]
    assert [each.problem for each in categories if each.problem] == []
    assert len(categories) >= 8
    entries = [entry for category in categories for entry in category.entries]
    assert len(entries) >= 150
    for words in ([entry.text for entry in entries], [entry.meaning for entry in entries]):
        assert [word for word, count in Counter(map(folded, words)).items() if count > 1] == []
    for entry in entries:
        assert entry.meaning
        assert entry.meaning.isascii() or "é" in entry.meaning
        assert phrases(entry.text) == (entry.text,)
        assert not set(entry.text) & set(SEPARATORS)
        assert any("\u4e00" <= letter <= "\u9fff" for letter in entry.text)
    assert all(category.title.en != category.title.zh for category in categories)


def test_files_become_categories_in_the_order_of_their_names(folder: Path) -> None:
    hands, light = NegativeLibrary(folder).categories()
    assert (hands.title.zh, light.title.en) == ("手", "20-light")
    assert [entry.text for entry in hands.entries] == ["多余的手指", "六指"]
    assert hands.entries[0].when is not None
    assert hands.entries[0].when.zh == "近"
    assert NegativeLibrary(folder / "none").categories() == ()


def test_a_file_that_is_dropped_in_is_there_after_a_refresh(folder: Path) -> None:
    library = NegativeLibrary(folder)
    assert len(library.categories()) == 2
    (folder / "朋友的.yaml").write_text("entries: {糊: {}}\n", encoding="utf-8")
    assert len(library.categories()) == 2
    assert [each.name for each in library.categories(refresh=True)] == ["10-hands", "20-light", "朋友的"]
    assert library.find("糊").text == "糊"


@pytest.mark.parametrize(
    ("text", "place", "reason"),
    [
        ("entries:\n  模糊: {en: blurry, colour: red}\n", "line 2, column 20", "unknown key 'colour'"),
        ("entries:\n  模糊: {en: blurry}\n  模糊: {}\n", "line 3, column 3", "twice"),
        ("entries:\n  模糊: {}\n  ' 模糊': {}\n", "line 3, column 3", "twice"),
        ("entries:\n  '模糊, 水印': {}\n", "line 2, column 3", "without commas"),
        ("entries:\n  '': {}\n", "line 2, column 3", "is empty"),
        (f"entries:\n  {'长' * 201}: {{}}\n", "line 2, column 3", "at most 200"),
        ("entries:\n  模糊: blurry\n", "line 2, column 7", "expected keys"),
        ("entries:\n  模糊: {en: [a]}\n", "line 2, column 12", "expected a text|expected"),
        ("entries:\n  模糊: {when: {en: x}}\n", "line 2, column 14", "'zh' is missing"),
        ("entries:\n- 模糊\n", "line 2, column 1", "expected keys"),
        ("title: {en: A, zh: [\n", "line 2, column 1", "not valid YAML"),
        ("a: &x 1\nb: *x\n", "line 2, column 4", "aliases"),
        ("", "line 1, column 1", "empty"),
        ("# " + "x" * 300_000, "line 1, column 1", "too long"),
    ],
)
def test_damage_is_told_with_its_place_and_hides_nothing_else(folder: Path, text: str, place: str, reason: str) -> None:
    (folder / "15-bad.yaml").write_text(text, encoding="utf-8")
    library = NegativeLibrary(folder)
    first, bad, last = library.categories()
    assert (first.problem, last.problem, bad.entries) == (None, None, ())
    assert bad.problem is not None
    assert f"15-bad.yaml, {place}: " in bad.problem.en
    assert any(each in bad.problem.en for each in reason.split("|"))
    line, column = (word.split(" ")[1] for word in place.split(", "))
    assert f"15-bad.yaml 第 {line} 行第 {column} 个字符：" in bad.problem.zh
    assert library.find("过曝").meaning == "overexposed"


def test_a_file_that_is_no_text_is_told(folder: Path) -> None:
    (folder / "15-bad.yaml").write_bytes(b"\xff\xfe\x00")
    problem = NegativeLibrary(folder).categories()[1].problem
    assert problem is not None
    assert "not readable as YAML" in problem.en


def test_search_asks_for_all_words_in_either_language(folder: Path) -> None:
    library = NegativeLibrary(folder)
    assert [each.name for each in library.search("")] == ["10-hands", "20-light"]
    assert [entry.text for each in library.search("FINGERS 手") for entry in each.entries] == ["多余的手指"]
    assert library.search("fingers 曝") == ()


def test_an_entry_is_found_by_text_or_meaning_or_a_near_one_is_named(folder: Path) -> None:
    library = NegativeLibrary(folder)
    assert library.find("Extra  Fingers") == library.find("多余的手指")
    for name, word in (
        ("extra finger", "did you mean 多余的手指?"),
        ("zzzz", "lists them all"),
        ("", "lists them all"),
    ):
        with pytest.raises(RequestError, match="is no entry of the library") as caught:
            library.find(name)
        assert word in caught.value.text.en


def test_own_entries_are_kept_in_a_file_of_their_own(folder: Path) -> None:
    library = NegativeLibrary(folder)
    library.add(" 发灰 ", "greyish")
    library.add("发白")
    again = NegativeLibrary(folder)
    mine = again.categories()[0]
    assert (mine.name, mine.title.zh, [entry.text for entry in mine.entries]) == ("my", "我的词条", ["发灰", "发白"])
    assert (folder / "my.yaml").read_text("utf-8").splitlines()[-3:] == ["  发灰:", "    en: greyish", "  发白: {}"]
    again.remove("发灰")
    again.remove("过曝")
    assert [entry.text for entry in again.categories()[0].entries] == ["发白"]
    assert again.find("过曝").text == "过曝"


@pytest.mark.parametrize(
    ("text", "reason"), [("六指", "already, under Hands"), ("a，b", "without commas"), ("", "is empty")]
)
def test_an_own_entry_must_be_new_and_one_phrase(folder: Path, text: str, reason: str) -> None:
    with pytest.raises(RequestError, match=reason):
        NegativeLibrary(folder).add(text)
    assert not (folder / "my.yaml").exists()


def test_a_damaged_file_of_the_users_is_never_written_over(folder: Path) -> None:
    mine, favourites = folder / "my.yaml", folder / ".favourites.yaml"
    mine.write_text("entries: [", encoding="utf-8")
    favourites.write_text("{a: b}", encoding="utf-8")
    library = NegativeLibrary(folder)
    problems = [each.problem.en for each in library.categories() if each.problem]
    assert len(problems) == 2
    assert all("line 1" in problem for problem in problems)
    with pytest.raises(StorageError, match=r"my\.yaml, line 1"):
        library.add("新的")
    with pytest.raises(StorageError, match=r"favourites\.yaml, line 1"):
        library.mark("六指", favourite=True)
    assert (mine.read_text("utf-8"), favourites.read_text("utf-8")) == ("entries: [", "{a: b}")


def test_favourites_stay_in_their_order(folder: Path) -> None:
    library = NegativeLibrary(folder)
    for text in ("过曝", "overexposed", "六指", "多余的手指"):
        library.mark(text, favourite=True)
    library.mark("六指", favourite=False)
    library.mark("从未有过", favourite=False)
    assert NegativeLibrary(folder).favourites() == ("过曝", "多余的手指")
    (folder / "20-light.yaml").unlink()
    assert NegativeLibrary(folder).favourites() == ("多余的手指",)
    with pytest.raises(RequestError, match="no entry"):
        library.mark("没有", favourite=True)


def test_a_disk_that_takes_nothing_is_told(folder: Path) -> None:
    (folder / "file").write_text("", encoding="utf-8")
    with pytest.raises(StorageError, match=r"my\.yaml can't be written"):
        NegativeLibrary(folder / "file").add("新的")
