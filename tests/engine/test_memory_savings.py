"""C7: memory that runs out costs time, not the picture: tiles, then weights elsewhere, then a sentence of advice."""

from __future__ import annotations

import copy
from collections.abc import Callable, Container
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from zimage_app.domain.events import Event, Failed, Finished, StageDone, Warned
from zimage_app.domain.plan import make_plan
from zimage_app.domain.request import GenerationRequest
from zimage_app.engine import memory_savings as module
from zimage_app.engine.run import run
from zimage_app.models.components import Components
from zimage_app.models.device import is_out_of_memory
from zimage_app.models.tiny import tiny_components

ERRORS: dict[str, Callable[[], Exception]] = {
    "cuda": lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has 1 GiB free"),
    "cpu": lambda: RuntimeError(
        "[enforce fail] DefaultCPUAllocator: not enough memory: you tried to allocate 99 bytes"
    ),
    "cublas": lambda: RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"),
    "mps": lambda: RuntimeError("MPS backend out of memory (MPS allocated: 8 GB)"),
    "cudnn": lambda: RuntimeError("GET was unable to find an engine to execute this computation"),
    "mps buffer": lambda: RuntimeError("Invalid buffer size: 8.00 GiB"),
    "xpu": lambda: RuntimeError("level_zero backend failed with error: 39 (UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY)"),
    "xpu resources": lambda: RuntimeError(
        "level_zero backend failed with error: 40 (UR_RESULT_ERROR_OUT_OF_RESOURCES)"
    ),
    "python": MemoryError,
}
CALLS = {
    "text.encode": (1,),
    "transformer.prompt": (1, 2),
    "transformer.evaluation": (1, 2),
    "evaluation": (1, 2, 4, 8),
    "codec.decode": (1, 2),
}
"""Which call of what fails, counted from 1: in the first stage and in the second."""
INJECTIONS = [
    *((place, call, "cuda") for place, calls in CALLS.items() for call in calls),
    *((place, 1, kind) for place in ("text.encode", "evaluation", "codec.decode") for kind in ERRORS if kind != "cuda"),
]


@dataclass
class Shortage:
    """Raises an error at some calls."""

    error: Callable[[], Exception]
    calls: Container[int]
    count: int = 0

    def strike(self) -> None:
        """Another call."""
        self.count += 1
        if self.count in self.calls:
            raise self.error()


def failing(part: Any, method: str, shortage: Shortage) -> Any:
    """Return a copy of a part of a model, of which one method runs out of memory."""
    double = copy.copy(part)
    found = getattr(double, method)

    def struck(*given: Any) -> Any:
        shortage.strike()
        return found(*given)

    setattr(double, method, struck)
    return double


def failing_evaluations(transformer: Any, shortage: Shortage) -> Any:
    """Return a copy of a transformer whose evaluations run out of memory."""
    double = copy.copy(transformer)
    found = double.evaluation

    def evaluation(*given: Any) -> Callable[[Tensor, float], Tensor]:
        evaluate = found(*given)

        def struck(x: Tensor, sigma: float) -> Tensor:
            shortage.strike()
            result: Tensor = evaluate(x, sigma)
            return result

        return struck

    double.evaluation = evaluation
    return double


def struck(components: Components, place: str, shortage: Shortage) -> Components:
    if place == "evaluation":
        return replace(components, transformer=failing_evaluations(components.transformer, shortage))
    part, method = place.split(".")
    broken: dict[str, Any] = {part: failing(getattr(components, part), method, shortage)}
    return replace(components, **broken)


@pytest.fixture
def components() -> Components:
    return tiny_components()


@pytest.fixture
def accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPU counts as a device with a memory of its own: moving there changes nothing, but is done."""
    monkeypatch.setattr(module, "has_own_memory", bool)


@pytest.fixture(scope="module")
def wanted() -> list[np.ndarray]:
    """The stages' pictures of a run with memory to spare; filled by who needs them first."""
    return []


def events_of(components: Components, request: GenerationRequest) -> list[Event]:
    return list(run(make_plan(request, components.card), components, lambda: False))


def pictures(events: list[Event]) -> list[np.ndarray]:
    return [event.picture for event in events if isinstance(event, StageDone)]


