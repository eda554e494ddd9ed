"""Measures how well NAG and NegPiP remove unwanted things from pictures at CFG 1, compared with nothing and with CFG.

    python -m tools.demo_model.negatives --probe WORK/probe.pt --out WORK/negatives

Short prompts are run with consecutive seeds until enough pictures show a thing that the prompt doesn't request; each is
generated again with that thing as negative prompt. The same is done with prompts that do request it. Writes
``table.md`` and ``sheet.jpg``. :mod:`tools.demo_model.guidance` measures the cost of guidance.
"""

import argparse
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from tools.demo_model.evaluate import PROMPTS, contact_sheet
from tools.demo_model.guidance import CfgOneRuns
from tools.demo_model.probes import Probe, load_or_fit
from tools.demo_model.prompts import read_prompts
from zimage_app import Generator, Stage, load_generator
from zimage_app.domain.settings.guidance import Nag, NegPip

SHORT: dict[str, dict[str, str]] = {
    "湖": {"ground": "lake"},
    "a lake by day": {"ground": "lake", "time": "day"},
    "草地上的一座红色小房子": {"ground": "meadow", "kind": "house", "colour": "red"},
    "a blue boat on the sea": {"ground": "sea", "kind": "boat", "colour": "blue"},
    "白天的雪地": {"ground": "snow", "time": "day"},
    "a green meadow": {"ground": "meadow"},
}
"""Prompt -> the attributes that it requests."""
UNWANTED: dict[str, tuple[str, str]] = {
    "clouds": ("云", "clouds"),
    "birds": ("鸟", "birds"),
    "celestial": ("太阳", "sun"),
    "tree": ("树", "trees"),
}
"""Attributes that may appear without being requested, and their words."""
WAYS: dict[str, dict[str, Any]] = {
    "none": {},
    "NAG": {"nag": Nag()},
    "NegPiP": {"negpip": NegPip()},
    "NegPiP 10": {"negpip": NegPip(weight=10.0)},
    "CFG 4": {"cfg": 4.0},
}
SHEET_PAIRS = 8

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Unwanted:
    """A picture that shows an attribute which is to be removed."""

    prompt: str
    seed: int
    name: str
    """Name of the attribute."""
    word: str
    asked: Mapping[str, str]
    """Other attributes that the prompt requests and the picture shows."""
    image: Image.Image


def shows(name: str, found: Mapping[str, str]) -> bool:
    """Whether the picture shows the thing named by the attribute's negative word."""
    return found[name] == "sun" if name == "celestial" else found[name] not in ("no", "none")


class Measurement(CfgOneRuns):
    """A model at CFG 1 in all stages, and a probe that classifies its pictures."""

    def __init__(self, generator: Generator, stages: tuple[Stage, ...], probe: Probe) -> None:
        super().__init__(generator, stages)
        self.probe = probe

    def unasked(self, count: int) -> list[Unwanted]:
        """Find things that short prompts' pictures show without request, equally many of each kind."""
        found: list[Unwanted] = []
        for seed in range(10 * count):
            for prompt, asked in SHORT.items():
                for each in self._in(prompt, seed, asked):
                    if sum(other.name == each.name for other in found) < count // len(UNWANTED):
                        found.append(each)
                if len(found) >= count:
                    return found
        return found

    def asked(self, count: int) -> list[Unwanted]:
        """Find things that prompts request and their pictures show."""
        found: list[Unwanted] = []
        for wanted in read_prompts(PROMPTS):
            things = {"clouds": wanted.clouds, "birds": wanted.birds, "celestial": wanted.celestial == "sun"}
            if len(found) < count and any(things.values()):
                asked = {name: str(getattr(wanted, name)) for name in ("time", "ground", "kind", "colour", "side")}
                found += [each for each in self._in(wanted.prompt, wanted.seed, asked) if things.get(each.name)][:1]
        return found

    def _in(self, prompt: str, seed: int, asked: Mapping[str, str]) -> Iterator[Unwanted]:
        image = self.picture(prompt, seed)
        answers = self.probe.answers(image)
        kept = {name: value for name, value in asked.items() if answers[name] == value}
        for name, words in UNWANTED.items():
            if shows(name, answers):
                yield Unwanted(prompt, seed, name, words[prompt.isascii()], kept, image)

    def removed(self, cases: list[Unwanted], settings: Mapping[str, Any]) -> tuple[float, float, list[Image.Image]]:
        """Return (percent of things removed, percent of other requested attributes kept, the new pictures)."""
        images = [self.picture(case.prompt, case.seed, case.word, **settings) for case in cases]
        answers = [self.probe.answers(image) for image in images]
        gone = [not shows(case.name, found) for case, found in zip(cases, answers, strict=True)]
        kept = [
            found[name] == value
            for case, found in zip(cases, answers, strict=True)
            for name, value in case.asked.items()
        ]
        return _percent(gone), _percent(kept), images


def _percent(right: list[bool]) -> float:
    return 100 * sum(right) / max(1, len(right))


def sheet(cases: list[Unwanted], ways: Mapping[str, list[Image.Image]]) -> Image.Image:
    """Draw some pictures without guidance and with each kind of it, one row per kind."""
    step = max(1, len(cases) // SHEET_PAIRS)
    rows = [images[::step][:SHEET_PAIRS] for images in ([case.image for case in cases], *ways.values())]
    return contact_sheet([image for row in rows for image in row], len(rows[0]))


def table(measurement: Measurement, count: int) -> tuple[str, Image.Image]:
    """Return all measurements as Markdown, and the sheet."""
    unasked, asked = measurement.unasked(count), measurement.asked(count)
    lines = [
        "| | unasked: gone | else kept | asked for: gone | else kept |",
        "|---|---|---|---|---|",
    ]
    pictures: dict[str, list[Image.Image]] = {}
    for title, settings in WAYS.items():
        gone, kept, pictures[title] = measurement.removed(unasked, settings)
        gone_asked, kept_asked, _ = measurement.removed(asked, settings)
        lines.append(f"| {title} | {gone:.0f} % | {kept:.0f} % | {gone_asked:.0f} % | {kept_asked:.0f} % |")
        log.info("%s", lines[-1])
    del pictures["none"]
    return "\n".join([f"{len(unasked)} unasked things, {len(asked)} asked for.", "", *lines, ""]), sheet(
        unasked, pictures
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="models/demo", help="folder of the model")
    parser.add_argument("--probe", type=Path, required=True, help="file of the probe; made when it is not there")
    parser.add_argument("--out", type=Path, required=True, help="folder for the table and the pictures")
    parser.add_argument("--stages", type=int, default=3, help="run only so many of the first stages")
    parser.add_argument("--count", type=int, default=40, help="pictures of each kind")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    generator = load_generator(args.model)
    measurement = Measurement(generator, generator.card.stages[: args.stages], load_or_fit(args.probe))
    text, picture = table(measurement, args.count)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "table.md").write_text(text, encoding="utf-8")
    picture.save(args.out / "sheet.jpg", quality=80)


if __name__ == "__main__":
    main()
