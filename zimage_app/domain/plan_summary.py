"""A plan in numbers before it runs: noise levels, steps, evaluations, sizes, estimated time.

Page, REST and command line share it. Measured times of earlier runs are passed in. Pure; no torch, no files.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from zimage_app.domain.errors import RequestError
from zimage_app.domain.plan import GenerationPlan, StagePlan, stage_plans
from zimage_app.domain.record import ImageRecord
from zimage_app.domain.settings.stage import Stage
from zimage_app.domain.text import Text

_NEAREST = 5
"""Number of runs whose median gives an estimate."""
_ANY_SHIFT = 1.0
"""A shift for plans whose EasyCache windows are not used; it affects nothing else."""

Line = tuple[Text, Text]
"""Title and value."""


@dataclass(frozen=True, slots=True)
class TimedStage:
    """Measured time of a stage that has run."""

    cells: int
    """Number of cells of the stage's latent."""
    cached: bool
    """Whether EasyCache was on."""
    pace: float
    """Seconds per unit of ``StagePlan.cost``."""


@dataclass(frozen=True, slots=True)
class Window:
    """The part of a stage in which EasyCache may skip."""

    sigma_from: float
    sigma_to: float
    """Skipping is allowed for sigma_to < sigma <= sigma_from."""
    steps: tuple[int, int] | None
    """The first and last step, from 1, that begin inside the window; None where no step does."""


@dataclass(frozen=True, slots=True)
class StageNumbers:
    """The numbers of one stage."""

    number: int
    """Index of the stage in the request, from 0."""
    sigma_from: float
    sigma_to: float
    """The noise level of the last step."""
    sigma_end: float
    """The noise level after the last step: 0, or the one at which the next stage takes over."""
    steps: int
    scheduled: int
    """Steps of the full schedule; ``steps`` are its last part where denoise is below 1."""
    evaluations: int
    """Model evaluations, each of one condition; an upper bound where there is a window."""
    conditions: int
    """Number of prompts that every step evaluates; 1 where it differs from step to step."""
    latent: tuple[int, int]
    """(width, height) of the latent."""
    window: Window | None
    nag: float
    """Extra time with NAG, as a fraction of the stage's time without; 0 without NAG."""
    seconds: float | None
    """Estimated time; None where no run was measured."""

    @property
    def lines(self) -> tuple[Line, ...]:
        """Titles and values for display."""
        width, height = self.latent
        lines = [
            (Text("Noise σ", "噪声 σ"), _same(f"{self.sigma_from:.3g} → {self.sigma_to:.3g} → {self.sigma_end:.3g}")),
            (Text("Steps", "步数"), self._steps()),
            (Text("Model evaluations", "模型求值"), self._evaluations()),
            (Text("Latent", "潜变量"), _same(f"{width}×{height}")),
        ]
        if self.window is not None:
            lines.append((Text("EasyCache", "EasyCache"), _window_words(self.window)))
        if self.nag:
            extra = f"+{100 * self.nag:.0f} %"
            lines.append((Text("NAG", "NAG"), Text(f"about {extra} time", f"用时约 {extra}")))
        lines.append((Text("Time", "用时"), seconds_words(self.seconds)))
        return tuple(lines)

    @property
    def summary(self) -> Text:
        """The same in one line."""
        width, height = (8 * side for side in self.latent)
        return _joined(_same(f"{width}×{height}"), _steps_words(self.steps), _known(self.seconds))

    def _steps(self) -> Text:
        if self.scheduled == self.steps:
            return _same(str(self.steps))
        if self.sigma_end > 0.0:
            return Text(f"{self.steps} of {self.scheduled}", f"{self.scheduled} 步中的 {self.steps} 步")
        return Text(f"the last {self.steps} of {self.scheduled}", f"{self.scheduled} 步序列的最后 {self.steps} 步")

    def _evaluations(self) -> Text:
        each = f" ({self.evaluations // self.conditions} × {self.conditions})" if self.conditions > 1 else ""
        count = f"{self.evaluations}{each}"
        return _same(count) if self.window is None else Text(f"at most {count}", f"至多 {count}")


@dataclass(frozen=True, slots=True)
class PlanNumbers:
    """The numbers of all running stages."""

    stages: tuple[StageNumbers, ...]

    @property
    def seconds(self) -> float | None:
        """Estimated time of all stages; None where one of them has no estimate."""
        known = [stage.seconds for stage in self.stages if stage.seconds is not None]
        return sum(known) if len(known) == len(self.stages) else None

    def summary(self, count: int = 1) -> Text:
        """``count`` such pictures in one line: size, steps of all stages, time of all pictures where it is known."""
        width, height = (8 * side for side in self.stages[-1].latent)
        steps = sum(stage.steps for stage in self.stages)
        size = _same(f"{count} × {width}×{height}" if count > 1 else f"{width}×{height}")
        return _joined(size, _steps_words(steps), _known(self.seconds and count * self.seconds))


