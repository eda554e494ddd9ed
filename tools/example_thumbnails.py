"""Draws the thumbnails of the page's example prompts with the demo model: ``python tools/example_thumbnails.py``.

Takes a few minutes on a CPU. Leaves out the last stage, which makes no visible difference at this size.
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from zimage_app.domain.request import GenerationRequest  # noqa: E402
from zimage_app.domain.text import Language  # noqa: E402
from zimage_app.service.generation.generator import Generator, load_generator  # noqa: E402
from zimage_app.ui.canvas.examples import EXAMPLES, Example  # noqa: E402

SIZE = (336, 432)
QUALITY = 76
LANGUAGES: tuple[Language, ...] = ("en", "zh")


def main() -> None:
    """Draw the examples named in the arguments, or all."""
    generator = load_generator("demo")
    for example in EXAMPLES.values():
        if not sys.argv[1:] or example.name in sys.argv[1:]:
            for language in LANGUAGES:
                _draw(generator, example, language)


def _draw(generator: Generator, example: Example, language: Language) -> None:
    *stages, last = generator.card.stages
    request = GenerationRequest(
        prompt=example.prompt.to(language),
        seed=example.seed,
        stages=(*stages, last.model_copy(update={"enabled": False})),
    )
    small = generator.generate(request).image.resize(SIZE, Image.Resampling.LANCZOS)
    small.save(example.thumbnail(language), quality=QUALITY, optimize=True, progressive=True)


if __name__ == "__main__":
    main()
