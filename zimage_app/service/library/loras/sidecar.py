"""A user's own notes on a LoRA: ``<name>.yaml`` beside the file, which itself is never written to.

    triggers: [水墨, ink wash]
    strength: 0.8
    note: strong; keep below 1

Every key may be left out; nothing else is allowed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import AfterValidator, BaseModel, Field, ValidationError

from zimage_app.domain.errors import LoraError, ModelError, RequestError, StorageError
from zimage_app.domain.settings.knob import STRICT
from zimage_app.domain.settings.lora_use import MAX_STRENGTH, Triggers
from zimage_app.domain.text import Text
from zimage_app.domain.validation_errors import request_error
from zimage_app.models.disk.yaml_file import YamlReader
from zimage_app.service.storage.yaml_files import unwritable, write_yaml

SIDECAR = ".yaml"


def _stripped(words: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(word.strip() for word in words if word.strip()))


class Notes(BaseModel):
    """The user's notes on a LoRA."""

    model_config = STRICT

    triggers: Annotated[Triggers, AfterValidator(_stripped)] | None = None
    """Trigger words; None: those of other sources; empty: none."""
    strength: Annotated[float, Field(ge=-MAX_STRENGTH, le=MAX_STRENGTH)] | None = None
    """Suggested strength."""
    note: Annotated[str, Field(max_length=2000)] = ""


def parse_notes(data: object) -> Notes:
    """Parse plain data into notes.

    Raises:
        RequestError: a key is invalid; names it, and what is allowed.
    """
    try:
        return Notes.model_validate_json(json.dumps(data))
    except ValidationError as error:
        raise request_error(error, data) from error


def read_notes(path: Path) -> Notes:
    """Read the notes in a file.

    Raises:
        LoraError: the file can't be read or is invalid; names the line or the key.
    """
    try:
        reader = YamlReader(path)
        fields = reader.fields(reader.tree(), tuple(Notes.model_fields))
        if "triggers" in fields and not isinstance(fields["triggers"], yaml.ScalarNode):
            words = [reader.plain(node) for node in reader.items(fields.pop("triggers"))]
            return parse_notes({key: reader.plain(node) for key, node in fields.items()} | {"triggers": words})
        return parse_notes({key: reader.plain(node) for key, node in fields.items()})
    except ModelError as error:
        raise LoraError(error.text) from error
    except RequestError as error:
        raise LoraError(Text(f"{path.name}, {error.text.en}.", f"{path.name} 中 {error.text.zh}。")) from error


def write_notes(path: Path, notes: Notes) -> None:
    """Write notes beside a LoRA; empty notes delete the file.

    Raises:
        LoraError: the folder can't be written to.
    """
    data = notes.model_dump(mode="json", exclude_defaults=True)
    try:
        if data:
            write_yaml(path, data)
        else:
            path.unlink(missing_ok=True)
    except StorageError as error:
        raise LoraError(error.text) from error
    except OSError as error:
        raise LoraError(unwritable(path, error).text) from error
