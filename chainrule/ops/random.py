"""Random numbers. A random operation takes its counter from a generator when it is called; from
then on it is a function of key and counter, and gives the same numbers wherever it runs again."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from chainrule.errors import CompileError, DTypeError, ShapeError
from chainrule.ops.arithmetic import floor, minimum
from chainrule.ops.batching import trailing
from chainrule.ops.choosing import where
from chainrule.ops.declare import composite, constant_op
from chainrule.tensor import dtypes, generator
from chainrule.tensor.creation import as_operand
from chainrule.tensor.graph import state
from chainrule.tensor.locate import located
from chainrule.tensor.shapes import normalise_shape
from chainrule.tensor.tensor import Tensor

INTERNAL = (
    "random_uniform", "random_normal", "random_keep", "uniform", "normal", "bernoulli", "integers",
    "permutation", "drop",
)  # fmt: skip


def _unit(key: tuple[int, int], counter: int, size: int, dtype: np.dtype) -> np.ndarray:
    """Numbers in [0, 1): the top 24 bits of a word as float32; of two words, 53 as float64."""
    if dtype == dtypes.float64:
        words = generator.bits(key, counter, 2 * size).astype(np.uint64)
        joined = (words[0::2] << np.uint64(32) | words[1::2]) >> np.uint64(11)
        return joined.astype(np.float64) * 2.0**-53
    top = generator.bits(key, counter, size) >> np.uint32(8)
    return (top.astype(np.float32) * np.float32(2.0**-24)).astype(dtype, copy=False)


def _uniform(*, key: tuple[int, int], counter: int, shape: Any, dtype: np.dtype) -> np.ndarray:
    return _unit(key, counter, math.prod(shape), dtype).reshape(shape)


def _normal(*, key: tuple[int, int], counter: int, shape: Any, dtype: np.dtype) -> np.ndarray:
    """Box and Muller 1958: √(−2 log(1 − u)) cos 2πv, and the same with the sine."""
    size = math.prod(shape)
    half = -(-size // 2)
    u = _unit(key, counter, 2 * half, dtype)
    radius = np.sqrt(-2 * np.log1p(-u[:half]))
    angle = u[half:] * dtype.type(2 * math.pi)
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:size].reshape(shape)


def _keep(*, key: tuple[int, int], counter: int, shape: Any, p: float) -> np.ndarray:
    words = generator.bits(key, counter, math.prod(shape))
    return (words < np.uint32(min(round(p * 2**32), 2**32 - 1))).reshape(shape) | (p >= 1)


def _random(forward: Callable[..., Any], formula: str, **attrs: Any) -> dict[str, Any]:
    shared = {"key": (3, 4), "counter": 5, "shape": (2, 3)}
    boolean = "p" in attrs
    return {
        "formula": formula,
        "display_only": True,
        "shape": lambda *, shape, dtype=dtypes.bool_, **rest: (shape, dtype),
        "forward": forward,
        "reason": "it does not depend on any operand",
        "lower": "philox",
        "samples": lambda: [((), {**shared, **attrs})] if boolean or attrs else [],
    }


@constant_op(
    **_random(_uniform, "y = top 24 bits of philox(key, counter) / 2²⁴", dtype=dtypes.float32)
)
def random_uniform(*, key: Any, counter: int, shape: Any, dtype: Any) -> Any:
    """Numbers in [0, 1) for a key and a counter."""
    return (), {"key": key, "counter": counter, "shape": shape, "dtype": dtype}


@constant_op(**_random(_normal, "y = √(−2 log(1 − u)) · cos(2πv), and sin", dtype=dtypes.float32))
def random_normal(*, key: Any, counter: int, shape: Any, dtype: Any) -> Any:
    """Standard normal numbers for a key and a counter."""
    return (), {"key": key, "counter": counter, "shape": shape, "dtype": dtype}


@constant_op(**_random(_keep, "y = philox(key, counter) < p · 2³²", p=0.5))
def random_keep(*, key: Any, counter: int, shape: Any, p: float) -> Any:
    """True with probability p, for a key and a counter."""
    return (), {"key": key, "counter": counter, "shape": shape, "p": p}


def _floating(dtype: Any) -> np.dtype:
    kind = dtypes.default_float if dtype is None else dtypes.as_dtype(dtype)
    if kind.kind != "f":
        raise DTypeError(f"these are real floating-point numbers, and {kind} is not of that kind")
    return kind


@located
def uniform(
    shape: Any = (), low: Any = 0.0, high: Any = 1.0, *, dtype: Any = None, generator: Any = None
) -> Tensor:
    """Numbers that are equally likely everywhere in [low, high).

    >>> import chainrule as cr
    >>> cr.random.uniform((2, 3)).shape
    (2, 3)
    """
    size, kind = normalise_shape(shape), _floating(dtype)
    each = 2 if kind == dtypes.float64 else 1
    drawn = _drawn(random_uniform, generator, lambda n: each * n, size, dtype=kind)
    if isinstance(low, (int, float)) and isinstance(high, (int, float)) and (low, high) == (0, 1):
        return drawn
    return drawn * (high - low) + low


@located
def normal(
    shape: Any = (), mean: Any = 0.0, std: Any = 1.0, *, dtype: Any = None, generator: Any = None
) -> Tensor:
    """Numbers from the normal distribution. Derivatives flow to `mean` and `std`."""
    size, kind = normalise_shape(shape), _floating(dtype)
    each = 2 if kind == dtypes.float64 else 1
    drawn = _drawn(random_normal, generator, lambda n: each * (n + 1), size, dtype=kind)
    plain = isinstance(mean, (int, float)) and isinstance(std, (int, float))
    if isinstance(std, (int, float)) and not std >= 0:
        raise DTypeError(f"a standard deviation is at least 0, not {std!r}")
    return drawn if plain and (mean, std) == (0, 1) else drawn * std + mean


@located
def bernoulli(p: float = 0.5, shape: Any = (), *, generator: Any = None) -> Tensor:
    """Booleans that are true with probability p."""
    _probability(p)
    return _drawn(random_keep, generator, lambda n: n, normalise_shape(shape), p=float(p))


@located
def integers(low: int, high: int, shape: Any = (), *, generator: Any = None) -> Tensor:
    """Whole numbers from low up to, without, high."""
    if high <= low:
        raise ShapeError(f"there is no whole number from {low} up to, without, {high}")
    unit = uniform(shape, dtype=dtypes.float64, generator=generator)
    steps = minimum(floor(unit * (high - low)), high - low - 1)
    return steps.astype(dtypes.int64) + low


@located
def permutation(n: int, /, *, generator: Any = None) -> Tensor:
    """The numbers 0 … n − 1 in random order."""
    if state.tracer is not None:
        raise CompileError(
            "numbers are put in random order by sorting, which is not compiled. Draw the "
            "permutation outside, and hand it over as an argument."
        )
    unit = uniform((n,), dtype=dtypes.float64, generator=generator)
    return Tensor(np.argsort(unit._concrete("a permutation"), kind="stable"))


def _drawn(op: Any, given: Any, words: Callable[[int], int], shape: Any, **attrs: Any) -> Tensor:
    """The numbers of an operation that takes so many `words` of bits for a number of elements.

    Under vmap each example has its own: all are drawn at once, and the function sees one's share.
    """
    whole = (*(batch.size for batch in state.batches), *shape)
    key, counter = _source(given).take(words(math.prod(whole)))
    drawn = op(key=key, counter=counter, shape=whole, **attrs)
    for batch in state.batches:
        drawn = batch.example(drawn)
    return drawn


def _source(given: Any) -> generator.Generator:
    if given is None:
        return generator.default
    if not isinstance(given, generator.Generator):
        raise DTypeError(f"generator is a cr.Generator, not {type(given).__name__}")
    return given


def _probability(p: Any) -> None:
    if not isinstance(p, (int, float)) or not 0 <= p <= 1:
        raise DTypeError(f"p is a probability from 0 to 1, not {p!r}")


def _drop_kernel(x: np.ndarray, keep: np.ndarray, *, p: float) -> tuple[np.ndarray, tuple]:
    return np.where(keep, x * x.dtype.type(1 / (1 - p)), x.dtype.type(0)), ()


@composite(
    formula="x / (1 − p) if keep else 0",
    kernel=_drop_kernel,
    batch=trailing(0),
    pullback=lambda wanted, g, x, keep, *, y, residual, p: (_drop_kernel(g, keep, p=p)[0], None),
    samples=lambda: [((np.array([1.0, -2.0, 3.0]), np.array([True, False, True])), {"p": 0.25})],
    formula_view=lambda x, keep, y, p: ({"x": x, "keep": keep, "p": p}, y),
    source="Srivastava et al. 2014, Dropout, JMLR 15",
)
def drop(x: Tensor, keep: Tensor, /, *, p: float) -> Tensor:
    """x / (1 − p) where `keep` is true, else 0."""
    return where(keep, x * (1 / (1 - p)), 0.0)


@located
def dropout(x: Any, p: float = 0.5, *, training: bool = True, generator: Any = None) -> Tensor:
    """x with each element set to 0 with probability p, and the others divided by 1 − p.

    The expected value stays as it was. Which elements are dropped is drawn once, and kept for the
    derivative.

    >>> import chainrule as cr
    >>> cr.dropout(cr.ones((3,)), 0.5, training=False)
    tensor([1., 1., 1.])
    """
    x = as_operand(x)
    _probability(p)
    if not training or p == 0:
        return x
    if p == 1:
        return x * 0.0
    return drop(x, bernoulli(1 - p, x.shape, generator=generator), p=float(p))
