"""The pictures of what was tried, as SVG: the arms of a trial, the error against a width."""

from __future__ import annotations

import math
from html import escape

import numpy as np

from chainrule.drawing import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Scale
from chainrule.lens.diagnose.advice.advice import WidthCurve
from chainrule.lens.diagnose.trials.trial import Trial
from chainrule.lens.diagnose.written.marks import fit, known, polyline, short


def trial(found: Trial) -> str:
    """The arms of a trial: a dot for each seed, a bar at the mean; left is better."""
    arms = [arm for arm in found.arms if any(known(e) for e in arm.errors)]
    values = [float(e) for arm in arms for e in arm.errors if known(e)]
    if not values:
        return ""
    left, row, top = 250, 24, 6
    height = top + row * len(arms) + BOTTOM
    x = Scale([*values, 0.0], left, WIDTH - RIGHT, False)
    inside = ""
    for i, arm in enumerate(arms):
        y = top + row * i + 12
        errors = [float(e) for e in arm.errors if known(e)]
        mean = sum(errors) / len(errors)
        colour = "var(--soft)" if i < 2 else "var(--a)"  # nothing and chance; then the remedies
        inside += (
            f'<text x="{left - 10}" y="{y + 4}" text-anchor="end">'
            f"{escape(fit(arm.title, 33))}</text>"
            f'<line x1="{x(mean):.1f}" x2="{x(mean):.1f}" y1="{y - 8}" y2="{y + 8}" '
            f'stroke="{colour}" stroke-width="3"/>'
        )
        inside += "".join(
            f'<circle cx="{x(e):.1f}" cy="{y}" r="4" fill="{colour}" fill-opacity=".6"/>'
            for e in errors
        )
    marks = "".join(
        f'<text x="{x(t):.1f}" y="{height - BOTTOM + 16}" text-anchor="middle">{t:g}</text>'
        for t in x.ticks()
    )
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img"><title>{escape(found.sentence())}</title>'
        f'{inside}{marks}<text x="{WIDTH - RIGHT}" y="{height - 4}" text-anchor="end">held-out '
        "error (0 perfect, 1 a constant answer)</text></svg>"
    )


def width_curve(curve: WidthCurve) -> str:
    """The error against a layer's width: every seed's, and the fitted curve."""
    points = [(w, e) for w, errors in zip(curve.widths, curve.errors, strict=True)
              for e in errors if known(e)]  # fmt: skip
    if not points:
        return ""
    widths = np.geomspace(min(curve.widths), max(curve.widths), 60)
    line = [(float(w), curve.at(w)) for w in widths if known(curve.at(w))]
    x = Scale([math.log2(w) for w in curve.widths], LEFT, WIDTH - RIGHT, False)
    y = Scale([e for _, e in (*points, *line)], HEIGHT - BOTTOM, TOP, False)
    inside = polyline([(x(math.log2(w)), y(e)) for w, e in line], "var(--b)", 2)
    inside += "".join(
        f'<circle cx="{x(math.log2(w)):.1f}" cy="{y(e):.1f}" r="4" fill="var(--a)" '
        'fill-opacity=".6"/>'
        for w, e in points
    )
    marks = "".join(
        f'<text x="{x(math.log2(w)):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">'
        f"{w}{' (now)' if w == curve.now else ''}</text>"
        for w in curve.widths
    )
    grid = "".join(
        f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(t):.1f}" y2="{y(t):.1f}" '
        f'stroke="var(--line)"/><text x="{LEFT - 8}" y="{y(t) + 4:.1f}" text-anchor="end">{t:g}'
        "</text>"
        for t in y.ticks()
    )
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img"><title>{escape(curve.sentence())}</title>'
        f'{grid}{marks}<text x="{LEFT}" y="16">held-out error</text>'
        f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 6}" text-anchor="end">units of '
        f"{escape(short(curve.where))}</text>{inside}</svg>"
    )
