"""custom_derivative: a function of tensors with a derivative that its author gives.

The function's value is cut off from its arguments, and an operation puts the derivative on it: as a
value it is the identity, and its derivative in the arguments is the author's rule. One rule serves
both modes, since each is linear in what it is given: the transpose of t ↦ J t is the gradient of
g · J t in t, whatever t (so from a jvp comes the vjp), and that of g ↦ Jᵀ g is the jvp.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import update_wrapper
from typing import Any, Protocol

import numpy as np

from chainrule.calculus.reverse import pull_back
from chainrule.errors import DTypeError, GradientError
from chainrule.ops.batching import everywhere, mapped
from chainrule.ops.composite import alias
from chainrule.ops.operation import Operation
from chainrule.ops.reduction import sum
from chainrule.tensor import dtypes
from chainrule.tensor.creation import as_operand, zeros
from chainrule.tensor.graph import DERIVATIVE, OFF, Node, recording, state
from chainrule.tensor.locate import explained
from chainrule.tensor.tensor import Tensor
from chainrule.tree import flatten


class Rule(Protocol):
    """A function of tensors and its derivative, on flat lists of tensors."""

    name: str

    def again(self, xs: Sequence[Tensor]) -> list[Tensor]:
        """The results, with their derivative."""

    def pull(self, gs: list[Tensor], xs: list[Tensor], ys: list[Tensor]) -> list[Tensor]:
        """The cotangents of the arguments, from those of the results."""

    def push(self, ts: list[Tensor], xs: list[Tensor], ys: list[Tensor]) -> list[Tensor]:
        """The tangents of the results, from those of the arguments."""


class WithDerivative(Operation):
    """A value with a derivative of its own. It is not declared: the rule is in its attributes.

    Operands: the value, one of the `count` results; all of them; the arguments.
    """

    kind = "custom"
    is_view = True
    display_only = True
    formula_text = "y = x"
    batching = None
    _operations = staticmethod(lambda *operands, **attrs: 0)

    def __init__(self) -> None:
        self.name = self.__name__ = "with_derivative"
        self.lower = "view"

    def shape(self, *inputs: Any, **attrs: Any) -> tuple[tuple[int, ...], np.dtype]:
        return inputs[0].shape, inputs[0].dtype

    def forward(self, value: np.ndarray, *rest: Any, **attrs: Any) -> np.ndarray:
        return value.view()

    def saves(self, wanted: Any, inputs: Any, attrs: Any, value: Any) -> tuple[bool, ...]:
        return (False, *(True for _ in inputs[1:]), False)

    def again(self, inputs: Sequence[Any], attrs: dict[str, Any]) -> Tensor:
        return attrs["rule"].again(inputs[1 + attrs["count"] :])[attrs["index"]]

    def cotangents(
        self, gradient: Tensor, wanted: Any, operands: Any, output: Any, choice: Any, attrs: dict
    ) -> list[Tensor | None]:
        ys, xs = _apart(operands, attrs)
        gs = [zeros(y.shape, dtype=y.dtype) for y in ys]
        gs[attrs["index"]] = gradient
        found: list[Tensor | None] = list(attrs["rule"].pull(gs, xs, ys))
        return [None] * (1 + len(ys)) + found

    def tangent(
        self, tangents: Any, operands: Any, output: Any, choice: Any, attrs: dict
    ) -> Tensor:
        ys, xs = _apart(operands, attrs)
        ts = [
            zeros(x.shape, dtype=x.dtype) if t is None else t
            for t, x in zip(tangents[1 + len(ys) :], xs, strict=True)
        ]
        return attrs["rule"].push(ts, xs, ys)[attrs["index"]]

    def batch(self, operands: Any, batched: Any, attrs: dict, size: int) -> Tensor:
        n = 1 + attrs["count"]
        ys, xs = everywhere(operands[:n], batched[:n], size), operands[n:]
        rule = _Batched(attrs["rule"], list(batched[n:]), attrs["count"], size)
        return self.apply((*ys, *xs), {**attrs, "rule": rule})


with_derivative = WithDerivative()


def _apart(operands: Sequence[Tensor], attrs: dict) -> tuple[list[Tensor], list[Tensor]]:
    n = 1 + attrs["count"]
    return list(operands[1:n]), list(operands[n:])


class _Batched:
    """A rule for many examples at once."""

    def __init__(self, rule: Rule, batched: list[bool], count: int, size: int) -> None:
        self.rule, self.batched, self.count, self.size = rule, batched, count, size
        self.name = rule.name

    def _each(self, function: Any, *lists: tuple[list[Tensor], list[bool]]) -> list[Tensor]:
        operands = [t for ts, _ in lists for t in ts]
        flags = [b for _, bs in lists for b in bs]

        def one(*given: Tensor) -> list[Tensor]:
            rest = iter(given)
            return function(*([next(rest) for _ in ts] for ts, _ in lists))

        return mapped(one, operands, flags, self.size)

    def again(self, xs: Sequence[Tensor]) -> list[Tensor]:
        return self._each(self.rule.again, (list(xs), self.batched))

    def pull(self, gs: list[Tensor], xs: list[Tensor], ys: list[Tensor]) -> list[Tensor]:
        own = [True] * self.count
        found = self._each(self.rule.pull, (gs, own), (xs, self.batched), (ys, own))
        return [c if b else sum(c, 0) for c, b in zip(found, self.batched, strict=True)]

    def push(self, ts: list[Tensor], xs: list[Tensor], ys: list[Tensor]) -> list[Tensor]:
        lists = ((ts, self.batched), (xs, self.batched), (ys, [True] * self.count))
        return self._each(self.rule.push, *lists)


class _Users:
    """The rule of a function for one call: its structure, and what of it is no operand."""

    def __init__(
        self, owner: Any, call: Callable[[Sequence[Any]], list[Any]], kwargs: dict, restore: Any
    ) -> None:
        self.owner, self.call, self.kwargs, self.restore = owner, call, kwargs, restore
        self.name = owner.__name__

    def again(self, xs: Sequence[Tensor]) -> list[Tensor]:
        return [as_operand(y) for y in flatten(self.owner(*self.call(xs), **self.kwargs))[0]]

    def pull(self, gs: list[Tensor], xs: list[Tensor], ys: list[Tensor]) -> list[Tensor]:
        if self.owner.vjp is None:
            starts = _starts(xs)
            with recording(max(state.depth, DERIVATIVE)):
                found = self.push(starts, xs, ys)
            return _transposed(found, gs, starts)
        result = self.owner.vjp(self.restore(gs), *self.call(xs), self.restore(ys), **self.kwargs)
        arguments = self.call([_Place(i) for i in range(len(xs))])
        given = result if isinstance(result, tuple) else (result,)
        if len(given) != len(arguments):
            raise GradientError(
                f"the vjp of `{self.name}` returns a cotangent, or None, for each of the "
                f"{len(arguments)} arguments, and this returned {len(given)}"
            )
        cotangents = [zeros(x.shape, dtype=x.dtype) for x in xs]
        for argument, cotangent in zip(arguments, given, strict=True):
            places = flatten(argument)[0]
            if cotangent is None:
                continue
            parts = flatten(cotangent)[0]
            if len(parts) != len(places):
                raise GradientError(
                    f"the vjp of `{self.name}` returns a cotangent of {len(parts)} tensors for an "
                    f"argument of {len(places)}; the structures are equal"
                )
            for place, part in zip(places, parts, strict=True):
                if isinstance(place, _Place):
                    cotangents[place.i] = self._like(part, xs[place.i], "cotangent", "argument")
        return cotangents

    def push(self, ts: list[Tensor], xs: list[Tensor], ys: list[Tensor]) -> list[Tensor]:
        if self.owner.jvp is None:
            starts = _starts(ys)
            with recording(max(state.depth, DERIVATIVE)):
                found = self.pull(starts, xs, ys)
            return _transposed(found, ts, starts)
        arguments = self.call([_Place(i) for i in range(len(xs))])
        tangents = [_with_tangents(a, ts) for a in arguments]
        result = self.owner.jvp(
            tangents[0] if len(tangents) == 1 else tuple(tangents),
            *self.call(xs),
            self.restore(ys),
            **self.kwargs,
        )
        parts = flatten(result)[0]
        if len(parts) != len(ys):
            raise GradientError(
                f"the jvp of `{self.name}` returns a tangent for each of its {len(ys)} results, "
                f"and this returned {len(parts)}"
            )
        return [self._like(p, y, "tangent", "result") for p, y in zip(parts, ys, strict=True)]

    def _like(self, part: Any, like: Tensor, what: str, whose: str) -> Tensor:
        part = as_operand(part)
        if part.shape != like.shape:
            raise GradientError(
                f"the derivative of `{self.name}` gives a {what} of shape {part.shape} for an "
                f"{whose} of shape {like.shape}. Usually a broadcast was not summed: write "
                "g.sum_to(x.shape)."
            )
        return part if part.dtype == like.dtype else part.astype(like.dtype)


class _Place:
    """Stands for an operand in a structure."""

    def __init__(self, i: int) -> None:
        self.i = i


def _with_tangents(argument: Any, ts: list[Tensor]) -> Any:
    """An argument's structure with tangents in place of operands, and None elsewhere."""
    leaves, rebuild = flatten(argument)
    return rebuild([ts[leaf.i] if isinstance(leaf, _Place) else None for leaf in leaves])


