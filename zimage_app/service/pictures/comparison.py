"""Compares two pictures by PSNR, SSIM and LPIPS, and writes a report with their amplified difference."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from zimage_app.domain.errors import StorageError, system_reason
from zimage_app.domain.events import Picture
from zimage_app.domain.text import Text
from zimage_app.models.disk.folders import visible
from zimage_app.service.pictures.gallery import stage_files
from zimage_app.service.pictures.history.pixels import read_pixels
from zimage_app.service.pictures.perceptual import Metric
from zimage_app.service.storage.atomic_files import write_whole

AMPLIFIED = 8
"""Factor by which differences are multiplied in the report."""
_SIGMA, _K1, _K2 = 1.5, 0.01, 0.03
"""Width of SSIM's window in pixels, and its constants (Wang et al. 2004, doi 10.1109/TIP.2003.819861)."""
_REACH = 3.5
"""Radius of SSIM's window in sigmas; gives 11 pixels across, as in the paper."""
_EDGE = 5
"""Width in pixels of the border that is left out, because the window would reach beyond the picture."""

Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Distance:
    """The distance of two pictures of the same size."""

    name: str
    first: Path
    second: Path
    psnr: float
    """Peak signal-to-noise ratio in decibels over all pixels and channels; infinite for equal pictures."""
    ssim: float
    """Mean structural similarity over the channels, 1 for equal pictures."""
    share: float
    """Share of pixels that differ, 0 to 1."""
    most: int
    """The largest difference of a channel, 0 to 255."""
    lpips: float | None = None
    """See ``perceptual.py``; None if LPIPS isn't available."""


def psnr(first: Picture, second: Picture) -> float:
    """Return the peak signal-to-noise ratio in decibels: 10 log10(255² / mean squared error)."""
    error = float(np.mean((first.astype(np.float64) - second) ** 2))
    return float("inf") if error == 0 else 10 * float(np.log10(255.0**2 / error))


def ssim(first: Picture, second: Picture) -> float:
    """Return the mean structural similarity of two (h, w, 3) pictures with sides above 10 pixels (Wang et al. 2004).

    Equals scikit-image's ``structural_similarity`` with ``gaussian_weights`` and population statistics.
    """
    channels = [_ssim(first[..., c].astype(np.float64), second[..., c].astype(np.float64)) for c in range(3)]
    return float(np.mean(channels))


def _ssim(x: Numbers, y: Numbers) -> float:
    def mean(values: Numbers) -> Numbers:
        return np.asarray(gaussian_filter(values, _SIGMA, truncate=_REACH))

    mean_x, mean_y = mean(x), mean(y)
    var_x, var_y = mean(x * x) - mean_x**2, mean(y * y) - mean_y**2
    shared = mean(x * y) - mean_x * mean_y
    c1, c2 = (_K1 * 255) ** 2, (_K2 * 255) ** 2
    similarity = (2 * mean_x * mean_y + c1) * (2 * shared + c2)
    similarity /= (mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)
    return float(similarity[_EDGE:-_EDGE, _EDGE:-_EDGE].mean())


def distance(name: str, first: Path, second: Path, perceptual: Metric | None = None) -> Distance:
    """Compare two PNG files; ``perceptual`` is LPIPS, if available.

    Raises:
        StorageError: a file can't be read, or the pictures' sizes differ or are too small.
    """
    one, other = read_pixels(first), read_pixels(second)
    if one.shape != other.shape or min(one.shape[:2]) <= 2 * _EDGE:
        sizes = " / ".join(f"{picture.shape[1]}x{picture.shape[0]}" for picture in (one, other))
        raise StorageError(
            Text(
                f"{name}: pictures of the same size, with sides of more than {2 * _EDGE} pixels, can be compared;"
                f" these have {sizes}.",
                f"{name}：只能比较尺寸相同、边长大于 {2 * _EDGE} 像素的图片；这里为 {sizes}。",
            )
        )
    difference = np.abs(one.astype(np.int16) - other).max(-1)
    share, most = float((difference > 0).mean()), int(difference.max())
    lpips = None if perceptual is None else perceptual(one, other)
    return Distance(name, first, second, psnr(one, other), ssim(one, other), share, most, lpips)


def distances(first: Path, second: Path, perceptual: Metric | None = None) -> list[Distance]:
    """Compare two files with the stage pictures saved with both, or files of the same path below two folders.

    Raises:
        StorageError: there is nothing to compare, or ``distance`` fails.
    """
    if first.is_dir() and second.is_dir():
        below = (path.relative_to(first) for path in visible(first.rglob("*.png")))
        names = sorted(name for name in below if (second / name).is_file())
        found = [distance(name.as_posix(), first / name, second / name, perceptual) for name in names]
    else:
        found = [distance(name, *files, perceptual) for name, files in _stages_and_result(first, second)]
    if not found:
        raise StorageError(
            Text(
                f"{first} and {second} have no PNG files of the same name.",
                f"{first} 与 {second} 中没有同名的 PNG 文件。",
            )
        )
    return found


def _stages_and_result(first: Path, second: Path) -> Iterator[tuple[str, tuple[Path, Path]]]:
    kept, others = dict(stage_files(first)), dict(stage_files(second))
    for number in sorted(kept.keys() & others.keys()):
        yield f"stage {number}", (kept[number], others[number])
    yield "result", (first, second)


def write_report(folder: Path, found: Sequence[Distance]) -> Path:
    """Write ``index.html`` with the numbers, both pictures and their amplified difference; return its path.

    Raises:
        StorageError: a file can't be read or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        rows = [_row(folder, number, each) for number, each in enumerate(found, 1)]
        head = "".join(
            f"<th>{title}</th>" for title in ("", "PSNR (dB)", "SSIM", "LPIPS", "A", "B", f"|A−B| × {AMPLIFIED}")
        )
        style = (
            "body{font-family:sans-serif}img{max-width:320px;display:block}td,th{vertical-align:top;text-align:left}"
        )
        page = f'<!doctype html><meta charset="utf-8"><title>Compare</title><style>{style}</style>'
        path = folder / "index.html"
        write_whole(path, f"{page}<table><tr>{head}</tr>{''.join(rows)}</table>\n".encode())
    except OSError as error:
        reason = system_reason(error)
        raise StorageError(
            Text(f"The report can't be written to {folder} ({reason}).", f"无法将报告写入 {folder}（{reason}）。")
        ) from error
    return path


def _row(folder: Path, number: int, each: Distance) -> str:
    pictures = [read_pixels(path) for path in (each.first, each.second)]
    difference = np.abs(pictures[0].astype(np.int16) - pictures[1]) * AMPLIFIED
    pictures.append(np.minimum(difference, 255).astype(np.uint8))
    cells = []
    for letter, picture in zip("abd", pictures, strict=True):
        name = f"{number:03}-{letter}.png"
        Image.fromarray(picture).save(folder / name)
        cells.append(f'<td><a href="{name}"><img src="{name}" alt="" loading="lazy"></a></td>')
    lpips = "–" if each.lpips is None else f"{each.lpips:.4f}"
    numbers = f"<td>{each.psnr:.2f}</td><td>{each.ssim:.4f}</td><td>{lpips}</td>"
    return f"<tr><th>{html.escape(each.name)}</th>{numbers}{''.join(cells)}</tr>"
