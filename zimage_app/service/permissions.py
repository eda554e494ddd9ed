"""What strangers may not do where they can reach the app. The one place that decides; whoever changes things asks it.

Everybody may ask for pictures, and see, mark, delete and download their own (``service/history``). What all visitors
use together is changed by whoever runs the app, at home.
"""

from __future__ import annotations

from typing import Literal

from zimage_app.domain.errors import ForbiddenError
from zimage_app.domain.text import Text

Change = Literal["presets", "negatives", "models", "notes"]

_REFUSALS: dict[Change, Text] = {
    "presets": Text("On a shared page, presets can't be changed.", "公开分享的页面上不能修改预设。"),
    "negatives": Text(
        "On a shared page, favourites and own entries can't be changed.", "公开分享的页面上不能修改收藏和自己的词条。"
    ),
    "models": Text(
        "On a shared page, models can only be fetched and unloaded by whoever runs it.",
        "在公开分享的页面上，只有运行者可以下载和卸载模型。",
    ),
    "notes": Text("On a shared page, notes can't be changed.", "公开分享的页面上不能修改备注。"),
}


def require_home(what: Change, *, shared: bool) -> None:
    """Refuse a change of what all visitors use, where strangers are among them.

    Raises:
        ForbiddenError: says what can't be changed.
    """
    if shared:
        raise ForbiddenError(_REFUSALS[what])
