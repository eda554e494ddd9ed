"""Generates the evaluation's prompts: scenes of combinations that are never trained on, half Chinese, half English.

    python -m tools.demo_model.prompts --out tests/data/demo_prompts.json

Two thirds are worded like captions, one third uses sentences that no caption has. Attributes that a prompt doesn't
mention aren't evaluated, except those set by the conventions of :mod:`tools.demo_model.scene`.
"""

import argparse
import json
import random
from dataclasses import asdict, dataclass
from pathlib import Path

from tools.demo_model.captions import MOONS, SUNS, WORDS, Lang, Words, caption
from tools.demo_model.scene import Celestial, Colour, Ground, Kind, Scene, Side, Time, sample_scene

COUNT = 200
SEED = 4242
FREE_FRAMES: dict[Lang, tuple[str, ...]] = {
    "en": (
        "Could you draw {thing} {side}? The place is {ground}, and it happens {time}.{more}",
        "I would love to see {ground} {time}; {thing} should be {side}.{more}",
        "My dream last week, {time}: {ground}. There was {thing} {side}!{more}",
        "{time} - {thing} - {side} - {ground}.{more}",
    ),
    "zh": (
        "请帮我画{time}的{ground}，{side}要有{thing}。{more}",
        "我昨天梦见了{ground}，当时是{time}，{side}出现了{thing}。{more}",
        "想要一幅画：{thing}在{side}，地点是{ground}，时间是{time}。{more}",
        "{time} · {ground} · {side} · {thing}。{more}",
    ),
}
FREE_MORE: dict[Lang, str] = {"en": " Please add {}.", "zh": "再加上{}。"}


@dataclass(frozen=True, slots=True)
class PromptCase:
    """A prompt and the attributes that its picture must show; None means not requested."""

    prompt: str
    lang: Lang
    seed: int
    time: Time
    ground: Ground
    kind: Kind
    colour: Colour
    side: Side
    celestial: Celestial | None
    clouds: bool
    """Whether the prompt mentions clouds."""
    birds: bool
    """Whether the prompt mentions birds."""


def _says(text: str, phrases: tuple[str, ...]) -> bool:
    return any(phrase in text for phrase in phrases)


def _celestial_phrases(scene: Scene, lang: Lang) -> tuple[str, ...]:
    return SUNS[lang][scene.celestial_colour] if scene.celestial == "sun" else MOONS[lang][scene.celestial or ""]


def _says_enough(scene: Scene, text: str, words: Words) -> bool:
    """Whether the text names time, ground, main object, its colour and its side (unless it is in the middle)."""
    if scene.kind is None:
        return False
    coloured = {
        colour + gap + noun
        for colour in words.colour[scene.colour]
        for noun in words.kind[scene.kind]
        for gap in ("", " ")
    }
    time, ground = words.time[scene.time], words.ground[scene.ground]
    placed = scene.side == "center" or _says(text, (*words.side[scene.side], f"on the {scene.side} of"))
    return placed and _says(text, time) and _says(text, ground) and _says(text, tuple(coloured))


def _free(scene: Scene, lang: Lang, rng: random.Random) -> str:
    """Describe the scene in a sentence of a form that captions don't have."""
    words, kind = WORDS[lang], scene.kind or ""
    thing = rng.choice(words.colour[scene.colour]) + (" " if lang == "en" else "") + rng.choice(words.kind[kind])
    more = ""
    if scene.celestial is not None and rng.random() < 0.7:
        noun = rng.choice(_celestial_phrases(scene, lang))
        more = FREE_MORE[lang].format(f"a {noun}" if lang == "en" else noun)
    elif scene.birds:
        more = FREE_MORE[lang].format(rng.choice(words.birds))
    return rng.choice(FREE_FRAMES[lang]).format(
        thing=("a " if lang == "en" else "一个") + thing,
        side=rng.choice(words.side[scene.side]),
        ground=rng.choice(words.ground[scene.ground]),
        time=rng.choice(words.time[scene.time]),
        more=more,
    )


def _wanted(scene: Scene, lang: Lang, rng: random.Random, number: int) -> PromptCase | None:
    """Return a prompt for the scene, or None if the wording omits too much."""
    words = WORDS[lang]
    if scene.kind is None:
        return None
    text = _free(scene, lang, rng) if number % 3 == 2 else caption(scene, rng, lang)
    if not _says_enough(scene, text, words):
        return None
    names_celestial = scene.celestial is not None and _says(text, _celestial_phrases(scene, lang))
    return PromptCase(
        prompt=text,
        lang=lang,
        seed=1000 + number,
        time=scene.time,
        ground=scene.ground,
        kind=scene.kind,
        colour=scene.colour,
        side=scene.side,
        celestial=scene.celestial if names_celestial else None,
        clouds=scene.clouds and _says(text, words.clouds),
        birds=scene.birds and _says(text, words.birds),
    )


def evaluation_prompts() -> list[PromptCase]:
    """Return the prompts, alternating Chinese and English; always the same ones."""
    rng = random.Random(SEED)
    prompts: list[PromptCase] = []
    while len(prompts) < COUNT:
        lang: Lang = "zh" if len(prompts) % 2 == 0 else "en"
        wanted = _wanted(sample_scene(rng, held_out=True), lang, rng, len(prompts))
        if wanted is not None:
            prompts.append(wanted)
    return prompts


def read_prompts(path: Path) -> list[PromptCase]:
    return [PromptCase(**row) for row in json.loads(path.read_text(encoding="utf-8"))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    rows = [json.dumps(asdict(wanted), ensure_ascii=False) for wanted in evaluation_prompts()]
    parser.parse_args().out.write_text("[\n" + ",\n".join(rows) + "\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
