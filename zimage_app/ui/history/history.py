"""Data for the history and compare views: lists, settings side by side. Independent of Gradio components.

All values are texts and numbers; the scripts (``history.js``, ``viewer.js``, ``compare.js``) insert texts with
``textContent``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

from zimage_app.domain.setting_comparison import side_by_side
from zimage_app.domain.text import Language, shortened
from zimage_app.service.pictures.gallery import is_id
from zimage_app.service.pictures.history import MAX_SEARCH, History, HistoryItem, Search
from zimage_app.service.pictures.views import SavedPicture
from zimage_app.ui.canvas.canvas import LABEL_LENGTH, shown_time
from zimage_app.ui.http import Data, chosen_action

PAGE_SIZE = 60
MAX_COMPARED = 6
"""Maximum of pictures compared at once."""
_MAX_IDS = 20_000


def page_data(history: History, owner: str, asked: Mapping[str, str]) -> Data:
    """Return one page of the list; ``asked`` are the query parameters; invalid ones are ignored."""
    trashed = "trash" in asked
    search = Search(
        text=asked.get("q", "")[:MAX_SEARCH],
        favourites="starred" in asked,
        day=asked.get("day") or None,
        model=asked.get("model") or None,
        trashed=trashed,
    )
    number = asked.get("page", "1")
    page = int(number) if re.fullmatch(r"[0-9]{1,9}", number) else 1
    found = history.page(owner, search, page, PAGE_SIZE)
    return {
        "items": [item_data(item) for item in found.items],
        "total": found.total,
        "page": found.page,
        "pages": found.pages,
        "reading": found.reading,
        "days": [{"name": name, "count": count} for name, count in history.days(owner)],
        "models": [{"name": name, "count": count} for name, count in history.models(owner)],
    }


def comparison_data(pictures: Iterable[SavedPicture], language: Language) -> Data:
    """Return the settings of several pictures side by side."""
    pictures = list(pictures)
    sides = side_by_side([picture.record for picture in pictures])
    return {
        "pictures": [
            {
                "id": picture.record.id,
                "label": shortened(picture.record.request.prompt, LABEL_LENGTH),
                "time": shown_time(picture.record.created),
                "seed": str(picture.record.seeds[0]),
                "width": picture.record.width,
                "height": picture.record.height,
            }
            for picture in pictures
        ],
        "rows": [{"title": side.title.to(language), "values": side.values, "same": side.same} for side in sides],
    }


def change(history: History, owner: str, order: object) -> Data:
    """Carry out an order such as ``{"do": "star", "ids": [...]}``; return the ids that were changed (``find``: found).

    Raises:
        RequestError: the order is unknown.
        StudioError: the order failed.
    """
    given = order if isinstance(order, Mapping) else {}
    changes: dict[str, Callable[[list[str]], list[str]]] = {
        "star": lambda ids: history.favourite(ids, owner, on=True),
        "unstar": lambda ids: history.favourite(ids, owner, on=False),
        "delete": lambda ids: history.delete(ids, owner),
        "undo": lambda ids: history.undo(ids, owner),
        "find": lambda ids: history.existing(ids, owner),
        "empty": lambda _: history.empty_trash(owner),
    }
    return {"ids": chosen_action(changes, given.get("do"))(known_ids(given.get("ids")))}


def known_ids(given: object) -> list[str]:
    """Return the well-formed ids in a browser's list or comma-separated text, at most ``_MAX_IDS``."""
    parts = given.split(",") if isinstance(given, str) else given if isinstance(given, list) else []
    return [each for each in parts if isinstance(each, str) and is_id(each)][:_MAX_IDS]


def item_data(item: HistoryItem) -> Data:
    """Return a picture's data for the history's list or the strip below the canvas."""
    return {
        "id": item.id,
        "day": item.day,
        "label": shortened(item.prompt, LABEL_LENGTH),
        "time": shown_time(item.created),
        "seed": str(item.seed),
        "width": item.width,
        "height": item.height,
        "starred": item.favourite,
    }
