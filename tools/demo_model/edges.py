"""Measures roundness and edge sharpness of suns and full moons, in drawn scenes and in the model's pictures.

    python -m tools.demo_model.edges --model models/demo --out WORK/edges

The disc consists of the pixels with at least half of the disc's contrast to the sky. Roundness: intersection over
union of the disc with the best circle. Edge width: distance from 20 to 80 percent contrast, in pixels at a width of
672. Raggedness: standard deviation of the radius, in percent. ``--out``: folder for the pictures of each stage.
"""

import argparse
import itertools
import json
import logging
import random
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from diffusers import AutoencoderKL
from PIL import Image
from scipy import ndimage

from tools.demo_model.canvas import rgb
from tools.demo_model.latents import through_vae
from tools.demo_model.render import CELESTIAL_RADIUS, CELESTIAL_X, CELESTIAL_Y, MOON_COLOURS, SIZES, SUN_COLOURS, render
from tools.demo_model.scene import Celestial, CelestialColour, Scene, Side, Time, sample_scene
from zimage_app import GenerationRequest, Generator, Stage, load_generator
from zimage_app.domain.events import StageDone
from zimage_app.domain.settings.stage import REFERENCE_STAGES

SKY = 2.2
"""Half the side of the measured square, in radii."""
ANGLES = 72
LOW = (None, "boat", "house", "bridge")
"""Main objects that don't cover a sun or moon."""
DRAWN = 60
DRAWN_SEED = 91

log = logging.getLogger(__name__)
Grey = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Disc:
    """The shape of one sun or moon."""

    roundness: float
    """Intersection over union with the circle of its area around its middle."""
    edge: float
    """Median width of the edge in pixels at 672 of width."""
    raggedness: float
    """Standard deviation of the radius in percent of the radius."""


@dataclass(frozen=True, slots=True)
class Sky:
    """A sun or a full moon that a prompt asks for, and where it belongs."""

    celestial: Celestial
    colour: CelestialColour
    side: Side
    time: Time


def measured(image: Image.Image, sky: Sky) -> Disc | None:
    """Measure the disc nearest to its usual place; None if nothing of its paint is there."""
    paint = _paint_share(image, sky)
    labels, count = ndimage.label(paint > 0.5)
    if not count:
        return None
    sizes = ndimage.sum_labels(np.ones_like(paint), labels, range(1, count + 1))
    disc = ndimage.binary_fill_holes(labels == 1 + int(np.argmax(sizes)))
    area, middle = float(disc.sum()), ndimage.center_of_mass(disc)
    radius = (area / np.pi) ** 0.5
    if radius < 3:
        return None
    ys, xs = np.indices(disc.shape)
    circle = (ys - middle[0]) ** 2 + (xs - middle[1]) ** 2 <= radius**2
    filled = np.where(ndimage.binary_erosion(disc, iterations=max(1, round(radius * 0.25))), 1.0, paint)
    edges, radii = _rays(filled, (float(middle[0]), float(middle[1])), radius)
    return Disc(
        round(float((circle & disc).sum() / (circle | disc).sum()), 4),
        round(float(np.median(edges)) * SIZES[2][0] / image.width, 2),
        round(100 * float(np.std(radii) / np.mean(radii)), 2),
    )


def _paint_share(image: Image.Image, sky: Sky) -> Grey:
    """Return how much of the disc's paint each pixel of the square around its usual place has, 0 to 1."""
    width, height = image.size
    radius = CELESTIAL_RADIUS * width
    x, y = CELESTIAL_X[sky.side] * width, CELESTIAL_Y[sky.time] * height
    reach = SKY * radius
    box = (max(0, x - reach), max(0, y - reach), min(width, x + reach), min(height, y + reach))
    left, top, right, bottom = (round(side) for side in box)
    square = np.asarray(image.convert("RGB"), dtype=np.float64)[top:bottom, left:right]
    background = np.median(square.reshape(-1, 3), axis=0)
    colours = SUN_COLOURS if sky.celestial == "sun" else MOON_COLOURS
    way = np.array(rgb(colours[sky.colour])) - background
    return np.clip((square - background) @ way / (way @ way), 0.0, 1.0)


def _rays(paint: Grey, middle: tuple[float, float], radius: float) -> tuple[Grey, Grey]:
    """Follow the paint outwards from the middle; return the edge's width and the radius for each angle."""
    steps = np.arange(0.5 * radius, 1.6 * radius, 0.25)
    edges, radii = np.empty(ANGLES), np.empty(ANGLES)
    for number, angle in enumerate(np.linspace(0, 2 * np.pi, ANGLES, endpoint=False)):
        points = [middle[0] + steps * np.sin(angle), middle[1] + steps * np.cos(angle)]
        ray = np.minimum.accumulate(ndimage.map_coordinates(paint, points, order=1, mode="nearest"))
        radii[number], full, empty = (
            steps[np.searchsorted(-ray, -share).clip(max=len(steps) - 1)] for share in (0.5, 0.8, 0.2)
        )
        edges[number] = empty - full
    return edges, radii


