"""The log: one line per job, warnings, and errors with their traceback.

The terminal gets one line per event; the file, whose size is bounded, also gets tracebacks. With ``--log-json`` each
line is a JSON object. On a shared app no line contains a prompt.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any, TextIO

from zimage_app.domain.text import visible

FOLDER = ".logs"
"""Folder below the folder of pictures."""
FILE_NAME = "studio.log"
MAX_BYTES = 2 * 10**6
MAX_FILES = 3
_FACTS = "facts"
"""Attribute of a log record with an event's fields."""
_APP = "zimage_app"
_PROMPT = "prompt"
_SHORTEST_PROMPT = 4
"""Characters; shorter prompts occur inside other words, and reveal nothing."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LogSettings:
    """Where, from which level and in which format to log."""

    outputs: Path
    level: str = "info"
    as_json: bool = False


def log_folder(outputs: Path) -> Path:
    """The folder of the log for an app that saves its pictures in ``outputs``."""
    return outputs / FOLDER


def start_logging(settings: LogSettings, terminal: TextIO | None = None) -> None:
    """Set up logging to terminal and file, replacing earlier handlers. Raises nothing."""
    shape = _JsonLine if settings.as_json else _Line
    screen = logging.StreamHandler(terminal or sys.stderr)
    screen.setFormatter(shape(traces=False))
    logging.basicConfig(level=logging.WARNING, handlers=[screen], force=True)
    logging.getLogger(_APP).setLevel(settings.level.upper())
    logging.captureWarnings(True)
    path = log_folder(settings.outputs) / FILE_NAME
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = _File(path, maxBytes=MAX_BYTES, backupCount=MAX_FILES - 1, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        log.warning("there is no log file: %s: %s", path, error.strerror or error)
        return
    file.setFormatter(shape(traces=True))
    logging.getLogger().addHandler(file)
    threading.excepthook = _log_thread
    log.debug("log begins")


def log_event(logger: logging.Logger, words: str, facts: Mapping[str, object]) -> None:
    """Log one line with fields, such as a job's end."""
    logger.info("%s", words, extra={_FACTS: dict(facts)})


def without_prompts(lines: list[str]) -> list[str]:
    """Log lines of either format, with the prompt field removed and repetitions of any prompt masked."""
    cut = [_cut(line) for line in lines]
    known = sorted({form for _, prompt in cut for form in _forms(prompt)}, key=len, reverse=True)
    clean = []
    for line, _ in cut:
        for form in known:
            line = line.replace(form, "<prompt>")
        clean.append(line)
    return clean


def _forms(prompt: str) -> list[str]:
    """The forms in which a prompt may occur in other lines: each of its lines, or escaped."""
    forms = [*prompt.splitlines(), json.dumps(prompt, ensure_ascii=False)[1:-1], repr(prompt)[1:-1]]
    return [form for each in forms for form in {each, visible(each)} if len(form) >= _SHORTEST_PROMPT]


def _cut(line: str) -> tuple[str, str]:
    """(line without its prompt field, prompt)."""
    if line.startswith("{"):
        try:
            data = json.loads(line)
        except ValueError:
            return line, ""
        prompt = str(data.pop(_PROMPT, ""))
        return (json.dumps(data, ensure_ascii=False) if prompt else line), prompt
    rest, mark, quoted = line.partition(f" {_PROMPT}=")
    if not mark:
        return line, ""
    try:
        return rest, str(json.loads(quoted))
    except ValueError:
        return rest, quoted


class _File(RotatingFileHandler):
    """A log file that stops writing after its first error, so that a full disk is reported only once."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Stop logging to the file."""
        del record
        logging.getLogger().removeHandler(self)
        log.warning("the log file can't be written any more: %s", self.baseFilename)


class _Line(logging.Formatter):
    """Formats ``2026-01-31 12:00:00 INFO job 1a2b: done model=demo …``; line breaks are replaced by ⏎."""

    def __init__(self, traces: bool) -> None:
        super().__init__()
        self._traces = traces

    def format(self, record: logging.LogRecord) -> str:
        """One record."""
        when = datetime.fromtimestamp(record.created).astimezone().strftime("%Y-%m-%d %H:%M:%S")
        facts: dict[str, object] = getattr(record, _FACTS, {})
        fields = "".join(f" {name}={_shown(value)}" for name, value in facts.items())
        words = record.getMessage().replace("\r", "").replace("\n", " ⏎ ")
        line = f"{when} {record.levelname} {words}{fields}"
        if record.exc_info and record.exc_info[1] is not None:
            line += f" ({type(record.exc_info[1]).__name__}: {_first_line(record.exc_info[1])})"
            if self._traces:
                line += "\n" + self.formatException(record.exc_info)
        return visible(line)


class _JsonLine(logging.Formatter):
    """Formats one JSON object: time (UTC), level, logger, message, the event's fields, an error's traceback."""

    def __init__(self, traces: bool) -> None:
        super().__init__()
        self._traces = traces

    def format(self, record: logging.LogRecord) -> str:
        """One record."""
        data: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, _FACTS, {}),
        }
        if record.exc_info and record.exc_info[1] is not None:
            data["error"] = f"{type(record.exc_info[1]).__name__}: {_first_line(record.exc_info[1])}"
            if self._traces:
                data["trace"] = self.formatException(record.exc_info)
        return visible(json.dumps(data, ensure_ascii=False, default=str))


def _shown(value: object) -> str:
    """A field's value in a line: text with spaces is quoted, floats have two decimals."""
    if isinstance(value, float):
        return f"{value:.2f}"
    if isinstance(value, (list, tuple)):
        return "+".join(map(_shown, value))
    text = str(value)
    return text if text.isascii() and text.isprintable() and " " not in text else json.dumps(text, ensure_ascii=False)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0][:200]


def _log_thread(arguments: threading.ExceptHookArgs) -> None:
    if arguments.exc_value is not None and not isinstance(arguments.exc_value, SystemExit):
        name = arguments.thread.name if arguments.thread else "?"
        log.error("thread %s ended", name, exc_info=arguments.exc_value)
