"""Named models: YAML files that give the location of each part of a model, on a hub or on this machine.

The file's name is the model's name. ``card`` names the family that its settings come from; ``title``, ``description``,
``stages`` and ``examples`` are those of a ``card.yaml``; ``size`` is the approximate download size in GB. Each of
``transformer``, ``text_encoder``, ``vae`` and ``tokenizer`` is one of

    {hub: owner/name, folder: transformer}      a folder of a repository on the hub, with its config.json
    {hub: owner/name, file: path/in/it}         a file of a repository
    {folder: path}  or  {file: path}            on this machine; relative to models/ or to ComfyUI's models folder

The tokenizer may be left out; then any copy of the family's tokenizer is used.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import yaml

from zimage_app.domain.card import FAMILY, ModelCard
from zimage_app.domain.errors import ModelError, system_reason
from zimage_app.domain.text import Text
from zimage_app.models.disk.folders import shown
from zimage_app.models.disk.yaml_file import YamlReader
from zimage_app.models.find.card_file import CARD_KEYS, card_from, plain_card
from zimage_app.models.find.comfyui import comfy_models
from zimage_app.models.find.hub_cache import cached
from zimage_app.models.find.model_source import PARTS, ModelSource, PartLocation, PartLocations, Remote, repo_folder
from zimage_app.models.find.tokenizers import find_tokenizer

SUFFIX = ".yaml"
_KEYS = (*CARD_KEYS, "card", "size", *PARTS)
_REPO = re.compile(r"\w[\w.-]{0,95}/\w[\w.-]{0,95}")  # no hub has longer names
_MAX_NAME = 80
"""Characters. File systems allow 255 bytes, and a Chinese character takes three."""
_NAME = re.compile(rf"\w[\w.-]{{0,{_MAX_NAME - 1}}}")


def read_named(path: Path, models: Path, comfyui: Path | None = None) -> ModelSource:
    """Read a model's YAML file; ``models`` is the app's folder, ``comfyui`` an installation to search for files.

    Raises ModelError if the file is invalid; the message names file, line and problem.
    """
    reader = YamlReader(path)
    root = reader.tree()
    fields = reader.fields(root, _KEYS)
    parts = _Parts(reader, models, None if comfyui is None else comfy_models(comfyui))
    for name in PARTS[:3]:
        if name not in fields:
            raise reader.wrong(root, f"{name!r} is missing", f"缺少 {name!r}")
    places = {name: parts.place(fields[name]) for name in PARTS[:3]}
    tokenizer = parts.place(fields["tokenizer"]) if "tokenizer" in fields else None
    if tokenizer is None or not tokenizer.present:  # any copy will do, because all are the same
        other = find_tokenizer(models, comfyui)
        tokenizer = other if tokenizer is None or other.present else tokenizer
    return ModelSource(
        _card(reader, fields, path.stem),
        PartLocations(**places, tokenizer=tokenizer),
        folder=models / path.stem,
        about=_size(reader, fields["size"]) if "size" in fields else None,
    )


def _card(reader: YamlReader, fields: Mapping[str, yaml.Node], name: str) -> ModelCard:
    base = plain_card(name)
    if "card" in fields:
        family = reader.string(fields["card"])
        if family not in FAMILY:
            known = ", ".join(FAMILY)
            raise reader.wrong(
                fields["card"],
                f"there is no card {family!r}; use one of {known}",
                f"没有卡片 {family!r}；可用：{known}",
            )
        base = replace(FAMILY[family], name=name)
    return card_from(reader, fields, base)


def _size(reader: YamlReader, node: yaml.Node) -> float:
    value = reader.plain(node)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < 10_000:
        raise reader.wrong(node, "expected a size in GB, as 33", "此处应为以 GB 计的大小，如 33")
    return float(value) * 1e9


class _Parts:
    """Reads the locations of parts from YAML nodes."""

    def __init__(self, reader: YamlReader, models: Path, comfyui: Path | None) -> None:
        self._reader = reader
        self._roots = [models] if comfyui is None else [models, comfyui]

    def place(self, node: yaml.Node) -> PartLocation:
        fields = self._reader.fields(node, ("hub", "folder", "file"))
        if ("folder" in fields) == ("file" in fields):
            raise self._reader.wrong(node, "give either 'folder' or 'file'", "请在 folder 和 file 中给出一个")
        kind = "file" if "file" in fields else "folder"
        path = self._reader.string(fields[kind])
        if "hub" not in fields:
            return self._local(fields[kind], path, kind == "file")
        repo = self._reader.string(fields["hub"])
        if not _REPO.fullmatch(repo):
            raise self._reader.wrong(fields["hub"], f"{repo!r} is not owner/name", f"{repo!r} 不是 owner/name 的形式")
        if Path(path).is_absolute() or ".." in Path(path).parts or "\\" in path:
            raise self._reader.wrong(
                fields[kind], f"{path!r} is not a path in the repository", f"{path!r} 不是仓库中的路径"
            )
        try:
            return remote_place(Remote(repo, path, kind == "file"), self._roots[0])
        except (OSError, ValueError) as error:  # too long, or has characters that are invalid in a path
            raise self._no_path(fields[kind], path, error) from error

    def _local(self, node: yaml.Node, text: str, is_file: bool) -> PartLocation:
        try:
            path = Path(text).expanduser()
            places = [root / path for root in self._roots]  # an absolute path replaces the root
            path = next((place for place in places if place.exists()), places[0])
        except (OSError, RuntimeError, ValueError) as error:  # too long, unknown user, invalid characters
            raise self._no_path(node, text, error) from error
        return PartLocation(path, None if is_file else _own_config(path))

    def _no_path(self, node: yaml.Node, text: str, error: Exception) -> ModelError:
        reason = getattr(error, "strerror", None) or str(error)
        quoted = repr(text if len(text) <= _MAX_NAME else f"{text[: _MAX_NAME - 1]}…")
        return self._reader.wrong(
            node, f"{quoted} cannot be a path here ({reason})", f"{quoted} 不能作为本机路径（{reason}）"
        )


def remote_place(remote: Remote, models: Path) -> PartLocation:
    """Locate a part of a hub repository: under ``models``, in another program's cache, or else where to download it."""
    home = models / repo_folder(remote.repo) / remote.path
    here = PartLocation(home, None if remote.is_file else _own_config(home), remote)
    if here.present:
        return here
    elsewhere = cached(remote)
    if elsewhere is None:
        return here
    return PartLocation(elsewhere, None if remote.is_file else _own_config(elsewhere), remote)


