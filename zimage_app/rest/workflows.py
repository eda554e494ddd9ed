"""Settings as ComfyUI workflows: of a request, or of a picture that was made."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse, Response

from zimage_app.domain.errors import LoraError, ModelError, RequestError, naming_fields
from zimage_app.rest.caller import CurrentCaller
from zimage_app.rest.pictures import OwnPicture
from zimage_app.rest.schema import GenerateRequest
from zimage_app.service.exports.comfy import FORMS, Form

router = APIRouter(tags=["workflows"])

_FORM = Query(description="editor: to be opened in ComfyUI's page; api: to be sent to its POST /prompt.")
AskedForm = Annotated[Form, _FORM]


class Workflow(BaseModel):
    """A ComfyUI workflow that makes the same picture there."""

    workflow: dict[str, Any]
    notes: Annotated[list[str], Field(description="What to know before it is run there.")]


@router.post("/workflow")
def workflow(body: GenerateRequest, caller: CurrentCaller, form: AskedForm = FORMS[0]) -> Workflow:
    """A request as a ComfyUI workflow; nothing is made. What ComfyUI can't do is refused by name."""
    model = body.asked.model or caller.studio.default_model
    with naming_fields():
        request, _ = body.request(caller.studio.card(model))
        made, notes = caller.studio.workflow(request, model, form)
    return Workflow(workflow=made, notes=[text.to(caller.language) for text in notes])


@router.get("/images/{image_id}/workflow", response_class=JSONResponse)
def workflow_of(saved: OwnPicture, caller: CurrentCaller, form: AskedForm = FORMS[0]) -> Response:
    """A picture's settings as a ComfyUI workflow, as a file to keep."""
    try:
        made, _ = caller.studio.workflow(saved.record.request, saved.record.model, form)
    except (ModelError, LoraError) as error:
        raise RequestError("image_id", error.text) from error
    name = f'attachment; filename="{saved.record.id}.workflow.json"'
    return JSONResponse(made, headers={"content-disposition": name})
