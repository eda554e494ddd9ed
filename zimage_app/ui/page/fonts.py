"""Serves the page's font: IBM Plex Sans in three weights, under the SIL Open Font License (``fonts/OFL.txt``).

Gradio includes the same font, but its semibold file lacks most letters.
"""

from __future__ import annotations

from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

FAMILY = "IBM Plex Sans"
WEIGHTS = {400: "Regular", 500: "Medium", 600: "SemiBold"}
_FOLDER = Path(__file__).parent / "fonts"
_FOREVER = {"cache-control": "public, max-age=31536000, immutable", "x-content-type-options": "nosniff"}


def font_faces() -> str:
    """Return the CSS ``@font-face`` rules of the three weights; their URLs are relative to the page."""
    return "".join(
        f'@font-face {{ font-family: "{FAMILY}"; font-weight: {weight}; font-display: swap;'
        f' src: url("fonts/{_file(name)}") format("woff2"); }}\n'
        for weight, name in WEIGHTS.items()
    )


def font_routes() -> list[BaseRoute]:
    """Return the route ``/fonts/FILE``."""

    def font(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in {_file(weight) for weight in WEIGHTS.values()}:
            return PlainTextResponse("", 404)
        return FileResponse(_FOLDER / name, media_type="font/woff2", headers=_FOREVER)

    return [Route("/fonts/{name}", font)]


def _file(name: str) -> str:
    return f"IBMPlexSans-{name}.woff2"
