"""`check_gradients`: derivatives against differences, and what is wrong where they differ."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from chainrule.calculus.mismatch import likeness
from chainrule.calculus.transforms import jvp, vjp
from chainrule.calculus.tree import flatten
from chainrule.errors import ChainruleError, DTypeError, GradientError, NonFiniteError
from chainrule.ops.composite import alias
from chainrule.places import show
from chainrule.tensor import dtypes
from chainrule.tensor.creation import as_operand
from chainrule.tensor.graph import FULL, Node, ancestors, recording
from chainrule.tensor.tensor import Tensor

STEPS = tuple(10.0**-k for k in range(1, 10))
MOST_ELEMENTS = 400
"""Of a larger array so many elements are compared, drawn at random, and all along directions."""
_EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class GradientCheck:
    """A check that held.

    Attributes:
        elements: how many derivatives were compared one by one.
        error: the largest difference, relative to the largest derivative of its argument.
        worst: where it is, such as `argument 0 [1, 2]`.
        declared, measured: the derivative there, and what the differences give.
        steps: (step size, relative error of the central difference there) pairs.
        order: 2 where the derivative's own derivative was checked too.
    """

    elements: int
    error: float
    worst: str
    declared: float
    measured: float
    steps: tuple[tuple[float, float], ...]
    order: int

    def to_dict(self) -> dict[str, Any]:
        """The same as plain data."""
        return asdict(self)

    def __str__(self) -> str:
        return (
            f"gradients agree: {self.elements} derivatives against differences, in reverse and in "
            f"forward mode, to order {self.order}; the largest relative error is {self.error:.2g} "
            f"(at {self.worst}: {self.declared:.8g} against {self.measured:.8g})\n"
            + _table(self.steps)
        )


def check_gradients(
    f: Callable[..., Any],
    *args: Any,
    argnums: int | tuple[int, ...] | None = None,
    order: int = 1,
    tolerance: float = 1e-6,
    seed: int = 0,
) -> GradientCheck:
    """Compare the derivatives of f, reverse and forward, with central differences in float64.

    A result that is no single number is weighted by random numbers and added up. Differences are
    taken by the five-point stencil, with an error of h⁴; what rounding in float64 may cause is
    allowed for.

    Args:
        f: a function of tensors, or of nested dicts and lists of them.
        args: where to check; floating-point values are taken as float64.
        argnums: which arguments; all that are floating-point if left out.
        order: 2 checks the gradient's own derivative as well.
        tolerance: the relative error allowed, of the largest derivative of an argument.
        seed: of the weights and directions.

    Raises:
        GradientError: they differ; names the argument, the worst element, the operation, and what
            the mismatch looks like.
        NonFiniteError: f is not finite at this point.
        DTypeError: no argument is floating-point.

    >>> import chainrule as cr
    >>> cr.check_gradients(cr.tanh, cr.asarray([0.5, -1.0])).error < 1e-9
    True
    """
    if order not in (1, 2):
        raise DTypeError(f"order is 1 or 2, not {order!r}")
    rng = np.random.default_rng(seed)
    problem = _Problem(f, args, argnums, rng)
    result = _compare(problem, tolerance, rng, order)
    if order == 2:
        us = [rng.standard_normal(x.shape) for x in problem.values]

        def slope(*values: Any) -> Any:
            gradients = problem.gradients(values)
            total = as_operand(0.0)
            for gradient, u in zip(gradients, us, strict=True):
                total = total + (gradient * u).sum()
            return total

        second = _Problem(slope, problem.values, None, rng, "the gradient's own derivative: ")
        _compare(second, 10 * tolerance, rng, 2)
    return result


class _Problem:
    """f as a function of its floating-point leaves, in float64, weighted to a single number."""

    def __init__(
        self, f: Callable[..., Any], args: Any, argnums: Any, rng: Any, about: str = ""
    ) -> None:
        self.f, self.about = f, about
        numbers = range(len(args)) if argnums is None else np.atleast_1d(argnums)
        chosen = {int(n) % max(len(args), 1) for n in numbers}
        self.leaves, self.rebuild = flatten(list(args))
        owner = [i for i, arg in enumerate(args) for _ in flatten(arg)[0]]
        self.places: list[int] = []
        self.names: list[str] = []
        self.values: list[np.ndarray] = []
        for place, (leaf, number) in enumerate(zip(self.leaves, owner, strict=True)):
            if number not in chosen or not _is_numeric(leaf):
                continue
            x = as_operand(leaf)
            if dtypes.is_float(x.dtype):
                self.places.append(place)
                self.values.append(np.array(x.numpy(), dtype=np.float64))
                part = owner[:place].count(number)
                several = owner.count(number) > 1
                self.names.append(f"argument {number}" + (f", leaf {part}" if several else ""))
        if not self.values:
            raise DTypeError(
                "check_gradients needs a floating-point argument, and there is none among "
                f"{len(args)}"
            )
        first = self.output(self.values)
        if not isinstance(first, Tensor):
            raise GradientError(
                f"f gave a {type(first).__name__}, not a tensor: no derivative can flow. Compute "
                "with chainrule's operations, without numpy() or item()."
            )
        if not np.isfinite(first.numpy()).all():
            raise NonFiniteError(
                f"f is {first.numpy().reshape(-1)[:3]} at this point, and differences of that say "
                "nothing. Check at a point where f is finite."
            )
        if not np.array_equal(first.numpy(), self.output(self.values).numpy()):
            raise GradientError(
                "f gives another value each time, so that differences measure the noise. Is there "
                "dropout in training mode, or another random operation? Call model.eval(), or "
                "cr.seed(0) inside of f."
            )
        shape = first.shape
        self.weights = rng.standard_normal(shape) if first.size != 1 else np.ones(shape)
        self.sizes = {n for x in self.values for n in x.shape} | set(shape)

    def output(self, values: Any) -> Any:
        filled = list(self.leaves)
        for place, value in zip(self.places, values, strict=True):
            filled[place] = value if isinstance(value, Tensor) else as_operand(np.asarray(value))
        return self.f(*self.rebuild(filled))

    def number(self, values: Any) -> float:
        """The weighted sum of f."""
        return float(np.sum(self.output(values).numpy() * self.weights))

    def gradients(self, values: Any) -> tuple[Any, ...]:
        """Its gradient in each leaf, in reverse mode."""
        return vjp(lambda *v: self.output(v), *map(as_operand, values))[1](self.weights)

    def along(self, leaf: int, direction: np.ndarray, t: float) -> float:
        """The weighted sum with a leaf moved by t along a direction."""
        moved = list(self.values)
        moved[leaf] = moved[leaf] + t * direction
        return self.number(moved)

    def slope(self, leaf: int, direction: np.ndarray, h: float) -> float:
        """The derivative along a direction, by the five-point stencil."""
        near = self.along(leaf, direction, h) - self.along(leaf, direction, -h)
        far = self.along(leaf, direction, 2 * h) - self.along(leaf, direction, -2 * h)
        return (8 * near - far) / (12 * h)


def _is_numeric(leaf: Any) -> bool:
    return isinstance(leaf, (Tensor, np.ndarray, float)) and not isinstance(leaf, bool)


def _unit(shape: tuple[int, ...], index: int) -> np.ndarray:
    e = np.zeros(shape)
    e.reshape(-1)[index] = 1
    return e


def _compare(problem: _Problem, tolerance: float, rng: Any, order: int) -> GradientCheck:
    """Element by element, then both modes along random directions."""
    try:
        gradients = [g.numpy() for g in problem.gradients(problem.values)]
    except ChainruleError as problem_found:
        raise type(problem_found)(f"{problem.about}{problem_found}") from None
    value = abs(problem.number(problem.values))
    worst: tuple[float, int, int, float, float] = (-1.0, 0, 0, 0.0, 0.0)
    count = 0
    for leaf, (x, gradient) in enumerate(zip(problem.values, gradients, strict=True)):
        chosen = np.arange(x.size)
        if x.size > MOST_ELEMENTS:
            chosen = rng.choice(x.size, MOST_ELEMENTS, replace=False)
        scale = max(float(np.max(np.abs(gradient), initial=0.0)), 1e-8)
        for index in map(int, chosen):
            h = 1e-3 * max(1.0, abs(x.reshape(-1)[index]))
            measured = problem.slope(leaf, _unit(x.shape, index), h)
            declared = float(gradient.reshape(-1)[index])
            allowed = 20 * _EPS * value / h
            error = max(0.0, abs(declared - measured) - allowed) / max(scale, abs(measured))
            if error > tolerance:  # a smaller step, where f bends much
                again = problem.slope(leaf, _unit(x.shape, index), h / 30)
                allowed *= 30
                other = max(0.0, abs(declared - again) - allowed) / max(scale, abs(again))
                if other < error:
                    error, measured = other, again
            count += 1
            if not error <= worst[0]:
                worst = (error, leaf, index, declared, measured)
    error, leaf, index, declared, measured = worst
    x = problem.values[leaf] if problem.values else np.zeros(0)
    place = [int(i) for i in np.unravel_index(index, x.shape)] if x.size else []
    where = f"{problem.names[leaf]} {place}" if place else problem.names[leaf]
    steps = _errors(problem, leaf, index, declared) if count else ()
    if not error <= tolerance:
        raise GradientError(_report(problem, gradients, leaf, index, where, worst, steps))
    _check_modes(problem, gradients, tolerance, rng)
    raw = abs(declared - measured) / max(float(np.max(np.abs(gradients[leaf]), initial=0.0)), 1e-8)
    return GradientCheck(count, raw, where, declared, measured, steps, order)


def _errors(
    problem: _Problem, leaf: int, index: int, declared: float
) -> tuple[tuple[float, float], ...]:
    """The error of the plain central difference for each step size."""
    e = _unit(problem.values[leaf].shape, index)
    found = []
    for h in STEPS:
        slope = (problem.along(leaf, e, h) - problem.along(leaf, e, -h)) / (2 * h)
        found.append((h, abs(slope - declared) / max(abs(declared), abs(slope), 1e-300)))
    return tuple(found)


def _check_modes(problem: _Problem, gradients: list, tolerance: float, rng: Any) -> None:
    """Both modes along random directions of everything at once."""
    for _ in range(2):
        vs = [rng.standard_normal(x.shape) for x in problem.values]
        inputs = tuple(map(as_operand, problem.values))
        _, tangent = jvp(lambda *v: problem.output(v), inputs, tuple(map(as_operand, vs)))
        forward = float(np.sum(tangent.numpy() * problem.weights))
        reverse = float(sum(np.sum(g * v) for g, v in zip(gradients, vs, strict=True)))
        size = sum(np.sum(np.abs(g * v)) for g, v in zip(gradients, vs, strict=True))
        if abs(forward - reverse) > max(tolerance, 1e-9) * max(size, 1e-8):
            raise GradientError(
                f"{problem.about}forward mode gives {forward:.8g} along a random direction, and "
                f"reverse mode, which agrees with differences, {reverse:.8g}: the jvp of an "
                f"operation is wrong.{_culprit(problem)}"
            )


def _report(
    problem: _Problem, gradients: list, leaf: int, index: int, where: str, worst: Any, steps: Any
) -> str:
    _, _, _, declared, measured = worst
    x, gradient = problem.values[leaf], gradients[leaf]
    e, h = _unit(x.shape, index), 1e-6 * max(1.0, abs(x.reshape(-1)[index]))
    here = problem.number(problem.values)
    slopes = (here - problem.along(leaf, e, -h)) / h, (problem.along(leaf, e, h) - here) / h
    looks = "more elements than are compared one by one differ."
    if x.size <= MOST_ELEMENTS:
        every = [
            problem.slope(leaf, _unit(x.shape, i), 1e-4 * max(1.0, abs(x.reshape(-1)[i])))
            for i in range(x.size)
        ]
        looks = likeness(gradient, np.reshape(every, x.shape), problem.sizes, slopes)
    return (
        f"{problem.about}the gradient of {where} is {declared:.8g}, and differences give "
        f"{measured:.8g}. It looks like {looks}{_culprit(problem)}\n{_table(steps)}"
    )


def _table(steps: Any) -> str:
    rows = "\n".join(f"  {h:<9.0e} {error:.1e}" for h, error in steps)
    return f"  step      relative error of (f(x + h) − f(x − h)) / 2h\n{rows}"


def _culprit(problem: _Problem) -> str:
    """The first operation whose own derivative is wrong, at the values that it was given."""
    with recording(FULL):
        output = problem.output([alias(Tensor(x)) for x in problem.values])
    if output._node is None:
        return ""
    for node in sorted(ancestors([output._node]), key=lambda n: n.serial):
        if node.op is not None and node.needs_grad and not _holds(node):
            place = show(node.place)
            return f"\nThe operation whose derivative is wrong: `{node.op.name}`" + (
                f" ({place})." if place else "."
            )
    return ""


def _holds(node: Node) -> bool:
    """Whether an operation's vjp and jvp agree with differences where it ran."""
    assert node.saved is not None
    entries = node.saved[: len(node.inputs)]
    places = [
        i for i, e in enumerate(entries) if isinstance(e, np.ndarray) and dtypes.is_float(e.dtype)
    ]

    def again(*values: Any) -> Any:
        inputs = [Tensor(e) if isinstance(e, np.ndarray) else e for e in entries]
        for i, value in zip(places, values, strict=True):
            inputs[i] = value
        return node.op.apply(inputs, node.attrs)

    rng = np.random.default_rng(0)
    xs = [entries[i] for i in places]
    vs = [rng.standard_normal(x.shape) for x in xs]
    h = 1e-4

    def moved(t: float) -> np.ndarray:
        return again(*(Tensor(np.asarray(x + t * v)) for x, v in zip(xs, vs, strict=True))).numpy()

    try:
        measured = (8 * (moved(h) - moved(-h)) - (moved(2 * h) - moved(-2 * h))) / (12 * h)
        inputs = tuple(Tensor(x) for x in xs)
        y, pull = vjp(again, *inputs)
        g = rng.standard_normal(y.shape)
        backward = sum(np.sum(c.numpy() * v) for c, v in zip(pull(g), vs, strict=True))
        _, tangent = jvp(again, inputs, tuple(Tensor(np.asarray(v)) for v in vs))
        forward = np.sum(tangent.numpy() * g)
    except ChainruleError:
        return True
    wanted = np.sum(measured * g)
    size = max(np.sum(np.abs(measured * g)), 1e-8)
    return bool(max(abs(backward - wanted), abs(forward - wanted)) <= 1e-5 * size)
