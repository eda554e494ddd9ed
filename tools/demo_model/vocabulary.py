"""The words that the demo model's captions are made of, as the list beside its weights.

    python -m tools.demo_model.vocabulary --out models/demo/words.yaml

English words and Chinese characters are those of many captions; Chinese words are the phrases that captions are put
together from.
"""

import argparse
import random
import re
from collections.abc import Iterator
from pathlib import Path

import yaml

from tools.demo_model.captions import (
    BEFORE,
    BEHIND,
    CHINESE_COUNTS,
    CLASSIFIERS,
    MOONS,
    SUNS,
    ZH,
    chatty_caption,
    listed_caption,
    long_caption,
)
from tools.demo_model.scene import sample_scene

SCENES = 4_000
SEED = 7
THINGS = {
    "en": "boats, houses, lighthouses, pagodas, balloons, bridges; lake, sea, desert, meadow, snow; mountains, trees,"
    " sun, moon, stars, clouds, birds; red, yellow, blue, white; dawn, day, sunset, night",
    "zh": "小船、房子、灯塔、宝塔、热气球、桥；湖、海、沙漠、草地、雪地；雪山、树、太阳、月亮、星星、云、鸟；"
    "红、黄、蓝、白；清晨、白天、黄昏、夜晚",
}
_HEAD = "# The words of the captions that this model was trained on; made by tools/demo_model/vocabulary.py.\n"


def chinese_phrases() -> Iterator[str]:
    """Yield all phrases from which Chinese captions are composed."""
    tables = (ZH.time, ZH.ground, ZH.kind, ZH.colour, ZH.mountains, ZH.tree, ZH.side, ZH.absent)
    for table in (*tables, SUNS["zh"], MOONS["zh"], CLASSIFIERS, CHINESE_COUNTS):
        for phrases in table.values():
            yield from phrases
    yield from (*BEFORE["zh"], *BEHIND["zh"])
    for phrases in (ZH.clouds, ZH.birds, ZH.many_stars, ZH.some_stars, ZH.reflection, ZH.style, ZH.filler):
        yield from phrases


def vocabulary() -> list[str]:
    """Every word once, sorted."""
    rng = random.Random(SEED)
    kinds = (chatty_caption, listed_caption, long_caption)
    texts = [make(sample_scene(rng), rng) for _ in range(SCENES) for make in kinds]
    words = {word for text in texts for word in re.findall(r"[a-z]+", text.lower())}
    words |= {letter for text in texts for letter in re.findall(r"[\u3400-\u9fff]", text)}
    for phrase in chinese_phrases():
        parts = re.split(r"[的有是，：、！。\s]", phrase)
        words |= {part for part in (phrase, *parts) if re.fullmatch(r"[\u3400-\u9fff]+", part)}
    return sorted(words)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    text = yaml.safe_dump({"things": THINGS, "words": vocabulary()}, allow_unicode=True, sort_keys=False, width=110)
    out.write_text(_HEAD + text, encoding="utf-8")


if __name__ == "__main__":
    main()
