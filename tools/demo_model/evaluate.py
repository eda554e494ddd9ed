"""Runs the evaluation's prompts through the app and measures how well the pictures match them.

    python -m tools.demo_model.evaluate --model models/demo --probe WORK/probe.pt --out WORK/evaluation

A probe (:mod:`tools.demo_model.probes`) classifies what a picture shows; its accuracy is measured first, on drawn
scenes with and without a round trip through the VAE. Writes the pictures, a contact sheet and ``report.json``.
"""

import argparse
import dataclasses
import functools
import json
import logging
import multiprocessing
import random
import time
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from PIL import Image

from tools.demo_model.captions import LANGS
from tools.demo_model.latents import through_vae
from tools.demo_model.probes import FIT_SCENES, Probe, accuracy, draw, frechet_distance, load_or_fit, pixels, truth
from tools.demo_model.prompts import PromptCase, read_prompts
from tools.demo_model.render import SHAPES, render
from tools.demo_model.scene import sample_scene
from zimage_app import GenerationRequest, Generator, Stage, load_generator
from zimage_app.domain.settings.stage import REFERENCE_STAGES
from zimage_app.domain.sizes import size_from, sized

PROMPTS = Path("tests/data/demo_prompts.json")
COLUMNS = 10
WIDTH = 168
ASKED = ("time", "ground", "kind", "colour", "side", "celestial", "clouds", "birds")
DRAWN_SEED = 78
ROUND_TRIPS = 60
UNWANTED = {"clouds": ("云", "clouds"), "birds": ("鸟", "birds"), "celestial": ("太阳", "sun")}
"""Attributes that a negative prompt should remove, and their words."""
GUIDED_PROMPTS = 30
REMOVAL_TRIES = 30

log = logging.getLogger(__name__)
Verdicts = dict[str, bool]


@dataclass(frozen=True, slots=True)
class CheckedPicture:
    """One prompt's picture, and whether it shows each requested attribute."""

    wanted: PromptCase
    image: Image.Image
    seconds: float
    verdicts: Verdicts


def check_attributes(wanted: PromptCase, found: dict[str, str]) -> Verdicts:
    """Return for each requested attribute whether the picture shows it."""
    asked: dict[str, str | None] = {name: getattr(wanted, name) for name in ASKED[:6]}
    asked |= {name: "yes" if getattr(wanted, name) else None for name in ("clouds", "birds")}
    return {name: found[name] == value for name, value in asked.items() if value is not None}


def shares(verdicts: Iterable[Verdicts]) -> dict[str, float]:
    """Return the percentage of right pictures by attribute, among those whose prompts request it."""
    counts: dict[str, list[bool]] = defaultdict(list)
    for verdict in verdicts:
        for name, right in verdict.items():
            counts[name].append(right)
    return {name: round(100 * sum(counts[name]) / len(counts[name]), 1) for name in ASKED if counts[name]}


