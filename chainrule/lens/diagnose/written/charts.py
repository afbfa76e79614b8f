"""The pictures of a diagnosis: what was measured of a run, as SVG."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape

import numpy as np

from chainrule.drawing import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Scale, frame
from chainrule.lens.diagnose.measure.slopes import Slope
from chainrule.lens.diagnose.trace import LayerSample, Trace
from chainrule.lens.diagnose.written.marks import fit, known, legend, polyline, short, side, some
from chainrule.lens.diagnose.written.terminal import number

MOST_POINTS, MOST_ROWS, MOST_LAYERS = 300, 24, 12
BAND = (1e-4, 1e-2)
"""Updates of about a thousandth of the weights: the ratio that Karpathy's notes (CS231n) take as
healthy, and a factor of ten around it."""


class Measured(Scale):
    """Steps at which was measured, one beside the other; a step between has a place between."""

    def __init__(self, steps: Sequence[int], start: float, end: float) -> None:
        self.steps, self.start, self.end = list(steps), start, end
        self.width = (end - start) / len(steps)

    def __call__(self, value: float) -> float:
        at = float(np.interp(value, self.steps, range(len(self.steps))))
        return self.start + (at + 0.5) * self.width

    def ticks(self) -> list[float]:
        every = math.ceil(len(self.steps) / 8)
        return [float(step) for step in self.steps[::every]]


def loss(trace: Trace, chance: float | None) -> str:
    """The loss of each step and of the held-out rows, the loss by chance, and what happened."""
    steps, values = _thinned(trace.losses)
    held = [(e.step, e.held_out_loss) for e in trace.epochs if known(e.held_out_loss)]
    drawn = [*values, *(float(v) for _, v in held if v is not None)]
    if not drawn:
        return ""
    drawn += [chance] if chance is not None else []
    last = max(1, len(trace.losses) - 1, *(step for step, _ in held), 0)
    x = Scale([0, last], LEFT, WIDTH - RIGHT, False)
    x.low, x.high = 0, float(last)
    y = Scale(drawn, HEIGHT - BOTTOM, TOP, log=True)
    inside = ""
    if chance is not None:
        inside += (
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(chance):.1f}" y2="{y(chance):.1f}" '
            'stroke="var(--soft)" stroke-dasharray="2 4"/>'
            f'<text x="{LEFT + 6}" y="{y(chance) - 5:.1f}">a constant answer: '
            f"{number(chance)}</text>"
        )
    for event in trace.events:
        at = x(min(event.step, last))
        inside += (
            f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}" '
            'stroke="var(--bad)" stroke-dasharray="5 3"/>'
            f'<text x="{at:.1f}" y="{TOP + 12}" text-anchor="{side(at)}" style="fill:var(--bad)">'
            f" {escape(event.kind)} at step {event.step} </text>"
        )
    inside += polyline([(x(s), y(v)) for s, v in zip(steps, values, strict=True)], "var(--a)", 1.4)
    held_line = [(x(s), y(float(v))) for s, v in held if v is not None]
    inside += polyline(held_line, "var(--b)", 2)
    named = [("training rows", "var(--a)"), ("held-out rows", "var(--b)")]
    inside += legend(named if held else named[:1])
    first, end = number(float(trace.losses[0])) if len(trace.losses) else "–", number(drawn[-1])
    title = f"The loss over {len(trace.losses)} steps, from {first} to {end}"
    return frame(x, y, "steps", "loss", title, inside, HEIGHT)


def gradients(trace: Trace) -> str:
    """log₁₀ of each layer's gradient (rows, the first layer on top) at each measured step."""
    samples = some(trace.samples, 40)
    names = some(_weights(trace), MOST_ROWS)
    table = [[_log10(s.parameters[n].gradient) if n in s.parameters else None for s in samples]
             for n in names]  # fmt: skip
    known = [v for row in table for v in row if v is not None]
    if not known:
        return ""
    low, high = min(known), max(known)
    height = TOP + 22 * len(names) + BOTTOM
    left = LEFT + 90
    x = Measured([s.step for s in samples], left, WIDTH - RIGHT)
    cells = []
    for i, (name, row) in enumerate(zip(names, table, strict=True)):
        top = TOP + 22 * i
        cells.append(
            f'<text x="{left - 8}" y="{top + 15}" text-anchor="end">{escape(short(name))}</text>'
        )
        for sample, value in zip(samples, row, strict=True):
            if value is None:
                fill = 'fill="none" stroke="var(--line)"'
                said = "no gradient, or 0"
            else:
                share = (value - low) / (high - low) if high > low else 1.0
                fill = f'fill="var(--a)" fill-opacity="{0.08 + 0.92 * share:.3f}"'
                said = f"10^{value:.1f}"
            cells.append(
                f'<rect x="{x(sample.step) - x.width / 2 + 0.5:.1f}" y="{top}" '
                f'width="{max(x.width - 1, 1):.1f}" height="21" {fill}><title>{escape(name)} at '
                f"step {sample.step}: {said}</title></rect>"
            )
    marks = "".join(
        f'<text x="{x(t):.1f}" y="{height - BOTTOM + 18}" text-anchor="middle">{t:g}</text>'
        for t in x.ticks()
    )
    title = (
        f"Gradient of each layer's weights at {len(samples)} steps, from 10^{low:.1f} (pale) to "
        f"10^{high:.1f} (dark)"
    )
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img"><title>{title}</title>{"".join(cells)}'
        f'{marks}<text x="{left}" y="16">gradient (root mean square): 10^{low:.1f} pale … '
        f'10^{high:.1f} dark</text><text x="{WIDTH - RIGHT}" y="{height - 6}" text-anchor="end">'
        "step</text></svg>"
    )


