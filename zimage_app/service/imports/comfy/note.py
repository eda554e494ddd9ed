"""Stores the request inside exported workflows, and reads it back if the workflow is unchanged.

A graph has less information than a request: trigger words, stages that are off and wildcard templates are missing. So
the request is stored with a fingerprint of the graph; if a node was changed, the fingerprint differs, and the import
reads the graph instead.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from zimage_app.domain.errors import StudioError
from zimage_app.domain.request import GenerationRequest
from zimage_app.service.imports.comfy.graph import Graph
from zimage_app.service.imports.draft import Imported
from zimage_app.service.imports.ours import read_request

_KEY = "zimage_studio"


def note_for(request: GenerationRequest, model: str, graph: Graph) -> dict[str, Any]:
    """Return the note for a graph, as plain data."""
    settings = request.model_dump(mode="json", exclude_unset=True)
    return {"request": settings, "model": model, "graph": fingerprint(graph)}


def put_note(data: dict[str, Any], note: Mapping[str, Any]) -> dict[str, Any]:
    """Return a workflow with its note.

    In editor form the note is in ``extra``. ComfyUI's server accepts only nodes, so in API form it is in the last
    node's ``_meta``.
    """
    if "nodes" in data:
        return {**data, "extra": {**data.get("extra", {}), _KEY: note}}
    last = list(data)[-1]
    return {**data, last: {**data[last], "_meta": {**data[last].get("_meta", {}), _KEY: note}}}


def noted_request(data: Mapping[str, Any], graph: Graph) -> Imported | None:
    """Return the request stored with a graph; None if there is none, or if the graph was changed."""
    for note in _notes(data):
        settings, model = note.get("request"), note.get("model")
        if note.get("graph") == fingerprint(graph) and isinstance(settings, Mapping) and isinstance(model, str):
            try:
                return read_request(settings, model)
            except StudioError:
                return None  # of another version, or made up: the graph counts
    return None


def _notes(data: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    holders = [data.get("extra"), *(node.get("_meta") for node in data.values() if isinstance(node, Mapping))]
    found = [holder.get(_KEY) for holder in holders if isinstance(holder, Mapping)]
    return [note for note in found if isinstance(note, Mapping)]


def fingerprint(graph: Graph) -> str:
    """SHA-256 of everything that affects a graph's picture; the same in both forms, and after ComfyUI saved it."""
    nodes = [
        (
            node.id,
            node.kind,
            sorted((name, _number(value)) for name, value in node.values.items() if name not in node.links),
            sorted(node.links.items()),
        )
        for node in graph.values()
    ]
    text = json.dumps(sorted(nodes, key=lambda node: node[0]), ensure_ascii=False, default=repr)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _number(value: object) -> object:
    """Convert 3.0 to 3, as browsers write it."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
