"""Compares one trajectory over increasing sizes with three separate stages: cost, and similarity of the pictures.

    python -m benchmarks.trajectory [OUT.jpg]
    python -m benchmarks.trajectory --reference [OUT.jpg]

Uses the demo model at half sizes with its own prompts, and compares with its own stages, or the preset "Progressive in
one trajectory" with the reference workflow. Prints a table; OUT.jpg shows the pictures in pairs.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from zimage_app.domain.plan import make_plan
from zimage_app.domain.request import GenerationRequest
from zimage_app.domain.settings.stage import REFERENCE_STAGES, Stage
from zimage_app.service.generation.generator import Generator, load_generator
from zimage_app.service.library.presets import PresetLibrary
from zimage_app.service.pictures.comparison import psnr, ssim
from zimage_app.service.setup.config import StudioConfig

STEPS = 14
"""Steps of the whole trajectory when it is compared with the model's own stages."""
PRESET = "one-trajectory"
SEED = 7
DELTA = 0.1
SHOWN = (224, 288)


def halved(stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
    """Return the stages at half their sizes, so that a picture takes seconds on a CPU."""
    return tuple(
        stage.model_copy(update={"width": stage.width // 32 * 16, "height": stage.height // 32 * 16})
        for stage in stages
    )


def preset_stages() -> tuple[Stage, ...]:
    """Return the preset's stages."""
    stages = PresetLibrary(StudioConfig().presets).load(PRESET).stages
    assert stages is not None
    return stages


def one_trajectory(own: tuple[Stage, ...], delta: float) -> tuple[Stage, ...]:
    """Return stages with the model's own sizes and guidance that form one trajectory."""
    shared = {"steps": STEPS, "denoise": 1.0, "sampler": "euler", "scheduler": "simple", "shift": 3.0}
    return tuple(
        stage.model_copy(update=shared | {"handover": "spectral", "delta": delta, "easycache": None}) for stage in own
    )


@dataclass(frozen=True)
class MeasuredPicture:
    """A picture and its cost."""

    picture: Image.Image
    cost: float
    """Cost of the plan's stages, in evaluations of one latent cell."""
    seconds: float
    """CPU time in seconds."""


def make(generator: Generator, prompt: str, stages: tuple[Stage, ...], seed: int = SEED) -> MeasuredPicture:
    """Generate a picture and measure its CPU time."""
    request = GenerationRequest(prompt=prompt, seed=seed, stages=stages)
    cost = make_plan(request, generator.card).cost
    begun = time.process_time()
    picture = generator.generate(request).image
    return MeasuredPicture(picture, cost, time.process_time() - begun)


def correlation(one: Image.Image, other: Image.Image) -> float:
    """Return the correlation of two pictures at small size: 1 means the same layout and colours, 0 unrelated."""
    one_seen, other_seen = (_seen(each) for each in (one, other))
    return float((one_seen * other_seen).mean())


def _seen(picture: Image.Image) -> NDArray[np.float64]:
    """Return a small copy's values, normalised to mean 0 and standard deviation 1."""
    small = np.asarray(picture.resize((42, 54)), dtype=np.float64)
    centred: NDArray[np.float64] = small - small.mean()
    return centred / float(small.std())


def main(arguments: list[str]) -> int:
    """Measure and print; draw the pairs if a file is given."""
    generator = load_generator("demo")
    prompts, stages = generator.card.examples, halved(generator.card.stages)
    trajectory = one_trajectory(stages, DELTA)
    if "--reference" in arguments:
        stages, trajectory = halved(REFERENCE_STAGES), halved(preset_stages())
    own = [make(generator, prompt, stages) for prompt in prompts]
    one = [make(generator, prompt, trajectory) for prompt in prompts]
    others = [make(generator, prompt, stages, SEED + 1) for prompt in prompts]
    rows = {"three stages": own, "one trajectory": one, "three stages, another seed": others}
    sys.stdout.write("| | work | CPU seconds | correlation | PSNR, dB | SSIM |\n|---|---|---|---|---|---|\n")
    facts: list[dict[str, float | str]] = []
    for name, made in rows.items():
        pairs = [(a.picture, b.picture) for a, b in zip(own, made, strict=True)]
        arrays = [(np.asarray(a), np.asarray(b)) for a, b in pairs]
        fact = {
            "work": statistics.mean(each.cost for each in made) / statistics.mean(each.cost for each in own),
            "seconds": statistics.median(each.seconds for each in made),
            "likeness": statistics.mean(correlation(*pair) for pair in pairs),
            "psnr": statistics.mean(psnr(*pair) for pair in arrays),
            "ssim": statistics.mean(ssim(*pair) for pair in arrays),
        }
        sys.stdout.write(f"| {name} | " + " | ".join(f"{value:.2f}" for value in fact.values()) + " |\n")
        facts.append({"name": name, **fact})
    if files := [argument for argument in arguments if argument != "--reference"]:
        draw(own, one, Path(files[0]))
    sys.stdout.write(json.dumps(facts) + "\n")
    return 0


def draw(upper: list[MeasuredPicture], lower: list[MeasuredPicture], path: Path) -> None:
    """Save two rows of pictures."""
    width, height = SHOWN
    sheet = Image.new("RGB", (width * len(upper), 2 * height), "white")
    for row, pictures in enumerate((upper, lower)):
        for place, each in enumerate(pictures):
            sheet.paste(each.picture.resize(SHOWN, Image.Resampling.LANCZOS), (place * width, row * height))
    sheet.save(path, quality=85)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