def updates(trace: Trace) -> str:
    """The ratio of each real update to the weights that it changed, with the usual band."""
    names = _weights(trace)
    lines: list[list[tuple[int, float]]] = []
    for name in names:
        line = []
        for sample in trace.samples:
            p = sample.parameters.get(name)
            if p is not None and p.update and p.weight and known(p.update / p.weight):
                line.append((sample.step, p.update / p.weight))
        lines.append(line)
    values = [v for line in lines for _, v in line]
    if not values:
        return ""
    x = Measured([s.step for s in trace.samples], LEFT, WIDTH - RIGHT)
    y = Scale([*values, *BAND], HEIGHT - BOTTOM, TOP, log=True)
    inside = (
        f'<rect x="{LEFT}" width="{WIDTH - RIGHT - LEFT}" y="{y(BAND[1]):.1f}" '
        f'height="{y(BAND[0]) - y(BAND[1]):.1f}" fill="var(--good)" fill-opacity=".13"/>'
        f'<text x="{LEFT + 6}" y="{y(BAND[0]) - 6:.1f}">usual: 10⁻⁴ to 10⁻²</text>'
    )
    for i, line in enumerate(lines):
        share = i / max(1, len(lines) - 1)
        colour = f"color-mix(in srgb, var(--b) {100 * share:.0f}%, var(--a))"
        inside += polyline([(x(s), y(v)) for s, v in line], colour, 1.8, escape(names[i]))
    ends = [(f"first layer ({short(names[0])})", "var(--a)")]
    if len(names) > 1:
        ends.append((f"last ({short(names[-1])})", "var(--b)"))
    span = f"{number(min(values))} to {number(max(values))}"
    title = f"Update ÷ weight of {len(names)} layers, from {span}"
    return frame(x, y, "steps", "update ÷ weight", title, inside + legend(ends), HEIGHT)


def slopes(found: Sequence[Slope]) -> str:
    """The parts of each slope as bars, one after the other, and the measured slope as a mark."""
    shown = some([s for s in found if known(s.measured) and known(s.predicted)], MOST_ROWS)
    if not shown:
        return ""
    left, row, top = LEFT + 110, 24, TOP
    height = top + row * len(shown) + BOTTOM
    ends = [0.0]
    for s in shown:
        ends += [s.measured, s.weights, s.weights + s.activation, s.predicted]
    x = Scale(ends, left, WIDTH - RIGHT, False)
    inside = (
        f'<line x1="{x(0):.1f}" x2="{x(0):.1f}" y1="{top}" y2="{height - BOTTOM}" '
        'stroke="var(--line)" stroke-width="2"/>'
    )
    for i, s in enumerate(shown):
        y, start = top + row * i, 0.0
        inside += (
            f'<text x="{left - 10}" y="{y + 16}" text-anchor="end">'
            f"{escape(fit(s.above, 10))} → {escape(fit(s.below, 10))}</text>"
        )
        parts = ((s.weights, "var(--a)"), (s.activation, "var(--b)"), (s.between, "var(--good)"))
        for offset, (part, colour) in zip((4, 12, 4), parts, strict=True):
            a, b = sorted((x(start), x(start + part)))
            inside += (
                f'<rect x="{a:.1f}" y="{y + offset}" width="{b - a:.1f}" height="7" '
                f'fill="{colour}"/>'
            )
            start += part
        inside += (
            f'<line x1="{x(s.measured):.1f}" x2="{x(s.measured):.1f}" y1="{y + 1}" y2="{y + 22}" '
            'stroke="var(--ink)" stroke-width="2"/>'
        )
    marks = "".join(
        f'<text x="{x(t):.1f}" y="{height - BOTTOM + 16}" text-anchor="middle">{t:g}</text>'
        for t in x.ticks()
    )
    total = sum(s.measured for s in found if known(s.measured))
    title = f"Slopes of the gradient between {len(found) + 1} layers, together {number(total)}"
    named = [("weights", "var(--a)"), ("activation", "var(--b)"), ("measured", "var(--ink)")]
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img"><title>{escape(title)}</title>'
        f"{inside}{marks}{legend(named, 110)}</svg>"
    )


