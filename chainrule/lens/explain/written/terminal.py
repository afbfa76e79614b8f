"""A derivation as text: plain, or in a terminal with colours, as wide as the terminal is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.errors import DataError
from chainrule.lens.explain.derivation import HEIGHTS, Check, Derivation, Section, Step
from chainrule.ops.notation.render import number
from chainrule.ops.operation import registry

ROWS, COLUMNS, ENTRIES = 5, 6, 8
"""How many rows and columns of a matrix are shown, and how many entries of a vector."""
_LABEL = 9


@dataclass(frozen=True)
class Line:
    """One line, before it is wrapped.

    Attributes:
        text: what it says.
        depth: how far it is indented.
        label: what kind of thing it says, in a column of its own.
        style: how rich shows it.
        aside: what follows less loudly.
    """

    text: str = ""
    depth: int = 0
    label: str | None = None
    style: str = ""
    aside: str = ""

    @property
    def prefix(self) -> str:
        label = "" if self.label is None else f"{self.label:{_LABEL}}"
        return "  " * self.depth + label

    def plain(self) -> str:
        aside = f"   {self.aside}" if self.aside else ""
        return f"{self.prefix}{self.text}{aside}".rstrip()


def text(derivation: Derivation, height: str = "numbers") -> str:
    """Plain text, seen from one of the heights.

    Raises:
        DataError: a height that there is not.
    """
    return "\n".join(line.plain() for line in lines(derivation, height))


def step_text(step: Step) -> str:
    """One step as plain text, seen from the height of numbers."""
    known = dict(source for element in step.elements for source in element.sources.values())
    found = _step(step, HEIGHTS.index("numbers"), 0, _Shapes(known))
    return "\n".join(line.plain() for line in found).rstrip()


def rich(derivation: Derivation, height: str = "numbers") -> Any:
    """What rich prints: in colours, and as wide as the terminal is.

    Raises:
        DataError: a height that there is not.
    """
    return _Shown(list(lines(derivation, height)))


@dataclass(frozen=True)
class _Shown:
    lines: list[Line]

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        from rich.text import Text

        for line in self.lines:
            aside = f"   {line.aside}" if line.aside else ""
            body = Text.assemble((line.text, line.style), (aside, "dim"))
            if not console.is_terminal:
                yield Text.assemble((line.prefix, "dim"), body, no_wrap=True, overflow="ignore")
                continue
            rest = " " * len(line.prefix)
            wrapped = body.wrap(console, max(20, options.max_width - len(rest))) or [Text()]
            for i, part in enumerate(wrapped):
                yield Text.assemble((rest if i else line.prefix, "dim"), part)


def lines(derivation: Derivation, height: str) -> Iterator[Line]:
    """The lines of a derivation, seen from one of the heights."""
    if height not in HEIGHTS:
        raise DataError(
            f"there is no height {height!r}; a derivation is seen from {', '.join(HEIGHTS)}"
        )
    level = HEIGHTS.index(height)
    yield Line(derivation.title, style="bold")
    yield Line("═" * len(derivation.title), style="bold")
    for said in black_box(derivation):
        yield Line(said)
    yield Line()
    if level:
        for section in derivation.sections:
            yield from _section(section, level, 0, _shapes(derivation))
    yield Line(derivation.verdict(), style="bold green" if derivation.verified else "bold red")


def black_box(derivation: Derivation) -> tuple[str, ...]:
    """What the whole says, what goes in and what comes out."""
    recorded = getattr(derivation, "recorded", None)
    if recorded is None or not derivation.steps:
        return derivation.summary
    shapes = _shapes(derivation)
    found = [*derivation.summary]
    output = "" if recorded.output is None else recorded.name(recorded.output)
    if output:
        name = getattr(recorded.model, "__name__", type(recorded.model).__name__)
        inputs = ", ".join(shapes.of(x) for x in recorded.inputs)
        found.append(f"{inputs} → {name} → {shapes.of(output)}")
    result = recorded.name(recorded.result)
    if recorded.loss is not None:
        name = getattr(recorded.loss, "__name__", type(recorded.loss).__name__)
        of = f"{output or '…'}, {shapes.of('y')}"
        value = shapes.value(result)
        found.append(f"{name}({of}) → {result}{value and f' = {value}'}")
    return tuple(found)


def _shapes(derivation: Derivation) -> _Shapes:
    values = {step.name: step.value for step in derivation.steps if step.value is not None}
    return _Shapes({**derivation.given, **values})


@dataclass(frozen=True)
class _Shapes:
    """The quantities of a derivation, by name, for their shapes."""

    values: Mapping[str, np.ndarray]

    def of(self, name: str) -> str:
        value = self.values.get(name)
        return name if value is None or not np.shape(value) else f"{name} {np.shape(value)}"

    def value(self, name: str) -> str:
        value = self.values.get(name)
        return "" if value is None else array(value)[0]


def _section(section: Section, level: int, depth: int, shapes: _Shapes) -> Iterator[Line]:
    component = section.kind == "component"
    yield Line(section.title, depth, style="bold" if component else "bold underline",
               aside=section.summary)  # fmt: skip
    if level > 1:
        yield Line()
    for part in section.parts:
        if isinstance(part, Section):
            yield from _section(part, level, depth + 1, shapes)
        elif level > 1:
            yield from _step(part, level, depth + 1, shapes)
    if level == 1 and not component:
        yield Line()


def _step(step: Step, level: int, depth: int, shapes: _Shapes) -> Iterator[Line]:
    failed = "" if step.verified else "bold red"
    yield Line(step.title, depth, style=failed or "bold cyan", aside=step.where)
    inner = depth + 1
    if step.value is not None:
        operands = ", ".join(shapes.of(name) for name in dict.fromkeys(step.operands))
        arrow = f"{operands} → " if operands else ""
        shape = f" {step.value.shape}" if step.value.ndim else ""
        yield Line(f"{arrow}{step.name}{shape}", inner, "shapes")
    if level >= HEIGHTS.index("symbols"):
        yield from _symbols(step, inner)
    if level >= HEIGHTS.index("numbers"):
        yield from _numbers(step, inner)
    if level >= HEIGHTS.index("code"):
        yield from _code(step, inner)
    yield Line()


def _symbols(step: Step, depth: int) -> Iterator[Line]:
    if step.rule:
        yield Line(step.rule, depth, "rule", "magenta")
    writings = (("formula", step.formula), ("here", step.named), ("matrix", step.matrix))
    seen = set()
    for label, writing in writings:
        if writing is not None and (written := writing.plain()) not in seen:
            seen.add(written)
            yield Line(written, depth, label, "blue")


def _numbers(step: Step, depth: int) -> Iterator[Line]:
    for written in step.numbers.splitlines():
        yield Line(written, depth, "numbers")
    if step.value is not None:
        for i, row in enumerate(array(step.value, max(6, step.digits))):
            yield Line(row, depth, "" if i else "value")
    yield from _checks(step, depth)
    for note in step.notes:
        yield Line(note, depth, "note")


def _code(step: Step, depth: int) -> Iterator[Line]:
    """The user's line, and where the operation that ran is declared."""
    if step.code:
        yield Line(step.code, depth, "code", "yellow", step.place)
    op = registry.get(step.operation)
    if op is not None:
        yield Line(f"{op.name} is declared in {op.__module__}", depth, "" if step.code else "code")


