"""``history``: lists, searches, shows, stars, deletes, restores, packs, compares and remakes finished pictures."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any, BinaryIO

from zimage_app.cli.folders import add_outputs_flag, config_of
from zimage_app.cli.generate import add_generate_flags
from zimage_app.cli.output import print_json, print_table
from zimage_app.cli.terminal import language, notify
from zimage_app.domain.errors import RequestError, StorageError, system_reason
from zimage_app.domain.setting_comparison import side_by_side
from zimage_app.domain.text import Text, shortened
from zimage_app.service.pictures.history import History, HistoryItem, Search
from zimage_app.service.pictures.views import SavedPicture

_MAX_PROMPT = 80
"""Most characters of a prompt that a table shows."""
_COLUMNS = (Text("", ""), Text("id", "ID"), Text("seed", "种子"), Text("model", "模型"), Text("prompt", "提示词"))
_CHANGES = {
    "star": "Mark pictures as favourites.",
    "unstar": "Take the mark of a favourite off pictures.",
    "delete": "Move pictures to the trash, a hidden folder among them.",
    "undo": "Take deleted pictures out of the trash.",
}


def add_history_command(commands: Any) -> None:
    """Add ``history`` and its actions to the program's commands."""
    parser = commands.add_parser(
        "history",
        help="list, search, star, delete, compare or pack the pictures that were made",
        description="List the pictures that were made, newest first.",
    )
    parser.set_defaults(run=list_pictures)
    _add_search_flags(parser)
    add_outputs_flag(parser)
    actions = parser.add_subparsers(metavar="show|star|unstar|delete|undo|empty|zip|compare|again")
    for name, about in {"show": "Print a picture's settings as JSON.", **_CHANGES}.items():
        action = _action(actions, name, about, show_pictures if name == "show" else change_pictures)
        action.set_defaults(change=name)
        action.add_argument("ids", metavar="ID", nargs="+", help="as the list shows it")
    _action(actions, "empty", "Delete for good what is in the trash.", empty_trash)
    pack = _action(actions, "zip", "Pack pictures and their kept stages.", pack_pictures)
    pack.add_argument("file", type=Path, metavar="FILE", help="a ZIP to be written; what is there is never replaced")
    pack.add_argument("ids", metavar="ID", nargs="+")
    compare = _action(actions, "compare", "What pictures were made with, side by side.", compare_pictures)
    compare.add_argument("ids", metavar="ID", nargs="+")
    compare.add_argument("--all", action="store_true", help="also what is the same")
    again = _action(actions, "again", "Make a picture again, and compare the pixels.", make_again)
    again.add_argument("id", metavar="ID")


def list_pictures(options: argparse.Namespace) -> int:
    """``history``: print one page of pictures."""
    search = Search(options.search, options.favourites, options.day, options.of_model, options.trash)
    with _history(options) as history:
        found = history.page(None, search, options.page, options.count)
    if options.json:
        data = {
            "total": found.total,
            "page": found.page,
            "pages": found.pages,
            "pictures": list(map(_data, found.items)),
        }
        print_json(data)
        return 0
    if found.items:
        print_table((column.to(language()) for column in _COLUMNS), map(_cells, found.items))
    notify(
        Text(
            f"{_counted(found.total)}; page {found.page} of {found.pages}.",
            f"共 {found.total} 张；第 {found.page} / {found.pages} 页。",
        )
    )
    return 0


def show_pictures(options: argparse.Namespace) -> int:
    """``history show``: print each picture's path and record as one line of JSON."""
    with _history(options) as history:
        for picture in _pictures(history, options.ids):
            facts = {"path": str(picture.path), **json.loads(picture.record.to_json())}
            sys.stdout.write(json.dumps(facts, ensure_ascii=False) + "\n")
    return 0


def change_pictures(options: argparse.Namespace) -> int:
    """``history star``, ``unstar``, ``delete`` and ``undo``: print the ids that were changed."""
    with _history(options) as history:
        changes = {
            "star": lambda ids: history.favourite(ids, None, on=True),
            "unstar": lambda ids: history.favourite(ids, None, on=False),
            "delete": lambda ids: history.delete(ids, None),
            "undo": lambda ids: history.undo(ids, None),
        }
        done = changes[options.change](options.ids)
    sys.stdout.write("".join(f"{each}\n" for each in done))
    missing = next((each for each in options.ids if each not in done), None)
    if missing is not None:
        raise _unknown(missing)
    return 0


def empty_trash(options: argparse.Namespace) -> int:
    """``history empty``: delete the pictures in the trash for good."""
    with _history(options) as history:
        gone = history.empty_trash(None)
    notify(Text(f"{_counted(len(gone))} deleted for good.", f"已永久删除 {len(gone)} 张图片。"))
    return 0


