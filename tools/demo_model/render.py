"""Draws a :class:`~tools.demo_model.scene.Scene` as a paper-cut picture.

The same scene and seed give the same picture at 176x224, 336x432 and 672x864, because random numbers are drawn in the
same order at all sizes. In a picture of another shape, things keep their proportions and their places, as fractions of
width and height; ground and sky fill the picture. Heights increase downwards: 0 is the top of the picture, 1 its
bottom.
"""

import itertools
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PIL import Image

from tools.demo_model.canvas import FRAME_ASPECT, Canvas, Colour, Point, mix, rgb
from tools.demo_model.scene import CelestialColour, Ground, Kind, Scene, Side, Time, Tree
from zimage_app.domain.settings.stage import REFERENCE_STAGES
from zimage_app.domain.sizes import size_from, sized

Size = tuple[int, int]
"""Width and height in pixels."""
RATIOS = ("7:9", "1:1", "9:7", "9:16", "16:9")


def sizes_of(ratio: str) -> tuple[Size, ...]:
    """Return the sizes of the reference workflow's three stages for a picture of this ratio, as the page sets them."""
    stages = sized(REFERENCE_STAGES, *size_from(ratio, REFERENCE_STAGES))
    return tuple((stage.width, stage.height) for stage in stages)


SHAPES: dict[str, tuple[Size, ...]] = {ratio: sizes_of(ratio) for ratio in RATIOS}
"""Ratio -> sizes of the three stages."""
SIZES = SHAPES["7:9"]
"""The sizes of the usual shape."""

WHITE: Colour = (255, 255, 255)
RIDGE_POINTS = 61


@dataclass(frozen=True, slots=True)
class Light:
    """The colours and light of a time of day."""

    sky: tuple[tuple[float, str], ...]
    """Stops of the sky's gradient, from the zenith (0) to the horizon (1)."""
    haze: str
    """Colour that distant things fade into."""
    tint: str
    tint_share: float
    brightness: float


LIGHTS: dict[Time, Light] = {
    "dawn": Light(
        ((0, "#5f76b8"), (0.35, "#b79ccb"), (0.68, "#f6bfb4"), (1, "#ffe9cf")), "#f5c9bf", "#d98fa0", 0.22, 0.96
    ),
    "day": Light(((0, "#2f8fd6"), (0.5, "#74c2ee"), (1, "#d8f1f6")), "#c3e4f0", "#ffffff", 0.0, 1.0),
    "sunset": Light(
        ((0, "#432a66"), (0.35, "#a83a6e"), (0.68, "#f0703f"), (1, "#ffcf6b")), "#f08c58", "#a8324e", 0.30, 0.86
    ),
    "night": Light(((0, "#070f2e"), (0.5, "#16275c"), (1, "#3a5796")), "#2c4580", "#101d4a", 0.50, 0.74),
}


def unchanged(paint: Colour) -> Colour:
    return paint


@dataclass(frozen=True, slots=True)
class Look:
    """A drawing style: the plain one, or one of :mod:`tools.demo_model.styles`."""

    lights: dict[Time, Light]
    paint: Callable[[Colour], Colour] = unchanged
    """Maps a base colour to the style's, before lighting."""
    snowfall: bool = False


PLAIN = Look(LIGHTS)
MAIN_COLOURS = {"red": "#d8362f", "yellow": "#f4c430", "blue": "#2f6fd0", "white": "#f7f3ea"}
SIDE_X: dict[Side, float] = {"left": 0.29, "center": 0.5, "right": 0.71}
CELESTIAL_X: dict[Side, float] = {"left": 0.24, "center": 0.5, "right": 0.76}
CELESTIAL_Y: dict[Time, float] = {"dawn": 0.30, "day": 0.17, "sunset": 0.33, "night": 0.2}
CELESTIAL_RADIUS = 0.115
SUN_COLOURS: dict[CelestialColour, str] = {"red": "#e8402c", "yellow": "#ffd23f"}
MOON_COLOURS: dict[CelestialColour, str] = {"white": "#f4f6ff", "yellow": "#ffdf80"}
WATER: frozenset[Ground] = frozenset({"lake", "sea"})

CLOUD_PLACES: tuple[Point, ...] = ((0.17, 0.13), (0.81, 0.28))
BIRD_PLACES: tuple[tuple[float, float, float], ...] = ((0.47, 0.06, 0.085), (0.665, 0.045, 0.085), (0.86, 0.07, 0.085))
"""(x, y, half the wing span) of each bird."""

Ridge = list[Point]


