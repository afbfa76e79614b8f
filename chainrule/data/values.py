"""Columns from Python values: arrays, lists, and the series of polars and pandas."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np

from chainrule.data.cells import EXACT_INTEGERS, MISSING, Column, Kind, Origin, Words
from chainrule.errors import DataError

_NOT_CELLS = (dict, list, tuple, set, frozenset, np.ndarray, complex)
_NUMBERS = (int, float, np.integer, np.floating, Decimal, Fraction)
_MISSING_TYPES = frozenset({"NoneType", "NAType", "NaTType"})  # None, pandas.NA, pandas.NaT


def column_of(name: str, values: Any, origin: Origin) -> Column:
    """A column of the values of a NumPy array or a sequence, of shape (n,).

    Python and NumPy types mean what they are: a string is text even where it reads like a number.
    None, NaN, NaT and the missing-markers of text files are missing. Raises DataError for complex
    numbers and for cells that hold several values.
    """
    if np.ma.isMaskedArray(values):
        values = [None if hidden else value for value, hidden in zip(*_masked(values), strict=True)]
    array = _as_array(values)
    kind = array.dtype.kind
    if kind == "b":
        return Column(name, "boolean", array.astype(np.float64), origin)
    if kind in "iu":
        return Column(name, _whole(array), array.astype(np.float64), origin)
    if kind == "f" or array.dtype.name == "bfloat16":
        return Column(name, "number", array.astype(np.float64), origin)
    if kind in "UT":
        return Column(name, "text", Words.of(array.tolist()), origin)
    if kind in "mM":
        words = Words.of(array.astype(str).tolist())  # NaT is written "NaT"
        return Column(name, "text", words, origin)
    if kind == "O":
        return _column_of_objects(name, array, origin)
    raise DataError(
        f"{origin.name}: column {name!r} has dtype {array.dtype}, which is neither numbers nor "
        "text. Give real numbers, booleans or strings; split a complex number into .real and "
        ".imag."
    )


def _as_array(values: Any) -> np.ndarray:
    if isinstance(values, np.ndarray):
        return np.char.decode(values, "utf-8") if values.dtype.kind == "S" else values
    if not isinstance(values, Sequence):
        return np.asarray(values)
    types = set(map(type, values))
    if types and all(issubclass(t, (int, float, complex, np.generic)) for t in types):
        return np.asarray(values)
    # NumPy would turn [1, "a"] into two strings, and [[1], [2]] into two dimensions.
    array = np.empty(len(values), dtype=object)
    array[:] = list(values)
    return array


def _masked(values: Any) -> tuple[list[Any], list[bool]]:
    return values.data.tolist(), np.ma.getmaskarray(values).tolist()


def _whole(array: np.ndarray) -> Kind:
    exact = not array.size or (array.max() <= EXACT_INTEGERS and array.min() >= -EXACT_INTEGERS)
    return "integer" if exact else "number"


def _column_of_objects(name: str, array: np.ndarray, origin: Origin) -> Column:
    cells = array.tolist()
    types = set(map(type, cells))
    if any(t.__name__ in _MISSING_TYPES for t in types):
        cells = [None if type(cell).__name__ in _MISSING_TYPES else cell for cell in cells]
        types = {t for t in types if t.__name__ not in _MISSING_TYPES}
    if any(issubclass(t, _NOT_CELLS) for t in types):
        row = next(i for i, cell in enumerate(cells) if isinstance(cell, _NOT_CELLS))
        raise DataError(
            f"{origin.place(row)}, column {name!r}: the cell holds a {type(cells[row]).__name__}, "
            "and a cell holds one real number, one text or nothing. Spread it over several columns."
        )
    if all(issubclass(t, (bool, np.bool_)) for t in types) and types:
        kind: Kind = "boolean"
    elif all(issubclass(t, _NUMBERS) for t in types):
        kind = (
            "integer"
            if all(issubclass(t, (int, np.integer)) for t in types) and types
            else "number"
        )
        if kind == "integer":
            kind = _whole(np.array([cell for cell in cells if cell is not None], dtype=object))
    else:
        return Column(name, "text", Words.of(_strings(cells)), origin)
    numbers = np.array([np.nan if cell is None else cell for cell in cells], dtype=np.float64)
    return Column(name, kind, numbers, origin)


def _strings(cells: list[Any]) -> list[str | None]:
    # A float NaN among strings is how pandas marks a missing text; str() makes it "nan".
    return [cell if cell is None or isinstance(cell, str) else str(cell) for cell in cells]


def column_of_polars(name: str, series: Any, origin: Origin) -> Column:
    """A column of a polars Series, whose type is known (from Parquet, Arrow or a polars frame)."""
    import polars as pl

    dtype = series.dtype
    if dtype == pl.Boolean:
        return Column(name, "boolean", series.cast(pl.Float64).to_numpy(), origin)
    if dtype.is_integer():
        low, high = series.min(), series.max()
        exact = low is None or (low >= -EXACT_INTEGERS and high <= EXACT_INTEGERS)
        return Column(name, "integer" if exact else "number", _floats(series), origin)
    if dtype.is_numeric() or dtype == pl.Null:
        return Column(name, "number", _floats(series), origin)
    if dtype in (pl.String, pl.Categorical, pl.Enum) or dtype.is_temporal():
        return Column(name, "text", words_of_polars(clean_text(series.cast(pl.String))), origin)
    raise DataError(
        f"{origin.name}: column {name!r} has the type {dtype}, which is neither numbers nor text. "
        "Leave it out of the file, or spread it over columns of numbers or text."
    )


def _floats(series: Any) -> np.ndarray:
    import polars as pl

    return series.cast(pl.Float64).to_numpy()


def clean_text(series: Any) -> Any:
    """A polars Series of strings without blanks at the ends, null where a cell holds nothing."""
    stripped = series.str.strip_chars()
    return stripped.set(stripped.is_in(list(MISSING)), None)


def words_of_polars(series: Any) -> Words:
    """The words of a polars Series of clean strings."""
    # A dense rank is 1 + the place among the distinct words in the order of their bytes, which in
    # UTF-8 is the order of code points, and so the order in which Python sorts strings.
    codes = series.rank("dense").fill_null(0).to_numpy().astype(np.int32) - 1
    return Words(codes, series.drop_nulls().unique().sort().to_list())