def _checks(step: Step, depth: int) -> Iterator[Line]:
    """A line for each route that holds, about the tightest of its checks; one for each failure."""
    holding: dict[str, list[Check]] = {}
    for check in step.checks:
        if check.holds:
            holding.setdefault(check.route, []).append(check)
        else:
            yield Line(f"✗ does not hold: {_compared(check)}", depth, "check", "bold red")
    for checks in holding.values():
        tightest = max(checks, key=lambda check: check.difference / (check.bound or 1))
        times = f" ({len(checks)} times)" if len(checks) > 1 else ""
        yield Line(f"✓ {_compared(tightest)}{times}", depth, "check", "green")


def _compared(check: Check) -> str:
    return f"{check.route}: off by {_number(check.difference, 2)}, bound {_number(check.bound, 2)}"


def array(value: np.ndarray, digits: int = 6) -> list[str]:
    """A number to so many digits; or a vector in a line; or a shape, norm and range, with a corner
    as a grid.

    >>> print(*array(np.arange(3.0)), sep="\\n")
    [0, 1, 2], norm 2.236
    >>> print(*array(np.arange(32.0).reshape(4, 8)), sep="\\n")
    (4, 8), norm 102.1, from 0 to 31
    ⎡  0   1   2   3   4  ⋯   7 ⎤
    ⎢  8   9  10  11  12  ⋯  15 ⎥
    ⎢ 16  17  18  19  20  ⋯  23 ⎥
    ⎣ 24  25  26  27  28  ⋯  31 ⎦
    """
    if value.size == 1:
        return [_number(value.item(), digits)]
    if not value.size:
        return [f"{value.shape}, empty"]
    if value.ndim == 1:
        shown = ", ".join(_number(v) for v in value[:ENTRIES])
        more = f", … {value.size - ENTRIES:,} more" if value.size > ENTRIES else ""
        return [f"[{shown}{more}]{about(value)}"]
    first = f"; [{', '.join('0' * (value.ndim - 2))}] is" if value.ndim > 2 else ""
    return [f"{value.shape}{about(value)}{first}", *_grid(corner(value))]