def plan_numbers(plan: GenerationPlan, timed: Sequence[TimedStage] = ()) -> PlanNumbers:
    """A plan in numbers; ``timed`` are earlier runs of its model on this machine, newest first."""
    return PlanNumbers(tuple(_stage(stage, timed) for stage in plan.stages))


def timed_stages(record: ImageRecord) -> tuple[TimedStage, ...]:
    """The measured times of a finished picture's stages; empty where its settings can't be planned."""
    settings = record.request.stages or ()
    try:
        plans = stage_plans([(ran.number, settings[ran.number], ran.seed) for ran in record.stages], _ANY_SHIFT)
    except RequestError:  # settings that can't have been run
        return ()
    return tuple(
        TimedStage(_cells(plan.settings), plan.settings.easycache is not None, ran.seconds / plan.cost)
        for plan, ran in zip(plans, record.stages, strict=True)
        if ran.seconds > 0 and not ran.from_memory
    )


def estimate(stage: StagePlan, timed: Iterable[TimedStage]) -> float | None:
    """The estimated seconds of a stage, from the runs nearest to it in size; None where there are none.

    Runs with the same EasyCache state (on or off) are preferred, because EasyCache skips evaluations.
    """
    cached, cells = stage.settings.easycache is not None, _cells(stage.settings)
    runs = list(timed)
    alike = [run for run in runs if run.cached == cached] or runs
    if not alike:
        return None
    nearest = min((run.cells for run in alike), key=lambda size: abs(math.log(size / cells)))
    paces = [run.pace for run in alike if run.cells == nearest][:_NEAREST]
    return statistics.median(paces) * stage.cost


def seconds_words(seconds: float | None) -> Text:
    """An estimated time in words."""
    if seconds is None:
        return Text("no run yet", "尚无记录")
    if seconds >= 90:
        return Text(f"about {seconds / 60:.1f} min", f"约 {seconds / 60:.1f} 分钟")
    shown = f"{seconds:.1f}" if seconds < 10 else f"{seconds:.0f}"
    return Text(f"about {shown} s", f"约 {shown} 秒")


def _steps_words(steps: int) -> Text:
    return Text(f"{steps} step{'s' * (steps != 1)}", f"{steps} 步")


def _known(seconds: float | None) -> Text:
    """An estimated time, or nothing."""
    return _same("") if seconds is None else seconds_words(seconds)


def _joined(*parts: Text) -> Text:
    return Text(
        *(" · ".join(filter(None, texts)) for texts in zip(*((each.en, each.zh) for each in parts), strict=True))
    )


def _stage(stage: StagePlan, timed: Sequence[TimedStage]) -> StageNumbers:
    height, width = stage.latent_size
    return StageNumbers(
        number=stage.number,
        sigma_from=stage.sigmas[0],
        sigma_to=stage.sigmas[-2],
        sigma_end=stage.sigmas[-1],
        steps=stage.steps,
        scheduled=int(stage.scheduled),
        evaluations=stage.evaluations,
        conditions=_conditions(stage),
        latent=(width, height),
        window=_window(stage),
        nag=stage.nag_extra,
        seconds=estimate(stage, timed),
    )


def _conditions(stage: StagePlan) -> int:
    """The number of prompts that every step evaluates; 1 where it differs from step to step."""
    found = set(stage.conditions)
    return found.pop() if len(found) == 1 else 1


def _window(stage: StagePlan) -> Window | None:
    if stage.window is None:
        return None
    start, end = stage.window
    inside = [step for step, sigma in enumerate(stage.sigmas[:-1], 1) if end < sigma <= start]
    return Window(start, end, (inside[0], inside[-1]) if inside else None)


def _window_words(window: Window) -> Text:
    sigmas = f"σ {window.sigma_from:.3g} → {window.sigma_to:.3g}"
    if window.steps is None:
        return Text(f"{sigmas}: no step lies inside", f"{sigmas}：没有步落在其中")
    first, last = window.steps
    return Text(f"steps {first}–{last} ({sigmas})", f"第 {first}–{last} 步（{sigmas}）")


def _cells(stage: Stage) -> int:
    return (stage.height // 8) * (stage.width // 8)


def _same(text: str) -> Text:
    return Text(text, text)
