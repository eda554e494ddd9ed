"""Run one golden case through the app's own engine and write the latent after each stage.

    python tools/run_case.py CASE.json OUT.safetensors

CASE.json names a transformer (a single file with the original or diffusers' key names), text features (a file and two
keys), LoRAs, stages, and optionally a latent to start from with its mask; file names are relative to the case.
OUT.safetensors gets ``stage1``, ``stage2``, … in VAE space, float32; a stage whose trajectory the next one continues is
saved with its remaining noise. The last line printed is
``{"stages": [{"calls": 18, "executed": 18, "skipped_calls": []}, …]}``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import BaseModel, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from zimage_app.domain.card import Z_IMAGE_TURBO
from zimage_app.domain.errors import RequestError, StudioError
from zimage_app.domain.plan import GenerationPlan, make_plan
from zimage_app.domain.request import GenerationRequest, parse_request
from zimage_app.domain.start_image import StartImage
from zimage_app.domain.text import Text
from zimage_app.domain.validation_errors import request_error
from zimage_app.engine.guidance.negpip import TEMPLATE_AFTER, TEMPLATE_BEFORE
from zimage_app.engine.run import sample
from zimage_app.engine.stage_memory import StageResult
from zimage_app.models.components import Components, LatentFormat
from zimage_app.models.device import named_device
from zimage_app.models.load.loader import FLUX_PREVIEW, load_transformer
from zimage_app.models.lora import LoraManager, ResolvedLora
from zimage_app.models.weights.placement import MemoryPlan

POSITIVE, NEGATIVE = "positive", "negative"
_NO_FILE = "0" * 64
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class TransformerFile(BaseModel):
    """A transformer's weights and config; omitted config keys take the class's defaults."""

    file: str
    config: dict[str, Any] | None = None


class NegativePhrase(BaseModel):
    """A phrase that NegPiP subtracts in all stages: key of its text features, without the chat template."""

    features: str
    weight: Annotated[float, Field(lt=0.0)]


class TextFile(BaseModel):
    """Keys of the prompts' text features; without a negative one, the positive is used for both."""

    file: str
    positive: str
    negative: str | None = None
    negpip: tuple[NegativePhrase, ...] = ()


class StartFile(BaseModel):
    """Keys of the tensors a run starts from: a latent in VAE space, and a mask (1, height, width), 1 = redraw."""

    file: str
    latent: str
    mask: str | None = None
    differential: float | None = None


class CaseLora(BaseModel):
    """A LoRA's file and strength."""

    file: str
    strength: float = 1.0


class Case(BaseModel):
    """The content of CASE.json. Unknown keys are remarks; null means the same as omitting the key."""

    transformer: TransformerFile
    text: TextFile
    stages: tuple[dict[str, Any], ...]
    start: StartFile | None = None
    loras: tuple[CaseLora, ...] | None = None
    dtype: Literal["float32", "bfloat16", "float16"] | None = None
    device: str | None = None
    threads: Annotated[int, Field(ge=1)] | None = None
    seed: int | None = None


@dataclass(frozen=True)
class GivenFeatures:
    """A text encoder that returns given features: name -> (tokens, channels)."""

    features: Mapping[str, Tensor]

    def encode(self, prompt: str) -> Tensor:
        """Return the features named by the prompt, which ends in spaces if phrases were removed from it."""
        return self.features[prompt.strip()]

    def encode_ahead(self, prompts: Iterable[str]) -> None:
        """Nothing has to be encoded."""


@dataclass(frozen=True)
class GivenLatent:
    """A codec that returns a given latent for every picture."""

    latent: Tensor

    def encode(self, picture: Tensor) -> Tensor:
        """Return the latent (1, 16, h, w) in VAE space."""
        del picture
        return self.latent


def load_case(case: Case, folder: Path) -> Components:
    """Load the case's transformer, text features and start latent as Components."""
    dtype = DTYPES[case.dtype or "float32"]
    device = named_device(case.device or "cpu")
    plan = MemoryPlan(device, dtype, Text("as the case says", "按用例指定"))
    transformer = load_transformer(folder / case.transformer.file, case.transformer.config or {}, plan)
    stack = [ResolvedLora(folder / use.file, use.strength) for use in case.loras or ()]
    for warning in LoraManager(transformer).apply(stack):
        sys.stderr.write(f"{warning}\n")
    features: Any = _features(case.text, folder, device, dtype)
    codec: Any = GivenLatent(_start_latent(case.start, folder))
    return Components(Z_IMAGE_TURBO, features, transformer, codec, LatentFormat(), FLUX_PREVIEW)


