"""A derivative as a formula: its forms, its steps and its checks."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from typing import Any

import numpy as np

from chainrule.calculus.derive.index_form import IndexForm
from chainrule.calculus.derive.matrix_form import has_matrix_form, matrix, written
from chainrule.calculus.derive.matrix_value import NoMatrixValueError
from chainrule.calculus.derive.matrix_value import value as matrix_value
from chainrule.calculus.derive.matrix_writing import latex_name
from chainrule.calculus.derive.naming import named_parts, used_in, written_with_parts
from chainrule.calculus.derive.python_form import python
from chainrule.calculus.derive.rules import Rewriting
from chainrule.calculus.derive.terms import Term, Variable
from chainrule.calculus.derive.trace import Argument
from chainrule.errors import DTypeError
from chainrule.tensor.tensor import Tensor

STEP_POINTS = 3
TOLERANCE = 1e-10
"""Of the largest number in what is compared, or of 1 where all are smaller."""


@dataclass(frozen=True)
class Step:
    """One rewriting, as it is shown.

    Attributes:
        rule: its name.
        before, after: the whole expression in matrix notation.
        error: the largest difference of their values at random points, relative to the values.
        holds: whether that is rounding.
    """

    rule: str
    before: str
    after: str
    error: float
    holds: bool


@dataclass
class Derived:
    """A derivative as a formula. Made by `derive`.

    Attributes:
        name: what is derived, such as "∂f/∂w".
        kind: "gradient", "Jacobian" or "Hessian".
        term: the formula; its variables are the function's arguments.
        steps: how it came about, each step checked.
        error: the largest difference to `cr.grad`, `cr.jacobian` or `cr.hessian`, at 20 points near
            the given one, relative to the values.
        bound: how large it may be: rounding, of float32 where the function computes in it.
        notes: what else is to be known.
    """

    name: str
    kind: str
    term: Term
    start: Term
    rewritings: list[Rewriting]
    arguments: list[Argument]
    function: Term
    function_name: str
    error: float
    notes: list[str]
    direction: Variable | None = None
    map_of: Variable | None = None
    shape: tuple[int, ...] = ()
    points: list[dict[str, np.ndarray]] = field(default_factory=list)
    sizes: dict[int, Variable] = field(default_factory=dict)
    bound: float = TOLERANCE

    @property
    def left(self) -> str:
        """What the formula is of: the derivative, or its product with `direction`."""
        return f"{self.name}·{self.direction.name}" if self.direction else self.name

    # Forms

    @cached_property
    def function_text(self) -> str:
        """The function in matrix notation."""
        taken = [v.name for v in self.function.variables]
        return f"{self.function_name} = {written_with_parts(self.function, {}, taken)}"

    @cached_property
    def names(self) -> dict[Term, str]:
        """The parts that go by a name, with their names."""
        taken = {a.name for a in self.arguments} | {v.name for v in self.sizes.values()}
        taken |= {v.name for v in self.term.variables} | {"e"}
        return named_parts([self.term], taken)

    def _where(self, latex: bool = False) -> list[tuple[str, str]]:
        """(name, what it stands for) for the named parts and sizes of the formula."""
        found = []
        for name, term in used_in(self.term, self.names):
            text = written(term, self._but(term), latex)
            found.append((latex_name(name) if latex else name, text))
        sizes = sorted((v for v in self.term.variables if v.role == "length"), key=lambda v: v.name)
        return found + [(v.name, f"{v.evaluate({}):g}") for v in sizes]

    @cached_property
    def matrix(self) -> str | None:
        """The formula in matrix notation; None where it has none."""
        if not has_matrix_form(self.term, self.names) or self.term.ndim > 2:
            return None
        return written(self.term, self.names)

    @cached_property
    def where(self) -> str:
        """What the names in `matrix` stand for: "p = softmax(z), n = 32"."""
        return ", ".join(f"{name} = {text}" for name, text in self._where())

    @cached_property
    def step_where(self) -> str:
        """What the names in the steps stand for that are not in the formula."""
        found: dict[str, str] = {}
        for root in (self.start, *(r.after for r in self.rewritings)):
            for name, term in used_in(root, self.step_names):
                if term not in self.names:
                    inside = {t: n for t, n in self.step_names.items() if t is not term}
                    found.setdefault(name, written(term, inside))
        return ", ".join(f"{name} = {text}" for name, text in found.items())

    @cached_property
    def _index_form(self) -> IndexForm:
        return IndexForm(self.term, self.left, self.names)

    @cached_property
    def index(self) -> str:
        """The formula in index notation, named parts first."""
        form = self._index_form
        where = [f"{name} = {written(t, self._but(t))}" for name, t in form.where]
        return form.plain() + (f" where {', '.join(where)}" if where else "")

    def _but(self, term: Term) -> dict[Term, str]:
        """The names, but for one term's."""
        return {t: n for t, n in self.names.items() if t is not term}

    def latex(self, form: str = "matrix") -> str:
        """LaTeX source of the formula, for amsmath.

        Args:
            form: "matrix", or "index"; where there is no matrix form it is the index form.

        Raises:
            DTypeError: no such form.
        """
        if form not in ("matrix", "index"):
            raise DTypeError(f'form is "matrix" or "index", not {form!r}')
        if form == "index" or self.matrix is None:
            return self._index_form.latex()
        text = written(self.term, self.names, latex=True)
        where = r", \quad ".join(f"{n} = {t}" for n, t in self._where(latex=True))
        return text + (rf" \quad \text{{where }} {where}" if where else "")

    def to_python(self) -> str:
        """A runnable function of the function's arguments, in chainrule's operations."""
        return python(self)

    def __call__(self, *args: Any) -> Tensor:
        """The formula's value, in float64, at these arguments of the function."""
        values = {a.name: v for a, v in zip(self.arguments, args, strict=True)}
        return Tensor(self._value(values))

    def _value(self, values: dict[str, Any], memo: dict[Term, np.ndarray] | None = None) -> Any:
        values = {k: np.asarray(v) for k, v in values.items() if not callable(v)}
        if self.direction is None:
            return self.term.evaluate(values, memo)
        columns = []
        for unit in np.eye(max(int(np.prod(self.direction.shape)), 1)):
            given = {**values, self.direction.name: unit.reshape(self.direction.shape)}
            columns.append(self.term.evaluate(given))
        return np.stack(columns, -1).reshape(self.shape)

    @cached_property
    def step_names(self) -> dict[Term, str]:
        """The same for the steps, in which more stands more than once."""
        taken = {a.name for a in self.arguments} | {v.name for v in self.sizes.values()}
        taken |= {v.name for v in self.start.variables} | set(self.names.values()) | {"e"}
        rest = named_parts([self.start, *(r.after for r in self.rewritings)], taken)
        return {**{t: n for t, n in rest.items() if t.cost > 15}, **self.names}

    # Checks

    @cached_property
    def steps(self) -> list[Step]:
        """The rewritings, with what is the same when it is written left out."""
        shown: list[Step] = []
        memos: list[dict[Term, np.ndarray]] = [{} for _ in self.points[:STEP_POINTS]]
        before = written(self.start, self.step_names)
        for r in self.rewritings:
            error = max(
                (difference(self._at(r.before, p, m), self._at(r.after, p, m))
                 for p, m in zip(self.points, memos, strict=False)), default=0.0,
            )  # fmt: skip
            after = written(r.after, self.step_names)
            step = Step(r.rule, before, after, error, error <= TOLERANCE)
            if after != before or not step.holds:
                shown.append(step)
            before = after
        return shown

    def _at(self, term: Term, point: dict[str, np.ndarray], memo: dict) -> np.ndarray:
        """A term's value; an array that v has been left out of is multiplied with v again."""
        value = term.evaluate(point, memo)
        v = self.map_of
        if v is None or v in term.variables or term.shape != self.shape:
            return value
        return np.tensordot(value, point[v.name], v.ndim)

    @property
    def rules(self) -> list[str]:
        """The names of the rules that were used, in order."""
        return list(dict.fromkeys(step.rule for step in self.steps))

    @cached_property
    def verified(self) -> bool:
        """Whether every step, the formula, the index form and the Python hold numerically."""
        return all(check.holds for check in self.checks)

    @cached_property
    def checks(self) -> list[Check]:
        """What has been compared."""
        reference = {"gradient": "cr.grad", "Jacobian": "cr.jacobian", "Hessian": "cr.hessian"}
        what = f"the formula and {reference[self.kind]}, at {len(self.points)} points"
        found = [Check(what, self.error, self.bound)]
        worst = max((s.error for s in self.steps), default=0.0)
        found.append(Check(f"each of {len(self.steps)} steps, before and after", worst))
        if self.direction is None and self.points:
            point = self.points[0]
            value = self._value(point)
            found.extend(self._matrix_check(point))
            found.append(Check("the index form, by the notation alone",
                               difference(self._index_form.evaluate(point), value)))  # fmt: skip
            found.append(Check("the Python, run", difference(self._run_python(point), value)))
        return found

    def _matrix_check(self, point: dict[str, np.ndarray]) -> list[Check]:
        """The matrix form and what its names stand for, by matrix algebra alone."""
        if self.matrix is None:
            return []
        memo: dict[Term, np.ndarray] = {}
        values = {v.name: v.evaluate(point) for v in self.term.variables}
        parts = [t for _, t in used_in(self.term, self.names)]
        values |= {self.names[t]: t.evaluate(point, memo) for t in parts}
        errors = []
        try:
            for t in (*parts, self.term):
                found = matrix_value(matrix(t, self._but(t)), values, t.shape)
                errors.append(difference(found, t.evaluate(point, memo)))
        except NoMatrixValueError:  # stacks of matrices
            return []
        return [Check("the matrix form, by matrix algebra alone", max(errors))]

    def _run_python(self, point: dict[str, np.ndarray]) -> np.ndarray:
        space: dict[str, Any] = {}
        exec(compile(self.to_python(), f"<{self.name}>", "exec"), space)
        args = [Tensor(point[a.name]) if a.value is not None else a.given for a in self.arguments]
        return np.asarray(space[self.kind.lower()](*args))

    # Showing

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain data."""
        return {
            "name": self.name,
            "kind": self.kind,
            "function": self.function_text,
            "matrix": self.matrix,
            "index": self.index,
            "where": dict(self._where()),
            "latex": self.latex(),
            "python": self.to_python(),
            "steps": [vars(s) for s in self.steps],
            "checks": [{**vars(c), "holds": c.holds} for c in self.checks],
            "verified": self.verified,
            "notes": self.notes,
        }

    def __str__(self) -> str:
        left = self.left
        lines = [self.function_text, ""]
        lines.append(f"{left} = {written(self.start, self.step_names)}")
        margin = " " * len(left)
        for step in self.steps:
            mark = "✓" if step.holds else "✗"
            lines.append(f"{margin} = {step.after}    {mark} {step.rule}")
        if self.step_where:
            lines.append(f"{margin}   where {self.step_where}")
        lines.append("")
        lines.append(f"matrix form  {left} = {self.matrix or 'none'}")
        if self.where:
            lines.append(f"             where {self.where}")
        lines.append(f"index form   {self.index}")
        lines.extend(f"checked      {c}" for c in self.checks)
        lines.extend(f"note         {note}" for note in self.notes)
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<{self.kind} {self.left} = {self.matrix or self.index}>"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>= {escape(s.after)}</td><td>{'✓' if s.holds else '✗'} {escape(s.rule)}</td>"
            "</tr>"
            for s in self.steps
        )
        start = escape(written(self.start, self.step_names))
        where = f"<p>where {escape(self.where)}</p>" if self.where else ""
        shown = f"<p><b>{escape(self.left)} = {escape(self.matrix)}</b></p>" if self.matrix else ""
        checks = "".join(f"<li>{escape(str(c))}</li>" for c in self.checks)
        return (
            f"<div><p>{escape(self.function_text)}</p>"
            f"<table><tr><td>{escape(self.left)} = {start}</td><td></td></tr>{rows}</table>"
            f"{shown}{where}"
            f"<p>{self._index_form.mathml()}</p><ul>{checks}</ul></div>"
        )


@dataclass(frozen=True)
class Check:
    """One comparison: what was compared, by how much it differs, relative to the values, and by
    how much it may."""

    what: str
    error: float
    bound: float = TOLERANCE

    @property
    def holds(self) -> bool:
        return self.error <= self.bound

    def __str__(self) -> str:
        return f"{'✓' if self.holds else '✗'} {self.what}: off by {self.error:.1e}"


def difference(a: Any, b: Any) -> float:
    """The largest difference relative to the values; 0 between equal infinities, infinite where
    one has no value."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.shape != b.shape:
        return float("inf")
    if not a.size:
        return 0.0
    with np.errstate(invalid="ignore"):
        apart = np.where(a == b, 0.0, np.abs(a - b))
    scale = np.abs(b).max(initial=1.0, where=np.isfinite(b))
    found = float(apart.max() / scale)
    return found if found == found else float("inf")
