"""How one operation's derivative is written: the general formula, the same in this network's names,
in index form and in matrix form, and one element with its numbers.

All of it is read off the derivative that the operation declares (`chainrule.calculus.derive`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.calculus.derive.index_form import IndexForm
from chainrule.calculus.derive.local import (
    COTANGENT,
    OUTPUT,
    LocalDerivative,
    local_derivative,
    operand_names,
)
from chainrule.calculus.derive.matrix_form import has_matrix_form
from chainrule.calculus.derive.matrix_form import written as matrix
from chainrule.calculus.derive.matrix_writing import latex_name
from chainrule.calculus.derive.naming import named_parts, used_in
from chainrule.calculus.derive.terms import Term, Variable
from chainrule.errors import ChainruleError
from chainrule.lens.explain.derivation import Element, Symbols, Words, Writing, largest
from chainrule.lens.explain.record import Pullback, Recorded
from chainrule.ops.notation import Formula


@dataclass(frozen=True)
class Written:
    """The parts of a step that say how a gradient went back through an operation.

    Attributes:
        rule: the name of the rule.
        formula: the derivative in the operation's own names, δ for what it was handed.
        named, matrix: the same in this network's names, in index form and in matrix form.
        elements: the largest element with its numbers.
        operands: the quantities beside δ that it is made of.
    """

    rule: str
    formula: Writing | None = None
    named: Writing | None = None
    matrix: Writing | None = None
    elements: tuple[Element, ...] = ()
    operands: tuple[str, ...] = ()


Forms = dict[Any, tuple[LocalDerivative, IndexForm]]
"""The derivatives that have been written, so that equal layers share them."""
Values = dict[Term, np.ndarray]
"""What the terms of one operation's derivatives come to."""


def written(
    recorded: Recorded, pullback: Pullback, name: str, arriving: str, forms: Forms, memo: Values
) -> Written:
    """What a step of the backward pass shows.

    Args:
        name: what the result is called.
        arriving: what the gradient is called that the operation was handed.
        memo: what has been evaluated for the operation's other operands.
    """
    node = pullback.node
    assert node.saved is not None
    op, arrays = node.op, node.saved[: len(node.inputs)]
    specs = [(a.shape, a.dtype) if isinstance(a, np.ndarray) else a for a in arrays]
    values: dict[str, Any] = dict(zip(operand_names(op, len(specs)), arrays, strict=True))
    values |= {OUTPUT: node.value, COTANGENT: recorded.gradients[node]}
    values = {key: value for key, value in values.items() if isinstance(value, np.ndarray)}
    if any(value.dtype.kind == "c" for value in values.values()):
        return Written(f"derivative of {op.name}, of complex numbers")
    key = (op, tuple(specs), tuple(node.attrs.items()), pullback.position)
    if key not in forms:
        local = local_derivative(op, specs, node.attrs, pullback.position)
        parts = named_parts([local.term], values)
        forms[key] = local, IndexForm(local.term, f"{COTANGENT}{local.operand}", parts)
    local, form = forms[key]
    called = {key: recorded.names.of(value) for key, value in values.items()}
    called[COTANGENT] = arriving
    formula = Formula(form.plain(), form.statements)
    named = form.names | {v: called[v.name] for v in local.term.variables if v.name in called}
    operations = _operations(form, named)
    own = {v: v.name for v in local.term.variables}
    return Written(
        local.rule,
        Symbols(formula, _operations(form, form.names | own)),
        Symbols(formula, called | operations | {formula.output: name}),
        _matrix(name, local.term, named),
        _element(pullback.value, formula, form, values, called | operations, memo),
        tuple(called[key] for key in form.given if key in called and key != COTANGENT),
    )


def _operations(form: IndexForm, names: dict[Term, str]) -> dict[str, str]:
    """What the notation does not say, such as the inverse of a matrix, by the operation's name."""
    return {
        key: _plain(term, names)
        for key, term in form.given.items()
        if not isinstance(term, Variable)
    }


def _plain(term: Term, names: dict[Term, str]) -> str:
    return matrix(term, {t: n for t, n in names.items() if t is not term})


def _matrix(name: str, term: Term, names: dict[Term, str]) -> Words | None:
    """The matrix form, with what is named in it; None where it has none."""
    parts = [(name, term), *((key, part) for key, part in used_in(term, names))]
    lines = []
    for key, part in parts:
        inside = {t: n for t, n in names.items() if t is not part}
        if not has_matrix_form(part, inside):
            return None
        if not isinstance(part, Variable) or part is term:
            lines.append((key, matrix(part, inside), matrix(part, inside, latex=True)))
    (left, text, tex), *where = lines
    text = f"{left} = {text}"
    tex = rf"{latex_name(left)} = {tex}"
    if where:
        text += ", where " + ", ".join(f"{key} = {value}" for key, value, _ in where)
        tex += r" \quad \text{where } " + r", \; ".join(
            f"{latex_name(key)} = {value}" for key, _, value in where
        )
    return Words(text, tex)


def _element(
    value: np.ndarray,
    formula: Formula,
    form: IndexForm,
    values: dict[str, Any],
    called: dict[str, str],
    memo: Values,
) -> tuple[Element, ...]:
    """The largest element, with its numbers; nothing where what the formula names (an inverse, what
    is read at a place that was computed) cannot be computed by itself."""
    if not value.size:
        return ()
    index = largest(value)
    try:
        given = {
            key: values[key] if key in values else term.evaluate(values, memo)
            for key, term in form.given.items()
        }
        instance = formula.instantiate(given, index)
    except (ChainruleError, ValueError):
        return ()
    sources = {key: (called[key], array) for key, array in given.items()}
    return (Element(index, instance, sources),)
