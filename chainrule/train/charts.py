"""Charts as SVG, drawn by hand: curves over epochs, an interval, a scatter."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from chainrule.drawing import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Scale, frame

COLOURS = ("var(--a)", "var(--b)")


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
    x = Scale([*epochs], LEFT, WIDTH - RIGHT, False)
    x.low, x.high = epochs[0] - 0.5, epochs[-1] + 0.5
    # A loss falls by factors; a score has its own scale, of which 1 is the end.
    y = Scale(values, HEIGHT - BOTTOM, TOP, log=up == "loss")
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
    return frame(x, y, "epochs", up, f"{' and '.join(present)} over epochs", inside, HEIGHT)


def interval(value: float, low: float, high: float, baseline: float, name: str) -> str:
    """A score with its interval, and the baseline, on one line."""
    given = [v for v in (value, low, high, baseline) if _finite(v)]
    x = Scale(given, 12, WIDTH - 12, False)
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
    x = Scale(both, LEFT, WIDTH - RIGHT, False)
    y = Scale(both, height - BOTTOM, TOP, False)
    dots = "".join(
        f'<circle cx="{x(a):.1f}" cy="{y(b):.1f}" r="3" fill="var(--a)" opacity=".55"/>'
        for a, b in points
    )
    line = (
        f'<line x1="{x(x.low):.1f}" y1="{y(y.low):.1f}" x2="{x(x.high):.1f}" y2="{y(y.high):.1f}" '
        'stroke="var(--b)" stroke-dasharray="5 4"/>'
    )
    return frame(x, y, across, up, f"{up} against {across}", line + dots, height)


def _finite(value: float) -> bool:
    return math.isfinite(value)
