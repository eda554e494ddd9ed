"""Settings of the picture to start from: where it enters, how it is fitted, and which part of it is redrawn."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, model_validator

from zimage_app.domain.settings.knob import STRICT, FileDigest, Fraction, InputDigest, Knob
from zimage_app.domain.settings.stage import MAX_STAGES
from zimage_app.domain.text import Text
from zimage_app.domain.validation_errors import refusal

MAX_MARGIN = 2048
"""Maximum of pixels added on one side of a picture."""
Margin = Annotated[int, Field(ge=0, le=MAX_MARGIN)]


class Upscaler(BaseModel):
    """An upscaling model that enlarges the start picture before it is resized to its stage's size."""

    model_config = STRICT

    name: Annotated[
        str,
        Field(min_length=1, max_length=400),
        Knob(
            Text("Upscaler", "放大模型"),
            Text("Name of a file under models/upscalers/.", "models/upscalers/ 下的文件名。"),
        ),
    ]
    sha256: FileDigest = None


class StartPicture(BaseModel):
    """A picture to start from instead of pure noise (image-to-image). Stages before ``stage`` are skipped.

    With a ``mask``, or margins that extend the picture, the rest of it is kept (inpainting, outpainting).
    """

    model_config = STRICT

    picture: Annotated[
        InputDigest,
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
        InputDigest | None,
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
        Fraction | None,
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
