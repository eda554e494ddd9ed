"""What of a batch is done: one JSON line for each thing that happened, on the disk before the next thing begins.

A picture's id stands here before its file is written, so that a batch that was killed in between neither loses nor
doubles it.
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

Happened = Literal["begun", "asked", "saving", "done", "failed", "cancelled"]
"""``begun``: the batch, with its first seed. ``asked``: an app was, for this ``task``. The others are a picture's."""


@dataclass(slots=True)
class Manifest:
    """The lines of one batch's folder."""

    folder: Path
    last: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The newest line of each item, by its key."""
    seed: int | None = None
    """Where counting begins; None before the first run."""
    _torn: bool = False
    """The file's last line was not written whole."""

    @classmethod
    def of(cls, folder: Path) -> Manifest:
        """Read a folder's; one that isn't there is empty. A last line that was not written whole counts for nothing."""
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

    def add(self, state: Happened, key: str = "", **facts: Any) -> None:
        """Write a line; when this returns it is on the disk. Raises StorageError where that can't be."""
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
