"""Words that a small model has never seen; with the list that the demo model brings."""

from __future__ import annotations

from pathlib import Path

import pytest

from zimage_app.domain.errors import ModelError
from zimage_app.domain.text import Text
from zimage_app.domain.vocabulary import Vocabulary
from zimage_app.models.find.card_file import plain_card, read_card, read_vocabulary

DEMO = Path(__file__).parents[2] / "models" / "demo"


@pytest.fixture(scope="module")
def demo() -> Vocabulary:
    return read_vocabulary(DEMO / "words.yaml")


@pytest.mark.parametrize(
    ("prompt", "unseen"),
    [
        ("竹林里的熊猫，夕阳下", ("竹林", "熊猫")),
        ("a cat and two Dogs on the lake", ("cat", "dogs")),
        ("海豚", ("海豚",)),  # of which the sea is known
        ("一只小猫坐在草地上", ("小猫",)),
        ("湖边的小红屋，山；two boats, pines, 4k", ()),
        ("", ()),
    ],
)
def test_what_no_caption_held_is_found(demo: Vocabulary, prompt: str, unseen: tuple[str, ...]) -> None:
    assert demo.unseen(prompt) == unseen


def test_every_example_of_the_demo_is_known(demo: Vocabulary) -> None:
    examples = read_card(DEMO / "card.yaml", plain_card("demo")).examples
    assert len(examples) == 6
    assert [demo.remark(prompt) for prompt in examples] == [None] * 6


def test_the_remark_names_six_words_and_what_there_is() -> None:
    model = Vocabulary(frozenset({"boat"}), Text("boats", "小船"))
    remark = model.remark("a boat, one two three four five six seven")
    assert remark is not None
    assert remark.en == "This model has never seen one, two, three, four, five, six …. It knows boats."
    assert remark.field == "prompt"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("words: [boat]\n", "'things' is missing"),
        ("things: {en: a, zh: b}\nwords: boat\n", "expected a list"),
        ("things: {en: a, zh: b}\nwords: [1]\n", "expected a text"),
    ],
)
def test_a_list_that_is_wrong_is_named(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "words.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ModelError, match=words):
        read_vocabulary(path)
