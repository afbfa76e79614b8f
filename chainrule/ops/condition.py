"""`cond`: one of two computations, by a value.

Eagerly it is Python's `if`. While a function is traced, where there are no values, it is one node
that holds both as bodies. Its derivative is a condition, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from chainrule.errors import DTypeError, ShapeError
from chainrule.ops.batching import mapped
from chainrule.ops.bodies import (
    Body,
    Control,
    apart,
    capture,
    common,
    filled,
    flat,
    joined,
    joined_each,
    kind,
    kinds_of,
    pulled,
    pushed,
)
from chainrule.ops.choosing import where
from chainrule.ops.operation import Operand
from chainrule.ops.structure import reshape
from chainrule.tensor import dtypes
from chainrule.tensor.creation import as_operand
from chainrule.tensor.graph import Node, state
from chainrule.tensor.locate import located
from chainrule.tensor.tensor import Tensor
from chainrule.tree import flatten


class _Cond(Control):
    """Operands: a boolean, then those of both bodies. Attributes: `bodies` (if true, if false), the
    `kinds` (shape, dtype) of the results, which lie flat behind one another."""

    def unrolled(self, inputs: Sequence[Operand], attrs: dict[str, Any]) -> list[Tensor]:
        predicate, *operands = inputs
        return attrs["bodies"][0 if bool(predicate) else 1].replay(operands)

    def run(self, values: Sequence[Any], attrs: dict[str, Any]) -> tuple[np.ndarray, Any]:
        predicate, *operands = values
        results = attrs["bodies"][0 if predicate else 1].run(operands)
        return flat(results, common(kinds_of(attrs))), None

    def batch(
        self, operands: Sequence[Any], batched: Sequence[bool], attrs: dict, size: int
    ) -> Tensor:
        predicate, *given = operands

        def each(body: Body) -> list[Tensor]:
            return mapped(lambda *xs: body.replay(xs), given, batched[1:], size)

        first, second = attrs["bodies"]
        if not batched[0]:
            return joined_each(cond(predicate, lambda: each(first), lambda: each(second)), size)
        rows = [
            where(reshape(predicate, (size, *(1,) * (a.ndim - 1))), a, b)
            for a, b in zip(each(first), each(second), strict=True)
        ]
        return joined_each(rows, size)

    def pull(
        self,
        node: Node,
        gradient: Tensor,
        wanted: tuple[bool, ...],
        keep: bool,
        walk: Callable[..., Any],
    ) -> Sequence[Tensor | None]:
        (predicate, *operands), _, _ = self.saved_operands(node, keep)
        kinds = kinds_of(node.attrs)
        given = [g for g in apart(gradient, kinds) if dtypes.is_float(g.dtype)]

        def pulling(body: Body) -> Callable[..., list[Tensor]]:
            def pull(*all_: Tensor) -> list[Tensor]:
                n = len(operands)
                return pulled(body, all_[:n], all_[n:], wanted[1:], walk, keep)

            return pull

        first, second = node.attrs["bodies"]
        if not given:
            return [None] * len(wanted)
        found = iter(cond(predicate, pulling(first), pulling(second), *operands, *given))
        return [None, *(next(found) if want else None for want in wanted[1:])]

    def push(
        self,
        tangents: Sequence[Tensor | None],
        node: Node,
        keep: bool,
        walk: Callable[..., Tensor],
    ) -> Tensor:
        (predicate, *operands), _, _ = self.saved_operands(node, keep)
        moving = [i for i, t in enumerate(tangents[1:]) if t is not None]

        def pushing(body: Body) -> Callable[..., list[Tensor]]:
            def push(*all_: Tensor) -> list[Tensor]:
                given = dict(zip(moving, all_[len(operands) :], strict=True))
                outputs, moved = pushed(body, all_[: len(operands)], given, walk, keep)
                return filled(outputs, moved)

            return push

        first, second = node.attrs["bodies"]
        given = [t for t in tangents[1:] if t is not None]
        found = cond(predicate, pushing(first), pushing(second), *operands, *given)
        return joined(found, node.dtype)


_cond = _Cond("cond")


@located
def cond(
    pred: Any, true_fn: Callable[..., Any], false_fn: Callable[..., Any], /, *operands: Any
) -> Any:
    """`true_fn(*operands)` if `pred` is true, else `false_fn(*operands)`.

    Only one of the two is computed, compiled too; under `vmap`, where `pred` may be another for
    each example, both are. Both may use tensors from around them; their
    results, nested dicts, lists and tuples of tensors, have equal structure, shapes and dtypes.

    Args:
        pred: a single boolean.
        operands: tensors, or nested dicts, lists and tuples of them.

    Raises:
        ShapeError: `pred` is more than one number; the results of the two differ in shape.
        DTypeError: they differ in structure or dtype.

    >>> import chainrule as cr
    >>> f = lambda x: cr.cond(x > 0, lambda x: x * x, lambda x: -x, x)
    >>> f(cr.asarray(3.0)).item(), cr.grad(f)(cr.asarray(-3.0)).item()
    (9.0, -1.0)
    """
    predicate = as_operand(pred)
    if predicate.size != 1:
        raise ShapeError(
            f"a condition is a single boolean, and this one has the shape {predicate.shape}. Write "
            "cr.where to choose element by element."
        )
    if state.batches and predicate._value is None:
        return _both(predicate, true_fn(*operands), false_fn(*operands))
    if state.tracer is None:
        return true_fn(*operands) if bool(predicate) else false_fn(*operands)
    leaves, rebuild = flatten(list(operands))
    tensors = [state.tracer.lift(as_operand(leaf)) for leaf in leaves]
    kinds = [kind(t) for t in tensors]
    first, first_free, structure = capture(true_fn, kinds, rebuild)
    second, second_free, other = capture(false_fn, kinds, rebuild)
    _check_alike(first.outputs, second.outputs, structure, other)
    bodies = _with_both(first, second, len(tensors))
    results = [kind(node) for node in first.outputs]
    flag = reshape(predicate, ()).astype(dtypes.bool_)
    found = _cond.apply(
        (flag, *tensors, *first_free, *second_free), {"bodies": bodies, "kinds": tuple(results)}
    )
    return structure(apart(found, results))


def _both(predicate: Tensor, first: Any, second: Any) -> Any:
    """Under vmap each example has its own condition: both are computed, and one is chosen."""
    leaves, rebuild = flatten(first)
    others, again = flatten(second)
    yes, no = ([as_operand(leaf) for leaf in found] for found in (leaves, others))
    _check_alike(yes, no, rebuild, again)
    flag = reshape(predicate, ()).astype(dtypes.bool_)
    return rebuild([where(flag, a, b) for a, b in zip(yes, no, strict=True)])


def _check_alike(first: Sequence[Any], second: Sequence[Any], structure: Any, other: Any) -> None:
    marks = [object() for _ in first]
    if len(first) != len(second) or structure(marks) != other(marks):
        raise DTypeError("both functions of a cond return the same structure of tensors")
    for a, b in zip(first, second, strict=True):
        if a.shape != b.shape:
            raise ShapeError(f"the functions of a cond return the shapes {a.shape} and {b.shape}")
        if a.dtype != b.dtype:
            raise DTypeError(
                f"the functions of a cond return {a.dtype} and {b.dtype}; convert one with astype"
            )


def _with_both(first: Body, second: Body, count: int) -> tuple[Body, Body]:
    """The bodies with equal inputs: the operands, then what the first reads, then the second."""
    mine, others = first.inputs[count:], second.inputs[count:]

    def unused(nodes: list[Node]) -> list[Node]:
        return [Node(None, (), {}, n.shape, n.dtype, n.needs_grad) for n in nodes]

    left = [*first.inputs, *unused(others)]
    right = [*second.inputs[:count], *unused(mine), *others]
    return Body(left, first.outputs, first.nodes), Body(right, second.outputs, second.nodes)
