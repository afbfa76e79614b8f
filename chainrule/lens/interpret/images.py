"""Rows that are images: pixels with a place, whether in an array or in the columns of a table."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

LEAST = 4
"""Pictures of fewer rows or columns of pixels are read more easily as a list."""
KNOWN = 0.8
"""This share of the pixels must be there; those that never change are often left out."""
PIXELS = ("pixel", "pixels", "px")
"""What numbered columns are called that go through an image line by line."""


def grid(shape: Sequence[int], names: Sequence[str]) -> tuple[int, int, np.ndarray] | None:
    """(height, width, the place of each column), where a row is an image; else None.

    Args:
        shape: of a row's input: (height, width), (1, height, width) or (features,).
        names: of the columns, in the order of the features; a column's name gives its place as in
            r0c5, pixel_0_5 or pixel17.

    >>> height, width, places = grid((4, 4), [str(i) for i in range(16)])
    >>> height, width, places[:5]
    (4, 4, array([0, 1, 2, 3, 4]))
    >>> grid((14,), [f"r{i // 4}c{i % 4}" for i in range(2, 16)])[2][:3]
    array([2, 3, 4])
    >>> grid((2,), ["age", "height"]) is None
    True
    """
    if len(shape) == 2 or (len(shape) == 3 and shape[0] == 1):
        height, width = shape[-2:]
        places = np.arange(height * width)
    else:
        found = _by_two(names) or _by_one(names)
        if found is None:
            return None
        height, width, places = found
    if min(height, width) < LEAST or len(places) != len(names):
        return None
    return height, width, places


def _by_two(names: Sequence[str]) -> tuple[int, int, np.ndarray] | None:
    """By line and column: r0c5, pixel_0_5."""
    found = [re.fullmatch(r"(\D*)(\d+)(\D+)(\d+)\D*", name) for name in names]
    if not all(found) or len({(m[1], m[3]) for m in found if m}) != 1:
        return None
    pairs = np.array([(int(m[2]), int(m[4])) for m in found if m])
    pairs -= np.minimum(pairs.min(0), 1)  # counted from 0 or from 1
    height, width = (int(n) for n in pairs.max(0) + 1)
    return _whole(height, width, pairs[:, 0] * width + pairs[:, 1])


def _by_one(names: Sequence[str]) -> tuple[int, int, np.ndarray] | None:
    """By a number along the lines of a square: pixel17."""
    found = [re.fullmatch(r"(\D*?)[ _-]?(\d+)", name) for name in names]
    if not all(found) or any(m[1].lower() not in PIXELS for m in found if m):
        return None
    places = np.array([int(m[2]) for m in found if m])
    places -= min(places.min(), 1)
    side = int(np.ceil(np.sqrt(places.max() + 1)))
    return _whole(side, side, places)


def _whole(height: int, width: int, places: np.ndarray) -> tuple[int, int, np.ndarray] | None:
    distinct = len(np.unique(places)) == len(places)
    if not distinct or len(places) < KNOWN * height * width:
        return None
    return height, width, places


def laid(
    values: np.ndarray, height: int, width: int, places: np.ndarray, empty: float
) -> np.ndarray:
    """(height, width): values at their places, and `empty` where there is none."""
    found = np.full(height * width, empty)
    found[places] = values
    return found.reshape(height, width)
