"""``history`` on the command line: what the page can do, from a terminal."""

from __future__ import annotations

import errno
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service.pictures.test_history import save
from zimage_app.cli.main import main
from zimage_app.service.pictures.history import History


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LC_ALL", "C")
    return tmp_path / "outputs"


def history(folder: Path, *arguments: str) -> int:
    return main(["history", *arguments, "--outputs", str(folder)])


def listed(folder: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    capsys.readouterr()
    assert history(folder, "--json", *arguments) == 0
    return [each["id"] for each in json.loads(capsys.readouterr().out)["pictures"]]


def test_pictures_are_listed_searched_and_paged(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ids = [save(folder, number, f"图{number}号 [bold]") for number in range(5)][::-1]
    assert history(folder) == 0
    out, err = capsys.readouterr()
    assert [line.split()[0] for line in out.splitlines()[1:]] == ids
    assert "图0号 [bold]" in out
    assert err == "5 pictures; page 1 of 1.\n"
    assert listed(folder, capsys, "--count", "2", "--page", "2") == ids[2:4]
    assert listed(folder, capsys, "--search", "图3号") == [ids[1]]
    assert listed(folder, capsys, "--day", "2026-01-02", "--of-model", "demo") == ids
    assert listed(folder, capsys, "--day", "2026-01-03") == []


@pytest.mark.parametrize("wrong", [("--day", "2026-99-99"), ("--day", "today"), ("--page", "0"), ("--count", "x")])
def test_a_list_that_cannot_be_is_refused(
    wrong: tuple[str, str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        history(folder, *wrong)
    assert ended.value.code == 2
    assert wrong[1] in capsys.readouterr().err


def test_a_folder_that_is_not_there_is_said_and_not_made(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert history(folder) == 2
    assert f"there is no folder {folder}" in capsys.readouterr().err
    assert not folder.exists()


def test_pictures_are_starred_deleted_and_put_back(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = save(folder, 1), save(folder, 2)
    assert history(folder, "star", one) == 0
    assert listed(folder, capsys, "--favourites") == [one]
    assert history(folder, "unstar", one) == 0
    assert listed(folder, capsys, "--favourites") == []
    capsys.readouterr()
    assert history(folder, "delete", two, "20260101-000000-00000000") == 2
    out, err = capsys.readouterr()
    assert out == f"{two}\n"
    assert "there is no picture 20260101-000000-00000000" in err
    assert listed(folder, capsys, "--trash") == [two]
    assert history(folder, "undo", two) == 0
    assert listed(folder, capsys) == [two, one]
    assert history(folder, "delete", one) == 0
    assert history(folder, "empty") == 0
    assert "1 picture deleted for good." in capsys.readouterr().err
    assert history(folder, "undo", one) == 2


def test_a_picture_s_settings_are_shown(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = save(folder, 1)
    assert history(folder, "show", one) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["id"] == one
    assert Path(facts["path"]).name == f"{one}.png"
    assert history(folder, "show", "../x") == 2


def test_pictures_are_packed_and_nothing_is_replaced(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = save(folder, 1), save(folder, 2)
    file = tmp_path / "some.zip"
    assert history(folder, "zip", str(file), one, two) == 0
    with zipfile.ZipFile(file) as archive:
        assert archive.namelist() == [f"{one}.png", f"{two}.png"]
    assert history(folder, "zip", str(file), one) == 2
    assert "is there already" in capsys.readouterr().err
    assert history(folder, "zip", str(tmp_path / "no" / "x.zip"), one) == 1
    assert "could not be written" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("end", "status"), [(OSError(errno.ENOSPC, "No space left on device"), 1), (KeyboardInterrupt(), 130)]
)
def test_a_zip_that_was_not_finished_leaves_no_file(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: BaseException, status: int
) -> None:
    one, file = save(folder, 1), tmp_path / "some.zip"

    def begun(*_: object) -> Iterator[bytes]:
        yield b"PK"
        raise end

    with monkeypatch.context() as patch:
        patch.setattr(History, "zip", begun)
        assert history(folder, "zip", str(file), one) == status
    assert not file.exists()
    assert history(folder, "zip", str(file), one) == 0


def test_settings_stand_side_by_side(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = save(folder, 1, "left"), save(folder, 2, "right")
    assert history(folder, "compare", one, two) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines[1:]] == [["Prompt", "left", "right"]]
    assert history(folder, "compare", one, one, "--all") == 0
    assert "Stage 3: Sampler" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [("--count", "0"), ("--count", "x"), ("--page", "x"), ("nothing",)])
def test_bad_flags_are_one_sentence(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    with pytest.raises(SystemExit) as end:
        history(folder, *arguments)
    assert end.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
