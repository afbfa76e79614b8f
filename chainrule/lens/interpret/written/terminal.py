"""An interpretation as text: plain, or in a terminal with colours, as wide as the terminal is."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.lens.interpret.attribution.sanity import SAME
from chainrule.lens.interpret.calibration import Calibration, RealCalibration
from chainrule.lens.interpret.sentence import number, span

if TYPE_CHECKING:
    from chainrule.lens.interpret.interpretation import Interpretation, Row, Share, Why

MOST_IN_TABLE = 12
MOST_SHARES = 6
COLUMNS = {
    "row": "row", "answer": "answer", "truth": "truth", "probability": "says",
    "calibrated": "calibrated", "std": "±", "low": "from", "high": "to", "entropy": "entropy",
    "share": "model's part", "set": "not ruled out", "outside": "outside",
}  # fmt: skip
"""Columns of the table that are shown, and what stands above them."""


@dataclass(frozen=True)
class Line:
    """One line, before it is wrapped."""

    text: str = ""
    style: str = ""
    indent: int = 0
    whole: bool = False


def text(found: Interpretation) -> str:
    """Plain text."""
    return "\n".join(f"{' ' * line.indent}{line.text}".rstrip() for line in lines(found))


def rich(found: Interpretation) -> Any:
    """What rich prints: in colours, and as wide as the terminal is."""
    return _Shown(list(lines(found)))


@dataclass(frozen=True)
class _Shown:
    lines: list[Line]

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        from rich.text import Text

        for line in self.lines:
            body, rest = Text(line.text, line.style), " " * line.indent
            if not console.is_terminal or line.whole:
                yield Text.assemble(rest, body, no_wrap=True, overflow="ignore")
                continue
            for part in body.wrap(console, max(20, options.max_width - len(rest))) or [Text()]:
                yield Text.assemble(rest, part)


def lines(found: Interpretation) -> Iterator[Line]:
    """The sentence, the rows in depth, the table, and what stands behind them."""
    if found.about.get("subject"):
        yield Line(f"{found.about['subject']}", "dim")
        yield Line()
    yield Line(found.sentence, "bold")
    for warning in found.warnings:
        yield Line(f"! {warning}", "yellow")
    if found.about.get("note"):
        yield Line(found.about["note"], "dim")
    for row in in_depth(found):
        yield Line()
        yield from _row(row)
    if len(found.rows) > 1:
        yield Line()
        yield from _table(found)
    if found.importance:
        yield Line()
        yield Line("What moves its answers most, over these rows (mean size):", "bold")
        yield from _bars([(n, "", v) for n, v in found.importance[:MOST_SHARES]], sign=False)
    if found.comparison is not None:
        yield Line()
        yield Line("Posteriors side by side, Hamiltonian Monte Carlo being the reference", "bold")
        for each in set_out(*comparison(found.comparison)):
            yield Line(each, indent=2, whole=True)
        for warned in comparison_notes(found.comparison):
            yield Line(warned, "yellow", 2)
    if isinstance(found.calibration, Calibration):
        yield Line()
        yield from _diagram(found.calibration)
    if isinstance(found.calibration, RealCalibration):
        yield Line()
        yield from _quantiles(found.calibration)
    if found.guarantee:
        yield Line()
        yield Line(found.guarantee, "dim")


def in_depth(found: Interpretation) -> list[Row]:
    """The rows that are told of one by one, the most doubtful first."""
    rows = [found.rows[i] for i in found.order if i < len(found.rows)]
    return [row for row in rows if row.why is not None] or rows[:3]


def _row(row: Row) -> Iterator[Line]:
    yield Line(f"Row {row.row}", "bold cyan")
    yield Line(row.sentence, indent=2)
    if row.why is not None:
        yield from _why(row.why)
    if row.flip is not None:
        changes = "; ".join(f"{c} {before} → {after}" for c, before, after in row.flip.changes[:4])
        more = len(row.flip.changes) - 4
        yield Line(
            f"It would be {row.flip.becomes} with {changes}"
            + (f" and {more} more changes" if more > 0 else "")
            + f" ({away(row.flip.distance)}).",
            indent=2,
        )
    if row.neighbours:
        near = ", ".join(f"row {n.row} ({n.label})" for n in row.neighbours)
        yield Line(f"The training rows most like it, to the network: {near}.", indent=2)


def _why(why: Why) -> Iterator[Line]:
    yield Line(f"{starts(why)} ({why.method}):", indent=2)
    shown = why.shares[:MOST_SHARES]
    yield from _bars([(s.column, s.value, s.amount) for s in shown], 4)
    if why.complete and (rest := left_over(why, shown)):
        yield Line(f"and {rest:+.3g} by all else.", "dim", 4)
    if why.depends is not None and why.depends > SAME:
        yield Line(depends(why), "yellow", 4)


def left_over(why: Why, shown: Sequence[Share]) -> float:
    """What the shares that are shown leave to all others; 0 where that is a matter of rounding."""
    rest = why.output - why.base - sum(share.amount for share in shown)
    most = max((abs(share.amount) for share in shown), default=0.0)
    return rest if abs(rest) > 1e-3 * most else 0.0


def away(distance: float) -> str:
    """How far a change goes.

    >>> away(1.0), away(0.144)
    ('1 standard deviation in all', '0.144 standard deviations in all')
    """
    return f"{number(distance)} standard deviation{'' if distance == 1 else 's'} in all"


def starts(why: Why) -> str:
    """What is split up, in words."""
    if not why.complete:
        return f"What weighs in {why.of}, {number(why.output)}"
    what, base = f"{why.of[0].upper()}{why.of[1:]}", number(why.base)
    return f"{what} is {number(why.output)}, and {base} at the baseline; what lies between"


def depends(why: Why) -> str:
    """Whether the attribution depends on what the network learnt, in words; "" where not asked."""
    if why.depends is None:
        return ""
    found = f"With all weights redrawn the shares keep their order by {why.depends:.2f} (rank "
    if why.depends > SAME:
        return f"{found}correlation): they say little of what this network learnt."
    return f"{found}correlation), so they depend on what this network learnt."


def _bars(
    shares: Sequence[tuple[str, str, float]], indent: int = 2, sign: bool = True
) -> Iterator[Line]:
    most = max((abs(v) for _, _, v in shares), default=0.0) or 1.0
    labels = [labelled(name, value, 36) for name, value, _ in shares]
    wide = max(map(len, labels), default=0)
    for label, (_, _, amount) in zip(labels, shares, strict=True):
        bar = "█" * max(1, round(18 * abs(amount) / most)) if amount else ""
        shown = f"{amount:+.3g}" if sign else f"{amount:.3g}"
        style = "" if not sign else "green" if amount > 0 else "red"
        yield Line(f"{label:{wide}}  {shown:10}{bar}", style, indent, True)


def labelled(column: str, value: str, most: int) -> str:
    """A column and what stands there; of a long one the name is cut first.

    >>> labelled("age", "42", 20), labelled("the age of the applicant", "42", 20)
    ('age = 42', 'the age of the… = 42')
    """
    if not value:
        return fitted(column, most)
    shown = fitted(value, most // 2)
    return f"{fitted(column, most - 3 - len(shown))} = {shown}"


def fitted(label: str, most: int) -> str:
    """A label of so many letters at most, on one line."""
    label = " ".join(label.split())
    return label if len(label) <= most else f"{label[: most - 1]}…"


def table(found: Interpretation, most: int) -> tuple[list[str], list[list[str]], int]:
    """(heads, rows of cells, how many rows are not shown), the most doubtful rows first."""
    values = dict(found.table)
    if "epistemic" in values and "aleatoric" in values:
        whole = np.add(values["epistemic"], values["aleatoric"])
        values["share"] = [
            f"{100 * e / w:.0f} %" if w > 0.005 or "std" in values else ""
            for e, w in zip(values["epistemic"], whole, strict=True)
        ]
    if values.get("calibrated") == values.get("probability"):
        values.pop("calibrated", None)
    names = [n for n in COLUMNS if any(cell != "" for cell in values.get(n, ()))]
    rows = [[cell(n, values[n][i]) for n in names] for i in found.order[:most]]
    return [COLUMNS[n] for n in names], rows, max(0, len(found.order) - most)


def _table(found: Interpretation) -> Iterator[Line]:
    heads, rows, left = table(found, MOST_IN_TABLE)
    yield Line("The rows, the most doubtful first", "bold")
    for k, line in enumerate(set_out(heads, rows)):
        yield Line(line, "dim" if k == 0 else "", 0, True)
    if left:
        yield Line(f"and {left:,} more", "dim")


def set_out(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Columns under one another."""
    cells = [[fitted(c, 28) for c in row] for row in (heads, *rows)]
    wide = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        yield "  ".join(c.ljust(w) for c, w in zip(row, wide, strict=True)).rstrip()


