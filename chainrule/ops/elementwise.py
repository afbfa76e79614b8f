"""What an elementwise operation is: a function of numbers, applied with broadcasting."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, NoReturn

import numpy as np

from chainrule.errors import ChainruleError, DTypeError
from chainrule.ops.batching import trailing
from chainrule.ops.domain import Interval
from chainrule.ops.operation import Operand, Operation, as_dtype_of, conjugate, no_derivative
from chainrule.tensor import debug, dtypes
from chainrule.tensor.creation import as_operand
from chainrule.tensor.graph import OFF, leaf, state
from chainrule.tensor.shapes import broadcast_shapes
from chainrule.tensor.tensor import Tensor

_PYTHON_SCALARS = (float, int, bool, complex)


class Wirtinger(NamedTuple):
    """The derivatives of a function that is not holomorphic: dy = by_x · dx + by_conjugate · dx̄.

    A plain derivative d says dy = d · dx where y is complex, and dy = Re(d · dx) where it is real.
    """

    by_x: Any
    by_conjugate: Any


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
        super().__init__(name, forward=forward, batch=trailing(0), **parts)
        self.derivative = _as_functions(name, derivative)
        self.differentiable = derivative is not None
        self.parameters = _parameter_names(forward)
        self.arity = len(self.parameters)
        self.accepts = accepts
        self.domain = domain * self.arity if len(domain) == 1 else domain
        self.result = result
        self._plans: dict[Any, Any] = {}
        self._mask_saves: dict[tuple[bool, ...], tuple[bool, ...]] = {}
        self._complex_saves: dict[tuple[bool, ...], tuple[bool, ...]] = {}
        self.__signature__ = inspect.Signature(
            [inspect.Parameter(p, inspect.Parameter.POSITIONAL_ONLY) for p in self.parameters]
        )

    def __call__(self, *args: Any, **unknown: Any) -> Tensor:
        if unknown or len(args) != self.arity:
            self._refuse(len(args), unknown)
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

    def _refuse(self, count: int, unknown: dict[str, Any]) -> NoReturn:
        plural = "s" if self.arity > 1 else ""
        given = f"the keyword {next(iter(unknown))!r}" if unknown else f"{count}"
        self.fail(
            DTypeError(
                f"it takes {self.arity} operand{plural} ({', '.join(self.parameters)}) by position,"
                f" not {given}. Write {self.usage()}"
            )
        )

    def plan(self, kinds: tuple) -> np.dtype | None:
        """The dtype to compute in for operands of these dtypes and scalar types; None: as it is."""
        try:
            return self._plans[kinds]
        except KeyError:
            target = self._plans[kinds] = self._plan(kinds)
        return target

    def _plan(self, kinds: tuple) -> np.dtype | None:
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
        if self.accepts in ("float", "real float") and target.kind in "biu":
            target = dtypes.default_float
        elif target.kind not in allowed and not (target.name == "bfloat16" and "f" in allowed):
            raise DTypeError(f"{_WHY_NOT[self.accepts]}, and this is {target}")
        # NumPy does not know that a Python number beside bfloat16 leaves it bfloat16.
        weak = target.name == "bfloat16" and len(found) < len(kinds)
        return None if all(dtype == target for dtype in found) and not weak else target

    def scalar_dtype(self, inputs: Sequence[Operand]) -> np.dtype | None:
        kinds = tuple(o.dtype if isinstance(o, Tensor) else type(o) for o in inputs)
        return self.plan(kinds) or next(k for k in kinds if isinstance(k, np.dtype))

    def run(self, values: Sequence[Any], attrs: dict[str, Any]) -> tuple[np.ndarray, Any]:
        target = self.plan(
            tuple([v.dtype if isinstance(v, np.ndarray) else type(v) for v in values])
        )
        if target is not None:
            half = target.kind == "V"
            values = [
                (v.astype(target) if v.dtype != target else v)
                if isinstance(v, np.ndarray)
                else (np.asarray(v, target) if half else v)
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
        number = value.dtype.kind == "c" or (
            self.result == "real" and any(o.dtype.kind == "c" for o in inputs)
        )
        masks = self._complex_saves if number else self._mask_saves
        found = masks.get(wanted)
        if found is None:
            dtype = dtypes.complex128 if number else dtypes.float64
            probes = [Tensor(None, leaf((), dtype)) for _ in inputs]
            one = np.ones((), dtype if self.result == "same" else dtypes.float64)
            found = masks[wanted] = self._read_off_saves(wanted, probes, attrs, one)
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
        complex_ = gradient.dtype.kind == "c"
        for i, want in enumerate(wanted):
            if not want:
                results.append(None)
                continue
            operand = operands[i]
            dtype = operand.dtype
            derivative = self.derivative[i](*operands, output)
            if complex_ or dtype.kind == "c":
                cotangent = _times_conjugate(gradient, derivative)
            else:
                cotangent = _times(gradient, derivative)
            if cotangent.shape != operand.shape:
                cotangent = cotangent.sum_to(operand.shape)
            if cotangent.dtype != dtype:
                cotangent = as_dtype_of(cotangent, operand)
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
        return total if total.dtype == output.dtype else as_dtype_of(total, output)


def _times(g: Tensor, d: Any) -> Tensor:
    """g · d, without the work where d is 1 or −1, or where nothing is to be recorded."""
    if isinstance(d, Tensor):
        if state.depth == OFF and not debug.observers and _plain(g, d):
            return Tensor(g._value * d._value)  # type: ignore[operator]
        return g * d
    if type(d) is Wirtinger:
        return _times(g, d.by_x) + _times(conjugate(g), d.by_conjugate)
    return g if d == 1 else -g if d == -1 else g * d


def _times_conjugate(g: Tensor, d: Any) -> Tensor:
    """The cotangent where numbers are complex: dy = p dx + q dx̄ takes g to g p̄ + ḡ q."""
    if type(d) is Wirtinger:
        return _times_conjugate(g, d.by_x) + _times(conjugate(g), d.by_conjugate)
    return _times(g, conjugate(d) if isinstance(d, Tensor) else d.conjugate())


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
    "real float": "f",
    "real": "iuf",
    "ordered": "biuf",
    "bool": "b",
    "bits": "biu",
    "integer": "iu",
}


_WHY_NOT = {
    "any": "it is for numbers",
    "number": "arithmetic is for numbers; for booleans write & | ^ ~, or convert with astype",
    "float": "it is for floating-point numbers",
    "real float": "it is for real numbers",
    "real": "it is for real numbers",
    "ordered": "complex numbers have no order; compare their real part or modulus",
    "bool": "it is for booleans; compare first, as in x > 0",
    "bits": "it is for integers and booleans",
    "integer": "it is for integers",
}


def _parameter_names(forward: Callable[..., Any]) -> tuple[str, ...]:
    """x for one operand, a and b for two; for a function that is no ufunc, its own names."""
    if isinstance(forward, np.ufunc):
        return ("x",) if forward.nin == 1 else ("a", "b")
    return tuple(inspect.signature(forward).parameters)


def _as_functions(name: str, derivative: Any) -> tuple[Callable[..., Any], ...]:
    """A tuple of functions, of which constants are some; None among several raises."""
    if derivative is None:
        return ()
    given = derivative if isinstance(derivative, tuple) else (derivative,)
    return tuple(
        _refusing(name, i) if d is None else d if callable(d) else (lambda *_, d=d: d)
        for i, d in enumerate(given)
    )


def _refusing(name: str, i: int) -> Callable[..., Any]:
    def refuse(*values: Any) -> Any:
        raise no_derivative(name, f"none is known in its operand {i}; hand it in as a constant")

    return refuse
