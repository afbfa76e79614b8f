"""A function recorded, and its gradient, Jacobian and Hessian as terms.

The function runs on tensors without values where that can be, so that what it chooses (the largest
of a row) stays a function of its arguments. A function that looks at values runs on the values that
it is given; what comes out is then the formula of the branch that was taken there.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from chainrule.calculus.derive.reading import naming_sizes, read, value_of
from chainrule.calculus.derive.terms import (
    Applied,
    Term,
    Variable,
    constant,
    topological,
    variable,
)
from chainrule.calculus.forward import push_forward
from chainrule.calculus.reverse import pull_back
from chainrule.errors import DTypeError, GradientError, ShapeError
from chainrule.ops.elementwise import Elementwise
from chainrule.tensor import dtypes
from chainrule.tensor.creation import as_operand, zeros
from chainrule.tensor.graph import FULL, Node, describe_only, leaf, reachable, recording
from chainrule.tensor.tensor import Tensor

TANGENT = "v"


@dataclass
class Argument:
    """One argument of the function: a variable of the formula, or handed on as it is."""

    name: str
    given: Any
    value: np.ndarray | None = None
    term: Variable | None = None
    tensor: Tensor | None = None


@dataclass
class Traced:
    """A function that has been recorded.

    Attributes:
        name: the function's.
        arguments: in order.
        output: its result.
        terms: the terms that the recorded leaves stand for.
        sizes: lengths of axes that go by a name.
        notes: what a reader should know about how the formula came about.
    """

    name: str
    arguments: list[Argument]
    output: Tensor
    terms: dict[Node, Term]
    sizes: dict[int, Variable]
    notes: list[str] = field(default_factory=list)

    def is_wide(self) -> bool:
        """Whether the function computes in float64 throughout."""
        nodes = [] if self.output._node is None else reachable([self.output._node])
        return all(n.dtype == np.float64 for n in nodes if n.op is not None and n.needs_grad)

    def read(self, tensor: Tensor) -> Term:
        """A tensor that was made from the arguments, as a term."""
        if tensor._node is None:
            return constant(tensor._value)
        with naming_sizes(self.sizes):
            return read(tensor._node, self.terms)


def trace(f: Callable[..., Any], args: Sequence[Any], wrt: Sequence[int]) -> Traced:
    """Record a function of these arguments, and say which variables it is of."""
    arguments = [_argument(name, a) for name, a in zip(names_of(f, len(args)), args, strict=True)]
    for k in wrt:
        _check_differentiable(arguments[k])
    notes: list[str] = []
    try:
        output, terms = _run(f, arguments, wrt, with_values=False)
    except Exception:
        # It looks at values, or it is wrong; which one shows when it has values.
        output, terms = _run(f, arguments, wrt, with_values=True)
        notes.append(
            "The function looks at the values of its arguments, as an `if` does. This is the "
            "formula of what it computes at these values and near them."
        )
    _check_certain(output)
    _name_constants(f, output, arguments, terms)
    return Traced(_name(f), arguments, output, terms, _sizes(arguments, wrt), notes)


def names_of(f: Callable[..., Any], count: int) -> list[str]:
    """What a function calls its first arguments; x0, x1, … where it does not say."""
    try:
        parameters = list(inspect.signature(f).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    names = []
    for k in range(count):
        p = parameters[k] if k < len(parameters) else None
        plain = p is not None and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        names.append(p.name if plain and p is not None else f"x{k}")
    return names


def _name(f: Any) -> str:
    name = getattr(f, "__name__", type(f).__name__)
    return name if name.isidentifier() else "f"


def _argument(name: str, given: Any) -> Argument:
    """Arrays and floats are variables; whole numbers in arrays keep their values."""
    if isinstance(given, (bool, int, str, type(None))) or callable(given):
        return Argument(name, given)
    try:
        array = np.asarray(as_operand(given).numpy())
    except Exception:
        return Argument(name, given)
    if array.dtype.kind == "c":
        raise DTypeError(
            f"derive is for real numbers, and the argument {name} is {array.dtype}. Write a "
            "function of its real and imaginary parts."
        )
    if array.dtype.kind in "fV":
        array = array.astype(np.float64)
        return Argument(name, given, array, variable(name, array.shape))
    return Argument(name, given, array, variable(name, array.shape, array.dtype.kind, array))


def _check_differentiable(argument: Argument) -> None:
    value = argument.value
    if value is None or value.dtype.kind != "f":
        what = type(argument.given).__name__ if value is None else str(value.dtype)
        raise DTypeError(
            f"a derivative is taken with respect to an array of floating-point numbers, and the "
            f"argument {argument.name} is {what}. Write it as cr.asarray of floats, or choose "
            "another argument by wrt=."
        )


def _run(
    f: Callable[..., Any], arguments: Sequence[Argument], wrt: Sequence[int], with_values: bool
) -> tuple[Tensor, dict[Node, Term]]:
    terms: dict[Node, Term] = {}
    handed: list[Any] = []
    for k, argument in enumerate(arguments):
        if argument.value is None:
            handed.append(argument.given)
            continue
        value = argument.value
        if value.dtype.kind != "f":
            node = Node(None, (), {}, value.shape, value.dtype, False)
            node.value = value
            argument.tensor = Tensor(value, node)
        elif with_values or k in wrt:
            node = leaf(value.shape, value.dtype)
            argument.tensor = Tensor(value if with_values else None, node)
        else:
            node = describe_only(value.shape, value.dtype)
            argument.tensor = Tensor(None, node)
        assert argument.term is not None
        terms[node] = argument.term
        handed.append(argument.tensor)
    with recording(FULL):
        output = f(*handed)
    if not isinstance(output, Tensor):
        try:
            output = as_operand(output)
        except Exception:
            raise GradientError(
                f"derive is of a function whose result is one tensor, not "
                f"{type(output).__name__}. Return the one that the derivative is wanted of."
            ) from None
    return output, terms


def _check_certain(output: Tensor) -> None:
    """GradientError where random numbers are drawn: each call is another function then."""
    for node in reachable([output._node] if output._node is not None else []):
        if "counter" in node.attrs:
            raise GradientError(
                f"the function draws random numbers (`{node.op.name}`), and a formula is of one "
                "function. Draw them outside, and hand them in as an argument."
            )


def _name_constants(
    f: Callable[..., Any], output: Tensor, arguments: Sequence[Argument], terms: dict[Node, Term]
) -> None:
    """Arrays that the function has from elsewhere go by the name that it has for them."""
    if output._node is None:
        return
    taken = {a.name for a in arguments}
    outside = dict(_outside(f))
    seen: dict[bytes, Variable] = {}
    for node in reachable([output._node]):
        value = value_of(node)
        if node.op is not None or node in terms or value is None or not value.ndim:
            continue
        if node.owner is None and value.size and (value == value.flat[0]).all():
            continue  # a number, repeated
        if value.dtype.kind in "iu" and (value.reshape(-1) == np.arange(value.size)).all():
            continue  # all rows, in order: part of an operation
        content = value.tobytes() + repr((value.shape, value.dtype)).encode()
        if content not in seen:
            name = next((n for n, a in outside.items() if _same(a, value)), None)
            if name is None or name in taken:
                name = next(n for k in range(1, 10**6) if (n := f"c{k}") not in taken)
            taken.add(name)
            kind = "f" if value.dtype.kind in "fV" else value.dtype.kind
            plain = value.astype(np.float64) if kind == "f" else value
            seen[content] = variable(name, value.shape, kind, plain)
        terms[node] = seen[content]


def _same(a: Any, value: np.ndarray) -> bool:
    return a.shape == value.shape and bool(np.array_equal(a, value))


def _outside(f: Callable[..., Any]) -> Iterator[tuple[str, np.ndarray]]:
    """Arrays that a function reads from around it, by name; parameters of a module, as weight0."""
    try:
        found = inspect.getclosurevars(f)
        around = {**found.globals, **found.nonlocals}
    except TypeError:
        around = {"f": f}
    for name, value in around.items():
        if hasattr(value, "named_parameters"):
            for path, parameter in value.named_parameters():
                *outer, last = path.split(".")
                yield last + "".join(part for part in outer if part.isdigit()), parameter._value
        elif isinstance(value, Tensor):
            if value._value is not None:
                yield name, np.asarray(value._value)
        elif isinstance(value, np.ndarray):
            yield name, value


def _sizes(arguments: Sequence[Argument], wrt: Sequence[int]) -> dict[int, Variable]:
    """Names for the lengths of axes, data first: n for how many rows they have, then m, k, …"""
    found: list[int] = []
    arrays = [(k in wrt, -a.value.ndim, k, a.value.shape) for k, a in enumerate(arguments)
              if a.value is not None]  # fmt: skip
    for _, _, _, shape in sorted(arrays):
        found += [n for n in shape if n > 2 and n not in found]
    taken = {a.name for a in arguments}
    letters = iter([c for c in "nmkldpq" if c not in taken])
    return {
        n: variable(letter, (), "f", float(n), role="length")
        for n, letter in zip(found, letters, strict=False)
    }


# Derivatives


def gradient(traced: Traced, k: int) -> Tensor:
    """∂f/∂x of a number f, recorded."""
    output, x = traced.output, traced.arguments[k].tensor
    assert x is not None
    if output.size != 1:
        raise ShapeError(
            f"a gradient is of a single number, and the function returned the shape {output.shape}"
        )
    with recording(FULL):
        one = Tensor(np.ones(output.shape, output.dtype))
        (found,) = pull_back(output, one, [x], keep=True)
        return zeros(x.shape, dtype=x.dtype) if found is None else found


def along(traced: Traced, value: Tensor, k: int) -> tuple[Tensor, Variable]:
    """(the derivative of a recorded value along v, v)."""
    x = traced.arguments[k].tensor
    assert x is not None
    name = TANGENT
    while any(a.name == name for a in traced.arguments):
        name += "′"
    direction = Tensor(None, describe_only(x.shape, x.dtype))
    v = variable(name, x.shape, role="direction")
    assert direction._node is not None
    traced.terms[direction._node] = v
    with recording(FULL):
        return push_forward(value, [(x, direction)], keep=True), v


def check_output(traced: Traced, k: int) -> None:
    """GradientError where no derivative flows to the result, and what stops it."""
    output, name = traced.output, traced.arguments[k].name
    stopped = _stopped_by(output)
    because = "" if stopped is None else f": `{stopped[0]}` has no derivative ({stopped[1]})"
    if not dtypes.is_float(output.dtype) or output.dtype.kind == "c":
        raise GradientError(
            f"derive is of real floating-point results, and this function returned "
            f"{output.dtype}{because}. Return what comes before it."
        )
    if stopped is not None and not (output._node is not None and output._node.needs_grad):
        raise GradientError(f"no derivative leads from the result back to {name}{because}.")


def conventions(traced: Traced) -> list[str]:
    """What is taken for the derivative where the given arguments are at a kink."""
    values = {a.name: a.value for a in traced.arguments if a.value is not None}
    memo: dict[Term, np.ndarray] = {}
    notes: dict[str, None] = {}
    for term in topological(traced.read(traced.output)):
        if not isinstance(term, Applied) or not isinstance(term.op, Elementwise):
            continue
        inside = [a.evaluate(values, memo) for a in term.args]
        where = [
            (kink, int((value == kink).sum()), value.size)
            for interval, value in zip(term.op.domain, inside, strict=False)
            for kink in interval.kinks
        ]
        notes.update(
            (
                f"`{term.op.name}` has no derivative at {kink:g}, where {count} of its {size} "
                f"operands are here; the convention holds. {term.op.__doc__}",
                None,
            )
            for kink, count, size in where
            if count
        )
    return list(notes)


def _stopped_by(output: Tensor) -> tuple[str, str] | None:
    """The operation without a derivative that a function's result comes from, and the reason."""
    if output._node is None:
        return None
    for node in reversed(reachable([output._node])):
        if node.op is not None and not node.op.differentiable:
            return node.op.name, getattr(node.op, "reason", "its result is flat between jumps")
    return None