def drawn_scenes(count: int) -> list[Scene]:
    """Return scenes with a sun or full moon that nothing covers."""
    rng = random.Random(DRAWN_SEED)
    scenes: list[Scene] = []
    while len(scenes) < count:
        scene = sample_scene(rng)
        covered = scene.clouds or scene.tree is not None or scene.mountains is not None or scene.kind not in LOW
        if scene.celestial in {"sun", "full moon"} and not covered and scene.celestial_side != scene.side:
            scenes.append(scene)
    return scenes


def sky_of(scene: Scene) -> Sky:
    """Return the sun or moon of a scene that has one."""
    assert scene.celestial is not None
    return Sky(scene.celestial, scene.celestial_colour, scene.celestial_side, scene.time)


PROMPTS: tuple[tuple[str, Sky], ...] = (
    ("白天平静的湖面上一艘红色小船，金色的太阳", Sky("sun", "yellow", "right", "day")),
    ("夜晚的大海，一艘白色帆船，一轮圆月", Sky("full moon", "yellow", "right", "night")),
    ("日出时分的沙漠，一座黄色宝塔，红日", Sky("sun", "red", "right", "dawn")),
    ("a blue house in a green meadow on a sunny day, a red sun", Sky("sun", "red", "right", "day")),
    ("a red boat on a lake at sunset, a red sun", Sky("sun", "red", "right", "sunset")),
    ("a white lighthouse by the sea at night, a white full moon", Sky("full moon", "white", "right", "night")),
    ("夕阳下的草地，一座红色小房子，红色的太阳", Sky("sun", "red", "right", "sunset")),
    ("a yellow house on the snow at night, a full moon", Sky("full moon", "yellow", "right", "night")),
    ("a blue boat on the sea at dawn, a golden sun", Sky("sun", "yellow", "right", "dawn")),
    ("白天的雪地，一座蓝色的塔，太阳", Sky("sun", "yellow", "right", "day")),
)


def sampled(
    generator: Generator, stages: Sequence[Stage], seeds: int, out: Path | None
) -> dict[str, list[Disc | None]]:
    """Measure the discs of the prompts' pictures after each stage; save the pictures in a folder."""
    found: dict[str, list[Disc | None]] = defaultdict(list)
    for (number, (prompt, sky)), turn in itertools.product(enumerate(PROMPTS, 1), range(seeds)):
        seed = 500 + number + 1000 * turn
        for event in generator.stream(GenerationRequest(prompt=prompt, seed=seed, stages=tuple(stages))):
            if isinstance(event, StageDone):
                image = Image.fromarray(event.picture)
                found[f"stage {event.stage.number + 1}"].append(measured(image, sky))
                if out is not None:
                    image.save(out / f"{seed:04d}-{event.stage.number + 1}.png")
    return dict(found)


def summary(discs: Iterable[Disc | None]) -> dict[str, float]:
    """Return the medians, and how many percent are as round as a circle to 0.95; a missing disc is not round."""
    every = list(discs)
    there = [disc for disc in every if disc is not None]
    result: dict[str, float] = {"round": round(100 * sum(disc.roundness >= 0.95 for disc in there) / len(every), 1)}
    for name in ("roundness", "edge", "raggedness"):
        result[name] = round(statistics.median(asdict(disc)[name] for disc in there), 3) if there else float("nan")
    return result


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="models/demo", help="folder of the model")
    parser.add_argument("--out", type=Path, help="folder for the pictures")
    parser.add_argument("--reference", action="store_true", help="the reference workflow instead of the model's preset")
    parser.add_argument("--seeds", type=int, default=4, help="pictures of each of the ten prompts")
    parser.add_argument("--drawn", type=int, default=DRAWN, help="drawn scenes to compare with")
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    rows: dict[str, dict[str, float]] = {}
    scenes = drawn_scenes(args.drawn)
    vae = AutoencoderKL.from_pretrained(Path(args.model) / "vae", torch_dtype=torch.float32).eval()
    for size in SIZES:
        images = [render(scene, 700000 + number, size) for number, scene in enumerate(scenes)]
        skies = [sky_of(scene) for scene in scenes]
        pairs = list(zip(images, skies, strict=True))
        rows[f"drawn {size[0]}"] = summary(measured(image, sky) for image, sky in pairs)
        rows[f"through the VAE {size[0]}"] = summary(measured(through_vae(vae, image), sky) for image, sky in pairs)
    generator = load_generator(args.model)
    stages = REFERENCE_STAGES if args.reference else generator.card.stages or REFERENCE_STAGES
    if args.out is not None:
        args.out.mkdir(parents=True, exist_ok=True)
    rows |= {name: summary(discs) for name, discs in sampled(generator, stages, args.seeds, args.out).items()}
    for name, row in rows.items():
        log.info("%-22s %s", name, "  ".join(f"{key} {value:g}" for key, value in row.items()))
    log.info("%s", json.dumps(rows))


if __name__ == "__main__":
    main()
