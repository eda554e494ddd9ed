"""Error handling for the functions that the page's own scripts call.

Anybody can call these functions, with any data, so every error becomes an answer. Independent of the scripts.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from zimage_app.domain.errors import StudioError
from zimage_app.domain.text import Language, language_named
from zimage_app.service.studio import Studio
from zimage_app.ui.fields.values import titled
from zimage_app.ui.http import Data
from zimage_app.ui.words.i18n import say

log = logging.getLogger(__name__)


def script_function(studio: Studio, function: Callable[[Studio, Data, Language], Data]) -> Callable[[object], Data]:
    """Return ``function`` for scripts: it takes any data and returns ``{"error": ...}`` instead of raising.

    ``function`` gets the page's language, which errors are in too; data that is no mapping counts as an empty one.
    """

    def answer(order: object) -> Data:
        known = dict(order) if isinstance(order, Mapping) else {}
        language = language_named(known.get("language"))
        try:
            return function(studio, known, language)
        except StudioError as error:
            return {"error": studio.redacted(titled(error)).to(language)}
        except Exception:
            log.exception("what the page's script asked for failed")
            return {"error": say("internal", language)}

    answer.__name__ = function.__name__  # scripts call it by this name
    return answer
