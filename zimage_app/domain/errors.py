"""The tree of errors that users see; each message says what is wrong and how to fix it.

StudioError
├── RequestError        a field of a request is out of bounds: names the field, the value and what is allowed
├── ForbiddenError      an action that only the app's operator may take
├── BusyError           too many jobs wait, of one owner or of all; says when to retry
├── ModelError          a model's files: missing, truncated, of another model, of an unknown format
│   └── LoadingCancelled   loading was cancelled, because no job needs the model any more
├── FetchError          a download: no network, refused by the hub, corrupted in transit, disk full
├── LoraError           a LoRA file: no key matches the model, half of a pair is missing, non-finite values
├── GenerationError     a run failed: non-finite values, out of memory
├── ImportedFileError   an imported picture or workflow: it holds no settings, or unreadable ones
└── StorageError        a picture or a setting could not be written or read

Every error is one sentence in both languages; ``str(error)`` is the English one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from zimage_app.domain.text import Language, Text


def system_reason(error: OSError) -> str:
    """The operating system's words for an error, as in ``No space left on device``."""
    return error.strerror or str(error)


def after_title(title: Text, reason: Text) -> Text:
    """A field's title or path, and the reason of its error. A Chinese reason may begin with a place in brackets."""
    colon = "" if reason.zh.startswith("（") else "："
    return Text(f"{title.en}: {reason.en}", f"{title.zh}{colon}{reason.zh}")


class StudioError(Exception):
    """Base of all errors that are meant for users."""

    def __init__(self, text: Text) -> None:
        super().__init__(text.en)
        self.text = text

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the attributes too; by default only the English sentence would reach another process."""
        return _rebuild, (type(self), self.args), self.__dict__

    def to(self, language: Language) -> str:
        """The sentence in one language."""
        return self.text.to(language)


def _rebuild(kind: type[StudioError], args: tuple[Any, ...]) -> StudioError:
    return kind.__new__(kind, *args)


class RequestError(StudioError):
    """A field of a request is out of bounds. ``field`` is its path, as in ``stages.1.denoise``."""

    def __init__(self, field: str, text: Text) -> None:
        super().__init__(after_title(Text(field, field), text))
        self.field = field
        self.reason = text

    def at(self, field: str) -> RequestError:
        """A RequestError with the same reason for another field."""
        return RequestError(field, self.reason)


def wrong_field(field: str, en: str, zh: str) -> RequestError:
    """The error of a request's field; ``field`` is its path, as in ``stages.1.denoise``."""
    return RequestError(field, Text(en, zh))


def wrong_part(shown: str, en: str, zh: str) -> RequestError:
    """The error of a part of the prompt, which is shown before the reason."""
    return wrong_field("prompt", f"{shown} {en}", f"{shown} {zh}")


class ForbiddenError(StudioError):
    """The caller is not allowed to take an action; names the action."""


class BusyError(StudioError):
    """A job is refused for now, because too many jobs wait or too much is stored already.

    Args:
        retry_after: rough number of seconds after which a retry may succeed.
        own: True where the owner's own quota is used up (HTTP 429), False where the limit for all is (HTTP 503).
    """

    def __init__(self, text: Text, retry_after: float, *, own: bool) -> None:
        super().__init__(text)
        self.retry_after = retry_after
        self.own = own


class ModelError(StudioError):
    """A model cannot be loaded; names the file and how to fix it."""


class FetchError(StudioError):
    """Files could not be downloaded; names the host or the file, and how to fix it.

    Args:
        on_page: the same where the cure is not a flag but something on the page.
    """

    def __init__(self, text: Text, on_page: Text | None = None) -> None:
        super().__init__(text)
        self.on_page = on_page or text


class LoadingCancelled(ModelError):
    """Loading a model was cancelled on request; the weights read so far are released."""

    def __init__(self) -> None:
        super().__init__(Text("Loading the model was cancelled.", "已取消加载模型。"))


class LoraError(StudioError):
    """A LoRA file cannot be applied; names the file, the key and the reason."""


class GenerationError(StudioError):
    """A run failed; names the stage and the likely cause."""


class ImportedFileError(StudioError):
    """Settings could not be read from an imported file; names what is wrong and what is accepted."""


class StorageError(StudioError):
    """One of the app's own files could not be written or read; names the file and the reason."""


@contextmanager
def naming_fields() -> Iterator[None]:
    """Turn errors of a model and of a LoRA into RequestErrors of the fields ``model`` and ``loras``."""
    try:
        yield
    except ModelError as error:
        raise RequestError("model", error.text) from error
    except LoraError as error:
        raise RequestError("loras", error.text) from error
