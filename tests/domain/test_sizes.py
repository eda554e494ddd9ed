"""The size of a picture as one thing, which all stages follow."""

from __future__ import annotations

import pytest

from zimage_app.domain.card import Z_IMAGE_TURBO
from zimage_app.domain.errors import RequestError
from zimage_app.domain.plan import make_plan
from zimage_app.domain.request import GenerationRequest
from zimage_app.domain.settings.stage import REFERENCE_STAGES
from zimage_app.domain.sizes import same_shape, size_from, sized, with_sizes
from zimage_app.domain.text import Remark

REFERENCE = [(176, 224), (336, 432), (672, 864)]


def sizes(width: int, height: int) -> list[tuple[int, int]]:
    return [(stage.width, stage.height) for stage in sized(REFERENCE_STAGES, width, height)]


def test_the_references_sizes_come_out_exactly() -> None:
    assert sizes(672, 864) == REFERENCE
    assert sizes(*size_from("7:9", REFERENCE_STAGES)) == REFERENCE


@pytest.mark.parametrize(
    ("width", "height", "stages"),
    [
        (1344, 1728, [(352, 448), (672, 864), (1344, 1728)]),
        (864, 672, [(224, 176), (432, 336), (864, 672)]),
        (1024, 1024, [(272, 272), (512, 512), (1024, 1024)]),
        (256, 2048, [(64, 528), (128, 1024), (256, 2048)]),
    ],
)
def test_all_stages_follow_on_the_grid(width: int, height: int, stages: list[tuple[int, int]]) -> None:
    assert sizes(width, height) == stages


def test_a_stage_that_is_off_at_the_end_gives_no_size() -> None:
    stages = (*REFERENCE_STAGES[:2], REFERENCE_STAGES[2].model_copy(update={"enabled": False}))
    assert [(stage.width, stage.height) for stage in sized(stages, 672, 864)][1:] == [(672, 864), (1344, 1728)]


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("672x864", (672, 864)),
        ("1024×768", (1024, 768)),
        ("1:1", (768, 768)),
        ("3:4", (656, 880)),
        ("16：9", (1008, 576)),
    ],
)
def test_a_size_is_written_as_sides_or_as_a_ratio(text: str, size: tuple[int, int]) -> None:
    assert size_from(text, REFERENCE_STAGES) == size


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("big", "as in 672x864"),
        ("700x864", "use 688 or 704"),
        ("16x4096", "64 to 2048"),
        ("1:199", "64 to 2048"),
        ("0:1", "as in"),
    ],
)
def test_other_sizes_are_refused_with_what_is_possible(text: str, words: str) -> None:
    with pytest.raises(RequestError, match=words) as refused:
        size_from(text, REFERENCE_STAGES)
    assert refused.value.field == "size"


def test_stages_without_a_size_follow_the_pictures() -> None:
    def followed(count: int, size: str, **first: object) -> list[tuple[object, object]]:
        stages = with_sizes([first, *({"steps": 4} for _ in range(count - 1))], size)
        return [(stage["width"], stage["height"]) for stage in stages]

    assert followed(3, "672x864") == followed(3, "7:9") == REFERENCE
    assert followed(4, "1344x1728") == [(176, 224), (352, 448), (672, 864), (1344, 1728)]
    assert followed(1, "1024x768") == [(1024, 768)]
    assert followed(2, "1024x1024", width=256, height=240) == [(256, 240), (1024, 1024)]
    assert followed(2, "1024x1024", width=256) == [(256, 512), (1024, 1024)]
    off = with_sizes([{}, {}, {"enabled": False}], "672x864")
    assert [stage["width"] for stage in off] == [336, 672, 672]
    assert with_sizes(["nonsense"], "672x864") == ["nonsense"]


@pytest.mark.parametrize("size", ["672x864", "864x672", "512x1024", "768x768", "1008x432"])
def test_stages_that_follow_have_the_pictures_shape(size: str) -> None:
    stages = sized(REFERENCE_STAGES, *size_from(size, REFERENCE_STAGES))
    assert all(same_shape(stage, stages[-1]) for stage in stages)


def test_a_turned_stage_has_another_shape_and_is_told() -> None:
    turned = REFERENCE_STAGES[0].model_copy(update={"width": 224, "height": 176})
    assert not same_shape(turned, REFERENCE_STAGES[-1])
    stages = (turned, *REFERENCE_STAGES[1:])
    warnings = make_plan(GenerationRequest(prompt="x", seed=1, stages=stages), Z_IMAGE_TURBO).warnings
    assert [text.field for text in warnings if isinstance(text, Remark)] == ["size"]
    assert "Stage 1 (224×176) has another shape than the picture (672×864)" in warnings[0].en
    square = REFERENCE_STAGES[1].model_copy(update={"width": 336, "height": 336})
    both = make_plan(
        GenerationRequest(prompt="x", seed=1, stages=(turned, square, *REFERENCE_STAGES[2:])), Z_IMAGE_TURBO
    )
    assert "Stages 1, 2 (224×176, 336×336) have another shape" in both.warnings[0].en
    assert "第 1、2 阶段（224×176、336×336）与成片" in both.warnings[0].zh