def _starts(like: Sequence[Tensor]) -> list[Tensor]:
    """Zeros to which derivatives can be taken: any point does, of what is linear."""
    found = [zeros(x.shape, dtype=x.dtype) for x in like]
    return [alias(x if state.tracer is None else state.tracer.lift(x)) for x in found]


def _transposed(
    found: Sequence[Tensor], weights: Sequence[Tensor], starts: Sequence[Tensor]
) -> list[Tensor]:
    """The gradient of Σ weight · found in the starts, of which `found` is a linear function."""
    totals: list[Tensor | None] = [None] * len(starts)
    for output, weight in zip(found, weights, strict=True):
        parts = pull_back(output, weight, starts, keep=state.depth != OFF)
        for i, part in enumerate(parts):
            before = totals[i]
            totals[i] = part if before is None else before if part is None else before + part
    return [
        zeros(s.shape, dtype=s.dtype) if t is None else t
        for t, s in zip(totals, starts, strict=True)
    ]


class CustomDerivative:
    """A function with a derivative of its own; made by `custom_derivative`."""

    def __init__(self, f: Callable[..., Any], vjp: Any, jvp: Any) -> None:
        self.f, self.vjp, self.jvp = f, vjp, jvp
        self.__name__ = getattr(f, "__name__", "function")
        update_wrapper(self, f)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        if instance is None:
            return self
        raise DTypeError(
            f"`{self.__name__}` is a method, and a method has no custom derivative: decorate a "
            "function, and call it from the method with what it needs"
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        leaves, rebuild = flatten(list(args))
        leaves = [as_operand(x) if isinstance(x, np.ndarray) else x for x in leaves]
        if state.tracer is not None:
            leaves = [state.tracer.lift(x) if isinstance(x, Tensor) else x for x in leaves]
        places = [
            i for i, x in enumerate(leaves) if isinstance(x, Tensor) and dtypes.is_float(x.dtype)
        ]

        def call(xs: Sequence[Any]) -> list[Any]:
            full = list(leaves)
            for i, x in zip(places, xs, strict=True):
                full[i] = x
            return rebuild(full)

        xs = [leaves[i] for i in places]
        result = self.f(*call([x.detach() for x in xs]), **kwargs)
        found, restore = flatten(result)
        ys = [as_operand(y) for y in found]
        if any(y.requires_grad for y in ys):
            raise GradientError(
                f"`{self.__name__}` has a custom derivative, and uses a tensor from around it that "
                "requires gradients: its derivative would be lost. Make it an argument."
            )
        if not any(x.requires_grad for x in xs):
            return result
        rule = _Users(self, call, kwargs, restore)
        attrs = {"rule": rule, "count": len(ys)}
        return restore(
            [
                with_derivative.apply((y, *ys, *xs), {**attrs, "index": i})
                if dtypes.is_float(y.dtype)
                else y
                for i, y in enumerate(ys)
            ]
        )


@explained
def custom_derivative(
    f: None = None,
    /,
    *,
    vjp: Callable[..., Any] | None = None,
    jvp: Callable[..., Any] | None = None,
) -> Callable[[Callable[..., Any]], CustomDerivative]:
    """Give a function of tensors a derivative of your own, by one rule for both modes.

    Decorates any function of tensors, or of nested dicts, lists and tuples of them, whose result is
    such a structure. Integers, numbers, None and keyword arguments have no derivative.

    Args:
        vjp: (g, *arguments, result, **keywords) -> the cotangent gᵀ ∂f/∂x of each argument, a tuple
            where there are several, None for one without.
        jvp: (tangents, *arguments, result, **keywords) -> ∂f/∂x · tangents, where the tangents are
            a tuple if there are several arguments; linear in them.

    Give one or both. They are written in operations, so that they have derivatives themselves;
    `check_gradients` compares them with differences.

    Raises:
        GradientError: neither is given; the function uses a tensor that requires gradients and is
            no argument; a cotangent has another shape than its argument.

    >>> import chainrule as cr
    >>> @cr.custom_derivative(vjp=lambda g, x, y: g * cr.clip(1 / x, -10.0, 10.0))
    ... def log(x):
    ...     return cr.log(x)
    >>> cr.grad(log)(cr.asarray(0.001)).item()
    10.0
    >>> cr.jvp(log, (cr.asarray(2.0),), (cr.asarray(1.0),))[1].item()
    0.5
    """
    rules = [rule for rule in (vjp, jvp) if rule is not None]
    if f is not None or not rules or not all(map(callable, rules)):
        raise GradientError(
            "custom_derivative takes a vjp= or a jvp=: @cr.custom_derivative(vjp=lambda g, x, y: "
            "...), or @cr.custom_derivative(jvp=lambda t, x, y: ...)"
        )

    @explained
    def decorate(f: Callable[..., Any]) -> CustomDerivative:
        return CustomDerivative(f, vjp, jvp)

    return decorate


def called(node: Node) -> str:
    """What messages call a node's operation."""
    return node.attrs["rule"].name if node.op is with_derivative else node.op.name
