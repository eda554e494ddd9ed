"""One trajectory over rising sizes beside the model's own three stages: what it costs and how like the pictures are.

    python -m benchmarks.trajectory [OUT.jpg]

On the demo model, with its own prompts. Prints a table; OUT.jpg shows the pictures in pairs.
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
from zimage_app.domain.request import GenerationRequest, Stage
from zimage_app.service.generation.generator import Generator, load_generator

STEPS = 14
SEED = 7
PROMPTS = 3
DELTA = 0.1
SHOWN = (224, 288)


def halved(stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
    """The stages at half their sizes, so that a picture takes seconds on a CPU."""
    return tuple(
        stage.model_copy(update={"width": stage.width // 32 * 16, "height": stage.height // 32 * 16})
        for stage in stages
    )


def one_trajectory(own: tuple[Stage, ...], delta: float) -> tuple[Stage, ...]:
    """The model's own sizes and guidance, as one trajectory."""
    shared = {"steps": STEPS, "denoise": 1.0, "sampler": "euler", "scheduler": "simple", "shift": 3.0}
    return tuple(
        stage.model_copy(update=shared | {"handover": "spectral", "delta": delta, "easycache": None}) for stage in own
    )


@dataclass(frozen=True)
class Made:
    """A picture and what it took."""

    picture: Image.Image
    cost: float
    """Evaluations of one latent cell."""
    seconds: float


def make(generator: Generator, prompt: str, stages: tuple[Stage, ...], seed: int = SEED) -> Made:
    """One picture, timed."""
    request = GenerationRequest(prompt=prompt, seed=seed, stages=stages)
    cost = sum(stage.cost for stage in make_plan(request, generator.card).stages)
    begun = time.perf_counter()
    picture = generator.generate(request).image
    return Made(picture, cost, time.perf_counter() - begun)


def likeness(one: Image.Image, other: Image.Image) -> float:
    """Correlation of two pictures, seen small: 1 is the same layout and colours, 0 none in common."""
    one_seen, other_seen = (_seen(each) for each in (one, other))
    return float((one_seen * other_seen).mean())


def _seen(picture: Image.Image) -> NDArray[np.float64]:
    """A small copy's values, with mean 0 and spread 1."""
    small = np.asarray(picture.resize((42, 54)), dtype=np.float64)
    centred: NDArray[np.float64] = small - small.mean()
    return centred / float(small.std())


def main(arguments: list[str]) -> int:
    """Measure, print, and draw the pairs where a file is named."""
    generator = load_generator("demo")
    prompts, stages = generator.card.examples[:PROMPTS], halved(generator.card.stages)
    own = [make(generator, prompt, stages) for prompt in prompts]
    one = [make(generator, prompt, one_trajectory(stages, DELTA)) for prompt in prompts]
    others = [make(generator, prompt, stages, SEED + 1) for prompt in prompts]
    rows = {"own stages": own, "one trajectory": one, "own stages, another seed": others}
    sys.stdout.write("| | work | seconds | likeness to own stages |\n|---|---|---|---|\n")
    facts: list[dict[str, float | str]] = []
    for name, made in rows.items():
        work = statistics.mean(each.cost for each in made) / statistics.mean(each.cost for each in own)
        seconds = statistics.median(each.seconds for each in made)
        alike = statistics.mean(likeness(a.picture, b.picture) for a, b in zip(own, made, strict=True))
        sys.stdout.write(f"| {name} | {work:.2f} | {seconds:.1f} | {alike:.2f} |\n")
        facts.append({"name": name, "work": work, "seconds": seconds, "likeness": alike})
    if arguments:
        draw(own, one, Path(arguments[0]))
    sys.stdout.write(json.dumps(facts) + "\n")
    return 0


def draw(upper: list[Made], lower: list[Made], path: Path) -> None:
    """Two rows of pictures."""
    width, height = SHOWN
    sheet = Image.new("RGB", (width * len(upper), 2 * height), "white")
    for row, pictures in enumerate((upper, lower)):
        for place, each in enumerate(pictures):
            sheet.paste(each.picture.resize(SHOWN, Image.Resampling.LANCZOS), (place * width, row * height))
    sheet.save(path, quality=85)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
