"""Progress of a download as plain values, for page and terminal. No network access."""

from __future__ import annotations

from dataclasses import dataclass

from zimage_app.domain.text import Text


@dataclass(frozen=True, slots=True)
class FetchProgress:
    """The state of a download at one moment."""

    files: int
    """Number of files in total."""
    size: int
    """Bytes of all files together."""
    files_done: int = 0
    """Files that are complete and verified."""
    done: int = 0
    """Bytes downloaded so far, including those of earlier attempts."""
    speed: float = 0.0
    """Bytes per second over the last seconds; 0 while no bytes arrive."""

    @property
    def fraction(self) -> float:
        """Downloaded fraction of the bytes, 0…1."""
        return self.done / self.size if self.size else 1.0

    @property
    def remaining(self) -> float | None:
        """Estimated seconds left; None while no bytes arrive and once all have."""
        return (self.size - self.done) / self.speed if self.speed > 0 and self.done < self.size else None

    @property
    def text(self) -> Text:
        """The progress in one line."""
        amount = f"{shown_size(self.done)} / {shown_size(self.size)}"
        speed = f"{shown_size(self.speed)}/s"
        left = "" if self.remaining is None else f", {shown_time(self.remaining)} left"
        left_zh = "" if self.remaining is None else f"，剩余 {shown_time(self.remaining)}"
        return Text(
            f"{self.files_done} of {self.files} files, {amount}, {speed}{left}",
            f"{self.files_done}/{self.files} 个文件，{amount}，{speed}{left_zh}",
        )


def shown_size(size: float) -> str:
    """Bytes in decimal units, as in ``12.3 GB``."""
    for unit in ("B", "kB", "MB"):
        if size < 999.5:
            return f"{size:.3g} {unit}"
        size /= 1000.0
    return f"{size:.1f} GB"


def shown_time(seconds: float) -> str:
    """Seconds as ``m:ss`` or ``h:mm:ss``."""
    minutes, left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{left:02d}" if hours else f"{minutes}:{left:02d}"
