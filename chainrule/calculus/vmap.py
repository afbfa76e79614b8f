"""vmap: a function of one example, on all of them at once."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from chainrule.calculus.transforms import require_function
from chainrule.errors import ChainruleError, DTypeError, ShapeError
from chainrule.ops.batching import Batch, spread
from chainrule.ops.structure import moveaxis
from chainrule.tensor.creation import as_operand
from chainrule.tensor.graph import state
from chainrule.tensor.locate import explained
from chainrule.tensor.shapes import normalise_axis
from chainrule.tensor.tensor import Tensor
from chainrule.tree import flatten

Axes = Any
"""An axis; None; or a dict, list or tuple of them, each for a part of what it stands beside."""


@explained
def vmap(f: Callable[..., Any], in_axes: Axes = 0, out_axes: Axes = 0) -> Callable[..., Any]:
    """A function that runs `f`, written for one example, on many at once.

    The function is run once, on tensors that have the shape of one example and no values. The
    operations that it records are then run on all examples together: a product with a vector
    becomes one with a matrix. Nests, and goes inside and outside of `grad`, `jvp`, `vjp` and
    `compile`. What the function uses from around it is shared by all examples; random numbers are
    drawn for each.

    Args:
        f: a function of tensors, or of nested dicts, lists and tuples of them.
        in_axes: along which axis of the arguments the examples lie: a number for all arguments, or
            a tuple with a number for each, or None for one that all examples share, or such a
            structure for an argument that is one. Keyword arguments are shared.
        out_axes: where the examples' axis goes in the results, in the same form; None for a result
            that does not depend on the example.

    Raises:
        ShapeError: sizes differ, an argument lacks the axis, or nothing has examples.
        ChainruleError: f needs a value (`if` on a tensor, `item()`), or writes to a buffer.

    >>> import chainrule as cr
    >>> a, b = cr.asarray([[1.0, 2.0], [3.0, 4.0]]), cr.asarray([10.0, 1.0])
    >>> cr.vmap(cr.dot, in_axes=(0, None))(a, b)
    tensor([12., 34.])
    >>> cr.vmap(cr.grad(lambda x: x**3))(cr.asarray([1.0, 2.0]))
    tensor([ 3., 12.])
    """

    require_function(f, "vmap")

    @wraps(f)
    def transformed(*args: Any, **kwargs: Any) -> Any:
        leaves, rebuild = flatten(list(args))
        whole = in_axes if isinstance(in_axes, (tuple, list)) else [in_axes] * len(args)
        if len(whole) != len(args):
            raise ShapeError(
                f"in_axes has {len(whole)} entries, and the function was called with {len(args)} "
                "arguments; write None for one that all examples share"
            )
        axes = _spread_axes(list(whole), list(args), "in_axes")
        leaves, size = _in_front(leaves, axes)
        batch = Batch(size)
        with batch.recorded():
            given = [
                leaf if axis is None else batch.example(leaf)
                for leaf, axis in zip(leaves, axes, strict=True)
            ]
            result = f(*rebuild(given), **kwargs)
            outputs, rebuild_result = flatten(result)
            places = _spread_axes(out_axes, result, "out_axes")
            outputs = [as_operand(o) for o in outputs]
        found = [
            _placed(value, has_axis, place, size)
            for (value, has_axis), place in zip(batch.run(outputs), places, strict=True)
        ]
        del given, result, outputs
        batch.check_updates()
        return rebuild_result(found)

    return transformed


def _spread_axes(axes: Axes, tree: Any, what: str) -> list[int | None]:
    """An axis, or None, for each leaf, from a structure that may stop above the leaves."""
    if axes is None or hasattr(axes, "__index__"):
        return [axes] * len(flatten(tree)[0])
    if isinstance(axes, dict) and isinstance(tree, dict) and axes.keys() == tree.keys():
        return [a for key in tree for a in _spread_axes(axes[key], tree[key], what)]
    sequences = isinstance(axes, (list, tuple)) and isinstance(tree, (list, tuple))
    if sequences and len(axes) == len(tree):
        return [
            a for one, part in zip(axes, tree, strict=True) for a in _spread_axes(one, part, what)
        ]
    raise ShapeError(
        f"{what} is a whole number, None, or the structure of what it stands beside with those in "
        f"it; {axes!r} stands beside a {type(tree).__name__}"
    )


def _in_front(leaves: list[Any], axes: list[int | None]) -> tuple[list[Any], int]:
    """(the leaves, those with examples as tensors that have them in front; how many there are)."""
    found: list[Any] = []
    sizes: dict[int, tuple[int, ...]] = {}
    for leaf, axis in zip(leaves, axes, strict=True):
        if axis is None:
            found.append(leaf)
            continue
        try:
            x = as_operand(leaf)
        except (ChainruleError, TypeError) as error:
            raise DTypeError(
                f"vmap maps over axis {axis} of an argument that is a {type(leaf).__name__}, not a "
                "tensor. Write None in its place in in_axes: all examples share it."
            ) from error
        if state.tracer is not None:
            x = state.tracer.lift(x)
        if not x.ndim:
            raise ShapeError(
                f"vmap maps over axis {axis} of an argument that is a single number. Write None in "
                "its place in in_axes: all examples share it."
            )
        place = normalise_axis(axis, x.ndim)
        sizes.setdefault(x.shape[place], x.shape)
        found.append(moveaxis(x, place, 0) if place else x)
    if len(sizes) != 1:
        listed = " and ".join(f"{size} (in {shape})" for size, shape in sizes.items())
        raise ShapeError(
            f"the arguments have different numbers of examples: {listed}. Write in_axes=(0, None) "
            "for an argument that all examples share."
            if sizes
            else "vmap needs an argument with examples: all of in_axes are None, or there is none"
        )
    return found, next(iter(sizes))


def _placed(value: Tensor, has_axis: bool, place: int | None, size: int) -> Tensor:
    """A result with the examples' axis where it was asked for."""
    if place is None:
        if has_axis:
            raise ShapeError(
                "out_axes is None for a result that depends on the example; write the axis where "
                "the examples are to lie"
            )
        return value
    whole = value if has_axis else spread(value, size)
    place = normalise_axis(place, whole.ndim)
    return moveaxis(whole, 0, place) if place else whole
