"""Pictures like one that was made: what differs, and what stays."""

from __future__ import annotations

import pytest

from zimage_app.domain.another import LITTLE, MUCH, Another, another
from zimage_app.domain.card import ModelCard
from zimage_app.domain.errors import RequestError
from zimage_app.domain.plan import make_plan
from zimage_app.domain.request import GenerationRequest
from zimage_app.domain.settings.stage import REFERENCE_STAGES
from zimage_app.domain.text import Text

THREE = ModelCard(name="three", title=Text("Three", "三"), description=Text("As ComfyUI.", "同 ComfyUI。"))
MADE = make_plan(GenerationRequest(prompt="一艘船", seed=7, stages=REFERENCE_STAGES), THREE).request
"""Settled, with seeds of the stages' own."""


def _drawn(request: GenerationRequest, asked: Another) -> GenerationRequest:
    """What is run, with the numbers 100, 101, … for what is left to chance."""
    numbers = iter(range(100, 200))
    return make_plan(another(request, asked), THREE, lambda: next(numbers)).request


def test_the_same_again_is_the_same_request() -> None:
    assert _drawn(MADE, Another(how="same")) == MADE


def test_another_seed_reaches_stages_that_had_seeds_of_their_own() -> None:
    made = _drawn(MADE, Another(how="seed"))
    assert made.seed == 100
    assert [stage.seed for stage in made.stages or ()] == ["follow"] * 3
    assert made.model_copy(update={"seed": 7, "stages": MADE.stages}) == MADE


@pytest.mark.parametrize(("how", "strength"), [("little", LITTLE), ("much", MUCH)])
def test_a_variation_turns_the_first_noise_and_keeps_the_seeds(how: str, strength: float) -> None:
    made = _drawn(MADE, Another.model_validate({"how": how}))
    assert (made.seed, made.variation_strength, made.variation_seed) == (7, strength, 100)
    assert made.stages == MADE.stages


@pytest.mark.parametrize("kept", [1, 2])
def test_kept_stages_are_run_as_before_and_the_rest_with_new_seeds(kept: int) -> None:
    made = _drawn(MADE, Another(how="keep", kept=kept))
    before, after = MADE.stages or (), made.stages or ()
    assert after[:kept] == before[:kept]
    assert [stage.seed for stage in after[kept:]] == [100, 101][: 3 - kept]
    assert made.seed == 7


def test_stages_that_are_off_are_not_counted() -> None:
    first, second, third = MADE.stages or ()
    off = MADE.model_copy(update={"stages": (first, second.model_copy(update={"enabled": False}), third)})
    made = _drawn(off, Another(how="keep", kept=1))
    assert [stage.seed for stage in made.stages or ()] == [first.seed, second.seed, 100]
    with pytest.raises(RequestError, match="2: of 2 stages, at most 1 can be kept"):
        another(off, Another(how="keep", kept=2))
