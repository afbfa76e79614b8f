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

from chainrule.errors import ChainruleError, DTypeError, ShapeError
from chainrule.ops.domain import REALS, Interval
from chainrule.ops.operation import Operand, Operation, describe, no_derivative
from chainrule.tensor import debug, dtypes
from chainrule.tensor.creation import as_operand
from chainrule.tensor.graph import FULL, OFF, Node, leaf, recording, state
from chainrule.tensor.shapes import broadcast_shapes
from chainrule.tensor.tensor import Tensor, attach

_PYTHON_SCALARS = (float, int, bool, complex)


class Elementwise(Operation):
    """y = f(x₁, …), element by element, with broadcasting. See `elementwise`."""

    kind = "elementwise"
    checks_shapes_first = False

    def __init__(
        self,
        name: str,
        forward: Callable[..., Any],
        *,
        derivative: Any,
        accepts: str,
        domain: tuple[Interval, ...],
        result: str,
        **parts: Any,
    ) -> None:
        super().__init__(name, forward=forward, **parts)
        self.derivative = _as_functions(derivative)
        self.differentiable = derivative is not None
        self.parameters = _parameter_names(forward)
        self.arity = len(self.parameters)
        self.accepts = accepts
        self.domain = domain * self.arity if len(domain) == 1 else domain
        self.result = result
        self._plans: dict[Any, Any] = {}
        self._mask_saves: dict[tuple[bool, ...], tuple[bool, ...]] = {}
        self.__signature__ = inspect.Signature(
            [inspect.Parameter(p, inspect.Parameter.POSITIONAL_ONLY) for p in self.parameters]
        )

    def __call__(self, *args: Any) -> Tensor:
        if len(args) != self.arity:
            self.fail(
                DTypeError(
                    f"it takes {self.arity} operand{'s' if self.arity > 1 else ''} "
                    f"({', '.join(self.parameters)}), not {len(args)}"
                )
            )
        inputs: list[Any] = []
        some_tensor = False
        for a in args:
            if isinstance(a, Tensor):
                some_tensor = True
            elif isinstance(a, float):
                a = float(a)  # NumPy's float64 scalar does not widen
            elif type(a) not in _PYTHON_SCALARS:
                try:
                    a = as_operand(a)
                except ChainruleError as error:
                    self.fail(error)
                some_tensor = True
            inputs.append(a)
        if not some_tensor:
            inputs = [as_operand(a) for a in inputs]
        return self.apply(inputs, {})

    def plan(self, kinds: tuple) -> np.dtype | None:
        """The dtype to compute in for operands of these dtypes and scalar types; None: as it is."""
        found = [k for k in kinds if isinstance(k, np.dtype)]
        target = found[0]
        for dtype in found[1:]:
            target = dtypes.promote(target, dtype)
        for k in kinds:
            if not isinstance(k, np.dtype):
                if self.accepts == "bool" and k is not bool:
                    raise DTypeError(f"it is for booleans, and a {k.__name__} was given")
                target = dtypes.scalar_dtype(k(1), target)
        allowed = _ACCEPTS[self.accepts]
        if self.accepts == "float" and target.kind in "biu":
            target = dtypes.default_float
        elif target.kind not in allowed and target.name != "bfloat16":
            raise DTypeError(f"{_WHY_NOT[self.accepts]}, and this is {target}")
        return None if all(dtype == target for dtype in found) else target

    def run(self, values: Sequence[Any], attrs: dict[str, Any]) -> tuple[np.ndarray, Any]:
        key = tuple([v.dtype if isinstance(v, np.ndarray) else type(v) for v in values])
        try:
            target = self._plans[key]
        except KeyError:
            target = self._plans[key] = self.plan(key)
        if target is not None:
            values = [
                v.astype(target) if isinstance(v, np.ndarray) and v.dtype != target else v
                for v in values
            ]
        return self.forward(*values), None

    def shape(self, *inputs: Operand, **attrs: Any) -> tuple[tuple[int, ...], np.dtype]:
        kinds = tuple(o.dtype if isinstance(o, Tensor) else type(o) for o in inputs)
        tensors = [o for o in inputs if isinstance(o, Tensor)]
        dtype = self.plan(kinds)
        if dtype is None:
            dtype = tensors[0].dtype
        if self.result == "bool":
            dtype = dtypes.bool_
        elif self.result == "real" and dtype.kind == "c":
            dtype = np.dtype(f"f{dtype.itemsize // 2}")
        return broadcast_shapes(*(t.shape for t in tensors)), dtype

    def saves(
        self, wanted: tuple[bool, ...], inputs: Sequence[Operand], attrs: dict, value: np.ndarray
    ) -> tuple[bool, ...]:
        found = self._mask_saves.get(wanted)
        if found is None:
            probes = [Tensor(None, leaf((), dtypes.float64)) for _ in inputs]
            one = np.ones((), dtypes.float64)
            found = self._read_off_saves(wanted, probes, attrs, one)
            self._mask_saves[wanted] = found
        return found

    def cotangents(
        self,
        gradient: Tensor,
        wanted: tuple[bool, ...],
        operands: Sequence[Operand],
        output: Tensor,
        choice: Tensor | None,
        attrs: dict[str, Any],
    ) -> list[Tensor | None]:
        results: list[Tensor | None] = []
        for i, want in enumerate(wanted):
            if not want:
                results.append(None)
                continue
            operand = operands[i]
            cotangent = _times(gradient, self.derivative[i](*operands, output))
            if cotangent.shape != operand.shape:
                cotangent = cotangent.sum_to(operand.shape)
            if cotangent.dtype != operand.dtype:
                cotangent = cotangent.astype(operand.dtype)
            results.append(cotangent)
        return results

    def tangent(
        self,
        tangents: Sequence[Tensor | None],
        operands: Sequence[Operand],
        output: Tensor,
        choice: Tensor | None,
        attrs: dict[str, Any],
    ) -> Tensor:
        total: Tensor | None = None
        for i, tangent in enumerate(tangents):
            if tangent is not None:
                term = _times(tangent, self.derivative[i](*operands, output))
                total = term if total is None else total + term
        assert total is not None
        if total.shape != output.shape:
            total = total.broadcast_to(output.shape)
        return total if total.dtype == output.dtype else total.astype(output.dtype)


