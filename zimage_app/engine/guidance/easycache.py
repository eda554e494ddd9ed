"""EasyCache: skips model evaluations whose output can be predicted. Independent of stages and samplers."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from zimage_app.models.components import Evaluation

_STRIDE = 8


@dataclass
class EasyCacheSkipper:
    """Skips an evaluation whose output can be predicted (HOW-IT-COMPUTES.md section 6; arXiv 2507.02860).

    Whenever the model runs, the cache measures how fast the output changes with the input. The predicted relative
    change is summed over skipped evaluations, and the model runs again once the sum reaches ``threshold``. A skipped
    evaluation returns the input plus the last measured difference between output and input.
    """

    threshold: float
    window: tuple[float, float]
    """Active for window[1] < sigma <= window[0]."""
    tracked: int = 0
    """Index of the batch row whose input and output decide whether all rows are skipped."""
    norm_rows: slice = field(default_factory=lambda: slice(None))
    """Rows over which the output's norm is taken: those that ComfyUI would evaluate in the tracked row's call."""
    _armed: bool = False
    _input: Tensor | None = None
    _output: Tensor | None = None
    _norm: Tensor | None = None
    _rate: Tensor | None = None
    _difference: Tensor | None = None
    _predicted: Tensor | float = 0.0

    def __call__(self, evaluate: Evaluation, x: Tensor, sigma: float) -> tuple[Tensor, bool]:
        """Return (velocity, skipped); x and velocity are (rows, 16, h, w) in the model's dtype."""
        start, end = self.window
        if sigma <= end:
            return evaluate(x, sigma), False
        moved = None
        if sigma <= start:
            self._armed = True
            moved = None if self._input is None else (self._sample(x) - self._input).abs().mean()
            if self._can_skip(moved) and self._difference is not None:
                return x + self._difference, True
        velocity = evaluate(x, sigma)
        self._learn(x, velocity, moved)
        return velocity, False

    def _can_skip(self, moved: Tensor | None) -> bool:
        if moved is None or self._norm is None or self._rate is None:
            return False
        self._predicted = self._predicted + self._rate * moved / self._norm
        if bool(self._predicted < self.threshold):
            return True
        self._predicted = 0.0
        return False

    def _learn(self, x: Tensor, velocity: Tensor, moved: Tensor | None) -> None:
        self._difference = velocity - x
        if not self._armed:
            return
        output = self._sample(velocity)
        if self._norm is not None and moved is not None and self._output is not None:
            self._rate = (output - self._output).abs().mean() / moved
        self._input = self._sample(x)
        self._output = output
        self._norm = velocity[self.norm_rows].abs().mean()

    def _sample(self, rows: Tensor) -> Tensor:
        # Cloned, because a strided view would keep the whole tensor alive for 1/64 of its values.
        return rows[self.tracked, ..., ::_STRIDE, ::_STRIDE].clone()
