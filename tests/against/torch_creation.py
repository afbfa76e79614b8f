"""PyTorch's creation of arrays, casts, windows, and random numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import ml_dtypes
import numpy as np

import chainrule as cr
from chainrule import probability as prob
from tests.against.torch_names import Lacks, cast

Maker = Callable[..., Any]


def shaped(make: Maker) -> Maker:
    """By a shape that is one argument, or one number of it an argument."""

    def call(*shape: Any, dtype: Any = None, **storage: Any) -> Any:
        return make(shape[0] if shape and not isinstance(shape[0], int) else shape, dtype=dtype)

    return call


def new(make: Maker) -> Maker:
    def call(x: Any, shape: Any, *fill: Any, dtype: Any = None, **storage: Any) -> Any:
        return make(shape, *fill, dtype=dtype or x.dtype)

    return call


def to(dtype: Any) -> Maker:
    return lambda x, **storage: cast(x, np.dtype(dtype))


def moved(x: Any, *places: Any, **storage: Any) -> Any:
    """To another's dtype, or a dtype among the arguments."""
    dtypes = [getattr(p, "dtype", p) for p in places if isinstance(p, (cr.Tensor, np.dtype))]
    return cast(x, dtypes[0] if dtypes else x.dtype)


def logspace(
    start: Any, stop: Any, num: int, base: float = 10.0, *, dtype: Any = None, device: Any = None
) -> Any:
    ends = [float(v.item() if isinstance(v, cr.Tensor) else v) for v in (start, stop)]
    return cr.pow(float(base), cr.linspace(*ends, num, dtype=dtype))


def triangle_indices(part: Maker) -> Maker:
    def call(rows: int, columns: int, offset: int = 0, **storage: Any) -> Any:
        return cr.stack(cr.nonzero(part(cr.ones((rows, columns)), k=offset)))

    return call


# Windows, by Harris (1978), Proc. IEEE 66: M numbers, of M + 1 the first M for a periodic one.


def window(shape_of: Maker) -> Maker:
    def call(M: int, *args: Any, sym: bool = True, dtype: Any = None, device: Any = None,
             requires_grad: bool = False, **kwargs: Any) -> Any:  # fmt: skip
        if M < 2:
            return cr.ones((M,), dtype=dtype)
        length = M if sym else M + 1
        n = cr.arange(length, dtype=cr.float64)
        return cr.astype(shape_of(n, length - 1, *args, **kwargs)[:M], dtype)

    return call


def cosines(n: Any, last: int, a: Sequence[float]) -> Any:
    """Σ_k (−1)ᵏ a_k cos(2πkn / last)"""
    return sum((-1) ** k * v * cr.cos(n * (2 * math.pi * k / last)) for k, v in enumerate(a))


WINDOWS: dict[str, Maker] = {
    "general_cosine": lambda n, last, a: cosines(n, last, a),
    "general_hamming": lambda n, last, alpha=0.54: cosines(n, last, [alpha, 1 - alpha]),
    "hamming": lambda n, last: cosines(n, last, [0.54, 0.46]),
    "hann": lambda n, last: cosines(n, last, [0.5, 0.5]),
    "blackman": lambda n, last: cosines(n, last, [0.42, 0.5, 0.08]),
    "nuttall": lambda n, last: cosines(n, last, [0.3635819, 0.4891775, 0.1365995, 0.0106411]),
    "bartlett": lambda n, last: 1 - cr.abs(2 * n / last - 1),
    "cosine": lambda n, last: cr.sin(math.pi * (n + 0.5) / (last + 1)),
    "exponential": lambda n, last, center=None, tau=1.0: cr.exp(
        -cr.abs(n - (last / 2 if center is None else center)) / tau
    ),
    "gaussian": lambda n, last, std=1.0: cr.exp(-(((n - last / 2) / std) ** 2) / 2),
    "kaiser": lambda n, last, beta=12.0: (
        cr.i0(beta * cr.sqrt(cr.clip(1 - (2 * n / last - 1) ** 2, 0.0)))
        / cr.i0(cr.asarray(beta, dtype=cr.float64))
    ),
}


