"""Checks of the disk: writable folders, free space, intact databases."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from zimage_app.domain.errors import system_reason
from zimage_app.domain.fetching import shown_size
from zimage_app.domain.text import Text
from zimage_app.models.disk.regular_file import open_regular
from zimage_app.service.diagnostics.doctor.finding import Finding, make_finding
from zimage_app.service.diagnostics.monitor import free_disk
from zimage_app.service.setup.config import StudioConfig

_LOW_SPACE = 2 * 10**9
"""Free bytes below which a warning is given. A picture takes about 1 MB; databases and logs need space too."""
_NO_SPACE = 50 * 10**6
"""Free bytes below which there is a problem."""
_MAGIC = b"SQLite format 3\x00"
_ASIDE = ".broken-"
"""Part of the name of a broken file that ``service/storage/database.py`` has renamed."""


def check_folders(config: StudioConfig, deep: bool) -> Iterator[Finding]:
    """Check that each folder exists, and can be written to."""
    del deep
    yield from _outputs(config.outputs)
    for about, folder in (
        (Text("Folder of models", "模型目录"), config.models),
        (Text("Folder of LoRAs", "LoRA 目录"), config.loras),
        (Text("Folder of presets", "预设目录"), config.presets),
    ):
        yield _library(about, folder)


def _outputs(folder: Path) -> Iterator[Finding]:
    about = Text("Folder of pictures", "图片目录")
    if (reason := _unwritable(folder)) is not None:
        yield make_finding(
            "problem",
            about,
            f"{folder} can't be written to ({reason}); give access to it, or choose another with --outputs.",
            f"无法写入 {folder}（{reason}）；请授予写权限，或用 --outputs 换一个目录。",
        )
        return
    disk = free_disk(folder)
    free = 0 if disk is None else disk.total - disk.used
    if disk is None or free >= _LOW_SPACE:
        yield make_finding("ok", about, f"{folder}, {shown_size(free)} free", f"{folder}，剩余 {shown_size(free)}")
        return
    yield make_finding(
        "problem" if free < _NO_SPACE else "warning",
        about,
        f"only {shown_size(free)} are free on the disk of {folder}; free some space, or choose another folder with"
        " --outputs.",
        f"{folder} 所在磁盘仅剩 {shown_size(free)}；请清理空间，或用 --outputs 换一个目录。",
    )


def _library(about: Text, folder: Path) -> Finding:
    if not folder.is_dir():
        return make_finding(
            "warning", about, f"{folder} is not there; it is made when needed.", f"{folder} 不存在；需要时会自动创建。"
        )
    if (reason := _unwritable(folder)) is not None:
        return make_finding(
            "warning",
            about,
            f"{folder} can be read but not written to ({reason}): what you add or note on the page can't be kept.",
            f"{folder} 只能读取、无法写入（{reason}）：在页面上添加的内容和备注无法保存到这里。",
        )
    return make_finding("ok", about, str(folder), str(folder))


def _unwritable(folder: Path) -> str | None:
    """Why no file can be created in a folder, or in its nearest existing parent; None where one can."""
    place = next((each for each in (folder.absolute(), *folder.absolute().parents) if each.exists()), folder)
    try:
        with tempfile.TemporaryFile(dir=place):
            return None
    except OSError as error:
        return system_reason(error)


def check_databases(config: StudioConfig, deep: bool) -> Iterator[Finding]:
    """Check the databases of queue and history in full, and report broken ones that were renamed."""
    del deep
    for path in sorted(_files(config.outputs, config.state)):
        about = Text(path.name, path.name)
        if _ASIDE in path.name:
            if not path.name.endswith(("-wal", "-shm")):
                yield make_finding(
                    "warning",
                    about,
                    f"was damaged and set aside; nothing uses it. Delete {path} when all pictures are there.",
                    f"曾损坏并已改名保留，程序不再使用它；确认图片齐全后可删除 {path}。",
                )
        elif _is_database(path):
            yield _whole(about, path)


def _files(*folders: Path) -> Iterator[Path]:
    for folder in folders:
        if folder.is_dir():
            yield from (path for path in folder.iterdir() if path.is_file())


def _is_database(path: Path) -> bool:
    try:
        with open_regular(path) as file:
            return path.suffix in (".sqlite", ".sqlite3", ".db") or file.read(len(_MAGIC)) == _MAGIC
    except OSError:
        return False


def _whole(about: Text, path: Path) -> Finding:
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5)) as connection:
            found = str(connection.execute("PRAGMA integrity_check(1)").fetchone()[0])
    except sqlite3.Error as error:
        found = str(error)
    if found == "ok":
        return make_finding("ok", about, "whole", "完好")
    readable = os.access(path, os.R_OK)
    cure = (
        Text("start the app: it sets the file aside and builds a new one.", "请启动程序：会自动改名保留并重新建立。")
        if readable
        else Text("give read access to it.", "请授予读取权限。")
    )
    return make_finding("problem", about, f"is damaged ({found}); {cure.en}", f"已损坏（{found}）；{cure.zh}")
