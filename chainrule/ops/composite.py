"""What a composite operation is: a definition in others, and perhaps a kernel of its own."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from chainrule.errors import ChainruleError, ShapeError
from chainrule.ops.operation import Operand, Operation, describe
from chainrule.tensor import debug, dtypes
from chainrule.tensor.creation import as_operand
from chainrule.tensor.graph import FULL, OFF, Node, leaf, recording, state
from chainrule.tensor.tensor import Tensor


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
        gradient: tuple[Composite, int] | None = None,
        check: Callable[..., None] | None = None,
        arguments: Callable[..., tuple[tuple, dict]] | None = None,
        **parts: Any,
    ) -> None:
        super().__init__(name, arguments=arguments, **parts)
        self.definition = definition
        self.kernel, self.pullback = kernel, pullback
        self.gradient = gradient
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
        if (
            state.depth != FULL
            and state.tracer is None
            and (self.kernel is None or _any_traced(inputs))
        ):
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
        if state.tracer is not None and self.gradient is not None and state.tracer.keeps(self):
            operation, count = self.gradient
            if not any(wanted[count:]):
                return self._pull_whole(operation, count, node, gradient, wanted, keep)
        if keep or self.pullback is None or not isinstance(node.saved[-1], (tuple, np.ndarray)):
            fresh, output = self._rerun(node, keep, 1)
            targets = [f for f, want in zip(fresh, wanted, strict=True) if want]
            found = iter(walk(output, gradient, targets, keep=keep))
            return [next(found) if want else None for want in wanted]
        *arrays, output, residual = node.saved
        start = time.perf_counter() if debug.level >= 3 else 0.0
        results = self.pullback(
            wanted, gradient._value, *arrays, y=output, residual=residual, **node.attrs
        )
        if debug.level >= 3:
            elapsed = time.perf_counter() - start
            for result in filter(lambda r: r is not None, results):
                debug.tell(f"{self.name} pullback", (gradient._value,), result, elapsed)
        return [None if r is None else Tensor(np.asarray(r)) for r in results]

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
