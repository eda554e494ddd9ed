"""The browser of the page's tests, for long ones too."""

from __future__ import annotations

from tests.ui.conftest import browser, playwright, visitor

__all__ = ["browser", "playwright", "visitor"]
