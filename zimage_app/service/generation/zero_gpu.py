"""Runs on a Hugging Face Space's ZeroGPU: each run is in a forked process that has the GPU during the run.

The parent holds the model and never runs it. The plan and the events are pickled between the processes. Changes of a
run, such as LoRAs, stay in its process, in the weights and the LoRA manager alike, so both always agree; a reused
process continues from that state. Closing a run's events stops it: the process ends the run at its next event, within
one step. Written for ``spaces`` 0.51.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
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
"""Seconds for moving weights to the device, encoding the prompt and decoding."""
_SECONDS_PER_COST = 4e-5
"""Seconds per unit of cost: about twice Z-Image-Turbo's time on half an RTX Pro 6000, because a run that exceeds its
lease is killed."""
_MAX_SECONDS = 120.0
"""Maximum lease in seconds; ZeroGPU refuses more to visitors without an account."""


def lease_seconds(plan: GenerationPlan) -> int:
    """Return the seconds for which the GPU is requested; they are charged to the visitor's daily quota."""
    return math.ceil(min(_MAX_SECONDS, _BEGIN + plan.cost * _SECONDS_PER_COST))


class BorrowedGenerator(Generator):
    """A generator whose runs happen in forked processes with a GPU. Create it before the page is launched."""

    def __init__(self, held: Generator) -> None:
        vars(self).update(vars(held))
        self._lent: Callable[[GenerationPlan], EventStream] = _lending(self._run)

    def stream(
        self,
        request: GenerationRequest | GenerationPlan,
        cancelled: Callable[[], bool] = lambda: False,
        upcoming: Sequence[GenerationPlan] = (),
    ) -> EventStream:
        """Like ``Generator.stream``, but ``cancelled`` is called after every event only.

        ``upcoming`` is not used, since a process that ends loses the texts that it encoded.
        """
        del upcoming
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
        """Run in the forked process. Replaces locks, which threads of the parent may have held during the fork."""
        self._loras = LoraLibrary(*self._loras.folders)
        self._busy = threading.Lock()
        yield from super().stream(plan)


def _lending(run: Callable[[GenerationPlan], EventStream]) -> Callable[[GenerationPlan], EventStream]:
    import spaces  # exists on Spaces only; must be imported before CUDA is initialised

    def lent(plan: GenerationPlan) -> EventStream:
        yield from run(plan)

    lend: Any = spaces.GPU(duration=lease_seconds)
    decorated: Callable[[GenerationPlan], EventStream] = lend(lent)
    return decorated


def _is_refusal(error: Exception) -> bool:
    """Whether the error is ZeroGPU's refusal with a message for the visitor: no free GPU, or the quota is used up."""
    return type(error).__module__.partition(".")[0] in ("gradio", "spaces") and hasattr(error, "message")


def _refused(error: Exception) -> GenerationError:
    words = str(getattr(error, "message", error)).strip().rstrip(".")
    return GenerationError(Text(f"The Space could not lend a GPU: {words}.", f"该 Space 暂时无法提供 GPU：{words}。"))
