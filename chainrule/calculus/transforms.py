"""Function transforms: grad, value_and_grad, vjp and jvp, which nest.

Each application replaces the inputs by fresh leaves. What it differentiates is the path from those
leaves alone, so that nested transforms cannot confuse one another's perturbations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import numpy as np

from chainrule.calculus.forward import push_forward
from chainrule.calculus.reverse import matching, pull_back
from chainrule.errors import DTypeError, GradientError, ShapeError
from chainrule.ops.composite import alias
from chainrule.tensor import dtypes
from chainrule.tensor.creation import as_operand, zeros
from chainrule.tensor.graph import DERIVATIVE, FULL, OFF, ancestors, recording, state
from chainrule.tensor.locate import explained
from chainrule.tensor.tensor import Tensor
from chainrule.tree import flatten, map_leaves

Argnums = int | Sequence[int]


def _differentiable(leaf: Any, what: str) -> Tensor:
    x = as_operand(leaf)
    if state.tracer is not None:
        x = state.tracer.lift(x)
    if not dtypes.is_float(x.dtype):
        raise DTypeError(
            f"{what} is taken with respect to floating-point values, and this argument is "
            f"{x.dtype}. Write x.astype(cr.float32), or leave it out of argnums."
        )
    return x


def _fresh(args: Sequence[Any], what: str) -> tuple[list[Any], list[Tensor], list[Any]]:
    """(arguments on fresh leaves, the leaves, how to rebuild each argument)."""
    replaced, leaves, rebuilds = [], [], []
    for arg in args:
        flat, rebuild = flatten(arg)
        fresh = [alias(_differentiable(leaf, what)) for leaf in flat]
        replaced.append(rebuild(fresh))
        leaves.extend(fresh)
        rebuilds.append((len(flat), rebuild))
    return replaced, leaves, rebuilds


def _rebuild(values: Sequence[Any], rebuilds: list[Any]) -> list[Any]:
    results, start = [], 0
    for count, rebuild in rebuilds:
        results.append(rebuild(list(values[start : start + count])))
        start += count
    return results


def _seen_from_outside(outputs: Sequence[Tensor], leaves: Sequence[Tensor]) -> bool:
    """Whether anything but the fresh leaves wants a derivative of this: then it is recorded too."""
    if state.depth == OFF:
        return False
    if state.depth == FULL or (state.tracer is None and any(o._value is None for o in outputs)):
        return True
    if any(n is not None and n.needs_grad for leaf in leaves for n in leaf._node.inputs):  # type: ignore[union-attr]
        return True
    own = {id(leaf._node) for leaf in leaves}
    roots = [o._node for o in outputs if o._node is not None and o._node.needs_grad]
    return any(node.op is None and id(node) not in own for node in ancestors(roots))


def _result(x: Tensor, keep: bool) -> Tensor:
    return x if keep or x._value is None else Tensor(x._value)


def require_function(f: Any, what: str) -> None:
    """DTypeError where `what` was given something else than a function."""
    if not callable(f):
        raise DTypeError(f"{what} takes a function, not {f!r}")


def argument_positions(argnums: Argnums, count: int) -> tuple[int, ...]:
    several = not isinstance(argnums, str) and hasattr(argnums, "__iter__")
    numbers: tuple[Any, ...] = tuple(argnums) if several else (argnums,)  # type: ignore[arg-type]
    for n in numbers:
        if isinstance(n, bool) or not hasattr(n, "__index__"):
            raise DTypeError(f"argnums is a whole number or several, not {argnums!r}")
        if not -count <= n < count:
            raise GradientError(
                f"argnums names argument {n}, and the function was called with {count}"
            )
    return tuple(n % count for n in numbers)


@explained
def value_and_grad(
    f: Callable[..., Any], argnums: Argnums = 0, *, has_aux: bool = False
) -> Callable[..., Any]:
    """A function that returns (f(x), ∂f/∂x).

    Args:
        f: a function whose result is a single real number.
        argnums: which arguments to differentiate by; an integer gives a bare gradient, a tuple a
            tuple. Arguments may be nested dicts, lists and tuples of tensors.
        has_aux: f returns (value, anything else); the result is ((value, anything else), gradient).

    Raises:
        GradientError: the result is not a single real number.
        DTypeError: an argument is not floating-point.

    >>> import chainrule as cr
    >>> value, gradient = cr.value_and_grad(lambda x: (x**2).sum())(cr.asarray([1.0, 2.0]))
    >>> value.item(), gradient.tolist()
    (5.0, [2.0, 4.0])
    """

    require_function(f, "grad")

    @wraps(f)
    def transformed(*args: Any, **kwargs: Any) -> Any:
        positions = argument_positions(argnums, len(args))
        chosen, leaves, rebuilds = _fresh([args[i] for i in positions], "a gradient")
        full = list(args)
        for i, replacement in zip(positions, chosen, strict=True):
            full[i] = replacement
        with recording(max(state.depth, DERIVATIVE)):
            result = f(*full, **kwargs)
        output, aux = result if has_aux else (result, None)
        output = _scalar(output)
        keep = _seen_from_outside([output], leaves)
        one = Tensor(np.ones(output.shape, output.dtype))
        found = pull_back(output, one, leaves, keep=keep, free=not keep)
        gradients = _rebuild(_filled(found, leaves), rebuilds)
        value = _result(output, keep)
        if has_aux:
            aux = map_leaves(lambda a: _result(a, keep) if isinstance(a, Tensor) else a, aux)
        gradient = gradients[0] if isinstance(argnums, int) else tuple(gradients)
        return ((value, aux) if has_aux else value), gradient

    return transformed


def _filled(found: Sequence[Tensor | None], leaves: Sequence[Tensor]) -> list[Tensor]:
    return [
        zeros(leaf.shape, dtype=leaf.dtype) if g is None else g
        for g, leaf in zip(found, leaves, strict=True)
    ]


def _scalar(output: Any) -> Tensor:
    if not isinstance(output, Tensor):
        try:
            output = as_operand(output)
        except (DTypeError, GradientError):
            raise GradientError(
                f"a gradient is of a function whose result is a tensor, not "
                f"{type(output).__name__}; with more results, return (value, rest) and write "
                "has_aux=True"
            ) from None
    if output.size != 1:
        raise GradientError(
            f"a gradient is of a single number, and this function returned the shape "
            f"{output.shape}. Write .sum() or .mean() inside, or use cr.vjp or cr.jvp."
        )
    if not dtypes.is_float(output.dtype) or output.dtype.kind == "c":
        raise GradientError(
            f"a gradient is of a real floating-point number, and this function returned "
            f"{output.dtype}"
            + (". Return its .real, or abs(); or use cr.vjp or cr.jvp" * (output.dtype.kind == "c"))
        )
    return output


@explained
def grad(
    f: Callable[..., Any], argnums: Argnums = 0, *, has_aux: bool = False
) -> Callable[..., Any]:
    """A function that returns ∂f/∂x; with `has_aux`, (gradient, what f returned beside its value).

    Arguments as in `value_and_grad`. Nests: `grad(grad(f))` is the second derivative.

    >>> import chainrule as cr
    >>> cr.grad(cr.grad(lambda x: x**3))(cr.asarray(2.0)).item()
    12.0
    """
    both = value_and_grad(f, argnums, has_aux=has_aux)

    @wraps(f)
    def transformed(*args: Any, **kwargs: Any) -> Any:
        value, gradient = both(*args, **kwargs)
        return (gradient, value[1]) if has_aux else gradient

    return transformed


@explained
def vjp(f: Callable[..., Any], *args: Any) -> tuple[Any, Callable[[Any], tuple]]:
    """(f(*args), pull), where pull(g) is gᵀ ∂f/∂x for each argument, a tuple.

    >>> import chainrule as cr
    >>> y, pull = cr.vjp(lambda x: x * x, cr.asarray([1.0, 2.0]))
    >>> pull(cr.asarray([1.0, 1.0]))[0].tolist()
    [2.0, 4.0]
    """
    require_function(f, "vjp")
    replaced, leaves, rebuilds = _fresh(args, "vjp")
    with recording(max(state.depth, DERIVATIVE)):
        result = f(*replaced)
    flat, rebuild = flatten(result)
    outputs = [as_operand(o) for o in flat]
    keep = _seen_from_outside(outputs, leaves)

    def pull(gradient: Any) -> tuple:
        """The cotangents of the arguments, given the results'."""
        given, _ = flatten(gradient)
        if len(given) != len(outputs):
            raise ShapeError(
                f"pull takes a cotangent for each of the {len(outputs)} results, not {len(given)}"
            )
        totals: list[Tensor | None] = [None] * len(leaves)
        for output, g in zip(outputs, given, strict=True):
            g = matching(g, output, "the cotangent", "the result")
            again = keep or (state.depth != OFF and g.requires_grad)
            for i, part in enumerate(pull_back(output, g, leaves, keep=again)):
                before = totals[i]
                totals[i] = part if before is None else before if part is None else before + part
        return tuple(_rebuild(_filled(totals, leaves), rebuilds))

    return rebuild([_result(o, keep) for o in outputs]), pull