def _times(g: Tensor, d: Any) -> Tensor:
    """g · d, without the work where d is 1 or −1, or where nothing is to be recorded."""
    if isinstance(d, Tensor):
        if state.depth == OFF and not debug.level and _plain(g, d):
            return Tensor(g._value * d._value)  # type: ignore[operator]
        return g * d
    return g if d == 1 else -g if d == -1 else g * d


def _plain(g: Tensor, d: Tensor) -> bool:
    """Whether NumPy's product of the values is the operation's."""
    a, b = g._value, d._value
    if type(a) is not np.ndarray or type(b) is not np.ndarray:
        return False
    return a.ndim > 0 and b.ndim > 0 and (a.dtype == b.dtype or b.dtype == dtypes.bool_)


_ACCEPTS = {
    "any": "biufc",
    "number": "iufc",
    "float": "fc",
    "real": "iuf",
    "ordered": "biuf",
    "bool": "b",
    "bits": "biu",
}
_WHY_NOT = {
    "any": "it is for numbers",
    "number": "arithmetic is for numbers; for booleans write & | ^ ~, or convert with astype",
    "float": "it is for floating-point numbers",
    "real": "it is for real numbers",
    "ordered": "complex numbers have no order; compare their real part or modulus",
    "bool": "it is for booleans; compare first, as in x > 0",
    "bits": "it is for integers and booleans",
}


def _parameter_names(forward: Callable[..., Any]) -> tuple[str, ...]:
    """x for one operand, a and b for two; for a function that is no ufunc, its own names."""
    if isinstance(forward, np.ufunc):
        return ("x",) if forward.nin == 1 else ("a", "b")
    return tuple(inspect.signature(forward).parameters)


