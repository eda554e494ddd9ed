"""What stages gave, kept by a hash of everything that decides it, so that a later run begins behind them.

A stage's latent is a function of the loaded model, the LoRAs that are on up to there, the prompts, the settings, noise
levels and seeds of the stages so far, and the start picture with its mask. The memory belongs to one loaded model and
goes with it, so the model's files, device and dtype are in no key. In memory only.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from zimage_app.domain.events import Picture
from zimage_app.domain.guidance import reads_negative
from zimage_app.domain.plan import GenerationPlan, StagePlan
from zimage_app.domain.request import GenerationRequest

_NOT_IN_LATENTS = frozenset({"prompt", "negative", "triggers", "template", "loras", "seed", "stages", "keep_stages"})
"""Fields of a request that are in the key otherwise, or change no latent. What is added to requests counts."""


@dataclass(frozen=True, slots=True)
class StageResult:
    """What a stage hands over."""

    stage: StagePlan
    latent: Tensor
    """(1, 16, h, w), VAE space, float32, on the CPU; noised where the next stage goes on with the trajectory."""
    shown: Tensor
    """The same without noise, as far as the stage could tell: what its picture is decoded from."""
    seconds: float
    calls: int
    skipped_calls: tuple[int, ...]
    picture: Picture | None = None
    """Decoded; None where it has not been yet."""
    from_memory: bool = False

    @property
    def size(self) -> int:
        """Bytes."""
        return self.latent.nbytes + self.shown.nbytes + (0 if self.picture is None else self.picture.nbytes)


class StageMemory:
    """Results by their keys, at most so many bytes of them; those go first that were not used for longest.

    Not safe for several threads at once. With 0 bytes it keeps nothing.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: OrderedDict[str, StageResult] = OrderedDict()
        self._size = 0

    @property
    def size(self) -> int:
        """Bytes of what is kept."""
        return self._size

    def find(self, key: str) -> StageResult | None:
        """What was kept under a key."""
        if key not in self._kept:
            return None
        self._kept.move_to_end(key)
        return self._kept[key]

    def keep(self, key: str, result: StageResult) -> None:
        """Keep a result, in the place of one with the same key. An empty key means that it is not to be kept."""
        if not key or result.size > self._most:
            return
        if key in self._kept:
            self._size -= self._kept.pop(key).size
        self._kept[key] = result
        self._size += result.size
        while self._size > self._most:
            self._size -= self._kept.popitem(last=False)[1].size


def stage_keys(plan: GenerationPlan) -> list[str]:
    """A key for each stage of a plan.

    Empty from the first stage on whose LoRAs are not known by the hash of their files.
    """
    digest = hashlib.sha256(_bytes([_other_settings(plan.request), torch.get_num_threads()]))
    keys: list[str] = []
    for stage in plan.stages:
        uses = [use for use in plan.request.loras if use.acts_in(stage.number)]
        if any(use.sha256 is None for use in uses):
            break
        negative = plan.request.negative if reads_negative(stage.settings) else ""
        digest.update(_bytes([_facts(stage), negative, [(use.sha256, use.strength) for use in uses]]))
        keys.append(digest.hexdigest())
    return keys + [""] * (len(plan.stages) - len(keys))


def remembered(memory: StageMemory, plan: GenerationPlan, keys: Sequence[str]) -> list[StageResult]:
    """The results that a run of the plan can begin behind. Its last stage is always run."""
    results: list[StageResult] = []
    for stage, key in zip(plan.stages[:-1], keys, strict=False):
        found = memory.find(key)
        if found is None:
            break
        results.append(replace(found, stage=stage, seconds=0.0, from_memory=True))
    return results


def _facts(stage: StagePlan) -> dict[str, Any]:
    """All that decides a stage, its prompt included, but for what stands before it.

    ``number`` only says where its settings were found.
    """
    facts = asdict(stage)
    del facts["number"]
    facts["settings"] = stage.settings.model_dump(mode="json", exclude={"enabled", "seed"})
    return facts


def _other_settings(request: GenerationRequest) -> dict[str, Any]:
    settings = request.model_dump(mode="json", exclude=set(_NOT_IN_LATENTS))
    if settings.get("start"):
        del settings["start"]["paste"]
    return settings


def _bytes(data: object) -> bytes:
    return json.dumps(data, sort_keys=True).encode() + b"\n"
