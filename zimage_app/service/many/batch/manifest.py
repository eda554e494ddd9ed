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
_NO_ADVICE = Text("", "")

ItemState = Literal["begun", "asked", "saving", "done", "failed", "cancelled"]
"""``begun``: the batch started, with its first seed. ``asked``: a picture was requested from a running app under this
``task``. The others are states of a picture."""


@dataclass(slots=True)
class Manifest:
    """The lines of one batch's folder."""

    folder: Path
    last: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Item's key -> its newest line."""
    holders: dict[str, str] = field(default_factory=dict)
    """``comparable_name`` of a file -> key of the item whose picture was put there last."""
    seed: int | None = None
    """The first seed of the batch; None before the first run."""
    file: str = ""
    """Path of the file that the batch was begun with; empty if there is none."""
    advice: Text = _NO_ADVICE
    """What a user can do where the folder can't be used; a sentence."""
    _torn: bool = False
    """Whether the file's last line was written incompletely."""

    @classmethod
    def read(cls, folder: Path, advice: Text = _NO_ADVICE) -> Manifest:
        """Read a folder's manifest; empty if there is none. Incomplete lines are ignored.

        Raises StorageError, with the ``advice``, if the file can't be read.
        """
        found = cls(folder, advice=advice)
        try:
            text = read_regular(folder / NAME, _MAX_BYTES).decode(errors="replace")
        except FileNotFoundError:
            return found
        except OSError as error:
            raise found._unusable(error) from error
        found._torn = bool(text) and not text.endswith("\n")
        for line in text.split("\n"):  # not splitlines, because prompts may contain U+2028
            try:
                found._take(json.loads(line))
            except (ValueError, KeyError, TypeError, RecursionError):
                continue
        return found

    def add(self, state: ItemState, key: str = "", **facts: Any) -> None:
        """Append a line and flush it to disk; raises StorageError if it can't be written."""
        line: dict[str, Any] = {"state": state, "key": key, "time": datetime.now().astimezone().isoformat(), **facts}
        # A file name that isn't UTF-8 contains lone surrogates; escaped with backslashes they are valid JSON.
        written = json.dumps(line, ensure_ascii=False).encode(errors="backslashreplace")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with (self.folder / NAME).open("ab") as file:
                file.write(b"\n" if self._torn else b"")
                file.write(written + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise self._unusable(error) from error
        self._torn = False
        self._take(line)

    def add_end(self, state: Literal["failed", "cancelled"], key: str, reason: Text, **facts: Any) -> None:
        """Append a line about a picture that won't be made, with the reason in both languages."""
        self.add(state, key, **facts, error=reason.en, error_zh=reason.zh)

    def _take(self, line: dict[str, Any]) -> None:
        if line["state"] == "begun":
            self.seed, self.file = int(line["seed"]), str(line.get("file", ""))
            return
        key = str(line["key"])
        self.last[key] = line
        if line["state"] == "done" and "file" in line:
            self.holders[comparable_name(str(line["file"]))] = key

    def _unusable(self, error: OSError) -> StorageError:
        path, reason = self.folder / NAME, system_reason(error)
        en = f"{path} can't be used ({reason}). {self.advice.en}".strip()
        return StorageError(Text(en, f"{path} 无法使用（{reason}）。{self.advice.zh}"))


def comparable_name(name: str) -> str:
    """Return a file's name for comparisons, because some file systems ignore case."""
    return name.casefold()