class ModelEvaluation:
    """A model, the stages it runs with, and the probe that classifies its pictures of one shape."""

    def __init__(self, generator: Generator, stages: tuple[Stage, ...], probe: Probe, ratio: str = "7:9") -> None:
        self.generator, self.stages, self.probe, self.ratio = generator, stages, probe, ratio

    def picture(
        self, prompt: str, seed: int, negative: str = "", stages: tuple[Stage, ...] | None = None
    ) -> Image.Image:
        request = GenerationRequest(prompt=prompt, seed=seed, negative=negative, stages=stages or self.stages)
        return self.generator.generate(request).image

    def checked(self, wanted: PromptCase, stages: tuple[Stage, ...] | None = None) -> CheckedPicture:
        begin = time.perf_counter()
        image = self.picture(wanted.prompt, wanted.seed, stages=stages)
        seconds = time.perf_counter() - begin
        return CheckedPicture(wanted, image, seconds, check_attributes(wanted, self.probe.answers(image)))

    def run(self, prompts: list[PromptCase], stages: tuple[Stage, ...] | None = None) -> list[CheckedPicture]:
        return [self.checked(wanted, stages) for wanted in prompts]

    @property
    def first_stage(self) -> tuple[Stage, ...]:
        """Stage 1 alone, which determines the picture's content and is fast."""
        return self.stages[:1]

    def guidance(self, prompts: list[PromptCase]) -> dict[str, float]:
        """Return the mean percentage right after stage 1, with CFG 1 and with the preset's CFG."""
        means: dict[str, float] = {}
        for cfg in (1.0, self.stages[0].cfg):
            stages = (self.stages[0].model_copy(update={"cfg": cfg}),)
            found = shares(one.verdicts for one in self.run(prompts, stages))
            means[f"cfg {cfg:g}"] = round(sum(found.values()) / len(found), 1)
        return means

    def removal(self) -> dict[str, str]:
        """Return how many of the unrequested things a negative prompt removes, after stage 1."""
        result: dict[str, str] = {}
        for name, unwanted in UNWANTED.items():
            there = gone = 0
            for number in range(REMOVAL_TRIES):
                prompt, negative = ("湖", unwanted[0]) if number % 2 else ("a lake by day", unwanted[1])
                if not self._shows(name, self.picture(prompt, number, stages=self.first_stage)):
                    continue
                there += 1
                gone += not self._shows(name, self.picture(prompt, number, negative, self.first_stage))
            result[name] = f"{gone} of {there}"
        return result

    def _shows(self, name: str, image: Image.Image) -> bool:
        return self.probe.answers(image)[name] not in {"no", "none"}

    def variety(self, prompts: list[PromptCase]) -> float:
        """Return the mean difference in grey levels between two seeds' pictures of a prompt, after stage 1."""
        differences: list[float] = []
        for wanted in prompts:
            first, second = (
                pixels(self.picture(wanted.prompt, wanted.seed + step, stages=self.first_stage)) for step in (0, 1)
            )
            differences.append((first - second).abs().mean().item() * 127.5)
        return round(sum(differences) / len(differences), 1)

    @torch.no_grad()
    def distance(self, images: list[Image.Image]) -> dict[str, float]:
        """Return the Fréchet distance to drawn held-out scenes, and that of other drawn scenes for comparison."""
        rng = random.Random(DRAWN_SEED)
        scenes = [sample_scene(rng, held_out=True) for _ in range(1000 + len(images))]
        drawn = [pixels(render(scene, 900000 + i, SHAPES[self.ratio][0])) for i, scene in enumerate(scenes)]
        reference, other = (self.probe.features(torch.stack(part)) for part in (drawn[:1000], drawn[1000:]))
        sampled = self.probe.features(torch.stack([pixels(image) for image in images]))
        return {
            "sampled": round(frechet_distance(sampled, reference), 2),
            "drawn": round(frechet_distance(other, reference), 2),
        }


@dataclass(frozen=True, slots=True)
class Setup:
    """The arguments with which a worker process builds its own evaluation."""

    model: str
    probe: Path
    reference: bool
    """Whether to use the reference workflow instead of the model's preset."""
    stages: int
    """Number of first stages to run."""
    ratio: str
    """Shape of the pictures and of those that the probe was trained on."""
    threads: int


@functools.cache
def evaluation_of(setup: Setup) -> ModelEvaluation:
    torch.set_num_threads(setup.threads)
    generator = load_generator(setup.model)
    stages = REFERENCE_STAGES if setup.reference else generator.card.stages or REFERENCE_STAGES
    stages = sized(stages, *size_from(setup.ratio, stages))
    return ModelEvaluation(generator, stages[: setup.stages], load_or_fit(setup.probe, setup.ratio), setup.ratio)


def check_prompt(setup: Setup, wanted: PromptCase) -> CheckedPicture:
    return evaluation_of(setup).checked(wanted)


def check_all(setup: Setup, prompts: list[PromptCase], processes: int) -> list[CheckedPicture]:
    """Generate and judge every prompt's picture in ``processes`` parallel processes."""
    checked: list[CheckedPicture] = []
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        for one in pool.map(functools.partial(check_prompt, setup), prompts):
            checked.append(one)
            if len(checked) % 20 == 0:
                log.info("%d of %d, %s", len(checked), len(prompts), shares(one.verdicts for one in checked))
    return checked


