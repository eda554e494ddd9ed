"""The toy model is the real thing, small."""

from __future__ import annotations

from pathlib import Path

import torch

from tests.models.stock import normal, rel
from zimage_app.models.components import Components
from zimage_app.models.loader import load_components
from zimage_app.models.memory_plan import plan_memory
from zimage_app.models.spec import find_model
from zimage_app.models.tiny import tiny_card, tiny_components


def velocity(components: Components, seed: int = 0) -> torch.Tensor:
    transformer = components.transformer
    prompts = [transformer.prompt(components.text.encode(prompt)) for prompt in ("a boat", "船" * 20)]
    return transformer.evaluation((12, 8), prompts, [0.5])(normal(2, 16, 12, 8, seed=seed), 0.5)


def test_the_folder_holds_the_same_model(tiny_folder: Path) -> None:
    built = tiny_components()
    source = find_model(str(tiny_folder), tiny_folder.parent)
    loaded = load_components(source, plan_memory(source, "cpu"))
    assert loaded.card == built.card == tiny_card()
    assert torch.equal(loaded.text.encode("a boat"), built.text.encode("a boat"))
    assert rel(velocity(loaded), velocity(built)) < 1e-6
    latent = normal(1, 16, 4, 6)
    assert torch.equal(loaded.codec.decode(latent), built.codec.decode(latent))
    assert (loaded.latent, loaded.preview) == (built.latent, built.preview)


def test_the_seed_decides_and_nothing_outside_is_touched() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = velocity(tiny_components())
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(velocity(tiny_components()), first)
    assert rel(velocity(tiny_components(seed=1)), first) > 0.1


def test_every_input_matters() -> None:
    components = tiny_components()
    v = velocity(components)
    assert torch.isfinite(v).all()
    assert rel(velocity(components, seed=1), v) > 0.1
    assert rel(v[1], v[0]) > 0.1
