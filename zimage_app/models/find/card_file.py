"""Reads a model's ``card.yaml``: title, description, settings and example prompts.

title and description have ``en`` and ``zh``; ``stages`` is a list of partial stages, where an omitted key takes the
reference workflow's value; ``examples`` is a list of prompts. Other keys, aliases and duplicate keys are errors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import yaml

from zimage_app.domain.card import ModelCard
from zimage_app.domain.errors import RequestError
from zimage_app.domain.settings.stage import MAX_STAGES, REFERENCE_STAGES, STAGE_GROUPS, Stage, parse_stage
from zimage_app.domain.text import Text
from zimage_app.domain.vocabulary import Vocabulary
from zimage_app.models.disk.yaml_file import YamlReader

CARD_KEYS = ("title", "description", "stages", "examples")
_VOCABULARY_KEYS = ("things", "words")


def read_card(path: Path, base: ModelCard) -> ModelCard:
    """Read a card; fields that the file omits are taken from ``base``.

    Raises:
        ModelError: the file is invalid; the message names file, line and problem.
    """
    reader = YamlReader(path)
    return card_from(reader, reader.fields(reader.tree(), CARD_KEYS), base)


def card_from(reader: YamlReader, fields: Mapping[str, yaml.Node], base: ModelCard) -> ModelCard:
    """Return ``base`` with the given CARD_KEYS fields replaced; raises ModelError as ``read_card`` does."""
    card = base
    if "title" in fields:
        card = replace(card, title=reader.text(fields["title"]))
    if "description" in fields:
        card = replace(card, description=reader.text(fields["description"]))
    if "stages" in fields:
        card = replace(card, stages=_stages(reader, fields["stages"]))
    if "examples" in fields:
        card = replace(card, examples=tuple(reader.string(node) for node in reader.items(fields["examples"])))
    return card


def read_vocabulary(path: Path) -> Vocabulary:
    """The words of a small model in a file: ``things`` that it can draw, and ``words``, those of its captions.

    Raises:
        ModelError: names the file, the line and what is wrong there.
    """
    reader = YamlReader(path)
    root = reader.tree()
    fields = reader.fields(root, _VOCABULARY_KEYS)
    for key in _VOCABULARY_KEYS:
        if key not in fields:
            raise reader.wrong(root, f"{key!r} is missing", f"缺少 {key!r}")
    words = frozenset(reader.string(node) for node in reader.items(fields["words"]))
    return Vocabulary(words, reader.text(fields["things"]))


def plain_card(name: str) -> ModelCard:
    """Return the card of a model without a card file: its name and the reference workflow."""
    return ModelCard(name, Text(name, name), Text("A Z-Image model without a card.", "没有说明卡片的 Z-Image 模型。"))


def _stages(reader: YamlReader, node: yaml.Node) -> tuple[Stage, ...]:
    nodes = reader.items(node)
    if not 1 <= len(nodes) <= MAX_STAGES:
        raise reader.wrong(
            node,
            f"expected 1 to {MAX_STAGES} stages, not {len(nodes)}",
            f"应有 1 到 {MAX_STAGES} 个阶段，而不是 {len(nodes)}",
        )
    return tuple(_stage(reader, number, item) for number, item in enumerate(nodes))


def _stage(reader: YamlReader, number: int, node: yaml.Node) -> Stage:
    """Parse a partial stage; omitted keys take the values of the reference workflow's stage of the same number."""
    given = {name: reader.plain(value) for name, value in reader.fields(node, tuple(Stage.model_fields)).items()}
    base = REFERENCE_STAGES[number].model_dump(mode="json") if number < len(REFERENCE_STAGES) else {}
    for group in STAGE_GROUPS:
        if isinstance(given.get(group), dict):
            given[group] = (base.get(group) or {}) | given[group]
    try:
        return parse_stage(base | given)
    except RequestError as error:
        raise reader.wrong(node, error.text.en, error.text.zh) from error
