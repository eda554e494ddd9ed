"""SwarmUI's and InvokeAI's settings, which are flat JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from zimage_app.domain.request import Stage, knob_of
from zimage_app.domain.text import Text
from zimage_app.service.imports.draft import Draft, Imported, of_stage, shown
from zimage_app.service.imports.infotext import sampler_fields
from zimage_app.service.imports.names import resize_method


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_SWARM_READ = _names(
    "prompt negativeprompt model seed steps cfgscale width height sampler scheduler sigmashift loras loraweights"
    " refinermethod refinercontrolpercentage refinercontrol refinerupscale refinerupscalemethod refinersteps"
    " refinercfgscale"
)
_SWARM_IGNORED = _names(
    "images aspectratio sidelength swarm_version date generation_time batchsize automaticvae nopreviews"
    " imageformat donotsave wildcardseed used_wildcards original_prompt original_negativeprompt personalnote"
    " loratencweights vae colordepth unused_parameters"
)
_INVOKE_READ = _names(
    "positive_prompt negative_prompt model seed steps cfg_scale guidance width height scheduler loras shift"
)
_INVOKE_IGNORED = _names(
    "app_version generation_mode rand_device _canvas_objects canvas_v2_metadata workflow ref_images"
)


def read_swarm(data: Mapping[str, Any]) -> Imported:
    """``sui_image_params``; raises ImportedFileError where nothing of it can be used."""
    draft = Draft(Text("SwarmUI", "SwarmUI"), data.get("prompt"), data.get("negativeprompt"), data.get("seed"))
    draft.model = data.get("model")
    names = {"width": "width", "height": "height", "steps": "steps", "cfgscale": "cfg", "sigmashift": "shift"}
    stage = {ours: _number(data[theirs]) for theirs, ours in names.items() if theirs in data}
    stage |= sampler_fields(draft, 0, _name(data.get("sampler")), _name(data.get("scheduler")))
    draft.stages.append(stage)
    refined = _refined(draft, data)
    if refined:
        draft.stages.append(refined)
    weights = _list(data.get("loraweights"))
    for place, name in enumerate(_list(data.get("loras"))):
        draft.loras.append({"name": name, "strength": _number(weights[place]) if place < len(weights) else 1.0})
    _rest(draft, data, _SWARM_READ | _SWARM_IGNORED)
    return draft.settled()


def _refined(draft: Draft, data: Mapping[str, Any]) -> dict[str, Any] | None:
    """The refiner's pass over the enlarged latent as a second stage."""
    part = _number(data.get("refinercontrolpercentage", data.get("refinercontrol")))
    scale = _number(data.get("refinerupscale", 1))
    if not _between(part, 0.001, 1) or not _between(scale, 0.25, 8):
        return None
    if data.get("refinermethod", "PostApply") != "PostApply":
        draft.leave(
            Text("Refiner", "Refiner"),
            Text(
                f"{shown(data['refinermethod'])}: only a pass after the first one is a stage here",
                f"{shown(data['refinermethod'])}：这里只支持在第一遍之后再画一遍",
            ),
        )
        return None
    first = draft.stages[0]
    stage = {**first, "denoise": part}
    for side in ("width", "height"):
        if _between(first.get(side), 1, 1e5):
            stage[side] = int(first[side] * scale)
    steps = _number(data.get("refinersteps", first.get("steps")))
    if _between(steps, 1, 10_000):
        # Its sampler starts that far into its steps.
        stage["steps"] = max(1, int(steps) - round(int(steps) * (1 - part)))
        draft.turn(of_stage(1, knob_of(Stage, "steps").title), f"{steps:g} × {part:g}", stage["steps"])
    if "refinercfgscale" in data:
        stage["cfg"] = _number(data["refinercfgscale"])
    method = str(data.get("refinerupscalemethod", "latent-nearest-exact"))
    ours = resize_method(method.removeprefix("latent-")) if method.startswith("latent-") else None
    stage["upscale"] = ours or "nearest-exact"
    if scale != 1:
        draft.turn(of_stage(1, knob_of(Stage, "upscale").title), method, stage["upscale"])
    return stage


def read_invoke(data: Mapping[str, Any]) -> Imported:
    """``invokeai_metadata``; raises ImportedFileError where nothing of it can be used."""
    draft = Draft(
        Text("InvokeAI", "InvokeAI"), data.get("positive_prompt"), data.get("negative_prompt"), data.get("seed")
    )
    draft.model = _invoke_name(data.get("model"))
    names = {"width": "width", "height": "height", "steps": "steps", "cfg_scale": "cfg", "shift": "shift"}
    stage = {ours: _number(data[theirs]) for theirs, ours in names.items() if data.get(theirs) is not None}
    if "cfg" not in stage and "guidance" in data:
        stage["cfg"] = _number(data["guidance"])
    stage |= sampler_fields(draft, 0, _name(data.get("scheduler")), None)
    draft.stages.append(stage)
    for use in _list(data.get("loras")):
        if isinstance(use, Mapping):
            name = _invoke_name(use.get("model", use.get("lora")))
            draft.loras.append({"name": name, "strength": _number(use.get("weight", 1.0))})
    _rest(draft, data, _INVOKE_READ | _INVOKE_IGNORED)
    return draft.settled()


def _invoke_name(value: object) -> object:
    """A model's name in any of the forms that its versions wrote."""
    if isinstance(value, Mapping):
        return value.get("name", value.get("model_name"))
    return value


def _rest(draft: Draft, data: Mapping[str, Any], known: Iterable[str]) -> None:
    for key in sorted(set(data) - set(known)):
        if data[key] not in (None, "", False, [], {}):
            draft.leave(Text(shown(key), shown(key)), _no_place(data[key]))


def _no_place(value: object) -> Text:
    said = "".join(_plain(value))
    return Text(f"{said} has no place here".strip(), f"{said} 在这里没有对应项".strip())


def _plain(value: object) -> Iterator[str]:
    """A value where it is short enough to be told."""
    if isinstance(value, str | int | float):
        yield shown(value)


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _name(value: object) -> str | None:
    return value if isinstance(value, str) and value.strip() else None


def _number(value: object) -> Any:
    """A number, also where it is written as text; else the value, for the request's check to judge."""
    if isinstance(value, str):
        for read in (int, float):
            try:
                return read(value.strip()[:40])
            except ValueError:
                continue
    return value


def _between(value: object, low: float, high: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high
