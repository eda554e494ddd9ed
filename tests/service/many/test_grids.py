"""Axes of grids, the cells that they come to, and sheets."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from zimage_app.domain.errors import RequestError
from zimage_app.service.many.grids.axes import Apply, Axis, cells, parse_axis, with_drawn_seeds
from zimage_app.service.many.grids.sheet import write_sheets
from zimage_app.service.many.lists import with_more, with_size, without_nulls

SETTINGS = {"prompt": "a red cat", "stages": [{"steps": 9}, {"steps": 9}]}


@pytest.mark.parametrize(
    ("text", "name", "values"),
    [
        ("stages.1.steps=20..40/5", "stages.1.steps", (20, 25, 30, 35, 40)),
        ("stages.1.denoise=0.4..0.6/0.1", "stages.1.denoise", (0.4, 0.5, 0.6)),
        ("seed=1..3", "seed", (1, 2, 3)),
        ("stages.0.sampler=euler, dpmpp_sde", "stages.0.sampler", ("euler", "dpmpp_sde")),
        ('prompt=["a, b", "c"]', "prompt", ("a, b", "c")),
        ("lora=ink=0.8,none", "lora", ("ink=0.8", "none")),
        ("negative=1,2", "negative", ("1", "2")),
        ("seed=1、2；3;4，5", "seed", (1, 2, 3, 4, 5)),
        ("prompt~cat=007,1.50,2..3", "prompt~cat", ("007", "1.50", 2, 3)),
        ("stages.0.scheduler=1", "stages.0.scheduler", ("1",)),
        ("stages.0.easycache.start=1", "stages.0.easycache.start", (1,)),
    ],
)
def test_an_axis_is_a_name_and_its_values(text: str, name: str, values: tuple[object, ...]) -> None:
    assert parse_axis(text) == Axis(name, values)


def test_each_seed_that_is_random_is_drawn_before_labels_are_written() -> None:
    drawn = itertools.count(100)
    axes = with_drawn_seeds([parse_axis("seed=-1,5,random"), parse_axis("stages.0.shift=-1")], lambda: next(drawn))
    assert [axis.values for axis in axes] == [(100, 5, 101), (-1,)]
    assert axes[0].labels[0].en == "Seed = 100"


@pytest.mark.parametrize("text", ["steps", "=1", "steps=", "steps=5..1/0", "a=1..1000", "a=[]", "a=[1"])
def test_what_is_no_axis_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match="axis"):
        parse_axis(text)


@pytest.mark.parametrize("axis", [parse_axis("negative=1,2"), Axis("negative", (1, 2))])
def test_values_of_a_text_are_text(axis: Axis) -> None:
    assert [cell.data["negative"] for cell in cells([axis], SETTINGS, {})] == ["1", "2"]


def test_cells_are_columns_rows_and_sheets_and_share_nothing() -> None:
    axes = [parse_axis("stages.1.steps=1,2,3"), parse_axis("prompt~red=red,黑色"), parse_axis("size=s,m")]
    found = list(cells(axes, SETTINGS, {"size": lambda data, value: data | {"size": value}}))
    assert len(found) == 12
    assert found[0].data == {"prompt": "a red cat", "stages": [{"steps": 9}, {"steps": 1}], "size": "s"}
    assert (found[-1].place, found[-1].data["prompt"], found[-1].data["size"]) == ((2, 1, 1), "a 黑色 cat", "m")
    assert [cell.data["stages"][1]["steps"] for cell in found[:3]] == [1, 2, 3]
    assert SETTINGS["stages"] == [{"steps": 9}, {"steps": 9}]


def test_cells_have_a_limit_and_names_must_be_there() -> None:
    many, others = parse_axis("seed=1..21"), parse_axis("variation_seed=1..21")
    with pytest.raises(RequestError, match="axes: 441 cells; at most 400"):
        next(cells([many, others], SETTINGS, {}))
    with pytest.raises(RequestError, match="axis: prompt: doesn't hold dog"):
        next(cells([parse_axis("prompt~dog=a,b")], SETTINGS, {}))
    with pytest.raises(RequestError, match="there is no entry 5"):
        next(cells([parse_axis("stages.5.steps=1,2")], SETTINGS, {}))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("seed=1,2", "seed=3,4"),
        ("stages.1.steps=1,2", "stages.01.steps=3"),
        ('stages=[[{"steps": 1}]]', "stages.0.steps=3"),
        ("stages.0.easycache.start=0.1,0.2", "stages.0.easycache=null"),
        ("preset=a,b", "preset=c"),
        ("size=1:1,3:4", "stages.1.width=64"),
        ("prompt~red=red,blue", "prompt~red=red,green"),
    ],
)
def test_two_axes_that_set_the_same_are_refused(one: str, other: str) -> None:
    for first, second in ((one, other), (other, one)):
        with pytest.raises(RequestError, match=r"y: .+: is set by z \(.+\) too") as wrong:
            next(cells([parse_axis("negative=1", "x"), parse_axis(first, "z"), parse_axis(second, "y")], SETTINGS, {}))
        assert wrong.value.field == "y"


def test_what_sets_much_is_applied_first_whatever_its_letter() -> None:
    special: dict[str, Apply] = {
        "preset": lambda data, name: data | {"stages": [{"steps": 50, "of": name}, {"steps": 50}], "size": "s"},
        "size": lambda data, size: data | {"size": size},
        "lora": lambda data, name: data | {"loras": [*data.get("loras", []), name]},
    }
    axes = [parse_axis(text) for text in ("stages.1.steps=3,5", "size=m", "preset=a,b")]
    for order in itertools.permutations(axes):
        found = [(cell.data["stages"], cell.data["size"]) for cell in cells(order, SETTINGS, special)]
        expected = [([{"steps": 50, "of": name}, {"steps": steps}], "m") for name in "ab" for steps in (3, 5)]
        assert sorted(found, key=str) == sorted(expected, key=str)
    (cell,) = cells([parse_axis("prompt~dog=fox"), parse_axis("prompt=a dog")], SETTINGS, special)
    assert cell.data["prompt"] == "a fox"
    (cell,) = cells([parse_axis("lora=ink"), parse_axis("lora=soft")], SETTINGS, special)
    assert cell.data["loras"] == ["ink", "soft"]


@pytest.mark.parametrize(("word", "value"), [("a", "b" * 8000), ("", "b"), ("a red cat", "b" * 8001)])
def test_a_prompt_does_not_outgrow_its_bound(word: str, value: str) -> None:
    """The length is worked out first: 20,000 letters that are replaced by 20,000 each take 400 million."""
    settings = SETTINGS | {"prompt": "a red cat and a dog"}
    with pytest.raises(RequestError, match=r"axis: prompt: (would have \d+ characters|name the word)"):
        next(cells([Axis(f"prompt~{word}", (value,))], settings, {}))
    fits = Axis("prompt~a", ("b" * 1000,))
    assert len(next(cells([fits], settings, {})).data["prompt"]) == 19 + 4 * 999


def test_ranges_without_end_are_refused_before_they_are_written_out() -> None:
    with pytest.raises(RequestError, match="has more than 400 values") as wrong:
        parse_axis("seed=" + ",".join(["1..400"] * 100_000))
    assert len(wrong.value.text.en) < 300


def test_a_list_that_is_null_is_one_that_is_left_out() -> None:
    lists = {"triggers": None, "loras": None, "stages": None, "seed": 1}
    assert without_nulls(lists) == {"seed": 1}
    assert with_more(lists, "loras", "x")["loras"] == ["x"]
    values: tuple[object, ...] = (None, "abc", [], 5)
    for value in values:
        with pytest.raises(RequestError, match=r"stages: must (be a list|not be empty)"):
            with_size({"stages": value}, "1:1")
    with pytest.raises(RequestError, match="triggers: must be a list"):
        with_more({"triggers": "abc"}, "triggers", "y")


def test_a_sheet_holds_every_cell_beside_its_labels(tmp_path: Path) -> None:
    colours = {(i, j, 0): (60 + 60 * i, 60 + 60 * j, 20) for i in range(3) for j in range(2)}
    pictures = {}
    for place, colour in colours.items():
        pictures[place] = tmp_path / f"{place}.png"
        Image.new("RGB", (64, 96), colour).save(pictures[place])
    labels = (("denoise = 0.4", "采样器 = euler", "<b>"), ("一行", "two"), ("",))
    (sheet, page), _ = write_sheets(tmp_path, pictures, labels)
    pixels = np.asarray(Image.open(sheet)).reshape(-1, 3)
    for colour in colours.values():
        assert (pixels == colour).all(1).sum() >= 64 * 96
    text = page.read_text(encoding="utf-8")
    assert "采样器 = euler" in text
    assert "&lt;b&gt;" in text
    assert text.count("<img") == 6
