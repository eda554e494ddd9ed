"""Trains the demo model's style LoRAs, and draws a thumbnail of each.

    python -m tools.demo_model.lora --model models/demo --out loras

The scenes are drawn in each style (:mod:`tools.demo_model.styles`); the model's weights stay frozen. Files are written
in diffusers' layout, in bfloat16, with metadata for LoRA libraries.
"""

import argparse
import logging
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from diffusers import AutoencoderKL, ZImageTransformer2DModel
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.utils import parametrize
from transformers import AutoTokenizer, Qwen3Model

from tools.demo_model.captions import caption
from tools.demo_model.latents import encode, linear_encoder, training_scenes
from tools.demo_model.model import caption_ids, encode_captions, pad_captions, predict
from tools.demo_model.render import SIZES, render
from tools.demo_model.scene import Scene
from tools.demo_model.styles import STYLES, Style
from tools.demo_model.train import later_stage_sigmas, plain, stage_one_sigmas
from zimage_app import GenerationRequest, LoraUse, load_generator
from zimage_app.service.setup.config import StudioConfig

RANK = 6
STEPS = 320
LEARNING_RATE = 3e-3
SCENES = {176: 480, 336: 160, 672: 60}
"""Width -> number of drawn scenes."""
BATCH = {176: 12, 336: 4, 672: 1}
ORDER = (176, 336, 176, 672)
"""Widths of consecutive steps, repeated."""
CAPTION_LENGTH = 64
THUMBNAIL_PROMPT = "夕阳下平静的湖面上一艘红色小船，远处雪山"
THUMBNAIL_SEED = 7
THUMBNAIL_WIDTH = 256

log = logging.getLogger(__name__)


class TrainableLowRank(nn.Module):
    """Adds a trainable low-rank product to a linear layer's weight."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        rows, columns = weight.shape
        self.down = nn.Parameter(torch.randn(RANK, columns) / columns**0.5)
        self.up = nn.Parameter(torch.zeros(rows, RANK))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + self.up @ self.down


@dataclass(frozen=True, slots=True)
class Parts:
    """The model to train LoRAs for, in float32, and the VAE's encoder as a matrix."""

    transformer: ZImageTransformer2DModel
    text_encoder: Qwen3Model
    tokenizer: Any
    encoder: Tensor
    bfloat16: bool
    """Whether matrix products use bfloat16; on a CPU without bfloat16 arithmetic, float32 is faster."""


def load_parts(model: Path, bfloat16: bool = True) -> Parts:
    vae = AutoencoderKL.from_pretrained(model / "vae", torch_dtype=torch.float32).eval()
    transformer = ZImageTransformer2DModel.from_pretrained(model / "transformer", torch_dtype=torch.float32)
    text_encoder = Qwen3Model.from_pretrained(model / "text_encoder", torch_dtype=torch.float32)
    return Parts(
        transformer.requires_grad_(False),
        text_encoder.requires_grad_(False),
        AutoTokenizer.from_pretrained(model / "tokenizer", trust_remote_code=False),
        linear_encoder(vae),
        bfloat16,
    )


def add_low_rank(transformer: nn.Module) -> dict[str, TrainableLowRank]:
    """Add a new low-rank product to every linear layer of the main blocks; return them by layer name."""
    added: dict[str, TrainableLowRank] = {}
    for name, module in transformer.named_modules():
        if name.startswith("layers.") and isinstance(module, nn.Linear) and "adaLN" not in name:
            added[name] = TrainableLowRank(module.weight)
    for name, low_rank in added.items():
        parametrize.register_parametrization(transformer.get_submodule(name), "weight", low_rank)
    return added


def remove_low_rank(transformer: nn.Module, added: dict[str, TrainableLowRank]) -> None:
    for name in added:
        parametrize.remove_parametrizations(transformer.get_submodule(name), "weight", leave_parametrized=False)


def wording(scene: Scene, style: Style, rng: random.Random) -> str:
    """Return a caption after both, one or none of the trigger words, so that the LoRA works without them too."""
    text = caption(scene, rng)
    words = rng.choice((style.triggers, style.triggers, style.triggers[:1], style.triggers[1:], ()))
    return ", ".join([*words, text])


