"""Runs on a Space's borrowed GPU (ZeroGPU): each in a forked process that has the device for as long as the run lasts.

The parent holds the model and never runs it. What crosses the fork is pickled: a plan goes in, events come out. What a
run changes, as LoRAs do, stays in its process, weights and LoRA manager alike, so both always agree; a process that is
used again goes on from there. A run is stopped by closing its events: the other side ends at its next one, within a
step. Written for ``spaces`` 0.51. Knows no page.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from contextlib import closing
from typing import Any

from zimage_app.domain.errors import GenerationError, StudioError
from zimage_app.domain.events import Cancelled, Failed, Finished
from zimage_app.domain.plan import GenerationPlan
from zimage_app.domain.request import GenerationRequest
from zimage_app.domain.text import Text
from zimage_app.service.generation.generator import EventStream, Generator
from zimage_app.service.library.loras import LoraLibrary

_BEGIN = 20.0
"""Seconds to get the weights onto the device, to read the prompt and to decode."""
_SECONDS_PER_COST = 4e-5
"""Of half an RTX Pro 6000, about twice what Z-Image-Turbo needs there: a run that outlasts its lease is killed."""
_LONGEST = 120.0
"""More is refused to visitors without an account."""


def lease_seconds(plan: GenerationPlan) -> int:
    """For how long the GPU is asked for; the visitor's daily share is spent on it."""
    cost = sum(stage.cost for stage in plan.stages)
    return math.ceil(min(_LONGEST, _BEGIN + cost * _SECONDS_PER_COST))


def _never() -> bool:
    return False


class BorrowedGenerator(Generator):
    """A loaded model whose runs happen in processes that have the GPU. Make it before the page is launched."""

    def __init__(self, held: Generator) -> None:
        vars(self).update(vars(held))
        self._lent: Callable[[GenerationPlan], EventStream] = _lending(self._run)

    def stream(
        self, request: GenerationRequest | GenerationPlan, cancelled: Callable[[], bool] = _never
    ) -> EventStream:
        """As ``Generator.stream``; ``cancelled`` is asked after every event."""
        try:
            plan = request if isinstance(request, GenerationPlan) else self.plan(request)
            with closing(self._lent(plan)) as events:
                for event in events:
                    yield event
                    if not isinstance(event, (Finished, Failed, Cancelled)) and cancelled():
                        break
                else:
                    return
            yield Cancelled()
        except StudioError as error:
            yield Failed(error)
        except Exception as error:
            if not _is_refusal(error):
                raise
            yield Failed(_refused(error))

    def _run(self, plan: GenerationPlan) -> EventStream:
        """In the other process, whose copies of locks may be held by threads that it doesn't have."""
        self._loras = LoraLibrary(*self._loras.folders)
        self._busy = threading.Lock()
        yield from super().stream(plan)


def _lending(run: Callable[[GenerationPlan], EventStream]) -> Callable[[GenerationPlan], EventStream]:
    import spaces  # must come before anything that begins to use CUDA, and is on Spaces only

    def lent(plan: GenerationPlan) -> EventStream:
        yield from run(plan)

    lend: Any = spaces.GPU(duration=lease_seconds)
    decorated: Callable[[GenerationPlan], EventStream] = lend(lent)
    return decorated


def _is_refusal(error: Exception) -> bool:
    """Whether the Space says no, in words for the visitor: no GPU free, the day's share used up."""
    return type(error).__module__.partition(".")[0] in ("gradio", "spaces") and hasattr(error, "message")


def _refused(error: Exception) -> GenerationError:
    words = str(getattr(error, "message", error)).strip().rstrip(".")
    return GenerationError(Text(f"The Space could not lend a GPU: {words}.", f"该 Space 暂时无法提供 GPU：{words}。"))
