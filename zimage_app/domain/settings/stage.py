"""Settings of one stage, and the three stages of the reference workflow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, Field, model_validator

from zimage_app.domain.catalogue import HANDOVER_TRAITS, SAMPLER_TRAITS
from zimage_app.domain.schedules import SCHEDULERS
from zimage_app.domain.settings.guidance import CfgLimit, EasyCache, Nag, NegPip, Variance
from zimage_app.domain.settings.knob import STRICT, Fraction, Knob, descending, one_of, parse_as, within
from zimage_app.domain.text import Text

MAX_STAGES = 8
MAX_SIDE = 2048
"""Pixels."""
MAX_SEED = 2**64 - 1
MIN_DENOISE = 0.01

SeedRule = Literal["follow", "random"]
Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
UpscaleMethod = Literal["nearest-exact", "bilinear", "bicubic", "area", "bislerp"]


class Stage(BaseModel):
    """One denoising pass at one size. A progressive generation is a tuple of stages."""

    model_config = STRICT

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
        within(64, MAX_SIDE, 16),
        Knob(Text("Width", "宽"), Text("Pixels, a multiple of 16.", "像素，16 的倍数。"), step=16),
    ] = 672
    height: Annotated[
        int,
        Field(ge=64, le=MAX_SIDE, multiple_of=16),
        within(64, MAX_SIDE, 16),
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
                "How strongly the prompt is followed. At 1 a step costs half; the negative prompt then needs NAG or"
                " NegPiP.",
                "提示词引导强度。为 1 时每步只算一半，反向提示词需借助 NAG 或 NegPiP 起作用。",
            ),
            step=0.1,
            slider_max=10.0,
        ),
    ] = 1.0
    denoise: Annotated[
        float,
        Field(ge=MIN_DENOISE, le=1.0),
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
        one_of(SAMPLER_TRAITS),
        Knob(Text("Sampler", "采样器"), Text("ComfyUI's names and results.", "名称与结果同 ComfyUI。")),
    ] = "euler"
    scheduler: Annotated[
        str,
        Field(json_schema_extra={"enum": list(SCHEDULERS)}),
        one_of(SCHEDULERS),
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
        one_of(HANDOVER_TRAITS),
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
        Fraction,
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
        Fraction,
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
            Text("Seed variance: more different pictures", "种子差异（画面更多样）"),
            Text(
                "Makes the pictures of different seeds differ more, by noise on the prompt's meaning.",
                "给提示词的含义加入噪声，让不同种子的画面差别更大。",
            ),
        ),
    ] = None

    @model_validator(mode="after")
    def _cfg_start_above_end(self) -> Self:
        return descending(self, "cfg_start", "cfg_end")


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


def parse_stage(data: Mapping[str, Any]) -> Stage:
    """Parse plain data into one stage; raises RequestError as ``parse_request`` does."""
    return parse_as(Stage, data)
