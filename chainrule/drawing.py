"""Charts as SVG, drawn by hand: axes, and the frame that a picture is put into."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

WIDTH, HEIGHT = 720, 260
LEFT, RIGHT, TOP, BOTTOM = 62, 16, 30, 40


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers from low to high: multiples of 1, 2 or 5 times a power of ten.

    >>> ticks(0.03, 0.98)
    [0.2, 0.4, 0.6, 0.8]
    """
    if not high > low:
        return [low]
    raw = (high - low) / about
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next(m * unit for m in (1, 2, 5, 10) if m * unit >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    return [round(i * step, digits) for i in range(first, last + 1)]


class Scale:
    """From numbers to places on the page; by their logarithm where they span much."""

    def __init__(self, values: Sequence[float], start: float, end: float, log: bool) -> None:
        low, high = min(values), max(values)
        self.log = log and low > 0 and high / low > 20
        if not self.log:
            pad = 0.06 * (high - low) or 0.5 * (abs(high) or 1)
            low, high = low - pad, high + pad
        self.low, self.high = low, high
        self.start, self.end = start, end

    def __call__(self, value: float) -> float:
        if self.log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[float]:
        if not self.log:
            return ticks(self.low, self.high)
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        decades = [m * 10.0**e for e in range(first, last + 1) for m in (1, 2, 5)]
        shown = [t for t in decades if self.low <= t <= self.high]
        return shown if len(shown) <= 7 else [t for t in shown if math.log10(t) % 1 < 1e-9]


def frame(x: Scale, y: Scale, across: str, up: str, title: str, inside: str, height: int) -> str:
    """A picture with its grid, the numbers along both axes, and what they count."""
    grid = "".join(
        f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(t):.1f}" y2="{y(t):.1f}" '
        f'stroke="var(--line)"/><text x="{LEFT - 8}" y="{y(t) + 4:.1f}" text-anchor="end">{t:g}'
        "</text>"
        for t in y.ticks()
    )
    # Whatever is counted, such as epochs, has no halves.
    places = [t for t in x.ticks() if across not in ("epochs", "steps") or t == int(t)]
    marks = "".join(
        f'<text x="{x(t):.1f}" y="{height - BOTTOM + 18}" text-anchor="middle">{t:g}</text>'
        for t in places
    )
    label = f"{escape(up)}{' (logarithmic)' if y.log else ''}"
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img"><title>{escape(title)}</title>'
        f"{grid}{marks}"
        f'<text x="{LEFT}" y="16">{label}</text>'
        f'<text x="{WIDTH - RIGHT}" y="{height - 6}" text-anchor="end">{escape(across)}</text>'
        f"{inside}</svg>"
    )
