"""What may be asked for: at home what the fields allow, in public what one machine can give to many."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from zimage_app.domain.card import ModelCard
from zimage_app.domain.errors import BusyError, RequestError
from zimage_app.domain.plan import GenerationPlan, make_plan
from zimage_app.domain.request import GenerationRequest
from zimage_app.domain.settings.stage import MAX_STAGES, REFERENCE_STAGES, Stage
from zimage_app.domain.text import Text
from zimage_app.service.rules.limits import (
    PRIVATE_LIMITS,
    PUBLIC_LIMITS,
    DiskUse,
    check_disk,
    check_plan,
    check_queue_room,
)
from zimage_app.service.setup.config import StudioConfig

CARD = ModelCard("any", Text("Any", "任意"), Text("Any.", "任意。"), REFERENCE_STAGES)
LARGE = Stage(width=1024, height=1024, steps=50, cfg=4.0)


def planned(*stages: Stage) -> GenerationPlan:
    return make_plan(GenerationRequest(prompt="x", stages=stages), CARD)


@pytest.mark.parametrize("stages", [REFERENCE_STAGES, (LARGE,)])
def test_the_usual_workflows_fit_in_public(stages: tuple[Stage, ...]) -> None:
    check_plan(planned(*stages), PUBLIC_LIMITS)


def test_home_allows_all_that_the_fields_allow() -> None:
    most = Stage(width=2048, height=2048, steps=200, cfg=30.0, sampler="seeds_3", scheduler="simple")
    check_plan(planned(*[most] * MAX_STAGES), PRIVATE_LIMITS)


@pytest.mark.parametrize(
    ("stages", "field", "values"),
    [
        ((Stage(), Stage(width=2048, height=1024)), "stages.1.width", ("2048 x 1024", "1048576")),
        ((Stage(width=1024, height=1040),), "stages.0.height", ("1024 x 1040", "1048576")),
        ((Stage(steps=51),), "stages.0.steps", ("51", "at most 50")),
        ((Stage(steps=1),) * 5, "stages", ("5 stages", "at most 4")),
        ((LARGE, LARGE), "stages", ("200 model evaluations", "at most 150")),
    ],
)
def test_more_is_refused_at_its_field(stages: tuple[Stage, ...], field: str, values: tuple[str, str]) -> None:
    plan = planned(*stages)
    with pytest.raises(RequestError) as caught:
        check_plan(plan, PUBLIC_LIMITS)
    assert caught.value.field == field
    assert all(value in caught.value.text.en for value in values)
    assert caught.value.text.zh.startswith(f"{field}：")


def test_stages_that_are_off_do_not_count() -> None:
    check_plan(planned(Stage(steps=1), *[Stage(steps=200, enabled=False)] * 7), PUBLIC_LIMITS)


def test_an_owner_and_the_queue_have_an_end_each() -> None:
    limits = replace(PUBLIC_LIMITS, waiting_of_owner=2, waiting=5)
    check_queue_room(1, 4, limits, 7.0)
    with pytest.raises(
        BusyError, match="At most 2 of your pictures may wait in the queue, which has 2 already"
    ) as mine:
        check_queue_room(2, 2, limits, 7.0)
    assert (mine.value.own, mine.value.retry_after) == (True, 7.0)
    with pytest.raises(BusyError, match="holds 5 pictures of at most 5") as everybodys:
        check_queue_room(0, 5, limits, 7.0)
    assert (everybodys.value.own, everybodys.value.retry_after) == (False, 7.0)


def test_the_disk_has_an_end_in_public_only() -> None:
    assert PUBLIC_LIMITS.outputs is not None
    check_disk(PUBLIC_LIMITS.outputs - 1, PUBLIC_LIMITS)
    with pytest.raises(BusyError, match=r"20\.0 GB"):
        check_disk(PUBLIC_LIMITS.outputs, PUBLIC_LIMITS)
    check_disk(10**15, PRIVATE_LIMITS)


def test_a_file_with_two_names_takes_its_room_once(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(1000))
    (tmp_path / "batch").mkdir()
    os.link(tmp_path / "a", tmp_path / "batch" / "1.png")
    (tmp_path / "b").write_bytes(bytes(500))
    assert DiskUse(tmp_path).used() == 1500


def test_who_can_reach_the_page_decides() -> None:
    assert StudioConfig().allowed is PRIVATE_LIMITS
    assert StudioConfig(shared=True).allowed is PUBLIC_LIMITS
    assert StudioConfig(shared=True, limits=PRIVATE_LIMITS).allowed is PRIVATE_LIMITS
