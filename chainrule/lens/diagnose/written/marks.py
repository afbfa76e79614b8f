"""What the pictures of a diagnosis are made of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import TypeVar

import numpy as np

from chainrule.drawing import RIGHT, WIDTH

T = TypeVar("T")


def polyline(
    points: Sequence[tuple[float, float]], colour: str, width: float, name: str = ""
) -> str:
    """A line through points; a dot where there is one alone."""
    title = f"<title>{name}</title>" if name else ""
    if len(points) == 1:
        x, y = points[0]
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" style="fill:{colour}">{title}</circle>'
    path = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
    return (
        f'<polyline points="{path}" fill="none" style="stroke:{colour}" stroke-width="{width}" '
        f'stroke-linejoin="round">{title}</polyline>'
    )


def legend(entries: Sequence[tuple[str, str]], apart: int = 190) -> str:
    """(name, colour) of each line, at the top on the right."""
    return "".join(
        f'<text x="{WIDTH - RIGHT - apart * i}" y="16" text-anchor="end" style="fill:{colour}">'
        f"{escape(name)}</text>"
        for i, (name, colour) in enumerate(reversed(entries))
    )


def some(values: Sequence[T], most: int) -> list[T]:
    """All of them, or so many from the first to the last at equal distances."""
    if len(values) <= most:
        return list(values)
    return [values[i] for i in np.linspace(0, len(values) - 1, most).round().astype(int)]


def known(value: float | None) -> bool:
    """Whether there is a number that can be drawn."""
    return value is not None and math.isfinite(value)


def side(at: float) -> str:
    """On which side of its place a text stays inside of the picture."""
    return "start" if at < WIDTH / 2 else "end"


def short(name: str) -> str:
    """A layer's name, in few letters."""
    return fit(name.removesuffix(".weight"), 20)


def fit(name: str, most: int) -> str:
    """A text of so many letters at most."""
    return name if len(name) <= most else f"{name[: most - 1]}…"
