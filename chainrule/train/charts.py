"""Charts as SVG, drawn by hand: curves over epochs, an interval, a scatter."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT = 720, 260
LEFT, RIGHT, TOP, BOTTOM = 62, 16, 30, 40
COLOURS = ("var(--a)", "var(--b)")


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


class _Scale:
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


def _frame(x: _Scale, y: _Scale, across: str, up: str, title: str, inside: str, height: int) -> str:
    grid = "".join(
        f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(t):.1f}" y2="{y(t):.1f}" '
        f'stroke="var(--line)"/><text x="{LEFT - 8}" y="{y(t) + 4:.1f}" text-anchor="end">{t:g}'
        "</text>"
        for t in y.ticks()
    )
    # Whatever is counted, such as epochs, has no half steps.
    places = [t for t in x.ticks() if across != "epochs" or t == int(t)]
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


def curves(
    epochs: Sequence[int], series: Mapping[str, Sequence[float | None]], best: int, up: str
) -> str:
    """Lines over epochs, the kept epoch marked; a dot where there is one epoch alone."""
    present = {
        name: [(e, v) for e, v in zip(epochs, values, strict=True) if v is not None and _finite(v)]
        for name, values in series.items()
    }
    present = {name: points for name, points in present.items() if points}
    values = [v for points in present.values() for _, v in points]
    if not values:
        return ""
    x = _Scale([*epochs], LEFT, WIDTH - RIGHT, False)
    x.low, x.high = epochs[0] - 0.5, epochs[-1] + 0.5
    # A loss falls by factors; a score has its own scale, of which 1 is the end.
    y = _Scale(values, HEIGHT - BOTTOM, TOP, log=up == "loss")
    inside = (
        f'<line x1="{x(best):.1f}" x2="{x(best):.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}" '
        'stroke="var(--soft)" stroke-dasharray="4 4"/>'
    )
    place = WIDTH - RIGHT
    for (name, points), colour in zip(reversed(present.items()), reversed(COLOURS), strict=False):
        if len(present) == 1:
            colour = COLOURS[1]
        path = " ".join(f"{x(e):.1f},{y(v):.1f}" for e, v in points)
        if len(points) > 1:
            inside += f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'
        else:
            e, v = points[0]
            inside += f'<circle cx="{x(e):.1f}" cy="{y(v):.1f}" r="4" fill="{colour}"/>'
        inside += (
            f'<text x="{place}" y="16" text-anchor="end" style="fill:{colour}">{escape(name)} '
            f"{points[-1][1]:.4g}</text>"
        )
        place -= 190
    return _frame(x, y, "epochs", up, f"{' and '.join(present)} over epochs", inside, HEIGHT)


def interval(value: float, low: float, high: float, baseline: float, name: str) -> str:
    """A score with its interval, and the baseline, on one line."""
    given = [v for v in (value, low, high, baseline) if _finite(v)]
    x = _Scale(given, 12, WIDTH - 12, False)
    x.high = min(x.high, 1.0) if max(given) <= 1 and max(given) > x.low else x.high
    marks = "".join(
        f'<text x="{x(t):.1f}" y="64" text-anchor="middle">{t:g}</text>' for t in x.ticks()
    )
    near = x(value) - x(baseline) < 90
    return (
        f'<svg viewBox="0 0 {WIDTH} 70" role="img"><title>{name} {value:.4g}, interval {low:.4g} '
        f"to {high:.4g}, baseline {baseline:.4g}</title>"
        f'<line x1="12" x2="{WIDTH - 12}" y1="36" y2="36" stroke="var(--line)" stroke-width="2"/>'
        f'<line x1="{x(low):.1f}" x2="{x(high):.1f}" y1="36" y2="36" stroke="var(--a)" '
        'stroke-width="8" stroke-linecap="round" opacity=".45"/>'
        f'<circle cx="{x(value):.1f}" cy="36" r="7" fill="var(--a)"/>'
        f'<line x1="{x(baseline):.1f}" x2="{x(baseline):.1f}" y1="24" y2="48" stroke="var(--b)" '
        'stroke-width="3"/>'
        f'<text x="{x(baseline):.1f}" y="{14 if near else 18}" '
        f'text-anchor="{"start" if x(baseline) < WIDTH / 2 else "end"}" style="fill:var(--b)">'
        f"baseline</text>{marks}</svg>"
    )


def scatter(pairs: Sequence[Sequence[float]], across: str, up: str) -> str:
    """Dots, and the line on which both are equal."""
    points = [(a, b) for a, b in pairs if _finite(a) and _finite(b)]
    if not points:
        return ""
    height = 420
    both = [v for point in points for v in point]
    x = _Scale(both, LEFT, WIDTH - RIGHT, False)
    y = _Scale(both, height - BOTTOM, TOP, False)
    dots = "".join(
        f'<circle cx="{x(a):.1f}" cy="{y(b):.1f}" r="3" fill="var(--a)" opacity=".55"/>'
        for a, b in points
    )
    line = (
        f'<line x1="{x(x.low):.1f}" y1="{y(y.low):.1f}" x2="{x(x.high):.1f}" y2="{y(y.high):.1f}" '
        'stroke="var(--b)" stroke-dasharray="5 4"/>'
    )
    return _frame(x, y, across, up, f"{up} against {across}", line + dots, height)


def _finite(value: float) -> bool:
    return math.isfinite(value)
