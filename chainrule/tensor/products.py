"""NumPy's matrix products on the thread that asks for them.

Matrices that are too small to share out, or that have a few columns: OpenBLAS's other threads,
which wait for the next product without sleeping, take more time than they give, and on a processor
that others use, too, many times more.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np


@cache
def _library() -> Any:
    """NumPy's own OpenBLAS; None where NumPy was built with another library."""
    library = ctypes.CDLL(np._core._multiarray_umath.__file__)  # type: ignore[attr-defined]
    return library if hasattr(library, "scipy_openblas_set_num_threads64_") else None


@contextmanager
def on_one_thread() -> Iterator[None]:
    """Matrix products inside do not wake other threads.

    >>> with on_one_thread():
    ...     (np.ones((2, 3)) @ np.ones((3, 1))).tolist()
    [[3.0], [3.0]]
    """
    library = _library()
    before = library.scipy_openblas_get_num_threads64_() if library else 1
    if before > 1:
        library.scipy_openblas_set_num_threads64_(1)
    try:
        yield
    finally:
        if before > 1:
            library.scipy_openblas_set_num_threads64_(before)
