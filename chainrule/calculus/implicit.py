"""fixed_point: the solution of x = f(x), whose derivative does not pass through the iteration."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from chainrule.calculus.checkpoint import read_from_outside
from chainrule.calculus.jacobian import jacobian
from chainrule.calculus.spectrum import count, positive
from chainrule.calculus.transforms import jvp, require_function, vjp
from chainrule.errors import ChainruleError, DTypeError, NonFiniteError, ShapeError
from chainrule.ops.batching import Batch, spread
from chainrule.ops.bodies import apart, common, joined, kind
from chainrule.ops.composite import alias
from chainrule.ops.operation import Operation
from chainrule.ops.solving import solve
from chainrule.ops.structure import matrix_transpose, reshape
from chainrule.places import user_place
from chainrule.tensor import dtypes
from chainrule.tensor.creation import as_operand, eye, zeros
from chainrule.tensor.graph import (
    DERIVATIVE,
    FULL,
    OFF,
    Node,
    describe_only,
    leaf,
    reachable,
    recording,
    state,
)  # fmt: skip
from chainrule.tensor.inspection import finfo
from chainrule.tensor.locate import explained
from chainrule.tensor.tensor import Tensor, node_of
from chainrule.tree import flatten

Step = Callable[[Tensor], Tensor]


@explained
def fixed_point(
    f: Callable[..., Any],
    x0: Any,
    *args: Any,
    tolerance: float | None = None,
    max_steps: int = 1000,
) -> Any:
    """The x with f(x, *args) = x, found by x ← f(x, *args) from `x0`.

    The derivative is that of the solution, and not of the steps that led to it: from x = f(x, a)
    follows dx/da = (1 − ∂f/∂x)⁻¹ ∂f/∂a (the implicit function theorem), and the product with the
    inverse is found by the same iteration (Bai, Kolter, Koltun 2019, Deep equilibrium models). So
    it costs the memory of one step, and none flows to `x0`. Derivatives flow to `args` and to what
    f uses from around it, in both modes and to any order.

    Args:
        f: a contraction in its first argument: a tensor, or a nested dict, list or tuple of them.
        x0: where to begin.
        tolerance: the iteration ends when ‖f(x) − x‖ ≤ tolerance · (1 + ‖x‖); eps^⅔ of the dtype
            if left out, 4e-11 for float64.
        max_steps: so many steps at most.

    Inside of `vmap` all examples are iterated on together, until each has converged.

    Raises:
        ChainruleError: it has not converged; it is compiled.
        NonFiniteError: it ran away to infinity or NaN.

    >>> import chainrule as cr
    >>> root = lambda a: cr.fixed_point(lambda x, a: (x + a / x) / 2, a, a)  # Heron's √a
    >>> root(cr.asarray(9.0)).item(), round(cr.grad(root)(cr.asarray(9.0)).item(), 5)
    (3.0, 0.16667)
    """
    require_function(f, "fixed_point")
    leaves, rebuild = flatten(x0)
    starts = [as_operand(leaf) for leaf in leaves]
    for start in starts:
        if not dtypes.is_float(start.dtype):
            raise DTypeError(f"a fixed point is of floating-point numbers, not of {start.dtype}")
    if not starts:
        raise ShapeError("a fixed point is of at least one tensor, and x0 holds none")
    if tolerance is not None:
        positive(tolerance)
    kinds = [kind(start) for start in starts]
    dtype = common(kinds)

    def step(x: Tensor) -> Tensor:
        found = [as_operand(y) for y in flatten(f(rebuild(apart(x, kinds)), *args))[0]]
        shapes, wanted = [y.shape for y in found], [shape for shape, _ in kinds]
        if shapes != wanted:
            raise ShapeError(f"a step from shapes {wanted} leads to the same, not to {shapes}")
        return joined(found, dtype)

    if tolerance is None:
        tolerance = float(finfo(dtype).eps) ** (2 / 3)
    with recording(OFF):
        start = joined([s.detach() for s in starts], dtype)
    settings = {"tolerance": tolerance, "max_steps": count(max_steps, "max_steps")}
    return rebuild(apart(_solved(step, start, **settings), kinds))


def _solved(step: Step, start: Tensor, **settings: Any) -> Tensor:
    """The fixed point of a function of a vector, with a node that knows its derivative."""
    if state.batches and state.tracer is None:
        found = _recorded(step, start, settings)
        if found is not None:
            return found
    with recording(OFF):
        x = _iterate(step, start, **settings)
    if state.depth == OFF:
        return x
    # One more step shows what the function reads that derivatives flow to.
    begin = describe_only((), np.dtype(bool)).serial
    root = step(x)._node
    if root is None or not root.needs_grad:
        return x
    inside = reachable([root], begin)
    free = tuple(read_from_outside(inside))
    attrs = {"step": step, "settings": settings, "free": len(free)}
    node = Node(_implicit, free, attrs, x.shape, x.dtype, True)
    node.wanted = (True,) * len(free)
    node.saved = [*free, x._value, None]
    node.versions = tuple({pair for n in inside for pair in n.versions})
    node.value, node.place = x._value, user_place(2)
    return Tensor(x._value, node)


def _recorded(step: Step, start: Tensor, settings: dict[str, Any]) -> Tensor | None:
    """Under vmap, where there are no values to iterate on: a node that holds a step as it is
    recorded for one example. None where nothing depends on the example."""
    begin = describe_only((), np.dtype(bool)).serial
    probe = leaf(start.shape, start.dtype)
    root = step(Tensor(None, probe))
    if root._value is not None:
        return root  # a step that leads to one point from anywhere
    assert root._node is not None
    inside = reachable([root._node], begin)
    free: dict[Node, Any] = {}
    for node in inside:
        entries = node.inputs if node.saved is None else node.saved
        for n, entry in zip(node.inputs, entries, strict=False):
            if n is None or n.serial > begin:
                continue
            if n.needs_grad or (n.value is None and not isinstance(entry, np.ndarray)):
                free.setdefault(n, entry if isinstance(entry, np.ndarray) else n)
    if start._value is not None and not any(isinstance(e, Node) for e in free.values()):
        return None
    nodes = (*free, node_of(start))
    needs = state.depth != OFF and any(n.needs_grad for n in free)
    attrs = {
        "step": step, "settings": settings, "free": len(free),
        "graph": (probe, root._node, begin), "nodes": tuple(free),
    }  # fmt: skip
    found = Node(_implicit, nodes, attrs, start.shape, start.dtype, needs)
    found.wanted = (*(n.needs_grad for n in free), False)
    found.saved = [*free.values(), nodes[-1] if start._value is None else start._value, found, None]
    found.versions = tuple({pair for n in inside for pair in n.versions})
    found.place = user_place(2)
    return Tensor(None, found)


def _iterate(step: Step, x: Tensor, *, tolerance: float, max_steps: int) -> Tensor:
    if x._value is None or state.tracer is not None:
        raise ChainruleError(
            "fixed_point iterates until its values are close, and while a function is compiled "
            "there are none. Compile f, and not the iteration."
        )
    distance = np.zeros(())
    for _ in range(max_steps):
        new = step(x)
        with np.errstate(all="ignore"):  # of each example, where there are many
            distance = np.linalg.norm(new.numpy() - x.numpy(), axis=-1)
            size = np.linalg.norm(new.numpy(), axis=-1)
        x = new.detach()
        if not np.isfinite(distance).all():
            raise NonFiniteError(
                "fixed_point ran away: a step gave a value that is not finite. The function must "
                "bring points closer to one another; begin nearer, or damp it: "
                "lambda x: (x + f(x)) / 2."
            )
        if (distance <= tolerance * (1 + size)).all():
            return x
    raise ChainruleError(
        f"fixed_point has not converged in {max_steps} steps: the last one went "
        f"{distance.max(initial=0):.2g} far, and the tolerance is {tolerance:.2g}. Usually f is no "
        "contraction here (damp it: lambda x: (x + f(x)) / 2), or the tolerance is below what the "
        "dtype resolves."
    )


class _Implicit(Operation):
    """The x with f(x, a) = x. Operands: everything that f reads and derivatives flow to, a.

    With J = ∂f/∂x at the solution, the cotangent g of x goes to a as w · ∂f/∂a, where
    w = g + w · J; and the tangent t of a to x as dx = J dx + ∂f/∂a t. Both are fixed points, too,
    and are found as such; of many at once (a Jacobian's rows) by solving with the matrix 1 − J.
    """

    kind = "implicit"
    display_only = True
    formula_text = "y = f(y)"
    batching = None
    _operations = None

    def __init__(self) -> None:
        self.name = self.__name__ = self.lower = "fixed_point"

    def pull(
        self, node: Node, gradient: Tensor, wanted: Any, keep: bool, walk: Any
    ) -> Sequence[Tensor | None]:
        free, x, step, settings = self._parts(node, keep)
        if gradient._value is None:
            w = _solve(step, x, gradient, matrix_transpose)
        else:
            _, back = vjp(step, x)
            w = _solved(lambda w: gradient + back(w)[0], gradient.detach(), **settings)
        with recording(max(state.depth, DERIVATIVE)):
            here = alias(x)
            z = step(here)
        return walk(z, w, [here, *free], keep=keep)[1:]

    def push(self, tangents: Any, node: Node, keep: bool, walk: Any) -> Tensor:
        free, x, step, settings = self._parts(node, keep)
        with recording(FULL):
            here = alias(x)
            z = step(here)
        seeds = [(a, t) for a, t in zip(free, tangents, strict=False) if t is not None]
        still = (here, zeros(x.shape, dtype=x.dtype))
        moved = walk(z, [still, *seeds], keep=keep)
        if moved._value is None:
            return _solve(step, x, moved, lambda j: j)
        return _solved(lambda t: moved + jvp(step, (x,), (t,))[1], moved.detach(), **settings)

    def _parts(self, node: Node, keep: bool) -> tuple[list[Any], Tensor, Step, dict[str, Any]]:
        _, x, _ = self.saved_operands(node, keep)
        free = [Tensor(None, n) for n in node.inputs[: node.attrs["free"]]]
        return free, x, node.attrs["step"], node.attrs["settings"]

    def batch(self, operands: Any, batched: Any, attrs: dict, size: int) -> Tensor:
        """Iterate on all examples together, until each has come to its end."""
        probe, root, begin = attrs["graph"]
        *free, start = operands
        own = {n: o for n, o, b in zip(attrs["nodes"], free, batched, strict=False) if b}

        def step(x: Tensor) -> Tensor:
            batch = Batch(size)
            batch.start, batch.values = begin, {probe: x, **own}
            ((found, has_axis),) = batch.run([Tensor(None, root)])
            return found if has_axis else spread(found, size)

        start = start if batched[-1] else spread(start, size)
        return _solved(step, start.detach(), **attrs["settings"])


def _solve(step: Step, x: Tensor, right: Tensor, side: Callable[[Tensor], Tensor]) -> Tensor:
    """The y with y − J y = right, or with the transpose of J = ∂step/∂x on that `side`."""
    matrix = eye(x.size, dtype=x.dtype) - side(reshape(jacobian(step)(x), (x.size, x.size)))
    return reshape(solve(matrix, reshape(right, (x.size,))), x.shape)


_implicit = _Implicit()
