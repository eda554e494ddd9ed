"""The attributes of a scene, and how they are sampled at random.

Independent of pixels (:mod:`tools.demo_model.render`) and words (:mod:`tools.demo_model.captions`).

Default sides keep the pictures easy to learn, because prompts rarely mention everything: the main object is in the
middle by default, a sun or moon opposite the main object (on the right if that is in the middle), and trees opposite it
as well (on the left if it is in the middle).

One in eight combinations of time, ground, main object and colour is never trained on (:func:`is_held_out`), so that the
evaluation requests pictures that the model has never seen.
"""

import random
import zlib
from dataclasses import dataclass
from typing import Literal, get_args

Time = Literal["dawn", "day", "sunset", "night"]
Ground = Literal["lake", "sea", "desert", "meadow", "snow"]
Kind = Literal["boat", "house", "pagoda", "lighthouse", "balloon", "bridge"]
Colour = Literal["red", "yellow", "blue", "white"]
Side = Literal["left", "center", "right"]
Mountains = Literal["snowy", "green", "purple"]
Tree = Literal["pine", "cherry", "palm", "maple"]
Celestial = Literal["sun", "full moon", "crescent moon"]
CelestialColour = Literal["red", "yellow", "white"]
Stars = Literal["none", "some", "many"]

TIMES: tuple[Time, ...] = get_args(Time)
GROUNDS: tuple[Ground, ...] = get_args(Ground)
KINDS: tuple[Kind, ...] = get_args(Kind)
COLOURS: tuple[Colour, ...] = get_args(Colour)

KINDS_ON: dict[Ground, tuple[Kind, ...]] = {
    "lake": ("boat", "boat", "house", "pagoda", "balloon", "bridge", "bridge"),
    "sea": ("boat", "boat", "lighthouse", "lighthouse", "balloon"),
    "desert": ("house", "pagoda", "balloon", "balloon"),
    "meadow": ("house", "pagoda", "lighthouse", "balloon"),
    "snow": ("house", "house", "pagoda", "balloon", "lighthouse"),
}
"""Ground -> main objects that occur on it; repeated names are more frequent."""

TREES_ON: dict[Ground, tuple[Tree | None, ...]] = {
    "lake": ("pine", "cherry", "maple", None, None),
    "sea": ("palm", None, None),
    "desert": ("palm", "palm", None),
    "meadow": ("pine", "cherry", "maple", None),
    "snow": ("pine", "pine", None),
}

TALL_KINDS: frozenset[Kind] = frozenset({"pagoda", "lighthouse", "balloon"})
"""Main objects that reach into the sky and would hide a sun or moon on the same side."""


@dataclass(frozen=True, slots=True)
class Scene:
    """All attributes of a picture that a caption can mention."""

    time: Time
    ground: Ground
    kind: Kind | None
    colour: Colour
    """Colour of the main object; unused if there is none."""
    side: Side
    """Side of the main object."""
    celestial: Celestial | None
    celestial_colour: CelestialColour
    """Red or yellow for a sun, yellow or white for a moon."""
    celestial_side: Side
    mountains: Mountains | None
    tree: Tree | None
    tree_count: int
    """One to three; unused if there are no trees."""
    tree_side: Side
    clouds: bool
    birds: bool
    stars: Stars
    """"none" by day."""


def default_tree_side(side: Side) -> Side:
    """Return the default side of trees for the main object's side; captions need not mention it."""
    return "right" if side == "left" else "left"


def _sample_tree_side(rng: random.Random, side: Side) -> Side:
    if side == "center" and rng.random() < 0.4:
        return "right"
    return default_tree_side(side)


def default_celestial_side(side: Side) -> Side:
    """Return the default side of a sun or moon for the main object's side; captions need not mention it."""
    return "left" if side == "right" else "right"


def _sample_celestial_side(rng: random.Random, kind: Kind | None, side: Side) -> Side:
    if rng.random() < 0.5:
        return default_celestial_side(side)
    sides: tuple[Side, ...] = ("left", "center", "right")
    if kind in TALL_KINDS:
        sides = tuple(other for other in sides if other != side)
        if side != "center":
            return default_celestial_side(side)
    return rng.choice(sides)


def is_held_out(time: Time, ground: Ground, kind: Kind | None, colour: Colour) -> bool:
    """Whether this combination is reserved for the evaluation; always the same ones."""
    return kind is not None and zlib.crc32(f"{time} {ground} {kind} {colour}".encode()) % 8 == 0


def _sample_stars(rng: random.Random, time: Time) -> Stars:
    return rng.choices(("none", "some", "many"), weights=(15, 55, 30))[0] if time == "night" else "none"


def sample_scene(rng: random.Random, held_out: bool = False) -> Scene:
    """Sample a scene, of a held-out combination or of a training combination."""
    while True:
        time = rng.choice(TIMES)
        ground = rng.choice(GROUNDS)
        kind = rng.choice(KINDS_ON[ground]) if rng.random() > 0.05 else None
        colour = rng.choice(COLOURS)
        if is_held_out(time, ground, kind, colour) == held_out:
            break
    side: Side = rng.choices(("left", "center", "right"), weights=(28, 44, 28))[0]
    celestial: Celestial | None = None
    if rng.random() < 0.7:
        moon: Celestial = rng.choice(("full moon", "crescent moon"))
        celestial = moon if time == "night" else "sun"
    other: CelestialColour = "red" if celestial == "sun" else "white"
    return Scene(
        time=time,
        ground=ground,
        kind=kind,
        colour=colour,
        side=side,
        celestial=celestial,
        celestial_colour="yellow" if rng.random() < 0.6 else other,
        celestial_side=_sample_celestial_side(rng, kind, side),
        mountains=rng.choices((None, "snowy", "green", "purple"), weights=(33, 27, 22, 18))[0],
        tree=rng.choice(TREES_ON[ground]),
        tree_count=rng.choices((1, 2, 3), weights=(40, 35, 25))[0],
        tree_side=_sample_tree_side(rng, side),
        clouds=rng.random() < 0.42,
        birds=rng.random() < 0.3,
        stars=_sample_stars(rng, time),
    )