class Painter:
    """Canvas, light and positions shared by the parts of one picture."""

    def __init__(self, scene: Scene, seed: int, canvas: Canvas, look: Look) -> None:
        self.scene = scene
        self.look = look
        self.canvas = canvas
        self.rng = random.Random(seed * 7919 + 13)
        self.light = look.lights[scene.time]
        self.haze = rgb(self.light.haze)
        self.frame_share = canvas.frame_width / canvas.width
        """Width of the frame in widths of the picture."""
        self.horizon = 0.555 + self.jitter(0.02)
        # Always in the same places: when suns moved by a fraction of a token, the model drew dents between two of them.
        self.celestial: Point = CELESTIAL_X[scene.celestial_side], CELESTIAL_Y[scene.time]
        self.hills: list[Ridge] = []
        """Ground lines from far to near on which things stand; for water the near shore."""

    def jitter(self, amount: float) -> float:
        return self.rng.uniform(-amount, amount)

    def paint(self, code: str) -> Colour:
        """Return a colour in this style without lighting."""
        return self.look.paint(rgb(code))

    def lit(self, code: str, share: float = 1.0) -> Colour:
        """Return a colour under this light; ``share`` below 1 keeps more of the original colour."""
        paint = self.paint(code)
        dim = 1 - (1 - self.light.brightness) * share
        dimmed = (paint[0] * dim, paint[1] * dim, paint[2] * dim)
        return mix(dimmed, rgb(self.light.tint), self.light.tint_share * share)

    @property
    def main_colour(self) -> Colour:
        return self.lit(MAIN_COLOURS[self.scene.colour], 0.35)

    @property
    def celestial_colour(self) -> Colour:
        colours = SUN_COLOURS if self.scene.celestial == "sun" else MOON_COLOURS
        return self.paint(colours[self.scene.celestial_colour])

    @property
    def window_colour(self) -> Colour:
        return self.paint("#ffd978") if self.scene.time in {"night", "sunset"} else self.lit("#cfe8f2", 0.4)

    @property
    def wall_colour(self) -> Colour:
        """A warm colour, so that walls stand out against snow."""
        return self.lit("#f6dfb6", 0.4)

    @property
    def dark_wood(self) -> Colour:
        return self.lit("#5a3a2a", 0.6)

    def stripe_colour(self, cream: str) -> Colour:
        """Return the second colour of striped things; greyish if the first is white."""
        if self.scene.colour == "white":
            return mix(self.main_colour, (120, 140, 175), 0.3)
        return self.lit(cream, 0.5)

    def ridge(self, y: float, amplitude: float, waves: float, jag: float = 1.0) -> Ridge:
        """Return a random hill line across the picture, the sum of three sines."""
        phases = [self.rng.uniform(0, math.tau) for _ in range(3)]
        spans = ((0.6, 1.1), (1.6, 2.4), (3.5, 5.0))
        parts = [
            (weight, self.rng.uniform(*span) * waves, phase)
            for weight, span, phase in zip((0.62, 0.28, 0.10 * jag), spans, phases, strict=True)
        ]
        xs = [i / (RIDGE_POINTS - 1) for i in range(RIDGE_POINTS)]
        return [(x, y - amplitude * sum(w * math.sin(f * math.tau * x + p) for w, f, p in parts)) for x in xs]


def ridge_height(ridge: Ridge, x: float) -> float:
    """Return the interpolated height of a hill line at ``x``."""
    place = min(max(x, 0.0), 1.0) * (RIDGE_POINTS - 1)
    i = min(RIDGE_POINTS - 2, int(place))
    return ridge[i][1] + (ridge[i + 1][1] - ridge[i][1]) * (place - i)


def below(ridge: Ridge, bottom: float = 1.0) -> list[Point]:
    """Return the polygon between a hill line and the height ``bottom``."""
    return [(0, bottom), *ridge, (1, bottom)]


# ---------------------------------------------------------------------------------------------------------- the sky


def draw_sky(p: Painter) -> None:
    p.canvas.gradient([(place, rgb(code)) for place, code in p.light.sky], 0, p.horizon + 0.06)
    if p.scene.stars != "none":
        draw_stars(p)
    if p.scene.celestial is not None:
        with p.canvas.around(p.celestial):
            draw_celestial(p)
    if p.scene.clouds:
        draw_clouds(p)


def draw_stars(p: Painter) -> None:
    """Draw 12 or 30 stars on a jittered grid."""
    columns, rows = (4, 3) if p.scene.stars == "some" else (6, 5)
    for i in range(columns * rows):
        column, row = i % columns, i // columns
        x = (column + 0.5 + (0.25 if row % 2 else -0.25) + p.jitter(0.08)) / columns
        y = 0.04 + 0.42 * row / rows + p.jitter(0.012)
        if not touches_celestial(p, (x, y)):
            p.canvas.ellipse((x, y), (0.008, 0.008), (255, 250, 225))


def touches_celestial(p: Painter, star: Point) -> bool:
    """Whether a star would look like a bump of the moon."""
    if p.scene.celestial is None:
        return False
    dx, dy = (star[0] - p.celestial[0]) * p.canvas.width, (star[1] - p.celestial[1]) * p.canvas.height
    return math.hypot(dx, dy) < (CELESTIAL_RADIUS + 0.02) * p.canvas.frame_width


