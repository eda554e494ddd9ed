"""What can go wrong, in the words of the person who has to mend it.

StudioError
├── RequestError        what was asked for is out of bounds: names the field, the value and what is allowed
├── ForbiddenError      something that only whoever runs the app may do
├── BusyError           too much is waiting: of one owner's, or of all; says when to come back
├── ModelError          a model's files: missing, cut off, of another model, of an unknown format
├── FetchError          a download: no network, refused by the hub, damaged on the way, a full disk
│   └── LoadingCancelled   nobody waits for the model any more
├── LoraError           a LoRA file: nothing in it matches, a half is missing, numbers that are not finite
├── GenerationError     the run itself: values that are not finite, memory that ran out
├── ImportedFileError   a picture or workflow of somebody else's: no settings in it, or none that can be read
└── StorageError        a picture or a setting could not be written or read

Every error is one sentence in both languages; ``str(error)`` is the English one.
"""

from __future__ import annotations

from typing import Any

from zimage_app.domain.text import Language, Text


def system_reason(error: OSError) -> str:
    """The operating system's words for an error, as in ``No space left on device``."""
    return error.strerror or str(error)


class StudioError(Exception):
    """Base of all errors that are meant for users."""

    def __init__(self, text: Text) -> None:
        super().__init__(text.en)
        self.text = text

    def __reduce__(self) -> tuple[Any, ...]:
        """Errors cross processes, where Python would make them anew of their English sentence alone."""
        return _again, (type(self), self.args), self.__dict__

    def to(self, language: Language) -> str:
        """The sentence in one language."""
        return self.text.to(language)


def _again(kind: type[StudioError], args: tuple[Any, ...]) -> StudioError:
    return kind.__new__(kind, *args)


class RequestError(StudioError):
    """A field of a request is out of bounds. ``field`` is its path, as in ``stages.1.denoise``."""

    def __init__(self, field: str, text: Text) -> None:
        super().__init__(Text(en=f"{field}: {text.en}", zh=f"{field}：{text.zh}"))
        self.field = field
        self.reason = text

    def at(self, field: str) -> RequestError:
        """The same reason, for the field that its cause was asked in."""
        return RequestError(field, self.reason)


class ForbiddenError(StudioError):
    """Strangers may not do this; says what."""


class BusyError(StudioError):
    """A job is not taken now, because too much waits or is kept already.

    Args:
        retry_after: seconds, roughly, after which it may be.
        own: it is the owner's own share that is used up (HTTP 429), not everybody's (503).
    """

    def __init__(self, text: Text, retry_after: float, *, own: bool) -> None:
        super().__init__(text)
        self.retry_after = retry_after
        self.own = own


class ModelError(StudioError):
    """A model cannot be loaded; names the file and the cure."""


class FetchError(StudioError):
    """Files could not be fetched; names the host or the file, and the cure.

    Args:
        on_page: the same where the cure is not a flag but something on the page.
    """

    def __init__(self, text: Text, on_page: Text | None = None) -> None:
        super().__init__(text)
        self.on_page = on_page or text


class LoadingCancelled(ModelError):
    """Reading a model was broken off on request; what was read of it is let go."""

    def __init__(self) -> None:
        super().__init__(Text("Loading the model was cancelled.", "已取消加载模型。"))


class LoraError(StudioError):
    """A LoRA file cannot be applied; names the file, the key and the reason."""


class GenerationError(StudioError):
    """A run broke off; names the stage and the likely cause."""


class ImportedFileError(StudioError):
    """Settings could not be read from a file of somebody else's; names what is wrong with it and what is taken."""


class StorageError(StudioError):
    """A file of ours could not be written or read; names the file and the reason."""
