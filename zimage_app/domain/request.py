"""The generation request: every knob is declared once, with its bounds, title and help.

Page, command line, validation, records and docs are built from these declarations. A request holds what the caller
asked for; a plan (``plan.py``) is the request settled for one model, with seeds drawn and sizes and sigmas computed.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self, TypeVar, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    ValidationError,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from zimage_app.domain.catalogue import HANDOVER_TRAITS, SAMPLER_TRAITS
from zimage_app.domain.errors import RequestError
from zimage_app.domain.plain_json import MAX_KEYS, keys_in
from zimage_app.domain.schedules import SCHEDULERS, as_float32
from zimage_app.domain.text import Text
from zimage_app.domain.validation_errors import refusal, request_error

_Model = TypeVar("_Model", bound=BaseModel)

MAX_PROMPT = 8000
MAX_STAGES = 8
MAX_SIDE = 2048
"""Pixels."""
MAX_LORAS = 16
STRONGEST = 2.0
"""Largest absolute strength of a LoRA."""
MAX_SEED = 2**64 - 1


@dataclass(frozen=True, slots=True)
class Knob:
    """How a field is shown: title, help, and the step of its slider where it has one."""

    title: Text
    help: Text
    step: float | None = None
    slider_max: float | None = None
    """The slider's upper end, where the field allows more than a slider can show well."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Add title and help to the JSON schema that REST publishes."""
        return {**handler(schema), "title": self.title.en, "description": self.help.en}


def _one_of(names: Mapping[str, object]) -> AfterValidator:
    def check(value: str) -> str:
        if value not in names:
            allowed = ", ".join(names)
            raise refusal(Text(f"must be one of {allowed}", f"可选值：{allowed}"))
        return value

    return AfterValidator(check)


_STRICT = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

SeedRule = Literal["follow", "random"]
Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
UpscaleMethod = Literal["nearest-exact", "bilinear", "bicubic", "area", "bislerp"]


class EasyCache(BaseModel):
    """EasyCache: when to skip a model evaluation and reuse the last change (HOW-IT-COMPUTES.md section 6)."""

    model_config = _STRICT

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
        float,
        Field(ge=0.0, le=1.0),
        Knob(
            Text("EasyCache start", "EasyCache 起点"),
            Text("Part of the sampling after which steps may be skipped.", "从采样的哪一部分开始允许跳步。"),
            step=0.01,
        ),
    ] = 0.15
    end: Annotated[
        float,
        Field(ge=0.0, le=1.0),
        Knob(
            Text("EasyCache end", "EasyCache 终点"),
            Text("Part of the sampling after which every step runs again.", "采样到哪一部分之后不再跳步。"),
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

    model_config = _STRICT

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
        float,
        Field(ge=0.0, le=1.0),
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
        float,
        Field(ge=0.0, le=1.0),
        Knob(
            Text("NAG from noise level", "NAG 起始噪声"),
            Text("Acts from this sigma on down; 1 is from the first step.", "从该 sigma 起生效，1 为从第一步起。"),
            step=0.01,
        ),
    ] = 1.0
    sigma_end: Annotated[
        float,
        Field(ge=0.0, le=1.0),
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
        return _descending(self, "sigma_start", "sigma_end")


class NegPip(BaseModel):
    """NegPiP: subtracts the meaning of phrases inside the prompt (``engine/guidance/negpip.py``)."""

    model_config = _STRICT

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

    model_config = _STRICT

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
                "Longest, as a multiple of what the prompt alone gives; lower is calmer.",
                "最多为仅用提示词时长度的几倍，越低越柔和。",
            ),
            step=0.05,
            slider_max=2.0,
        ),
    ] = 1.0