def draw_celestial(p: Painter) -> None:
    radius, colour = CELESTIAL_RADIUS, p.celestial_colour
    x, y = p.celestial
    if p.scene.celestial == "crescent moon":
        p.canvas.polygon(crescent(p), colour)
        return
    p.canvas.ellipse((x, y), (radius, radius), colour)
    if p.scene.celestial == "full moon":
        for dx, dy, size in ((-0.3, -0.2, 0.22), (0.3, 0.25, 0.28)):
            spot = (x + dx * radius, y + dy * radius * FRAME_ASPECT)
            p.canvas.ellipse(spot, (radius * size, radius * size), mix(colour, (150, 160, 200), 0.28))


def crescent(p: Painter) -> list[Point]:
    """Return the crescent's outline: a half circle and a flattened half circle back, tilted by half a radian."""
    points, tilt = 40, 0.5
    start, chord = math.pi / 2 - tilt, (math.cos(math.pi - tilt), math.sin(math.pi - tilt))
    outer = [
        (math.cos(start + math.pi * i / points), math.sin(start + math.pi * i / points)) for i in range(points + 1)
    ]
    inner: list[Point] = []
    for ux, uy in reversed(outer):
        depth = (ux * chord[0] + uy * chord[1]) * 0.62
        inner.append((ux - chord[0] * depth, uy - chord[1] * depth))
    x, y = p.celestial
    return [(x + CELESTIAL_RADIUS * ux, y + CELESTIAL_RADIUS * FRAME_ASPECT * uy) for ux, uy in outer + inner]


def draw_clouds(p: Painter) -> None:
    for base_x, base_y in CLOUD_PLACES:
        place, size = (base_x + p.jitter(0.02), base_y + p.jitter(0.01)), p.rng.uniform(0.12, 0.14)
        puffs = [size * p.rng.uniform(0.42, 0.62) for _ in range(3)]
        if not hides_celestial(p, place):
            with p.canvas.around(place):
                draw_cloud(p, place, size, puffs)


def draw_cloud(p: Painter, place: Point, size: float, puffs: Sequence[float]) -> None:
    colour = mix(p.lit("#ffffff", 0.9), p.haze, 0.35 if p.scene.time == "night" else 0.15)
    (x, y), rise = place, size * FRAME_ASPECT
    base = [(x - size * 1.5, y), (x + size * 1.5, y)]
    p.canvas.polygon([*base, (x + size * 1.25, y - 0.24 * rise), (x - size * 1.25, y - 0.24 * rise)], colour)
    for sign in (-1, 1):
        p.canvas.ellipse((x + sign * size * 1.32, y - 0.16 * rise), (size * 0.3, size * 0.16), colour)
    for offset, width in zip((-0.7 * size, 0.0, 0.7 * size), puffs, strict=True):
        puff = width * (1.15 - abs(offset) / size * 0.45)
        p.canvas.ellipse((x + offset, y - puff * FRAME_ASPECT * 0.72), (puff, puff * 0.72), colour)


def hides_celestial(p: Painter, cloud: Point) -> bool:
    if p.scene.celestial is None:
        return False
    return abs(cloud[0] - p.celestial[0]) < 0.25 and abs(cloud[1] - 0.04 - p.celestial[1]) < 0.14


def draw_birds(p: Painter) -> None:
    """Draw three white birds at the top, always in the same place, where nothing else is.

    The model learns such a small thing only if it looks nearly the same in every picture.
    """
    for x, y, span in BIRD_PLACES:
        place = x + p.jitter(0.006), y + p.jitter(0.004)
        with p.canvas.around(place):
            draw_bird(p, place, span, (250.0, 250.0, 246.0))


def draw_bird(p: Painter, place: Point, span: float, colour: Colour) -> None:
    """Draw a bird as two raised wings."""
    (x, y), rise = place, span * FRAME_ASPECT
    for sign in (-1, 1):
        wing = [
            (x, y),
            (x + sign * 0.4 * span, y - 0.55 * rise),
            (x + sign * span, y - 0.35 * rise),
            (x + sign * 0.5 * span, y - 0.1 * rise),
        ]
        p.canvas.polygon([*wing, (x, y + 0.5 * rise)], colour)


# ---------------------------------------------------------------------------------------------------- the mountains


def draw_mountains(p: Painter) -> None:
    if p.scene.mountains is None:
        return
    paint = p.lit({"snowy": "#5d7fae", "green": "#4f9a6b", "purple": "#8a5fb0"}[p.scene.mountains], 0.7)
    colour = mix(paint, p.haze, 0.17)
    peaks = [0.3 + p.jitter(0.05), 0.74 + p.jitter(0.05)]
    p.rng.shuffle(peaks)
    for x in peaks:
        with p.canvas.around((x, p.horizon)):
            draw_mountain(p, x, colour)