def activations(trace: Trace) -> str:
    """The histogram of each layer's activations, at the first and at the last measured step."""
    if not trace.samples:
        return ""
    first, last = trace.samples[0], trace.samples[-1]
    drawn = [
        _histogram(path, first.layers[path], last.layers[path])
        for path in some([p for p in trace.layers if p in first.layers and p in last.layers],
                          MOST_LAYERS)
    ]  # fmt: skip
    return f"<div class=small>{''.join(drawn)}</div>" if drawn else ""


def _histogram(path: str, first: LayerSample, last: LayerSample) -> str:
    wide, high = 220, 96
    low = min(first.edges[0], last.edges[0])
    top = max(first.edges[1], last.edges[1])
    if not (math.isfinite(low) and math.isfinite(top)):
        return ""
    shapes = ""
    for sample, style in ((first, 'fill="none" stroke="var(--soft)"'),
                          (last, 'fill="var(--a)" fill-opacity=".55"')):  # fmt: skip
        if not sample.counts:
            continue
        most = max(sample.counts)
        edges = np.linspace(*sample.edges, len(sample.counts) + 1)
        span = (top - low) or 1.0
        if sample.edges[0] == sample.edges[1]:
            edges = np.array([sample.edges[0], sample.edges[0] + 0.02 * span])
        points = []
        for count, a, b in zip(sample.counts, edges, edges[1:], strict=False):
            y = high - 18 - (high - 40) * count / most
            points += [(4 + (wide - 8) * (e - low) / span, y) for e in (a, b)]
        path_of = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
        ends = f"{points[0][0]:.1f},{high - 18} {path_of} {points[-1][0]:.1f},{high - 18}"
        shapes += f'<polygon points="{ends}" {style}/>'
    shown = [(4, "start", low), (wide - 4, "end", top)]
    marks = "".join(
        f'<text x="{at}" y="{high - 3}" text-anchor="{side}">{number(float(f"{v:.3g}"))}</text>'
        for at, side, v in shown
    )
    title = (
        f"Activations of {path}: mean {number(first.mean)}, standard deviation {number(first.std)} "
        f"at first; {number(last.mean)} and {number(last.std)} at last, {last.zero:.0%} zero"
    )
    return (
        f'<svg viewBox="0 0 {wide} {high}" role="img"><title>{escape(title)}</title>'
        f'<text x="4" y="14">{escape(short(path) or "layer")}: {last.zero:.0%} zero at last</text>'
        f"{shapes}{marks}</svg>"
    )


def _weights(trace: Trace) -> list[str]:
    """The layers' weights, in the order in which they run."""
    named = [facts.get("weight") for facts in trace.layers.values()]
    return list(dict.fromkeys(str(name) for name in named if name))


def _thinned(losses: np.ndarray) -> tuple[list[float], list[float]]:
    """(steps, losses): means of so many neighbours that few points are left; finite ones alone."""
    every = max(1, math.ceil(len(losses) / MOST_POINTS))
    steps, values = [], []
    for start in range(0, len(losses), every):
        part = losses[start : start + every].astype(np.float64)
        part = part[np.isfinite(part)]
        if part.size:
            steps.append(start + (min(every, len(losses) - start) - 1) / 2)
            values.append(float(part.mean()))
    return steps, values


def _log10(value: float | None) -> float | None:
    return math.log10(value) if known(value) and value else None


def pictures(
    trace: Trace, chance: float | None, found: Sequence[Slope] = ()
) -> Iterator[tuple[str, str, str]]:
    """(title, how to read it, picture) of each that there is something to draw for."""
    every = (
        (
            "Loss",
            "Of each step, and of rows that were held out.",
            loss(trace, chance),
        ),
        (
            "Gradients through depth",
            "A row is a layer, the first on top. Rows that grow pale upwards are gradients that "
            "vanish on their way back; an empty cell had none.",
            gradients(trace),
        ),
        (
            "What the slope is made of",
            "From each layer back to the one before it, ln of the factor by which ‖δ‖² changes at "
            "the first weights: the weights' part ln(n·E[w²]) and the activation's part ln E[φ′²], "
            "beside what was measured (the mark). 0 keeps a gradient as it is.",
            slopes(found),
        ),
        (
            "Activations",
            "What each layer gives: outlined at the first measured step, filled at the last.",
            activations(trace),
        ),
        (
            "Update ÷ weight",
            "How much of a weight a real step of the optimiser changes. Far below the band nothing "
            "moves, far above it what was learnt is overwritten.",
            updates(trace),
        ),
    )
    return ((title, said, drawn) for title, said, drawn in every if drawn)
