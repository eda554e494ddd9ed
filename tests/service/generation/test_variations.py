"""Variations: the first noise interpolated towards another seed's, and made again from the record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from zimage_app import load_generator
from zimage_app.domain.request import GenerationRequest
from zimage_app.domain.settings.stage import Stage
from zimage_app.engine.noise import initial_noise, interpolated_noise
from zimage_app.service.generation.generator import Generated, Generator
from zimage_app.service.setup.config import StudioConfig

SHAPE = (1, 16, 8, 8)
STAGE = Stage(width=64, height=64, steps=2, sampler="euler")
"""Draws no noise but the first."""


@pytest.fixture(scope="module")
def generator(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Generator:
    return load_generator("tiny", StudioConfig(models=models_dir, outputs=tmp_path_factory.mktemp("outputs")))


def picture(generator: Generator, **settings: Any) -> Generated:
    return generator.generate(GenerationRequest(prompt="a boat", stages=(STAGE,), **{"seed": 1} | settings))


def pixels(made: Generated) -> Any:
    return np.asarray(made.image).astype(int)


def test_turned_noise_keeps_its_length_and_comes_nearer_evenly() -> None:
    a, b = initial_noise(SHAPE, 1), initial_noise(SHAPE, 2)
    b *= a.norm() / b.norm()
    whole = torch.acos((a * b).sum() / (a.norm() * b.norm()))
    assert interpolated_noise(a, b, 0.0) is a
    assert interpolated_noise(a, b, 1.0) is b
    assert interpolated_noise(a, a, 0.5) is a
    for strength in (0.25, 0.5, 0.75):
        mixed = interpolated_noise(a, b, strength)
        assert float(mixed.norm()) == pytest.approx(float(a.norm()), rel=1e-5)
        angle = torch.acos((a * mixed).sum() / (a.norm() * mixed.norm()))
        assert float(angle) == pytest.approx(float(whole) * strength, rel=1e-4)


def test_strength_leads_from_one_seeds_picture_to_the_others(generator: Generator) -> None:
    one, other = pixels(picture(generator)), pixels(picture(generator, seed=2))
    ends = [pixels(picture(generator, variation_seed=2, variation_strength=strength)) for strength in (0.0, 1.0)]
    np.testing.assert_array_equal(ends[0], one)
    np.testing.assert_array_equal(ends[1], other)
    near = pixels(picture(generator, variation_seed=2, variation_strength=0.1))
    assert 0 < abs(near - one).mean() < abs(near - other).mean()


def test_a_drawn_variation_is_remembered_and_made_again(generator: Generator) -> None:
    made = picture(generator, variation_strength=0.3)
    request = made.record.request
    assert isinstance(request.variation_seed, int)
    assert f"Variation seed: {request.variation_seed}, Variation seed strength: 0.3" in made.record.parameters_text
    np.testing.assert_array_equal(pixels(generator.generate(request)), pixels(made))
