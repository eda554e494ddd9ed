"""Lists and looks up models: name -> card and locations of the parts. Uses no network and reads no weights."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

from zimage_app.domain.card import FAMILY
from zimage_app.domain.errors import ModelError
from zimage_app.domain.similar_names import meant
from zimage_app.domain.text import Text
from zimage_app.models.disk.folders import is_model, visible
from zimage_app.models.find.card_file import plain_card, read_card, read_vocabulary
from zimage_app.models.find.comfyui import find_comfy_models
from zimage_app.models.find.model_source import PARTS, ModelSource, comfy_source, diffusers_source, repo_folder
from zimage_app.models.find.model_yaml import SUFFIX, hub_source, is_repo, read_named

log = logging.getLogger(__name__)

_CARD_FILE = "card.yaml"
_WORDS_FILE = "words.yaml"
_MAX_SHOWN = 80


@dataclass(frozen=True, slots=True)
class ModelFolders:
    """The folders that are searched for models."""

    models: Path
    """Folder with one subfolder per model; downloads go here too."""
    named: Path | None = None
    """Folder of the user's YAML files that name models and the locations of their parts."""
    comfyui: Path | None = None
    """A ComfyUI installation, or its models folder."""
    shipped: Path | None = None
    """Folder of the model that ships with the app, if that isn't inside ``models``."""
    shipped_names: Path | None = None
    """Folder of YAML files that ship with the app; those in ``named`` override them."""
    listed_only: bool = False
    """Whether models are found by listed names only, not by paths or by repositories in other programs' caches."""

    @classmethod
    def of(cls, where: Path | ModelFolders) -> ModelFolders:
        """Return ``where`` itself, or wrap a models folder in ``ModelFolders``."""
        return where if isinstance(where, ModelFolders) else cls(where)


def list_models(where: Path | ModelFolders) -> list[ModelSource]:
    """Return all models, sorted by name, including those whose files are not downloaded yet.

    A model whose card or YAML file is invalid is left out, so that the others stay usable; the log, ``read_models`` and
    ``find_model`` report the error.
    """
    return [source for source in read_models(where).values() if isinstance(source, ModelSource)]


def read_models(where: Path | ModelFolders) -> dict[str, ModelSource | ModelError]:
    """Return all models by name, in order; in place of one whose card or YAML file is invalid, the error."""
    model_folders = ModelFolders.of(where)
    makers = _makers(model_folders)
    return {name: _read(name, makers[name], model_folders) for name in sorted(makers)}


def find_model(name_or_path: str, where: Path | ModelFolders) -> ModelSource:
    """Find a downloaded model by its name, its hub repository ``owner/name`` or the path of its folder.

    Raises:
        ModelError: there is no such model, or files are missing; the message lists available models and how to get it.
    """
    model_folders = ModelFolders.of(where)
    source = look_up(name_or_path, model_folders)
    if source.present:
        return source
    if model_folders.listed_only:
        raise _not_listed(name_or_path, model_folders)
    raise _not_here(name_or_path, source, model_folders)


def look_up(name_or_path: str, where: Path | ModelFolders) -> ModelSource:
    """Find a model as ``find_model`` does, but allow missing files; raises ModelError if there is no such model."""
    model_folders = ModelFolders.of(where)
    makers = _makers(model_folders)
    if name_or_path in makers:
        return makers[name_or_path]()
    if model_folders.listed_only:
        return _published(name_or_path, model_folders, makers)
    folder = Path(os.path.expanduser(name_or_path))  # Path.expanduser raises for an unknown user
    if name_or_path and is_model(folder):
        return _folder_source(folder)
    if is_repo(name_or_path) and not os.path.exists(folder):
        known = makers.get(repo_folder(name_or_path))
        return hub_source(name_or_path, model_folders.models) if known is None else known()
    present, question = _names_here(model_folders), meant(name_or_path, makers)
    raise ModelError(
        Text(
            f"There is no model {name_or_path!r}: give one of {present},"
            f" the path of a folder with a model_index.json, or owner/name of a hub repository{question.en or '.'}",
            f"没有名为 {name_or_path!r} 的模型：请从 {present} 中选择，或给出含有 model_index.json 的文件夹路径，"
            f"或模型站上的 owner/name{question.zh or '。'}",
        )
    )


