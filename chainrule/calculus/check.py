"""`check_gradients`: derivatives against differences, and what is wrong where they differ."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from chainrule.calculus.custom import called
from chainrule.calculus.differences import STEPS, Problem, holds, slope, stencil
from chainrule.calculus.mismatch import likeness
from chainrule.errors import ChainruleError, DTypeError, GradientError, NonFiniteError
from chainrule.places import show
from chainrule.tensor.creation import as_operand
from chainrule.tensor.locate import explained

FIRST_STEP = 1e-3
MODES = ("reverse", "forward")
MOST_ELEMENTS = 400
"""Of a larger array so many elements are compared, drawn at random, and all along directions."""
MOST_CLOSELY = 8
"""So many elements that differ are measured again at every step size."""
_EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class GradientCheck:
    """A check that held.

    Attributes:
        elements: how many derivatives were compared one by one.
        max_error: the largest difference, relative to the largest derivative of its argument;
            above the tolerance only where the differences' own rounding is.
        worst: where it is, such as `argument 0 [1, 2]`.
        declared, measured: the derivative there, and what the differences give.
        steps: (step size, relative error of the central difference there) pairs.
        order: 2 where the derivative's own derivative was checked too.
        modes: the modes that were checked.
    """

    elements: int
    max_error: float
    worst: str
    declared: float
    measured: float
    steps: tuple[tuple[float, float], ...]
    order: int
    modes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The same as plain data."""
        return asdict(self)

    def __str__(self) -> str:
        return (
            f"gradients agree: {self.elements} derivatives against differences, in "
            f"{' and in '.join(self.modes)} mode, to order {self.order}; the largest relative "
            f"error is {self.max_error:.2g} "
            f"(at {self.worst}: {self.declared:.8g} against {self.measured:.8g})\n"
            + _table(self.steps)
        )


@explained
def check_gradients(
    f: Callable[..., Any],
    *args: Any,
    argnums: int | tuple[int, ...] | None = None,
    order: int = 1,
    modes: Sequence[str] = MODES,
    tolerance: float = 1e-6,
    seed: int = 0,
) -> GradientCheck:
    """Compare the derivatives of f, reverse and forward, with central differences in float64.

    A result that is no single number is weighted by random numbers and added up. Complex arguments
    and results count as pairs of real numbers. Differences are
    taken by the five-point stencil, with an error of h⁴; where they disagree with the derivative,
    at twelve step sizes, of which the one that agrees best with its neighbours counts. What
    rounding in float64 may cause is allowed for. Of an argument with more than 400 elements, 400
    are compared one by one, and all of them along two random directions.

    Args:
        f: a function of tensors, or of nested dicts and lists of them.
        args: where to check; floating-point values are taken as float64.
        argnums: which arguments; all that are floating-point if left out.
        order: 2 checks the gradient's own derivative as well.
        modes: "reverse", "forward" or both.
        tolerance: the relative error allowed, of the largest derivative of an argument.
        seed: of the weights and directions.

    Raises:
        GradientError: they differ; names the argument, the worst element, the operation, and what
            the mismatch looks like.
        NonFiniteError: f is not finite at this point, or beside it.
        DTypeError: no argument is floating-point.

    >>> import chainrule as cr
    >>> cr.check_gradients(cr.tanh, cr.asarray([0.5, -1.0])).max_error < 1e-9
    True
    """
    if order not in (1, 2):
        raise DTypeError(f"order is 1 or 2, not {order!r}")
    modes = (modes,) if isinstance(modes, str) else tuple(modes)
    if not modes or not set(modes) <= set(MODES):
        raise DTypeError(f'modes are "reverse", "forward" or both, not {modes!r}')
    rng = np.random.default_rng(seed)
    problem = Problem(f, args, argnums, rng)
    result = _compare(problem, tolerance, rng, order, modes)
    if order == 2:
        us = [rng.standard_normal(x.shape) for x in problem.values]

        def along_random(*values: Any) -> Any:
            gradients = problem.gradients(values)
            total = as_operand(0.0)
            for gradient, u in zip(gradients, us, strict=True):
                total = total + (gradient * u).sum()
            return total

        second = Problem(along_random, problem.values, None, rng, "the gradient's own derivative: ")
        _compare(second, 10 * tolerance, rng, 2, modes)
    return result