def draw_mountain(p: Painter, x: float, colour: Colour) -> None:
    height, half = p.rng.uniform(0.17, 0.22), p.rng.uniform(0.4, 0.46)
    top, foot = p.horizon - height, p.horizon + 0.03
    left_foot, right_foot = x - half, x + half * p.rng.uniform(0.9, 1.15)

    def slope(foot_x: float, shares: Sequence[float]) -> list[Point]:
        return [(foot_x + (x - foot_x) * t, foot + (top - foot) * t**1.15 + p.jitter(0.004)) for t in shares]

    left = [(left_foot, foot), *slope(left_foot, (0.25, 0.5, 0.75))]
    right = [*slope(right_foot, (0.75, 0.5, 0.25)), (right_foot, foot)]
    peak = (x, top)
    p.canvas.gradient_polygon([*left, peak, *right], (colour, mix(colour, p.haze, 0.45)), (top, foot))
    crease = [(x + 0.03, foot), (x - 0.02, top + height * 0.55), (x + 0.025, top + height * 0.3)]
    p.canvas.polygon([peak, *right, *crease], mix(colour, (20, 20, 60), 0.5), 0.16)
    if p.scene.mountains == "snowy":
        draw_snow_cap(p, (left, peak, right), height)


def draw_snow_cap(p: Painter, outline: tuple[list[Point], Point, list[Point]], height: float) -> None:
    left, peak, right = outline
    x, top = peak
    snow = mix(p.lit("#ffffff", 0.55), p.haze, 0.05)
    edge = top + height * p.rng.uniform(0.36, 0.46)
    x_left, x_right = crossing([*left, peak], edge), crossing([peak, *right], edge)
    upper_left, upper_right = [q for q in left if q[1] < edge], [q for q in right if q[1] < edge]
    zigzag: list[Point] = []
    for i in range(1, 6):
        dip = (height if i % 2 else -height) * 0.13 * p.rng.uniform(0.6, 1.1)
        zigzag.append((x_right + (x_left - x_right) * i / 6, edge + dip))
    p.canvas.polygon([(x_left, edge), *upper_left, peak, *upper_right, (x_right, edge), *zigzag], snow)
    shade = [peak, *upper_right, (x_right, edge), *zigzag[:2], (x + 0.02, top + height * 0.3)]
    p.canvas.polygon(shade, mix(snow, (60, 80, 150), 0.5), 0.28)


def crossing(line: Sequence[Point], y: float) -> float:
    """Return the x at which a line of points first crosses the height ``y``."""
    for (x0, y0), (x1, y1) in itertools.pairwise(line):
        if (y0 - y) * (y1 - y) <= 0:
            return x0 + (x1 - x0) * ((y - y0) / (y1 - y0 + 1e-9))
    return line[0][0]


# ------------------------------------------------------------------------------------------------------- the ground


def draw_ground(p: Painter) -> None:
    ground = p.scene.ground
    if ground != "sea":
        far = {"lake": "#3f8a6c", "desert": "#c98d52", "meadow": "#5aa65a", "snow": "#a9bfd8"}[ground]
        hills = p.ridge(p.horizon + 0.005, 0.014, 0.7)
        p.canvas.polygon(below(hills, p.horizon + 0.12), mix(p.lit(far), p.haze, 0.35))
    if ground in WATER:
        draw_water(p)
    elif ground == "desert":
        draw_dunes(p)
    else:
        draw_slopes(p)


def draw_water(p: Painter) -> None:
    lake = p.scene.ground == "lake"
    far = mix(p.lit("#5fb6d6" if lake else "#3aa0c8"), p.haze, 0.45)
    near = p.lit("#1f6fa5" if lake else "#0f4f8c")
    top = p.horizon + (0.03 if lake else 0.005)
    p.canvas.gradient([(0, far), (1, near)], top, 1)
    if p.scene.celestial is not None:
        glitter = mix(p.celestial_colour, WHITE, 0.2)
        for i in range(6):
            p.canvas.ellipse((p.celestial[0], top + 0.025 + i * 0.05), (0.1 - 0.01 * i, 0.009), glitter, 0.62)
    if lake:
        for i in range(6):
            spot = ((i % 2) * 0.5 + 0.25 + p.jitter(0.1), top + 0.08 + 0.06 * i)
            p.canvas.ellipse(spot, (0.1, 0.006), mix(far, WHITE, 0.35), 0.45)
    else:
        draw_waves(p, far, near)
    lift = 1 if p.scene.tree_side == "right" else -1
    xs = [i / (RIDGE_POINTS - 1) for i in range(RIDGE_POINTS)]
    shore = [
        (x, 0.985 - 0.16 * max(0.0, (x if lift > 0 else 1 - x) - 0.25) ** 1.1 + 0.006 * math.sin(x * 30)) for x in xs
    ]
    p.hills = [shore]


def draw_waves(p: Painter, far: Colour, near: Colour) -> None:
    """Draw rows of scallops, each with a light rim."""
    for row in range(4):
        y, half = p.horizon + 0.085 + row * 0.095, 0.085 + 0.02 * row
        colour = mix(far, near, (row + 0.6) / 4)
        for drop, paint in ((0.0, mix(colour, WHITE, 0.45)), (0.008, colour)):
            p.canvas.box((0, y + drop), (1, 1), paint)
            for i in range(int(1 / (half * p.frame_share)) + 4):
                x = ((i - 1) * 2 + row % 2) * half * p.frame_share
                p.canvas.ellipse((x, y + drop), (half * 1.02, half * 0.42), paint)


