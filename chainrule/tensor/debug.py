"""The debug ladder: `CHAINRULE_DEBUG=1..4`, or `with debug.at(level):`, prints what runs.

1: a line for each operation: its place in the user's code, module path, shapes and dtype.
2: the time it took and the bytes it made, too.
3: the operations of the backward pass, too.
4: smallest, mean and largest value of each result, and how many are not finite.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from chainrule.places import show, user_place
from chainrule.tensor.graph import state


def _from_environment() -> int:
    text = os.environ.get("CHAINRULE_DEBUG", "0")
    return int(text) if text.isdecimal() else 0


level: int = _from_environment()
in_backward = False


@contextmanager
def at(new_level: int) -> Iterator[None]:
    """Print at this level inside of the block."""
    global level
    before, level = level, new_level
    try:
        yield
    finally:
        level = before


def run(op: Any, values: list, attrs: dict) -> tuple[Any, Any]:
    """Run an operation and say what it did."""
    start = time.perf_counter()
    with np.errstate(all="ignore"):
        value, residual = op.run(values, attrs)
    if not in_backward or level >= 3:
        tell(op.name, values, value, time.perf_counter() - start)
    return value, residual


def tell(name: str, values: Iterable[Any], value: Any, elapsed: float) -> None:
    """Print the line of an operation that took `elapsed` seconds."""
    array = np.asarray(value)
    shapes = ", ".join(str(v.shape) if isinstance(v, np.ndarray) else repr(v) for v in values)
    where = state.scope.describe() if state.scope is not None else ""
    way = "←" if in_backward else "→"
    parts = [f"{way} {name:24s} {shapes} → {array.shape} {array.dtype}", where]
    parts.append(show(user_place(2)))
    if level >= 2:
        parts.append(f"{elapsed * 1e6:.1f} µs, {array.nbytes:,} bytes")
    if level >= 4 and array.size and array.dtype.kind == "f":
        bad = array.size - int(np.isfinite(array).sum())
        with np.errstate(all="ignore"):
            parts.append(
                f"min {array.min():.4g} mean {array.mean():.4g} max {array.max():.4g}"
                + (f", {bad} not finite" if bad else "")
            )
    print("  ".join(part for part in parts if part), file=sys.stderr)