def _compare(
    problem: Problem, tolerance: float, rng: Any, order: int, modes: tuple[str, ...]
) -> GradientCheck:
    """Element by element, then along random directions of everything at once."""
    try:
        if "reverse" in modes:
            gradients = [g.numpy() for g in problem.gradients(problem.values)]
        else:
            gradients = [
                np.reshape([problem.tangent(problem.unit(n, i)[0]) for i in range(x.size)], x.shape)
                for n, x in enumerate(problem.values)
            ]
    except ChainruleError as problem_found:
        raise type(problem_found)(f"{problem.about}{problem_found}") from None
    worst = _Worst(False, -1.0, 0, 0, 0.0, 0.0)
    compared: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for leaf, (x, gradient) in enumerate(zip(problem.values, gradients, strict=True)):
        declared = gradient.reshape(-1)
        _require_finite(problem, leaf, declared)
        chosen = np.arange(x.size)
        if x.size > MOST_ELEMENTS:
            chosen = np.sort(rng.choice(x.size, MOST_ELEMENTS, replace=False))
        measured = np.zeros(len(chosen))
        allowed = np.zeros(len(chosen))
        for k, index in enumerate(map(int, chosen)):
            directions, scale = problem.unit(leaf, index)
            measured[k] = stencil(problem.along(directions), FIRST_STEP * scale)
            allowed[k] = 20 * _EPS * problem.size / (FIRST_STEP * scale)
        compared.append((chosen, measured, allowed))
        wrong = 0
        apart = np.abs(declared[chosen] - measured)
        for k in np.argsort(-np.nan_to_num(apart, nan=np.inf)):
            index, largest = int(chosen[k]), np.max(np.abs(declared))
            scale = max(largest, abs(measured[k]), 1e-300)
            if not apart[k] - allowed[k] <= tolerance * scale:  # look closely
                if wrong == MOST_CLOSELY and np.isfinite(measured[k]):
                    continue
                measured[k], allowed[k] = _measured(problem, leaf, index)
                scale = max(largest, abs(measured[k]), 1e-300)
            difference = abs(declared[index] - measured[k])
            differs = bool(difference - allowed[k] > tolerance * scale)
            wrong += differs
            found = (differs, float(difference / scale), leaf, index)
            worst = max(worst, _Worst(*found, float(declared[index]), float(measured[k])))
    count = sum(len(chosen) for chosen, _, _ in compared)
    steps = _errors(problem, worst) if count else ()
    if worst.differs:
        gradient, found_there = gradients[worst.leaf], compared[worst.leaf]
        raise GradientError(_report(problem, gradient, *found_there, worst, steps))
    if count:
        _check_directions(problem, gradients, tolerance, rng, modes)
    name = _name(problem, worst.leaf, worst.element)
    error = max(worst.error, 0.0)
    return GradientCheck(count, error, name, worst.declared, worst.measured, steps, order, modes)


class _Worst(NamedTuple):
    """An element; one that differs is worse than one that agrees but for rounding."""

    differs: bool
    error: float
    leaf: int
    element: int
    declared: float
    measured: float


def _name(problem: Problem, leaf: int, index: int) -> str:
    x = problem.values[leaf]
    place = [int(i) for i in np.unravel_index(index, x.shape)] if x.size and x.ndim else []
    part = ""
    if place and problem.pairs[leaf]:
        part = ("the real part of ", "the imaginary part of ")[place.pop()]
    return part + (f"{problem.names[leaf]} {place}" if place else problem.names[leaf])


def _measured(problem: Problem, leaf: int, index: int) -> tuple[float, float]:
    directions, scale = problem.unit(leaf, index)
    found = slope(problem.along(directions), scale, problem.size)
    if not np.isfinite(found[0]):
        raise NonFiniteError(
            f"{problem.about}f is finite at this point, but not on both sides of it along "
            f"{_name(problem, leaf, index)}: this is the edge of where f is defined, and there is "
            "no derivative to compare with. Check at a point inside."
        )
    return found


def _require_finite(problem: Problem, leaf: int, declared: np.ndarray) -> None:
    bad = np.flatnonzero(~np.isfinite(declared))
    if bad.size:
        index = int(bad[0])
        measured, _ = _measured(problem, leaf, index)
        raise GradientError(
            f"{problem.about}the gradient of {_name(problem, leaf, index)} is {declared[index]}, "
            f"and differences give {measured:.8g}. Usually cr.where has discarded a value whose "
            "derivative is not finite, and 0 · ∞ is NaN: make the operand safe before the "
            "operation, as in cr.where(x > 0, cr.sqrt(cr.where(x > 0, x, 1.0)), 0.0)."
        )


def _errors(problem: Problem, worst: _Worst) -> tuple[tuple[float, float], ...]:
    """The error of the plain central difference for each step size."""
    number = problem.along(problem.unit(worst.leaf, worst.element)[0])
    declared = worst.declared
    found = []
    for h in STEPS[:9]:
        central = (number(h) - number(-h)) / (2 * h)
        found.append((h, abs(central - declared) / max(abs(declared), abs(central), 1e-300)))
    return tuple(found)


