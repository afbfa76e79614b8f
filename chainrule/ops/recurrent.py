"""Recurrent cells: how a state and what comes in make the next state."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from chainrule.errors import DTypeError, ShapeError
from chainrule.ops.activation import sigmoid
from chainrule.ops.declare import composite
from chainrule.ops.domain import sampled
from chainrule.ops.joining import concat
from chainrule.ops.trigonometry import tanh
from chainrule.tensor import dtypes
from chainrule.tensor.tensor import Tensor

INTERNAL = ("lstm_update", "gru_update")


def _check(count: int, *operands: Tensor) -> None:
    """`operands` end with the state (…, H); those before are (…, count · H)."""
    *gates, state = operands
    wanted = (*state.shape[:-1], count * state.shape[-1]) if state.ndim else None
    if wanted is None or any(g.shape != wanted for g in gates):
        raise ShapeError(
            f"a state (…, size) has gates (…, {count} · size); here are "
            f"{', '.join(str(o.shape) for o in gates)} and {state.shape}"
        )
    if len({o.dtype for o in operands}) > 1 or not dtypes.is_float(state.dtype):
        raise DTypeError(
            f"gates and state have one floating-point dtype, not "
            f"{', '.join(str(o.dtype) for o in operands)}"
        )


def _parts(x: Any, count: int) -> list[Any]:
    size = x.shape[-1] // count
    return [x[..., i * size : (i + 1) * size] for i in range(count)]


def _squash(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def _wide(*arrays: np.ndarray) -> list[np.ndarray]:
    """Half precision in float32: between two steps it is rounded once."""
    return [a.astype(np.float32) if a.dtype.itemsize == 2 else a for a in arrays]


def _lstm_kernel(gates: np.ndarray, cell: np.ndarray) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    dtype = cell.dtype
    gates, cell = _wide(gates, cell)
    i, f, g, o = _parts(gates, 4)
    i, f, g, o = _squash(i), _squash(f), np.tanh(g), _squash(o)
    new = f * cell + i * g
    squashed = np.tanh(new)
    y = np.concatenate([o * squashed, new], -1)
    return y.astype(dtype, copy=False), (i, f, g, o, squashed)


def _lstm_pullback(
    wanted: Any, gradient: np.ndarray, gates: Any, cell: np.ndarray, *, y: Any, residual: Any
) -> tuple[np.ndarray, np.ndarray]:
    i, f, g, o, squashed = residual
    dtype = cell.dtype
    gradient, cell = _wide(gradient, cell)
    dh, dc = _parts(gradient, 2)
    dc = dc + dh * o * (1 - squashed * squashed)
    found = (
        dc * g * i * (1 - i),
        dc * cell * f * (1 - f),
        dc * i * (1 - g * g),
        dh * squashed * o * (1 - o),
    )
    return np.concatenate(found, -1).astype(dtype, copy=False), (dc * f).astype(dtype, copy=False)


@composite(
    formula="c = cell / (1 + exp(−f)) + tanh(g) / (1 + exp(−i)); "
    "y = tanh(c) / (1 + exp(−o)) if part = 0 else c",
    kernel=_lstm_kernel,
    pullback=_lstm_pullback,
    check=lambda gates, cell: _check(4, gates, cell),
    operations=lambda y, gates, cell: 15 * math.prod(gates.shape),
    formula_view=lambda gates, cell, y: (
        {
            **dict(
                zip("ifgo", (np.concatenate([p, p], -1) for p in _parts(gates, 4)), strict=True)
            ),
            "cell": np.concatenate([cell, cell], -1),
            "part": np.arange(y.shape[-1]) // max(cell.shape[-1], 1),
        },
        y,
    ),
    samples=lambda: [
        ((sampled(2, 12), sampled(2, 3)), {}),
        ((sampled(4), sampled(1)), {}),
        ((np.zeros((0, 8)), np.zeros((0, 2))), {}),
    ],
    source="Hochreiter, Schmidhuber 1997; the forget gate: Gers, Schmidhuber, Cummins 2000",
)
def lstm_update(gates: Tensor, cell: Tensor, /) -> Tensor:
    """The next state and cell of an LSTM, behind one another in the last axis.

    With σ the sigmoid: c' = σ(f) c + σ(i) tanh(g) and h' = σ(o) tanh(c').

    Args:
        gates: (…, 4 H), i, f, g and o behind one another, before their functions.
        cell: (…, H), c.
    """
    i, f, g, o = _parts(gates, 4)
    new = sigmoid(f) * cell + sigmoid(i) * tanh(g)
    return concat([sigmoid(o) * tanh(new), new], axis=-1)


def _gru_kernel(
    inside: np.ndarray, before: np.ndarray, state: np.ndarray
) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    dtype = state.dtype
    inside, before, state = _wide(inside, before, state)
    (r, z, n), (hr, hz, hn) = _parts(inside, 3), _parts(before, 3)
    r, z = _squash(r + hr), _squash(z + hz)
    n = np.tanh(n + r * hn)
    return (n + z * (state - n)).astype(dtype, copy=False), (r, z, n)


def _gru_pullback(
    wanted: Any, g: np.ndarray, inside: Any, before: np.ndarray, state: np.ndarray,
    *, y: Any, residual: Any,
) -> tuple[np.ndarray, ...]:  # fmt: skip
    r, z, n = residual
    dtype = state.dtype
    g, before, state = _wide(g, before, state)
    hn = _parts(before, 3)[2]
    dn = g * (1 - z) * (1 - n * n)
    dr, dz = dn * hn * r * (1 - r), g * (state - n) * z * (1 - z)
    found = (
        np.concatenate([dr, dz, dn], -1), np.concatenate([dr, dz, dn * r], -1), g * z
    )  # fmt: skip
    return tuple(a.astype(dtype, copy=False) for a in found)


@composite(
    formula="n = tanh(xn + hn / (1 + exp(−xr − hr))); y = n + (h − n) / (1 + exp(−xz − hz))",
    kernel=_gru_kernel,
    pullback=_gru_pullback,
    check=lambda inside, before, state: _check(3, inside, before, state),
    operations=lambda y, inside, *rest: 20 * math.prod(inside.shape),
    formula_view=lambda inside, before, state, y: (
        {
            **dict(zip(("xr", "xz", "xn"), _parts(inside, 3), strict=True)),
            **dict(zip(("hr", "hz", "hn"), _parts(before, 3), strict=True)),
            "h": state,
        },
        y,
    ),
    samples=lambda: [
        ((sampled(2, 9), np.cos(sampled(2, 9)), sampled(2, 3)), {}),
        ((sampled(3), sampled(3), sampled(1)), {}),
        ((np.zeros((0, 6)), np.zeros((0, 6)), np.zeros((0, 2))), {}),
    ],
    source="Cho et al. 2014, arXiv:1406.1078, with the reset gate behind the product",
)
def gru_update(inside: Tensor, before: Tensor, state: Tensor, /) -> Tensor:
    """The next state of a GRU: n + z (h − n), with n = tanh(xₙ + r hₙ), r = σ(xᵣ + hᵣ) and
    z = σ(x_z + h_z).

    Args:
        inside: (…, 3 H), what comes in, through its weights: r, z and n behind one another.
        before: (…, 3 H), the state through its weights, in the same order.
        state: (…, H), h.
    """
    (r, z, n), (hr, hz, hn) = _parts(inside, 3), _parts(before, 3)
    r, z = sigmoid(r + hr), sigmoid(z + hz)
    n = tanh(n + r * hn)
    return n + z * (state - n)
