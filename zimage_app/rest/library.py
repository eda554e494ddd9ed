"""The models, LoRAs and presets that requests can name, and the status of app and machine."""

from __future__ import annotations

from fastapi import APIRouter

from zimage_app.rest.caller import CurrentCaller
from zimage_app.rest.machine import status_answer
from zimage_app.rest.schema import Lora, Model, Models, Preset, Status

router = APIRouter(tags=["library"])


@router.get("/models")
def models(caller: CurrentCaller) -> Models:
    """List the models, including those that can be downloaded."""
    studio, language = caller.studio, caller.language
    loaded = studio.loaded()
    listed = [
        Model(
            name=view.name,
            title=view.card.title.to(language),
            description=view.card.description.to(language),
            state=view.state,
            # The reason may name a file on this machine.
            reason=view.reason.to(language) if view.reason and not studio.shared else None,
            loaded=loaded is not None and loaded.name == view.name,
        )
        for view in studio.models.views()
    ]
    return Models(default=studio.default_model, models=listed)


@router.get("/loras")
def loras(caller: CurrentCaller) -> list[Lora]:
    """List the LoRAs that requests can name."""
    return [
        Lora(
            name=entry.name,
            title=entry.title or entry.name,
            triggers=list(entry.preset_triggers or entry.triggers),
            strength=entry.strength,
            base=entry.base,
            problem=caller.studio.redacted(entry.problem).to(caller.language) if entry.problem else None,
        )
        for entry in caller.studio.loras.entries()
    ]


@router.get("/presets")
def presets(caller: CurrentCaller) -> list[Preset]:
    """List the presets: named settings to start a request from."""
    return [
        Preset(
            name=preset.name,
            title=preset.title.to(caller.language),
            description=preset.description.to(caller.language),
            mine=preset.mine,
            settings=dict(preset.settings),
            problem=caller.studio.redacted(preset.problem).to(caller.language) if preset.problem else None,
        )
        for preset in caller.studio.presets.presets()
    ]


@router.get("/system/status", tags=["system"])
def status(caller: CurrentCaller) -> Status:
    """How many requests run and wait, and how the machine is."""
    return status_answer(caller.studio, caller.language)