def about(value: np.ndarray) -> str:
    """Norm and range of numbers; of labels, counts and sizes, a norm would say nothing."""
    if value.dtype.kind not in "fiu":
        return ""
    wide = value.astype(np.float64)
    with np.errstate(all="ignore"):
        norm = f", norm {_number(np.linalg.norm(wide))}" if value.dtype.kind == "f" else ""
    ends = f", from {_number(wide.min())} to {_number(wide.max())}"
    return f"{norm}{ends if value.size > ENTRIES or value.ndim > 1 else ''}"


def corner(value: np.ndarray) -> list[list[str]]:
    """The corner of a matrix with its last row and column, as it is written; a vector is one row,
    and of more axes the first of each is taken but for the last two."""
    matrix = value.reshape(1, -1) if value.ndim < 2 else value[(0,) * (value.ndim - 2)]
    rows, columns = (_ends(n, most) for n, most in zip(matrix.shape, (ROWS, COLUMNS), strict=True))
    return [
        ["⋱" if i is None and j is None else "⋮" if i is None else "⋯" if j is None
         else _number(matrix[i, j]) for j in columns]
        for i in rows
    ]  # fmt: skip


def _grid(cells: list[list[str]]) -> list[str]:
    """A matrix as lines of text."""
    widths = [max(len(row[j]) for row in cells) for j in range(len(cells[0]))]
    lines = ["  ".join(f"{c:>{w}}" for c, w in zip(row, widths, strict=True)) for row in cells]
    if len(lines) == 1:
        return [f"[ {lines[0]} ]"]
    brackets = [("⎡", "⎤"), *[("⎢", "⎥")] * (len(lines) - 2), ("⎣", "⎦")]
    return [f"{left} {line} {right}" for line, (left, right) in zip(lines, brackets, strict=True)]


def _ends(size: int, most: int) -> list[int | None]:
    """Which of so many rows are shown: all, or the first ones, a gap, and the last."""
    if size <= most + 1:
        return list(range(size))
    return [*range(most - 1), None, size - 1]


def _number(value: Any, digits: int = 4) -> str:
    if isinstance(value, (bool, np.bool_, complex, np.complexfloating)):
        return str(value)
    return number(float(value), digits)
