"""The seeds that a record tells: those that acted."""

from __future__ import annotations

import pytest

from tests.service.records import a_record
from zimage_app.domain.record import ImageRecord
from zimage_app.domain.request import Template
from zimage_app.domain.settings.stage import Stage


def with_seeds(*seeds: int | str, template: Template | None = None) -> ImageRecord:
    record = a_record()
    stages = tuple(Stage.model_validate({"seed": seed}) for seed in seeds)
    ran = tuple(
        stage.model_copy(update={"seed": seed if isinstance(seed, int) else stage.seed})
        for stage, seed in zip(record.stages, seeds, strict=True)
    )
    request = record.request.model_copy(update={"stages": stages, "template": template})
    return record.model_copy(update={"request": request, "stages": ran})


@pytest.mark.parametrize(
    ("seeds", "acted"),
    [
        (("follow", "follow", "follow"), (42,)),
        (("follow", 7, "follow"), (42, 7)),
        ((5, 6, 7), (5, 6, 7)),
        ((5, 5, 5), (5,)),
    ],
)
def test_seeds_are_the_requests_and_those_that_stages_have(
    seeds: tuple[int | str, ...], acted: tuple[int, ...]
) -> None:
    record = with_seeds(*seeds)
    assert record.seeds == acted
    assert f", Seed: {acted[0]}, Size:" in record.parameters_text


def test_what_was_drawn_follows_the_requests_seed() -> None:
    assert with_seeds(5, 6, 7, template=Template(prompt="{a|b}")).seeds == (5, 6, 7, 42)
