"""The pictures of an interpretation, as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from chainrule.drawing import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Scale, frame
from chainrule.probability.calibration.real import QuantileCoverage
from chainrule.probability.calibration.reliability import Reliability

TALL = 360
COLUMN = 60
"""The height of the tallest grey column, which says how many rows a bin holds."""
BAR = 22
ACROSS, NAMED, AMOUNTS = 520, 172, 74
"""The width of a picture of bars, and in it of their names and of their amounts."""
LETTERS = 25
"""So many of a name's letters are shown."""


def reliability(before: Reliability, after: Reliability | None) -> str:
    """Confidence against the share that was right, with intervals; the diagonal is agreement."""
    x, y = _unit(LEFT, WIDTH - RIGHT), _unit(TALL - BOTTOM, TOP)
    most = max(1, int(before.count.max()))
    inside = [_diagonal(x, y)]
    for b in np.flatnonzero(before.count):
        tall = COLUMN * before.count[b] / most
        left, right = x(float(before.low[b])), x(float(before.high[b]))
        inside.append(
            _rect(left + 1, TALL - BOTTOM - tall, right - left - 2, tall, "line",
                  f"{int(before.count[b])} rows")
        )  # fmt: skip
    inside += _points(before, x, y, "a", round=True)
    names = [("as it is", "a")]
    if after is not None:
        inside += _points(after, x, y, "b", round=False)
        names.append(("recalibrated", "b"))
    inside.append(_legend(names))
    return frame(x, y, "what the network says", "share that was right", "Reliability diagram",
                 "".join(inside), TALL)  # fmt: skip


def _points(found: Reliability, x: Scale, y: Scale, colour: str, round: bool) -> list[str]:
    marks = []
    for b in np.flatnonzero(found.count):
        at, to = x(float(found.confidence[b])), y(float(found.right[b]))
        low, high = (y(float(end)) for end in found.interval[b])
        told = (
            f"{found.confidence[b]:.3f} said, {found.right[b]:.3f} right of {int(found.count[b])} "
            "rows"
        )
        mark = (
            _circle(at, to, colour, told)
            if round
            else _rect(at - 4, to - 4, 8, 8, colour, told)
        )  # fmt: skip
        marks.append(_upright(at, low, high, colour) + mark)
    return marks


def quantiles(found: QuantileCoverage) -> str:
    """Levels against the share of true targets below the quantile."""
    x, y = _unit(LEFT, WIDTH - RIGHT), _unit(TALL - BOTTOM, TOP)
    inside = [_diagonal(x, y)]
    for level, share, (low, high) in zip(found.levels, found.share, found.interval, strict=True):
        at, told = x(float(level)), f"{share:.3f} below the quantile {level:.2f}"
        inside.append(_upright(at, y(float(low)), y(float(high)), "a"))
        inside.append(_circle(at, y(float(share)), "a", told))
    return frame(x, y, "level of the quantile", "share of targets below", "Quantile coverage",
                 "".join(inside), TALL)  # fmt: skip


def histogram(values: np.ndarray, across: str, title: str, bins: int = 20,
              flat: float | None = None, unit: bool = True) -> str:  # fmt: skip
    """How many rows have which value; `flat` is drawn as the height of a uniform distribution."""
    low, high = (0.0, 1.0) if unit else (float(values.min()), float(values.max()))
    counts, edges = np.histogram(values, bins, (low, high if high > low else low + 1))
    ends = LEFT, WIDTH - RIGHT
    x = _unit(*ends) if unit else Scale(edges.tolist(), *ends, False)
    y = _from_zero(float(max(counts.max(), flat or 1)))
    floor = y(0.0)
    inside = []
    for n, start, end in zip(counts, edges, edges[1:], strict=False):
        left, top = x(float(start)), y(float(n))
        wide = x(float(end)) - left - 2
        inside.append(_rect(left + 1, top, wide, floor - top, "a", f"{n} rows"))
    if flat is not None:
        inside.append(
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(flat):.1f}" y2="{y(flat):.1f}" '
            'stroke="var(--b)" stroke-dasharray="5 4"/>'
        )
    return frame(x, y, across, "rows", title, "".join(inside), HEIGHT)


def risk(confidence: np.ndarray, right: np.ndarray) -> str:
    """What is wrong among the rows that the network is surest of, from few to all."""
    order = np.argsort(-confidence, kind="stable")
    n = len(order)
    error = np.cumsum(1 - right[order].astype(np.float64)) / np.arange(1, n + 1)
    # The error of a handful of rows is chance.
    keep = np.unique(np.linspace(min(19, n - 1), n - 1, 200).astype(int))
    x, y = _unit(LEFT, WIDTH - RIGHT), _from_zero(max(0.01, float(error[keep].max())))
    points = " ".join(f"{x((i + 1) / n):.1f},{y(float(error[i])):.1f}" for i in keep)
    line = f'<polyline points="{points}" fill="none" stroke="var(--a)" stroke-width="2"/>'
    return frame(x, y, "share of rows answered, the surest first", "share of them wrong",
                 "Risk and coverage", line, HEIGHT)  # fmt: skip


