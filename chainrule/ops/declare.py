"""The constructors that declare operations, one for each way of having a derivative.

    elementwise     y = f(x, …), a local derivative in the inputs and the output
    linear          y linear in all operands together: its transpose
    bilinear        y linear in each operand alone: a transpose for each
    operation       what remains: a vjp and a jvp by hand
    composite       a definition in other operations, which gives everything else; with a `kernel`
                    and its `pullback` where eager speed wants one
    constant_op     no derivative, and the reason

Each is used from this package and from outside alike: a declaration registers itself.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from chainrule.ops.composite import Composite
from chainrule.ops.domain import REALS, Interval
from chainrule.ops.elementwise import Elementwise
from chainrule.ops.operation import Operand, Operation, as_dtype_of, conjugate, no_derivative
from chainrule.tensor import dtypes
from chainrule.tensor.tensor import Tensor, attach


def elementwise(
    name: str,
    forward: Callable[..., Any],
    *,
    formula: str,
    derivative: Any,
    accepts: str = "float",
    domain: Interval | tuple[Interval, ...] = REALS,
    result: str = "same",
    lower: Any = None,
    flops: int = 1,
    method: str | None = None,
    operator: str | None = None,
    doc: str = "",
    source: str | None = None,
    display_only: bool = False,
) -> Elementwise:
    """Declare y = f(x₁, …), applied element by element with broadcasting.

    Args:
        name: the operation's name.
        forward: a NumPy ufunc or a function of arrays.
        formula: in the operands' names, such as "tanh(x)".
        derivative: ∂y/∂xᵢ as a function (x₁, …, y), a tuple of them for several operands, written
            with operations; a plain number where it is constant. None: there is no derivative;
            among several: none in that operand, such as an order.
        accepts: which dtypes: "any", "number" (no booleans), "float" (integers become the default
            float), "real float" (the same without complex), "real", "ordered" (no complex), "bool",
            "bits" (integers and booleans), "integer".
        domain: where it is defined and smooth, one interval for each operand or for all.
        result: the result's dtype: "same", "bool" or "real" (of a complex operand).
        lower: the instruction of the kernel builder; its name if left out.
        flops: floating-point operations for each element.
        method, operator: what it serves on Tensor.
        source: where the derivative is from, if not from a school book.
        display_only: the formula is shown by the operation's name, and tested by a reference.

    >>> import chainrule as cr
    >>> from chainrule.ops.declare import elementwise
    >>> cube = elementwise("cube", lambda x: x**3, formula="x^3",
    ...                    derivative=lambda x, y: 3 * x**2)
    >>> cr.grad(cube)(cr.asarray(2.0)).item()
    12.0
    """
    op = Elementwise(
        name,
        forward,
        derivative=derivative,
        accepts=accepts,
        domain=domain if isinstance(domain, tuple) else (domain,),
        result=result,
        formula=formula,
        lower=lower or name,
        operations=lambda y, *xs, **attrs: flops * int(np.prod(y.shape)),
        method=method,
        operator=operator,
        doc=doc,
        source=source,
        display_only=display_only,
    )
    _serve(op)
    return op


class Linear(Operation):
    """y linear in all its differentiable operands together. See `linear`."""

    kind = "linear"

    def __init__(self, name: str, *, transpose: Callable[..., Any], **parts: Any) -> None:
        super().__init__(name, **parts)
        self.transpose = transpose

    def saves(
        self, wanted: tuple[bool, ...], inputs: Sequence[Operand], attrs: dict, value: np.ndarray
    ) -> tuple[bool, ...]:
        # What it is linear in is never needed; operands beside it (a condition, indices) are.
        return (*(not dtypes.is_float(o.dtype) for o in inputs), False)

    def cotangents(
        self,
        gradient: Tensor,
        wanted: tuple[bool, ...],
        operands: Sequence[Operand],
        output: Tensor,
        choice: Tensor | None,
        attrs: dict[str, Any],
    ) -> Sequence[Tensor | None]:
        result = self.transpose(gradient, *operands, **attrs)
        if not isinstance(result, tuple):
            x = operands[0]
            result = result if result.dtype == x.dtype else as_dtype_of(result, x)
            return (result, *(None,) * (len(operands) - 1))
        return [
            r if r is None or r.dtype == x.dtype else as_dtype_of(r, x)
            for r, x in zip(result, operands, strict=True)
        ]

    def tangent(
        self,
        tangents: Sequence[Tensor | None],
        operands: Sequence[Operand],
        output: Tensor,
        choice: Tensor | None,
        attrs: dict[str, Any],
    ) -> Tensor:
        from chainrule.tensor.creation import zeros

        filled = [
            t if t is not None else zeros(o.shape, dtype=o.dtype) if dtypes.is_float(o.dtype) else o
            for t, o in zip(tangents, operands, strict=True)
        ]
        return self.apply(filled, attrs)


class Bilinear(Operation):
    """y linear in each of two operands alone. See `bilinear`."""

    kind = "bilinear"

    def __init__(
        self, name: str, *, transpose: tuple[Callable[..., Any], Callable[..., Any]], **parts: Any
    ) -> None:
        super().__init__(name, **parts)
        self.transpose = transpose

    def saves(
        self, wanted: tuple[bool, ...], inputs: Sequence[Operand], attrs: dict, value: np.ndarray
    ) -> tuple[bool, ...]:
        return wanted[1], wanted[0], False

    def cotangents(
        self,
        gradient: Tensor,
        wanted: tuple[bool, ...],
        operands: Sequence[Operand],
        output: Tensor,
        choice: Tensor | None,
        attrs: dict[str, Any],
    ) -> Sequence[Tensor | None]:
        a, b = operands
        first, second = self.transpose
        da = first(gradient, a, conjugate(b), **attrs) if wanted[0] else None
        db = second(gradient, conjugate(a), b, **attrs) if wanted[1] else None
        return _as(da, a), _as(db, b)

    def tangent(
        self,
        tangents: Sequence[Tensor | None],
        operands: Sequence[Operand],
        output: Tensor,
        choice: Tensor | None,
        attrs: dict[str, Any],
    ) -> Tensor:
        (da, db), (a, b) = tangents, operands
        left = self.apply((da, b), attrs) if da is not None else None
        right = self.apply((a, db), attrs) if db is not None else None
        if left is None or right is None:
            return left if right is None else right  # type: ignore[return-value]
        return left + right


def _as(cotangent: Tensor | None, operand: Tensor) -> Tensor | None:
    """A cotangent in its operand's shape and dtype."""
    if cotangent is None:
        return None
    if cotangent.shape != operand.shape:
        cotangent = cotangent.sum_to(operand.shape)
    return cotangent if cotangent.dtype == operand.dtype else as_dtype_of(cotangent, operand)


