"""`derive`: the derivative of a function as a formula, with the steps that lead to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from chainrule.calculus.derive import trace as tracing
from chainrule.calculus.derive.derived import TOLERANCE, Derived, difference
from chainrule.calculus.derive.linear_map import NotAProductError, multiplied_out, without
from chainrule.calculus.derive.reading import naming_sizes
from chainrule.calculus.derive.rules import Rewriting, simplify, tidied
from chainrule.calculus.derive.rules_axes import in_plain_axes
from chainrule.calculus.derive.terms import Variable, topological
from chainrule.calculus.jacobian import hessian, jacobian
from chainrule.calculus.transforms import grad, require_function
from chainrule.errors import ChainruleError, DTypeError, GradientError
from chainrule.tensor import generator
from chainrule.tensor.locate import explained
from chainrule.tensor.tensor import Tensor

POINTS = 20
"""At how many points near the given one the formula is compared with the derivative."""
NARROW = 1e-5
"""What the comparison allows where the function computes in float32, as layers do."""


@explained
def derive(f: Callable[..., Any], x: Any, wrt: Any = 0, order: int = 1) -> Any:
    """The gradient, Jacobian or Hessian of a function as a formula, with the steps that lead to it.

    The function is recorded, the derivative is that of the recorded operations, and what is shown
    is made from that graph by named rules. Each rewriting is checked by numbers, and the result
    against `cr.grad`, `cr.jacobian` or `cr.hessian` at 20 points near x.

    Args:
        f: a function of tensors whose result is one tensor.
        x: its argument, or a tuple of its arguments; the names are those that f has for them.
        wrt: which argument: its position or its name. A tuple of them gives a tuple of results
            (for order 2 those of each alone).
        order: 1 for the gradient of a number or the Jacobian of an array (of shape f's shape + x's
            shape), 2 for the Hessian of a number.

    Returns a `Derived`: `.matrix`, `.index`, `.latex()`, `.to_python()`, `.steps`, `.verified`.

    Raises:
        GradientError: no derivative leads from the result to the argument; it names the operation
            at which it ends. There is no such argument.
        DTypeError: f is not a function; the argument is not of real floating-point numbers.

    >>> import chainrule as cr
    >>> A, x = cr.asarray([[2.0, 1.0], [0.0, 3.0]]), cr.asarray([1.0, -1.0])
    >>> found = cr.derive(lambda A, x: x @ A @ x, (A, x), wrt="x")
    >>> found.matrix, found.verified
    ('(A + Aᵀ)x', True)
    """
    require_function(f, "derive")
    if order not in (1, 2):
        raise DTypeError(f"order is 1 or 2, not {order!r}")
    args = x if isinstance(x, tuple) else (x,)
    names = tracing.names_of(f, len(args))
    random = generator.default.state
    try:
        if isinstance(wrt, (tuple, list)):
            return tuple(_derive(f, args, position(w, names), order) for w in wrt)
        return _derive(f, args, position(wrt, names), order)
    finally:
        generator.default.state = random


def position(wrt: Any, names: Sequence[str]) -> int:
    """Which argument is meant; GradientError where there is none."""
    listed = ", ".join(f"{k}: {name}" for k, name in enumerate(names))
    if isinstance(wrt, str):
        if wrt in names:
            return list(names).index(wrt)
    elif hasattr(wrt, "__index__") and not isinstance(wrt, bool):
        if -len(names) <= wrt < len(names):
            return int(wrt) % len(names)
    else:
        raise DTypeError(f"wrt is an argument's position or name, not {wrt!r}")
    raise GradientError(f"there is no argument {wrt!r}; the arguments are {listed}")


def _derive(f: Callable[..., Any], args: Sequence[Any], k: int, order: int) -> Derived:
    traced = tracing.trace(f, args, [k])
    tracing.check_output(traced, k)
    scalar = traced.output.size == 1
    if order == 2 and not scalar:
        raise GradientError(
            f"a Hessian is of a single number, and the function returned the shape "
            f"{traced.output.shape}. Write .sum() or .mean() inside, or use order=1."
        )
    value = tracing.gradient(traced, k) if scalar else traced.output
    v = None
    if order == 2 or not scalar:
        value, v = tracing.along(traced, value, k)
    start = in_plain_axes(traced.read(value))
    argument = traced.arguments[k]
    assert argument.value is not None
    outer = argument.value.shape if scalar else traced.output.shape
    shape = outer if v is None else (*outer, *argument.value.shape)
    with naming_sizes(traced.sizes):
        function = tidied(in_plain_axes(traced.read(traced.output)))
        kept = topological(function)
        term, rewritings = simplify(start, kept)
        direction = None
        if v is not None:
            try:
                apart = multiplied_out(term, v)
                if apart is not term:
                    rewritings.append(Rewriting("multiply out", term, apart))
                    term = apart
                array = without(term, v)
                name = f"a map of {v.name} is the matrix in front of {v.name}"
                rewritings.append(Rewriting(name, term, array))
                term, more = simplify(array, kept)
                rewritings += more
            except NotAProductError:
                direction = v
    kind = "Hessian" if order == 2 else "gradient" if scalar else "Jacobian"
    short = traced.name if traced.name != "f" else "f"
    short = short if len(short) < 20 else "f"
    x = argument.name
    found = Derived(
        name=f"∂²{short}/∂{x}∂{x}" if order == 2 else f"∂{short}/∂{x}",
        kind=kind,
        term=term,
        start=start,
        rewritings=rewritings,
        arguments=traced.arguments,
        function=function,
        function_name=f"{short}({', '.join(a.name for a in traced.arguments)})",
        error=float("inf"),
        notes=[*traced.notes, *tracing.conventions(traced)],
        direction=direction,
        map_of=v,
        bound=TOLERANCE if traced.is_wide() else NARROW,
        shape=shape,
        points=_points(traced.arguments, argument, v),
        sizes=traced.sizes,
    )
    found.error = _compare(found, f, k, order)
    if not found.points:
        found.notes.append(
            "The derivative has no value (it is NaN, or outside of where the function is defined) "
            "at and near these arguments, so that there is nothing to compare the formula with."
        )
    return found


def _points(
    arguments: Sequence[tracing.Argument], argument: tracing.Argument, v: Variable | None
) -> list[dict[str, Any]]:
    """Values for the variables near the given ones; symmetric matrices stay symmetric, and whole
    numbers stay as they are, but for the argument in which the derivative is taken."""
    rng = np.random.default_rng(0)
    points = []
    for _ in range(POINTS):
        point: dict[str, Any] = {}
        for a in arguments:
            if a.value is None:
                continue
            if a is not argument and (a.value == np.round(a.value)).all():
                point[a.name] = a.value  # labels, signs, counts
                continue
            noise = rng.normal(size=a.value.shape)
            if a.value.ndim == 2 and np.array_equal(a.value, a.value.T):
                noise = noise + noise.T
            point[a.name] = np.asarray(a.value * (1 + 0.03 * np.clip(noise, -3, 3)))
        if v is not None:
            point[v.name] = rng.normal(size=v.shape)
        points.append(point)
    return points


def _compare(found: Derived, f: Callable[..., Any], k: int, order: int) -> float:
    """The largest difference between the formula and the derivative that runs, at those of the
    points at which it has a value; the others are left out of `found.points`."""
    transform = hessian if order == 2 else grad if found.kind == "gradient" else jacobian
    derivative = transform(f, k)
    points, found.points = found.points, []
    errors: list[float] = []
    for point in points:
        args = [Tensor(point[a.name]) if a.value is not None else a.given for a in found.arguments]
        try:
            expected = np.asarray(derivative(*args))
        except ChainruleError:
            continue  # outside of where the function is defined
        if found.kind != "Jacobian":
            expected = expected.reshape(found.shape)
        if np.isnan(expected).any():
            continue
        found.points.append(point)
        errors.append(difference(found._value(point), expected))
    return max(errors, default=float("inf"))