def draw_shore(p: Painter) -> None:
    colour = p.lit("#3f8f5a" if p.scene.ground == "lake" else "#d9b36c", 0.9)
    shore = below(p.hills[0], 1.01)
    p.canvas.gradient_polygon(shore, (colour, mix(colour, (10, 30, 40), 0.3)), (0.8, 1))


def draw_dunes(p: Painter) -> None:
    for row, code in enumerate(("#eec07a", "#e3a85c", "#cf8a42")):
        line, paint = p.ridge(p.horizon + 0.07 + 0.11 * row, 0.03, 0.5, 0), p.lit(code)
        colours = mix(paint, p.haze, 0.25 - 0.1 * row), mix(paint, (90, 40, 20), 0.18)
        p.canvas.gradient_polygon(below(line), colours, (p.horizon, 1))
        crest = min(range(5, 55), key=lambda i: line[i][1])
        x, y = line[crest]
        p.canvas.polygon(
            [*line[crest:], (1, 1), (x + 0.18, 1), (x + 0.06, y + 0.06)], mix(paint, (70, 30, 30), 0.5), 0.2
        )
        p.hills.append(line)


def draw_slopes(p: Painter) -> None:
    """Draw three hills of grass or snow."""
    meadow = p.scene.ground == "meadow"
    for row, code in enumerate(("#8cc96b", "#5fb058", "#3c8f4c") if meadow else ("#dbe7f3", "#cfdfef", "#bfd3e8")):
        line, paint = p.ridge(p.horizon + 0.055 + 0.11 * row, 0.022, 0.5, 0), p.lit(code, 0.8)
        shade = (20, 50, 60) if meadow else (120, 150, 200)
        colours = mix(paint, p.haze, 0.28 - 0.12 * row), mix(paint, shade, 0.22)
        p.canvas.gradient_polygon(below(line), colours, (p.horizon, 1))
        p.hills.append(line)
    if meadow:
        petals = [p.lit(code, 0.5) for code in ("#ffe066", "#ff7a8a", "#ffffff", "#c58cff")]
        # Few patterns instead of any, so that the model can learn each of them.
        first = p.rng.choice((0.1, 0.31, 0.52))
        for i in range(9):
            spot = ((i * 0.618 + first) % 1 * 0.94 + 0.03, 0.86 + 0.05 * (i % 3) + p.jitter(0.01))
            p.canvas.ellipse(spot, (0.017, 0.017), petals[i % 4])


# --------------------------------------------------------------------------------------------------- the main thing


def draw_main(p: Painter) -> None:
    kind = p.scene.kind
    x, size = SIDE_X[p.scene.side] + p.jitter(0.03), p.rng.uniform(0.95, 1.05)
    if kind is not None:
        place = main_place(p, kind, x)
        with p.canvas.around(place):
            MAIN_PAINTERS[kind](p, place, size)


def main_place(p: Painter, kind: Kind, x: float) -> Point:
    """Return where the main object stands or hangs; draw an island under what can't stand on water."""
    if kind == "boat":
        return 0.5 + (x - 0.5) * 0.85, 0.78 + p.jitter(0.015)
    if kind == "balloon":
        return x, 0.30 + p.jitter(0.02)
    if kind == "bridge":
        return 0.5 + (x - 0.5) * 0.8, p.horizon + 0.2
    return x, foot_on_land(p, x)


def foot_on_land(p: Painter, x: float) -> float:
    """Return the height of the ground at ``x``; on water, draw an island there."""
    if p.scene.ground not in WATER:
        return ridge_height(p.hills[1], x) + 0.06
    foot = p.horizon + (0.16 if p.scene.ground == "lake" else 0.17)
    if p.scene.ground == "lake":
        draw_reflection(p, x, foot + 0.09)
    island = p.lit("#4d9a5f" if p.scene.ground == "lake" else "#7b6a5c", 0.8)
    p.canvas.ellipse((x, foot + 0.014), (0.275, 0.055), mix(island, (10, 30, 50), 0.35))
    p.canvas.ellipse((x, foot + 0.002), (0.265, 0.05), island)
    return foot


def draw_reflection(p: Painter, x: float, top: float) -> None:
    """Draw a column of streaks in the main object's colour."""
    for i in range(4):
        p.canvas.ellipse((x, top + 0.038 * i), (0.13 - 0.022 * i, 0.0095), p.main_colour, 0.62)


