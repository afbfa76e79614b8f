"""Recorded operations, run again on other operands: in float64, or with each a little moved."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from chainrule.lens.explain.steps.forward import widened
from chainrule.tensor import dtypes
from chainrule.tensor.graph import OFF, Node, quiet, recording
from chainrule.tensor.inspection import finfo
from chainrule.tensor.tensor import Tensor


def widened_node(node: Node) -> Node:
    """A copy of a node whose operands are in float64, with the result that these give."""
    assert node.saved is not None
    operands = list(widened(dict(enumerate(node.saved[: len(node.inputs)]))).values())
    attrs = {k: np.dtype(np.float64) if _narrow(v) else v for k, v in node.attrs.items()}
    return _copied(node, operands, applied(node.op, operands, attrs), attrs)


def _narrow(attribute: Any) -> bool:
    """Whether an attribute asks for a floating-point dtype, as that of a sum does."""
    return isinstance(attribute, np.dtype) and attribute.kind in "fV"


def applied(op: Any, operands: Sequence[Any], attrs: dict[str, Any]) -> np.ndarray:
    """What an operation gives on arrays."""
    with recording(OFF), quiet():
        given = [Tensor(v) if isinstance(v, np.ndarray) else v for v in operands]
        return op.apply(given, attrs).numpy()


def moved_node(node: Node, rng: np.random.Generator) -> Node:
    """A copy of a node with every operand, and the result, moved by its rounding."""
    assert node.saved is not None
    *operands, value, _ = (
        v if i == len(node.inputs) + 1 else _nearby(v, rng) for i, v in enumerate(node.saved)
    )
    return _copied(node, operands, value, node.attrs)


def _nearby(value: Any, rng: np.random.Generator) -> Any:
    if not isinstance(value, np.ndarray) or not dtypes.is_float(value.dtype):
        return value
    signs = rng.choice([-1.0, 1.0], value.shape)
    wide = value.astype(np.complex128 if value.dtype.kind == "c" else np.float64)
    return (wide * (1 + float(finfo(value.dtype).eps) * signs)).astype(value.dtype)


def _copied(node: Node, operands: list[Any], value: np.ndarray, attrs: dict[str, Any]) -> Node:
    assert node.saved is not None
    copy = Node(node.op, node.inputs, attrs, value.shape, value.dtype, True)
    copy.wanted, copy.value, copy.scope, copy.place = node.wanted, value, node.scope, node.place
    copy.saved = [*operands, value, node.saved[-1]]
    return copy
