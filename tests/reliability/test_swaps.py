"""S1: LoRAs put on and taken off a hundred times, in real runs of a small model."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.models.lora_support import changed, low_rank, state
from tests.reliability.memory import settled
from zimage_app import load_generator
from zimage_app.domain.request import GenerationRequest
from zimage_app.domain.settings.lora_use import LoraUse
from zimage_app.domain.settings.stage import Stage
from zimage_app.service.setup.config import StudioConfig

SWAPS = int(os.environ.get("ZIMAGE_SWAPS", "100"))
GROWTH = 20 * 2**20
_WARMING_UP = 10


@pytest.mark.timeout(600)
def test_s1_a_hundred_changes_of_loras_leave_memory_and_weights_as_they_were(models_dir: Path, tmp_path: Path) -> None:
    names = ("ink", "snow", "wide")
    for seed, name in enumerate(names):
        tensors = low_rank("diffusion_model.layers.0.attention.to_v", (64, 64), 16 << seed, 7 * seed)
        tensors |= low_rank("diffusion_model.context_refiner.0.attention.to_v", (64, 64), 4, 7 * seed + 2)
        save_file(tensors, tmp_path / f"{name}.safetensors")
    generator = load_generator("tiny", StudioConfig(models=models_dir, loras=tmp_path, outputs=tmp_path))
    module = generator._components.transformer.module
    pristine = state(module)
    chance = random.Random(0)
    request = GenerationRequest(prompt="a", seed=1, stages=(Stage(width=64, height=64, steps=1),))
    plain = generator.generate(request).image.tobytes()
    before = settled()
    for number in range(SWAPS + _WARMING_UP):
        uses = (LoraUse(name=name, strength=chance.choice((0.5, 1.0, -1.5))) for name in chance.sample(names, 2))
        other = generator.generate(request.model_copy(update={"loras": tuple(uses)})).image.tobytes()
        assert other != plain
        if number == _WARMING_UP:
            before = settled()
    assert generator.generate(request).image.tobytes() == plain
    assert changed(pristine, module) == set()
    assert settled() - before <= GROWTH
    assert all(torch.isfinite(parameter).all() for parameter in module.parameters())
