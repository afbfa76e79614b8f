"""Algebra on nodes: what gives the same number with less work, one rule a function.

A rule takes a node and its operands (already rewritten) and returns a node that has the same
value, or None. Only what holds for every number is here, NaN, infinities and the sign of 0
included: x + 0 is not x for x = −0, and 0 · x is not 0 for x = ∞. The exception is a sum of the one
term −0, which may stay −0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from chainrule.ops.elementwise import Elementwise
from chainrule.ops.operation import registry
from chainrule.tensor.graph import Node, constant

Rule = Callable[[Node, Sequence[Node]], Node | None]
RULES: dict[str, list[Rule]] = {}


def rule(*names: str) -> Callable[[Rule], Rule]:
    def put(function: Rule) -> Rule:
        for name in names:
            RULES.setdefault(name, []).append(function)
        return function

    return put


def make(name: str, inputs: Sequence[Node], like: Node, **attrs: Any) -> Node:
    """A node of an operation at the place of another one, whose result has the same shape."""
    node = Node(registry[name], tuple(inputs), attrs, like.shape, like.dtype, False)
    node.place, node.scope = like.place, like.scope
    return node


def number(node: Node | None) -> Any:
    """The one number that all elements of a constant are, through broadcasts; else None."""
    while node is not None and node.op is not None and node.op.name in _SPREADING:
        node = node.inputs[0]
    if node is None or node.op is not None or node.value is None or node.value.size != 1:
        return None
    return node.value.item()


_SPREADING = ("broadcast_to", "reshape", "permute_dims")


@rule("identity", "stop_gradient", "positive", "with_derivative")
def nothing_done(node: Node, inputs: Sequence[Node]) -> Node | None:
    return _if_same(inputs[0], node)


@rule("reshape", "broadcast_to", "sum_to", "astype")
def nothing_changed(node: Node, inputs: Sequence[Node]) -> Node | None:
    return _if_same(inputs[0], node)


@rule("permute_dims")
def axes_in_order(node: Node, inputs: Sequence[Node]) -> Node | None:
    axes, x = node.attrs["axes"], inputs[0]
    if axes == tuple(range(len(axes))):
        return x
    if x.op is not None and x.op.name == "permute_dims":
        inner = x.attrs["axes"]
        both = tuple(inner[a] for a in axes)
        return x.inputs[0] if both == tuple(range(len(both))) else make(
            "permute_dims", x.inputs, node, axes=both  # type: ignore[arg-type]
        )  # fmt: skip
    return None


@rule("matmul")
def product_of_one_term(node: Node, inputs: Sequence[Node]) -> Node | None:
    """A column times a row is a product element by element, which joins what is done with it."""
    a, b = inputs
    if len(a.shape) < 2 or len(b.shape) < 2 or a.shape[-1] != 1:
        return None
    return make("multiply", inputs, node) if a.dtype == b.dtype else None


@rule("permute_dims")
def product_transposed(node: Node, inputs: Sequence[Node]) -> Node | None:
    """(A B)ᵀ = Bᵀ Aᵀ, so that a product is computed as it is stored: a weight's gradient."""
    axes, x = node.attrs["axes"], inputs[0]
    turned = (*range(len(axes) - 2), len(axes) - 1, len(axes) - 2)
    if x.op is None or x.op.name not in ("matmul", "multiply") or axes != turned:
        return None
    a, b = x.inputs
    assert a is not None
    assert b is not None
    if len(a.shape) != len(axes) or len(b.shape) != len(axes):
        return None
    if x.op.name == "multiply" and not a.shape[-1] == 1 == b.shape[-2]:
        return None  # no product of a column and a row
    return make(x.op.name, [_transposed(b), _transposed(a)], node)


