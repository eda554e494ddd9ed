"""Pseudorandom numbers from a seed, the same on every machine."""

from __future__ import annotations

MASK = 2**64 - 1
GOLDEN = 0x9E3779B97F4A7C15
"""2^64 divided by the golden ratio: the increment of splitmix64."""


def splitmix64(state: int) -> int:
    """The output of the splitmix64 generator in ``state``: 64 bits, each of which depends on every bit of ``state``.

    Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", 2014; constants as in Java's.
    """
    z = state & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


class Stream:
    """A sequence of draws, determined by a seed and a stream number."""

    def __init__(self, seed: int, number: int) -> None:
        self._state = splitmix64(seed + GOLDEN) ^ splitmix64(number + 1)

    def draw(self) -> float:
        """The next number in [0, 1), with the 53 bits of a float64."""
        self._state = (self._state + GOLDEN) & MASK
        return float((splitmix64(self._state) >> 11) * 2.0**-53)
