"""Recorded nodes read as terms: what moves, copies, adds and multiplies becomes index notation.

Nothing is simplified here. `matmul` is read as the product that it is, `x.mT` as x with its indices
exchanged, a broadcast as an array with an index more; the definition of a composite is read in the
place of the composite, but for those in `KEPT`, which read better whole.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from fractions import Fraction
from types import MappingProxyType
from typing import Any

import numpy as np

from chainrule.calculus.derive.terms import (
    Constant,
    Number,
    Term,
    Variable,
    applied,
    as_number,
    coefficient_of,
    constant,
    is_ones,
    power,
    product,
    rearranged,
    scaled,
    total,
    zero,
)
from chainrule.errors import DTypeError
from chainrule.ops.composite import Composite
from chainrule.tensor.graph import FULL, Node, recording
from chainrule.tensor.shapes import normalise_axes
from chainrule.tensor.tensor import Tensor

KEPT = frozenset({"softmax", "log_softmax", "logsumexp"})
"""Composites that stay whole in a formula."""

Handler = Callable[..., Term]
_handlers: dict[str, Handler] = {}
_sizes: ContextVar[Mapping[int, Variable]] = ContextVar("sizes", default=MappingProxyType({}))


@contextmanager
def naming_sizes(sizes: Mapping[int, Variable]) -> Iterator[None]:
    """Write these lengths of axes by their names inside of the block."""
    token = _sizes.set(sizes)
    try:
        yield
    finally:
        _sizes.reset(token)


def count(n: int) -> Term:
    """A number of elements: a length by its name, a product of lengths by theirs."""
    sizes = _sizes.get()
    for many in (1, 2, 3):
        found = [c for c in itertools.combinations(sizes, many) if math.prod(c) == n]
        if len(found) == 1:
            return product([(sizes[s], ()) for s in found[0]], (), {})
    return scaled(Fraction(n), ones_like_number())


def ones_like_number() -> Term:
    return product([], (), {})


def reads(*names: str) -> Callable[[Handler], Handler]:
    """Declare how operations are read: (operands' terms, shape, **attributes) -> a term."""

    def declare(handler: Handler) -> Handler:
        for name in names:
            _handlers[name] = handler
        return handler

    return declare


def read(root: Node, names: Mapping[Node, Term]) -> Term:
    """The term of a node.

    Args:
        root: a node that was recorded in full.
        names: the terms of the nodes at which reading ends.
    """
    done: dict[Node, Term] = dict(names)
    stack: list[Node] = [root]
    expanded: dict[Node, Node] = {}
    while stack:
        node = stack[-1]
        if node in done:
            stack.pop()
            continue
        if node.op is None:
            done[node] = _leaf(node)
            continue
        sources: Sequence[Node | None] = node.inputs
        if _is_expanded(node):
            if node not in expanded:
                expanded[node] = _definition(node)
            sources = (expanded[node],)
        waiting = [n for n in sources if n is not None and n not in done]
        if waiting:
            stack.extend(waiting)
            continue
        stack.pop()
        operands = [None if n is None else done[n] for n in sources]
        done[node] = operands[0] if node in expanded else _node(node, operands)  # type: ignore[assignment]
    return done[root]


def _leaf(node: Node) -> Term:
    value = value_of(node)
    if value is None:
        raise KeyError(f"{node} stands for a value that was not kept")
    return constant(value)


def value_of(node: Node) -> np.ndarray | None:
    """The value of a leaf that has one: a constant, or a parameter."""
    if node.value is not None:
        return node.value
    owner = node.owner() if node.owner is not None else None
    return None if owner is None else owner._value


def _is_expanded(node: Node) -> bool:
    op = node.op
    return isinstance(op, Composite) and op.name not in KEPT and op.name not in _handlers


def _definition(node: Node) -> Node:
    """The node that a composite's definition ends in."""
    with recording(FULL):
        inputs = [None if n is None else Tensor(n.value, n) for n in node.inputs]
        result = node.op.expand(inputs, node.attrs)
    return result._node


def _node(node: Node, operands: list[Term | None]) -> Term:
    if node.dtype.kind == "c":
        raise DTypeError(
            f"derive is for real numbers, and `{node.op.name}` gives {node.dtype} here. Write the "
            "function in real and imaginary parts."
        )
    handler = _handlers.get(node.op.name)
    if handler is not None and node.dtype.kind == "f":
        found = handler(*operands, **{**node.attrs, "shape": node.shape})
        if found is not NotImplemented:
            return found
    kind = "f" if node.dtype.kind in "fV" else node.dtype.kind
    attrs = dict(node.attrs)
    if node.op.name in KEPT:  # from the front, so that equal ones are equal
        assert operands[0] is not None
        axes = normalise_axes(attrs["axis"], operands[0].ndim)
        attrs["axis"] = axes if node.op.name == "logsumexp" else axes[0]
    return applied(node.op, operands, attrs, node.shape, kind)


# Broadcasting: an axis of size 1 that is stretched is added up over by itself: nothing changes


def aligned(term: Term, shape: tuple[int, ...], start: int) -> tuple[tuple[int, ...], dict]:
    """(indices of a term's axes in an array with the indices 0, 1, …; sizes of its own ones)."""
    lead = len(shape) - term.ndim
    indices, extra = [], {}
    for k, n in enumerate(term.shape):
        if n == shape[lead + k]:
            indices.append(lead + k)
        else:
            start += 1
            indices.append(start)
            extra[start] = n
    return tuple(indices), extra


def elementwise_product(shape: tuple[int, ...], *terms: Term) -> Term:
    """The product element by element, with broadcasting."""
    sizes = dict(enumerate(shape))
    factors = []
    for term in terms:
        indices, extra = aligned(term, shape, max(sizes, default=-1))
        sizes.update(extra)
        factors.append((term, indices))
    return product(factors, tuple(range(len(shape))), sizes)


def stretched(term: Term, shape: tuple[int, ...]) -> Term:
    """A term broadcast to a shape."""
    return term if term.shape == shape else elementwise_product(shape, term)


def summed(shape: tuple[int, ...], *signed: tuple[Number, Term]) -> Term:
    """The sum element by element, with broadcasting."""
    return total([(c, stretched(t, shape)) for c, t in signed], shape)


@reads("add")
def _add(a: Term, b: Term, *, shape: Any) -> Term:
    return summed(shape, (Fraction(1), a), (Fraction(1), b))


@reads("subtract")
def _subtract(a: Term, b: Term, *, shape: Any) -> Term:
    return summed(shape, (Fraction(1), a), (Fraction(-1), b))


@reads("negative")
def _negative(x: Term, *, shape: Any) -> Term:
    return scaled(Fraction(-1), x)


@reads("identity", "stop_gradient", "positive")
def _same(x: Term, *, shape: Any) -> Term:
    return x


@reads("astype")
def _astype(x: Term, *, shape: Any, dtype: np.dtype) -> Term:
    whole = dtype.kind in "iub" and x.kind == "f"
    return NotImplemented if whole or (dtype.kind in "iub" and dtype.kind != x.kind) else x


@reads("multiply")
def _multiply(a: Term, b: Term, *, shape: Any) -> Term:
    return elementwise_product(shape, _share(a), _share(b))


def _share(term: Term) -> Term:
    """1/n, where a number in front is one over a length that has a name."""
    c, rest = coefficient_of(term)
    if isinstance(c, Fraction) and abs(c.numerator) == 1 and c.denominator > 2 and _sizes.get():
        named = count(c.denominator)
        if named.variables:
            inverse = power(named, -1)
            sizes = dict(enumerate(rest.shape))
            axes = tuple(range(rest.ndim))
            return scaled(
                Fraction(c.numerator), product([(rest, axes), (inverse, ())], axes, sizes)
            )
    return term


@reads("divide")
def _divide(a: Term, b: Term, *, shape: Any) -> Term:
    c, rest = coefficient_of(b)
    if is_ones(rest) and not rest.shape and c != 0:
        inverse = scaled(1 / c, rest)
        return elementwise_product(shape, _share(a), _share(inverse))
    return elementwise_product(shape, a, power(b, -1))


@reads("reciprocal")
def _reciprocal(x: Term, *, shape: Any) -> Term:
    return power(x, -1)


@reads("square")
def _square(x: Term, *, shape: Any) -> Term:
    return power(x, 2)


@reads("sqrt")
def _sqrt(x: Term, *, shape: Any) -> Term:
    return power(x, Fraction(1, 2))


@reads("rsqrt")
def _rsqrt(x: Term, *, shape: Any) -> Term:
    return power(x, Fraction(-1, 2))


@reads("pow")
def _pow(a: Term, b: Term, *, shape: Any) -> Term:
    exponent, rest = coefficient_of(b)
    if not (is_ones(rest) and not rest.shape):
        if not (isinstance(b, Constant) and not b.shape):
            return NotImplemented
        exponent = as_number(float(b.value))
    if exponent == 0:
        return product([], range(len(shape)), dict(enumerate(shape)))
    return stretched(power(a, exponent), shape)


@reads("broadcast_to")
def _broadcast(x: Term, *, shape: Any) -> Term:
    return stretched(x, shape)


@reads("sum_to")
def _sum_to(x: Term, *, shape: Any) -> Term:
    lead = x.ndim - len(shape)
    out, extra = [], {}
    for k, n in enumerate(shape):
        if n == x.shape[lead + k]:
            out.append(lead + k)
        else:
            out.append(x.ndim + k)
            extra[x.ndim + k] = n
    return product([(x, range(x.ndim))], out, {**dict(enumerate(x.shape)), **extra})


def reduced(x: Term, axes: Sequence[int], keepdims: bool) -> Term:
    """Σ over axes."""
    sizes = dict(enumerate(x.shape))
    out: list[int] = []
    for k in range(x.ndim):
        if k not in axes:
            out.append(k)
        elif keepdims:
            out.append(x.ndim + k)
            sizes[x.ndim + k] = 1
    return product([(x, range(x.ndim))], out, sizes)


@reads("sum")
def _sum(x: Term, *, shape: Any, axes: Any, keepdims: bool, dtype: Any = None) -> Term:
    return reduced(x, axes, keepdims)


def reshaped(x: Term, shape: tuple[int, ...]) -> Term:
    """A term in another shape."""
    return x if x.shape == shape else _reshape(x, shape=shape)


@reads("reshape", "expand_dims", "squeeze")
def _reshape(x: Term, *, shape: tuple[int, ...], axis: Any = None) -> Term:
    """Axes of size 1 come and go freely; what merges or splits axes stays an operation."""
    kept = [(k, n) for k, n in enumerate(x.shape) if n != 1]
    if [n for _, n in kept] == [n for n in shape if n != 1]:
        source = iter(k for k, _ in kept)
        sizes = dict(enumerate(x.shape))
        out = []
        for k, n in enumerate(shape):
            out.append(next(source) if n != 1 else x.ndim + k)
            sizes.setdefault(out[-1], n)
        return product([(x, range(x.ndim))], out, sizes)
    from chainrule.ops.structure import reshape

    return applied(reshape, [x], {"shape": shape}, shape, x.kind)


@reads("permute_dims")
def _permute(x: Term, *, shape: Any, axes: Any) -> Term:
    return rearranged(x, range(x.ndim), axes, shape)


@reads("matrix_transpose")
def _matrix_transpose(x: Term, *, shape: Any) -> Term:
    axes = list(range(x.ndim))
    axes[-2:] = axes[-1], axes[-2]
    return rearranged(x, range(x.ndim), axes, shape)


@reads("matmul")
def _matmul(a: Term, b: Term, *, shape: Any) -> Term:
    batch = shape[: len(shape) - (a.ndim > 1) - (b.ndim > 1)]
    n = len(batch)
    row, column, inner = n, n + 1, n + 2
    sizes = {**dict(enumerate(batch)), inner: a.shape[-1]}
    if a.ndim > 1:
        sizes[row] = a.shape[-2]
    if b.ndim > 1:
        sizes[column] = b.shape[-1]
    factors = []
    for term, ends in (
        (a, (row, inner) if a.ndim > 1 else (inner,)),
        (b, (inner, column) if b.ndim > 1 else (inner,)),
    ):
        lead = term.ndim - len(ends)
        places = []
        for k in range(lead):
            at = n - lead + k
            if term.shape[k] != batch[at]:
                at = max(sizes) + 1
                sizes[at] = 1
            places.append(at)
        factors.append((term, (*places, *ends)))
    out = [*range(n), *([row] if a.ndim > 1 else []), *([column] if b.ndim > 1 else [])]
    return product(factors, out, sizes)


@reads("linear")
def _linear(x: Term, weight: Term, bias: Term | None, *, shape: Any) -> Term:
    weighted = _matmul(x, _matrix_transpose(weight, shape=weight.shape[::-1]), shape=shape)
    return weighted if bias is None else summed(shape, (Fraction(1), weighted), (Fraction(1), bias))


@reads("outer")
def _outer(a: Term, b: Term, *, shape: Any) -> Term:
    return product([(a, (0,)), (b, (1,))], (0, 1), dict(enumerate(shape)))


@reads("einsum")
def _einsum(*xs: Term, shape: Any, equation: str) -> Term:
    from chainrule.ops.einsum import _parse

    labels, output = _parse(equation, [x.shape for x in xs])
    number = {name: i for i, name in enumerate(dict.fromkeys((*output, *itertools.chain(*labels))))}
    sizes: dict[int, int] = {}
    for x, given in zip(xs, labels, strict=True):
        for name, n in zip(given, x.shape, strict=True):
            if sizes.setdefault(number[name], n) != n:
                return NotImplemented  # it broadcasts
    factors = [(x, [number[i] for i in g]) for x, g in zip(xs, labels, strict=True)]
    return product(factors, [number[i] for i in output], sizes)


@reads("trace")
def _trace(x: Term, *, shape: Any, offset: int = 0, dtype: Any = None) -> Term:
    if offset or x.shape[-1] != x.shape[-2]:
        return NotImplemented
    lead = range(x.ndim - 2)
    return product([(x, (*lead, x.ndim, x.ndim))], lead, _with(x.shape[:-2], x.ndim, x.shape[-1]))


@reads("diagonal")
def _diagonal(x: Term, *, shape: Any, offset: int = 0) -> Term:
    if offset or x.shape[-1] != x.shape[-2]:
        return NotImplemented
    lead = range(x.ndim - 2)
    sizes = _with(x.shape[:-2], x.ndim, x.shape[-1])
    return product([(x, (*lead, x.ndim, x.ndim))], (*lead, x.ndim), sizes)


@reads("diag_embed")
def _diag_embed(x: Term, *, shape: Any, offset: int = 0) -> Term:
    if offset:
        return NotImplemented
    axes = range(x.ndim)
    return product([(x, axes)], (*axes, x.ndim - 1), dict(enumerate(x.shape)))


def _with(shape: tuple[int, ...], index: int, size: int) -> dict[int, int]:
    return {**dict(enumerate(shape)), index: size}


@reads("solve", "solve_")
def _solve(a: Term, b: Term, *, shape: Any, **attrs: Any) -> Term:
    if attrs:
        return NotImplemented
    from chainrule.ops.solving import inv

    return _matmul(applied(inv, [a], {}, a.shape), b, shape=shape)


@reads("where")
def _where(condition: Term, a: Term, b: Term, *, shape: Any) -> Term:
    """What is 0 otherwise is a product with the condition, as a number 1 or 0."""
    from chainrule.calculus.derive.terms import is_zero
    from chainrule.ops.choosing import where

    if is_zero(b) and not is_zero(a):
        return elementwise_product(shape, condition, a)
    if is_zero(a) and not is_zero(b):
        return summed(
            shape,
            (Fraction(1), b),
            (Fraction(-1), elementwise_product(shape, condition, b)),
        )
    if is_zero(a):
        return zero(shape)
    kind = "f" if "f" in (a.kind, b.kind) else a.kind
    return applied(where, [condition, a, b], {}, shape, kind)


@reads("getitem")
def _getitem(x: Term, *arrays: Term, shape: Any, pattern: tuple) -> Term:
    """New axes, and reading a diagonal, are a matter of indices."""
    lead = _diagonal_key(arrays, pattern, x.shape)
    if lead is not None:
        places = (*range(lead), *(lead for _ in arrays))
        return product([(x, places)], range(len(shape)), dict(enumerate(shape)))
    return _reshape(x, shape=shape) if _all_of_it(pattern) and not arrays else NotImplemented


def _all_of_it(pattern: tuple) -> bool:
    """Whether a key reads everything, perhaps with new axes."""
    return all(p is None or p is Ellipsis or p == (None, None, None) for p in pattern)


@reads("add_at")
def _add_at(g: Term, *arrays: Term, shape: Any, pattern: tuple) -> Term:
    """Putting numbers on a diagonal, too."""
    if _all_of_it(pattern) and not arrays:
        return _reshape(g, shape=shape)
    lead = _diagonal_key(arrays, pattern, shape)
    if lead is None:
        return NotImplemented
    out = (*range(lead), *(lead for _ in arrays))
    return product([(g, range(g.ndim))], out, dict(enumerate(g.shape)))


def _diagonal_key(arrays: Sequence[Term], pattern: tuple, shape: tuple[int, ...]) -> int | None:
    """How many axes are before those of a key that means a diagonal; None: it means none."""
    lead = len(shape) - len(arrays)
    whole = (*(Ellipsis for _ in range(1)), *("array" for _ in arrays))
    if not arrays or pattern not in (whole, whole[1:]) or (lead and pattern == whole[1:]):
        return None
    for array, n in zip(arrays, shape[lead:], strict=True):
        if not isinstance(array, Constant) or array.shape != (n,):
            return None
        if not (array.value == np.arange(n)).all():
            return None
    return lead