def _as_functions(derivative: Any) -> tuple[Callable[..., Any], ...]:
    """A tuple of functions, of which constants are some."""
    if derivative is None:
        return ()
    given = derivative if isinstance(derivative, tuple) else (derivative,)
    return tuple(d if callable(d) else (lambda *_, d=d: d) for d in given)


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
) -> Elementwise:
    """Declare y = f(x₁, …), applied element by element with broadcasting.

    Args:
        name: the operation's name.
        forward: a NumPy ufunc or a function of arrays.
        formula: in the operands' names, such as "tanh(x)".
        derivative: ∂y/∂xᵢ as a function (x₁, …, y), a tuple of them for several operands, written
            with operations; a plain number where it is constant. None: there is no derivative.
        accepts: which dtypes: "any", "number" (no booleans), "float" (integers become the default
            float), "real", "ordered" (no complex), "bool", "bits".
        domain: where it is defined and smooth, one interval for each operand or for all.
        result: the result's dtype: "same", "bool" or "real" (of a complex operand).
        lower: the instruction of the kernel builder; its name if left out.
        flops: floating-point operations for each element.
        method, operator: what it serves on Tensor.
        source: where the derivative is from, if not from a school book.

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
        return result if isinstance(result, tuple) else (result, *(None,) * (len(operands) - 1))

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
        da = first(gradient, a, b, **attrs) if wanted[0] else None
        db = second(gradient, a, b, **attrs) if wanted[1] else None
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
    return cotangent if cotangent.dtype == operand.dtype else cotangent.astype(operand.dtype)


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
(g, *operands, **attrs) to their cotangents, reading only the operands' shapes. Decorates the
function that turns the user's arguments into (operands, attributes)."""
bilinear = _declaring(Bilinear)
bilinear.__doc__ = """Declare y linear in each of two operands: `transpose` is a pair of functions
(g, a, b, **attrs), the cotangent of a and that of b. Decorates the function of the arguments."""
operation = _declaring(General)
operation.__doc__ = """Declare an operation by its `vjp` (g, *operands, y, **attrs) and its `jvp`
(tangents, *operands, y, **attrs), both in operations. A `choice` (*operands, y, **attrs) is taken
when the operation runs and kept for both, after y: indices or masks, never compared anew."""
constant_op = _declaring(ConstantOp)
constant_op.__doc__ = """Declare an operation without a derivative, and the `reason`."""


