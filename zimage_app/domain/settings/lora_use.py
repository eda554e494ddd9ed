"""Settings of one LoRA of the stack."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field

from zimage_app.domain.settings.knob import STRICT, FileDigest, Knob
from zimage_app.domain.settings.stage import MAX_STAGES
from zimage_app.domain.text import Text

MAX_LORAS = 16
MAX_STRENGTH = 2.0
"""Largest absolute strength of a LoRA."""

Triggers = Annotated[tuple[Annotated[str, Field(min_length=1, max_length=200)], ...], Field(max_length=32)]


def _ascending(value: tuple[int, ...] | None) -> tuple[int, ...] | None:
    return None if value is None else tuple(sorted(set(value)))


class LoraUse(BaseModel):
    """One LoRA of the stack: which file, how strongly, and in which stages.

    The same LoRA may be in the stack more than once: its strengths add up, and with different ``stages`` it gets a
    strength per stage.
    """

    model_config = STRICT

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
        Field(ge=-MAX_STRENGTH, le=MAX_STRENGTH),
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
    sha256: FileDigest = None

    def acts_in(self, stage: int) -> bool:
        """Whether the LoRA is on in stage number ``stage``, counted from 0."""
        return self.strength != 0.0 and (self.stages is None or stage + 1 in self.stages)
