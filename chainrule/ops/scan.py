"""`scan`: a loop over the first axis of arrays, which carries values on.

Eagerly it is Python's `for`. While a function is traced, it is one node that holds a body, recorded
once. Its derivative is a scan in the other direction, over the values that were carried.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from chainrule.errors import DTypeError, ShapeError
from chainrule.ops.batching import everywhere, mapped
from chainrule.ops.bodies import (
    Control,
    Kind,
    apart,
    capture,
    common,
    filled,
    flat,
    joined,
    joined_each,
    kind,
    kinds_of,
    pulled,
    pushed,
)
from chainrule.ops.joining import stack
from chainrule.ops.operation import Operand
from chainrule.ops.structure import moveaxis
from chainrule.tensor import dtypes
from chainrule.tensor.creation import as_operand, zeros
from chainrule.tensor.graph import OFF, Node, describe_only, state
from chainrule.tensor.locate import located
from chainrule.tensor.tensor import Tensor
from chainrule.tree import flatten


class _Scan(Control):
    """Operands: the carried values, the arrays to walk through, what the body reads from outside.

    Attributes: `body`, whose inputs are the carried values, a slice of each array and the rest, and
    whose outputs are the carried values and those to stack; `carried` and `walked`, how many there
    are; `length`, `reverse`; `kept`: whether the carried values before each step are results too;
    `linked`: whether those have had a use that derivatives flow back from.
    The results lie flat behind one another, of the `kinds` (shape, dtype): the carried values at
    the end, the stacked outputs, and, if `kept`, the stacked carried values.
    """

    def unrolled(self, inputs: Sequence[Operand], attrs: dict[str, Any]) -> list[Tensor]:
        n, m = attrs["carried"], attrs["walked"]
        carry, xs, free = list(inputs[:n]), inputs[n : n + m], inputs[n + m :]
        rows: list[Any] = [None] * attrs["length"]
        for i in _order(attrs):
            outputs = attrs["body"].replay([*carry, *(x[i] for x in xs), *free])
            rows[i] = [*outputs[n:], *(carry if attrs["kept"] else ())]
            carry = outputs[:n]
        kinds = kinds_of(attrs)[n:]
        return [*carry, *_stacked(rows, kinds)]

    def run(self, values: Sequence[Any], attrs: dict[str, Any]) -> tuple[np.ndarray, Any]:
        n, m = attrs["carried"], attrs["walked"]
        carry, xs, free = list(values[:n]), values[n : n + m], values[n + m :]
        kinds = kinds_of(attrs)
        stacks = [np.empty(shape, dtype) for shape, dtype in kinds[n:]]
        for i in _order(attrs):
            outputs = attrs["body"].run([*carry, *(np.asarray(x[i]) for x in xs), *free])
            row = [*outputs[n:], *(carry if attrs["kept"] else ())]
            for array, value in zip(stacks, row, strict=True):
                array[i] = value
            carry = outputs[:n]
        return flat([*carry, *stacks], common(kinds)), None

    def batch(
        self, operands: Sequence[Any], batched: Sequence[bool], attrs: dict, size: int
    ) -> Tensor:
        n, m, body = attrs["carried"], attrs["walked"], attrs["body"]
        flags = [True] * n + list(batched[n:])
        start = everywhere(operands[:n], batched[:n], size)
        walks = [
            moveaxis(x, 1, 0) if b else x
            for x, b in zip(operands[n : n + m], batched[n : n + m], strict=True)
        ]

        def step(carry: Any, xs: Any) -> Any:
            given = [*carry, *xs, *operands[n + m :]]
            outputs = mapped(lambda *each: body.replay(each), given, flags, size)
            return outputs[:n], [*outputs[n:], *(carry if attrs["kept"] else ())]

        ends, stacks = scan(step, start, walks, length=attrs["length"], reverse=attrs["reverse"])
        return joined_each([*ends, *(moveaxis(s, 0, 1) for s in stacks)], size)

    def pull(
        self,
        node: Node,
        gradient: Tensor,
        wanted: tuple[bool, ...],
        keep: bool,
        walk: Callable[..., Any],
    ) -> Sequence[Tensor | None]:
        attrs = node.attrs
        n, m, body = attrs["carried"], attrs["walked"], attrs["body"]
        operands, found, _ = self.saved_operands(node, keep)
        kinds = kinds_of(attrs)
        before = apart(found, kinds)[len(body.outputs) :]
        given = [
            g if dtypes.is_float(g.dtype) else None
            for g in apart(gradient, kinds)[: len(body.outputs)]
        ]
        extra = apart(gradient, kinds)[len(body.outputs) :]
        xs, free = operands[n : n + m], operands[n + m :]
        moving = [dtypes.is_float(o.dtype) for o in operands[:n]]
        flags = [*moving, *wanted[n:]]  # what is carried always hands derivatives on
        ends = [g for g in given[:n] if g is not None]
        wants = zip(free, wanted[n + m :], strict=True)
        sums = [zeros(o.shape, dtype=o.dtype) for o, want in wants if want]
        rows = [g for g in given[n:] if g is not None]
        kept = [g for g, moves in zip(extra, moving, strict=True) if moves and attrs["linked"]]
        count = len(ends)
        end = count + builtins.sum(wanted[n : n + m])

        def back(carry: Any, x: Any) -> Any:
            cotangents, totals = carry
            values, slices, outputs, own = x
            found = pulled(
                body, [*values, *slices, *free], [*cotangents, *outputs], flags, walk, keep
            )
            new = found[:count]
            if own:
                new = [a + b for a, b in zip(new, own, strict=True)]
            more = [a + b for a, b in zip(totals, found[end:], strict=True)]
            return (new, more), found[count:end]

        (first, totals), slices = scan(
            back,
            (ends, sums),
            (before, list(xs), rows, kept),
            length=attrs["length"],
            reverse=not attrs["reverse"],
        )
        if keep:  # the carried values are read by a derivative that may be differentiated, too
            node.attrs = {**attrs, "linked": True}
        results: list[Tensor | None] = []
        firsts, walks, rest = iter(first), iter(slices), iter(totals)
        for i, want in enumerate(wanted):
            if i < n:
                g = next(firsts) if moving[i] else None
                results.append(g if want else None)
            else:
                results.append(next(walks if i < n + m else rest) if want else None)
        return results

    def push(
        self,
        tangents: Sequence[Tensor | None],
        node: Node,
        keep: bool,
        walk: Callable[..., Tensor],
    ) -> Tensor:
        attrs = node.attrs
        n, m, body = attrs["carried"], attrs["walked"], attrs["body"]
        operands, _, _ = self.saved_operands(node, keep)
        moving = [i for i in range(n) if dtypes.is_float(operands[i].dtype)]
        still = [zeros(o.shape, dtype=o.dtype) for o in operands[:n]]
        start = [still[i] if tangents[i] is None else tangents[i] for i in moving]
        walking = [i for i in range(n, n + m) if tangents[i] is not None]
        free = {i: t for i, t in enumerate(tangents) if i >= n + m and t is not None}

        def forward(carry: Any, x: Any) -> Any:
            values, dots = carry
            slices, moves = x
            given = dict(zip(moving, dots, strict=True)) | dict(zip(walking, moves, strict=True))
            outputs, moved = pushed(
                body, [*values, *slices, *operands[n + m :]], given | free, walk, keep
            )
            dotted = filled(outputs, moved)
            new = [dotted[i] for i in moving]
            own = filled(values, dots) if attrs["kept"] else []
            return (outputs[:n], new), [*dotted[n:], *own]

        (_, dots), stacks = scan(
            forward,
            (list(operands[:n]), start),
            (list(operands[n : n + m]), [tangents[i] for i in walking]),
            length=attrs["length"],
            reverse=attrs["reverse"],
        )
        ends = filled(operands[:n], dots)
        return joined([*ends, *stacks], node.dtype)


def _order(attrs: dict[str, Any]) -> range:
    length = attrs["length"]
    return range(length - 1, -1, -1) if attrs["reverse"] else range(length)


def _stacked(rows: Sequence[Sequence[Tensor]], kinds: Sequence[Kind]) -> list[Tensor]:
    if not rows:
        return [zeros(shape, dtype=dtype) for shape, dtype in kinds]
    return [stack(column) for column in zip(*rows, strict=True)]


_scan = _Scan("scan")


@located
def scan(
    f: Callable[[Any, Any], tuple[Any, Any]],
    init: Any,
    xs: Any = None,
    /,
    length: int | None = None,
    *,
    reverse: bool = False,
) -> tuple[Any, Any]:
    """Walk along the first axis of `xs`, carrying values on: (the last carry, stacked outputs).

    For each slice x, in turn, carry, y = f(carry, x). Compiled, it is one loop, however long, and
    its derivative is another.

    Args:
        f: (carry, x) -> (carry, y); the carry keeps its structure, shapes and dtypes.
        init: the first carry.
        xs: tensors of equal first sizes; None for none. This, carry and y may be nested dicts,
            lists and tuples.
        length: how many steps, where there are no `xs`.
        reverse: from the last slice to the first; outputs are stacked in the order of `xs`.

    Raises:
        ShapeError: first sizes differ; the carry changes its shape.
        DTypeError: f does not return a pair; the carry changes its structure or dtype.

    >>> import chainrule as cr
    >>> total, sums = cr.scan(lambda c, x: (c + x, c + x), cr.asarray(0.0), cr.asarray([1.0, 2.0]))
    >>> total.item(), sums.tolist()
    (3.0, [1.0, 3.0])
    """
    carry, rebuild_carry = flatten(init)
    walked, rebuild_xs = flatten(xs)
    carry = [as_operand(c) for c in carry]
    walked = [as_operand(x) for x in walked]
    steps = _length(walked, length)
    if state.tracer is None:
        return _loop(f, carry, rebuild_carry, walked, rebuild_xs, steps, reverse)
    return _recorded(f, carry, rebuild_carry, walked, rebuild_xs, steps, reverse)


def _length(xs: list[Tensor], length: int | None) -> int:
    sizes = {x.shape[0] if x.shape else None for x in xs}
    if length is not None:
        sizes.add(length)
    if len(sizes) != 1 or None in sizes:
        shapes = ", ".join(str(x.shape) for x in xs) or "none"
        raise ShapeError(
            f"scan walks along the first axis of xs, whose sizes are equal to one another and to "
            f"length; the shapes are {shapes}, and length is {length}"
        )
    return sizes.pop()  # type: ignore[return-value]


def _pair(result: Any) -> tuple[Any, Any]:
    if not isinstance(result, tuple) or len(result) != 2:
        raise DTypeError("the function of a scan returns a pair: (carry, y); y may be None")
    return result


def _check_carry(new: Sequence[Any], old: Sequence[Any]) -> None:
    if len(new) != len(old):
        raise DTypeError(
            f"the carry of a scan keeps its structure: {len(old)} tensors came in, {len(new)} out"
        )
    for a, b in zip(new, old, strict=True):
        if a.shape != b.shape:
            raise ShapeError(
                f"the carry of a scan keeps its shape, {b.shape}, and became {a.shape}"
            )
        if a.dtype != b.dtype:
            raise DTypeError(
                f"the carry of a scan keeps its dtype, {b.dtype}, and became {a.dtype}. Convert "
                "the first one, or what f returns, with astype."
            )


def _loop(
    f: Any, carry: list[Any], rebuild: Any, xs: list[Any], rebuild_xs: Any, n: int, reverse: bool
) -> tuple[Any, Any]:
    rows: list[Any] = [None] * n
    rebuild_y: Any = lambda leaves: None  # noqa: E731
    if not n:  # what it would stack is known by shape alone
        slices = [Tensor(None, describe_only(x.shape[1:], x.dtype)) for x in xs]
        leaves, rebuild_y = flatten(_pair(f(rebuild(carry), rebuild_xs(slices)))[1])
        return rebuild(carry), rebuild_y([zeros((0, *o.shape), dtype=o.dtype) for o in leaves])
    for i in range(n - 1, -1, -1) if reverse else range(n):
        result, y = _pair(f(rebuild(carry), rebuild_xs([x[i] for x in xs])))
        new = [as_operand(c) for c in flatten(result)[0]]
        _check_carry(new, carry)
        carry = new
        leaves, rebuild_y = flatten(y)
        rows[i] = [as_operand(leaf) for leaf in leaves]
    return rebuild(carry), rebuild_y([stack(column) for column in zip(*rows, strict=True)])


def _recorded(
    f: Any, carry: list[Any], rebuild: Any, xs: list[Any], rebuild_xs: Any, n: int, reverse: bool
) -> tuple[Any, Any]:
    count = len(carry)
    carry = [state.tracer.lift(c) for c in carry]
    xs = [state.tracer.lift(x) for x in xs]
    kinds = [*(kind(c) for c in carry), *((x.shape[1:], x.dtype) for x in xs)]
    structure: list[Any] = []

    def function(*parts: Any) -> list[Any]:
        new, y = _pair(f(*parts))
        leaves, rebuild_y = flatten(y)
        after = [as_operand(c) for c in flatten(new)[0]]
        _check_carry(after, carry)
        structure.append(rebuild_y)
        return [*after, *leaves]

    body, free, _ = capture(
        function, kinds, lambda tensors: (rebuild(tensors[:count]), rebuild_xs(tensors[count:]))
    )
    operands = (*carry, *xs, *free)
    kept = state.depth != OFF and any(o.requires_grad for o in operands)
    results = [kind(node) for node in body.outputs[:count]]
    results += [((n, *node.shape), node.dtype) for node in body.outputs[count:]]
    results += [((n, *c.shape), c.dtype) for c in carry] if kept else []
    attrs = {
        "body": body, "carried": count, "walked": len(xs), "length": n, "reverse": bool(reverse),
        "kept": kept, "linked": False, "kinds": tuple(results),
    }  # fmt: skip
    found = apart(_scan.apply(operands, attrs), results)
    return rebuild(found[:count]), structure[0](found[count : len(body.outputs)])