@explained
def jvp(f: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
    """(f(*primals), ∂f/∂x · tangents): the derivative along a direction.

    Raises:
        ShapeError: a tangent has another shape or structure than its primal.

    >>> import chainrule as cr
    >>> y, ty = cr.jvp(cr.sin, (cr.asarray(0.0),), (cr.asarray(2.0),))
    >>> ty.item()
    2.0
    """
    if not isinstance(primals, (tuple, list)) or not isinstance(tangents, (tuple, list)):
        raise GradientError("jvp takes tuples: write cr.jvp(f, (x,), (v,))")
    require_function(f, "jvp")
    replaced, leaves, _ = _fresh(primals, "jvp")
    directions = flatten(list(tangents))[0]
    if len(directions) != len(leaves):
        raise ShapeError(f"jvp has {len(leaves)} primals and {len(directions)} tangents")
    directions = [
        matching(d, leaf, "a tangent", "its primal")
        for leaf, d in zip(leaves, directions, strict=True)
    ]
    before = state.depth
    with recording(FULL):
        result = f(*replaced)
    flat, rebuild = flatten(result)
    outputs = [as_operand(o) for o in flat]
    keep = before != OFF and (
        _seen_from_outside(outputs, leaves) or any(d.requires_grad for d in directions)
    )
    seeds = list(zip(leaves, directions, strict=True))
    pushed = [push_forward(o, seeds, keep=keep) for o in outputs]
    return rebuild([_result(o, keep) for o in outputs]), rebuild(pushed)