class General(Operation):
    """A vjp and a jvp by hand. See `operation`."""

    def __init__(
        self,
        name: str,
        *,
        vjp: Callable[..., Any],
        jvp: Callable[..., Any],
        choice: Callable[..., Tensor] | None = None,
        **parts: Any,
    ) -> None:
        super().__init__(name, **parts)
        self.vjp, self.jvp, self.choice = vjp, jvp, choice

    def _extra(self, output: Tensor, choice: Tensor | None) -> tuple:
        return (output,) if self.choice is None else (output, choice)

    def cotangents(
        self,
        gradient: Tensor,
        wanted: tuple[bool, ...],
        operands: Sequence[Operand],
        output: Tensor,
        choice: Tensor | None,
        attrs: dict[str, Any],
    ) -> Sequence[Tensor | None]:
        result = self.vjp(gradient, *operands, *self._extra(output, choice), **attrs)
        return result if isinstance(result, tuple) else (result, *(None,) * (len(operands) - 1))

    def tangent(
        self,
        tangents: Sequence[Tensor | None],
        operands: Sequence[Operand],
        output: Tensor,
        choice: Tensor | None,
        attrs: dict[str, Any],
    ) -> Tensor:
        given: Any = tangents if len(operands) > 1 else tangents[0]
        return self.jvp(given, *operands, *self._extra(output, choice), **attrs)


class ConstantOp(Operation):
    """Not differentiable, and says why. See `constant_op`."""

    kind = "constant"
    differentiable = False

    def __init__(self, name: str, *, reason: str, **parts: Any) -> None:
        super().__init__(name, **parts)
        self.reason = reason

    def cotangents(self, *args: Any) -> Sequence[Tensor | None]:
        raise no_derivative(self.name, self.reason)

    tangent = cotangents  # type: ignore[assignment]


