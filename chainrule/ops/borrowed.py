"""Forward functions borrowed from SciPy, which is imported only when one of them runs."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np


def borrowed(name: str, *parameters: str) -> Callable[..., Any]:
    """`scipy.special`'s function of that name as a forward, its operands called `parameters`."""

    def forward(*values: Any) -> Any:
        import scipy.special

        return in_own_dtype(getattr(scipy.special, name), *values)

    positional = inspect.Parameter.POSITIONAL_ONLY
    forward.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter(p, positional) for p in parameters or ("x",)]
    )
    return forward


def in_own_dtype(function: Callable[..., Any], *values: Any) -> Any:
    """A function of float32 or wider numbers; what is narrower is widened and given back narrow."""
    dtype = next(v.dtype for v in values if isinstance(v, np.ndarray))
    if dtype.itemsize < 4:
        values = tuple(v.astype(np.float32) if isinstance(v, np.ndarray) else v for v in values)
    return np.asarray(function(*values)).astype(dtype, copy=False)