class Composite(Operation):
    """Defined by other operations. See `composite`."""

    kind = "composite"
    checks_shapes_first = False

    def __init__(
        self,
        name: str,
        *,
        definition: Callable[..., Tensor],
        kernel: Callable[..., Any] | None = None,
        pullback: Callable[..., Any] | None = None,
        check: Callable[..., None] | None = None,
        arguments: Callable[..., tuple[tuple, dict]] | None = None,
        **parts: Any,
    ) -> None:
        super().__init__(name, arguments=arguments, **parts)
        self.definition = definition
        self.kernel, self.pullback = kernel, pullback
        self.check = check
        parameters = inspect.signature(definition).parameters.values()
        only = [p for p in parameters if p.kind is p.POSITIONAL_ONLY]
        rest = [p for p in parameters if p.kind is not p.POSITIONAL_ONLY]
        self.arity = len(only)
        self.operand_names = tuple(p.name for p in only)
        self._required = sum(p.default is p.empty for p in only)
        self._keywords = tuple(p.name for p in rest if p.kind is not p.KEYWORD_ONLY)
        self._defaults = {p.name: p.default for p in rest}
        self.__signature__ = inspect.signature(arguments or definition)

    def arguments(self, *args: Any, **kwargs: Any) -> tuple[tuple, dict[str, Any]]:
        n = self.arity
        attrs = dict(self._defaults)
        if len(args) > n:
            attrs.update(zip(self._keywords, args[n:], strict=False))
            if len(args) > n + len(self._keywords):
                raise TypeError(f"it takes at most {n + len(self._keywords)} positional arguments")
        if kwargs:
            for key in kwargs:
                if key not in attrs:
                    raise TypeError(f"it has no argument {key!r}")
            attrs.update(kwargs)
        for key, value in attrs.items():
            if value is inspect.Parameter.empty:
                raise TypeError(f"the argument {key!r} is missing")
        if len(args) < self._required:
            raise TypeError(f"it takes {self._required} operands, not {len(args)}")
        inputs = [a if a is None or isinstance(a, Tensor) else as_operand(a) for a in args[:n]]
        inputs.extend([None] * (n - len(inputs)))
        return tuple(inputs), attrs

    def apply(self, inputs: Sequence[Operand], attrs: dict[str, Any]) -> Tensor:
        if self.check is not None:
            try:
                self.check(*inputs, **attrs)
            except ChainruleError as error:
                self.fail(error)
        if state.depth != FULL and (self.kernel is None or _any_traced(inputs)):
            try:
                return self.expand(inputs, attrs)
            except (ChainruleError, ValueError, TypeError, IndexError) as error:
                if not isinstance(error, ChainruleError):
                    error = ShapeError(f"{error}; the operands are {describe(inputs)}")
                self.fail(error)
        return super().apply(inputs, attrs)

    def expand(self, inputs: Sequence[Operand], attrs: dict[str, Any]) -> Tensor:
        """Run the definition; errors inside carry this operation's name."""
        outer = state.within
        state.within = outer or self.name
        try:
            return self.definition(*inputs, **attrs)  # type: ignore[misc]
        finally:
            state.within = outer

    def run(self, values: Sequence[Any], attrs: dict[str, Any]) -> tuple[np.ndarray, Any]:
        if self.kernel is None:
            with recording(OFF):
                tensors = [Tensor(v) if isinstance(v, np.ndarray) else v for v in values]
                return self.expand(tensors, attrs)._value, None  # type: ignore[return-value]
        if self.pullback is None:
            return self.kernel(*values, **attrs), None
        return self.kernel(*values, **attrs)

    def shape(self, *inputs: Operand, **attrs: Any) -> tuple[tuple[int, ...], np.dtype]:
        probes = [
            Tensor(None, leaf(o.shape, o.dtype)) if isinstance(o, Tensor) else o for o in inputs
        ]
        with recording(OFF):
            result = self.expand(probes, attrs)
        return result.shape, result.dtype

    def saves(
        self, wanted: tuple[bool, ...], inputs: Sequence[Operand], attrs: dict, value: np.ndarray
    ) -> tuple[bool, ...]:
        # All operands, so that the definition can be run again where a derivative of the
        # derivative is wanted; what the kernel leaves beside them is small.
        return (*(True for _ in inputs), True)

    def pull(
        self,
        node: Node,
        gradient: Tensor,
        wanted: tuple[bool, ...],
        keep: bool,
        walk: Callable[..., Any],
    ) -> Sequence[Tensor | None]:
        assert node.saved is not None
        if keep or self.pullback is None or not isinstance(node.saved[-1], (tuple, np.ndarray)):
            fresh, output = self._rerun(node, keep, 1)
            targets = [f for f, want in zip(fresh, wanted, strict=True) if want]
            found = iter(walk(output, gradient, targets, keep=keep))
            return [next(found) if want else None for want in wanted]
        *arrays, output, residual = node.saved
        results = self.pullback(
            wanted, gradient._value, *arrays, y=output, residual=residual, **node.attrs
        )
        return [None if r is None else Tensor(np.asarray(r)) for r in results]

    def _rerun(self, node: Node, keep: bool, depth: int) -> tuple[list[Any], Tensor]:
        """(fresh leaves in place of the operands, the definition's result on them)."""
        operands, _, _ = self.saved_operands(node, keep)
        with recording(max(depth, 1)):
            fresh = [
                alias(o) if isinstance(o, Tensor) and dtypes.is_float(o.dtype) else o
                for o in operands
            ]
            return fresh, self.expand(fresh, node.attrs)

    def push(
        self,
        tangents: Sequence[Tensor | None],
        node: Node,
        keep: bool,
        walk: Callable[..., Tensor],
    ) -> Tensor:
        fresh, output = self._rerun(node, keep, FULL)
        seeds = [(f, t) for f, t in zip(fresh, tangents, strict=True) if t is not None]
        return walk(output, seeds, keep=keep)


def alias(x: Tensor) -> Tensor:
    """A fresh leaf with the value of `x`; derivatives flow on to `x` where it has a node."""
    from chainrule.ops.structure import identity

    if x._node is not None and (x._node.needs_grad or x._value is None):
        fresh = identity(x)
        if fresh._node is not None:
            fresh._node.needs_grad = True
            return fresh
    fresh = Tensor(x._value)
    fresh._node = leaf(x.shape, x.dtype)
    fresh._base = x._base
    return fresh


def _any_traced(inputs: Sequence[Operand]) -> bool:
    return any(isinstance(o, Tensor) and o._value is None for o in inputs)


def composite(
    *,
    formula: str,
    kernel: Callable[..., Any] | None = None,
    pullback: Callable[..., Any] | None = None,
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
        check: (*operands, **attrs), raises what a person needs to know before anything is computed.
    """

    def declare(function: Callable[..., Tensor]) -> Composite:
        op = Composite(
            function.__name__.rstrip("_"),
            definition=function,
            formula=formula,
            kernel=kernel,
            pullback=pullback,
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
