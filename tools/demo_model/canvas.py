"""A supersampled RGB canvas with flat shapes, for drawing in the paper-cut style.

Points are fractions of the picture's width and height. Lengths (radii and line widths) are fractions of the width of
the *frame*, which has the proportions of 672x864 and about the picture's size; so circles stay round and nothing is
stretched in a picture of another shape. :meth:`Canvas.around` measures points in the frame, too, for drawing a thing
around its place.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from PIL import Image, ImageDraw

Point = tuple[float, float]
FRAME_ASPECT = 7 / 9
"""Width of the frame divided by its height."""
Colour = tuple[float, float, float]
"""Red, green and blue in 0..255, not rounded."""


def rgb(code: str) -> Colour:
    """Parse ``"#rrggbb"``."""
    code = code.removeprefix("#")
    return int(code[0:2], 16), int(code[2:4], 16), int(code[4:6], 16)


def mix(a: Colour, b: Colour, share: float) -> Colour:
    """Interpolate linearly from ``a`` (share 0) to ``b`` (share 1)."""
    return (a[0] + (b[0] - a[0]) * share, a[1] + (b[1] - a[1]) * share, a[2] + (b[2] - a[2]) * share)


def _fill(colour: Colour) -> tuple[int, int, int]:
    red, green, blue = (int(max(0, min(255, round(part)))) for part in colour)
    return red, green, blue


class Canvas:
    """Draws at ``supersample`` times the final size; :meth:`finish` scales down by averaging."""

    def __init__(self, width: int, height: int, supersample: int) -> None:
        self.supersample = supersample
        self.width, self.height = width * supersample, height * supersample
        # Between the frame that fits into the picture and the one of its area: things of the first would be so small in
        # wide pictures that baskets and roofs are lost at 224x176, those of the second would reach beyond the edges.
        fits = min(self.width / FRAME_ASPECT, self.height)
        self.frame_height = math.sqrt(fits * math.sqrt(self.width * self.height / FRAME_ASPECT))
        self.frame_width = self.frame_height * FRAME_ASPECT
        self._place: Point | None = None
        self.image = Image.new("RGB", (self.width, self.height))
        self._draw = ImageDraw.Draw(self.image)

    @contextmanager
    def around(self, place: Point) -> Iterator[None]:
        """Measure points in the frame instead of the whole picture, so that ``place`` stays where it is."""
        self._place = place
        yield
        self._place = None

    def _pixel(self, point: Point) -> Point:
        if self._place is None:
            return point[0] * self.width, point[1] * self.height
        x, y = self._place
        return (
            x * self.width + (point[0] - x) * self.frame_width,
            y * self.height + (point[1] - y) * self.frame_height,
        )

    def _pixels(self, points: Sequence[Point]) -> list[Point]:
        return [self._pixel(point) for point in points]

    def _gradient_column(self, stops: Sequence[tuple[float, Colour]], top: float, bottom: float) -> Image.Image:
        """Return a strip between two heights in pixels, as wide as the picture."""
        rows = max(1, round(bottom - top))
        places, colours = [place for place, _ in stops], np.array([colour for _, colour in stops])
        ramp = np.linspace(0, 1, rows)
        column = np.stack([np.interp(ramp, places, colours[:, channel]) for channel in range(3)], -1)
        strip = Image.fromarray(column.clip(0, 255).astype(np.uint8)[:, None, :])
        return strip.resize((self.width, rows), Image.Resampling.NEAREST)

    def gradient(self, stops: Sequence[tuple[float, Colour]], top: float = 0, bottom: float = 1) -> None:
        """Fill the whole width between two heights (0..1) with a vertical gradient."""
        strip = self._gradient_column(stops, top * self.height, bottom * self.height)
        self.image.paste(strip, (0, round(top * self.height)))

    def gradient_polygon(
        self, points: Sequence[Point], colours: tuple[Colour, Colour], span: tuple[float, float]
    ) -> None:
        """Draw a polygon filled with a vertical gradient over the heights ``span``."""
        (_, high), (_, low) = self._pixels([(0, y) for y in span])
        top = round(high)
        column = self._gradient_column(((0, colours[0]), (1, colours[1])), high, low)
        mask = Image.new("L", column.size)
        ImageDraw.Draw(mask).polygon([(x, y - top) for x, y in self._pixels(points)], fill=255)
        self.image.paste(column, (0, top), mask)

    def polygon(self, points: Sequence[Point], colour: Colour, alpha: float = 1.0) -> None:
        """Draw a flat polygon; ``alpha`` below 1 makes it transparent."""
        pixels = self._pixels(points)
        if alpha >= 1:
            self._draw.polygon(pixels, fill=_fill(colour))
            return
        xs, ys = [x for x, _ in pixels], [y for _, y in pixels]
        left, top, mask = self._empty_mask(min(xs), min(ys), max(xs), max(ys))
        if mask is not None:
            ImageDraw.Draw(mask).polygon([(x - left, y - top) for x, y in pixels], fill=int(255 * alpha))
            self._paste(left, top, mask, colour)

    def box(self, corner: Point, opposite: Point, colour: Colour) -> None:
        """Draw an axis-aligned rectangle between two corners."""
        (x0, y0), (x1, y1) = corner, opposite
        self.polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], colour)

    def ellipse(self, centre: Point, radii: tuple[float, float], colour: Colour, alpha: float = 1.0) -> None:
        """Draw an axis-aligned ellipse; both radii are fractions of the frame's width: equal radii give a circle."""
        x, y = self._pixel(centre)
        rx, ry = radii[0] * self.frame_width, radii[1] * self.frame_width
        if alpha >= 1:
            self._draw.ellipse((x - rx, y - ry, x + rx, y + ry), fill=_fill(colour))
            return
        left, top, mask = self._empty_mask(x - rx, y - ry, x + rx, y + ry)
        if mask is not None:
            place = (x - rx - left, y - ry - top, x + rx - left, y + ry - top)
            ImageDraw.Draw(mask).ellipse(place, fill=int(255 * alpha))
            self._paste(left, top, mask, colour)

    def line(self, points: Sequence[Point], colour: Colour, width: float) -> None:
        """Draw a line through points; ``width`` is a fraction of the frame's width."""
        pixels = max(1, round(width * self.frame_width))
        self._draw.line(self._pixels(points), fill=_fill(colour), width=pixels, joint="curve")

    def _empty_mask(self, x0: float, y0: float, x1: float, y1: float) -> tuple[int, int, Image.Image | None]:
        left, top = max(0, int(x0) - 1), max(0, int(y0) - 1)
        right, bottom = min(self.width, int(x1) + 2), min(self.height, int(y1) + 2)
        if right <= left or bottom <= top:
            return left, top, None
        return left, top, Image.new("L", (right - left, bottom - top))

    def _paste(self, left: int, top: int, mask: Image.Image, colour: Colour) -> None:
        self.image.paste(_fill(colour), (left, top, left + mask.width, top + mask.height), mask)

    def finish(self) -> Image.Image:
        """Return the picture at its final size."""
        return self.image.reduce(self.supersample) if self.supersample > 1 else self.image
