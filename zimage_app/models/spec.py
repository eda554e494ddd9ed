"""Which models there are: names to cards and folders. Reads cards and no weights; needs no network."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from zimage_app.domain.card import Z_IMAGE_TURBO, ModelCard
from zimage_app.domain.errors import ModelError
from zimage_app.domain.text import Text
from zimage_app.models.card_file import plain_card, read_card
from zimage_app.models.folders import is_model, shown

log = logging.getLogger(__name__)

_CARD_FILE = "card.yaml"

KNOWN_CARDS = {Z_IMAGE_TURBO.name: Z_IMAGE_TURBO}
"""Cards of published models, whose folders bring none."""


@dataclass(frozen=True, slots=True)
class ModelSource:
    """A model and where its files are, or would be."""

    card: ModelCard
    folder: Path

    @property
    def present(self) -> bool:
        """Whether its files are here."""
        return is_model(self.folder)


def list_models(models_dir: Path) -> list[ModelSource]:
    """Every model under a folder, by name; published ones are listed even when their files are not here.

    One whose card cannot be read is left out, so that it does not keep the others from being used; the log and
    ``find_model`` say what is wrong with it.
    """
    folders = (
        {folder.name: folder for folder in models_dir.iterdir() if is_model(folder)} if models_dir.is_dir() else {}
    )
    folders |= {name: models_dir / name for name in KNOWN_CARDS}
    sources = (_listed(folders[name]) for name in sorted(folders))
    return [source for source in sources if source is not None]


def _listed(folder: Path) -> ModelSource | None:
    try:
        return ModelSource(_card(folder), folder)
    except ModelError as error:
        log.warning("%s", error)
        return None


def find_model(name_or_path: str, models_dir: Path) -> ModelSource:
    """A model by its name under ``models_dir``, or by the path of its folder.

    Raises:
        ModelError: there is no such model, or its files are not here; says which models are.
    """
    named = models_dir / name_or_path
    if Path(name_or_path).name == name_or_path and (is_model(named) or name_or_path in KNOWN_CARDS):
        folder = named
    else:
        folder = Path(name_or_path).expanduser()
    if is_model(folder):
        return ModelSource(_card(folder), folder)
    present = ", ".join(source.card.name for source in list_models(models_dir) if source.present) or "-"
    if name_or_path in KNOWN_CARDS:
        raise ModelError(
            Text(
                f"The files of {name_or_path} are not here: put its diffusers folder at {shown(folder)}/;"
                f" ready to use now: {present}.",
                f"本机没有 {name_or_path} 的文件：请把它的 diffusers 文件夹放到 {shown(folder)}/；"
                f"现在可用的模型：{present}。",
            )
        )
    raise ModelError(
        Text(
            f"There is no model {name_or_path!r}: give one of {present},"
            " or the path of a folder with a model_index.json.",
            f"没有名为 {name_or_path!r} 的模型：请从 {present} 中选择，或给出含有 model_index.json 的文件夹路径。",
        )
    )


def _card(folder: Path) -> ModelCard:
    name = folder.name or folder.resolve().name
    if (folder / _CARD_FILE).is_file():
        return read_card(folder / _CARD_FILE, name)
    return KNOWN_CARDS.get(name) or plain_card(name)
