"""What strangers may not do where they can reach the app. The one place that decides; whoever changes things asks it.

Everybody may ask for pictures, and see, mark, delete and download their own (``service/history``). What all visitors
use together is changed by whoever runs the app, at home.
"""

from __future__ import annotations

import hashlib
import re
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


_PLACE = re.compile(r"""(?:[A-Za-z]:)?(?:[\\/][^\\/\s:;,'"，。：；、（）]+)+[\\/]([^\\/\s:;,'"，。：；、（）]+)""")
"""A path from the root on, of two steps at least; its last step stays."""


def for_strangers(text: Text) -> Text:
    """A sentence that tells nothing of where things lie on this machine: of paths, only the last step is left."""
    return Text(_PLACE.sub(r"…/\1", text.en), _PLACE.sub(r"…/\1", text.zh))


def owner_mark(owner: str) -> str:
    """What is written of an owner. The id itself, which lets a browser in, is in no file."""
    return hashlib.sha256(owner.encode()).hexdigest() if owner else ""


def may_see(job_owner: str, owner: str, *, shared: bool) -> bool:
    """Whether somebody may follow and stop a job of the owner with the mark ``job_owner``.

    Where strangers are, only whoever asked for it.
    """
    return not shared or (bool(owner) and job_owner == owner_mark(owner))


def require_home(what: Change, *, shared: bool) -> None:
    """Refuse a change of what all visitors use, where strangers are among them.

    Raises:
        ForbiddenError: says what can't be changed.
    """
    if shared:
        raise ForbiddenError(_REFUSALS[what])
