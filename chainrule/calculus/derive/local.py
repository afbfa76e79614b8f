"""One operation's pullback as a formula: what its declared derivative does to a cotangent.

The declaration's own derivative is run on tensors without values, and what it records is read and
simplified like any other derivative. Nothing is written down a second time: a derivative that is
declared otherwise is shown otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from chainrule.calculus.derive.index_form import IndexForm
from chainrule.calculus.derive.matrix_form import written
from chainrule.calculus.derive.naming import named_parts, written_with_parts
from chainrule.calculus.derive.reading import read
from chainrule.calculus.derive.rules import names as rule_names
from chainrule.calculus.derive.rules import simplify
from chainrule.calculus.derive.terms import Term, ones, replaced, variable
from chainrule.calculus.reverse import pull_back
from chainrule.errors import GradientError
from chainrule.ops.composite import Composite
from chainrule.ops.elementwise import Elementwise
from chainrule.ops.notation.tree import Statement
from chainrule.ops.operation import Operation
from chainrule.tensor.graph import FULL, Node, describe_only, leaf, recording
from chainrule.tensor.tensor import Tensor

OUTPUT, COTANGENT = "y", "δ"

_simplified: dict[Term, tuple[Term, tuple[str, ...]]] = {}
_MOST = 4096  # remembered formulas


@dataclass(frozen=True)
class LocalDerivative:
    """The cotangent of one operand of an operation, as a formula.

    Attributes:
        op: the operation.
        operand: the name of the operand, as the declaration has it.
        term: the formula; its variables are the operands by their names, "y" the output, "δ" the
            cotangent of the output.
        start: what the declared derivative recorded, before it was simplified.
        rules: the names of the rules that lead from one to the other.
        rule: what this pullback is an instance of, in a few words.
    """

    op: Operation
    operand: str
    term: Term
    start: Term
    rules: tuple[str, ...]
    rule: str
    names: dict[str, str] = field(default_factory=dict)

    def _renamed(self, names: Mapping[str, str] | None) -> dict[Term, str]:
        chosen = self.names if names is None else names
        return {v: chosen[v.name] for v in self.term.variables if v.name in chosen}

    def matrix_text(self, names: Mapping[str, str] | None = None) -> str:
        """The formula in matrix notation; `names` says what operands, y and δ are called."""
        return self._written(names, latex=False)

    def matrix_latex(self, names: Mapping[str, str] | None = None) -> str:
        """The same as LaTeX source."""
        return self._written(names, latex=True)

    def _written(self, names: Mapping[str, str] | None, latex: bool) -> str:
        taken = [v.name for v in self.term.variables]
        return written_with_parts(self.term, self._renamed(names), taken, latex)

    @cached_property
    def index_form(self) -> IndexForm:
        """The formula in index notation, with what it needs to be evaluated."""
        target = f"{COTANGENT}{self.operand}"
        taken = {target, *(v.name for v in self.term.variables)}
        return IndexForm(self.term, target, named_parts([self.term], taken))

    @property
    def index(self) -> tuple[Statement, ...]:
        """The statements of the index notation; the last one's target is "δ" and the operand."""
        return self.index_form.statements

    def evaluate(self, values: Mapping[str, Any]) -> np.ndarray:
        """The cotangent in float64, of values for the operands, "y" and "δ"."""
        return self.term.evaluate(values)


def local_derivative(
    op: Operation,
    operand_specs: Sequence[Any],
    attrs: Mapping[str, Any],
    position: int,
    names: Mapping[str, str] | None = None,
) -> LocalDerivative:
    """What an operation's declared derivative makes of a cotangent δ, for one operand.

    Args:
        op: the operation.
        operand_specs: for each operand its (shape, dtype), a Python number as it is, or None where
            it was left out.
        attrs: the operation's normalised attributes, as a node has them.
        position: which operand.
        names: what the operands, "y" and "δ" are called when the formula is written.

    Raises:
        GradientError: there is no derivative in this operand; with the reason that was declared.

    >>> from chainrule.ops.operation import registry
    >>> found = local_derivative(registry["tanh"], [((3,), "float64")], {}, 0)
    >>> found.matrix_text(), found.rule
    ('δ ⊙ (1 − y²)', 'derivative of tanh: 1 − y²')
    """
    start, whole = _recorded(op, operand_specs, attrs, position)
    term, rules = _simplify(start)
    if whole is not None:
        term = replaced(term, {_simplify(whole)[0]: variable(OUTPUT, whole.shape)})
    rule = _rule(op, operand_specs, attrs, position, term)
    return LocalDerivative(
        op, operand_names(op, len(operand_specs))[position], term, start, rules, rule,
        dict(names or {}),
    )  # fmt: skip


