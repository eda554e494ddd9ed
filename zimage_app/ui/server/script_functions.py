"""Error handling for the functions that the page's own scripts call.

Anybody can call these functions, with any data, so every error becomes an answer. Independent of the scripts.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

from zimage_app.domain.errors import StudioError
from zimage_app.domain.text import Text, language_named
from zimage_app.ui.words.i18n import say

log = logging.getLogger(__name__)

Data = dict[str, Any]


def with_error_answers(function: Callable[[Data], object], told: Callable[[Text], Text]) -> Callable[[object], object]:
    """Wrap ``function`` so that it takes any data and returns ``{"error": ...}`` instead of raising.

    The error is in the page's language, as ``told`` lets visitors read it; data that is no mapping counts as an empty
    one.
    """

    @wraps(function)
    def answer(order: object) -> object:
        known = dict(order) if isinstance(order, Mapping) else {}
        language = language_named(known.get("language"))
        try:
            return function(known)
        except StudioError as error:
            return {"error": told(error.text).to(language)}
        except Exception:
            log.exception("what the page's script asked for failed")
            return {"error": say("internal", language)}

    return answer