def _check_directions(
    problem: Problem, gradients: list, tolerance: float, rng: Any, modes: tuple[str, ...]
) -> None:
    """The derivatives along random directions, which no element can hide from."""
    for _ in range(2):
        vs = [rng.standard_normal(x.shape) for x in problem.values]
        declared = float(sum(np.sum(g * v) for g, v in zip(gradients, vs, strict=True)))
        size = float(sum(np.sum(np.abs(g * v)) for g, v in zip(gradients, vs, strict=True)))
        measured, doubt = slope(problem.along(vs), 1.0, problem.size)
        scale = max(size, abs(measured), 1e-300)
        if abs(declared - measured) - doubt > tolerance * scale:
            raise GradientError(
                f"{problem.about}along a random direction of everything, the derivative is "
                f"{declared:.8g}, and differences give {measured:.8g}, though the elements that "
                f"were compared one by one agree: others do not.{_culprit(problem)}"
            )
        if modes != ("reverse",) and "reverse" in modes:
            forward = problem.tangent(vs)
            if not abs(forward - declared) <= max(tolerance, 1e-9) * scale:
                raise GradientError(
                    f"{problem.about}forward mode gives {forward:.8g} along a random direction, "
                    f"and reverse mode, which agrees with differences, {declared:.8g}: the jvp of "
                    f"an operation is wrong.{_culprit(problem)}"
                )


def _report(
    problem: Problem,
    gradient: np.ndarray,
    chosen: np.ndarray,
    measured: np.ndarray,
    doubt: np.ndarray,
    worst: _Worst,
    steps: Any,
) -> str:
    _, error, leaf, index, there, expected = worst
    said = (
        f"{problem.about}the gradient of {_name(problem, leaf, index)} is {there:.8g}, and "
        f"differences give {expected:.8g} (relative error {error:.2g}"
        + (f", ratio {there / expected:.6g}). " if expected else "). ")
    )
    narrow = [n for n in problem.recorded() if n.dtype not in (np.float64, np.complex128)]
    if narrow:
        return (
            f"{said}It looks like rounding: `{narrow[0].op.name}` ({show(narrow[0].place)}) "
            f"computes in {narrow[0].dtype}, which differences cannot see through. Take the cast "
            "out; for a module, which casts to its parameters' dtype, pass float64 parameters by "
            "nn.functional_call."
        )
    slopes = _one_sided(problem, leaf, index)
    declared, right = gradient.reshape(-1)[chosen], measured
    if there:  # rounding must not hide that all have one ratio
        alike = declared * (expected / there)
        right = measured = np.where(np.abs(alike - measured) <= doubt, alike, measured)
    if len(chosen) == gradient.size or np.isclose(declared, right, 1e-4, 0).any():
        # Some are right: what was not drawn is taken to be, so that places keep their names.
        declared, right = gradient, gradient.copy()
        right.reshape(-1)[chosen] = measured
    looks = likeness(declared, right, problem.sizes, slopes or (expected, expected))
    if problem.pairs[leaf]:
        pairs, other = declared.reshape(-1, 2) * (1, -1), right.reshape(-1, 2)
        if np.allclose(pairs, other, 1e-4, 1e-8):
            looks = "the conjugate: of complex numbers the cotangent is g · conj(dy/dx)."
    what = "that has the kink" if slopes else "whose derivative is wrong"
    return f"{said}It looks like {looks}{_culprit(problem, what)}\n{_table(steps)}"


def _one_sided(problem: Problem, leaf: int, index: int) -> tuple[float, float] | None:
    """The slopes to the left and to the right, where there is a kink: where their difference stays
    as the step shrinks. Curvature makes it fall with the step, and rounding makes it rise."""
    directions, scale = problem.unit(leaf, index)
    number = problem.along(directions)
    steps = scale * np.array([1e-4, 1e-5, 1e-6])
    left, right = np.array([(number(0) - number(-h), number(h) - number(0)) for h in steps]).T
    left, right = left / steps, right / steps
    gaps = np.abs(right - left)
    if np.min(gaps) > 0.8 * np.max(gaps) and gaps[0] > 1e-3 * np.max(np.abs((left, right))):
        return float(left[1]), float(right[1])
    return None


def _table(steps: Any) -> str:
    rows = "\n".join(f"  {h:<9.0e} {error:.1e}" for h, error in steps)
    return f"  step      relative error of (f(x + h) − f(x − h)) / 2h\n{rows}"


def _culprit(problem: Problem, what: str = "whose derivative is wrong") -> str:
    """The first operation whose own derivative is wrong, at the values that it was given."""
    for node in problem.recorded():
        if not holds(node):
            place = show(node.place)
            return f"\nThe operation {what}: `{called(node)}`" + (f" ({place})." if place else ".")
    return ""
