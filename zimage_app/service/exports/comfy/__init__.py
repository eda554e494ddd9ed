"""Exports a planned request as a ComfyUI workflow; settings that ComfyUI doesn't support are refused by name.

``workflow.py`` builds the graph that ComfyUI's server runs (``api``), ``editor.py`` converts it to the form of
ComfyUI's editor. Both forms contain the request itself (``imports/comfy/note.py``), so that importing restores it.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

from zimage_app.domain.plan import GenerationPlan
from zimage_app.domain.text import Text
from zimage_app.service.exports.comfy.editor import unsafe_seeds, with_layout
from zimage_app.service.exports.comfy.names import FileNames
from zimage_app.service.exports.comfy.workflow import build
from zimage_app.service.imports.comfy.graph import api_graph
from zimage_app.service.imports.comfy.note import note_for, put_note

Form = Literal["editor", "api"]
FORMS: tuple[Form, ...] = get_args(Form)


def exported(plan: GenerationPlan, model: str, names: FileNames, form: Form) -> tuple[dict[str, Any], list[Text]]:
    """Return a plan as a workflow in one of its forms, and notes for the user.

    ``model`` is the model's name in this app.

    Raises:
        RequestError: names each setting that ComfyUI has no node for.
    """
    workflow = build(plan, names)
    note = note_for(plan.request, model, api_graph(workflow.nodes))
    notes = list(workflow.notes)
    if form == "api":
        return put_note(workflow.nodes, note), notes
    return put_note(with_layout(workflow.nodes), note), notes + unsafe_seeds(plan)