def drawn(law: Maker) -> Maker:
    """x filled with numbers drawn from a law."""

    def call(x: Any, *parameters: Any, **kwargs: Any) -> Any:
        return cr.astype(law(*map(float, parameters)).sample(x.shape), x.dtype)

    return call


def normal(mean: Any, std: Any, shape: Any = None, *, dtype: Any = None, **storage: Any) -> Any:
    tensors = [v for v in (mean, std) if isinstance(v, cr.Tensor)]
    dtype = dtype or tensors[0].dtype
    shape = cr.broadcast_shapes(*(v.shape for v in tensors)) if shape is None else tuple(shape)
    return cr.random.normal(shape, dtype=dtype) * std + mean


def like(draw: Maker) -> Maker:
    def call(x: Any, dtype: Any = None, **storage: Any) -> Any:
        return real(draw)(x.shape, dtype=dtype or x.dtype)

    return call


def real(draw: Maker) -> Maker:
    def call(shape: Any, dtype: Any) -> Any:
        if np.dtype(dtype).kind == "c":
            raise Lacks("complex random numbers")
        return draw(tuple(shape), dtype=dtype)

    return call


def integers(*given: Any, dtype: Any = None, **storage: Any) -> Any:
    *bounds, shape = given
    low, high = bounds if len(bounds) == 2 else (0, *bounds)
    return cr.astype(cr.random.integers(low, high, tuple(shape)), dtype or cr.int64)


def multinomial(p: Any, count: int, replacement: bool = False) -> Any:
    if not replacement:
        raise Lacks("draws without replacement")
    draws = prob.Categorical(probs=p / cr.sum(p, axis=-1, keepdims=True)).sample((count,))
    return cr.moveaxis(draws, 0, -1)


CREATED: dict[str, Maker] = {
    "zeros": shaped(cr.zeros), "ones": shaped(cr.ones),
    "new_zeros": new(cr.zeros), "new_ones": new(cr.ones), "new_full": new(cr.full),
    "scalar_tensor": lambda v, dtype=None, **storage: cr.asarray(v, dtype=dtype),
    "logspace": logspace, "logspace.tensor_overload": logspace,
    "linspace.tensor_overload": lambda a, b, n, *, dtype=None, device=None: cr.linspace(
        *(float(v.item() if isinstance(v, cr.Tensor) else v) for v in (a, b)), n, dtype=dtype
    ),
    "tril_indices": triangle_indices(cr.tril), "triu_indices": triangle_indices(cr.triu),
    **{f"signal.windows.{name}": window(law) for name, law in WINDOWS.items()},
    "to": moved, "bfloat16": to(ml_dtypes.bfloat16), "half": to("float16"),
    "float": to("float32"), "double": to("float64"),
    "bool": to("bool"), "byte": to("uint8"), "char": to("int8"), "short": to("int16"),
    "int": to("int32"), "long": to("int64"), "cfloat": to("complex64"), "cdouble": to("complex128"),
}  # fmt: skip

# Numbers that are random or undefined: shape and dtype are compared.
RANDOM: dict[str, Maker] = {
    "empty": shaped(cr.empty), "new_empty": new(cr.empty),
    "empty_like": lambda x, dtype=None, **storage: cr.empty_like(x, dtype=dtype),
    "randn": shaped(real(cr.random.normal)), "randn_like": like(cr.random.normal),
    "rand_like": like(cr.random.uniform),
    "randint": integers,
    "randint_like": lambda x, *bounds, dtype=None, **storage: integers(
        *bounds, x.shape, dtype=dtype or x.dtype
    ),
    "normal": normal, "normal.number_mean": normal,
    "bernoulli": lambda p: cr.astype(cr.random.uniform(p.shape, dtype=p.dtype) < p, p.dtype),
    "multinomial": multinomial,
    "normal.in_place": drawn(prob.Normal), "uniform": drawn(prob.Uniform),
    "exponential": drawn(prob.Exponential), "cauchy": drawn(prob.Cauchy),
    "geometric": drawn(prob.Geometric), "log_normal": drawn(prob.LogNormal),
}  # fmt: skip