def draw_boat(p: Painter, place: Point, size: float) -> None:
    (x, y), s = place, 0.27 * size
    rise, hull = s * FRAME_ASPECT, p.main_colour
    sail = p.lit("#fff6e2", 0.5)
    p.canvas.ellipse((x, y + 0.08), (s * 1.05, 0.022), mix(p.lit("#0d3b66"), (0, 0, 0), 0.1), 0.45)
    if p.scene.ground == "lake":
        draw_reflection(p, x, y + 0.115)
    p.canvas.polygon([(x - s, y), (x + s, y), (x + s * 0.62, y + 0.37 * rise), (x - s * 0.62, y + 0.37 * rise)], hull)
    rim = y + 0.08 * rise
    p.canvas.polygon([(x - s, y), (x + s, y), (x + s * 0.93, rim), (x - s * 0.93, rim)], mix(hull, WHITE, 0.45))
    mast = 0.06 * s
    p.canvas.polygon(
        [(x - mast, y), (x + mast, y), (x + 0.005, y - 1.75 * rise), (x - 0.005, y - 1.75 * rise)], p.dark_wood
    )
    deck, front = y - 0.12 * rise, x + 0.1 * s
    p.canvas.polygon(
        [(front, deck), (front, y - 1.7 * rise), (x + 0.6 * s, y - 0.85 * rise), (x + 0.88 * s, deck)], sail
    )
    jib = [(x - 0.08 * s, deck), (x - 0.08 * s, y - 1.45 * rise), (x - 0.68 * s, deck)]
    p.canvas.polygon(jib, mix(sail, hull, 0.55))


def draw_house(p: Painter, place: Point, size: float) -> None:
    (x, y), s = place, 0.195 * size
    rise, wall, wood = s * FRAME_ASPECT, p.wall_colour, p.dark_wood
    eaves = y - 1.05 * rise
    p.canvas.box((x - s, y), (x + s, eaves), wall)
    p.canvas.box((x + s * 0.35, y), (x + s, eaves), mix(wall, (90, 60, 80), 0.18))
    p.canvas.box((x + s * 0.45, y - 1.3 * rise), (x + s * 0.75, y - 2.05 * rise), wood)
    roof = [(x - s * 1.28, y - 0.98 * rise), (x, y - 2.05 * rise), (x + s * 1.28, y - 0.98 * rise)]
    p.canvas.polygon(roof, p.main_colour)
    p.canvas.box((x - s * 0.2, y), (x + s * 0.2, y - 0.6 * rise), wood)
    for centre in (-0.62, 0.62):
        corner = (x + (centre - 0.19) * s, y - 0.4 * rise)
        p.canvas.box(corner, (x + (centre + 0.19) * s, y - 0.8 * rise), p.window_colour)


def draw_lighthouse(p: Painter, place: Point, size: float) -> None:
    (x, y), s, height, bands = place, 0.105 * size, 0.40 * size, 5
    colours = p.main_colour, p.stripe_colour("#fdf7ec")
    for i in range(bands):
        low, high = i / bands, (i + 1) / bands
        wide, narrow = s * (1 - 0.35 * low), s * (1 - 0.35 * high)
        y0, y1 = y - height * low, y - height * high
        p.canvas.polygon([(x - wide, y0), (x + wide, y0), (x + narrow, y1), (x - narrow, y1)], colours[i % 2])
        shade = [(x + wide * 0.35, y0), (x + wide, y0), (x + narrow, y1), (x + narrow * 0.35, y1)]
        p.canvas.polygon(shade, (40, 20, 60), 0.14)
    top, half = y - height, s * 0.65
    if p.scene.time != "day":
        reach = math.copysign(0.75, 0.5 - x) / p.frame_share
        p.canvas.polygon([(x, top - 0.03), (x + reach, top - 0.10), (x + reach, top + 0.04)], (255, 236, 160), 0.35)
    gallery = [
        (x - half * 1.35, top),
        (x + half * 1.35, top),
        (x + half * 1.2, top - 0.014),
        (x - half * 1.2, top - 0.014),
    ]
    p.canvas.polygon(gallery, p.dark_wood)
    p.canvas.box((x - half * 0.8, top - 0.014), (x + half * 0.8, top - 0.052), p.paint("#ffe27a"))
    p.canvas.polygon([(x - half * 1.1, top - 0.05), (x, top - 0.09), (x + half * 1.1, top - 0.05)], p.main_colour)


def draw_pagoda(p: Painter, place: Point, size: float) -> None:
    x, y = place
    scale, roof = size * 1.45, p.main_colour
    s = 0.13 * scale
    for storey in range(4):
        w, wall_height = s * (1 - 0.17 * storey), 0.048 * scale * (1 - 0.06 * storey)
        top = y - wall_height
        p.canvas.polygon([(x - w * 0.66, y), (x + w * 0.66, y), (x + w * 0.6, top), (x - w * 0.6, top)], p.wall_colour)
        p.canvas.polygon(
            [(x + w * 0.2, y), (x + w * 0.66, y), (x + w * 0.6, top), (x + w * 0.2, top)], (60, 30, 60), 0.14
        )
        opening = p.window_colour if storey else p.dark_wood
        p.canvas.box((x - w * 0.14, y), (x + w * 0.14, y - wall_height * 0.62), opening)
        y -= wall_height * 0.82
        tip, ridge, eave = y - 0.018 * scale, y - 0.030 * scale, y + 0.004
        left = [(x - w * 0.62, ridge), (x - w * 1.2, tip), (x - w * 0.85, eave)]
        p.canvas.polygon([*left, *((2 * x - px, py) for px, py in reversed(left))], roof)
        y -= 0.027 * scale
    p.canvas.polygon([(x - s * 0.34, y), (x, y - 0.05 * scale), (x + s * 0.34, y)], roof)
    p.canvas.line([(x, y - 0.045 * scale), (x, y - 0.085 * scale)], p.dark_wood, 0.009)