def _published(name: str, model_folders: ModelFolders, makers: Mapping[str, Callable[[], ModelSource]]) -> ModelSource:
    """Find a listed model by its repository; raises the same ModelError for any other name."""
    known = makers.get(repo_folder(name)) if is_repo(name) else None
    if known is not None:
        return known()
    raise _not_listed(name, model_folders)


def _not_listed(name: str, model_folders: ModelFolders) -> ModelError:
    present, shown = _names_here(model_folders), repr(name[:_MAX_SHOWN])
    return ModelError(
        Text(
            f"There is no model {shown} on this page; choose one of {present}.",
            f"此页面没有模型 {shown}；请从 {present} 中选择。",
        )
    )


def _makers(model_folders: ModelFolders) -> dict[str, Callable[[], ModelSource]]:
    """Return name -> function that makes the model's source.

    If several models have the same name, later entries win: ComfyUI's files, the shipped folder, folders under
    ``models``, shipped YAML files, the user's YAML files, and the user's folders in ComfyUI's layout.
    """
    makers: dict[str, Callable[[], ModelSource]] = {}
    for source in (
        [] if model_folders.comfyui is None else find_comfy_models(model_folders.comfyui, model_folders.models)
    ):
        makers[source.card.name] = partial(replace, source)
    if model_folders.shipped is not None and is_model(model_folders.shipped):
        makers[model_folders.shipped.name] = partial(_folder_source, model_folders.shipped)
    folders = (
        [folder for folder in model_folders.models.iterdir() if is_model(folder)]
        if model_folders.models.is_dir()
        else []
    )
    makers |= {folder.name: partial(_folder_source, folder) for folder in folders}
    for named in (model_folders.shipped_names, model_folders.named):
        for path in visible(named.glob(f"*{SUFFIX}")) if named is not None and named.is_dir() else ():
            makers[path.stem] = partial(_named_source, path, model_folders)
    own = [folder for folder in folders if not (folder / "model_index.json").is_file()]
    return makers | {folder.name: partial(_folder_source, folder) for folder in own}


def _folder_source(folder: Path) -> ModelSource:
    name = folder.name or folder.resolve().name
    family = FAMILY.get(name.lower())
    card = plain_card(name) if family is None else replace(family, name=name)
    if (folder / _CARD_FILE).is_file():
        card = read_card(folder / _CARD_FILE, plain_card(name))
    if (folder / _WORDS_FILE).is_file():
        card = replace(card, vocabulary=read_vocabulary(folder / _WORDS_FILE))
    return diffusers_source(card, folder) if (folder / "model_index.json").is_file() else comfy_source(card, folder)


def _named_source(path: Path, model_folders: ModelFolders) -> ModelSource:
    """Read a model's YAML file; a card.yaml in the model's folder overrides the card in it."""
    source = read_named(path, model_folders.models, model_folders.comfyui)
    own = source.folder / _CARD_FILE
    return replace(source, card=read_card(own, source.card)) if own.is_file() else source


def _read(name: str, maker: Callable[[], ModelSource], model_folders: ModelFolders) -> ModelSource | ModelError:
    try:
        return maker()
    except ModelError as error:
        _log_once(model_folders, f"{name}: {error}")
        return error


@lru_cache(maxsize=256)
def _log_once(model_folders: ModelFolders, problem: str) -> None:  # noqa: ARG001 - part of the cache's key
    """Log a problem, but not again each time that the models are listed."""
    log.warning("%s", problem)


def _names_here(model_folders: ModelFolders) -> str:
    return ", ".join(source.card.name for source in list_models(model_folders) if source.present) or "-"


def _not_here(name: str, source: ModelSource, model_folders: ModelFolders) -> ModelError:
    size = None if source.about is None else f"{source.about / 1e9:.0f} GB"
    size_en, size_zh = ("", "") if size is None else (f" ({size})", f"（约 {size}）")
    parts = ", ".join(source.missing)
    state = Text("is not on this machine", "不在本机")
    if len(source.missing) < len(PARTS):
        state = Text(f"is not whole on this machine ({parts} missing)", f"在本机不完整（缺少 {parts}）")
    command = f"python -m zimage_app models fetch {name}"
    present = _names_here(model_folders)
    return ModelError(
        Text(
            f"{name} {state.en}: fetch it{size_en} with '{command}'; ready to use now: {present}.",
            f"{name} {state.zh}：请用「{command}」下载{size_zh}；现在可用的模型：{present}。",
        )
    )
