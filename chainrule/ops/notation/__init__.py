"""The index notation in which operations declare their mathematics.

One text gives the plain, LaTeX and MathML forms, an evaluation in float64 that is independent of
the operation's own forward pass, and the written-out numbers of one element.

    formula    := statement (";" statement)*
    statement  := [target "="] expression           the last one is the result, called y
    target     := name | name "[" indices "]" | name "⟨" name "⟩"
    expression := disjunction ["if" disjunction "else" expression]
    condition  := comparisons (= ≠ < > ≤ ≥) joined by "and", "or", "not"
    sum        := product (("+" | "−") product)*
    product    := factor (("·" | "*" | "/") factor)*
    factor     := "−" factor | reduction | power
    reduction  := ("Σ" | "Π" | "max" | "min" | "argmax" | "argmin") "_" bound product
    bound      := name | "{" name ("," name)* "}" | "{" condition "}"
    power      := atom ("²" | "³" | "^" factor)*
    atom       := number | name | name "(" expressions ")" | name "[" indices "]"
                | name "⟨" name "⟩" | "|" name "|" | "√" atom | "(" expression ")"
    indices    := ("…" | sum) ("," ("…" | sum))*

A single statement has a target if that is y, or has indices or a prime: w′ = w − lr·g.

An index takes its range from where it stands alone in a subscript of an operand, or from the
result. "…" stands for any axes, which broadcast as NumPy's do. `x⟨n⟩` is the n-th element in
row-major order. `|k|` is how many values the index k takes. An operand without a subscript is meant
element by element. Beyond its ends an array counts as what a reduction ignores: 0 under Σ, −∞ under
max. A reduction reaches as far to the right as a product does, and no further.

>>> formula = parse("y[…, i] = Σ_j W[i, j] · x[…, j]")
>>> formula.evaluate({"W": [[1.0, 2.0]], "x": [3.0, 4.0]}, (1,))
array([11.])
>>> formula.latex()
'{y}_{\\\\dots,i} = \\\\sum_{j} {W}_{i,j} \\\\, {x}_{\\\\dots,j}'
>>> formula.substitute({"W": [[1.0, 2.0]], "x": [3.0, 4.0]}, (0,))
'2 · 4 + 1 · 3 = 11'
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from chainrule.ops.notation.evaluate import CONSTANTS, Evaluator, walk, widest
from chainrule.ops.notation.parse import FormulaError, Parser
from chainrule.ops.notation.render import Latex, Plain, mathml
from chainrule.ops.notation.substitute import Instance, Origin, instance
from chainrule.ops.notation.tree import Flat, Name, Reduce, Statement, Subscript

# What LaTeX's text mode takes for a command.
_TEXT = str.maketrans(
    {c: f"\\{c}" for c in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}"}
)

__all__ = ["Formula", "FormulaError", "Instance", "parse"]


@dataclass(frozen=True)
class Formula:
    """A formula that has been read. Make one with `parse`."""

    text: str
    statements: tuple[Statement, ...]
    display_only: bool = False

    @cached_property
    def output(self) -> str:
        """What the result is called."""
        return self.statements[-1].target.name

    @cached_property
    def names(self) -> frozenset[str]:
        """Operands and attributes: the names that must be given a value."""
        used: set[str] = set()
        known: set[str] = set(CONSTANTS)
        for statement in self.statements:
            target = statement.target
            if isinstance(target, Subscript):
                known.update(i.name for i in target.indices if isinstance(i, Name))
            elif isinstance(target, Flat):
                known.add(target.index)
            for part in walk(statement.value):
                if isinstance(part, (Name, Subscript, Flat)):
                    used.add(part.name)
                if isinstance(part, Reduce):
                    known.update(part.indices)
            known.add(target.name)
        return frozenset(used - known)

    def plain(self, names: Mapping[str, str] | None = None) -> str:
        """One line of text; `names` renames operands."""
        return self.text if self.display_only else Plain(names).statements(self.statements)

    def latex(self, names: Mapping[str, str] | None = None) -> str:
        """LaTeX source."""
        if self.display_only:
            return rf"\text{{{self.text.translate(_TEXT)}}}"
        return Latex(names).statements(self.statements)

    def mathml(self, names: Mapping[str, str] | None = None) -> str:
        """A whole <math> element."""
        if self.display_only:
            from xml.sax.saxutils import escape

            return f"<math><mtext>{escape(self.text)}</mtext></math>"
        return mathml(self.statements, names)

    def _evaluable(self) -> None:
        if self.display_only:
            raise FormulaError(f"this formula is for display only: {self.text}")

    def evaluate(
        self,
        operands: Mapping[str, Any],
        shape: tuple[int, ...],
        stacked: Collection[str] = (),
        rounding: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> np.ndarray:
        """The result in float64 (of complex operands, in complex128), from the notation alone.

        Args:
            operands: a value for each of `names`.
            shape: the result's.
            stacked: operands that hold several arrays along a first axis: the result is that for
                each of them, stacked.
            rounding: what happens to every value that is computed on the way, where the effect of
                rounding is measured.

        Raises:
            FormulaError: a name has no value, indices disagree about their range, or the formula
                is for display only.
        """
        self._evaluable()
        evaluator = Evaluator(operands, shape, stacked=stacked)
        evaluator.rounding = rounding
        return widest(evaluator.run(self.statements))

    def instantiate(
        self,
        operands: Mapping[str, Any],
        index: tuple[int, ...],
        terms: int = 5,
        places: Mapping[str, np.ndarray] | None = None,
    ) -> Instance:
        """One element of the result with a number in the place of every operand.

        Of a long sum the largest `terms` terms are kept, and the rest as one remainder. `places`
        says of operands that are views where in the array behind it their elements stand.
        """
        self._evaluable()
        return instance(Origin(self.statements, operands, index, places or {}), terms)

    def substitute(
        self, operands: Mapping[str, Any], index: tuple[int, ...], terms: int = 5
    ) -> str:
        """The text of `instantiate`."""
        return self.instantiate(operands, index, terms).text()


def parse(text: str, *, display_only: bool = False) -> Formula:
    """Read a formula; FormulaError points at the place where it cannot be read."""
    if display_only:
        return Formula(text, (), True)
    return Formula(text, Parser(text).statements())
