"""The permissions of visitors on a shared app, decided here alone.

Everybody may generate pictures, and see, star, delete and download their own (``service/pictures/history``). Presets,
models and other things that all visitors use can only be changed by the user who runs the app.
"""

from __future__ import annotations

import hashlib
import re
from functools import cache
from pathlib import Path
from typing import Literal

from zimage_app.domain.errors import ForbiddenError
from zimage_app.domain.text import Text

Change = Literal["presets", "negatives", "models", "notes", "queue"]

_REFUSALS: dict[Change, Text] = {
    "presets": Text("On a shared page, presets can't be changed.", "公开分享的页面上不能修改预设。"),
    "negatives": Text(
        "On a shared page, favourites and own entries can't be changed.", "公开分享的页面上不能修改收藏和自己的词条。"
    ),
    "models": Text(
        "On a shared page, only whoever runs it can fetch and unload models or choose the device.",
        "在公开分享的页面上，只有运行者可以下载、卸载模型或选择设备。",
    ),
    "queue": Text("On a shared page, the queue can't be paused.", "公开分享的页面上不能暂停队列。"),
    "notes": Text("On a shared page, notes can't be changed.", "公开分享的页面上不能修改备注。"),
}


_PLACE = re.compile(r"""(?:…|[A-Za-z]:)?(?:[\\/][^\\/\s:;,'"，。：；、（）]+)+[\\/]([^\\/\s:;,'"，。：；、（）]+)""")
"""An absolute path of at least two components; the group is its last component."""


def redacted(text: Text, folders: tuple[Path, ...] = ()) -> Text:
    """The sentence with absolute paths cut to their last component, so that it reveals no folders.

    ``folders`` are this app's; they are recognised even if their names contain spaces.
    """
    return Text(_cut(text.en, folders), _cut(text.zh, folders))


def _cut(sentence: str, folders: tuple[Path, ...]) -> str:
    return _PLACE.sub(r"…/\1", _known(folders).sub("…", sentence))


@cache
def _known(folders: tuple[Path, ...]) -> re.Pattern[str]:
    """Matches these folders: the longest first, with either slash, which a quoted path has twice on Windows."""
    parts = [re.split(r"[\\/]+", str(folder)) for folder in sorted(folders, key=lambda each: -len(str(each)))]
    paths = "|".join(r"[\\/]+".join(map(re.escape, each)) for each in parts)
    return re.compile(rf"(?<![A-Za-z0-9])(?:{paths})(?![A-Za-z0-9_-])" if paths else "(?!)", re.IGNORECASE)


def owner_mark(owner: str) -> str:
    """The owner's id as stored in files: a hash, because the id itself is a secret."""
    return hashlib.sha256(owner.encode()).hexdigest() if owner else ""


def may_see(job_owner: str, owner: str, *, shared: bool) -> bool:
    """Whether ``owner`` may follow and stop a job of the owner with the mark ``job_owner``.

    On a shared app, only the job's own owner may.
    """
    return not shared or (bool(owner) and job_owner == owner_mark(owner))


def refuse_if_shared(what: Change, *, shared: bool) -> None:
    """Refuse to change things that all visitors use, on a shared app.

    Raises:
        ForbiddenError: the app is shared; says what can't be changed.
    """
    if shared:
        raise ForbiddenError(_REFUSALS[what])
