"""Whole derivatives, jacobian and hessian, and the Hessian's products with vectors.

The function runs once. What it recorded is then passed by all rows, or all columns, together: a
batch of basis vectors (`chainrule.ops.batching`), and not one pass of Python for each.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import numpy as np

from chainrule.calculus.forward import push_forward
from chainrule.calculus.reverse import pull_back
from chainrule.calculus.transforms import (
    Argnums,
    _filled,
    _fresh,
    _rebuild,
    _seen_from_outside,
    argument_positions,
    grad,
    jvp,
    require_function,
)
from chainrule.errors import DTypeError, GradientError
from chainrule.ops.batching import mapped
from chainrule.ops.structure import moveaxis, reshape
from chainrule.tensor import dtypes
from chainrule.tensor.creation import as_operand
from chainrule.tensor.graph import FULL, OFF, recording, state
from chainrule.tensor.locate import explained
from chainrule.tensor.tensor import Tensor
from chainrule.tree import flatten

MODES = ("auto", "forward", "reverse")


@explained
def jacobian(
    f: Callable[..., Any], argnums: Argnums = 0, *, mode: str = "auto"
) -> Callable[..., Any]:
    """A function that returns every ∂f_i/∂x_j, of shape f's shape + x's shape.

    Where the result or the argument is a nested dict, list or tuple, the Jacobian is the structure
    of the result, with the structure of the argument in place of each of its tensors.

    Args:
        f: a function of tensors, or of nested structures of them; of real numbers.
        argnums: which arguments; an integer gives a bare Jacobian, a tuple a tuple in its place.
        mode: "forward" costs about as much as a call of f for each element of the arguments,
            "reverse" for each element of the result, all of them in one pass; "auto" takes what has
            fewer.

    Raises:
        DTypeError: an argument or a result is not real and floating-point; no such mode.

    >>> import chainrule as cr
    >>> cr.jacobian(lambda x: x * x[0])(cr.asarray([2.0, 3.0]))
    tensor([[4., 0.],
            [3., 2.]])
    """
    if mode not in MODES:
        raise DTypeError(f'mode is "auto", "forward" or "reverse", not {mode!r}')
    require_function(f, "jacobian")

    @wraps(f)
    def transformed(*args: Any, **kwargs: Any) -> Any:
        positions = argument_positions(argnums, len(args))
        chosen, leaves, rebuilds = _fresh([args[i] for i in positions], "a Jacobian")
        full = list(args)
        for i, replacement in zip(positions, chosen, strict=True):
            full[i] = replacement
        depth = state.depth
        with recording(FULL):
            result = f(*full, **kwargs)
        found, rebuild_result = flatten(result)
        outputs = [as_operand(o) for o in found]
        _check_real([*leaves, *outputs])
        keep = depth != OFF and _seen_from_outside(outputs, leaves)
        rows, columns = (builtins.sum(t.size for t in ts) for ts in (outputs, leaves))
        forward = columns < rows if mode == "auto" else mode == "forward"
        blocks = (_columns if forward else _rows)(outputs, leaves, keep)
        parts = [_rebuild(row, rebuilds) for row in blocks]
        return rebuild_result([p[0] if isinstance(argnums, int) else tuple(p) for p in parts])

    return transformed


def _check_real(tensors: Sequence[Tensor]) -> None:
    for t in tensors:
        if not dtypes.is_float(t.dtype) or t.dtype.kind == "c":
            raise DTypeError(
                f"a Jacobian is of real floating-point numbers, and here are {t.dtype}. Convert "
                "with astype; write a function of complex numbers as one of real and imaginary "
                "parts."
            )


def _basis(tensors: Sequence[Tensor]) -> tuple[list[Tensor], list[slice]]:
    """(the unit vectors of all tensors together, one for each row; which rows are of which)."""
    total = builtins.sum(t.size for t in tensors)
    found, places, start = [], [], 0
    for t in tensors:
        units = np.zeros((total, t.size), t.dtype)
        units[start + np.arange(t.size), np.arange(t.size)] = 1
        found.append(Tensor(units.reshape(total, *t.shape)))
        places.append(slice(start, start + t.size))
        start += t.size
    return found, places


def _rows(outputs: list[Tensor], leaves: list[Tensor], keep: bool) -> list[list[Tensor]]:
    """∂output/∂leaf for each of both, in reverse mode."""

    def pull(*seeds: Tensor) -> list[Tensor]:
        totals: list[Tensor | None] = [None] * len(leaves)
        for output, seed in zip(outputs, seeds, strict=True):
            for i, part in enumerate(pull_back(output, seed, leaves, keep=keep)):
                before = totals[i]
                totals[i] = part if before is None else before if part is None else before + part
        return _filled(totals, leaves)

    units, places = _basis(outputs)
    total = builtins.sum(o.size for o in outputs)
    whole = mapped(pull, units, [True] * len(units), total)
    return [
        [reshape(w[place], (*o.shape, *leaf.shape)) for w, leaf in zip(whole, leaves, strict=True)]
        for o, place in zip(outputs, places, strict=True)
    ]


def _columns(outputs: list[Tensor], leaves: list[Tensor], keep: bool) -> list[list[Tensor]]:
    """∂output/∂leaf for each of both, in forward mode."""

    def push(*directions: Tensor) -> list[Tensor]:
        seeds = list(zip(leaves, directions, strict=True))
        return [push_forward(o, seeds, keep=keep) for o in outputs]

    units, places = _basis(leaves)
    total = builtins.sum(leaf.size for leaf in leaves)
    whole = mapped(push, units, [True] * len(units), total)
    return [
        [
            reshape(moveaxis(w[place], 0, -1), (*o.shape, *leaf.shape))
            for leaf, place in zip(leaves, places, strict=True)
        ]
        for o, w in zip(outputs, whole, strict=True)
    ]


@explained
def hessian(f: Callable[..., Any], argnums: Argnums = 0) -> Callable[..., Any]:
    """A function that returns every ∂²f/∂x_i ∂x_j, of shape x's shape twice.

    Forward mode over the gradient. Structures as in `jacobian`: that of the argument, with itself
    in place of each tensor.

    Args:
        f: a function whose result is a single real number.
        argnums: which arguments; with a tuple, the blocks of each with each.

    Raises:
        GradientError: the result is not a single real number.

    >>> import chainrule as cr
    >>> cr.hessian(lambda x: x[0] ** 2 * x[1])(cr.asarray([2.0, 3.0]))
    tensor([[6., 4.],
            [4., 0.]])
    """
    return jacobian(grad(f, argnums), argnums, mode="forward")


@explained
def hvp(f: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any]) -> Any:
    """The Hessian of f times a vector, without the Hessian: (∂²f/∂x²) v.

    Costs a small multiple of f itself: the directional derivative of the gradient (Pearlmutter
    1994, Fast exact multiplication by the Hessian).

    Args:
        f: a function whose result is a single real number.
        primals: its arguments, a tuple.
        tangents: the vector, in the shapes of the arguments.

    Returns the product: of one argument in its structure, of several a tuple.

    >>> import chainrule as cr
    >>> x, v = cr.asarray([2.0, 3.0]), cr.asarray([1.0, 0.0])
    >>> cr.hvp(lambda x: x[0] ** 2 * x[1], (x,), (v,))
    tensor([6., 4.])
    """
    if not isinstance(primals, (tuple, list)) or not isinstance(tangents, (tuple, list)):
        raise GradientError("hvp takes tuples: write cr.hvp(f, (x,), (v,))")
    every = tuple(range(len(primals))) if len(primals) != 1 else 0
    return jvp(grad(f, every), primals, tangents)[1]
