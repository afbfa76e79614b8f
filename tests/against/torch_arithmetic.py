"""PyTorch's arithmetic and special functions that are short compositions of this library's."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

import chainrule as cr

Maker = Callable[..., Any]


def added(sign: int) -> Maker:
    def call(a: Any, b: Any, alpha: Any = 1) -> Any:
        return cr.asarray(a) + sign * alpha * b if alpha != 1 else cr.asarray(a) + sign * b

    return call


def product_added(product: Maker, over: int = 0) -> Maker:
    """β·c + α·(a product), summed over the first axis for a batch."""

    def call(c: Any, a: Any, b: Any, *, alpha: Any = 1, beta: Any = 1) -> Any:
        made = product(a, b)
        made = cr.sum(made, axis=0) if over else made
        # By PyTorch, a factor of 0 leaves NaN behind.
        return alpha * made if beta == 0 else beta * c + alpha * made

    return call


def divided(a: Any, b: Any, rounding_mode: str | None = None) -> Any:
    q = cr.floor_divide if rounding_mode == "floor" else cr.divide
    y = q(a, b)
    return cr.trunc(y) if rounding_mode == "trunc" else y


def of_booleans(name: str) -> Maker:
    op = getattr(cr, name)
    return lambda *xs: op(*(x if x.dtype == cr.bool else x != 0 for x in xs))


def float_power(a: Any, b: Any) -> Any:
    """In double precision."""
    a, b = cr.asarray(a), cr.asarray(b)
    wide = cr.complex128 if "c" in (a.dtype.kind, b.dtype.kind) else cr.float64
    return cr.pow(cr.astype(a, wide), cr.astype(b, wide))


def rounded(x: Any, decimals: int = 0) -> Any:
    if decimals >= 0:
        return cr.round(x * 10.0**decimals) / 10.0**decimals
    return cr.round(x / 10.0**-decimals) * 10.0**-decimals


def logit(x: Any, eps: float | None = None) -> Any:
    return cr.logit(x if eps is None else cr.clip(x, eps, 1 - eps))


def frexp(x: Any) -> Any:
    exponent = np.frexp(np.asarray(cr.stop_gradient(x)))[1]
    return x * cr.exp2(cr.asarray(-exponent.astype(x.dtype))), cr.asarray(exponent)


def polynomial(name: str, shifted: bool = False) -> Maker:
    """PyTorch's degrees are an array; whole numbers of it are counted, and negative ones give 0."""
    op = getattr(cr.special, name, None)

    def of_degree(x: Any, k: int) -> Any:
        if name.endswith(("_v", "_w")):  # V_n = U_n − U_{n−1}, W_n = U_n + U_{n−1}
            u = cr.special.chebyshev_polynomial_u
            last = u(x, k - 1) if k else cr.zeros_like(x)
            return u(x, k) - last if name.endswith("v") else u(x, k) + last
        return op(x, k)

    def call(x: Any, n: Any) -> Any:
        x, n = cr.broadcast_arrays(cr.asarray(x), cr.astype(cr.asarray(n), cr.float64))
        x = 2 * x - 1 if shifted else x
        degrees = np.trunc(np.asarray(n))
        y = cr.zeros_like(x)
        for k in sorted(set(degrees.reshape(-1).tolist())):
            if k >= 0:
                y = cr.where(cr.asarray(degrees == k), of_degree(x, int(k)), y)
        return y

    return call


ARITHMETIC: dict[str, Maker] = {
    "add": added(1),
    "sub": added(-1),
    "rsub": lambda a, b, alpha=1: b - alpha * a,
    "__radd__": lambda a, b: b + a,
    "__rsub__": lambda a, b: b - a,
    "__rmul__": lambda a, b: b * a,
    "__rdiv__": lambda a, b: b / a,
    "__rmatmul__": lambda a, b: b @ a,
    "__rmod__": lambda a, b: b % a,
    "__rpow__": lambda a, b: b**a,
    "addmm": product_added(cr.matmul),
    "addmm.decomposed": product_added(cr.matmul),
    "addmv": product_added(cr.matmul),
    "addbmm": product_added(cr.matmul, 1),
    "baddbmm": product_added(cr.matmul),
    "addr": product_added(cr.outer),
    "addcmul": lambda c, a, b, value=1: c + value * (a * b),
    "addcdiv": lambda c, a, b, value=1: c + value * (a / b),
    "vdot": lambda a, b: cr.sum(cr.conj(a) * b),
    "clamp_max": lambda x, m: cr.minimum(x, m),
    "clamp_min": lambda x, m: cr.maximum(x, m),
    "div.trunc_rounding": divided,
    "div.floor_rounding": divided,
    "frac": lambda x: x - cr.trunc(x),
    "ldexp": lambda x, n: x * cr.exp2(cr.asarray(n)),
    "float_power": float_power,
    "logit": logit,
    "round": rounded,
    "round.decimals_0": rounded,
    "round.decimals_3": rounded,
    "round.decimals_neg_3": rounded,
    "isposinf": lambda x: x == math.inf,
    "isneginf": lambda x: x == -math.inf,
    "isreal": lambda x: cr.imag(x) == 0,
    "complex": lambda a, b: a + 1j * b,
    **{
        name: of_booleans(name)
        for name in ("logical_and", "logical_or", "logical_xor", "logical_not")
    },
    "equal": lambda a, b: a.shape == b.shape and bool(cr.all(a == b)),
    "item": lambda x: x.item(),
    **{
        name: lambda x, **kwargs: +x
        for name in ("clone", "contiguous", "alias_copy", "resolve_conj", "resolve_neg")
    },
    "nan_to_num": lambda x, nan=None, posinf=None, neginf=None: cr.nan_to_num(
        x, nan or 0.0, posinf, neginf
    ),
    "frexp": frexp,
    "__rand__": lambda a, b: b & a,
    "__ror__": lambda a, b: b | a,
    "__rxor__": lambda a, b: b ^ a,
    **{
        f"special.{p}": polynomial(p)
        for p in (
            "chebyshev_polynomial_t",
            "chebyshev_polynomial_u",
            "chebyshev_polynomial_v",
            "chebyshev_polynomial_w",
            "hermite_polynomial_h",
            "hermite_polynomial_he",
            "laguerre_polynomial_l",
            "legendre_polynomial_p",
        )
    },
    **{
        f"special.shifted_chebyshev_polynomial_{k}": polynomial(
            f"chebyshev_polynomial_{k}", shifted=True
        )
        for k in "tuvw"
    },
}