def _declaring(build: Callable[..., Operation]) -> Callable[..., Any]:
    """A constructor used as a decorator on the function that reads the user's arguments."""

    def constructor(**parts: Any) -> Callable[[Callable[..., Any]], Operation]:
        def declare(function: Callable[..., Any]) -> Operation:
            op = build(
                function.__name__.rstrip("_"), arguments=function, doc=function.__doc__, **parts
            )
            op.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
            _serve(op)
            return op

        return declare

    return constructor


linear = _declaring(Linear)
linear.__doc__ = """Declare y linear in its floating-point operands together: `transpose` takes
(g, *operands, **attrs) to their cotangents, reading only the operands' shapes; where a coefficient
is complex, it is the adjoint. Decorates the function that turns the user's arguments into
(operands, attributes)."""
bilinear = _declaring(Bilinear)
bilinear.__doc__ = """Declare y linear in each of two operands: `transpose` is a pair of functions
(g, a, b, **attrs), the cotangent of a and that of b. Decorates the function of the arguments."""
operation = _declaring(General)
operation.__doc__ = """Declare an operation by its `vjp` (g, *operands, y, **attrs) and its `jvp`
(tangents, *operands, y, **attrs), both in operations. A `choice` (*operands, y, **attrs) is taken
when the operation runs and kept for both, after y: indices or masks, never compared anew."""
constant_op = _declaring(ConstantOp)
constant_op.__doc__ = """Declare an operation without a derivative, and the `reason`."""


def composite(
    *,
    formula: str,
    kernel: Callable[..., Any] | None = None,
    pullback: Callable[..., Any] | None = None,
    gradient: tuple[Composite, int] | None = None,
    check: Callable[..., None] | None = None,
    arguments: Callable[..., tuple[tuple, dict]] | None = None,
    **parts: Any,
) -> Callable[[Callable[..., Tensor]], Composite]:
    """Declare an operation by its definition in other operations, the decorated function.

    The function's positional-only parameters are the operands, the others the attributes.

    Args:
        formula: the whole operation's mathematics.
        arguments: where the user's arguments are others than the definition's, the function that
            turns them into (operands, attributes).
        kernel: where eager speed asks for it, (*arrays, **attrs) -> (output, residual) on NumPy
            arrays; the residual is a tuple of small arrays, for the pullback beside the operands.
        pullback: (wanted, g, *arrays, y=, residual=, **attrs) -> an array or None for each operand.
        gradient: where the compiler takes the operation as a whole, (operation, n): another
            composite, (g, *operands, **attrs) -> the cotangents of the first n operands as one
            flat array, each in row-major order, behind one another.
        check: (*operands, **attrs), raises what a person needs to know before anything is computed.
    """

    def declare(function: Callable[..., Tensor]) -> Composite:
        op = Composite(
            function.__name__.rstrip("_"),
            definition=function,
            formula=formula,
            kernel=kernel,
            pullback=pullback,
            gradient=gradient,
            check=check,
            arguments=arguments,
            doc=function.__doc__,
            **parts,
        )
        _serve(op)
        return op

    return declare


def _serve(op: Operation) -> None:
    """Put an operation on Tensor, as the operator and the method that it names."""
    if op.method is not None:

        def method(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            return op(self, *args, **kwargs)

        method.__doc__, method.__name__ = op.__doc__, op.method
        attach(op.method)(method)
    if op.operator is None:
        return
    unary = getattr(op, "arity", 2) == 1

    def plain(self: Tensor) -> Tensor:
        return op(self)

    def binary(self: Tensor, other: Any) -> Tensor:
        return op(self, other) if _is_operand(other) else NotImplemented

    def reflected(self: Tensor, other: Any) -> Tensor:
        return op(other, self) if _is_operand(other) else NotImplemented

    def in_place(self: Tensor, other: Any) -> Tensor:
        if not _is_operand(other):
            return NotImplemented
        from chainrule.ops.indexing import replace

        return replace(self, op(self, other))

    attach(f"__{op.operator}__")(plain if unary else binary)
    if not unary and op.operator not in ("eq", "ne", "lt", "le", "gt", "ge"):
        attach(f"__r{op.operator}__")(reflected)
        attach(f"__i{op.operator}__")(in_place)


def _is_operand(other: Any) -> bool:
    return isinstance(other, (Tensor, int, float, complex, np.ndarray, np.generic, list, tuple))
