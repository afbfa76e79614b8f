"""What users hand over as probabilities, labels and real predictions, checked once."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.errors import DataError, DTypeError, ShapeError

SUM_TOLERANCE = 1e-3
"""Rows of probabilities add up to 1 within this, which float16 rounding keeps; they are then
divided by their sum."""
LARGEST = 1e100
"""Beyond this, squares and their sums are no longer finite."""


def bare(values: Any) -> Any:
    """What NumPy reads: a PyTorch tensor without its gradients, off its device and out of bfloat16;
    anything else as it is."""
    if hasattr(values, "detach"):
        values = values.detach()
    if hasattr(values, "cpu"):
        values = values.cpu()
    return values.float() if str(getattr(values, "dtype", "")) == "torch.bfloat16" else values


def array_of(values: Any, name: str) -> np.ndarray:
    """Numbers as float64, of a Tensor, an array, a list or a PyTorch tensor with gradients.

    Raises:
        DTypeError: they are no numbers.
        DataError: NaN, an infinity or what is as good as one among them, with its place.
    """
    try:
        found = np.asarray(bare(values))
    except (TypeError, ValueError) as error:
        raise DTypeError(f"{name} is no array of numbers: {error}") from None
    if found.dtype.kind not in "biuf" and found.dtype.name != "bfloat16":
        raise DTypeError(f"{name} holds {found.dtype}, and numbers are needed")
    wide = found.astype(np.float64)
    if not np.isfinite(wide).all():
        place = tuple(int(i) for i in np.argwhere(~np.isfinite(wide))[0])
        raise DataError(f"{name} has {wide[place]} at {place}; all numbers are finite")
    if wide.size and max(wide.max(), -wide.min()) > LARGEST:
        place = tuple(int(i) for i in np.argwhere(np.abs(wide) > LARGEST)[0])
        raise DataError(
            f"{name} has {wide[place]:.3g} at {place}, the square of which is no finite number. "
            "Has it diverged, or is it in a unit of its own?"
        )
    return wide


def probabilities_of(p: Any, name: str = "probabilities") -> np.ndarray:
    """(n, K), float64, each row adding up to 1; of (n,) or (n, 1) the second of two classes.

    Raises:
        ShapeError: it is no table of rows.
        DataError: a number outside of [0, 1], or a row that does not add up to 1.
    """
    found = array_of(p, name)
    if found.ndim == 2 and found.shape[1] == 1:
        found = found[:, 0]
    if found.ndim not in (1, 2) or (found.ndim == 2 and found.shape[1] < 2):
        raise ShapeError(
            f"{name} has the shape {found.shape}; it is (rows, classes), or (rows,) for the "
            "probability of the second of two classes"
        )
    wrong = (found < 0) | (found > 1)
    if wrong.any():
        place = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise DataError(
            f"{name} has {found[place]:.6g} at {place}, and probabilities lie between 0 and 1. "
            "Outputs of a last linear layer are logits: apply softmax first."
        )
    if found.ndim == 1:
        return np.stack([1 - found, found], 1)
    total = found.sum(1)
    off = np.abs(total - 1) > SUM_TOLERANCE
    if off.any():
        row = int(np.argmax(off))
        raise DataError(
            f"row {row} of {name} adds up to {total[row]:.6g}, and probabilities of all classes "
            "add up to 1. Are they of independent labels (sigmoid)? Ask for one column at a time."
        )
    return np.asarray(found / total[:, None])


def labels_of(y: Any, classes: int, rows: int, name: str = "labels") -> np.ndarray:
    """(n,) int64 from 0 to classes − 1; of one-hot rows their class.

    Raises:
        ShapeError: not one label for each row.
        DataError: a label that is no class.
    """
    found = array_of(y, name)
    if found.ndim == 2 and found.shape[1] == classes and classes > 1:
        if not (((found == 0) | (found == 1)).all() and (found.sum(1) == 1).all()):
            raise DataError(
                f"{name} of the shape {found.shape} are one-hot rows, and these are not"
            )
        found = found.argmax(1).astype(np.float64)
    if found.ndim == 2 and found.shape[1] == 1:
        found = found[:, 0]
    if found.shape != (rows,):
        raise ShapeError(f"{name} has the shape {found.shape}, and there are {rows} rows")
    wrong = (found != np.floor(found)) | (found < 0) | (found >= classes)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise DataError(
            f"{name} has {found[row]:g} in row {row}; there are {classes} classes, and labels are "
            f"their codes, 0 to {classes - 1}"
        )
    return found.astype(np.int64)


def classified(p: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
    """(probabilities (n, K), labels (n,)), checked; of one row at least."""
    probabilities = probabilities_of(p)
    labels = labels_of(y, probabilities.shape[1], len(probabilities))
    if not len(labels):
        raise DataError("there is no row: nothing can be said about these probabilities")
    return probabilities, labels


def logits_of(outputs: Any, name: str = "logits") -> np.ndarray:
    """(n, K), float64; (n,) or (n, 1) as the log-odds of the second of two classes, whose logits
    are then (0, output)."""
    found = array_of(outputs, name)
    if found.ndim == 2 and found.shape[1] == 1:
        found = found[:, 0]
    if found.ndim == 1:
        return np.stack([np.zeros_like(found), found], 1)
    if found.ndim != 2:
        raise ShapeError(f"{name} has the shape {found.shape}; it is (rows, classes)")
    return found