def pack_pictures(options: argparse.Namespace) -> int:
    """``history zip``: write pictures into a new ZIP file."""
    with _history(options) as history:
        _pictures(history, options.ids)
        try:
            with _new_file(options.file) as file:
                file.writelines(history.zip(options.ids, None))
        except FileExistsError as error:
            raise RequestError("FILE", Text(f"{options.file} is there already", f"{options.file} 已存在")) from error
        except OSError as error:
            reason = system_reason(error)
            raise StorageError(
                Text(f"{options.file} could not be written: {reason}.", f"无法写入 {options.file}：{reason}。")
            ) from error
    sys.stdout.write(f"{options.file}\n")
    return 0


def compare_pictures(options: argparse.Namespace) -> int:
    """``history compare``: exit status 0 where all settings are the same, 1 where any differ, as for ``diff``."""
    with _history(options) as history:
        sides = side_by_side([picture.record for picture in _pictures(history, options.ids)])
    shown = [side for side in sides if options.all or not side.same]
    if shown:
        titles = (Text("setting", "参数").to(language()), *options.ids)
        print_table(titles, [(side.title.to(language()), *side.values) for side in shown])
    return 0 if all(side.same for side in sides) else 1


def make_again(options: argparse.Namespace) -> int:
    """``history again``: make a picture again, as ``generate --from`` does."""
    with _history(options) as history:
        (picture,) = _pictures(history, [options.id])
    parser = argparse.ArgumentParser()
    add_generate_flags(parser)
    place = ["--out", str(options.outputs)] if options.outputs else []
    asked = parser.parse_args(["--from", str(picture.path), *place])
    status: int = asked.run(asked)
    return status


# Parts.


def _action(actions: Any, name: str, about: str, run: Any) -> argparse.ArgumentParser:
    action: argparse.ArgumentParser = actions.add_parser(name, description=about)
    action.set_defaults(run=run)
    add_outputs_flag(action, argparse.SUPPRESS)
    return action


def _add_search_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--search",
        default="",
        metavar="WORDS",
        help="words, or several in quotes, that stand in prompt or settings; seed:42, lora:NAME, model:NAME,"
        " sampler:NAME and date:2026-01 say where",
    )
    parser.add_argument("--favourites", action="store_true", help="only those")
    parser.add_argument("--day", type=_day, metavar="YYYY-MM-DD", help="only of that day")
    parser.add_argument("--of-model", metavar="NAME", help="only made with that model")
    parser.add_argument("--trash", action="store_true", help="what was deleted, instead of the others")
    parser.add_argument("--page", type=_count, default=1, help="which page (default: 1)")
    parser.add_argument("--count", type=_count, default=20, help="pictures on a page (default: 20)")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 10_000:
        wrong = Text(f"{text} is not a whole number from 1 to 10000", f"{text} 不是 1 到 10000 的整数")
        raise argparse.ArgumentTypeError(wrong.to(language()))
    return int(text)


def _day(text: str) -> str:
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError as error:
        wrong = Text(f"{text} is not a day as in 2026-01-31", f"{text} 不是日期，应如 2026-01-31")
        raise argparse.ArgumentTypeError(wrong.to(language())) from error


@contextmanager
def _history(options: argparse.Namespace) -> Iterator[History]:
    folder = config_of(options).outputs
    if options.outputs is not None and not folder.is_dir():
        raise RequestError("--outputs", Text(f"there is no folder {folder}", f"没有文件夹 {folder}"))
    history = History(folder)
    history.refresh()
    try:
        yield history
    finally:
        history.close()


@contextmanager
def _new_file(path: Path) -> Iterator[BinaryIO]:
    """Create a file that must not exist yet; it is deleted again if writing fails or is interrupted."""
    file = path.open("xb")
    try:
        with file:
            yield file
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _pictures(history: History, ids: Iterable[str]) -> list[SavedPicture]:
    """The pictures with these ids; raises RequestError for the first unknown one."""
    pictures = []
    for each in ids:
        picture = history.find(each, None)
        if picture is None:
            raise _unknown(each)
        pictures.append(picture)
    return pictures


def _counted(pictures: int) -> str:
    return "1 picture" if pictures == 1 else f"{pictures} pictures"


def _unknown(picture_id: str) -> RequestError:
    return RequestError(
        "ID",
        Text(f"there is no picture {picture_id}; 'history' lists them", f"没有图片 {picture_id}；可用 history 查看"),
    )


def _data(item: HistoryItem) -> dict[str, Any]:
    return {
        "id": item.id,
        "path": str(item.path),
        "created": item.created.isoformat(),
        "model": item.model,
        "prompt": item.prompt,
        "seed": item.seed,
        "width": item.width,
        "height": item.height,
        "favourite": item.favourite,
    }


def _cells(item: HistoryItem) -> tuple[str, ...]:
    star, prompt = "★" if item.favourite else "", shortened(item.prompt, _MAX_PROMPT)
    return star, item.id, str(item.seed), item.model, prompt
