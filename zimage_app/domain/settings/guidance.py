"""Settings of a stage that come as a group: EasyCache, NAG, NegPiP, the limit of CFG, and more different pictures."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, model_validator

from zimage_app.domain.schedules import as_float32
from zimage_app.domain.settings.knob import STRICT, Fraction, Knob, descending
from zimage_app.domain.text import Text
from zimage_app.domain.validation_errors import refusal


class EasyCache(BaseModel):
    """EasyCache: when to skip a model evaluation and reuse the last change (HOW-IT-COMPUTES.md section 6)."""

    model_config = STRICT

    threshold: Annotated[
        float,
        Field(ge=0.0, le=3.0),
        Knob(
            Text("EasyCache threshold", "EasyCache 阈值"),
            Text(
                "How much predicted change may add up before the model runs again. Higher skips more.",
                "允许累计的预测变化量，越高跳过越多。",
            ),
            step=0.01,
            slider_max=1.0,
        ),
    ] = 0.2
    start: Annotated[
        Fraction,
        Knob(
            Text("EasyCache start", "EasyCache 起点"),
            Text(
                "Share of the sampling (0–1) after which steps may be skipped.", "采样进度超过此比例（0–1）后允许跳步。"
            ),
            step=0.01,
        ),
    ] = 0.15
    end: Annotated[
        Fraction,
        Knob(
            Text("EasyCache end", "EasyCache 终点"),
            Text(
                "Share of the sampling (0–1) after which every step runs again.",
                "采样进度超过此比例（0–1）后不再跳步。",
            ),
            step=0.01,
        ),
    ] = 0.95
    window_shift: Annotated[
        Literal["auto"] | Annotated[float, Field(ge=0.01, le=100.0)],
        Knob(
            Text("EasyCache window shift", "EasyCache 窗口 shift"),
            Text(
                "auto: the shift of the stage before, as a full ComfyUI run has it; or a number.",
                "自动（auto）：取前一阶段的 shift（与 ComfyUI 完整运行一致）；也可填数字。",
            ),
        ),
    ] = "auto"

    @model_validator(mode="after")
    def _start_before_end(self) -> Self:
        if self.start >= self.end:
            raise refusal(
                Text(
                    f"start ({self.start:g}) must be below end ({self.end:g})",
                    f"起点（{self.start:g}）必须小于终点（{self.end:g}）",
                )
            )
        return self


class Nag(BaseModel):
    """Normalised attention guidance: the negative prompt acts in every attention layer, at CFG 1 too.

    An empty negative prompt is encoded as empty text, as with CFG (``engine/guidance/nag.py``).
    """

    model_config = STRICT

    scale: Annotated[
        float,
        Field(ge=1.0, le=20.0),
        Knob(
            Text("NAG scale", "NAG 强度"),
            Text(
                "How far attention is pushed away from the negative prompt; 1 is off.",
                "注意力远离反向提示词的程度，1 为不起作用。",
            ),
            step=0.1,
            slider_max=12.0,
        ),
    ] = 5.0
    tau: Annotated[
        float,
        Field(ge=1.0, le=20.0),
        Knob(
            Text("NAG tau", "NAG tau"),
            Text(
                "How many times stronger than before the pushed result may be; lower is calmer.",
                "推移后的结果最多可达原来的几倍，越低越稳。",
            ),
            step=0.1,
            slider_max=10.0,
        ),
    ] = 3.5
    alpha: Annotated[
        Fraction,
        Knob(
            Text("NAG alpha", "NAG alpha"),
            Text(
                "How much of the pushed result is taken; the rest stays as it was.",
                "推移结果所占的比例，其余保持原样。",
            ),
            step=0.01,
        ),
    ] = 0.5
    sigma_start: Annotated[
        Fraction,
        Knob(
            Text("NAG from noise level", "NAG 起始噪声"),
            Text("Acts from this sigma on down; 1 is from the first step.", "从该 sigma 起生效，1 为从第一步起。"),
            step=0.01,
        ),
    ] = 1.0
    sigma_end: Annotated[
        Fraction,
        Knob(
            Text("NAG to noise level", "NAG 结束噪声"),
            Text("Acts down to this sigma; 0 is to the last step.", "到该 sigma 为止，0 为直到最后一步。"),
            step=0.01,
        ),
    ] = 0.0
    rows: Annotated[
        Literal["picture", "all"],
        Knob(
            Text("NAG acts on", "NAG 作用于"),
            Text(
                "picture: the picture's tokens; all: the prompt's as well, as WanGP does.",
                "picture：只引导画面；all：连同提示词一起，与 WanGP 相同。",
            ),
        ),
    ] = "picture"
    lengths: Annotated[
        Literal["own", "trimmed"],
        Knob(
            Text("NAG negative length", "NAG 反向词长度"),
            Text(
                "own: all of the negative prompt; trimmed: cut or stretched to the prompt's tokens, as WanGP does.",
                "own：反向提示词保持原长；trimmed：裁剪或补齐到与提示词等长，与 WanGP 相同。",
            ),
        ),
    ] = "own"

    @property
    def on(self) -> bool:
        """Whether these settings change anything."""
        return self.scale > 1.0 and self.alpha > 0.0

    def acts_at(self, sigma: float) -> bool:
        """Whether NAG acts at noise level ``sigma``; both ends of the range are included."""
        return as_float32(self.sigma_start) >= sigma >= as_float32(self.sigma_end)

    @model_validator(mode="after")
    def _start_above_end(self) -> Self:
        return descending(self, "sigma_start", "sigma_end")


class NegPip(BaseModel):
    """NegPiP: subtracts the meaning of phrases inside the prompt (``engine/guidance/negpip.py``)."""

    model_config = STRICT

    weight: Annotated[
        float,
        Field(ge=0.0, le=20.0),
        Knob(
            Text("NegPiP weight", "NegPiP 权重"),
            Text(
                "Of the negative prompt's phrases; 0 reads only (text:-1) in the prompt itself.",
                "反向提示词的权重；为 0 时只读取提示词中的 (text:-1)。",
            ),
            step=0.05,
            slider_max=2.0,
        ),
    ] = 1.0


class CfgLimit(BaseModel):
    """Limits the length of CFG's result (``engine/guidance/limit.py``)."""

    model_config = STRICT

    of: Annotated[
        Literal["velocity", "denoised"],
        Knob(
            Text("CFG limit of", "CFG 限制对象"),
            Text(
                "velocity: the official pipeline's cfg_normalization; denoised: ComfyUI's RenormCFG.",
                "velocity：官方 cfg_normalization；denoised：ComfyUI 的 RenormCFG。",
            ),
        ),
    ] = "velocity"
    most: Annotated[
        float,
        Field(gt=0.0, le=10.0),
        Knob(
            Text("CFG limit", "CFG 上限"),
            Text(
                "Largest norm of the guided prediction, as a multiple of the prompt's alone; lower is calmer.",
                "引导结果的幅度最多为仅用提示词时的几倍，越低越柔和。",
            ),
            step=0.05,
            slider_max=2.0,
        ),
    ] = 1.0


