"""What a composite operation is: a definition in others, and perhaps a kernel of its own."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import numpy as np

from chainrule.errors import ChainruleError
from chainrule.ops.batching import mapped
from chainrule.ops.native import native
from chainrule.ops.operation import Operand, Operation
from chainrule.tensor import debug, dtypes
from chainrule.tensor.creation import as_operand
from chainrule.tensor.graph import FULL, OFF, Node, leaf, recording, state
from chainrule.tensor.locate import FOREIGN
from chainrule.tensor.tensor import Tensor


class Composite(Operation):
    """Defined by other operations. See `composite`."""

    kind = "composite"
    checks_shapes_first = False
    whole = False  # whether the compiler takes it as it is, and not by its definition

    def __init__(
        self,
        name: str,
        *,
        definition: Callable[..., Tensor],
        kernel: Callable[..., Any] | None = None,
        pullback: Callable[..., Any] | None = None,
        gradient: tuple[Composite, int] | None = None,
        check: Callable[..., None] | None = None,
        arguments: Callable[..., tuple[tuple, dict]] | None = None,
        **parts: Any,
    ) -> None:
        super().__init__(name, arguments=arguments, **parts)
        self.definition = definition
        self.kernel, self.pullback = kernel, pullback
        self.gradient = gradient
        if gradient is not None:
            self.whole = gradient[0].whole = True
        self.check = check
        self.checks_values = check is not None
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
        inputs: list[Operand] = []
        numbers = []
        for i, a in enumerate(args[:n]):
            if isinstance(a, Tensor):
                inputs.append(a)
                continue
            if a is None and i < self._required:
                raise TypeError(f"the operand {self.operand_names[i]} is None")
            if type(a) in (int, float, complex):
                numbers.append(i)
            inputs.append(None if a is None else as_operand(a))
        if numbers:
            _fit_numbers(inputs, numbers, args)
        inputs.extend([None] * (n - len(inputs)))
        return tuple(inputs), attrs

    def apply(self, inputs: Sequence[Operand], attrs: dict[str, Any]) -> Tensor:
        if self.check is not None:
            try:
                self.check(*inputs, **attrs)
            except (ChainruleError, *FOREIGN) as error:
                self._fail_on(error, inputs, attrs)
        if (
            state.depth != FULL
            and state.tracer is None
            and (self.kernel is None or _beyond_kernels(inputs))
            and not (state.batches and self.batching is not None)
        ):
            try:
                return self.expand(inputs, attrs)
            except (ChainruleError, *FOREIGN) as error:
                self.fail(error, *inputs, **attrs)
        return super().apply(inputs, attrs)

    def expand(self, inputs: Sequence[Operand], attrs: dict[str, Any]) -> Tensor:
        """Run the definition; errors inside carry this operation's name."""
        outer = state.within
        state.within = outer or self.name
        try:
            return self.definition(*inputs, **attrs)  # type: ignore[misc]
        finally:
            state.within = outer

    def batch(
        self,
        operands: Sequence[Operand],
        batched: Sequence[bool],
        attrs: dict[str, Any],
        size: int,
    ) -> Tensor:
        if self.batching is not None:
            found = super().batch(operands, batched, attrs, size)
            if found is not NotImplemented:
                return found
        return mapped(lambda *xs: [self.expand(xs, attrs)], operands, batched, size)[0]

    def run(self, values: Sequence[Any], attrs: dict[str, Any]) -> tuple[np.ndarray, Any]:
        if self.kernel is None or not _for_kernels(values):
            with recording(OFF):
                tensors = [Tensor(v) if isinstance(v, np.ndarray) else v for v in values]
                return self.expand(tensors, attrs)._value, None  # type: ignore[return-value]
        code = native(self, values, attrs)
        if code is not None:
            return code.run(values), code
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
        plain = not keep and gradient._value is not None and isinstance(node.saved[-2], np.ndarray)
        plain = plain and node.dtype.kind != "c"  # pullbacks are of real numbers
        if self.gradient is not None and not any(wanted[self.gradient[1] :]):
            tracer = state.tracer
            if plain if tracer is None else tracer.keeps(self):
                return self._pull_whole(*self.gradient, node, gradient, wanted, keep)
        start = time.perf_counter() if debug.observers else 0.0
        results = self._pull_arrays(node, gradient._value, wanted) if plain else None
        if results is None:
            fresh, output = self._rerun(node, keep, 1)
            targets = [f for f, want in zip(fresh, wanted, strict=True) if want]
            found = iter(walk(output, gradient, targets, keep=keep))
            return [next(found) if want else None for want in wanted]
        if debug.observers:
            given = (gradient._value, *node.saved[:-2])
            elapsed = time.perf_counter() - start
            for found in (np.asarray(r) for r in results if r is not None):
                debug.tell(debug.Run(self, given, node.attrs, found, elapsed, "pullback"))
        return [None if r is None else Tensor(np.asarray(r)) for r in results]

    def _pull_arrays(
        self, node: Node, g: np.ndarray | None, wanted: tuple[bool, ...]
    ) -> Sequence[np.ndarray | None] | None:
        """The cotangents by what ran forward; None where that was the definition."""
        assert node.saved is not None
        *arrays, output, residual = node.saved
        if residual is None or self.pullback is None or g is None:
            return None
        if isinstance(residual, (tuple, np.ndarray)):
            return self.pullback(wanted, g, *arrays, y=output, residual=residual, **node.attrs)
        return residual.pull(wanted, g, arrays)

    def _pull_whole(
        self,
        operation: Composite,
        count: int,
        node: Node,
        gradient: Tensor,
        wanted: tuple[bool, ...],
        keep: bool,
    ) -> list[Tensor | None]:
        """The cotangents of the first `count` operands, as views of one recorded operation."""
        operands, _, _ = self.saved_operands(node, keep)
        flat = operation.apply((gradient, *operands), node.attrs)
        results: list[Tensor | None] = [None] * len(operands)
        start = 0
        for i, operand in enumerate(operands[:count]):
            end = start + operand.size
            if wanted[i]:
                results[i] = flat[start:end].reshape(operand.shape)
            start = end
        return results

    def _rerun(self, node: Node, keep: bool, depth: int) -> tuple[list[Any], Tensor]:
        """(fresh leaves in place of the operands, the definition's result on them)."""
        operands, _, _ = self.saved_operands(node, keep)
        with recording(max(depth, state.depth)):
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


def _fit_numbers(inputs: list[Operand], numbers: list[int], args: Sequence[Any]) -> None:
    """Give Python numbers among operands the dtype of the arrays beside them."""
    beside = [x.dtype for i, x in enumerate(inputs) if x is not None and i not in numbers]
    for i in numbers if beside else ():
        kind = dtypes.scalar_dtype(args[i], reduce(dtypes.promote, beside))
        with np.errstate(over="ignore"):
            inputs[i] = Tensor(np.asarray(args[i], kind))


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
    if state.depth == FULL:
        fresh._node.value = x._value
    fresh._base = x._base
    return fresh


def _beyond_kernels(inputs: Sequence[Operand]) -> bool:
    """Kernels compute with values, and with real ones; the rest is left to the definition."""
    for operand in inputs:
        if isinstance(operand, Tensor):
            value = operand._value
            if value is None or value.dtype.kind == "c":
                return True
    return False


def _for_kernels(values: Sequence[Any]) -> bool:
    """Whether kernels take them: real numbers that NumPy has, the first operand's not integers."""
    for i, value in enumerate(values):
        if type(value) is np.ndarray and value.dtype.kind in ("cV" if i else "cVbiu"):
            return False
    return True