def contact_sheet(images: list[Image.Image], columns: int = COLUMNS, width: int = WIDTH) -> Image.Image:
    """Arrange pictures of one shape in rows, left to right; each ``width`` pixels wide."""
    height = round(images[0].height * width / images[0].width)
    sheet = Image.new("RGB", (columns * width, -(-len(images) // columns) * height), "white")
    for i, image in enumerate(images):
        small = image.resize((width, height), Image.Resampling.LANCZOS)
        sheet.paste(small, (i % columns * width, i // columns * height))
    return sheet


def probe_through_vae(probe: Probe, ratio: str, vae_folder: Path) -> dict[str, float]:
    """Return the probe's accuracy in percent on large drawn scenes encoded and decoded by the VAE."""
    vae = AutoencoderKL.from_pretrained(vae_folder, torch_dtype=torch.float32).eval()
    rng = random.Random(DRAWN_SEED + 1)
    verdicts: list[Verdicts] = []
    for number in range(ROUND_TRIPS):
        scene = sample_scene(rng, held_out=number % 2 == 0)
        found = probe.answers(through_vae(vae, render(scene, 800000 + number, SHAPES[ratio][2])))
        verdicts.append({name: found[name] == value for name, value in truth(scene).items() if value is not None})
    return shares(verdicts)


def report(evaluation: ModelEvaluation, checked: list[CheckedPicture]) -> dict[str, object]:
    """Return all measurements except the probe's own accuracy."""
    by_language = {lang: shares(one.verdicts for one in checked if one.wanted.lang == lang) for lang in LANGS}
    some = [one.wanted for one in checked][:GUIDED_PROMPTS]
    return {
        "right": shares(one.verdicts for one in checked),
        "by language": by_language,
        "everything right": round(100 * sum(all(one.verdicts.values()) for one in checked) / len(checked), 1),
        "frechet": evaluation.distance([one.image for one in checked]),
        "seconds": round(sorted(one.seconds for one in checked)[len(checked) // 2], 2),
        "guidance": evaluation.guidance(some),
        "removed by negative": evaluation.removal(),
        "difference between seeds": evaluation.variety(some[:20]),
    }


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="models/demo", help="folder of the model")
    parser.add_argument("--probe", type=Path, required=True, help="file of the probe; made when it is not there")
    parser.add_argument("--prompts", type=Path, default=PROMPTS)
    parser.add_argument("--out", type=Path, required=True, help="folder for the pictures and the report")
    parser.add_argument("--reference", action="store_true", help="the reference workflow instead of the model's preset")
    parser.add_argument("--stages", type=int, default=3, help="run only so many of the first stages")
    parser.add_argument("--ratio", default="7:9", choices=SHAPES, help="shape of the pictures; each has its own probe")
    parser.add_argument("--count", type=int, help="take only so many of the prompts")
    parser.add_argument("--probe-scenes", type=int, default=FIT_SCENES, help="scenes to train a missing probe on")
    parser.add_argument("--processes", type=int, default=2, help="processes that draw side by side, one thread each")
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    probe = load_or_fit(args.probe, args.ratio, args.probe_scenes)
    shown = accuracy(probe, draw(600, DRAWN_SEED, args.ratio))
    drawn = {name: round(100 * share, 1) for name, share in shown.items()}
    through_vae = probe_through_vae(probe, args.ratio, Path(args.model) / "vae")
    log.info("probe on drawn scenes: %s\nthrough the VAE: %s", drawn, through_vae)
    setup = Setup(args.model, args.probe, args.reference, args.stages, args.ratio, threads=1)
    checked = check_all(setup, read_prompts(args.prompts)[: args.count], args.processes)
    evaluation = evaluation_of(dataclasses.replace(setup, threads=args.processes))
    found = {"probe on drawn scenes": drawn, "probe through the VAE": through_vae, **report(evaluation, checked)}
    args.out.mkdir(parents=True, exist_ok=True)
    for number, one in enumerate(checked, 1):
        one.image.save(args.out / f"{number:03d}.png")
    contact_sheet([one.image for one in checked]).save(args.out / "sheet.png")
    for number, one in enumerate(checked, 1):
        wrong = ", ".join(name for name, right in one.verdicts.items() if not right)
        if wrong:
            log.info("%3d %s: %s", number, wrong, one.wanted.prompt)
    (args.out / "report.json").write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    log.info("%s", json.dumps(found, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
