"""Choices and wildcards: what is read, what is drawn, and that a seed decides it for good."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import pytest

from zimage_app.domain.errors import RequestError
from zimage_app.domain.seeded_random import GOLDEN, Stream, splitmix64
from zimage_app.domain.wildcard_expansion import no_wildcards
from zimage_app.domain.wildcards import (
    MAX_DEPTH,
    Lines,
    combinations,
    draw,
    drawn_pieces,
    escaped,
    is_plain,
    parse,
    split_words,
)

LISTS = {
    "time": ["dawn", "noon", "dusk"],
    "色": ["红", "3::蓝"],
    "sky": ["clear", "{pale|deep} blue at __time__"],
    "my/hat": ["fez"],
    "round": ["__about__"],
    "about": ["__round__"],
    "broken": ["fine", "{a|b"],
    "nothing": ["0::x"],
    **{f"deep{depth}": [f"__deep{depth + 1}__"] for depth in range(MAX_DEPTH + 2)},
    **{f"twice{depth}": [f"__twice{depth + 1}__ __twice{depth + 1}__"] for depth in range(12)},
    "twice12": ["x"],
}


def of(lists: Mapping[str, Sequence[str]]) -> Lines:
    return lambda name: lists[name] if name in lists else no_wildcards(name)


def drawn(text: str, seeds: int = 200) -> Counter[str]:
    return Counter(draw(text, seed, of(LISTS)) for seed in range(seeds))


def counted(text: str) -> int:
    return combinations(parse(text), of(LISTS))


def test_the_generator_is_splitmix64() -> None:
    first = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    assert [splitmix64(turn * GOLDEN) for turn in (1, 2, 3)] == first
    draws = [stream.draw() for stream in (Stream(seed, 0) for seed in range(2000))]
    assert 0.0 <= min(draws) < 0.01
    assert 0.99 < max(draws) < 1.0
    assert sum(draws) / len(draws) == pytest.approx(0.5, abs=0.02)


GOLDEN_DRAWS = ["ae noon x", "af dawn x", "af noon x", "cf dusk y"]


def test_a_seed_draws_the_same_for_good() -> None:
    """Pictures are made again by their seed: these words must never change."""
    text = "{a|b|c}{d|e|f} __time__ {2::x|y}"
    assert [draw(text, seed, of(LISTS)) for seed in (0, 1, 42, 2**64 - 1)] == GOLDEN_DRAWS
    assert draw(text, 42, of(LISTS), number=1) != GOLDEN_DRAWS[2]


@pytest.mark.parametrize(
    ("text", "results"),
    [
        ("{a|b} c", {"a c", "b c"}),
        ("{a{1|2}|b}", {"a1", "a2", "b"}),
        ("{very |}old", {"very old", "old"}),
        ("｛红｜蓝｝", {"红", "蓝"}),
        ("__色__花", {"红花", "蓝花"}),
        ("__my/hat__ at __time__", {"fez at dawn", "fez at noon", "fez at dusk"}),
        ("{__time__|never}", {"dawn", "noon", "dusk", "never"}),
        ("{0::a|b}", {"b"}),
        (r"\{a\|b\} \__time\__", {"{a|b} __time__"}),
        (r"\(a\) \n {a\}|b\|}", {r"\(a\) \n a}", r"\(a\) \n b|"}),
        (r"a formula \{x\} in {red|blue}", {"a formula {x} in red", "a formula {x} in blue"}),
        ('{ {"a": "b | c"}|d}', {' {"a": "b | c"}', "d"}),
        ("{16:9|4:3} {(a:1.2)|b}", {"16:9 (a:1.2)", "4:3 (a:1.2)", "16:9 b", "4:3 b"}),
        ('{"yes"|"no"}', {'"yes"', '"no"'}),
        ('{"subject": "a {red|blue} boat"}', {'{"subject": "a red boat"}', '{"subject": "a blue boat"}'}),
    ],
)
def test_what_may_be_drawn(text: str, results: set[str]) -> None:
    assert set(drawn(text)) == results
    assert counted(text) == len(results)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a | b",
        "}",
        "{",
        "{a",
        "{}",
        "{a}",
        '{"a": {"b": 1}}',
        "snake_case",
        "a__b",
        "__",
        "____",
        "{3::a}",
        '{"a": "b | c"}',
        '{\n  "sign": "EXIT | 24H",\n  "x": {"y": "1 | 2"}\n}',
        "{'a': 'b | c'}",
        '{style: "a | b"}',
        "{x | x > 0}",
        r"\{x | x > 0\}",
        r"\{x|x>0\}",
        r"\frac{a|b}{c}",
        r"a^{b|c}",
        r"\{a\} and \{b\}",
        "def __init__(self):",
        "x.__len__ and __call__()",
        'if __name__ == "__main__":',
        "{n ∈ N | n = 2}",
    ],
)
def test_what_is_no_choice_stays_as_it_is(text: str) -> None:
    assert is_plain(text)
    assert draw(text, 1, no_wildcards) == text


def test_weights_say_how_often() -> None:
    counts = drawn("{2::a|b}", 3000)
    assert counts["a"] / counts["b"] == pytest.approx(2.0, rel=0.15)
    counts = drawn("__色__", 3000)
    assert counts["蓝"] / counts["红"] == pytest.approx(3.0, rel=0.15)
    assert drawn("{0.5::a|0.5::b}", 3000)["a"] == pytest.approx(1500, rel=0.1)


def test_combinations_are_counted_through_wildcards() -> None:
    assert counted("__sky__") == 1 + 2 * 3
    assert counted("__sky__ {a|b}") == 14
    assert counted("{0::__time__|x}") == 1


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a {red|blue boat", "{red|blue boat the choice is not closed"),
        ("{2$$a|b}", "$$"),
        ("{0::a|0::b}", "weight above 0"),
        ("{a|" * (MAX_DEPTH + 1) + "b" + "}" * (MAX_DEPTH + 1), f"more than {MAX_DEPTH} deep"),
        ("{a|__nowhere__}", "no wildcard __nowhere__"),
        ("__round__", "__round__ → __about__ → __round__ refers to itself"),
        ("{a|__broken__}", "__broken__, '{a|b': {a|b the choice is not closed"),
        ("__nothing__", "no line to draw"),
        ("__deep0__", f"is nested more than {MAX_DEPTH} deep"),
        ("__twice0__", "more than 1000 times"),
    ],
)
def test_mistakes_are_told_whatever_the_seed(text: str, sentence: str) -> None:
    for seed in range(4):
        with pytest.raises(RequestError) as refused:
            draw(text, seed, of(LISTS))
        assert sentence in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        "{a|b}",
        "__x__",
        r"\{",
        "{a|",
        "____",
        "___a__b__ {{x}|y}",
        "｛a｜b｝",
        "plain",
        "",
        r"\{a\|b\}",
        r"\{x\} {a|b}",
        '{"a": "b | c"} {d|e}',
        r"\frac{a|b} __x__",
        "def __init__(self): {a|b}",
    ],
)
def test_escaped_text_is_drawn_as_it_stands(text: str) -> None:
    assert draw(escaped(text), 3, no_wildcards) == text


def test_words_are_split_at_commas_but_not_inside_a_choice() -> None:
    assert split_words("ink, {soft, pale|hard}，水墨、 a\nb ,,") == ["ink", "{soft, pale|hard}", "水墨", "a", "b"]
    assert split_words("{never, closed") == ["{never", "closed"]
    assert split_words(r"\{a, b") == [r"\{a", "b"]
    assert split_words("a}, b") == ["a}", "b"]


def test_which_pieces_are_drawn_is_told_as_they_are_written() -> None:
    assert drawn_pieces('{"a": "b | c"} {d|{e|f}} {plain} __time__ \\{g|h}') == ("{d|{e|f}}", "__time__")
    assert drawn_pieces("") == ()
