"""HTTP headers of the page's own routes: how long a browser may keep an answer."""

from __future__ import annotations

LIVE = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
"""For what may change at any time."""
KEEP = {"cache-control": "private, max-age=31536000, immutable", "x-content-type-options": "nosniff"}
"""For what never changes under its address, such as a saved picture."""
