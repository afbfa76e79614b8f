"""A computation written as one expression: each node's formula, put into the next one's."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np

from chainrule.errors import GradientError
from chainrule.ops.elementwise import Elementwise
from chainrule.ops.notation.render import Plain
from chainrule.ops.notation.tree import Call, Expression, Name, Number, Unary
from chainrule.tensor import dtypes
from chainrule.tensor.graph import Node, leaf
from chainrule.tensor.tensor import Tensor


def expression(root: Any, names: dict[Node, str]) -> Expression:
    """The expression that computes `root` from the nodes that `names` names.

    Only formulas that are element by element can be put into one another. An operation whose
    formula is only shown goes by its name.
    """
    if not isinstance(root, Tensor):
        return _number(root)
    return _of(root._node, names)


def _of(node: Node | None, names: dict[Node, str]) -> Expression:
    assert node is not None
    if node in names:
        return Name(names[node])
    if node.op is None:
        assert node.value is not None
        return _number(node.value.item())
    operands = dict(zip(node.op.operand_names, node.inputs, strict=True))
    values = {key: _of(n, names) for key, n in operands.items()}
    if node.op.display_only:
        return Call(node.op.name, tuple(values.values()))
    return _put(node.op.formula.statements[-1].value, values)


def _put(part: Expression, values: dict[str, Expression]) -> Expression:
    """An expression with names replaced by expressions."""
    if isinstance(part, Name):
        return values.get(part.name, part)
    changed: dict[str, Any] = {}
    for field in fields(part):  # type: ignore[arg-type]
        value = getattr(part, field.name)
        if isinstance(value, Expression):
            changed[field.name] = _put(value, values)
        elif isinstance(value, tuple) and value and isinstance(value[0], Expression):
            changed[field.name] = tuple(_put(v, values) for v in value)
    return replace(part, **changed) if changed else part  # type: ignore[type-var]


def _number(value: Any) -> Expression:
    if value < 0:
        return Unary("-", _number(-value))
    return Number(f"{value:.6g}" if isinstance(value, (float, np.floating)) else str(value))


def local_derivatives(op: Elementwise) -> list[str]:
    """∂y/∂ of each operand as text, traced from the declared derivative."""
    operands = [Tensor(None, leaf((), dtypes.float64)) for _ in range(op.arity)]
    output = Tensor(None, leaf((), dtypes.float64))
    names = {t._node: n for t, n in zip(operands, op.operand_names, strict=True)}
    names[output._node] = "y"
    texts = []
    for derivative in op.derivative:
        try:
            found = derivative(*operands, output)
        except GradientError:  # an order, in which there is none
            texts.append("none")
        else:
            texts.append(Plain().write(expression(found, names)))  # type: ignore[arg-type]
    return texts