def _simplify(start: Term) -> tuple[Term, tuple[str, ...]]:
    """(the simplified term, the names of the rules), remembered."""
    if start not in _simplified:
        if len(_simplified) >= _MOST:
            _simplified.clear()
        term, rewritings = simplify(start)
        _simplified[start] = term, tuple(rule_names(rewritings))
    return _simplified[start]


def operand_names(op: Operation, count: int) -> list[str]:
    """What the declaration calls the operands; x1, x2, … where it takes any number of them."""
    names = list(op.operand_names)[:count]
    return names + [f"x{k + 1}" for k in range(len(names), count)]


def _recorded(
    op: Operation, specs: Sequence[Any], attrs: Mapping[str, Any], position: int
) -> tuple[Term, Term | None]:
    """(what the derivative records, of a composite what it computes itself), as terms."""
    terms: dict[Node, Term] = {}
    operands: list[Any] = []
    wanted: list[bool] = []
    for k, (name, spec) in enumerate(zip(operand_names(op, len(specs)), specs, strict=True)):
        if not isinstance(spec, tuple):
            operands.append(spec)
            wanted.append(False)
            continue
        shape, dtype = tuple(spec[0]), np.dtype(spec[1])
        kind = "f" if dtype.kind in "fV" else dtype.kind
        node = (leaf if k == position else describe_only)(
            shape, np.dtype(np.float64) if kind == "f" else dtype
        )
        terms[node] = variable(name, shape, kind)
        operands.append(Tensor(None, node))
        wanted.append(k == position)
    if not op.differentiable or not wanted[position]:
        reason = getattr(op, "reason", "this operand is no array of floating-point numbers")
        raise GradientError(f"`{op.name}` has no derivative in its operand {position}: {reason}")
    attributes = dict(attrs)
    with recording(FULL):
        shape, dtype = op.shape(*operands, **attributes)
        output = Tensor(None, describe_only(shape, np.dtype(np.float64)))
        gradient = Tensor(None, describe_only(shape, np.dtype(np.float64)))
        assert output._node is not None
        assert gradient._node is not None
        terms[output._node] = variable(OUTPUT, shape)
        terms[gradient._node] = variable(COTANGENT, shape)
        if isinstance(op, Composite):
            result = op._trace(operands, attributes)
            assert result._node is not None
            found = op.pull(result._node, gradient, tuple(wanted), True, pull_back)[position]
            whole = read(result._node, terms)
        else:
            choice = None
            if op.choice is not None:
                choice = op.choice(*operands, output, **attributes)
            found = op.cotangents(gradient, tuple(wanted), operands, output, choice, attributes)[
                position
            ]
            whole = None
        if found is None:
            raise GradientError(f"`{op.name}` has no derivative in its operand {position}")
        assert found._node is not None
        start = read(found._node, terms)
    return start, whole


_NAMED = {
    "add": "sum rule", "subtract": "sum rule", "negative": "a factor stays",
    "multiply": "product rule", "divide": "quotient rule", "pow": "power rule",
    "matmul": "transpose of a matrix product", "linear": "transpose of a matrix product",
    "sum": "a sum hands its cotangent on to every summand",
    "mean": "a mean hands an equal share of its cotangent on to every element",
    "broadcast_to": "a broadcast is summed", "sum_to": "a sum is broadcast",
    "getitem": "what was read gets its cotangent, the rest 0",
}  # fmt: skip


def _rule(
    op: Operation, specs: Sequence[Any], attrs: Mapping[str, Any], position: int, term: Term
) -> str:
    """The one-line name of what a pullback is an instance of."""
    name = _NAMED.get(op.name)
    if name is None and isinstance(op, Elementwise):
        name = f"derivative of {op.name}: {_slope(op, specs, position)}"
    if name is None:
        name = {
            "linear": "transpose of a linear map",
            "bilinear": "transpose of a bilinear map",
            "composite": f"chain rule through the definition of {op.name}",
        }.get(op.kind, f"derivative declared for {op.name}")
    if isinstance(op, Elementwise) and term.shape != _output_shape(specs):
        name += "; a broadcast is summed"
    return name


def _output_shape(specs: Sequence[Any]) -> tuple[int, ...]:
    return np.broadcast_shapes(*(tuple(s[0]) for s in specs if isinstance(s, tuple)))


def _slope(op: Elementwise, specs: Sequence[Any], position: int) -> str:
    """∂y/∂x as text: the pullback of numbers, of δ = 1."""
    numbers = [((), s[1]) if isinstance(s, tuple) else s for s in specs]
    start, _ = _recorded(op, numbers, {}, position)
    return written(_simplify(replaced(start, {variable(COTANGENT, ()): ones(())}))[0])