def _own_config(folder: Path) -> Path:
    return folder / "config.json"


def hub_source(repo: str, models: Path) -> ModelSource:
    """Return the source of a model from a hub repository in diffusers' layout."""
    name = repo_folder(repo)
    places = PartLocations(**{part: remote_place(Remote(repo, part), models) for part in PARTS})
    card = FAMILY.get(name) or replace(plain_card(name), title=Text(repo, repo))
    return ModelSource(card, places, folder=models / name)


def is_repo(name: str) -> bool:
    """Whether a string has the form ``owner/name``."""
    return _REPO.fullmatch(name) is not None


def local_source(name: str, parts: Mapping[str, Path], card: str | None, models: Path) -> ModelSource:
    """Make a model's source from local files and folders, without saving it; ``parts`` by the names of PARTS.

    Raises ModelError if the name is invalid or there is no such card.
    """
    if not _NAME.fullmatch(name):
        raise ModelError(
            Text(
                f"{name!r} cannot be a model's name; use up to {_MAX_NAME} letters, digits, '.', '-' and '_'.",
                f"{name!r} 不能作为模型名称；请使用不超过 {_MAX_NAME} 个字母、数字、「.」、「-」和「_」。",
            )
        )
    if card is not None and card not in FAMILY:
        known = ", ".join(FAMILY)
        raise ModelError(Text(f"There is no card {card!r}; use one of {known}.", f"没有卡片 {card!r}；可用：{known}。"))
    places = {part: PartLocation(path, _own_config(path) if path.is_dir() else None) for part, path in parts.items()}
    tokenizer = places.pop("tokenizer", None) or find_tokenizer(models)
    base = plain_card(name) if card is None else replace(FAMILY[card], name=name)
    return ModelSource(base, PartLocations(**places, tokenizer=tokenizer), folder=models / name)


def write_named(folder: Path, name: str, parts: Mapping[str, Path], card: str | None) -> Path:
    """Save the arguments of ``local_source`` as a YAML file and return its path.

    Raises ModelError if the name is taken or the file can't be written.
    """
    path = folder / f"{name}{SUFFIX}"
    data: dict[str, object] = {} if card is None else {"card": card}
    data |= {part: {"folder" if parts[part].is_dir() else "file": str(parts[part])} for part in PARTS if part in parts}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            yaml.safe_dump(data, file, allow_unicode=True, sort_keys=False)
    except FileExistsError as error:
        raise ModelError(
            Text(
                f"There is a model {name} already ({shown(path)}); choose another name or delete that file.",
                f"已有名为 {name} 的模型（{shown(path)}）；请换个名称或删除该文件。",
            )
        ) from error
    except OSError as error:
        reason = system_reason(error)
        raise ModelError(
            Text(f"{shown(path)} cannot be written ({reason}).", f"{shown(path)} 无法写入（{reason}）。")
        ) from error
    return path
