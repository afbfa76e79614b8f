"""Checking the arrays that are given from Python, before anything is computed with them.

The messages keep the phrases of scikit-learn's own, by which its `check_estimator` and people
who know them recognise what is wrong.
"""

from __future__ import annotations

import sys
import warnings
from typing import Any

import numpy as np

from chainrule.errors import DataError, DTypeError
from chainrule.tensor.locate import explained


@explained
def check_arrays(
    X: Any, y: Any, *, estimator: str = "This estimator", n_features: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """`X` as `check_features` gives it, and `y` as an array of shape (rows,).

    Raises DataError where `X` cannot be used, for a `y` that is missing, sparse, complex or of
    another shape or length, and for missing or infinite targets. A `y` of shape (rows, 1) is taken
    as a vector, with a warning. Labels keep their type.

    >>> X, y = check_arrays([[1, 2], [3, 4]], ["a", "b"])
    >>> X.dtype, y.shape
    (dtype('float64'), (2,))
    """
    X = check_features(X, estimator=estimator, n_features=n_features)
    if y is None:
        raise DataError(f"{estimator} requires y to be passed, but the target y is None.")
    y = _dense("y", y)
    if y.ndim == 2 and y.shape[1] == 1:
        # Where scikit-learn is loaded, its users know this warning by its class.
        category = getattr(
            sys.modules.get("sklearn.exceptions"), "DataConversionWarning", UserWarning
        )
        warnings.warn(
            f"A column-vector y was passed when a 1d array was expected: its shape is {y.shape}. "
            "Write y.ravel().",
            category,
            stacklevel=3,
        )
        y = y.ravel()
    if y.ndim != 1:
        raise DataError(f"y should be a 1d array, got an array of shape {y.shape} instead.")
    if len(X) != len(y):
        raise DataError(
            f"Found input variables with inconsistent numbers of samples: X has {len(X)} rows and "
            f"y has {len(y)}. Row i of X and entry i of y belong together."
        )
    if y.dtype.kind == "c":
        raise DataError(
            "Complex data not supported: y is complex. Give its real part, or its absolute value."
        )
    if y.dtype.kind == "O":
        # Only NaN differs from itself.
        absent = np.flatnonzero([label is None or label != label for label in y.tolist()])
        if len(absent):
            raise DataError(
                f"Input y contains NaN: the first missing target is y[{absent[0]}]. {_DROP_ROWS}"
            )
    if y.dtype.kind == "f":
        _check_finite("y", y, _DROP_ROWS)
    return X, y


@explained
def check_features(
    X: Any, *, estimator: str = "This estimator", n_features: int | None = None
) -> np.ndarray:
    """`X` as a finite array of shape (rows, features), float32 or float64.

    Raises DataError for missing or infinite values, a wrong shape, another number of columns than
    `n_features`, and text; DTypeError for objects that are no numbers.
    """
    X = _dense("X", X)
    if X.ndim != 2:
        found = {0: "scalar array", 1: "1D array"}.get(X.ndim, f"{X.ndim}D array")
        way = (
            "Reshape your data either using array.reshape(-1, 1) if your data has a single "
            "feature or array.reshape(1, -1) if it contains a single sample."
            if X.ndim < 2
            else "Reshape your data: X.reshape(len(X), -1) gives one row per sample."
        )
        raise DataError(f"Expected 2D array, got {found} instead: shape {X.shape}. {way}")
    rows, columns = X.shape
    if not rows or not columns:
        what = f"{columns} feature(s)" if rows else f"{rows} sample(s)"
        raise DataError(
            f"Found array with {what} (shape={X.shape}) while a minimum of 1 is required."
        )
    X = _as_floats(X)
    if n_features is not None and columns != n_features:
        raise DataError(
            f"X has {columns} features, but {estimator} is expecting {n_features} features as "
            "input: the columns must be those that it was fitted with."
        )
    _check_finite(
        "X",
        X,
        "Impute the values first (sklearn.impute.SimpleImputer), or give a data frame or a "
        "chainrule.data.Table, in which a missing cell is filled in and marked.",
    )
    return X


_DROP_ROWS = "Nothing can be learnt from a row without its answer; take these rows out of X and y."


def _dense(name: str, data: Any) -> np.ndarray:
    if hasattr(data, "toarray") and hasattr(data, "nnz"):
        raise DataError(
            f"Sparse data was passed for {name}, but dense data is required. Use {name}.toarray(), "
            "if it fits in memory."
        )
    try:
        return np.asarray(data)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(
            f"{name}, a {type(data).__name__}, cannot be made an array: {error}"
        ) from None


def _as_floats(X: np.ndarray) -> np.ndarray:
    """The same numbers in float32 where they are so already, else in float64."""
    if X.dtype in (np.float32, np.float64):
        return X
    if X.dtype.kind == "c":
        raise DataError(
            "Complex data not supported: X is complex. Give X.real and X.imag as columns of their "
            "own."
        )
    if X.dtype.name in ("float16", "bfloat16"):
        return X.astype(np.float32)
    if X.dtype.kind in "biuf":
        return X.astype(np.float64)
    if X.dtype.kind == "O":
        try:
            return X.astype(np.float64)
        except (TypeError, ValueError):
            _raise_for_object(X)
    raise DataError(f"X has dtype {X.dtype}, and a network takes numbers. {_GIVE_A_FRAME}")


_GIVE_A_FRAME = "Text is encoded as categories when X is a data frame or a chainrule.data.Table."


def _raise_for_object(X: np.ndarray) -> None:
    """Name the first object that is not a number."""
    for (row, column), value in np.ndenumerate(X):
        try:
            np.float64(value)
        except ValueError:
            raise DataError(
                f"X[{row}, {column}] is {value!r}, which is not a number. {_GIVE_A_FRAME}"
            ) from None
        except TypeError:
            if value is not None:
                raise DTypeError(
                    f"X[{row}, {column}] is a {type(value).__name__}: float() argument must be a "
                    "string or a real number"
                ) from None


def _check_finite(name: str, values: np.ndarray, way_out: str) -> None:
    with np.errstate(over="ignore", invalid="ignore"):
        # A finite sum proves that all is finite, without an array of answers.
        if np.isfinite(values.sum()):
            return
    for what, mask in (("NaN", np.isnan(values)), ("infinity", np.isinf(values))):
        if mask.any():
            index = tuple(int(i) for i in np.argwhere(mask)[0])
            where = f"{name}[{', '.join(map(str, index))}]"
            place = f"row {index[0]}, column {index[1]}: {where}" if len(index) == 2 else where
            too_large = (
                f" or a value too large for dtype({values.dtype.name!r})"
                if what == "infinity"
                else ""
            )
            raise DataError(
                f"Input {name} contains {what}{too_large}. {int(mask.sum())} of {mask.size} "
                f"values; the first is at {place}. {way_out}"
            )
