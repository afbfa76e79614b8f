"""detect_nonfinite: which operation made the first NaN or infinity, and from which numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from chainrule.errors import NonFiniteError
from chainrule.places import show
from chainrule.tensor import debug, dtypes
from chainrule.tensor.graph import Node
from chainrule.tensor.locate import explained

_WAYS_OUT = {
    "log": "Write cr.log(cr.maximum(x, tiny)), or stay in logarithms: cr.log_softmax, "
    "cr.log_sigmoid, cr.logsumexp.",
    "log1p": "Write cr.log1p(cr.maximum(x, -1 + tiny)).",
    "divide": "Add a small number to the denominator, or choose a safe one first: "
    "x / cr.where(d == 0, 1, d).",
    "reciprocal": "Add a small number to what is inverted.",
    "exp": "Subtract the largest value first, or use cr.softmax, cr.logsumexp, cr.expm1; look for "
    "weights that have grown.",
    "sqrt": "Write cr.sqrt(x + tiny): the derivative 1/(2√x) has no bound at 0.",
    "pow": "A negative number has real powers with whole exponents alone; 0 has none below 0.",
    "acos": "Clip to the inside of [−1, 1]: the derivative has no bound at the ends.",
    "asin": "Clip to the inside of [−1, 1]: the derivative has no bound at the ends.",
    "atanh": "Clip to the inside of (−1, 1).",
}
_GROWN = (
    "Usually weights or activations have grown: lower the learning rate, clip gradients "
    "(optim.clip_grad_norm_), normalise the inputs."
)


@explained
@contextmanager
def detect_nonfinite() -> Iterator[None]:
    """Inside of the block (or of a function that it decorates), stop at the first operation, of the
    forward or the backward pass, that makes a NaN or an infinity.

    An infinity that an operand brought along (as in a mask of −∞) is let through; a NaN that was in
    the data is reported where it is first read. A compiled function runs operation by operation
    inside of the block, with the same random numbers. Every result is looked at once: a few per
    cent to a third of the time, depending on the sizes.

    Raises:
        NonFiniteError: names the operation, the module path, the user's line, where in the result
            the number is, and the operands' values there.

    >>> import chainrule as cr
    >>> with cr.detect_nonfinite():
    ...     y = cr.log(cr.asarray([1.0, 0.0]))
    Traceback (most recent call last):
    ...
    chainrule.errors.NonFiniteError: `log` (...): it made -inf at (1,). Operands: x[1] = 0.0, ...
    """
    before, debug.step_by_step = debug.step_by_step, True
    try:
        with debug.observed(_Detector()):
            yield
    finally:
        debug.step_by_step = before


class _Detector(debug.Observer):
    def ran(self, run: debug.Run) -> None:
        op, values, attrs, value, *_ = run
        if not dtypes.is_float(value.dtype):
            return
        finite = np.isfinite(value)
        if finite.all():
            return
        arrays = [v for v in values if isinstance(v, np.ndarray) and dtypes.is_float(v.dtype)]
        numbers = [v for v in (*values, *attrs.values()) if isinstance(v, (float, complex))]
        if any(np.isnan(v).any() for v in (*arrays, *numbers)):
            raise _came_in(op, values)
        nan = np.isnan(value)
        if nan.any():
            raise _made(run, nan)
        if all(np.isfinite(v).all() for v in (*arrays, *numbers)):
            raise _made(run, ~finite)


def _came_in(op: Any, values: Sequence[Any]) -> NonFiniteError:
    """A NaN among the operands was made by no operation that ran inside of the block."""
    for i, v in enumerate(values):
        if isinstance(v, np.ndarray) and dtypes.is_float(v.dtype) and np.isnan(v).any():
            bad = np.isnan(v)
            first = tuple(int(k) for k in np.argwhere(bad)[0]) if v.ndim else ()
            return NonFiniteError(
                f"its operand {_called(op, i)}, of shape {v.shape}, holds {bad.sum():,} NaN, the "
                f"first at {first}, that no operation inside of detect_nonfinite made{_whose()}. "
                "It was in the data, or in a parameter after an update: look at the rows with "
                "np.isnan(x).any(axis=1), and at the gradients of the step before."
            )
    return NonFiniteError(f"it was given a NaN{_whose()}")


def _made(run: debug.Run, bad: np.ndarray) -> NonFiniteError:
    """What an operation made of finite operands is not finite where it is `bad`."""
    op, values, attrs, value, _, part = run
    first = tuple(int(k) for k in np.argwhere(bad)[0]) if value.ndim else ()
    where = f" at {first}" if first else ""
    rest = f", and {bad.sum() - 1:,} more of {bad.size:,} values" if bad.sum() > 1 else ""
    made = f"{'a gradient is' if part else 'it made'} {value[first]}{where}{rest}"
    facts = [_operand(op, i, v, first, value.shape) for i, v in enumerate(values)]
    wide = None if part else _in_float64(op, values, attrs, first)
    of = debug.of
    advice = _WAYS_OUT.get(op.name if of is None else of.op.name, "")
    if wide is not None:
        largest = float(np.finfo(value.dtype).max) if value.dtype.kind in "fc" else 3.4e38
        advice = (
            f"In float64 it would be {wide:.4g}; {value.dtype} holds up to {largest:.2g}. "
            f"{advice or _GROWN}"
        )
    text = f"{made}{_whose()}. Operands: {'; '.join(facts)}. {advice or _GROWN}"
    if of is not None:
        text += _saved(of, first, value.shape)
    return NonFiniteError(text)


def _whose() -> str:
    """In a backward pass: the operation whose derivative is being taken."""
    of = debug.of
    if of is None:
        return ""
    module = f" in `{of.scope.describe()}`" if of.scope is not None else ""
    place = show(of.place)
    return f", in the backward pass of `{of.op.name}`{module}{f' ({place})' if place else ''}"


def _called(op: Any, i: int) -> str:
    names: tuple[str, ...] = getattr(op, "parameters", ()) or getattr(op, "operand_names", ())
    return str(names[i]) if i < len(names) else str(i)


def _operand(op: Any, i: int, v: Any, at: tuple[int, ...], shape: tuple[int, ...]) -> str:
    name = _called(op, i)
    if not isinstance(v, np.ndarray):
        return f"{name} = {v!r}"
    if v.size == 1:
        return f"{name} = {v.item()}"
    here = _value_at(v, at, shape) if op.kind == "elementwise" else ""
    return f"{name}{here or ' ' + str(v.shape)} {_range(v)}"


def _value_at(v: np.ndarray, at: tuple[int, ...], shape: tuple[int, ...]) -> str:
    """The value that a broadcast operand has at a place of the result."""
    try:
        return f"{list(at)} = {np.broadcast_to(v, shape)[at]}, {v.shape}"
    except ValueError:
        return ""


def _range(v: np.ndarray) -> str:
    if v.dtype.kind not in "fiu" or not v.size:
        return str(v.dtype)
    zeros = int((v == 0).sum())
    text = f"from {v.min():.4g} to {v.max():.4g}"
    return text + (f" with {zeros:,} zeros" if zeros else "")


def _saved(node: Node, at: tuple[int, ...], shape: tuple[int, ...]) -> str:
    """What the forward pass was given there, as far as it was kept."""
    kept = [
        (i, v) for i, v in enumerate((node.saved or [])[: len(node.inputs)])
        if isinstance(v, np.ndarray)
    ]  # fmt: skip
    if not kept:
        return ""
    facts = [_operand(node.op, i, v, at, shape) for i, v in kept]
    return f" In the forward pass it was given {'; '.join(facts)}."


def _in_float64(op: Any, values: Sequence[Any], attrs: dict, at: tuple[int, ...]) -> float | None:
    """The number in float64, where only the dtype was too small for it."""
    wide = [
        v.astype(np.float64) if isinstance(v, np.ndarray) and dtypes.is_float(v.dtype) else v
        for v in values
    ]
    if any(isinstance(v, np.ndarray) and v.dtype.kind == "c" for v in values):
        return None
    try:
        with np.errstate(all="ignore"):
            found = float(np.asarray(op.run(wide, attrs)[0])[at])
    except Exception:  # an operation that does not take float64: the fact is left out
        return None
    return found if math.isfinite(found) else None
