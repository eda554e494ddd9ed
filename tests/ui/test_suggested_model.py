"""The model panel offers the copy of Z-Image-Turbo that suits the machine's card, with one press to fetch it."""

from __future__ import annotations

from pathlib import Path

import pytest

from zimage_app.service.diagnostics.gpus import Amount, GpuStatus
from zimage_app.service.diagnostics.monitor import MachineStatus, Monitor
from zimage_app.service.setup.config import ROOT, StudioConfig
from zimage_app.service.studio import Studio
from zimage_app.ui.models.model_panel import panel_data


class PlayedMonitor(Monitor):
    """A machine with a card of so many gigabytes."""

    def __init__(self, outputs: Path, gigabytes: int | None, capability: tuple[int, int] | None) -> None:
        super().__init__(outputs)
        memory = None if gigabytes is None else Amount(0, gigabytes * 2**30)
        self._gpus = (GpuStatus("A card", memory=memory, capability=capability),)

    def machine(self) -> MachineStatus:
        """See ``Monitor``."""
        return MachineStatus(2.0, None, None, None, self._gpus)


@pytest.mark.parametrize(
    ("gigabytes", "capability", "name"),
    [
        (6, (8, 6), "z-image-turbo-q4"),
        (12, None, "z-image-turbo-int8"),
        (24, (8, 6), "z-image-turbo-bf16"),
        (24, (7, 5), "z-image-turbo-int8"),
        (None, None, None),
    ],
)
def test_the_copy_that_suits_the_card_comes_first(
    tmp_path: Path, gigabytes: int | None, capability: tuple[int, int] | None, name: str | None
) -> None:
    named = ROOT / "presets" / "models"
    config = StudioConfig(
        outputs=tmp_path, models=tmp_path / "models", named_models=named, shipped=ROOT / "models" / "demo"
    )
    studio = Studio(config)
    try:
        studio.monitor = PlayedMonitor(tmp_path, gigabytes, capability)
        assert studio.suggested_model == name
        data = panel_data(studio, "en")
    finally:
        studio.close()
    offered = [row for row in data["models"] if row["state"] == "fetch"]
    assert offered[0]["name"] == (name or "z-image-turbo")
    assert [row["name"] for row in offered if "suits this machine" in row["text"]] == ([name] if name else [])
    title = offered[0]["title"]
    assert f"Fetch {title}" in data["headline"]
