"""C8: values that are not finite are never a picture; the LoRA or setting at fault is named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from torch import Tensor

from zimage_app.domain.events import Event, Failed, StageDone
from zimage_app.domain.plan import make_plan
from zimage_app.domain.request import GenerationRequest
from zimage_app.domain.settings.lora_use import LoraUse
from zimage_app.engine.run import run
from zimage_app.models.components import Components
from zimage_app.models.tiny import tiny_components


@pytest.fixture(scope="module")
def components() -> Components:
    return tiny_components()


class Spoilt:
    """A part of a model, of which one method gives a value that is not finite in its ``call``-th answer."""

    def __init__(self, part: Any, method: str, call: int, value: float) -> None:
        self._part = part
        self._method = method
        self._left = call
        self._value = value

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._part, name)
        if name != self._method:
            return found
        if name != "evaluation":
            return self._spoiling(found)
        return lambda *given: self._spoiling(found(*given))

    def _spoiling(self, work: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def spoilt(*given: Any) -> Tensor:
            result = work(*given).clone()
            self._left -= 1
            if self._left == 0:
                result.view(-1)[0] = self._value
            return result

        return spoilt


def asked(request: GenerationRequest, *, loras: tuple[LoraUse, ...] = (), **second: float) -> GenerationRequest:
    assert request.stages is not None
    stages = (request.stages[0], request.stages[1].model_copy(update=second))
    return request.model_copy(update={"stages": stages, "loras": loras})


def ended(components: Components, request: GenerationRequest) -> list[Event]:
    return list(run(make_plan(request, components.card), components, lambda: False))


INK = LoraUse(name="ink", strength=1.5)
ELSEWHERE = LoraUse(name="elsewhere", stages=(1,))


@pytest.mark.parametrize(
    ("fault", "change", "stage", "named"),
    [
        (("transformer", "evaluation", 1, float("nan")), {}, 1, "damaged model file"),
        (("transformer", "evaluation", 3, float("inf")), {}, 1, "damaged model file"),
        (("transformer", "evaluation", 5, float("-inf")), {"cfg": 20.0}, 2, "the likely cause is cfg 20"),
        (("transformer", "evaluation", 8, float("nan")), {"eta": 4.0, "s_noise": 3.0}, 2, "s_noise 3, eta 4"),
        (("transformer", "evaluation", 5, float("nan")), {"eta": 1.25}, 2, "the likely cause is eta 1.25; lower it"),
        (("transformer", "evaluation", 6, float("nan")), {"loras": (INK, ELSEWHERE)}, 2, "a LoRA: ink (1.5); lower"),
        (("text", "encode", 1, float("nan")), {}, 1, "damaged model file"),
        (("codec", "decode", 1, float("nan")), {}, 1, "the VAE's file is damaged"),
        (("codec", "decode", 2, float("inf")), {"loras": (INK,)}, 2, "the VAE's file is damaged"),
    ],
)
def test_what_is_not_finite_is_no_picture(
    components: Components,
    small_request: GenerationRequest,
    fault: tuple[str, str, int, float],
    change: dict[str, Any],
    stage: int,
    named: str,
) -> None:
    part, method, call, value = fault
    spoilt: dict[str, Any] = {part: Spoilt(getattr(components, part), method, call, value)}
    events = ended(replace(components, **spoilt), asked(small_request, **change))
    failed = events[-1]
    assert isinstance(failed, Failed)
    assert named in failed.error.text.en
    assert f"tage {stage} gave" in failed.error.text.en
    assert f"第 {stage} 阶段" in failed.error.text.zh
    assert "elsewhere" not in failed.error.text.en
    assert sum(isinstance(event, StageDone) for event in events) == stage - 1
