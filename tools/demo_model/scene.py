"""What is in a scene: a handful of named attributes, and how they are drawn at random.

Knows nothing about pixels (:mod:`tools.demo_model.render`) or words (:mod:`tools.demo_model.captions`).

Two conventions keep the pictures easy to learn, because a prompt rarely says everything:
a main thing whose side is not said stands in the middle, and a sun or moon whose side is not said stands
opposite the main thing (on the right if that is in the middle).
"""

import random
from dataclasses import dataclass
from typing import Literal, get_args

Time = Literal["dawn", "day", "sunset", "night"]
Ground = Literal["lake", "sea", "desert", "meadow", "snow"]
Kind = Literal["boat", "house", "pagoda", "lighthouse", "balloon"]
Colour = Literal["red", "yellow", "blue", "white"]
Side = Literal["left", "center", "right"]
Mountains = Literal["snowy", "green"]
Tree = Literal["pine", "cherry", "palm"]
Celestial = Literal["sun", "full moon", "crescent moon"]

TIMES: tuple[Time, ...] = get_args(Time)
GROUNDS: tuple[Ground, ...] = get_args(Ground)
KINDS: tuple[Kind, ...] = get_args(Kind)
COLOURS: tuple[Colour, ...] = get_args(Colour)

KINDS_ON: dict[Ground, tuple[Kind, ...]] = {
    "lake": ("boat", "boat", "house", "pagoda", "balloon"),
    "sea": ("boat", "boat", "lighthouse", "lighthouse", "balloon"),
    "desert": ("house", "pagoda", "balloon", "balloon"),
    "meadow": ("house", "pagoda", "lighthouse", "balloon"),
    "snow": ("house", "house", "pagoda", "balloon", "lighthouse"),
}
"""Which main things stand on which ground; repeated names are drawn more often."""

TREES_ON: dict[Ground, tuple[Tree | None, ...]] = {
    "lake": ("pine", "cherry", None, None),
    "sea": ("palm", None, None),
    "desert": ("palm", "palm", None),
    "meadow": ("pine", "cherry", None),
    "snow": ("pine", "pine", None),
}

TALL_KINDS: frozenset[Kind] = frozenset({"pagoda", "lighthouse", "balloon"})
"""Main things that reach into the sky, where they would hide a sun or moon on their own side."""


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything that a caption can say about one picture."""

    time: Time
    ground: Ground
    kind: Kind | None
    colour: Colour
    """Colour of the main thing; without one it means nothing."""
    side: Side
    """Where the main thing stands."""
    celestial: Celestial | None
    celestial_colour: Literal["red", "yellow"]
    celestial_side: Side
    mountains: Mountains | None
    tree: Tree | None
    tree_side: Side
    clouds: bool


def _tree_side(rng: random.Random, side: Side) -> Side:
    if side == "center":
        return rng.choice(("left", "right"))
    return "left" if side == "right" else "right"


def default_celestial_side(side: Side) -> Side:
    """The side of a sun or moon that a caption need not mention."""
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


def sample_scene(rng: random.Random) -> Scene:
    """One scene, all attributes drawn from ``rng``."""
    time = rng.choice(TIMES)
    ground = rng.choice(GROUNDS)
    kind = rng.choice(KINDS_ON[ground]) if rng.random() > 0.05 else None
    side: Side = rng.choices(("left", "center", "right"), weights=(28, 44, 28))[0]
    celestial: Celestial | None = None
    if rng.random() < 0.7:
        moon: Celestial = rng.choice(("full moon", "crescent moon"))
        celestial = moon if time == "night" else "sun"
    return Scene(
        time=time,
        ground=ground,
        kind=kind,
        colour=rng.choice(COLOURS),
        side=side,
        celestial=celestial,
        celestial_colour=rng.choice(("red", "yellow")) if celestial == "sun" else "yellow",
        celestial_side=_sample_celestial_side(rng, kind, side),
        mountains=rng.choice((None, "snowy", "green")),
        tree=rng.choice(TREES_ON[ground]),
        tree_side=_tree_side(rng, side),
        clouds=rng.random() < 0.45,
    )
