"""Uploads of start pictures and masks, which requests then name by their hash."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from zimage_app.domain.errors import ImportedFileError, RequestError
from zimage_app.rest.caller import CurrentCaller, ensure_owner
from zimage_app.rest.schema import Input
from zimage_app.service.generation.start_pictures import MEDIA_TYPES
from zimage_app.web.slow_work import UPLOADS

router = APIRouter(tags=["generate"])

_NAME = "picture"
"""Name for uploads, which come without a file name."""
_PICTURE = {"schema": {"type": "string", "format": "binary"}}
_BODY = {"requestBody": {"required": True, "content": dict.fromkeys(MEDIA_TYPES, _PICTURE)}}


@router.post("/inputs", openapi_extra=_BODY)
async def hand_in(request: Request, caller: CurrentCaller, response: Response) -> Input:
    """Upload a start picture or a mask as the body.

    Use the returned hash as ``start.picture`` or ``start.mask`` of POST /api/generate.
    """
    data = await request.body()  # its size is bounded by the middleware
    try:
        kept = await UPLOADS.run(caller.studio.inputs.save, data, _NAME, ensure_owner(caller, request, response))
    except ImportedFileError as error:
        raise RequestError("body", error.text) from error
    return Input(picture=kept.sha256, width=kept.width, height=kept.height)
