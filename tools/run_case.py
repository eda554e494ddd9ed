"""Run one golden case through the app's own engine and write the latent after each stage.

    python tools/run_case.py CASE.json OUT.safetensors

CASE.json names a transformer (a single file in the original or the diffusers naming), text features (a file and two
keys), LoRAs and stages; file names are relative to the case. OUT.safetensors gets ``stage1``, ``stage2``, … in VAE
space, float32. The last line printed is ``{"stages": [{"calls": 18, "executed": 18, "skipped_calls": []}, …]}``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from zimage_app.domain.card import Z_IMAGE_TURBO
from zimage_app.domain.errors import StudioError
from zimage_app.domain.plan import make_plan
from zimage_app.domain.request import parse_request
from zimage_app.domain.text import Text
from zimage_app.engine.run import StageResult, sample
from zimage_app.models.components import Components, LatentFormat
from zimage_app.models.loader import FLUX_PREVIEW, load_transformer
from zimage_app.models.lora import LoraManager, ResolvedLora
from zimage_app.models.memory import MemoryPlan

POSITIVE, NEGATIVE = "positive", "negative"


@dataclass(frozen=True)
class GivenFeatures:
    """A text encoder whose answers are known beforehand: features (tokens, channels) by name."""

    features: Mapping[str, Tensor]

    def encode(self, prompt: str) -> Tensor:
        """The features of that name."""
        return self.features[prompt]


class NoCodec:
    """Cases end in latents; nothing is decoded."""

    def decode(self, latent: Tensor) -> Tensor:
        """Never asked for."""
        raise AssertionError(f"a case decodes nothing, least of all {tuple(latent.shape)}")


def load_case(case: Mapping[str, Any], folder: Path) -> Components:
    """The case's own transformer and text features as Components."""
    dtype = getattr(torch, case.get("dtype", "float32"))
    device = torch.device(case.get("device", "cpu"))
    model = case["transformer"]
    plan = MemoryPlan(device, dtype, Text("as the case says", "按用例指定"))
    transformer = load_transformer(folder / model["file"], model.get("config", {}), plan)
    LoraManager(transformer).apply(
        [ResolvedLora(folder / use["file"], use.get("strength", 1.0)) for use in case.get("loras", [])]
    )
    text = case["text"]
    tensors = load_file(folder / text["file"])
    features = {POSITIVE: tensors[text["positive"]], NEGATIVE: tensors[text.get("negative", text["positive"])]}
    encoder = GivenFeatures({name: value.squeeze(0).to(device, dtype) for name, value in features.items()})
    return Components(Z_IMAGE_TURBO, encoder, transformer, NoCodec(), LatentFormat(), FLUX_PREVIEW)


def run_case(case: Mapping[str, Any], folder: Path) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """The latents by name and what each stage asked of the model."""
    if "threads" in case:
        torch.set_num_threads(case["threads"])
    components = load_case(case, folder)
    request = parse_request(
        {"prompt": POSITIVE, "negative": NEGATIVE, "seed": case.get("seed", 0), "stages": case["stages"]}
    )
    latents: dict[str, Tensor] = {}
    stages: list[dict[str, Any]] = []
    for item in sample(make_plan(request, components.card), components, lambda: False):
        if isinstance(item, StageResult):
            skipped = list(item.skipped_calls)
            latents[f"stage{len(stages) + 1}"] = item.latent.contiguous()
            stages.append({"calls": item.calls, "executed": item.calls - len(skipped), "skipped_calls": skipped})
    return latents, stages


def main(arguments: list[str]) -> int:
    """Exit status 0, or 2 with one sentence."""
    if len(arguments) != 2:
        sys.stderr.write("usage: python tools/run_case.py CASE.json OUT.safetensors\n")
        return 2
    path = Path(arguments[0])
    try:
        latents, stages = run_case(json.loads(path.read_text(encoding="utf-8")), path.parent)
    except (StudioError, OSError, ValueError, KeyError) as error:
        sys.stderr.write(f"{path.name}: {error}\n")
        return 2
    save_file(latents, arguments[1])
    sys.stdout.write(json.dumps({"stages": stages}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
