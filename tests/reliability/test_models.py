"""C9: twelve kinds of damaged models, each under the name that the app would begin with, beside the demo model.

Which damage is told in which words, ``tests/models/load/test_loader.py`` tests for fifty kinds; here is what the whole
app makes of it: it starts, its lists show what is wrong, a picture with that model fails in a sentence, and the next
one, with a sound model, is made.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.models.load import test_loader as damage
from tests.service.test_studio import finish
from zimage_app.domain.errors import ModelError
from zimage_app.domain.request import GenerationRequest
from zimage_app.domain.settings.stage import Stage
from zimage_app.service.setup.config import ROOT, StudioConfig
from zimage_app.service.studio import Studio

TURBO = "z-image-turbo"
REQUEST = GenerationRequest(prompt="a", seed=1, stages=(Stage(width=64, height=64, steps=1),))


def no_text_encoder(folder: Path) -> None:
    shutil.rmtree(folder / "text_encoder")


def broken_card(folder: Path) -> None:
    (folder / "card.yaml").write_text("title: {en: [", encoding="utf-8")


KINDS: tuple[tuple[Callable[[Path], None], str], ...] = (
    (damage.cut_off, "cut off"),
    (damage.wrong_header, "web page"),
    (damage.lfs_pointer, "git lfs pull"),
    (damage.renamed_checkpoint, "pickle"),
    (damage.random_bytes, "not a safetensors file"),
    (damage.empty_file, "is empty"),
    (damage.wrong_shape, "decoder.conv_in.weight"),
    (damage.other_architecture, "Flux"),
    (damage.bad_json, "vae/config.json"),
    (damage.other_tokenizer, "tokenizer"),
    (no_text_encoder, "models fetch z-image-turbo"),
    (broken_card, "card.yaml"),
)


@pytest.fixture
def models(models_dir: Path, tmp_path: Path) -> Iterator[Path]:
    """A sound model, and a copy of it by the name of the published one."""
    folder = tmp_path / "models"
    shutil.copytree(models_dir / "tiny", folder / "tiny")
    shutil.copytree(models_dir / "tiny", folder / TURBO)
    shutil.copytree(ROOT / "models" / "demo", folder / "demo")
    yield folder
    shutil.rmtree(folder)


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("spoil", "words"), KINDS)
def test_c9_a_damaged_model_is_named_and_the_others_work(
    models: Path, tmp_path: Path, spoil: Callable[[Path], None], words: str
) -> None:
    spoil(models / TURBO)
    with closing(Studio(StudioConfig(models=models, outputs=tmp_path / "outputs"))) as studio:
        assert studio.default_model in (TURBO, "demo")
        assert {"demo", "tiny"} <= {card.name for card in studio.cards()}
        states = {view.name: view for view in studio.models.views()}
        assert (states["demo"].state, states["tiny"].state) == ("ready", "ready")
        said = _refusal(studio)
        assert words in said.text.en
        assert said.text.zh != said.text.en
        if states[TURBO].reason is not None:
            assert words in str(states[TURBO].reason)
        good = finish(studio, studio.submit(REQUEST, "tiny"))
        assert (good.state, good.error) == ("done", None)


def _refusal(studio: Studio) -> ModelError:
    """What a picture with the damaged model comes to: refused when submitted, or failed once its files are opened."""
    try:
        view = finish(studio, studio.submit(REQUEST, TURBO))
    except ModelError as error:
        return error
    assert view.state == "failed"
    assert isinstance(view.error, ModelError)
    return view.error
