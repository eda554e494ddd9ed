"""Several pictures of one request: seeds that count up."""

from __future__ import annotations

import pytest

from zimage_app.domain.errors import RequestError
from zimage_app.domain.many import counted, with_seed
from zimage_app.domain.request import MAX_SEED, GenerationRequest, Stage, Template


def test_seeds_count_up_those_of_stages_too() -> None:
    stages = (Stage(), Stage(seed=7), Stage(seed="random"))
    asked = counted(GenerationRequest(prompt="x", seed=MAX_SEED, stages=stages), 3)
    assert [each.seed for each in asked] == [MAX_SEED, 0, 1]
    assert [[stage.seed for stage in each.stages or ()] for each in asked] == [
        ["follow", seed, "random"] for seed in (7, 8, 9)
    ]


def test_choices_are_drawn_anew_for_each_seed() -> None:
    drawn = GenerationRequest(prompt="red", seed=1, template=Template(prompt="{red|blue}"))
    first, second = counted(drawn, 2)
    assert first == drawn
    assert (second.prompt, second.template) == ("{red|blue}", None)


def test_a_random_seed_becomes_a_number() -> None:
    assert isinstance(with_seed(GenerationRequest(prompt="x")).seed, int)
    assert with_seed(GenerationRequest(prompt="x", seed=3)).seed == 3


@pytest.mark.parametrize("count", [0, 101])
def test_how_many_is_bounded(count: int) -> None:
    with pytest.raises(RequestError, match="from 1 to 100"):
        counted(GenerationRequest(prompt="x", seed=1), count)