def _transposed(x: Node) -> Node:
    axes = (*range(len(x.shape) - 2), len(x.shape) - 1, len(x.shape) - 2)
    if x.op is not None and x.op.name == "permute_dims" and x.attrs["axes"] == axes:
        assert x.inputs[0] is not None
        return x.inputs[0]
    shape = (*x.shape[:-2], x.shape[-1], x.shape[-2])
    found = Node(registry["permute_dims"], (x,), {"axes": axes}, shape, x.dtype, False)
    found.place, found.scope = x.place, x.scope
    return found


@rule("reshape")
def reshaped_twice(node: Node, inputs: Sequence[Node]) -> Node | None:
    x = inputs[0]
    if x.op is None or x.op.name != "reshape":
        return None
    (source,) = x.inputs
    assert source is not None
    return source if source.shape == node.shape else make(
        "reshape", [source], node, shape=node.shape
    )  # fmt: skip


@rule("sum")
def sum_of_one(node: Node, inputs: Sequence[Node]) -> Node | None:
    x = inputs[0]
    if x.dtype == node.dtype and all(x.shape[a] == 1 for a in node.attrs["axes"]):
        return make("reshape", [x], node, shape=node.shape)
    return None


@rule("negative")
def twice_negated(node: Node, inputs: Sequence[Node]) -> Node | None:
    x = inputs[0]
    return x.inputs[0] if x.op is not None and x.op.name == "negative" else None


@rule("multiply")
def times_one(node: Node, inputs: Sequence[Node]) -> Node | None:
    a, b = inputs
    if _is_one(b):
        return _if_same(a, node)
    return _if_same(b, node) if _is_one(a) else None


@rule("divide")
def over_one(node: Node, inputs: Sequence[Node]) -> Node | None:
    return _if_same(inputs[0], node) if _is_one(inputs[1]) else None


@rule("subtract")
def minus_zero(node: Node, inputs: Sequence[Node]) -> Node | None:
    zero = number(inputs[1])
    if zero != 0 or isinstance(zero, complex) or math.copysign(1, zero) < 0:
        return None
    return _if_same(inputs[0], node)


def _is_one(x: Node) -> bool:
    """Whether x is the number 1, and real: ∞ · (1 + 0i) = ∞ + NaN i."""
    value = number(x)
    return value == 1 and not isinstance(value, complex)


def _if_same(x: Node, node: Node) -> Node | None:
    return x if x.shape == node.shape and x.dtype == node.dtype else None


FOLDED = 1 << 16
"""Constants of up to so many elements are computed when compiling rather than at each call."""


def fold(node: Node, inputs: Sequence[Node | None]) -> Node | None:
    """The constant that an operation on constants gives."""
    numbers = [None if n is None else number(n) for n in inputs]
    if isinstance(node.op, Elementwise) and inputs and all(n is not None for n in numbers):
        # Of numbers that are the same everywhere, once, and spread afterwards.
        dtypes = [None if n is None else n.dtype for n in inputs]
        values = [
            np.asarray(v, d) if array else v
            for v, d, array in zip(numbers, dtypes, are_arrays(node), strict=True)
        ]
        value = constant(np.asarray(_run(node, values)))
        return value if node.shape == () else make("broadcast_to", [value], node, shape=node.shape)
    if node.op.name in _SPREADING or math.prod(node.shape) > FOLDED:
        return None
    if not inputs or any(n is not None and (n.op is not None or n.value is None) for n in inputs):
        return None
    values = [
        None if n is None else n.value if array else n.value.item()  # type: ignore[union-attr]
        for n, array in zip(inputs, are_arrays(node), strict=True)
    ]
    return constant(np.asarray(_run(node, values)))


def are_arrays(node: Node) -> list[bool]:
    """Which operands are tensors: a Python number beside one does not widen its dtype."""
    saved = node.saved or []
    return [
        i >= len(saved) or not isinstance(saved[i], (bool, int, float, complex))
        for i in range(len(node.inputs))
    ]


def _run(node: Node, values: list[Any]) -> Any:
    with np.errstate(all="ignore"):
        return node.op.run(values, node.attrs)[0]
