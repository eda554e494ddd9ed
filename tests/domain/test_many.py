"""Several pictures of one request: seeds that count up."""

from __future__ import annotations

import pytest

from zimage_app.domain.errors import RequestError
from zimage_app.domain.many import counted
from zimage_app.domain.request import GenerationRequest, Template
from zimage_app.domain.settings.stage import MAX_SEED, Stage


def test_seeds_count_up_those_of_stages_too() -> None:
    stages = (Stage(), Stage(seed=7), Stage(seed="random"))
    asked = counted(GenerationRequest(prompt="x", seed=MAX_SEED, stages=stages), 3)
    assert [each.seed for each in asked] == [MAX_SEED, 0, 1]
    assert [[stage.seed for stage in each.stages or ()] for each in asked] == [
        ["follow", seed, "random"] for seed in (7, 8, 9)
    ]


def test_rounds_go_on_where_the_last_ended() -> None:
    request = GenerationRequest(prompt="x", seed=5, stages=(Stage(seed=7),))
    asked = [each for turn in range(3) for each in counted(request, 2, turn)]
    assert asked == counted(request, 6)
    assert counted(GenerationRequest(prompt="x"), 1, 4) == [GenerationRequest(prompt="x")]


def test_choices_are_drawn_anew_for_each_seed() -> None:
    drawn = GenerationRequest(prompt="red", seed=1, template=Template(prompt="{red|blue}"))
    first, second = counted(drawn, 2)
    assert first == drawn
    assert (second.prompt, second.template) == ("{red|blue}", None)


def test_a_random_seed_becomes_a_number() -> None:
    first, second = (each.seed for each in counted(GenerationRequest(prompt="x"), 2))
    assert isinstance(first, int)
    assert second == (first + 1) % (MAX_SEED + 1)


def test_one_stays_as_it_is() -> None:
    request = GenerationRequest(prompt="x")
    assert counted(request, 1) == [request]


@pytest.mark.parametrize("count", [0, 101, None, 2.5, "2"])
def test_how_many_is_bounded(count: object) -> None:
    with pytest.raises(RequestError, match="from 1 to 100"):
        counted(GenerationRequest(prompt="x", seed=1), count)
