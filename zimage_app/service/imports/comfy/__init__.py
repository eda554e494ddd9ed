"""Converts a ComfyUI graph, in API or editor form, to settings: evaluates it node by node up to the output picture.

Each sampler on the way to that picture becomes a stage. ``nodes/`` describes the known node classes. Unknown nodes pass
their inputs through, and the import reports them instead of guessing their effect. An unchanged workflow of this app
has the original request in it (``note.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from zimage_app.domain.text import Text
from zimage_app.service.imports.comfy.editor import editor_graph
from zimage_app.service.imports.comfy.evaluate import EvaluatedGraph
from zimage_app.service.imports.comfy.graph import api_graph
from zimage_app.service.imports.comfy.note import noted_request
from zimage_app.service.imports.comfy.outputs import Output, chosen_output
from zimage_app.service.imports.comfy.stages import add_stages, report_notes
from zimage_app.service.imports.comfy.start import add_start
from zimage_app.service.imports.comfy.values import Pass, Size, note_of
from zimage_app.service.imports.draft import Draft, Imported, nothing_found

COMFYUI = Text("ComfyUI", "ComfyUI")
_AFTER = Text(
    "it changes the finished picture, which has no equivalent in this app", "它处理的是成品图，本程序没有对应的功能"
)

_IDLE = Text(
    "it leaves the latent as it is (denoise 0, or no step is left) → no stage",
    "它不改动潜变量（重绘幅度为 0，或没有剩余步数）→ 不作为阶段",
)


def read_graph(data: Mapping[str, Any], picture: Size | None) -> Imported:
    """Return the settings of a graph; ``picture`` is the size of the picture file, which helps find its output node.

    Raises:
        ImportedFileError: the graph has too many nodes, or no sampler.
    """
    graph = editor_graph(data) if isinstance(data.get("nodes"), list) else api_graph(data)
    if (ours := noted_request(data, graph)) is not None:
        return ours
    output = chosen_output(EvaluatedGraph(graph), picture)
    if output is None:
        raise nothing_found(COMFYUI)
    draft = Draft(COMFYUI, tags_act=False)
    _report_output(draft, output)
    sampled = replace(output.picture, passes=_acting(draft, output.picture.passes))
    add_stages(draft, sampled.passes, picture)
    add_start(draft, sampled)
    return draft.settled()


def _acting(draft: Draft, passes: tuple[Pass, ...]) -> tuple[Pass, ...]:
    """Return the passes that redraw something; if none does, the last one, so that its other settings are imported."""
    acting: list[Pass] = []
    resized: Pass | None = None
    for done in passes:
        if done.redraws_nothing:
            resized = done if done.method is not None else resized
            continue
        if resized is not None and done.method is None:
            done = replace(done, method=resized.method, decoded_by=resized.decoded_by)
        acting.append(done)
        resized = None
    idle = [done for done in passes if done.redraws_nothing] if acting else passes[:-1]
    for done in idle:
        report_notes(draft, (note_of(done.node, _IDLE, translated=True), *done.notes))
    return tuple(acting) or passes[-1:]


def _report_output(draft: Draft, output: Output) -> None:
    if output.others:
        draft.report_translated(
            Text("Pictures in this workflow", "这个工作流中的图片"), f"{output.others + 1}", output.node.name
        )
    picture = output.picture
    report_notes(draft, picture.notes)
    report_notes(draft, [note_of(name, _AFTER) for name in (*picture.resizes, *picture.changes)])
