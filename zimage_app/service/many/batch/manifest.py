"""A batch's log of progress: one JSON line per event, flushed to disk before the next step begins.

A picture's id is logged before its file is written, so that a batch killed in between neither loses nor repeats it.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from zimage_app.domain.errors import StorageError, system_reason
from zimage_app.domain.text import Text
from zimage_app.models.disk.regular_file import read_regular

NAME = "manifest.jsonl"
_MAX_BYTES = 256 * 2**20

ItemState = Literal["begun", "asked", "saving", "done", "failed", "cancelled"]
"""``begun``: the batch started, with its first seed. ``asked``: a picture was requested from a running app under this
``task``. The others are states of a picture."""


@dataclass(slots=True)
class Manifest:
    """The lines of one batch's folder."""

    folder: Path
    last: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Item's key -> its newest line."""
    seed: int | None = None
    """The first seed of the batch; None before the first run."""
    _torn: bool = False
    """Whether the file's last line was written incompletely."""

    @classmethod
    def of(cls, folder: Path) -> Manifest:
        """Read a folder's manifest; empty if there is none. Incomplete lines are ignored.

        Raises StorageError if the file can't be read.
        """
        found = cls(folder)
        try:
            text = read_regular(folder / NAME, _MAX_BYTES).decode(errors="replace")
        except FileNotFoundError:
            return found
        except OSError as error:
            raise _unusable(folder, error) from error
        found._torn = bool(text) and not text.endswith("\n")
        for line in text.splitlines():
            try:
                found._take(json.loads(line))
            except (ValueError, KeyError, TypeError):
                continue
        return found

    def add(self, state: ItemState, key: str = "", **facts: Any) -> None:
        """Append a line and flush it to disk; raises StorageError if it can't be written."""
        line: dict[str, Any] = {"state": state, "key": key, "time": datetime.now().astimezone().isoformat(), **facts}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with (self.folder / NAME).open("ab") as file:
                file.write(b"\n" if self._torn else b"")
                file.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise _unusable(self.folder, error) from error
        self._torn = False
        self._take(line)

    def _take(self, line: dict[str, Any]) -> None:
        if line["state"] == "begun":
            self.seed = int(line["seed"])
        else:
            self.last[str(line["key"])] = line


def _unusable(folder: Path, error: OSError) -> StorageError:
    reason = system_reason(error)
    return StorageError(
        Text(
            f"{folder / NAME} can't be used ({reason}); choose another folder with --to.",
            f"{folder / NAME} 无法使用（{reason}）；请用 --to 换一个文件夹。",
        )
    )