class Variance(BaseModel):
    """Noise added to the encoded prompt, so that seeds differ more (``engine/guidance/variance.py``)."""

    model_config = _STRICT

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
        float,
        Field(ge=0.0, le=1.0),
        Knob(
            Text("Variety share", "多样性比例"),
            Text("The part of the numbers that is changed.", "被改变的数值所占比例。"),
            step=0.01,
        ),
    ] = 0.5
    end: Annotated[
        float,
        Field(ge=0.0, le=1.0),
        Knob(
            Text("Variety end", "多样性终点"),
            Text(
                "Part of the sampling after which the prompt is read as it is.",
                "采样到哪一部分之后恢复原提示词。",
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


def _descending(model: _Model, start: str, end: str) -> _Model:
    """Refuse a range of noise levels whose start lies below its end."""
    first, last = getattr(model, start), getattr(model, end)
    if first < last:
        raise refusal(
            Text(
                f"{start} ({first:g}) must not be below {end} ({last:g})",
                f"{start}（{first:g}）不能小于 {end}（{last:g}）",
            )
        )
    return model


class Stage(BaseModel):
    """One denoising pass at one size. A progressive generation is a tuple of stages."""

    model_config = _STRICT

    enabled: Annotated[
        bool,
        Knob(
            Text("Use this stage", "启用本阶段"),
            Text("Off: the next stage starts in its place.", "关闭后由下一阶段接替。"),
        ),
    ] = True
    width: Annotated[
        int,
        Field(ge=64, le=MAX_SIDE, multiple_of=16),
        Knob(Text("Width", "宽"), Text("Pixels, a multiple of 16.", "像素，16 的倍数。"), step=16),
    ] = 672
    height: Annotated[
        int,
        Field(ge=64, le=MAX_SIDE, multiple_of=16),
        Knob(Text("Height", "高"), Text("Pixels, a multiple of 16.", "像素，16 的倍数。"), step=16),
    ] = 864
    steps: Annotated[
        int,
        Field(ge=1, le=200),
        Knob(
            Text("Steps", "步数"),
            Text("Sampling steps that are really run, whatever denoise is.", "实际执行的采样步数，与重绘幅度无关。"),
            step=1,
            slider_max=60,
        ),
    ] = 9
    cfg: Annotated[
        float,
        Field(ge=0.0, le=30.0),
        Knob(
            Text("CFG", "CFG"),
            Text(
                "How strongly the prompt is followed. At 1 a step costs half; the negative prompt then needs NAG.",
                "提示词引导强度。为 1 时每步只算一半，反向提示词需借助 NAG 起作用。",
            ),
            step=0.1,
            slider_max=10.0,
        ),
    ] = 1.0
    denoise: Annotated[
        float,
        Field(ge=0.01, le=1.0),
        Knob(
            Text("Denoise", "重绘幅度"),
            Text(
                "How much of the picture before is redrawn: 1 starts anew.", "对上一阶段画面的重绘程度，1 为完全重画。"
            ),
            step=0.01,
        ),
    ] = 1.0
    sampler: Annotated[
        str,
        Field(json_schema_extra={"enum": list(SAMPLER_TRAITS)}),
        _one_of(SAMPLER_TRAITS),
        Knob(Text("Sampler", "采样器"), Text("ComfyUI's names and results.", "名称与结果同 ComfyUI。")),
    ] = "euler"
    scheduler: Annotated[
        str,
        Field(json_schema_extra={"enum": list(SCHEDULERS)}),
        _one_of(SCHEDULERS),
        Knob(
            Text("Scheduler", "调度器"),
            Text(
                "flow_match is the FlowMatchEuler node's list, flow_match_linear the one registered for KSampler.",
                "flow_match 为 FlowMatchEuler 节点的序列，flow_match_linear 为 KSampler 中注册的序列。",
            ),
        ),
    ] = "simple"
    shift: Annotated[
        float,
        Field(ge=0.01, le=100.0),
        Knob(
            Text("Shift", "Shift"),
            Text("Moves the steps towards high noise; Z-Image's own is 3.", "把步数移向高噪声端，Z-Image 自身为 3。"),
            step=0.1,
            slider_max=12.0,
        ),
    ] = 3.0
    eta: Annotated[
        float,
        Field(ge=0.0, le=10.0),
        Knob(
            Text("Eta", "Eta"),
            Text("How much fresh noise each step adds; 0 adds none.", "每步加入新噪声的比例，0 为不加。"),
            step=0.01,
            slider_max=2.0,
        ),
    ] = 1.0
    s_noise: Annotated[
        float,
        Field(ge=0.0, le=10.0),
        Knob(
            Text("Noise scale", "噪声强度 s_noise"),
            Text("Scale of the fresh noise.", "新噪声的强度倍数。"),
            step=0.01,
            slider_max=2.0,
        ),
    ] = 1.0
    r: Annotated[
        float,
        Field(gt=0.0, le=1.0),
        Knob(
            Text("Midpoint r", "中点 r"),
            Text("Where dpmpp_sde evaluates between two steps.", "dpmpp_sde 在两步之间求值的位置。"),
            step=0.01,
        ),
    ] = 0.5
    solver_type: Annotated[
        Literal["midpoint", "heun"],
        Knob(Text("Solver type", "求解器类型"), Text("For dpmpp_2m_sde.", "用于 dpmpp_2m_sde。")),
    ] = "midpoint"
    seed: Annotated[
        SeedRule | Seed,
        Knob(
            Text("Stage seed", "本阶段种子"),
            Text(
                "follow: worked out from the base seed; random: drawn anew each time; or a fixed number.",
                "跟随（follow）：由整图种子推出；随机（random）：每次随机；也可填固定数字。",
            ),
        ),
    ] = "follow"
    upscale: Annotated[
        UpscaleMethod,
        Knob(
            Text("Latent resize", "潜空间缩放"),
            Text(
                "How the latent of the stage before is brought to this size.",
                "把上一阶段的潜变量缩放到本阶段尺寸的方法。",
            ),
        ),
    ] = "nearest-exact"
    handover: Annotated[
        str,
        Field(json_schema_extra={"enum": list(HANDOVER_TRAITS)}),
        _one_of(HANDOVER_TRAITS),
        Knob(
            Text("Hand-over", "阶段衔接"),
            Text(
                "resize: the stage before is finished, resized and noised again. spectral: one trajectory goes on at"
                " this size; another picture, at less cost. The first stage that runs has none before it.",
                "resize：上一阶段完成后放大并重新加噪；spectral：同一条去噪轨迹在本阶段尺寸上继续，"
                "画面不同，计算更少。首个执行的阶段前面没有可衔接的内容。",
            ),
        ),
    ] = "resize"
    delta: Annotated[
        float,
        Field(ge=0.001, le=0.5),
        Knob(
            Text("Hand-over delta", "衔接容差 delta"),
            Text(
                "For spectral: how much detail may be missing when the size grows. Higher changes over later: cheaper.",
                "用于 spectral：放大时允许缺失的细节。越高则越晚放大，计算更少。",
            ),
            step=0.001,
        ),
    ] = 0.1
    easycache: Annotated[
        EasyCache | None,
        Knob(
            Text("EasyCache", "EasyCache 加速"),
            Text("Skips evaluations whose result can be foreseen.", "跳过结果可以预知的求值。"),
        ),
    ] = None
    nag: Annotated[
        Nag | None,
        Knob(
            Text("NAG", "NAG 反向引导"),
            Text(
                "Lets the negative prompt act in the attention, at CFG 1 too; a step costs a little more.",
                "让反向提示词在注意力中起作用，CFG 为 1 时也有效；每步稍慢一点。",
            ),
        ),
    ] = None
    negpip: Annotated[
        NegPip | None,
        Knob(
            Text("NegPiP", "NegPiP 反向短语"),
            Text(
                "Subtracts the negative prompt's phrases, and (text:-1) in the prompt, while the prompt is read.",
                "读取提示词时减去反向提示词中的短语，以及提示词里的 (text:-1)。",
            ),
        ),
    ] = None
    cfg_limit: Annotated[
        CfgLimit | None,
        Knob(
            Text("Limit CFG", "限制 CFG"),
            Text("Keeps high CFG from burning the picture.", "避免高 CFG 使画面过曝、过饱和。"),
        ),
    ] = None
    cfg_start: Annotated[
        float,
        Field(ge=0.0, le=1.0),
        Knob(
            Text("CFG from noise level", "CFG 起始噪声"),
            Text(
                "CFG acts from this sigma on down; before, the prompt alone is evaluated.",
                "CFG 从该 sigma 起生效；之前只计算提示词。",
            ),
            step=0.01,
        ),
    ] = 1.0
    cfg_end: Annotated[
        float,
        Field(ge=0.0, le=1.0),
        Knob(
            Text("CFG to noise level", "CFG 结束噪声"),
            Text(
                "CFG acts down to this sigma; after it a step costs half.",
                "CFG 到该 sigma 为止；之后每步只算一半。",
            ),
            step=0.01,
        ),
    ] = 0.0
    variance: Annotated[
        Variance | None,
        Knob(
            Text("More different pictures", "画面更多样"),
            Text(
                "Makes the pictures of different seeds differ more, by noise on the prompt's meaning.",
                "给提示词的含义加入噪声，让不同种子的画面差别更大。",
            ),
        ),
    ] = None

    @model_validator(mode="after")
    def _cfg_start_above_end(self) -> Self:
        return _descending(self, "cfg_start", "cfg_end")


def _groups(model: type[BaseModel]) -> dict[str, type[BaseModel]]:
    kinds = {name: get_args(field.annotation) for name, field in model.model_fields.items()}
    return {
        name: kind
        for name, parts in kinds.items()
        for kind in parts
        if isinstance(kind, type) and issubclass(kind, BaseModel)
    }


STAGE_GROUPS = _groups(Stage)
"""The fields of a stage that hold a group of knobs and can be switched off as a whole, with None."""


REFERENCE_STAGES = (
    Stage(
        width=176,
        height=224,
        steps=9,
        cfg=2.0,
        denoise=1.0,
        sampler="euler_ancestral",
        scheduler="flow_match",
        shift=3.0,
    ),
    Stage(
        width=336,
        height=432,
        steps=16,
        cfg=1.0,
        denoise=0.7,
        sampler="euler_ancestral",
        scheduler="flow_match_linear",
        shift=7.0,
        easycache=EasyCache(threshold=0.37, start=0.45, end=0.95),
    ),
    Stage(
        width=672,
        height=864,
        steps=16,
        cfg=1.0,
        denoise=0.6,
        sampler="dpmpp_sde",
        scheduler="beta",
        shift=7.0,
        easycache=EasyCache(threshold=0.12, start=0.70, end=0.95),
    ),
)
"""The three stages of the reference workflow (HOW-IT-COMPUTES.md section 1)."""


def _visible(value: str) -> str:
    if not value.strip():
        raise refusal(Text("must have at least one visible character", "不能全是空白"))
    return value


def _some_enabled(stages: tuple[Stage, ...] | None) -> tuple[Stage, ...] | None:
    if stages is not None and not any(stage.enabled for stage in stages):
        raise refusal(Text("at least one must be enabled", "至少要启用一个阶段"))
    return stages


def _ascending(value: tuple[int, ...] | None) -> tuple[int, ...] | None:
    return None if value is None else tuple(sorted(set(value)))


Triggers = Annotated[tuple[Annotated[str, Field(min_length=1, max_length=200)], ...], Field(max_length=32)]


class LoraUse(BaseModel):
    """One LoRA of the stack: which file, how strongly, and in which stages.

    The same LoRA may be in the stack more than once: its strengths add up, and with different ``stages`` it gets a
    strength per stage.
    """

    model_config = _STRICT

    name: Annotated[
        str,
        Field(min_length=1, max_length=400),
        Knob(
            Text("LoRA", "LoRA"),
            Text("File under loras/, with or without its ending.", "loras/ 下的文件名，可省略后缀。"),
        ),
    ]
    strength: Annotated[
        float,
        Field(ge=-STRONGEST, le=STRONGEST),
        Knob(Text("Strength", "强度"), Text("0 is off.", "0 为不启用。"), step=0.05),
    ] = 1.0
    stages: Annotated[
        tuple[Annotated[int, Field(ge=1, le=MAX_STAGES)], ...] | None,
        Field(min_length=1),
        AfterValidator(_ascending),
        Knob(
            Text("Acts in stages", "作用阶段"),
            Text("Numbers from 1; left out: in all of them.", "从 1 起的编号；不填则作用于所有阶段。"),
        ),
    ] = None
    triggers: Annotated[
        Triggers,
        Knob(
            Text("Its trigger words", "它的触发词"),
            Text("Joined in front of the prompt while it is on.", "启用时加在提示词前面。"),
        ),
    ] = ()
    sha256: Annotated[
        str | None,
        Field(pattern="^[0-9a-f]{64}$"),
        Knob(
            Text("SHA-256", "SHA-256"),
            Text(
                "Of the file that is meant; in a finished picture's settings always given.",
                "所指文件的校验值；已生成图片的参数中总会写明。",
            ),
        ),
    ] = None

    def acts_in(self, stage: int) -> bool:
        """Whether the LoRA is on in stage number ``stage``, counted from 0."""
        return self.strength != 0.0 and (self.stages is None or stage + 1 in self.stages)


class Template(BaseModel):
    """The texts as typed, with the choices and wildcards that were drawn (``wildcards.py``)."""

    model_config = _STRICT

    prompt: Annotated[str, Field(min_length=1, max_length=MAX_PROMPT)]
    negative: Annotated[str, Field(max_length=MAX_PROMPT)] = ""
    triggers: Triggers = ()
    loras: Annotated[tuple[LoraUse, ...], Field(max_length=MAX_LORAS)] = ()


Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
"""The SHA-256 of a file."""
MAX_MARGIN = 2048
"""Maximum of pixels added on one side of a picture."""
Margin = Annotated[int, Field(ge=0, le=MAX_MARGIN)]


class Upscaler(BaseModel):
    """An upscaling model that enlarges the start picture before it is resized to its stage's size."""

    model_config = _STRICT

    name: Annotated[
        str,
        Field(min_length=1, max_length=400),
        Knob(
            Text("Upscaler", "放大模型"),
            Text("Name of a file under models/upscalers/.", "models/upscalers/ 下的文件名。"),
        ),
    ]
    sha256: Annotated[
        Digest | None,
        Knob(
            Text("SHA-256", "SHA-256"),
            Text(
                "Of the file that is meant; in a finished picture's settings always given.",
                "所指文件的校验值；已生成图片的参数中总会写明。",
            ),
        ),
    ] = None


class StartPicture(BaseModel):
    """A picture to start from instead of pure noise (image-to-image). Stages before ``stage`` are skipped.

    With a ``mask``, or margins that extend the picture, the rest of it is kept (inpainting, outpainting).
    """

    model_config = _STRICT

    picture: Annotated[
        Digest,
        Knob(
            Text("Picture", "图片"),
            Text("SHA-256 of its file, which must have been handed in before.", "图片文件的 SHA-256，需先上传该文件。"),
        ),
    ]
    stage: Annotated[
        int,
        Field(ge=1, le=MAX_STAGES),
        Knob(
            Text("Starts at stage", "起始阶段"),
            Text("How much of it is redrawn, that stage's denoise says.", "重绘多少由该阶段的重绘幅度决定。"),
            step=1,
        ),
    ] = 1
    fit: Annotated[
        Literal["crop", "stretch"],
        Knob(
            Text("Fit", "适配方式"),
            Text("crop cuts what is too much off evenly; stretch distorts.", "crop 居中裁剪，stretch 直接拉伸。"),
        ),
    ] = "crop"
    upscaler: Annotated[
        Upscaler | None,
        Knob(
            Text("Upscaler", "放大模型"),
            Text(
                "A model of the ESRGAN kind that enlarges the picture first; left out: Lanczos alone.",
                "先用 ESRGAN 类模型放大图片；不填则只用 Lanczos。",
            ),
        ),
    ] = None
    mask: Annotated[
        Digest | None,
        Knob(
            Text("Mask", "蒙版"),
            Text(
                "SHA-256 of a picture in the start picture's proportions: white is redrawn, black kept. Of one with"
                " transparency, what is transparent is redrawn. Left out: all of the picture is redrawn.",
                "与起始图片比例相同的图片的 SHA-256：白色重绘，黑色保留；带透明度的图片则重绘透明部分。"
                "不填则重绘整张图片。",
            ),
        ),
    ] = None
    extend: Annotated[
        tuple[Margin, Margin, Margin, Margin],
        Knob(
            Text("Extend the canvas", "扩展画布"),
            Text(
                "Pixels of the start picture added on the left, top, right and bottom, and drawn anew.",
                "在起始图片的左、上、右、下各增加的像素数，增加的部分重新绘制。",
            ),
        ),
    ] = (0, 0, 0, 0)
    feather: Annotated[
        int,
        Field(ge=0, le=256),
        Knob(
            Text("Feather", "羽化"),
            Text(
                "Pixels of the start picture over which what is redrawn passes into what is kept.",
                "重绘部分向保留部分过渡的宽度，以起始图片的像素计。",
            ),
            step=1,
            slider_max=128,
        ),
    ] = 0
    differential: Annotated[
        Annotated[float, Field(ge=0.0, le=1.0)] | None,
        Knob(
            Text("Differential diffusion", "差分扩散"),
            Text(
                "Grey of the mask says from which noise level on a place is redrawn, instead of how much; 1 is the"
                " whole effect, and so is 0, as in ComfyUI's node. Left out: the plain noise mask.",
                "蒙版的灰度表示从哪个噪声水平开始重绘，而不是混合多少；1 为完全生效，"
                "0 与 1 相同（与 ComfyUI 节点一致）。不填则为普通噪声蒙版。",
            ),
            step=0.05,
        ),
    ] = None
    paste: Annotated[
        bool,
        Knob(
            Text("Paste what is kept", "贴回保留部分"),
            Text(
                "The kept part comes back pixel for pixel; off: as the VAE decodes it.",
                "保留部分逐像素还原；关闭则为 VAE 解码的结果。",
            ),
        ),
    ] = True

    @property
    def keeps(self) -> bool:
        """Whether part of the picture is kept."""
        return self.mask is not None or any(self.extend)

    @model_validator(mode="after")
    def _whole_where_enlarged(self) -> Self:
        if self.upscaler is not None and self.keeps:
            raise refusal(
                Text(
                    "an upscaler goes with a whole picture; leave it or the mask and the margins out",
                    "放大模型只用于整张图片；请去掉放大模型，或去掉蒙版和扩展",
                )
            )
        return self


class GenerationRequest(BaseModel):
    """All settings of a picture, as requested.

    Without ``stages`` the model's recommended stages apply; Z-Image-Turbo's are those of the reference workflow.
    """

    model_config = _STRICT

    prompt: Annotated[
        str,
        Field(min_length=1, max_length=MAX_PROMPT),
        Knob(
            Text("Prompt", "提示词"),
            Text("What the picture shows, in Chinese or English.", "描述画面，中英文皆可。"),
        ),
        AfterValidator(_visible),
    ]
    negative: Annotated[
        str,
        Field(max_length=MAX_PROMPT),
        Knob(
            Text("Negative prompt", "反向提示词"),
            Text(
                "What to keep out. Has an effect in stages with NAG, NegPiP or a CFG other than 1.",
                "不想出现的内容；在启用 NAG、NegPiP 或 CFG 不为 1 的阶段起作用。",
            ),
        ),
    ] = ""
    triggers: Annotated[
        Triggers,
        Knob(
            Text("Trigger words", "触发词"),
            Text("Joined in front of the prompt, each once.", "依次加在提示词前面，不重复。"),
        ),
    ] = ()
    loras: Annotated[
        tuple[LoraUse, ...],
        Field(max_length=MAX_LORAS),
        Knob(Text("LoRAs", "LoRA"), Text("Applied in this order.", "按此顺序叠加。")),
    ] = ()
    seed: Annotated[
        Literal["random"] | Seed,
        Knob(
            Text("Seed", "种子"),
            Text(
                "The same number gives the same picture; empty or -1 draws one.",
                "同一数字得到同一张图；留空或 -1 为随机。",
            ),
        ),
    ] = "random"
    variation_strength: Annotated[
        float,
        Field(ge=0.0, le=1.0),
        Knob(
            Text("Variation strength", "变化强度"),
            Text(
                "How far the first noise is turned towards that of the variation seed; 0 is the seed's own picture.",
                "初始噪声向变化种子的噪声旋转的程度；0 即原种子的图片。",
            ),
            step=0.01,
        ),
    ] = 0.0
    variation_seed: Annotated[
        Literal["random"] | Seed,
        Knob(
            Text("Variation seed", "变化种子"),
            Text("Which noise the first one is turned towards.", "初始噪声朝哪个种子的噪声变化。"),
        ),
    ] = "random"
    stages: Annotated[
        tuple[Stage, ...] | None,
        Field(min_length=1, max_length=MAX_STAGES),
        Knob(Text("Stages", "阶段"), Text("Left out: the model's own recommendation.", "不填则用模型自带的推荐参数。")),
        AfterValidator(_some_enabled),
    ] = None
    start: Annotated[
        StartPicture | None,
        Knob(
            Text("Start picture", "起始图片"),
            Text(
                "A picture that a stage redraws; left out: the first begins from noise.",
                "由某一阶段重绘的图片；不填则从噪声开始。",
            ),
        ),
    ] = None
    keep_stages: Annotated[
        bool,
        Knob(
            Text("Keep stage pictures", "保留各阶段图片"),
            Text(
                "Saves each stage's picture beside the result; it changes nothing in the result.",
                "把每个阶段的图片存到成片旁边，不影响成片。",
            ),
        ),
    ] = False
    template: Annotated[
        Template | None,
        Knob(
            Text("As typed", "原始输入"),
            Text(
                "With its choices and wildcards; where it is given, prompt and words are what was drawn, and stay so.",
                "含选项和通配符的原文；给出时，提示词等即为抽取结果，不再重新抽取。",
            ),
        ),
    ] = None

    @property
    def running(self) -> tuple[tuple[int, Stage], ...]:
        """(number from 0, stage) of each stage that runs: those that are on, from the start picture's stage onwards."""
        first = self.start.stage - 1 if self.start else 0
        return tuple(
            (number, stage) for number, stage in enumerate(self.stages or ()) if stage.enabled and number >= first
        )

    @property
    def typed(self) -> GenerationRequest:
        """The request as typed: drawn texts are replaced by the choices and wildcards they were drawn from."""
        if self.template is None:
            return self
        texts = {name: getattr(self.template, name) for name in Template.model_fields}
        return self.model_copy(update={**texts, "template": None})

    @property
    def full_prompt(self) -> str:
        """The text encoder's input: the trigger words that the prompt doesn't contain yet, then the prompt.

        LoRA tags must be removed (``prompt_tags.py``) and choices drawn (``wildcard_expansion.py``) beforehand.
        """
        return ", ".join([*self.joined_words, self.prompt])

    @property
    def joined_words(self) -> tuple[str, ...]:
        """The trigger words to put in front of the prompt: those that it doesn't contain yet.

        Words of the LoRAs that are on come first, in stack order, then ``triggers``; each once, ignoring case and full
        width.
        """
        on = (word for use in self.loras if use.strength for word in use.triggers)
        words: dict[str, str] = {}
        for word in (*on, *self.triggers):
            words.setdefault(_folded(word), word.strip())
        return tuple(word for folded, word in words.items() if folded and not holds_word(self.prompt, word))


_LETTER = r"[^\W\u2e80-\U0010ffff]"
"""A letter of a script that separates words by spaces, unlike Chinese."""


def _folded(text: str) -> str:
    """Normalise case, full and half width, and runs of white space, for comparison."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def holds_word(text: str, word: str) -> bool:
    """Whether ``text`` has ``word`` as a whole word, ignoring case and width: ``ink`` is not found in ``drink``."""
    text, word = _folded(text), _folded(word)
    before = f"(?<!{_LETTER})" if re.match(_LETTER, word) else ""
    after = f"(?!{_LETTER})" if re.match(_LETTER, word[-1]) else ""
    return re.search(before + re.escape(word) + after, text) is not None


def knob_of(model: type[BaseModel], name: str) -> Knob:
    """The Knob declared for the field ``name`` of ``model``."""
    return next(item for item in model.model_fields[name].metadata if isinstance(item, Knob))


def parse_request(data: Mapping[str, Any]) -> GenerationRequest:
    """Parse plain data (a page's values, JSON, YAML) into a request.

    Raises:
        RequestError: a field is invalid; names the first one, its value and what is allowed.
    """
    return parse_as(GenerationRequest, data)


def parse_stage(data: Mapping[str, Any]) -> Stage:
    """Parse plain data into one stage; raises RequestError as ``parse_request`` does."""
    return parse_as(Stage, data)


def parse_as(model: type[_Model], data: Mapping[str, Any]) -> _Model:
    """Parse plain data into any strict model; raises RequestError as ``parse_request`` does."""
    try:
        # Through JSON, because strict mode then accepts lists for tuples, but still converts nothing else.
        text = json.dumps(data)
        if keys_in(data) > MAX_KEYS:
            raise RequestError(
                "request",
                Text(
                    f"has more than {MAX_KEYS} settings; leave out those that there are not",
                    f"设置超过 {MAX_KEYS} 项；请去掉多余的",
                ),
            )
        return model.model_validate_json(text)
    except ValidationError as error:
        raise request_error(error, data) from error
    except (TypeError, ValueError, RecursionError) as error:
        reason = str(error)
        raise RequestError("request", Text(f"is not plain data ({reason})", f"不是普通数据（{reason}）")) from error
