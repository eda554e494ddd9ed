"""Examples that the canvas offers before the first picture. ``tools/example_thumbnails.py`` makes the thumbnails.

Each thumbnail is the demo model's picture for the prompt in that language with that seed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zimage_app.domain.text import Language, Text


@dataclass(frozen=True, slots=True)
class Example:
    """A prompt in both languages, and the seed of its thumbnails."""

    name: str
    prompt: Text
    seed: int

    def thumbnail(self, language: Language) -> Path:
        """Return the path of the JPEG for the prompt in this language; traditional Chinese uses the simplified one."""
        return Path(__file__).parent / "thumbnails" / f"{self.name}-{'en' if language == 'en' else 'zh'}.jpg"


EXAMPLES = {
    example.name: example
    for example in (
        Example(
            "boat",
            Text(
                "a red boat on a calm lake at sunset, snowy mountains in the distance",
                "夕阳下平静的湖面上一艘红色小船，远处雪山",
            ),
            6,
        ),
        Example(
            "house",
            Text(
                "a blue house in a green meadow on a sunny day, cherry blossoms",
                "晴天，绿色的草地上有一座蓝色的房子，樱花",
            ),
            5,
        ),
        Example(
            "sail",
            Text(
                "a white sailboat on the sea at night, a full moon on the right of the sky",
                "夜晚的大海，一艘白色帆船，右边天空有一轮圆月",
            ),
            5,
        ),
        Example(
            "lighthouse",
            Text("a blue lighthouse by the sea at dawn, clouds", "黎明的海边有一座蓝色的灯塔，云"),
            5,
        ),
        Example(
            "snow",
            Text(
                "a small red house in the snow at night, pine trees, a crescent moon",
                "夜晚的雪地上有一座红色小房子，松树，弯月",
            ),
            5,
        ),
        Example(
            "balloon",
            Text(
                "a yellow hot air balloon over a green meadow in the early morning",
                "清晨，绿色的草地上空有一个黄色的热气球",
            ),
            5,
        ),
    )
}


def examples_data(language: Language) -> list[dict[str, Any]]:
    """Return the examples' names and prompts for the canvas."""
    return [{"name": each.name, "prompt": each.prompt.to(language)} for each in EXAMPLES.values()]
