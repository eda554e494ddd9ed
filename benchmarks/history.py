"""Benchmark of reading, reopening, paging and searching a history of many pictures.

    python -m benchmarks.history
    python -m benchmarks.history --pictures 100000

The pictures are small, but their metadata is realistic: the record of three stages and a prompt of 40 words. They are
written to a temporary folder, 140 per day.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from benchmarks.library import milliseconds
from zimage_app.domain.card import Z_IMAGE_TURBO
from zimage_app.domain.plan import make_plan
from zimage_app.domain.record import ImageRecord, RunEnvironment, StageRecord, new_id
from zimage_app.domain.request import GenerationRequest
from zimage_app.service.pictures.gallery import Gallery
from zimage_app.service.pictures.history import History, Search

_WORDS = ["红色", "小船", "湖面", "雪山", "夕阳", "竹林", "晨雾", "a", "red", "boat", "on", "calm", "lake", "bridge",
          "逆光", "胶片"]  # fmt: skip
_A_DAY = 140
_PAGE = 60


def write_pictures(folder: Path, count: int) -> None:
    """Write ``count`` pictures, ten minutes apart."""
    gallery, chance = Gallery(folder), random.Random(1)
    pixels = np.zeros((64, 48, 3), np.uint8)
    begun = datetime(2026, 1, 1, 0, 5).astimezone()
    for number in range(count):
        created = begun + timedelta(days=number // _A_DAY, minutes=10 * (number % _A_DAY))
        prompt = " ".join(chance.choices(_WORDS, k=40))
        plan = make_plan(GenerationRequest(prompt=prompt, seed=chance.randrange(2**64)), Z_IMAGE_TURBO)
        stages = tuple(
            StageRecord(number=each.number, seed=each.seed, seconds=1.5, calls=each.steps, skipped_calls=2)
            for each in plan.stages
        )
        record = ImageRecord(
            id=new_id(created, f"{number:08x}"),
            created=created,
            model="z-image-turbo",
            request=plan.request,
            width=672,
            height=864,
            seconds=4.5,
            stages=stages,
            surroundings=RunEnvironment(app="0", torch="2", device="cpu", dtype="float32", threads=1),
        )
        gallery.save(pixels, record)


def measure(folder: Path) -> dict[str, float]:
    """Return all measurements in milliseconds."""
    history = History(folder)
    figures = {"first reading": milliseconds(history.refresh, 1)}
    searches = {
        "a page": Search(),
        "two words": Search("小船 bridge"),
        "a word that nothing has": Search("nothing-of-that"),
        "a seed": Search("seed:42"),
    }

    def page(search: Search, number: int = 1) -> Callable[[], object]:
        return lambda: history.page(None, search, number, _PAGE)

    figures |= {name: milliseconds(page(search), 9) for name, search in searches.items()}
    last = history.page(None, page_size=_PAGE).pages
    figures["the last page"] = milliseconds(page(Search(), last), 9)
    newest = history.page(None).items[0].id
    figures["a picture by its id"] = milliseconds(lambda: history.find(newest, None), 9)
    figures["delete and undo"] = milliseconds(lambda: (history.delete([newest], None), history.undo([newest], None)), 9)
    history.close()
    again = History(folder)
    figures["a later start"] = milliseconds(again.refresh, 1)
    again.close()
    return figures


def main() -> None:
    """Write, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=10_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write_pictures(Path(folder), options.pictures)
        figures = measure(Path(folder))
    for name, value in figures.items():
        sys.stdout.write(f"{name:28} {value:10.1f} ms\n")
    sys.stdout.write(json.dumps({"pictures": options.pictures, **figures}) + "\n")


if __name__ == "__main__":
    main()
