"""The request that this app writes into the workflows that it makes, and reads back while they are unchanged.

A graph says less than a request: not which trigger words were joined, which stages are off, what was typed before
wildcards were drawn. So the request stands beside it, with a fingerprint of the graph; once somebody changes a node,
the fingerprint is another, and the graph itself counts.
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
    """The note that goes with a graph, as plain data."""
    settings = request.model_dump(mode="json", exclude_unset=True)
    return {"request": settings, "model": model, "graph": fingerprint(graph)}


def put_note(data: dict[str, Any], note: Mapping[str, Any]) -> dict[str, Any]:
    """A workflow with its note.

    The editor keeps what stands in ``extra``. ComfyUI's server takes nothing but nodes, so the other form has the note
    in its last node's ``_meta``.
    """
    if "nodes" in data:
        return {**data, "extra": {**data.get("extra", {}), _KEY: note}}
    last = list(data)[-1]
    return {**data, last: {**data[last], "_meta": {**data[last].get("_meta", {}), _KEY: note}}}


def noted_request(data: Mapping[str, Any], graph: Graph) -> Imported | None:
    """The request beside a graph; None where there is none, or the graph is no longer the one that it came with."""
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
    """SHA-256 of all that decides what a graph makes; the same for both forms, and after ComfyUI's page saved it."""
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
    """A browser writes 3.0 as 3."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
