"""What the settings as they stand come to, before anything is run. Knows no components."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from zimage_app.domain.errors import StudioError
from zimage_app.domain.plan import make_plan
from zimage_app.domain.request import parse_request
from zimage_app.ui.backend import Backend
from zimage_app.ui.values import request_data


def hint_function(studio: Backend, tabs: int) -> Callable[[dict[str, Any]], list[str]]:
    """What the hints' script calls, with the page's ``settings`` by name and its ``language``."""

    def hints(page: dict[str, Any]) -> list[str]:
        """The warnings of the plan; none where the settings can't be read yet."""
        values = page["settings"]
        try:
            asked = parse_request(request_data(values | {"prompt": "-"}, tabs))
            plan = make_plan(asked, studio.card(str(values["model"])))
        except StudioError:
            return []
        return [text.to("zh" if page["language"] == "zh" else "en") for text in plan.warnings]

    return hints
