"""The language of a visitor, from cookie, setting or browser."""

from __future__ import annotations

from typing import Literal

from starlette.requests import HTTPConnection

from zimage_app.domain.text import Language, language_named

LanguageChoice = Literal["auto", "zh", "zh-Hant", "en"]
LANGUAGE_COOKIE = "studio_language"
LOCALES: dict[Language, str] = {"zh": "zh-CN", "zh-Hant": "zh-TW", "en": "en"}
"""Locale names for the browser; Gradio chooses its own texts by them."""


def language_of(connection: HTTPConnection, default_language: LanguageChoice = "auto") -> Language:
    """The visitor's language: the language button's choice, else ``default_language``, else the browser's first."""
    chosen = connection.cookies.get(LANGUAGE_COOKIE)
    if chosen in LOCALES:
        return language_named(chosen)
    if default_language != "auto":
        return default_language
    return language_named(connection.headers.get("accept-language", ""))
