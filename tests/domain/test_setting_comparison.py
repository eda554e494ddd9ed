"""Settings of pictures side by side."""

from __future__ import annotations

from tests.service.records import a_record
from zimage_app.domain.setting_comparison import side_by_side
from zimage_app.domain.settings.guidance import EasyCache


def test_the_same_picture_has_no_differences() -> None:
    sides = side_by_side([a_record(), a_record()])
    assert all(side.same for side in sides)
    values = {side.path: side.values for side in sides}
    assert values["seed"] == ("42", "42")
    assert values["loras"] == ("ink 0.8", "ink 0.8")
    assert values["stages.1.easycache.threshold"] == ("0.37", "0.37")
    # Euler has no use for DPM++ SDE's knobs.
    assert "stages.2.r" in values
    assert "stages.0.r" not in values


def test_what_differs_is_marked_and_stages_stay_together() -> None:
    one = a_record()
    stages = list(one.request.stages or ())
    stages[0] = stages[0].model_copy(update={"denoise": 0.9, "easycache": EasyCache(threshold=0.2)})
    request = one.request.model_copy(update={"prompt": "other", "stages": tuple(stages)})
    other = one.model_copy(update={"request": request, "stages": one.stages[:2]})
    sides = side_by_side([one, other])
    differing = {side.path: side.values for side in sides if not side.same}
    assert differing["prompt"] == ("一艘红色小船", "other")
    assert differing["stages.0.denoise"] == ("1", "0.9")
    assert differing["stages.0.easycache"] == ("✗", "✓")
    assert differing["stages.0.easycache.threshold"] == ("—", "0.2")
    assert differing["stages.2.steps"] == ("16", "—")
    numbers = [side.path.split(".")[1] for side in sides if side.path.startswith("stages.")]
    assert numbers == sorted(numbers)
    assert next(side for side in sides if side.path == "stages.0.denoise").title.zh == "第 1 阶段 重绘幅度"


def test_a_variation_is_a_difference() -> None:
    one = a_record()
    changed = one.request.model_copy(update={"variation_strength": 0.2, "variation_seed": 7})
    sides = side_by_side([one, one.model_copy(update={"request": changed})])
    differing = {side.path: side.values for side in sides if not side.same}
    assert differing == {"variation_strength": ("—", "0.2"), "variation_seed": ("—", "7")}
