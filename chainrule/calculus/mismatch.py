"""What a wrong gradient looks like, from the wrong numbers and the right ones."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


def likeness(
    declared: np.ndarray, measured: np.ndarray, sizes: Iterable[int], slopes: tuple[float, float]
) -> str:
    """A sentence on what the mismatch looks like.

    Args:
        declared: the gradient that the derivative gives.
        measured: the gradient by differences.
        sizes: lengths of axes that a factor may be, such as the batch size.
        slopes: the differences to the left and to the right of the worst element.
    """
    left, right = slopes
    size = max(np.max(np.abs(measured)), np.max(np.abs(declared)))
    if abs(right - left) > 1e-3 * max(abs(left), abs(right), 1e-3 * size):
        return (
            f"a kink: the slope is {left:.6g} to the left and {right:.6g} to the right, so that "
            "there is no derivative here. Check at another point; 0, ties and rounding are usual "
            "ones."
        )
    if not declared.any():
        return (
            "a missing path: the derivative is 0 everywhere. Was a value taken out of the graph "
            "(.item(), .numpy(), detach, stop_gradient, a cast to integers)?"
        )
    if np.max(np.abs(measured)) <= 1e-9 * size:
        return "a path that is not there: f does not change with this argument at all."
    telling = np.abs(measured) > 1e-4 * size
    ratios = declared[telling] / measured[telling]
    quiet = declared[~telling]
    same = len(ratios) and np.ptp(ratios) <= 1e-4 * np.max(np.abs(ratios))
    if same and (not quiet.size or np.max(np.abs(quiet)) <= 1e-3 * size):
        return _factor(float(np.median(ratios)), sizes)
    for other, what in _rearranged(declared):
        if other.shape == measured.shape and np.allclose(other, measured, 1e-4, 1e-6 * size):
            return what
    wrong = np.abs(declared - measured) > 1e-4 * np.maximum(np.abs(measured), 1e-2 * size)
    where = _slab(wrong)
    if where:
        return f"a part of it: {where}, and the rest agrees. Is a slice or an index off by one?"
    return (
        f"no simple pattern: {int(wrong.sum())} of {wrong.size} elements differ, with ratios from "
        f"{ratios.min():.4g} to {ratios.max():.4g}. Compare the formula of the derivative with the "
        "forward's, term by term."
    )


def _factor(ratio: float, sizes: Iterable[int]) -> str:
    if abs(ratio + 1) < 1e-3:
        return "a sign: the derivative is −1 times what it should be."
    for n in sorted({s for s in sizes if s > 1}):
        if abs(ratio - n) < 1e-3 * n:
            return (
                f"a constant ratio of {n}, which is the length of an axis: a sum where a mean "
                "belongs, or something added up twice over that axis."
            )
        if abs(ratio * n - 1) < 1e-3:
            return (
                f"a constant ratio of 1/{n}, and {n} is the length of an axis (the batch size?): a "
                "mean where a sum belongs, or a broadcast not summed over that axis."
            )
    if abs(ratio - 0.5) < 1e-3 or abs(ratio - 2) < 1e-3:
        name = "½" if ratio < 1 else "2"
        return f"a constant ratio of {name}: the exponent of a square, left out or put in twice."
    return f"a constant ratio of {ratio:.6g}: a factor left out, or put in twice."


def _rearranged(declared: np.ndarray) -> Iterable[tuple[np.ndarray, str]]:
    """The same numbers in other places, each with what it would mean."""
    if declared.ndim >= 2:
        swapped = np.swapaxes(declared, -1, -2)
        yield swapped, "a transpose: the same numbers with the last two axes exchanged."
        refilled = swapped.reshape(declared.shape)
        yield refilled, "a transpose that was reshaped: rows are filled with columns."
    for axis in range(declared.ndim):
        backwards = f"a reversal: the same numbers backwards along axis {axis}."
        yield np.flip(declared, axis), backwards
        n = declared.shape[axis]
        total = np.broadcast_to(declared.sum(axis, keepdims=True), declared.shape)
        unsummed = f"each element should have the sum over axis {axis} (length {n})."
        yield total, f"a broadcast not summed: {unsummed}"
        yield total / n, f"a mean over axis {axis} is missing."


def _slab(wrong: np.ndarray) -> str:
    """`index 3 along axis 0`, where the wrong elements lie in one place of an axis."""
    for axis, n in enumerate(wrong.shape):
        rest = tuple(a for a in range(wrong.ndim) if a != axis)
        places = np.flatnonzero(wrong.any(rest))
        if n > 1 and len(places) == 1 and not wrong.all():
            return f"the wrong elements lie at index {places[0]} along axis {axis}"
    return ""
