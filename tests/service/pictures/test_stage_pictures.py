"""Stage pictures: kept on request, beside the result, and never at its cost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.service.records import a_picture, a_record
from zimage_app.domain.card import Z_IMAGE_TURBO
from zimage_app.domain.errors import RequestError
from zimage_app.domain.events import Event, Finished, StageDone, StageStarted, Warned
from zimage_app.domain.plan import GenerationPlan, make_plan
from zimage_app.domain.request import GenerationRequest, parse_request
from zimage_app.service.pictures.gallery import Gallery, stage_files
from zimage_app.service.pictures.history.pixels import read_pixels
from zimage_app.service.pictures.stage_pictures import keep_stages

PIXELS = a_picture()


def a_plan(*, keep: bool) -> GenerationPlan:
    return make_plan(GenerationRequest(prompt="x", seed=1, keep_stages=keep), Z_IMAGE_TURBO)


def events(plan: GenerationPlan) -> Iterator[Event]:
    for stage in plan.stages:
        yield StageStarted(stage)
        yield StageDone(stage, PIXELS[: stage.settings.height, : stage.settings.width], 1.0, 9, ())
    yield Finished(PIXELS, a_record())


def test_all_stages_but_the_last_are_kept_where_that_is_asked_for(tmp_path: Path) -> None:
    gallery, plan = Gallery(tmp_path), a_plan(keep=True)
    passed = list(keep_stages(events(plan), plan, gallery))
    assert [type(event) for event in passed] == [type(event) for event in events(plan)]
    files = stage_files(gallery.path_of(a_record().id))
    assert [number for number, _ in files] == [1, 2]
    np.testing.assert_array_equal(read_pixels(files[1][1]), PIXELS[:432, :336])


def test_they_are_there_before_the_run_is_called_finished(tmp_path: Path) -> None:
    gallery, plan = Gallery(tmp_path), a_plan(keep=True)
    for event in keep_stages(events(plan), plan, gallery):
        assert bool(stage_files(gallery.path_of(a_record().id))) is isinstance(event, Finished)


def test_without_a_request_nothing_is_kept(tmp_path: Path) -> None:
    plan = a_plan(keep=False)
    assert len(list(keep_stages(events(plan), plan, Gallery(tmp_path)))) == 7
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_can_t_be_written_costs_a_warning_not_the_result(tmp_path: Path) -> None:
    (tmp_path / "outputs").write_text("a file where a folder should be")
    plan = a_plan(keep=True)
    passed = list(keep_stages(events(plan), plan, Gallery(tmp_path / "outputs")))
    assert isinstance(passed[-1], Finished)
    assert isinstance(passed[-2], Warned)
    assert "stage pictures could not be saved" in passed[-2].warnings[0].en


@pytest.mark.parametrize("value", ["yes", 1, None])
def test_the_switch_is_a_switch(value: object) -> None:
    with pytest.raises(RequestError, match="keep_stages"):
        parse_request({"prompt": "x", "keep_stages": value})