def cell(name: str, value: Any) -> str:
    """A number of the table, as it is shown.

    >>> cell("probability", 0.853), cell("probability", 0.99999), cell("low", float("-inf"))
    ('0.853', '>0.999', '−∞')
    """
    if not isinstance(value, float):
        return str(value)
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if name in ("probability", "calibrated"):
        return "<0.001" if value < 0.0005 else ">0.999" if value > 0.9995 else f"{value:.3f}"
    return f"{value:.2f}" if name == "entropy" else number(value)


def comparison(found: Any) -> tuple[list[str], list[list[str]]]:
    """(heads, rows of cells) of methods side by side."""
    names = list(dict.fromkeys(name for row in found.rows for name in row.distances))
    heads = ["method", *names, "data's part", "model's part", "seconds"]
    rows = []
    for row in found.rows:
        parts = [row.aleatoric, row.epistemic]
        rows.append([
            row.method,
            *(number(row.distances[n]) if n in row.distances else "–" for n in names),
            *("–" if part is None else number(part) for part in parts),
            "–" if row.failed else f"{row.seconds:.1f}",
        ])  # fmt: skip
    return heads, rows


def comparison_notes(found: Any) -> list[str]:
    """What keeps its numbers from being trusted, and why methods are missing."""
    failed = [f"{row.method}: {row.failed}" for row in found.rows if row.failed]
    warned = [f"{row.method}: {warning}" for row in found.rows for warning in row.warnings]
    return [*failed, *warned]


