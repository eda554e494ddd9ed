"""Writes the trained weights as a model folder in the layout of the published Z-Image models.

    python -m tools.demo_model.export --vae WORK/vae --checkpoint WORK/run/checkpoint.pt --tokenizer WORK/tokenizer \
        --out models/demo

Weights are the running averages, in bfloat16. Also fits the preview factors, which convert a latent to a small picture
without the decoder. The folder's ``card.yaml`` is written by hand and not changed.
"""

import argparse
import json
import logging
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, ZImagePipeline
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from tools.demo_model.latents import to_tensor, training_scenes
from tools.demo_model.model import build_text_encoder, build_transformer, main_blocks
from tools.demo_model.render import SIZES, render

PREVIEW_SCENES = 60

log = logging.getLogger(__name__)


@torch.no_grad()
def preview_factors(vae: Any) -> dict[str, object]:
    """Fit the linear map from a model-space latent to the mean colour of its 8x8 patch: 16x3 factors and a bias."""
    scenes = training_scenes(PREVIEW_SCENES)
    pictures = to_tensor([render(scene, i, SIZES[0]) for i, scene in enumerate(scenes)])
    latents = (vae.encode(pictures).latent_dist.mean - vae.config.shift_factor) * vae.config.scaling_factor
    rows = latents.permute(0, 2, 3, 1).reshape(-1, latents.shape[1])
    colours = F.avg_pool2d(pictures, 8).permute(0, 2, 3, 1).reshape(-1, 3)
    rows = torch.cat([rows, torch.ones(len(rows), 1)], 1)
    fit = torch.linalg.lstsq(rows, colours, driver="gelsd").solution
    log.info("preview factors: RMS error %.4f", (rows @ fit - colours).pow(2).mean().sqrt().item())
    rounded = [[round(value, 5) for value in row] for row in fit.tolist()]
    return {
        "factors": rounded[:-1],
        "bias": rounded[-1],
        "source": f"least squares over {PREVIEW_SCENES} drawn scenes of 176x224: mean colour of each 8x8 patch",
    }


def own_weights(weights: dict[str, Tensor], part: str) -> dict[str, Tensor]:
    """Return the weights of one network under its own names."""
    prefix = f"{part}."
    return {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}


def build_pipeline(
    vae: AutoencoderKL, tokenizer: PreTrainedTokenizerFast, weights: dict[str, Tensor]
) -> ZImagePipeline:
    """Build the pipeline in bfloat16; ``weights`` must fit both networks exactly."""
    transformer, text_encoder = build_transformer(main_blocks(weights)), build_text_encoder(len(tokenizer))
    transformer.load_state_dict(own_weights(weights, "transformer"))
    text_encoder.load_state_dict(own_weights(weights, "text_encoder"))
    return ZImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=False),
        vae=vae.to(torch.bfloat16),
        text_encoder=text_encoder.to(torch.bfloat16),
        tokenizer=tokenizer,
        transformer=transformer.to(torch.bfloat16),
    )


def export(vae_folder: Path, checkpoint: Path, tokenizer_folder: Path, out: Path) -> None:
    """Write or replace the model folder's weights, configs, tokenizer and preview factors."""
    vae = AutoencoderKL.from_pretrained(vae_folder).eval()
    preview = preview_factors(vae)
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder, trust_remote_code=False)
    weights = torch.load(checkpoint, weights_only=False)["average"]
    build_pipeline(vae, tokenizer, weights).save_pretrained(out)
    tidy_tokenizer_config(out / "tokenizer" / "tokenizer_config.json")
    (out / "preview.json").write_text(json.dumps(preview, indent=1) + "\n", encoding="utf-8")
    for file in out.rglob("*"):
        if file.is_file():
            file.chmod(0o644)
    size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    log.info("%s: %.2f MB", out, size / 1e6)


def tidy_tokenizer_config(path: Path) -> None:
    """Remove settings that only record how the tokenizer was loaded during the export."""
    config = json.loads(path.read_text(encoding="utf-8"))
    for key in ("is_local", "local_files_only"):
        config.pop(key, None)
    path.write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vae", type=Path, required=True)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    export(args.vae, args.checkpoint, args.tokenizer, args.out)


if __name__ == "__main__":
    main()
