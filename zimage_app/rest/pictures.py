"""Finished pictures: list, search and download."""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from starlette.responses import Response

from zimage_app.domain.text import Text
from zimage_app.domain.validation_errors import refusal
from zimage_app.rest.answers import item_answer, picture_answer
from zimage_app.rest.bodiless import StoredFile
from zimage_app.rest.caller import CurrentCaller
from zimage_app.rest.contract import MAX_NAME
from zimage_app.rest.problems import NotFoundError
from zimage_app.rest.schema import Picture, Pictures
from zimage_app.service.pictures.history import MAX_SEARCH, Search
from zimage_app.service.pictures.views import SavedPicture

router = APIRouter(tags=["pictures"])


def _written_day(value: object) -> object:
    if isinstance(value, str) and not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value):
        raise refusal(Text("must be a day, as in 2026-01-31", "必须是日期，如 2026-01-31"))
    return value


_DAY = (BeforeValidator(_written_day), WithJsonSchema({"type": "string", "format": "date"}))
"""Validation and schema of a day; the schema has no null, which a query string can't express."""


class HistoryQuery(BaseModel):
    """Filters and page of the history."""

    model_config = ConfigDict(extra="forbid")

    page: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    page_size: Annotated[int, Field(ge=1, le=100)] = 20
    search: Annotated[str, Field(max_length=MAX_SEARCH, description="Words of the prompt or the settings.")] = ""
    favourites: Annotated[bool, Field(description="Only those with a star.")] = False
    day: Annotated[date | None, Field(description="Only those of one day."), *_DAY] = None
    model: Annotated[str, Field(max_length=MAX_NAME, description="Only those made with it.")] = ""


@router.get("/history")
def history(caller: CurrentCaller, asked: Annotated[HistoryQuery, Query()]) -> Pictures:
    """List pictures, newest first."""
    day = asked.day.isoformat() if asked.day else None
    search = Search(asked.search, asked.favourites, day, asked.model or None)
    found = caller.studio.history.page(caller.owner, search, asked.page, asked.page_size)
    items = found.items if found.page == asked.page else ()  # past the last page, the service gives the last one
    return Pictures(
        images=[item_answer(item) for item in items],
        total=found.total,
        page=asked.page,
        page_size=asked.page_size,
        pages=found.pages,
    )


@router.get("/images/latest")
def latest(caller: CurrentCaller) -> Picture:
    """Get the newest picture with its settings."""
    saved = caller.studio.history.latest(caller.owner)
    if saved is None:
        raise NotFoundError(Text("There is no picture yet.", "还没有图片。"))
    return picture_answer(saved)


def own_picture(image_id: Annotated[str, Path(max_length=64)], caller: CurrentCaller) -> SavedPicture:
    """A picture that the caller may see; raises NotFoundError where there is none with this id."""
    saved = caller.studio.picture(image_id, caller.owner)
    if saved is None:
        raise NotFoundError(Text("There is no such picture.", "没有这张图片。"))
    return saved


OwnPicture = Annotated[SavedPicture, Depends(own_picture)]


@router.get("/images/{image_id}")
def image(saved: OwnPicture) -> Picture:
    """Get a picture's settings."""
    return picture_answer(saved)


@router.get("/download/{image_id}", response_class=Response, responses={200: {"content": {"image/png": {}}}})
def download(saved: OwnPicture) -> Response:
    """Download the PNG as saved, with its settings inside."""
    if saved.unsaved_png is not None:
        name = f'attachment; filename="{saved.path.name}"'
        return Response(saved.unsaved_png, media_type="image/png", headers={"content-disposition": name})
    return StoredFile(saved.path, media_type="image/png", filename=saved.path.name)