class Variance(BaseModel):
    """Noise added to the encoded prompt, so that seeds differ more (``engine/guidance/variance.py``)."""

    model_config = STRICT

    strength: Annotated[
        float,
        Field(ge=0.0, le=100.0),
        Knob(
            Text("Variety strength", "多样性强度"),
            Text(
                "How strong the noise is; relative noise needs about 0.1 to 1, absolute about 20.",
                "噪声强度；relative 约 0.1 到 1，absolute 约 20。",
            ),
            step=0.01,
            slider_max=2.0,
        ),
    ] = 0.1
    share: Annotated[
        Fraction,
        Knob(
            Text("Variety share", "多样性比例"),
            Text("The part of the numbers that is changed.", "被改变的数值所占比例。"),
            step=0.01,
        ),
    ] = 0.5
    end: Annotated[
        Fraction,
        Knob(
            Text("Variety end", "多样性终点"),
            Text(
                "Share of the sampling (0–1) after which the prompt is read as it is.",
                "采样进度超过此比例（0–1）后恢复原提示词。",
            ),
            step=0.01,
        ),
    ] = 1.0
    noise: Annotated[
        Literal["relative", "absolute"],
        Knob(
            Text("Variety noise", "多样性噪声"),
            Text(
                "relative: measured by the text itself, as InvokeAI does; absolute: as SeedVarianceEnhancer does.",
                "relative：以文本自身的幅度为单位，同 InvokeAI；absolute：同 SeedVarianceEnhancer。",
            ),
        ),
    ] = "relative"
