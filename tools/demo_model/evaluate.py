"""Runs the test prompts through the app and measures what can be measured.

    python -m tools.demo_model.evaluate --model models/demo --out WORK/evaluation

Time of day and ground are told by colour probes, which are checked on drawn scenes first. Kind and colour of the
main thing are judged by looking at the contact sheet that is written; its pictures are in the order of the prompts.
"""

import argparse
import json
import logging
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image

from tools.demo_model.probes import accuracy, fit_probe
from zimage_app import GenerationRequest, load_generator

PROMPTS = Path("tests/data/demo_prompts.json")
COLUMNS = 5
THUMBNAIL = (336, 432)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Wanted:
    """One test prompt and what its picture must show."""

    prompt: str
    lang: str
    time: str
    ground: str
    kind: str
    colour: str
    seed: int


def read_prompts(path: Path) -> list[Wanted]:
    return [Wanted(**row) for row in json.loads(path.read_text(encoding="utf-8"))]


def contact_sheet(images: list[Image.Image]) -> Image.Image:
    """The pictures in rows of five, left to right."""
    width, height = THUMBNAIL
    sheet = Image.new("RGB", (COLUMNS * width, -(-len(images) // COLUMNS) * height), "white")
    for i, image in enumerate(images):
        sheet.paste(image.resize(THUMBNAIL, Image.Resampling.LANCZOS), (i % COLUMNS * width, i // COLUMNS * height))
    return sheet


def evaluate(model: str, prompts: list[Wanted], seed_offset: int = 0) -> tuple[list[Image.Image], int]:
    """The pictures of all prompts, and how many have both time and ground right."""
    probe = fit_probe()
    right_time, right_ground = accuracy(probe)
    log.info("probes on 100 drawn scenes: time %.0f %%, ground %.0f %%", 100 * right_time, 100 * right_ground)
    generator = load_generator(model)
    images: list[Image.Image] = []
    right = 0
    for number, wanted in enumerate(prompts, 1):
        begin = time.perf_counter()
        image = generator.generate(GenerationRequest(prompt=wanted.prompt, seed=wanted.seed + seed_offset)).image
        seconds = time.perf_counter() - begin
        found = probe(image)
        good = found == (wanted.time, wanted.ground)
        right += good
        images.append(image)
        verdict = "ok   " if good else f"WRONG, looks like {'/'.join(found)}:"
        asked = f"{wanted.time}/{wanted.ground}, {wanted.colour} {wanted.kind}"
        log.info("%2d %s %s  %s  (%.1f s)", number, verdict, asked, wanted.prompt, seconds)
    return images, right


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="models/demo", help="folder of the model")
    parser.add_argument("--prompts", type=Path, default=PROMPTS)
    parser.add_argument("--out", type=Path, required=True, help="folder for the pictures and the contact sheet")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed-offset", type=int, default=0, help="added to every prompt's seed, for a second look")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(args.threads)
    prompts = read_prompts(args.prompts)
    images, right = evaluate(args.model, prompts, args.seed_offset)
    args.out.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(images, 1):
        image.save(args.out / f"{number:02d}.png")
    contact_sheet(images).save(args.out / "sheet.png")
    log.info("time and ground right: %d of %d", right, len(prompts))


if __name__ == "__main__":
    main()