class StyleTrainer:
    """Trains low-rank additions on one style's scenes."""

    def __init__(self, parts: Parts, style: Style, scenes: dict[int, int] = SCENES) -> None:
        torch.manual_seed(0)
        self.rng = random.Random(0)
        self.parts, self.style = parts, style
        self.scenes = training_scenes(max(scenes.values()))
        self.latents = {
            width: torch.stack(
                [
                    encode(parts.encoder, render(scene, i, (width, height), style.look)).half()
                    for i, scene in enumerate(self.scenes[: scenes[width]])
                ]
            )
            for width, height in SIZES
        }
        self.added = add_low_rank(cast("nn.Module", parts.transformer))
        self.parameters = [parameter for one in self.added.values() for parameter in one.parameters()]
        self.optimiser = torch.optim.AdamW(self.parameters, lr=LEARNING_RATE, weight_decay=0.0)

    def loss(self, width: int) -> Tensor:
        """Return the loss of one random batch at this width, at random noise levels."""
        count = BATCH[width]
        chosen = [self.rng.randrange(len(self.latents[width])) for _ in range(count)]
        captions = [
            caption_ids(self.parts.tokenizer, wording(self.scenes[i], self.style, self.rng))[:CAPTION_LENGTH]
            for i in chosen
        ]
        ids, real = pad_captions(captions, CAPTION_LENGTH)
        clean = self.latents[width][chosen].float()
        sigma = stage_one_sigmas(count) if width == SIZES[0][0] else later_stage_sigmas(count, width)
        x, sigma, target = plain(clean, torch.randn_like(clean), sigma)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.parts.bfloat16):
            states = encode_captions(self.parts.text_encoder, ids)
            out = predict(self.parts.transformer, x, sigma, (states, real))
        return (out.float() - target).pow(2).mean()

    def run(self, steps: int = STEPS) -> None:
        recent: list[float] = []
        for step in range(steps):
            for group in self.optimiser.param_groups:
                group["lr"] = LEARNING_RATE * min(1.0, (step + 1) / 10, 2.5 * (1 - step / steps))
            loss = self.loss(ORDER[step % len(ORDER)])
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
            self.optimiser.step()
            recent.append(loss.item())
            if (step + 1) % 40 == 0:
                log.info("step %d of %d, loss %.4f", step + 1, steps, sum(recent[-40:]) / 40)

    def close(self) -> None:
        """Remove the additions from the transformer."""
        remove_low_rank(cast("nn.Module", self.parts.transformer), self.added)


def tensors_of(added: dict[str, TrainableLowRank]) -> dict[str, Tensor]:
    """Return the additions under diffusers' names, in bfloat16."""
    tensors: dict[str, Tensor] = {}
    for name, low_rank in added.items():
        tensors[f"transformer.{name}.lora_A.weight"] = low_rank.down.detach().bfloat16().contiguous()
        tensors[f"transformer.{name}.lora_B.weight"] = low_rank.up.detach().bfloat16().contiguous()
    return tensors


def metadata_of(style: Style) -> dict[str, str]:
    return {
        "format": "pt",
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.title": style.title,
        "modelspec.architecture": "zimage-demo/lora",
        "modelspec.trigger_phrase": ", ".join(style.triggers),
        "modelspec.description": "For the demo model of Z-Image Progressive Studio (models/demo) only.",
    }


def draw_thumbnail(model: Path, loras: Path, name: str) -> None:
    """Save a small picture made with the LoRA beside its file."""
    use = LoraUse(name=name, triggers=STYLES[name].triggers)
    request = GenerationRequest(prompt=THUMBNAIL_PROMPT, seed=THUMBNAIL_SEED, loras=(use,))
    image = load_generator(str(model), StudioConfig(loras=loras.resolve())).generate(request).image
    height = round(THUMBNAIL_WIDTH * image.height / image.width)
    image.resize((THUMBNAIL_WIDTH, height)).save(loras / f"{name}.png", optimize=True)


def train_style(parts: Parts, name: str, out: Path, steps: int = STEPS) -> Path:
    """Train one style and write its file; return the path."""
    trainer = StyleTrainer(parts, STYLES[name])
    trainer.run(steps)
    path = out / f"{name}.safetensors"
    save_file(tensors_of(trainer.added), path, metadata_of(STYLES[name]))
    path.chmod(0o644)
    trainer.close()
    log.info("%s: %.0f kB", path, path.stat().st_size / 1000)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=Path("models/demo"), help="folder of the model")
    parser.add_argument("--out", type=Path, default=Path("loras"), help="folder for the LoRAs")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--only", choices=STYLES, help="train one of the styles")
    parser.add_argument("--float32", action="store_true", help="quicker on a CPU without bfloat16 arithmetic")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    parts = load_parts(args.model, bfloat16=not args.float32)
    for name in [args.only] if args.only else STYLES:
        train_style(parts, name, args.out, args.steps)
        draw_thumbnail(args.model, args.out, name)


if __name__ == "__main__":
    main()