@pytest.mark.usefixtures("accelerator")
@pytest.mark.parametrize(("place", "call", "kind"), INJECTIONS)
def test_a_shortage_leaves_the_picture_as_it_is(
    components: Components,
    small_request: GenerationRequest,
    wanted: list[np.ndarray],
    place: str,
    call: int,
    kind: str,
) -> None:
    if not wanted:
        wanted += pictures(events_of(components, small_request))
    shortage = Shortage(ERRORS[kind], [call])
    events = events_of(struck(components, place, shortage), small_request)
    assert shortage.count >= call
    last = events[-1]
    assert isinstance(last, Finished)
    (said,) = [event for event in events if isinstance(event, Warned)]
    assert ("tiles" if place == "codec.decode" else "text encoder") in said.warnings[0].en
    assert last.record.surroundings.tiled == (place == "codec.decode")
    for picture, expected in zip(pictures(events), wanted, strict=True):
        np.testing.assert_array_equal(picture, expected)


@pytest.mark.usefixtures("accelerator")
def test_one_thing_is_given_up_after_another_then_advice_is_given(
    components: Components, small_request: GenerationRequest
) -> None:
    shortage = Shortage(ERRORS["cuda"], range(5, 99))  # from the second stage on
    events = events_of(struck(components, "evaluation", shortage), small_request)
    said = [event.warnings[0].en for event in events if isinstance(event, Warned)]
    assert ["text encoder" in said[0], *("half of the transformer" in each for each in said[1:])] == [True] * 3
    assert len(pictures(events)) == 1
    failed = events[-1]
    assert isinstance(failed, Failed)
    assert "ran out of memory when asked for 2.50 GiB" in failed.error.text.en
    assert "减小最后阶段的尺寸" in failed.error.text.zh
    assert failed.error.__context__ is None


@pytest.mark.usefixtures("accelerator")
def test_decoding_gives_up_tiles_first(components: Components, small_request: GenerationRequest) -> None:
    tiled = Shortage(ERRORS["cuda"], [1, 2])
    plain = Shortage(ERRORS["cuda"], range(99))
    starved = struck(components, "codec.decode", plain)
    starved = replace(starved, codec=failing(starved.codec, "decode_tiled", tiled))
    events = events_of(starved, small_request)
    said = [event.warnings[0].en for event in events if isinstance(event, Warned)]
    assert ["tiles" in said[0], "text encoder" in said[1], "blocks" in said[2], len(said)] == [True, True, True, 3]
    assert plain.count == 1, "what is too large once is not tried again in the same run"
    assert isinstance(events[-1], Finished)


def test_on_a_cpu_there_is_nothing_to_move(components: Components, small_request: GenerationRequest) -> None:
    shortage = Shortage(ERRORS["cpu"], [2])
    failed = events_of(struck(components, "evaluation", shortage), small_request)[-1]
    assert isinstance(failed, Failed)
    assert "asked for 99 bytes" in failed.error.text.en
    tiled = events_of(struck(components, "codec.decode", Shortage(MemoryError, [1])), small_request)
    assert isinstance(tiled[-1], Finished)


def test_other_errors_are_no_shortage(components: Components, small_request: GenerationRequest) -> None:
    shortage = Shortage(lambda: RuntimeError("mat1 and mat2 shapes cannot be multiplied"), range(99))
    with pytest.raises(RuntimeError, match="shapes"):
        events_of(struck(components, "evaluation", shortage), small_request)
    assert not is_out_of_memory(ValueError("out of memory"))


def test_weights_that_were_moved_compute_and_take_loras_as_before(components: Components) -> None:
    transformer: Any = components.transformer
    features = components.text.encode("a red boat")
    x = torch.randn(1, 16, 12, 8, generator=torch.Generator().manual_seed(0))

    def velocity() -> Tensor:
        prompt = transformer.prompt(features)
        result: Tensor = transformer.evaluation((12, 8), [prompt], [0.7])(x, 0.7)
        return result

    before, parameters = velocity(), list(transformer.module.parameters())
    assert [transformer.offload(), transformer.offload()] == [True, True], "one of two blocks at a time"
    assert not transformer.offload(), "nothing is saved a third time"
    assert torch.equal(velocity(), before)
    assert all(one is other for one, other in zip(transformer.module.parameters(), parameters, strict=True))
    weight = transformer.module.layers[0].attention.to_k.weight
    kept = weight.detach().clone()
    with torch.no_grad():
        weight.mul_(1.5)
    transformer.weights_changed()
    assert not torch.equal(velocity(), before), "a weight written in place acts"
    with torch.no_grad():
        weight.copy_(kept)
    transformer.weights_changed()
    assert torch.equal(velocity(), before)
    text: Any = components.text
    assert text.offload()
    assert not text.offload()
    text._features.clear()
    assert torch.equal(text.encode("a red boat"), features)