def draw_balloon(p: Painter, place: Point, size: float) -> None:
    (x, y), s = place, 0.205 * size
    rise, cream = s * FRAME_ASPECT, p.stripe_colour("#fff6e2")
    rope = p.lit("#6b4a34")
    for sign in (-1, 1):
        p.canvas.line([(x + sign * s * 0.5, y + 0.8 * rise), (x + sign * s * 0.2, y + 1.5 * rise)], rope, 0.008)
    gores = ((1.0, 0.86, 0.3, p.main_colour), (0.62, 0.55, 0.2, cream), (0.34, 0.3, 0.12, p.main_colour))
    for radius, shoulder, mouth, colour in gores:
        p.canvas.ellipse((x, y), (s * radius, s), colour)
        high, low = y + 0.47 * rise, y + 1.22 * rise
        p.canvas.polygon(
            [(x - s * shoulder, high), (x + s * shoulder, high), (x + s * mouth, low), (x - s * mouth, low)], colour
        )
    top, bottom = y + 1.42 * rise, y + 1.8 * rise
    basket = [(x - s * 0.24, top), (x + s * 0.24, top), (x + s * 0.19, bottom), (x - s * 0.19, bottom)]
    p.canvas.polygon(basket, p.lit("#8a5a34"))


def draw_bridge(p: Painter, place: Point, size: float) -> None:
    """Draw a humpback bridge with one wide arch and parapet posts."""
    x, y = place
    half, hump, thickness = 0.35 * size, 0.125 * size, 0.05
    colour = p.main_colour
    draw_reflection(p, x, y + 0.035)

    def deck(share: float) -> Point:
        return x + half * share, y - 0.055 - hump * (1 - share * share)

    shares = [i / 20 - 1 for i in range(41)]
    top = [deck(share) for share in shares]
    outline = [(x - half, y), *top, (x + half, y)]
    arch = deck(0)[1] + thickness
    outline += [
        (x + half * 0.58 * math.cos(math.pi * i / 24), y - (y - arch) * math.sin(math.pi * i / 24)) for i in range(25)
    ]
    p.canvas.polygon(outline, colour)
    p.canvas.line([(px, py - 0.004) for px, py in top], mix(colour, WHITE, 0.45), 0.016)
    for share in (-0.85, -0.43, 0.0, 0.43, 0.85):
        px, py = deck(share)
        p.canvas.box((px - 0.013, py), (px + 0.013, py - 0.04), mix(colour, (40, 20, 40), 0.28))


MAIN_PAINTERS: dict[Kind, Callable[[Painter, Point, float], None]] = {
    "boat": draw_boat,
    "house": draw_house,
    "lighthouse": draw_lighthouse,
    "pagoda": draw_pagoda,
    "balloon": draw_balloon,
    "bridge": draw_bridge,
}


# -------------------------------------------------------------------------------------------------------- the trees


TREE_SPOTS: dict[int, tuple[tuple[float, float], ...]] = {
    1: ((0.37, 1.08),),
    2: ((0.40, 1.0), (0.245, 0.84)),
    3: ((0.425, 0.86), (0.31, 0.72), (0.2, 0.6)),
}
"""Number of trees -> (distance from the middle, size) of each."""


def draw_trees(p: Painter) -> None:
    tree = p.scene.tree
    if tree is None:
        return
    sign, line = (-1 if p.scene.tree_side == "left" else 1), p.hills[-1]
    painter = TREE_PAINTERS[tree]
    for distance, size in reversed(TREE_SPOTS[p.scene.tree_count]):
        x = 0.5 + sign * (distance + p.jitter(0.012))
        foot = x, ridge_height(line, x) + 0.02
        with p.canvas.around(foot):
            painter(p, foot, size * p.rng.uniform(0.97, 1.05) * -sign)


def draw_pine(p: Painter, foot: Point, signed_size: float) -> None:
    (x, y), s = foot, abs(signed_size)
    height, width = 0.36 * s, 0.12 * s
    trunk = [(x - 0.014 * s, y), (x + 0.014 * s, y), (x + 0.012 * s, y - 0.08 * s), (x - 0.012 * s, y - 0.08 * s)]
    p.canvas.polygon(trunk, p.lit("#6b4630"))
    for i, code in enumerate(("#1f5f4a", "#256d52", "#2b7a5a", "#328763")):
        base, half, tall = y - 0.05 * s - height * 0.21 * i, width * (1 - 0.2 * i), height * 0.36 * (1 - 0.1 * i)
        tip = base - tall
        p.canvas.polygon([(x - half, base), (x, tip), (x + half, base)], p.lit(code, 0.85))
        p.canvas.polygon([(x, base), (x, tip), (x + half, base)], (10, 20, 50), 0.16)
        if p.scene.ground == "snow":
            low = base - tall * 0.62
            cap = [(x - half * 0.38, low), (x, tip), (x + half * 0.38, low), (x + half * 0.1, base - tall * 0.5)]
            p.canvas.polygon([*cap, (x - half * 0.12, base - tall * 0.66)], p.lit("#ffffff", 0.6))


