"""The generation request. Its stages, LoRAs and start picture are declared in ``settings/``.

Every setting is declared once, with its bounds, title and help; page, command line, validation, records and docs are
built from these declarations. A request holds what the caller asked for; a plan (``plan.py``) is the request settled
for one model, with seeds drawn and sizes and sigmas computed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field

from zimage_app.domain.settings.knob import STRICT, Fraction, Knob, parse_as
from zimage_app.domain.settings.lora_use import MAX_LORAS, LoraUse, Triggers
from zimage_app.domain.settings.stage import MAX_STAGES, Seed, Stage
from zimage_app.domain.settings.start_picture import StartPicture
from zimage_app.domain.text import Text, folded
from zimage_app.domain.validation_errors import refusal

MAX_PROMPT = 8000


def _visible(value: str) -> str:
    if not value.strip():
        raise refusal(Text("must have at least one visible character", "不能全是空白"))
    return value


def _some_enabled(stages: tuple[Stage, ...] | None) -> tuple[Stage, ...] | None:
    if stages is not None and not any(stage.enabled for stage in stages):
        raise refusal(Text("at least one must be enabled", "至少要启用一个阶段"))
    return stages


class Template(BaseModel):
    """The texts as typed, with the choices and wildcards that were drawn (``wildcards.py``)."""

    model_config = STRICT

    prompt: Annotated[str, Field(min_length=1, max_length=MAX_PROMPT)]
    negative: Annotated[str, Field(max_length=MAX_PROMPT)] = ""
    triggers: Triggers = ()
    loras: Annotated[tuple[LoraUse, ...], Field(max_length=MAX_LORAS)] = ()


class GenerationRequest(BaseModel):
    """All settings of a picture, as requested.

    Without ``stages`` the model's recommended stages apply; Z-Image-Turbo's are those of the reference workflow.
    """

    model_config = STRICT

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
        Fraction,
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
            words.setdefault(folded(word), word.strip())
        prompt = folded(self.prompt)
        return tuple(word for wanted, word in words.items() if wanted and not _holds_folded(prompt, wanted))


_LETTER = r"[^\W\u2e80-\U0010ffff]"
"""A letter of a script that separates words by spaces, unlike Chinese."""


def holds_word(text: str, word: str) -> bool:
    """Whether ``text`` has ``word`` as a whole word, ignoring case and width: ``ink`` is not found in ``drink``."""
    return _holds_folded(folded(text), folded(word))


def _holds_folded(text: str, word: str) -> bool:
    before = f"(?<!{_LETTER})" if re.match(_LETTER, word) else ""
    after = f"(?!{_LETTER})" if re.match(_LETTER, word[-1]) else ""
    return re.search(before + re.escape(word) + after, text) is not None


def parse_request(data: Mapping[str, Any]) -> GenerationRequest:
    """Parse plain data (a page's values, JSON, YAML) into a request.

    Raises:
        RequestError: a field is invalid; names the first one, its value and what is allowed.
    """
    return parse_as(GenerationRequest, data)
