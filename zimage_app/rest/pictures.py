"""Pictures that were made: listed, searched and sent, byte for byte."""

from __future__ import annotations

from datetime import date
from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import FileResponse

from zimage_app.domain.text import Text
from zimage_app.rest.answers import item_answer, picture_answer
from zimage_app.rest.caller import Calling
from zimage_app.rest.problems import NotFoundError
from zimage_app.rest.schema import LONGEST_NAME, Picture, Pictures
from zimage_app.service.history import Search

router = APIRouter(tags=["pictures"])

_GONE = Text("There is no such picture.", "没有这张图片。")


class Asked(BaseModel):
    """Which pictures."""

    model_config = ConfigDict(extra="forbid")

    page: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    page_size: Annotated[int, Field(ge=1, le=100)] = 20
    search: Annotated[str, Field(max_length=400, description="Words of the prompt or the settings.")] = ""
    favourites: Annotated[bool, Field(description="Only those with a star.")] = False
    day: Annotated[date | None, Field(description="Only those of one day.")] = None
    model: Annotated[str | None, Field(max_length=LONGEST_NAME)] = None


@router.get("/history")
def history(caller: Calling, asked: Annotated[Asked, Query()]) -> Pictures:
    """Pictures, newest first."""
    day = asked.day.isoformat() if asked.day else None
    search = Search(asked.search, asked.favourites, day, asked.model or None)
    found = caller.studio.history.page(caller.owner, search, asked.page, asked.page_size)
    return Pictures(
        items=[item_answer(item) for item in found.items], total=found.total, page=found.page, pages=found.pages
    )


@router.get("/images/latest")
def latest(caller: Calling) -> Picture:
    """The newest picture."""
    saved = caller.studio.history.latest(caller.owner)
    if saved is None:
        raise NotFoundError(Text("There is no picture yet.", "还没有图片。"))
    return picture_answer(saved)


@router.get("/images/{image_id}")
def image(image_id: Annotated[str, Path(max_length=64)], caller: Calling) -> Picture:
    """A picture's settings."""
    saved = caller.studio.history.find(image_id, caller.owner)
    if saved is None:
        raise NotFoundError(_GONE)
    return picture_answer(saved)


@router.get("/download/{image_id}", response_class=FileResponse, responses={200: {"content": {"image/png": {}}}})
def download(image_id: Annotated[str, Path(max_length=64)], caller: Calling) -> FileResponse:
    """The PNG as it was saved, with its settings inside."""
    saved = caller.studio.history.find(image_id, caller.owner)
    if saved is None:
        raise NotFoundError(_GONE)
    return FileResponse(saved.path, media_type="image/png", filename=saved.path.name)