def _diagram(facts: Calibration) -> Iterator[Line]:
    """Confidence against the share that was right, bin by bin."""
    yield Line("Held-out rows by what the network says, and how many of them are right", "bold")
    cells, apart = [], []
    for b in np.flatnonzero(facts.before.count):
        low, high = facts.before.interval[b]
        said, right = facts.before.confidence[b], facts.before.right[b]
        apart.append(not low <= said <= high)
        told = ("over-confident" if said > right else "under-confident") if apart[-1] else ""
        cells.append([
            f"{said:.3f}", f"{right:.3f}", span(low, high), f"{int(facts.before.count[b])}", told,
        ])  # fmt: skip
    for line, wrong in zip(set_out(("says", "right", "interval", "rows", ""), cells),
                           (False, *apart), strict=True):  # fmt: skip
        yield Line(line, "yellow" if wrong else "", 2, True)


def _quantiles(facts: RealCalibration) -> Iterator[Line]:
    """Levels against the share of true targets below."""
    yield Line("The share of held-out targets below each predicted quantile", "bold")
    found, cells = facts.coverage, []
    for q in (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95):
        i = int(np.abs(found.levels - q).argmin())
        cells.append([f"{found.levels[i]:.2f}", f"{found.share[i]:.3f}", span(*found.interval[i])])
    for line in set_out(("level", "below", "interval"), cells):
        yield Line(line, "", 2, True)