def _start_latent(start: StartFile | None, folder: Path) -> Tensor:
    if start is None:
        return torch.empty(0)
    return _tensor(folder, start.file, start.latent, "start.latent").float()


def start_images(case: Case, plan: GenerationPlan, folder: Path) -> dict[int, StartImage]:
    """Return the start picture of the first stage, and its mask for later stages, which keep the handed-over latent."""
    if case.start is None:
        return {}
    mask = None
    if case.start.mask:
        tensor = _tensor(folder, case.start.file, case.start.mask, "start.mask").float()
        mask = tensor.reshape(tensor.shape[-2:]).numpy()
    first = plan.stages[0]
    picture = np.zeros((first.settings.height, first.settings.width, 3), np.uint8)
    following = {stage.number: StartImage(None, mask) for stage in plan.stages[1:] if mask is not None}
    return {first.number: StartImage(picture, mask)} | following


def _tensor(folder: Path, file: str, name: str, field: str) -> Tensor:
    tensors = load_file(folder / file)
    if name not in tensors:
        raise RequestError(field, Text(f"{file} has no {name}; it has {', '.join(tensors)}", f"没有 {name}"))
    return tensors[name]


def _features(text: TextFile, folder: Path, device: torch.device, dtype: torch.dtype) -> GivenFeatures:
    names = {POSITIVE: text.positive, NEGATIVE: text.negative or text.positive}
    found = {field: _tensor(folder, text.file, name, f"text.{field}").flatten(0, -2) for field, name in names.items()}
    for place, (name, phrase) in enumerate(phrases_of(text).items()):
        tokens = _tensor(folder, text.file, phrase.features, f"text.negpip.{place}.features").flatten(0, -2)
        found[name] = F.pad(tokens, (0, 0, TEMPLATE_BEFORE, TEMPLATE_AFTER))
    return GivenFeatures({field: value.to(device, dtype) for field, value in found.items()})


def phrases_of(text: TextFile) -> dict[str, NegativePhrase]:
    """Return the phrases to subtract by their placeholder words in the prompt."""
    return {f"{place}.phrase": phrase for place, phrase in enumerate(text.negpip)}


def request_of(case: Case) -> GenerationRequest:
    """Return the case as a request, with the names of its text features as prompts."""
    phrases = [f" ({name}:{phrase.weight})" for name, phrase in phrases_of(case.text).items()]
    reads = {"negpip": {"weight": 0.0}} if phrases else {}
    return parse_request(
        {
            "prompt": POSITIVE + "".join(phrases),
            "negative": NEGATIVE,
            "seed": case.seed or 0,
            "stages": [reads | stage for stage in case.stages],
            "start": _start_data(case.start),
        }
    )


def parse_case(data: object) -> Case:
    """Parse a case from plain data; raises RequestError, which names the first invalid field."""
    try:
        return Case.model_validate_json(json.dumps(data))
    except ValidationError as error:
        raise request_error(error) from error


def run_case(data: object, folder: Path) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """Run a case; return the latents by name, and the numbers of model calls per stage."""
    case = parse_case(data)
    if case.threads is not None:
        torch.set_num_threads(case.threads)
    request = request_of(case)
    components = load_case(case, folder)
    plan = make_plan(request, components.card)
    latents: dict[str, Tensor] = {}
    stages: list[dict[str, Any]] = []
    for item in sample(plan, components, lambda: False, start=start_images(case, plan, folder)):
        if isinstance(item, StageResult):
            skipped = list(item.skipped_calls)
            latents[f"stage{len(stages) + 1}"] = item.latent.contiguous()
            stages.append({"calls": item.calls, "executed": item.calls - len(skipped), "skipped_calls": skipped})
    return latents, stages


def _start_data(start: StartFile | None) -> dict[str, Any] | None:
    """Return the request's ``start`` with placeholder hashes."""
    if start is None:
        return None
    return {"picture": _NO_FILE, "mask": _NO_FILE if start.mask else None, "differential": start.differential}


def main(arguments: list[str]) -> int:
    """Run the case; return exit status 0, or 2 after an error message."""
    if len(arguments) != 2:
        sys.stderr.write("usage: python tools/run_case.py CASE.json OUT.safetensors\n")
        return 2
    path = Path(arguments[0])
    try:
        latents, stages = run_case(json.loads(path.read_text(encoding="utf-8")), path.parent)
        save_file(latents, arguments[1])
    except (StudioError, OSError, ValueError, RuntimeError, SafetensorError) as error:
        sentence, _, _ = str(error).partition("\n")
        sys.stderr.write(f"{path.name}: {sentence}\n")
        return 2
    sys.stdout.write(json.dumps({"stages": stages}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