CROWN_PUFFS = (
    (-0.10, 0.02, 0.085),
    (0.10, 0.02, 0.085),
    (0.0, -0.01, 0.105),
    (-0.06, -0.055, 0.075),
    (0.065, -0.06, 0.08),
    (0.0, -0.095, 0.07),
    (-0.05, -0.03, 0.05),
    (0.05, -0.08, 0.045),
)
"""(x offset, y offset, radius) of a round crown's ellipses, dark and low ones first."""


def draw_cherry(p: Painter, foot: Point, signed_size: float) -> None:
    draw_round_tree(p, foot, signed_size, ("#e8849f", "#f4a6ba", "#fbc6d2", "#ffdfe6"))


def draw_maple(p: Painter, foot: Point, signed_size: float) -> None:
    draw_round_tree(p, foot, signed_size, ("#b8371f", "#d9531e", "#ee7b22", "#f7a83a"))


def draw_round_tree(p: Painter, foot: Point, signed_size: float, paints: Sequence[str]) -> None:
    (x, y), s = foot, abs(signed_size)
    height, lean = 0.2 * s, math.copysign(0.03, signed_size)
    bark = p.lit("#6a4436")
    top = y - height
    p.canvas.polygon(
        [(x - 0.02 * s, y), (x + 0.02 * s, y), (x + lean + 0.01 * s, top), (x + lean - 0.012 * s, top)], bark
    )
    p.canvas.line(
        [(x + lean * 0.6, y - height * 0.6), (x + lean + 0.08 * signed_size, y - height * 1.05)], bark, 0.012 * s
    )
    colours = [p.lit(code, 0.7) for code in paints]
    for i, (dx, dy, radius) in enumerate(CROWN_PUFFS):
        puff = (x + lean + dx * s, y - height * 1.25 + dy * s)
        p.canvas.ellipse(puff, (radius * s, radius * s * 0.9), colours[i // 2])


def draw_palm(p: Painter, foot: Point, signed_size: float) -> None:
    (x, y), s = foot, abs(signed_size)
    height, lean = 0.26 * s, 0.07 * signed_size
    left: list[Point] = []
    right: list[Point] = []
    for i in range(9):
        t = i / 8
        centre, half, rise = x + lean * t * t, 0.013 * s * (1.2 - 0.5 * t), y - height * t
        left.append((centre - half, rise))
        right.append((centre + half, rise))
    p.canvas.polygon([*left, *reversed(right)], p.lit("#8a5f3c"))
    crown_x, crown_y = x + lean, y - height
    fronds = ((-2.9, 0.16), (-2.2, 0.13), (-1.57, 0.11), (-0.95, 0.13), (-0.25, 0.16), (0.35, 0.13), (2.8, 0.13))
    for angle, length in fronds:
        reach = length * s
        tip = (crown_x + reach * math.cos(angle), crown_y + reach * FRAME_ASPECT * (math.sin(angle) * 0.8 + 0.35))
        bend_x = crown_x + reach * 0.55 * math.cos(angle)
        bend_y = crown_y + reach * FRAME_ASPECT * (math.sin(angle) * 0.9 - 0.08)
        frond = [(crown_x, crown_y - 0.006), (bend_x, bend_y - 0.024 * s), tip, (bend_x, bend_y + 0.012 * s)]
        p.canvas.polygon(frond, p.lit("#2f8f5b" if angle < -1 else "#257a50", 0.8))


TREE_PAINTERS: dict[Tree, Callable[[Painter, Point, float], None]] = {
    "pine": draw_pine,
    "cherry": draw_cherry,
    "palm": draw_palm,
    "maple": draw_maple,
}


def draw_snowfall(p: Painter) -> None:
    """Draw snowflakes on a jittered grid, every third one large."""
    columns, rows = 9, 11
    for i in range(columns * rows):
        column, row = i % columns, i // columns
        x = (column + 0.5 + (0.25 if row % 2 else -0.25) + p.jitter(0.25)) / columns
        y = (row + 0.5 + p.jitter(0.3)) / rows
        radius = 0.012 if i % 3 == 0 else 0.008
        p.canvas.ellipse((x, y), (radius, radius), (250, 252, 255))


def render(scene: Scene, seed: int, size: Size, look: Look = PLAIN) -> Image.Image:
    """Draw the scene as an RGB picture of ``size`` (width, height) in pixels."""
    width, height = size
    p = Painter(scene, seed, Canvas(width, height, supersample=3 if width < 256 else 2), look)
    draw_sky(p)
    draw_mountains(p)
    draw_ground(p)
    draw_main(p)
    if scene.birds:
        draw_birds(p)
    if scene.ground in WATER:
        draw_shore(p)
    draw_trees(p)
    if look.snowfall:
        draw_snowfall(p)
    return p.canvas.finish()
