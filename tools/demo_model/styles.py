"""Two drawing styles for the LoRAs: an ink wash painting, and a winter landscape in falling snow.

A style changes colours and light, never shapes.
"""

from dataclasses import dataclass

from tools.demo_model.canvas import Colour, mix
from tools.demo_model.render import LIGHTS, Light, Look

PAPER: Colour = (240, 232, 214)
INK: Colour = (38, 40, 48)
VERMILION: Colour = (198, 58, 42)
SNOW: Colour = (236, 242, 250)
PALE: Colour = (196, 208, 226)


@dataclass(frozen=True, slots=True)
class Style:
    """A drawing style with its trigger words and title."""

    look: Look
    triggers: tuple[str, str]
    """Trigger words, Chinese and English."""
    title: str


def _brightness(paint: Colour) -> float:
    """Return the perceived brightness, 0..1."""
    return (0.3 * paint[0] + 0.59 * paint[1] + 0.11 * paint[2]) / 255


def ink_paint(paint: Colour) -> Colour:
    """Map a colour to a shade of ink on paper; red becomes vermilion, and pink a wash of it."""
    red, green, blue = paint
    if red - max(green, blue) > 80:
        return VERMILION
    shade = mix(INK, PAPER, _brightness(paint) ** 1.9)
    return mix(shade, VERMILION, 0.4) if red - green > 50 and blue > green else shade


def winter_paint(paint: Colour) -> Colour:
    """Map the colours of grass, leaves and sand to snow; other colours become paler."""
    red, green, blue = paint
    leafy = green - max(red, blue) > 12
    sandy = 80 < red - blue < 170 and green > 0.55 * red
    if leafy or sandy:
        return mix(mix(paint, PALE, 0.8), SNOW, 0.25 + 0.6 * _brightness(paint))
    return mix(paint, PALE, 0.15)


def _ink_light(top: str, middle: str, horizon: str, tint_share: float = 0.0) -> Light:
    return Light(((0, top), (0.6, middle), (1, horizon)), horizon, "#2c2d34", tint_share, 1.0)


def _winter_light(light: Light, sky: tuple[str, str, str]) -> Light:
    top, middle, horizon = sky
    return Light(
        ((0, top), (0.55, middle), (1, horizon)), horizon, light.tint, 0.6 * light.tint_share, light.brightness
    )


INK_WASH = Look(
    {
        "dawn": _ink_light("#bdb7a9", "#e2dac8", "#f4eddd"),
        "day": _ink_light("#d9d2c1", "#ece5d5", "#f6f0e2"),
        "sunset": _ink_light("#857f78", "#c9b9a4", "#ecdcc0", 0.12),
        "night": _ink_light("#35363c", "#5f5e60", "#a39d92", 0.35),
    },
    ink_paint,
)
WINTER = Look(
    {
        "dawn": _winter_light(LIGHTS["dawn"], ("#8d9cc4", "#c3bdd6", "#f0dede")),
        "day": _winter_light(LIGHTS["day"], ("#8fb2d2", "#b9d0e3", "#e3ecf3")),
        "sunset": _winter_light(LIGHTS["sunset"], ("#5f5480", "#b0708c", "#f0b48c")),
        "night": _winter_light(LIGHTS["night"], ("#141d40", "#2b3b68", "#566d9c")),
    },
    winter_paint,
    snowfall=True,
)
STYLES: dict[str, Style] = {
    "demo-ink-wash": Style(INK_WASH, ("水墨", "ink wash"), "水墨 Ink wash (demo model)"),
    "demo-snow": Style(WINTER, ("雪景", "snowfall"), "雪景 Falling snow (demo model)"),
}
"""Name of the LoRA's file -> style."""
