"""Wildcard lists on disk: found, read, refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from zimage_app import load_generator
from zimage_app.domain.errors import RequestError
from zimage_app.domain.request import GenerationRequest
from zimage_app.domain.settings.stage import Stage
from zimage_app.domain.wildcards import combinations, draw, parse
from zimage_app.service.library.wildcards import MAX_LINES, WildcardLibrary
from zimage_app.service.pictures.gallery import read_record
from zimage_app.service.setup.config import StudioConfig


def write(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / f"{name}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_one_entry_a_line_comments_and_empty_lines_left_out(tmp_path: Path) -> None:
    write(tmp_path, "hats", "\ufeff# Hats to wear\r\n\r\n fez \r\n# more\r\n2::bowler\r\n")
    write(tmp_path, "my/帽子", "斗笠")
    write(tmp_path, ".hidden", "x")
    library = WildcardLibrary(tmp_path)
    hats, mine = library.lists()
    assert (hats.name, hats.lines, hats.about) == ("hats", ("fez", "2::bowler"), "Hats to wear")
    assert (mine.name, mine.lines, mine.about) == ("my/帽子", ("斗笠",), "")
    assert library.lines("HATS") == library.lines("ｈａｔｓ") == hats.lines
    assert library.lines("my/帽子") == ("斗笠",)


def test_only_line_ends_end_an_entry(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("a\u2028b\r\nc\u0085d\re\n".encode())
    assert WildcardLibrary(tmp_path).lines("a") == ("a\u2028b", "c\u0085d", "e")


def test_lists_that_were_added_or_changed_are_new_at_once(tmp_path: Path) -> None:
    path = write(tmp_path, "hats", "fez")
    library = WildcardLibrary(tmp_path)
    assert library.lines("hats") == ("fez",)
    path.write_text("fez\ncap\n", encoding="utf-8")
    assert library.lines("hats") == ("fez", "cap")
    write(tmp_path, "new", "x")
    assert library.lines("new") == ("x",)
    path.unlink()
    with pytest.raises(RequestError):
        library.lines("hats")


def test_an_unknown_name_is_told_with_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no wildcard __hat__; there are none yet"):
        WildcardLibrary(tmp_path / "nowhere").lines("hat")
    write(tmp_path, "hats", "fez")
    write(tmp_path, "my/hats", "fez")
    write(tmp_path, "sky", "blue")
    library = WildcardLibrary(tmp_path)
    with pytest.raises(RequestError, match="there are hats, my/hats;") as refused:
        library.lines("hat")
    assert "可用：hats, my/hats" in refused.value.text.zh
    with pytest.raises(RequestError, match="there are hats, my/hats, sky;"):
        library.lines("quite another")
    for number in range(22):
        write(tmp_path, f"colour{number:02}", "red")
    with pytest.raises(RequestError, match=r"there are colour00, .*, hats, my/hats, …;"):
        library.lines("quite another")


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "my/../../secret", "link", "linked/secret"])
def test_no_name_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "wildcards"
    write(tmp_path, "secret", "x")
    write(folder, "hats", "fez")
    (folder / "link.txt").symlink_to(tmp_path / "secret.txt")
    (folder / "linked").symlink_to(tmp_path)
    library = WildcardLibrary(folder)
    with pytest.raises(RequestError, match="there is no wildcard"):
        library.lines(name)
    assert [each.name for each in library.lists()] == ["hats"]


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ("红".encode("gb18030"), "is not UTF-8"),
        (b"x\n" * (MAX_LINES + 1), "split it"),
        (b"x" * (2**21 + 1), "split it"),
        (b"# nothing yet\n", "has no lines"),
    ],
)
def test_a_file_that_cannot_be_used_says_why_and_hides_no_other(tmp_path: Path, data: bytes, sentence: str) -> None:
    write(tmp_path, "bad", data)
    write(tmp_path, "good", "x")
    library = WildcardLibrary(tmp_path)
    with pytest.raises(RequestError, match=sentence):
        library.lines("bad")
    assert library.lines("good") == ("x",)
    assert [each.name for each in library.lists()] == ["bad", "good"]


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read_says_so(tmp_path: Path) -> None:
    write(tmp_path, "bad", "x").chmod(0)
    with pytest.raises(RequestError, match="can't be read"):
        WildcardLibrary(tmp_path).lines("bad")


def test_the_lists_that_ship_can_all_be_drawn() -> None:
    library = WildcardLibrary(StudioConfig().wildcards)
    lists = [each for each in library.lists() if "/" not in each.name]
    names = {each.name for each in lists}
    assert {"时间", "天气", "光线", "构图", "季节", "颜色", "画风", "time", "weather", "light", "style"} <= names
    for each in lists:
        assert each.problem is None
        assert len(set(each.lines)) == len(each.lines)
        assert combinations(parse(f"__{each.name}__"), library.lines) >= len(each.lines)
        assert "__" not in draw(f"__{each.name}__", 1, library.lines)


def test_a_picture_is_made_again_after_its_list_has_changed(models_dir: Path, tmp_path: Path) -> None:
    folder = tmp_path / "wildcards"
    write(folder, "boat", "red\nblue\ngreen")
    generator = load_generator("tiny", StudioConfig(models=models_dir, wildcards=folder))
    stages = (Stage(width=64, height=64, steps=2),)
    first = generator.generate(GenerationRequest(prompt="a __boat__ boat", seed=3, stages=stages))
    assert first.record.request.prompt in ("a red boat", "a blue boat", "a green boat")
    assert first.record.request.typed.prompt == "a __boat__ boat"
    path = first.save(tmp_path / "outputs")
    write(folder, "boat", "yellow")
    again = generator.generate(read_record(path).request)
    assert again.image.tobytes() == first.image.tobytes()
    assert again.record.request == first.record.request
    other = generator.generate(read_record(path).request.typed)
    assert other.record.request.prompt == "a yellow boat"
    assert other.image.tobytes() != first.image.tobytes()
