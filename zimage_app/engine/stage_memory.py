"""In-memory cache of stage results under a hash of all their inputs, so that a later run can skip those stages.

A stage's latent depends on the loaded model, the LoRAs, prompts, settings, sigmas and seeds of all stages up to this
one, and on the start picture with its mask. A cache belongs to one loaded model and is dropped with it, so the model's
files, device and dtype are not part of the keys.
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
"""Request fields that enter the key in another form or don't affect latents. New request fields enter the key."""


@dataclass(frozen=True, slots=True)
class StageResult:
    """The result of one stage."""

    stage: StagePlan
    latent: Tensor
    """(1, 16, h, w), VAE space, float32, on the CPU; still noisy if the next stage continues the trajectory."""
    shown: Tensor
    """The stage's last estimate of the latent without noise; its picture is decoded from this."""
    seconds: float
    calls: int
    skipped_calls: tuple[int, ...]
    picture: Picture | None = None
    """The decoded picture; None until it is decoded."""
    from_memory: bool = False

    @property
    def size(self) -> int:
        """Size of tensors and picture in bytes."""
        return self.latent.nbytes + self.shown.nbytes + (0 if self.picture is None else self.picture.nbytes)


class StageMemory:
    """LRU cache of stage results, limited to ``max_bytes`` bytes; 0 disables it. Not thread-safe."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._kept: OrderedDict[str, StageResult] = OrderedDict()
        self._size = 0

    @property
    def size(self) -> int:
        """Total size of the cached results in bytes."""
        return self._size

    def find(self, key: str) -> StageResult | None:
        """Return the result cached under a key, or None."""
        if key not in self._kept:
            return None
        self._kept.move_to_end(key)
        return self._kept[key]

    def keep(self, key: str, result: StageResult) -> None:
        """Cache a result, replacing one with the same key. An empty key means that the result must not be cached."""
        if not key or result.size > self._max_bytes:
            return
        if key in self._kept:
            self._size -= self._kept.pop(key).size
        self._kept[key] = result
        self._size += result.size
        while self._size > self._max_bytes:
            self._size -= self._kept.popitem(last=False)[1].size


def stage_keys(plan: GenerationPlan) -> list[str]:
    """Return a key for each stage of a plan.

    Keys are empty from the first stage on that uses a LoRA whose file hash is unknown.
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
    """Return the cached results of the plan's first stages. The last stage is never among them: it is always run."""
    results: list[StageResult] = []
    for stage, key in zip(plan.stages[:-1], keys, strict=False):
        found = memory.find(key)
        if found is None:
            break
        results.append(replace(found, stage=stage, seconds=0.0, from_memory=True))
    return results


def _facts(stage: StagePlan) -> dict[str, Any]:
    """Return all inputs of a stage, prompt included, except the previous stages' results.

    ``number`` is left out: it only tells which entry of the request the settings came from.
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
