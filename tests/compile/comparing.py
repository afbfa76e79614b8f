"""How compiled values are compared with eager ones."""

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

import chainrule as cr
from chainrule.compile.compiled import Compiled
from tests.compile.magnitudes import Bounded

ULPS = 4
"""Units in the last place by which compiled elementwise operations may differ from eager ones."""


def array(x: Any) -> np.ndarray:
    return np.asarray(x.numpy() if isinstance(x, cr.Tensor) else x)


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """NumPy warns of overflow where eager operations meet hard numbers; machine code does not."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)
        yield


def units_apart(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """How many floating-point numbers lie between two of the same kind; 0 for two NaNs."""
    bits = {2: np.int16, 4: np.int32, 8: np.int64}[a.dtype.itemsize]

    def ordinal(x: np.ndarray) -> np.ndarray:
        i = np.ascontiguousarray(x).view(bits)
        return np.where(i >= 0, i, np.iinfo(bits).min - i).astype(np.longdouble)

    apart = np.abs(ordinal(a) - ordinal(b)).astype(float)
    nan = np.isnan(a.astype(float)), np.isnan(b.astype(float))
    return np.where(nan[0] & nan[1], 0, np.where(nan[0] != nan[1], np.inf, apart))


def assert_units(found: Any, wanted: Any, units: float = ULPS, what: str = "") -> None:
    """Elementwise within some units in the last place; what is no float is equal."""
    found, wanted = array(found), array(wanted)
    assert (found.shape, found.dtype) == (wanted.shape, wanted.dtype), what
    if wanted.dtype.kind == "c":
        # Products cancel within a part: the units are those of the larger of the two parts.
        same = (found == wanted) | (np.isnan(found) & np.isnan(wanted))
        size = np.maximum(np.abs(wanted.real), np.abs(wanted.imag))
        with np.errstate(all="ignore"):
            apart = np.abs(found - wanted) / np.spacing(np.where(size > 0, size, 1))
        assert (same | (apart <= units)).all(), what
        return
    if wanted.dtype.kind not in "fV":
        np.testing.assert_array_equal(found, wanted, what)
        return
    apart = units_apart(found, wanted)
    worst = np.unravel_index(np.argmax(apart), apart.shape) if apart.size else ()
    assert np.max(apart, initial=0) <= units, (
        f"{what}: {apart[worst]} units apart at {worst}: {found[worst]!r} for {wanted[worst]!r}"
    )


def bounded(function: Callable[..., Any], *args: Any) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """(exact values in float64, their magnitudes) of the outputs of a function of arrays."""
    wide = [
        x.astype(np.float64) if isinstance(x, np.ndarray) and x.dtype.kind == "f" else x
        for x in args
    ]
    compiled = Compiled(function, backend=Bounded)
    with silent():
        compiled(*[cr.asarray(x) for x in wide])
    backend = compiled._latest().executable
    return backend.outputs, backend.magnitudes


def assert_close(
    found: Sequence[Any],
    eager: Sequence[Any],
    exact: Sequence[np.ndarray],
    magnitudes: Sequence[np.ndarray],
    units: float = 4.0,
    dtype: Any = np.float32,
) -> None:
    """Compiled values err at most twice as much as eager ones, in units of the magnitudes.

    Where eager ones are luckily exact, `units` rounding units of `dtype` are allowed, in which the
    arguments were.
    """
    assert len(found) == len(eager) <= len(exact)
    for number, (c, e, x, m) in enumerate(zip(found, eager, exact, magnitudes, strict=False)):
        c, e = array(c), array(e)
        assert (c.shape, c.dtype) == (e.shape, e.dtype)
        sure = np.isfinite(m) & np.isfinite(x if x.dtype.kind == "c" else x.astype(float))
        if e.dtype.kind not in "fc":
            np.testing.assert_array_equal(np.where(sure, c, e), e, f"result {number}")
            continue
        eps, tiny = np.finfo(dtype).eps, np.finfo(dtype).smallest_normal
        # Of what is rounded to the denormals, the spacing is absolute; and what overflows is inf.
        scale = np.where(sure, m, 1.0) * eps + tiny
        sure = sure & (m < np.finfo(e.dtype).max / 8)
        with np.errstate(all="ignore"):
            mine = np.where(sure, np.abs(c.astype(x.dtype) - x), 0) / scale
            theirs = np.where(sure, np.abs(e.astype(x.dtype) - x), 0) / scale
        allowed = max(units, 2 * float(np.max(theirs, initial=0)))
        wrong = ~(mine <= allowed)
        assert not wrong.any(), (
            f"result {number} of shape {c.shape} errs by {np.max(mine)} units of its magnitude, "
            f"and eager by {np.max(theirs, initial=0)}: {c[wrong][:4]} for {e[wrong][:4]} "
            f"(exactly {x[wrong][:4]}) at {np.argwhere(wrong)[:4].tolist()}"
        )
