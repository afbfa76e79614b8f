"""A step that is stated as a formula, rather than read off an operation that ran."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from chainrule.lens.explain.derivation import Check, Claim, Element, Step, Symbols, largest
from chainrule.lens.explain.steps.forward import furthest, largest_finite, moved_by_one_unit
from chainrule.ops.notation import Formula, parse


@dataclass(frozen=True, eq=False)
class Recomputed:
    """That a step's value is what another calculation gives.

    Attributes:
        route: how it was calculated.
        other: what that gave.
        bound: how far the two may lie apart.
    """

    route: str
    other: np.ndarray
    bound: float

    def check(self, step: Step) -> Check:
        assert step.value is not None
        return Check(self.route, furthest(step.value, np.asarray(self.other)), self.bound)


@dataclass(frozen=True, eq=False)
class Follows:
    """That a step's value is its formula, evaluated on what the formula names.

    Attributes:
        rounding: what rounding in the dtype that ran may explain; 0 for a value in float64.
    """

    formula: str
    operands: Mapping[str, Any]
    rounding: float = 0.0

    def check(self, step: Step) -> Check:
        assert step.value is not None
        exact = parse(self.formula).evaluate(self.operands, step.value.shape)
        bound = 1e-12 * largest_finite(exact) + self.rounding
        return Check("formula in float64", furthest(step.value, exact), bound)


@dataclass(frozen=True, eq=False)
class SumsTo:
    """That a step's value adds up to these totals, along an axis or as a whole.

    Attributes:
        total: what it adds up to.
        axis: along which axis; None for all.
        bound: what rounding may explain.
    """

    total: Any
    axis: int | None
    bound: float

    def check(self, step: Step) -> Check:
        assert step.value is not None
        sums = np.asarray(step.value.astype(np.float64).sum(axis=self.axis))
        return Check("what it adds up to", furthest(sums, np.asarray(self.total)), self.bound)


def rounding(
    formula: Formula, operands: Mapping[str, Any], shape: tuple[int, ...], dtype: np.dtype
) -> float:
    """What rounding may explain, measured as `FormulaClaim` does; K is the longest axis."""
    exact = formula.evaluate(operands, shape)
    eps, rng, change = float(np.finfo(dtype).eps), np.random.default_rng(0), 0.0
    for _ in range(3):
        moved = {k: moved_by_one_unit(v, eps, rng) for k, v in operands.items()}
        change = max(change, furthest(formula.evaluate(moved, shape), exact))
    terms = max((n for v in operands.values() for n in np.shape(v)), default=1)
    return 4 * float(np.sqrt(terms)) * change + 4 * eps * largest_finite(exact)


def stated(
    name: str,
    title: str,
    formula: str,
    operands: Mapping[str, Any],
    shape: tuple[int, ...] = (),
    *,
    value: np.ndarray | None = None,
    names: Mapping[str, str] | None = None,
    at: tuple[int, ...] | list[tuple[int, ...]] | None = None,
    rule: str = "definition",
    digits: int = 4,
    notes: tuple[str, ...] = (),
    claims: tuple[Claim, ...] = (),
    place: str = "",
) -> Step:
    """A step whose value is what a formula gives, in float64, with elements written out.

    Args:
        name: what the result is called.
        title: the statement in a line.
        formula: in the notation.
        operands: what it names: arrays and numbers.
        shape: the result's.
        names: what the operands are called in the derivation, where that is something else.
        value: what is to be explained, where it was computed by something else; in its dtype.
        at: the element to be written out, or a list of them; the largest where it is left out.
        digits: how many are written of a number.
        claims: what can be recomputed beside the formula.
    """
    called = dict(names or {})
    written = {k: f"({v})" if v.startswith("−") else v for k, v in called.items()}
    arrays = {k: np.asarray(v) for k, v in operands.items()}
    parsed = parse(formula)
    off = 0.0
    if value is None:
        value = parsed.evaluate(arrays, shape)
    else:
        off = rounding(parsed, arrays, shape, value.dtype)
    indices = at if isinstance(at, list) else [largest(value) if at is None else at]
    sources = {k: (called.get(k, k), v) for k, v in arrays.items()}
    elements = tuple(
        Element(index, replace(parsed.instantiate(arrays, index), digits=digits), sources)
        for index in indices
    )
    return Step(
        name=name,
        title=title,
        operands=tuple(called.get(k, k) for k in arrays),
        rule=rule,
        formula=Symbols(parsed),
        named=Symbols(parsed, {parsed.output: name, **written}),
        elements=elements,
        value=value,
        notes=notes,
        place=place,
        claims=(Follows(formula, arrays, off), *claims),
    )