def bars(shares: Sequence[tuple[str, float]], title: str, sign: bool = True) -> str:
    """Amounts one below the other; with a sign to both sides of a line."""
    most = max((abs(v) for _, v in shares), default=0.0) or 1.0
    both = any(v < 0 for _, v in shares)
    room = (ACROSS - NAMED - AMOUNTS) / (2 if both else 1)
    start = NAMED + room if both else float(NAMED)
    parts = []
    for i, (name, value) in enumerate(shares):
        top, size = 4 + BAR * i, room * abs(value) / most
        left = start - size if value < 0 else start
        shown = f"{value:+.3g}" if sign else f"{value:,.0f}" if value % 1 == 0 else f"{value:.3g}"
        parts += [
            _name(name, top + 14), _amount(shown, top + 14),
            _rect(left, top, max(size, 0.5), BAR - 6, "b" if value < 0 else "a"),
        ]  # fmt: skip
    height = 8 + BAR * max(1, len(shares))
    parts.append(
        f'<line x1="{start:.0f}" x2="{start:.0f}" y1="0" y2="{height}" stroke="var(--soft)"/>'
    )
    return _svg(ACROSS, height, title, parts, "bars")


def split(rows: Sequence[tuple[str, float, float]], unit: str) -> str:
    """(name, the data's part, the model's part) of each row's doubt, as one bar each."""
    most = max((a + b for _, a, b in rows), default=0.0) or 1.0
    room = ACROSS - NAMED - AMOUNTS
    parts = [_legend([("the data's", "a"), ("the model's", "b")], top=2)]
    for i, (name, aleatoric, epistemic) in enumerate(rows):
        top = 28 + BAR * i
        first, second = room * aleatoric / most, room * epistemic / most
        parts += [
            _name(name, top + 14),
            _amount(f"{aleatoric + epistemic:.3g} {unit}".strip(), top + 14),
            _rect(NAMED, top, first, BAR - 6, "a", f"{aleatoric:.3g}"),
            _rect(NAMED + first, top, second, BAR - 6, "b", f"{epistemic:.3g}"),
        ]
    return _svg(ACROSS, 34 + BAR * len(rows), "Whose the doubt is", parts, "bars")


def picture(pixels: np.ndarray, amounts: np.ndarray) -> str:
    """An image, and beside it what each of its pixels added: (height, width) each."""
    high, wide = pixels.shape
    size = 220 / max(high, wide)
    beside, shade = wide * size + 20, pixels - pixels.min()
    shade, strength = (values / (values.max() or 1.0) for values in (shade, np.abs(amounts)))
    parts = []
    for i, j in np.ndindex(high, wide):
        amount, colour = float(amounts[i, j]), "a" if amounts[i, j] > 0 else "b"
        place = j * size, i * size, size + 0.3, size + 0.3
        parts.append(_rect(*place, "ink", opacity=float(shade[i, j])))
        place = beside + j * size, *place[1:]
        parts.append(_rect(*place, colour, f"{amount:+.3g}", float(strength[i, j])))
    parts += [
        f'<rect x="{left:.1f}" y="0.5" width="{wide * size:.1f}" height="{high * size:.1f}" '
        'fill="none" stroke="var(--line)"/>'
        for left in (0.5, beside)
    ]
    return _svg(
        beside + wide * size + 1, high * size + 2,
        "The row as an image, and what each pixel added", parts, "image",
    )  # fmt: skip


def _unit(start: float, end: float) -> Scale:
    """From 0 to 1, to the very ends."""
    scale = Scale([0.0, 1.0], start, end, log=False)
    scale.low, scale.high = 0.0, 1.0
    return scale


def _from_zero(most: float) -> Scale:
    scale = Scale([0.0, most], HEIGHT - BOTTOM, TOP, False)
    scale.low = 0.0
    return scale


def _diagonal(x: Scale, y: Scale) -> str:
    return (
        f'<line x1="{x(0):.1f}" y1="{y(0):.1f}" x2="{x(1):.1f}" y2="{y(1):.1f}" '
        'stroke="var(--soft)" stroke-dasharray="5 4"/>'
    )


def _upright(x: float, low: float, high: float, colour: str) -> str:
    return (
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}" '
        f'stroke="var(--{colour})" stroke-width="1.5"/>'
    )


def _circle(x: float, y: float, colour: str, told: str) -> str:
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5" fill="var(--{colour})">'
        f"<title>{escape(told)}</title></circle>"
    )


def _rect(
    x: float, y: float, width: float, height: float, colour: str, told: str = "",
    opacity: float = 1.0,
) -> str:  # fmt: skip
    faint = "" if opacity == 1.0 else f' fill-opacity="{opacity:.2f}"'
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0.0):.2f}" '
        f'height="{max(height, 0.0):.2f}" fill="var(--{colour})"{faint}>'
        f"{f'<title>{escape(told)}</title>' if told else ''}</rect>"
    )


def _legend(names: Sequence[tuple[str, str]], top: int = TOP + 4) -> str:
    return "".join(
        _rect(LEFT + 14 + 140 * i, top, 10, 10, colour)
        + f'<text x="{LEFT + 30 + 140 * i}" y="{top + 9}">{escape(name)}</text>'
        for i, (name, colour) in enumerate(names)
    )


def _name(name: str, base: float) -> str:
    """What a bar stands for; whole where a pointer rests on it."""
    shown = name if len(name) <= LETTERS else f"{name[: LETTERS - 1]}…"
    return f'<text x="4" y="{base:.0f}">{escape(shown)}<title>{escape(name)}</title></text>'


def _amount(shown: str, base: float) -> str:
    return f'<text x="{ACROSS - 4}" y="{base:.0f}" text-anchor="end">{escape(shown)}</text>'


def _svg(width: float, height: float, title: str, parts: Sequence[str], kind: str) -> str:
    return (
        f'<svg class={kind} viewBox="0 0 {width:.0f} {height:.0f}" role="img">'
        f"<title>{escape(title)}</title>{''.join(parts)}</svg>"
    )
